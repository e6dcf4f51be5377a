//! The provider's own protocol as types: JSON objects, one per WebSocket message.
//!
//! What the provider calls a person, a chat, a post, a seat and a part is a user, a channel, a message, a member and a
//! segment in the event model. Nothing here knows the model: `inbound.rs` and `outbound.rs` translate. The played
//! provider uses the same types, so the two sides cannot drift apart.
//!
//! Calls and orders stand in their frame beside its `id`, so none of them has a member of that name.
//!
//! Not here: which answer belongs to which request (`link.rs`); what the provider does (`provider/`). The protocol in
//! prose, with examples, is README.md beside this package.

mod calls;
mod content;
mod items;

pub use calls::{
    Call, Changed, Chats, Contacts, Opened, Outcome, People, Posts, ReadMark, Seats, Synced, Token,
    Unread,
};
pub use content::{Card, Media, Part, Place, Post, PostState, Quote};
pub use items::{Chat, Item, Person, Reaction, Seat, What};

use std::borrow::Cow;

use im_bridge_sdk::model::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a client says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Up {
    /// First frame of every connection: which world, who asks, and how it is to be. Whoever made a world may change it.
    Hello {
        world: String,
        #[serde(default)]
        by: String,
        #[serde(default)]
        settings: Value,
    },
    Login(Login),
    /// A pushed item is in safe hands; it is not pushed again.
    Ack {
        push: u64,
    },
    Request(Request),
    /// To the one who plays the provider: make somebody write, break something, tell the truth.
    Order {
        id: u64,
        #[serde(flatten)]
        order: Value,
    },
    Ping {
        id: u64,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    pub person: String,
    /// Written out by `Serialize` and hidden by nothing: a frame that carries it is never logged.
    pub token: String,
    pub device: String,
    /// What a person answered to a challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    pub id: u64,
    /// The client's own name for what it asks: found again by [`Call::Outcome`], echoed by a post.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub client_ref: Option<String>,
    #[serde(flatten)]
    pub call: Call,
}

/// What the provider says.
#[allow(
    clippy::large_enum_variant,
    reason = "pushes are the large ones, and nearly all there are"
)]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Down {
    Welcome(Welcome),
    /// The login was not accepted; the provider closes.
    Refused(Refused),
    Push {
        push: u64,
        #[serde(default)]
        redelivered: bool,
        item: Item,
    },
    Answer(Answer),
    Pong {
        id: u64,
    },
    /// The provider closes the connection, and why.
    Closing {
        code: String,
        text: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    pub session: u64,
    pub person: Person,
    /// Number of the newest item there is for this person: later ones are pushed, earlier ones are fetched.
    pub last_seq: u64,
    pub token_expires_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// `bad_token`, `challenge`, `down`.
    pub code: String,
    pub text: String,
    /// What a person has to do, for `challenge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// `captcha`, `sms`, `qr`.
    pub kind: String,
    pub url: String,
    pub expires_ms: i64,
}

impl Down {
    /// From a frame. As a tagged enum inside another one a push would first be made into a tree and then copied out of it,
    /// which costs more than all else that an adapter does with it. So what people write, nearly all there is, is read in
    /// one pass; another push member by member, as an answer, whose own text stays unread until whoever asked reads it as
    /// what it is; and the enum is for what is rare.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        if let Some(push) = items::Written::push(text) {
            return Ok(push);
        }
        #[derive(Deserialize)]
        struct Frame<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            push: Option<u64>,
            #[serde(default)]
            redelivered: bool,
            #[serde(borrow)]
            item: Option<&'a RawValue>,
            id: Option<u64>,
            ok: Option<Json>,
            error: Option<Refusal>,
        }
        match serde_json::from_str(text)? {
            Frame {
                kind,
                push: Some(push),
                redelivered,
                item: Some(item),
                ..
            } if kind == "push" => Ok(Self::Push {
                push,
                redelivered,
                item: serde_json::from_str(item.get())?,
            }),
            Frame {
                kind,
                id: Some(id),
                ok,
                error,
                ..
            } if kind == "answer" => Ok(Self::Answer(Answer { id, ok, error })),
            _ => serde_json::from_str(text),
        }
    }
}

/// Exactly one of `ok` and `error` is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// Why the provider did not do what was asked. It surely did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    #[must_use]
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            text: text.into(),
            retry_after_ms: None,
        }
    }
}
