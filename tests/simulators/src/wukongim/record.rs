//! What happened, numbered, for proofs: sessions, requests, messages that took effect, acknowledgements.
//!
//! Bounded: the oldest entries go, and whoever asks for them is told how many are missing.

use super::ids::now_ms;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;

/// Entries in one answer.
pub const PAGE_MAX: usize = 10_000;

/// Names, and message ids: numbers above 2^53 are text in JSON.
fn text<T: Display + ?Sized, S: Serializer>(it: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(it)
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind")]
pub enum Entry {
    #[serde(rename = "connection.opened")]
    Opened { conn: u64, transport: &'static str },
    #[serde(rename = "connection.closed")]
    Closed {
        conn: u64,
        uid: Option<String>,
        by: &'static str,
        why: String,
    },
    #[serde(rename = "session.begun")]
    Begun {
        conn: u64,
        #[serde(serialize_with = "text")]
        uid: Arc<str>,
        device_flag: u8,
        device_id: String,
        level: u8,
        form: &'static str,
        version: u8,
        encrypted: bool,
    },
    #[serde(rename = "session.refused")]
    Refused {
        conn: u64,
        uid: String,
        why: &'static str,
    },
    #[serde(rename = "session.kicked")]
    Kicked {
        conn: u64,
        #[serde(serialize_with = "text")]
        uid: Arc<str>,
        cause: &'static str,
    },
    /// The server gave the session up; its socket may stay open.
    #[serde(rename = "session.ended")]
    Ended {
        conn: u64,
        #[serde(serialize_with = "text")]
        uid: Arc<str>,
        cause: &'static str,
        is_mute: bool,
        unacked: usize,
    },
    #[serde(rename = "send")]
    Send {
        source: &'static str,
        conn: Option<u64>,
        #[serde(serialize_with = "text")]
        from: Arc<str>,
        #[serde(serialize_with = "text")]
        channel_id: Arc<str>,
        channel_type: u8,
        #[serde(serialize_with = "text")]
        client_msg_no: Arc<str>,
        #[serde(serialize_with = "text")]
        message_id: i64,
        message_seq: u64,
        reason: u8,
    },
    #[serde(rename = "recv")]
    Recv {
        conn: u64,
        #[serde(serialize_with = "text")]
        message_id: i64,
        message_seq: u64,
        attempt: u32,
    },
    #[serde(rename = "recvack")]
    Recvack {
        conn: u64,
        #[serde(serialize_with = "text")]
        message_id: i64,
        message_seq: u64,
        /// Whether it stopped the resends.
        is_effective: bool,
    },
    #[serde(rename = "ping")]
    Ping { conn: u64 },
    #[serde(rename = "request")]
    Request {
        port: &'static str,
        method: String,
        path: String,
        status: u16,
        uid: Option<String>,
        body: Value,
    },
    #[serde(rename = "webhook")]
    Webhook {
        event: String,
        status: Option<u16>,
        attempt: u32,
    },
    #[serde(rename = "fault")]
    Fault { fault: u64, at: String },
    #[serde(rename = "protocol.error")]
    Error { conn: u64, what: String },
    #[serde(rename = "server.crashed")]
    Crashed { why: &'static str },
}

impl Entry {
    fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "connection.opened",
            Self::Closed { .. } => "connection.closed",
            Self::Begun { .. } => "session.begun",
            Self::Refused { .. } => "session.refused",
            Self::Kicked { .. } => "session.kicked",
            Self::Ended { .. } => "session.ended",
            Self::Send { .. } => "send",
            Self::Recv { .. } => "recv",
            Self::Recvack { .. } => "recvack",
            Self::Ping { .. } => "ping",
            Self::Request { .. } => "request",
            Self::Webhook { .. } => "webhook",
            Self::Fault { .. } => "fault",
            Self::Error { .. } => "protocol.error",
            Self::Crashed { .. } => "server.crashed",
        }
    }
}

/// Entries by number from `first` on.
#[derive(Debug)]
pub struct Record {
    first: u64,
    entries: VecDeque<(i64, Entry)>,
    pub max: usize,
}

impl Record {
    pub fn new(max: usize) -> Self {
        Self {
            first: 1,
            entries: VecDeque::new(),
            max,
        }
    }

    pub fn add(&mut self, entry: Entry) {
        while self.entries.len() >= self.max.max(1) {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back((now_ms(), entry));
    }

    /// Those numbered above `after` and of these kinds; no kinds: all.
    pub fn page(&self, after: u64, kinds: &[&str], limit: usize) -> Value {
        let missed = self.first.saturating_sub(1).saturating_sub(after);
        let skip = (after + 1).saturating_sub(self.first);
        let mut next = after + missed;
        let mut page = Vec::new();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for (at_ms, entry) in self.entries.iter().skip(skip) {
            if page.len() >= limit.min(PAGE_MAX) {
                break;
            }
            next += 1;
            if kinds.is_empty() || kinds.contains(&entry.kind()) {
                let mut shown = serde_json::to_value(entry).unwrap_or_default();
                shown["n"] = json!(next);
                shown["at_ms"] = json!(at_ms);
                page.push(shown);
            }
        }
        json!({ "entries": page, "next": next, "dropped": missed })
    }
}
