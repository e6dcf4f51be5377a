//! What a client may ask, and the answers to it.

use im_bridge_sdk::model::Json;
use serde::{Deserialize, Serialize};

use super::{Chat, Item, Part, Person, Post, Quote, Seat};

/// `{"call": "send", "chat": …}`; the answer's type stands behind each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// [`Post`].
    Send {
        chat: String,
        parts: Vec<Part>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quote: Option<Quote>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
        #[serde(default)]
        silent: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_in_s: Option<u64>,
    },
    /// [`Post`].
    Edit {
        chat: String,
        post: String,
        parts: Vec<Part>,
    },
    /// Nothing.
    Recall {
        chat: String,
        post: String,
        for_all: bool,
    },
    /// [`Post`].
    Post { chat: Option<String>, post: String },
    /// [`Posts`]: those after, or the newest before; at most `limit`.
    Posts {
        chat: String,
        after: Option<u64>,
        before: Option<u64>,
        limit: usize,
    },
    /// Nothing.
    React {
        chat: String,
        post: String,
        key: String,
        on: bool,
    },
    /// [`Changed`].
    MarkRead {
        chat: String,
        up_to: Option<String>,
        posts: Vec<String>,
    },
    /// `Vec<ReadMark>`.
    ReadMarks { chat: String, people: Vec<String> },
    /// Nothing.
    Typing { chat: String, on: bool, ttl_ms: u64 },
    /// [`Opened`]; kind 1 finds the chat if there is one.
    OpenChat {
        kind: u8,
        /// Id of the chat to be.
        chat: Option<String>,
        name: Option<String>,
        picture: Option<String>,
        people: Vec<String>,
    },
    /// [`Chat`].
    ChangeChat {
        chat: String,
        name: Option<String>,
        picture: Option<String>,
        topic: Option<String>,
    },
    /// Nothing.
    CloseChat { chat: String, for_all: bool },
    /// Nothing.
    LeaveChat { chat: String },
    /// [`Chat`].
    Chat { chat: String },
    /// [`Chats`], by id.
    Chats { after: Option<String>, limit: usize },
    /// [`People`].
    AddPeople { chat: String, people: Vec<String> },
    /// [`People`].
    RemovePeople { chat: String, people: Vec<String> },
    /// [`Seat`].
    ChangeSeat {
        chat: String,
        person: String,
        role: Option<String>,
        alias: Option<String>,
    },
    /// [`Seats`], by the person's id.
    Seats {
        chat: String,
        after: Option<String>,
        limit: usize,
    },
    /// [`Person`].
    Person { person: String },
    /// [`Contacts`], by id.
    Contacts { after: Option<String>, limit: usize },
    /// Nothing.
    AnswerContact { request: String, accept: bool },
    /// [`Unread`].
    Unread { chat: Option<String> },
    /// [`super::Media`].
    Upload {
        source: String,
        mime: String,
        name: Option<String>,
    },
    /// [`Synced`]: the inbox after a number.
    Sync { after: u64, limit: usize },
    /// [`Outcome`]: what became of the request with this reference.
    Outcome { of: String },
    /// [`Token`].
    Renew,
    /// An object for people to look at.
    Status,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Posts {
    /// Oldest first.
    pub posts: Vec<Post>,
    /// There are more in the direction asked for.
    pub more: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    pub changed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadMark {
    pub person: String,
    pub seq: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    pub chat: Chat,
    pub created: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chats {
    pub chats: Vec<Chat>,
    pub more: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct People {
    pub done: Vec<String>,
    /// Person and reason.
    pub failed: Vec<(String, super::Refusal)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seats {
    pub seats: Vec<Seat>,
    pub more: bool,
}

/// A page of contacts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contacts {
    pub people: Vec<Person>,
    pub more: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unread {
    pub total: u64,
    /// Chat and count, without the zeros.
    pub chats: Vec<(String, u64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Synced {
    pub items: Vec<Item>,
    pub more: bool,
    /// Numbers that are no longer kept, first and last, when the answer begins later than was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub done: bool,
    /// What was answered, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Json>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    pub expires_ms: i64,
}
