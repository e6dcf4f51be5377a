//! A message as the server keeps it, and as each recipient and each look-up sees it.

use super::channel::{AGENT, Key};
use super::codec::packets::{Flags, Recv};
use super::ids::{SYSTEM, person_channel};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

pub const PERSON: u8 = 1;

#[derive(Debug)]
pub struct Message {
    pub id: i64,
    /// 0: not stored.
    pub seq: u64,
    /// Empty: the system.
    pub from: Arc<str>,
    /// As its sender named it: for a person the other party.
    pub channel_id: Arc<str>,
    pub channel_type: u8,
    pub client_msg_no: Arc<str>,
    pub flags: Flags,
    pub setting: u8,
    pub stream_no: String,
    pub topic: String,
    pub expire_s: u32,
    pub timestamp_s: i32,
    pub payload: Bytes,
}

/// How one recipient sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub channel_id: Arc<str>,
    pub red_dot: bool,
}

impl Message {
    /// For this recipient: the other party of a person channel, no red dot for what is one's own.
    pub fn seen_by(&self, uid: &Arc<str>) -> Seen {
        let is_own = *uid == self.from;
        let channel_id = if self.channel_type == PERSON && !is_own {
            &self.from
        } else {
            &self.channel_id
        };
        Seen {
            channel_id: channel_id.clone(),
            red_dot: self.flags.red_dot && !is_own,
        }
    }

    pub fn flags_for(&self, seen: &Seen) -> Flags {
        Flags {
            red_dot: seen.red_dot,
            dup: false,
            ..self.flags
        }
    }

    /// The packet for this recipient, before it is sealed.
    pub fn recv(&self, seen: &Seen) -> Recv {
        Recv {
            flags: self.flags_for(seen),
            setting: self.setting,
            from_uid: self.from.to_string(),
            channel_id: seen.channel_id.to_string(),
            channel_type: self.channel_type,
            expire_s: self.expire_s,
            client_msg_no: self.client_msg_no.to_string(),
            stream_no: self.stream_no.clone(),
            message_id: self.id,
            message_seq: self.seq,
            timestamp_s: self.timestamp_s,
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            ..Recv::default()
        }
    }

    /// Of both parties of a person channel the one that did not send. Where neither or both did, the real server takes what
    /// its search left over: for the system, which has no name there, the second of the stored pair; to oneself the pair.
    fn shown_channel(&self) -> String {
        if self.channel_type == AGENT {
            return Key::written(&self.from, &self.channel_id, AGENT)
                .id
                .to_string();
        }
        if self.channel_type != PERSON {
            return self.channel_id.to_string();
        }
        let is_system = self.from.is_empty() || *self.from == *SYSTEM;
        let pair = person_channel(
            if is_system { SYSTEM } else { &self.from },
            &self.channel_id,
        );
        match pair.split_once('@') {
            Some((_, second)) if is_system => second.to_owned(),
            _ if self.from == self.channel_id => pair,
            _ => self.channel_id.to_string(),
        }
    }

    /// As the HTTP API shows it.
    pub fn shown(&self, has_flags: bool) -> Value {
        let flag = |is: bool| u8::from(is && has_flags);
        let mut shown = json!({
            "header": {
                "no_persist": flag(self.flags.no_persist),
                "red_dot": flag(self.flags.red_dot),
                "sync_once": flag(self.flags.sync_once),
            },
            "setting": self.setting,
            "message_id": self.id,
            "message_idstr": self.id.to_string(),
            "client_msg_no": *self.client_msg_no,
            "message_seq": self.seq,
            "from_uid": *self.from,
            "channel_id": self.shown_channel(),
            "channel_type": self.channel_type,
            "expire": self.expire_s,
            "timestamp": self.timestamp_s,
            "payload": STANDARD.encode(&self.payload),
        });
        if !self.topic.is_empty() {
            shown["topic"] = json!(self.topic);
        }
        shown
    }
}

/// A page of them in this order. The one with the lowest number has lost its flags, if the server does that.
pub fn shown_page<'a>(
    messages: impl IntoIterator<Item = &'a Arc<Message>>,
    is_zeroed: bool,
) -> Vec<Value> {
    let messages: Vec<_> = messages.into_iter().collect();
    let lowest = messages.iter().map(|message| message.seq).min();
    let has_flags = |seq: u64| !(is_zeroed && Some(seq) == lowest);
    let shown = messages
        .iter()
        .map(|message| message.shown(has_flags(message.seq)));
    shown.collect()
}
