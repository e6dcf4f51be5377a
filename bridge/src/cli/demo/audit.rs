//! What became of everything: what the provider said and did, against what stands in the streams.
//!
//! It reads both anew from their beginning, so that nothing depends on what the demo saw while it ran.
//!
//! Not here: the demo's own course (`play`).

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Of one message that somebody wrote there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
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
}

/// What stands in the streams.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Messages by others, in order.
    pub events: Vec<Said>,
    /// Status of each result, by its command.
    pub results: Vec<(String, String)>,
}

impl Said {
    /// A stored event, if it is a message by somebody else.
    pub(super) fn of(event: &Value) -> Option<Self> {
        if event["origin"] != "remote" {
            return None;
        }
        Some(Self {
            channel: event["subject"].as_str()?.to_owned(),
            message: event["data"]["message"]["id"].as_str()?.to_owned(),
        })
    }
}

impl Truth {
    /// Whether everything that was said stands among the stored.
    pub(super) fn is_covered_by(&self, stored: &Stored) -> bool {
        let events: BTreeSet<&Said> = stored.events.iter().collect();
        self.said.iter().all(|said| events.contains(said))
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
        let distinct: BTreeSet<&Said> = stored.events.iter().collect();
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
        let commands_ok = commands.iter().filter(|it| {
            let statuses = results.get(it.as_str());
            statuses.is_some_and(|all| all.iter().all(|status| *status == "ok"))
        });
        Self {
            stored: stored.events.len(),
            distinct: distinct.len(),
            channels: by_channel(&stored.events).len(),
            is_in_order: is_in_order(truth, stored),
            commands: commands.len(),
            commands_ok: commands_ok.count(),
            lost: lost.count() + unanswered.count(),
            doubled: stored.events.len() - distinct.len()
                + answered_again
                + usize::try_from(done_again).unwrap_or(usize::MAX),
            took,
        }
    }

    /// Every promise was kept.
    pub(super) fn is_good(&self) -> bool {
        self.is_in_order && self.lost == 0 && self.doubled == 0 && self.commands_ok == self.commands
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
        if self.commands_ok != self.commands {
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

fn by_channel(all: &[Said]) -> BTreeMap<&str, Vec<&str>> {
    let mut channels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for said in all {
        let messages = channels.entry(&said.channel).or_default();
        messages.push(&said.message);
    }
    channels
}

/// Within each channel, what is stored stands in the order in which it was said.
fn is_in_order(truth: &Truth, stored: &Stored) -> bool {
    let places: BTreeMap<&Said, usize> = truth.said.iter().zip(0..).collect();
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    stored.events.iter().all(|event| {
        let Some(place) = places.get(event) else {
            // Nobody said it.
            return false;
        };
        let before = last.insert(&event.channel, *place);
        before.is_none_or(|before| before <= *place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(all: &[(&str, &str)]) -> Vec<Said> {
        let one = |&(channel, message): &(&str, &str)| Said {
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
        };
        let result = |&(id, status): &(&str, &str)| (id.to_owned(), status.to_owned());
        let stored = Stored {
            events: said(events),
            results: results.iter().map(result).collect(),
        };
        let commands = BTreeSet::from(["c".to_owned()]);
        Verdict::new(&truth, &stored, &commands, Duration::from_millis(6_100))
    }

    #[test]
    fn what_was_kept_is_told_in_one_line() {
        let verdict = verdict(&ALL, &[("c", "ok")], 1);
        assert!(verdict.is_good());
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
            verdict(&ALL, &[("c", "ok"), ("c", "ok")], 1),
            verdict(&ALL, &ok, 2),
        ];
        for verdict in broken {
            assert!(!verdict.is_good(), "{verdict}");
        }
    }

    #[test]
    fn channels_have_no_order_between_them() {
        assert!(verdict(&[ALL[1], ALL[0], ALL[2]], &[("c", "ok")], 1).is_good());
    }
}
