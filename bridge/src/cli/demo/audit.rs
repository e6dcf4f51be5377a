//! What became of everything: what the provider said and did, against what stands in the streams.
//!
//! It reads both anew from their beginning, so that nothing depends on what the demo saw while it ran.
//!
//! Not here: the demo's own course (`play`), what a fault must not do beyond that (`breaks`).

use im_bridge_sdk::model::Time;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Of one message that somebody wrote there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    /// `<provider>/<account>`
    pub account: String,
    pub channel: String,
    pub message: String,
}

/// What the provider was told and did.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// By others than the account, in order.
    pub said: Vec<Said>,
    /// How often each of the account's own messages was carried out, by their references.
    pub sends: BTreeMap<String, u64>,
    /// Messages that were said while the account had a session before and after, but none then.
    pub said_while_away: usize,
    /// It kept only the last of it: a demo that ran for hours.
    pub is_trimmed: bool,
}

/// What stands in the streams.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Messages by others, in order.
    pub events: Vec<Event>,
    /// Status of each result, by its command.
    pub results: Vec<(String, String)>,
}

/// A stored message by somebody else.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub said: Said,
    /// When the bridge took it from the adapter.
    pub recorded: Option<Time>,
    pub is_backfill: bool,
}

impl Said {
    /// Inside what it has an order.
    fn place(&self) -> (&str, &str) {
        (&self.account, &self.channel)
    }
}

impl Event {
    /// A stored event, if it is a message by somebody else.
    pub(super) fn of(event: &Value) -> Option<Self> {
        if event["origin"] != "remote" {
            return None;
        }
        let text = |value: &Value| Some(value.as_str()?.to_owned());
        let provider = event["provider"].as_str()?;
        Some(Self {
            said: Said {
                account: format!("{provider}/{}", event["account"].as_str()?),
                channel: text(&event["subject"])?,
                message: text(&event["data"]["message"]["id"])?,
            },
            recorded: event["recordedtime"]
                .as_str()
                .and_then(|time| time.parse().ok()),
            is_backfill: event["delivery"] == "backfill",
        })
    }
}

impl Truth {
    /// Another account's, beside this one.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.said.extend(other.said);
        self.sends.extend(other.sends);
        self.said_while_away += other.said_while_away;
        self.is_trimmed |= other.is_trimmed;
        self
    }
}

/// The demo's last line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    stored: usize,
    distinct: usize,
    channels: usize,
    is_in_order: bool,
    commands: usize,
    commands_ok: usize,
    unknown: usize,
    lost: usize,
    doubled: usize,
    took: Duration,
}

impl Verdict {
    /// `commands`: ids of those that were sent.
    pub(super) fn new(
        truth: &Truth,
        stored: &Stored,
        commands: &BTreeSet<String>,
        took: Duration,
    ) -> Self {
        let distinct: BTreeSet<&Said> = stored.events.iter().map(|event| &event.said).collect();
        let lost = truth.said.iter().filter(|it| !distinct.contains(it));
        let mut results: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (command, status) in &stored.results {
            results.entry(command).or_default().push(status);
        }
        let unanswered = commands
            .iter()
            .filter(|it| !results.contains_key(it.as_str()));
        let answered_again: usize = results.values().map(|all| all.len() - 1).sum();
        let done_again: u64 = truth
            .sends
            .values()
            .map(|times| times.saturating_sub(1))
            .sum();
        let ended = |wanted: &str| {
            let has_only = |all: &Vec<&str>| all.iter().all(|status| *status == wanted);
            let ids = commands.iter();
            ids.filter(|it| results.get(it.as_str()).is_some_and(has_only))
                .count()
        };
        Self {
            stored: stored.events.len(),
            distinct: distinct.len(),
            channels: distinct
                .iter()
                .map(|it| it.place())
                .collect::<BTreeSet<_>>()
                .len(),
            is_in_order: is_in_order(truth, stored),
            commands: commands.len(),
            commands_ok: ended("ok"),
            unknown: ended("unknown"),
            lost: lost.count() + unanswered.count(),
            doubled: stored.events.len() - distinct.len()
                + answered_again
                + usize::try_from(done_again).unwrap_or(usize::MAX),
            took,
        }
    }

