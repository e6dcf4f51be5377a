//! Whose channel is whose: users that were resolved are remembered, so that both forms of address share one order.
//!
//! In memory only, [`REMEMBERED_MAX`] per account; what is forgotten is asked again, which every provider answers with the
//! same channel.

use super::Fail;
use super::answer::Verdict;
use super::desk::Desk;
use super::flow::{Act, HANDED_OVER_FOR, expired};
use super::outcome::Outcome;
use super::work::Work;
use crate::account::Request;
use crate::bus::clock::unix_ms;
use crate::loader::host::Command as HandedOver;
use bytes::Bytes;
use im_bridge_plugin_api::abi::Trace;
use im_bridge_sdk::model::ids::hashed;
use im_bridge_sdk::model::{Command, ErrorCode, ErrorObject, Level};
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;

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

impl Desk {
    /// The channel of the two, or why there is none. Get-or-create: asking again is harmless.
    pub(super) async fn find_channel(&self, user: &str, work: &mut Work) -> Result<String, Act> {
        if work.is_expired() {
            return Err(Verdict::from(expired()).into());
        }
        let offered = self.capabilities().map_or(Level::Rejected, |can| {
            can.commands.get(Command::ChannelCreate)
        });
        if offered <= Level::Dropped {
            let text = "the provider finds no channel by its user";
            let hint = "address the channel by `channel_id`".to_owned();
            let fail = Fail::certain(ErrorCode::UnsupportedCommand, text)
                .at("/params/to/user_id")
                .hint(Some(hint));
            return Err(Verdict::from(fail).into());
        }
        let until = work.deadline_at().min(Instant::now() + HANDED_OVER_FOR);
        let left = until.saturating_duration_since(Instant::now());
        let left_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        work.attempts += 1;
        let question = HandedOver {
            name: Command::ChannelCreate.as_str().into(),
            channel: None,
            idempotency_key: reference(user).into(),
            body: question(user),
            deadline_ms: unix_ms().saturating_add(left_ms),
            is_redelivered: work.attempts > 1,
            trace: Trace::NONE,
        };
        let question = Box::new(Request::of(question));
        let handed = self.hands.carry_out(question, until).await;
        let error = match Outcome::of(&handed.ended) {
            Outcome::Success { result, .. } => match answer(result.as_str()) {
                Some(channel) => {
                    // What it took to find the channel is none of the command's tries.
                    work.attempts = 0;
                    return Ok(channel);
                }
                None => ErrorObject::new(
                    ErrorCode::SchemaViolation,
                    true,
                    "the adapter made a channel without an id",
                ),
            },
            // The channel may exist now, but nothing was sent.
            Outcome::Failure { mut error, .. } => {
                error.certain = true;
                error
            }
            Outcome::Uncertain { error } => {
                ErrorObject::new(ErrorCode::ProviderUnavailable, true, error.message)
            }
        };
        if let Some(again) = self.retry(work, &error) {
            return Err(Act::Again(again));
        }
        Err(Verdict {
            is_dead: self.is_dead(work, &error),
            ..Verdict::error(self.said(work, error))
        }
        .into())
    }
}

/// Body of the question for the channel of a user.
fn question(user: &str) -> Bytes {
    let params = serde_json::json!({ "kind": "dm", "member_ids": [user] });
    format!("{{\"params\":{params},\"options\":{{}}}}").into()
}

/// The same for every question about this user.
fn reference(user: &str) -> String {
    hashed(&format!("dm {user}"))
}

/// The channel in an answer.
fn answer(result: &str) -> Option<String> {
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
