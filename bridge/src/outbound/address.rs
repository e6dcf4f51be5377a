//! Whose channel is whose: users that were resolved are remembered, so that both forms of address share one order.
//!
//! In memory only, [`REMEMBERED_MAX`] per account; what is forgotten is asked again, which every provider answers with the
//! same channel.

use bytes::Bytes;
use im_bridge_sdk::model::ids::hashed;
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};

/// Users per account.
pub const REMEMBERED_MAX: usize = 10_000;

/// Channels by user.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    channels: HashMap<Box<str>, Box<str>>,
    /// In the order in which they were learnt: the first one goes first.
    learnt: VecDeque<Box<str>>,
}

impl Addresses {
    pub(super) fn get(&self, user: &str) -> Option<&str> {
        self.channels.get(user).map(|channel| &**channel)
    }

    pub(super) fn learn(&mut self, user: &str, channel: &str) {
        if self.channels.insert(user.into(), channel.into()).is_some() {
            return;
        }
        self.learnt.push_back(user.into());
        if self.learnt.len() > REMEMBERED_MAX
            && let Some(first) = self.learnt.pop_front()
        {
            self.channels.remove(&first);
        }
    }
}

/// Body of the question for the channel of a user.
pub(super) fn question(user: &str) -> Bytes {
    let params = serde_json::json!({ "kind": "dm", "member_ids": [user] });
    format!("{{\"params\":{params},\"options\":{{}}}}").into()
}

/// The same for every question about this user.
pub(super) fn reference(user: &str) -> String {
    hashed(&format!("dm {user}"))
}

/// The channel in an answer.
pub(super) fn answer(result: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Created {
        channel: Channel,
    }
    #[derive(Deserialize)]
    struct Channel {
        id: String,
    }
    let created: Created = serde_json::from_str(result).ok()?;
    Some(created.channel.id).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_learnt_is_the_first_forgotten() {
        let mut addresses = Addresses::default();
        for user in 0..=REMEMBERED_MAX {
            addresses.learn(&user.to_string(), "c");
        }
        assert_eq!(addresses.get("0"), None);
        assert_eq!(addresses.get("1"), Some("c"));
        addresses.learn("1", "d");
        assert_eq!(addresses.get("1"), Some("d"));
        assert_eq!(addresses.learnt.len(), REMEMBERED_MAX);
    }

    #[test]
    fn an_answer_names_a_channel() {
        assert_eq!(
            answer(r#"{"channel":{"id":"2-g-1","kind":"dm"},"created":true}"#).as_deref(),
            Some("2-g-1")
        );
        assert_eq!(answer("{}"), None);
    }
}
