//! One channel: who may write, what was written, and the pages that a reader gets of it.

use super::ids::person_channel;
use super::message::{Message, PERSON};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Of a user and an agent.
pub const AGENT: u8 = 11;
/// Types that take anybody.
const OPEN_TYPES: [u8; 3] = [3, 6, AGENT];
const TYPES: std::ops::RangeInclusive<u8> = 1..=12;

pub const SUCCESS: u8 = 1;
pub const NOT_SUBSCRIBER: u8 = 3;
pub const DENIED: u8 = 4;
pub const BAD_PAYLOAD: u8 = 9;
pub const KICKED: u8 = 12;
pub const NOT_ALLOWED: u8 = 13;
pub const SYSTEM_ERROR: u8 = 15;
pub const BANNED: u8 = 19;
pub const DISBANDED: u8 = 24;

/// The stored name of a channel and its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub id: Arc<str>,
    pub channel_type: u8,
}

impl Key {
    pub fn of(id: &str, channel_type: u8) -> Self {
        let id = id.into();
        Self { id, channel_type }
    }

    /// Where what this sender writes is stored: an agent's channel is one for each who writes to it.
    pub fn written(sender: &str, channel_id: &str, channel_type: u8) -> Self {
        if channel_type == AGENT {
            return Self::of(&format!("{sender}@{channel_id}"), channel_type);
        }
        Self::between(sender, channel_id, channel_type)
    }

    /// Where the messages of this channel are, for somebody who names it as clients do.
    pub fn between(uid: &str, channel_id: &str, channel_type: u8) -> Self {
        if channel_type == PERSON && !channel_id.contains('@') {
            Self::of(&person_channel(uid, channel_id), channel_type)
        } else {
            Self::of(channel_id, channel_type)
        }
    }
}

#[derive(Debug, Default)]
pub struct Channel {
    /// Somebody made it; a name that was only written to is not.
    pub is_made: bool,
    pub is_deleted: bool,
    pub ban: bool,
    pub disband: bool,
    pub send_ban: bool,
    pub members: BTreeSet<Arc<str>>,
    pub deny: BTreeSet<String>,
    pub allow: BTreeSet<String>,
    /// In order of their numbers, with gaps where a test wanted them.
    pub log: VecDeque<Arc<Message>>,
    pub last_seq: u64,
}

/// Why nobody may write to a channel, whoever it is.
pub fn closed_reason(channel: Option<&Channel>, channel_type: u8) -> Option<u8> {
    if !TYPES.contains(&channel_type) {
        return Some(NOT_SUBSCRIBER);
    }
    let is_open = channel_type == PERSON || OPEN_TYPES.contains(&channel_type);
    match channel {
        Some(it) if it.disband || it.is_deleted => Some(DISBANDED),
        Some(it) if it.ban => Some(BANNED),
        Some(it) if it.is_made || is_open => None,
        None if is_open => None,
        _ => Some(NOT_SUBSCRIBER),
    }
}

impl Channel {
    /// Why this user may not write to it.
    pub fn refusal(&self, uid: &str, channel_type: u8) -> Option<u8> {
        if self.deny.contains(uid) {
            return Some(DENIED);
        }
        if channel_type == PERSON || OPEN_TYPES.contains(&channel_type) {
            return None;
        }
        if !self.members.contains(uid) {
            return Some(NOT_SUBSCRIBER);
        }
        (!self.allow.is_empty() && !self.allow.contains(uid)).then_some(NOT_ALLOWED)
    }

    pub fn keep(&mut self, message: Arc<Message>, max: usize) {
        while self.log.len() >= max.max(1) {
            self.log.pop_front();
        }
        self.log.push_back(message);
    }

    /// Where the first message with at least this number is.
    fn at(&self, seq: u64) -> usize {
        self.log.partition_point(|message| message.seq < seq)
    }

    /// Numbers in `[start, end)`, ascending, the lowest `limit`; an `end` of 0 is open.
    pub fn upward(&self, start: u64, end: u64, limit: usize) -> Vec<Arc<Message>> {
        let messages = self.log.iter().skip(self.at(start));
        let inside = messages.take_while(|message| end == 0 || message.seq < end);
        inside.take(limit).cloned().collect()
    }

    /// Numbers in `(end, start]`, ascending, the highest `limit`; a `start` of 0 is the newest.
    pub fn downward(&self, start: u64, end: u64, limit: usize) -> Vec<Arc<Message>> {
        let stop = if start == 0 {
            self.log.len()
        } else {
            self.at(start.saturating_add(1))
        };
        let first = self.at(end.saturating_add(1)).min(stop);
        let first = first.max(stop.saturating_sub(limit));
        self.log.range(first..stop).cloned().collect()
    }
}
