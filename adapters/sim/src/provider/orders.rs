//! The vocabulary of whoever plays the provider.

use serde::Deserialize;
use serde_json::Value;

use super::faults::{Fault, FaultKind};
use crate::native::{Part, Quote, Reaction};

/// `{"do": "say", …}`. `by`, `person` and `account` are ids of people.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Order {
    /// Writes `times` times (1); answers the posts' ids.
    Say {
        chat: String,
        by: String,
        #[serde(default)]
        text: Option<String>,
        #[serde(default)]
        parts: Vec<Part>,
        #[serde(default)]
        quote: Option<Quote>,
        #[serde(default)]
        times: Option<u64>,
    },
    Edit {
        chat: String,
        by: String,
        post: String,
        text: String,
    },
    Recall {
        chat: String,
        by: String,
        post: String,
    },
    React {
        chat: String,
        by: String,
        post: String,
        key: String,
        on: bool,
    },
    Reactions {
        chat: String,
        post: String,
        reactions: Vec<Reaction>,
    },
    /// A post of the account that was accepted fails after all.
    Fail {
        account: String,
        chat: String,
        #[serde(rename = "ref")]
        client_ref: String,
        code: String,
    },
    Deliver {
        chat: String,
        by: String,
        posts: Vec<String>,
    },
    Read {
        chat: String,
        by: String,
        up_to: String,
    },
    Type {
        chat: String,
        by: String,
        on: bool,
    },
    Presence {
        person: String,
        status: String,
    },
    Person {
        person: String,
    },
    OpenChat {
        by: String,
        kind: u8,
        #[serde(default)]
        chat: Option<String>,
        #[serde(default)]
        name: Option<String>,
        people: Vec<String>,
    },
    ChangeChat {
        chat: String,
        by: String,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        topic: Option<String>,
    },
    CloseChat {
        chat: String,
        by: String,
        reason: String,
    },
    Join {
        chat: String,
        person: String,
        by: String,
        reason: String,
    },
    Leave {
        chat: String,
        person: String,
        by: String,
        reason: String,
    },
    ChangeSeat {
        chat: String,
        person: String,
        by: String,
        role: String,
    },
    Mute {
        chat: String,
        person: String,
        for_ms: i64,
    },
    AskContact {
        by: String,
        account: String,
        #[serde(default)]
        text: Option<String>,
    },
    Contact {
        by: String,
        account: String,
        is_contact: bool,
    },
    Notice {
        account: String,
        name: String,
        title: String,
        text: String,
        #[serde(default)]
        warning: bool,
    },
    /// An item of a kind that no client knows.
    Riddle {
        account: String,
        body: Value,
    },
    /// Rate of the chatter.
    Rate {
        per_s: f64,
    },
    Fault {
        kind: FaultKind,
        #[serde(default)]
        fault: Fault,
    },
    /// No fault strikes any more, and everybody may log in again.
    Heal,
    /// A person answered the challenge elsewhere.
    Solve {
        account: String,
    },
    /// All sessions of the account are closed with this code.
    Kick {
        account: String,
        code: String,
    },
    /// The inbox keeps only so many of its newest items.
    Forget {
        account: String,
        keep: usize,
    },
    /// Takes over settings, as hello does.
    Settings {
        settings: super::Settings,
    },
    /// Entries of the record from number `after` on.
    Truth {
        #[serde(default)]
        after: u64,
        #[serde(default)]
        limit: Option<usize>,
        #[serde(default)]
        kinds: Vec<String>,
    },
    Summary,
}