    /// Every promise was kept. `unknown`: commands that the provider will never answer.
    pub(super) fn is_good(&self, unknown: usize) -> bool {
        self.is_in_order
            && self.lost == 0
            && self.doubled == 0
            && self.unknown == unknown
            && self.commands_ok + self.unknown == self.commands
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.is_in_order {
            "in order"
        } else {
            "OUT OF ORDER"
        };
        write!(
            f,
            "demo: {} events stored, {} distinct, {order} in {} channels; {} commands ok",
            self.stored, self.distinct, self.channels, self.commands_ok
        )?;
        if self.unknown > 0 {
            write!(f, ", {} unknown", self.unknown)?;
        }
        if self.commands_ok + self.unknown != self.commands {
            write!(f, " of {}", self.commands)?;
        }
        write!(
            f,
            "; {} lost, {} doubled; {:.1} s",
            self.lost,
            self.doubled,
            self.took.as_secs_f32()
        )
    }
}

/// Within each channel, what is stored stands in the order in which it was said.
fn is_in_order(truth: &Truth, stored: &Stored) -> bool {
    let places: BTreeMap<&Said, usize> = truth.said.iter().zip(0..).collect();
    let mut last: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    stored.events.iter().all(|event| {
        let Some(place) = places.get(&event.said) else {
            // Nobody said it, unless it is so long ago that nobody knows.
            return truth.is_trimmed;
        };
        let before = last.insert(event.said.place(), *place);
        before.is_none_or(|before| before <= *place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(all: &[(&str, &str)]) -> Vec<Said> {
        let one = |&(channel, message): &(&str, &str)| Said {
            account: "sim/demo".to_owned(),
            channel: channel.to_owned(),
            message: message.to_owned(),
        };
        all.iter().map(one).collect()
    }

    const ALL: [(&str, &str); 3] = [("lobby", "1"), ("kitchen", "2"), ("lobby", "3")];

    fn verdict(events: &[(&str, &str)], results: &[(&str, &str)], sends: u64) -> Verdict {
        let truth = Truth {
            said: said(&ALL),
            sends: BTreeMap::from([("k".to_owned(), sends)]),
            ..Truth::default()
        };
        let result = |&(id, status): &(&str, &str)| (id.to_owned(), status.to_owned());
        let event = |said| Event {
            said,
            recorded: None,
            is_backfill: false,
        };
        let stored = Stored {
            events: said(events).into_iter().map(event).collect(),
            results: results.iter().map(result).collect(),
        };
        let commands = BTreeSet::from(["c".to_owned()]);
        Verdict::new(&truth, &stored, &commands, Duration::from_millis(6_100))
    }

    #[test]
    fn what_was_kept_is_told_in_one_line() {
        let verdict = verdict(&ALL, &[("c", "ok")], 1);
        assert!(verdict.is_good(0));
        assert_eq!(
            verdict.to_string(),
            "demo: 3 events stored, 3 distinct, in order in 2 channels; 1 commands ok; 0 lost, 0 doubled; 6.1 s"
        );
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let ok = [("c", "ok")];
        let broken = [
            verdict(&ALL[..2], &ok, 1),
            verdict(&[ALL[0], ALL[1], ALL[2], ALL[2]], &ok, 1),
            verdict(&[ALL[2], ALL[1], ALL[0]], &ok, 1),
            verdict(&ALL, &[], 1),
            verdict(&ALL, &[("c", "error")], 1),
            verdict(&ALL, &[("c", "unknown")], 1),
            verdict(&ALL, &[("c", "ok"), ("c", "ok")], 1),
            verdict(&ALL, &ok, 2),
        ];
        for verdict in broken {
            assert!(!verdict.is_good(0), "{verdict}");
        }
    }

    #[test]
    fn what_nobody_can_know_is_told_apart() {
        let verdict = verdict(&ALL, &[("c", "unknown")], 1);
        assert!(verdict.is_good(1));
        assert!(verdict.to_string().contains("; 0 commands ok, 1 unknown; "));
    }

    #[test]
    fn channels_have_no_order_between_them() {
        assert!(verdict(&[ALL[1], ALL[0], ALL[2]], &[("c", "ok")], 1).is_good(0));
    }
}
