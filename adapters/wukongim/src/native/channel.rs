//! A channel's id here, `<channelType>-<channelId>`, and there.
//!
//! The id of a person channel is always the other party's uid; who that is depends on who looks.

use std::fmt;
use std::str::FromStr;

use im_bridge_sdk::model::{self, ChannelKind};

pub const PERSON: u8 = 1;
pub const GROUP: u8 = 2;
const LIVE: u8 = 9;
/// Of a user and an agent. Whoever writes names the other party alone, and the server stores it as `writer@other`.
const AGENT: u8 = 11;

/// Who speaks when nobody does: the server shows it as an empty uid.
pub const SYSTEM: &str = "____system";

/// A channel as this account sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId {
    pub kind: u8,
    pub id: String,
}

/// Not an id of this adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected <channelType>-<channelId>, for example 2-team or 1-alice")]
pub struct BadChannelId;

impl ChannelId {
    pub fn new(kind: u8, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { kind, id }
    }

    pub fn person(uid: impl Into<String>) -> Self {
        Self::new(PERSON, uid)
    }

    /// Of a message: in a person channel the party that is not `me`.
    ///
    /// The long connection names that party, history names the one that did not write.
    pub fn of_message(me: &str, kind: u8, channel_id: &str, from_uid: &str) -> Self {
        if kind == AGENT && !channel_id.contains('@') {
            return Self::new(kind, format!("{from_uid}@{channel_id}"));
        }
        if kind != PERSON {
            return Self::new(kind, channel_id);
        }
        // To oneself, history has the form in which the server stores it.
        let is_self = channel_id.split_once('@') == Some((me, me));
        let peer = if channel_id == me || is_self {
            from_uid
        } else {
            channel_id
        };
        Self::person(if peer.is_empty() && from_uid.is_empty() {
            SYSTEM
        } else {
            peer
        })
    }

    /// As everything but writing knows it: an agent may be named alone.
    pub fn stored(self, me: &str) -> Self {
        if self.kind == AGENT && !self.id.contains('@') {
            return Self::new(AGENT, format!("{me}@{}", self.id));
        }
        self
    }

    /// How `me` names it when writing.
    pub fn written_by(&self, me: &str) -> &str {
        let other = self.id.strip_prefix(me);
        let other = other.and_then(|rest| rest.strip_prefix('@'));
        other.filter(|_| self.kind == AGENT).unwrap_or(&self.id)
    }

    /// Of a message between two others, as the server stores it. An empty sender is the system.
    pub fn of_pair(from: &str, to: &str) -> Self {
        let from = if from.is_empty() { SYSTEM } else { from };
        Self::person(stored_pair(from, to))
    }

    pub fn model(&self) -> model::Channel {
        let kind = match self.kind {
            PERSON => ChannelKind::Dm,
            GROUP => ChannelKind::Group,
            LIVE => ChannelKind::Room,
            _ => ChannelKind::Unknown,
        };
        model::Channel::new(self.to_string(), kind).native_kind(self.kind.to_string())
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind, self.id)
    }
}

impl FromStr for ChannelId {
    type Err = BadChannelId;

    fn from_str(text: &str) -> Result<Self, BadChannelId> {
        let (kind, id) = text.split_once('-').ok_or(BadChannelId)?;
        let is_number = !kind.starts_with('0') && kind.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || id.is_empty() {
            return Err(BadChannelId);
        }
        let kind = kind.parse().map_err(|_| BadChannelId)?;
        Ok(Self::new(kind, id))
    }
}

/// How the server stores the channel of two people: `X@Y`, X being the one with the larger CRC-32.
pub fn stored_pair(from: &str, to: &str) -> String {
    let (crc_from, crc_to) = (
        crc32fast::hash(from.as_bytes()),
        crc32fast::hash(to.as_bytes()),
    );
    if crc_from > crc_to {
        format!("{from}@{to}")
    } else {
        format!("{to}@{from}")
    }
}

/// A uid that the server takes.
pub fn is_uid(uid: &str) -> bool {
    !uid.trim().is_empty() && !uid.contains(['@', '#', '&'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_channel_is_one_for_each_user() {
        let of =
            |channel_id, from| ChannelId::of_message("bot", AGENT, channel_id, from).to_string();
        assert_eq!(of("bot", "alice"), "11-alice@bot");
        assert_eq!(of("bot", "erin"), "11-erin@bot");
        // As history and conversations name it.
        assert_eq!(of("alice@bot", "alice"), "11-alice@bot");
        let own = ChannelId::new(AGENT, "helper").stored("bot");
        assert_eq!(
            (own.id.as_str(), own.written_by("bot")),
            ("bot@helper", "helper")
        );
        let others = ChannelId::new(AGENT, "alice@bot").stored("bot");
        assert_eq!(others.written_by("bot"), "alice@bot");
        let group = ChannelId::new(GROUP, "team").stored("bot");
        assert_eq!(
            (group.id.as_str(), group.written_by("bot")),
            ("team", "team")
        );
    }
}
