//! Who of the events' readers fell behind, judged by two looks at a time.
//!
//! A reader of everything has missed what lies between its place and the first message that is left. One that filters may
//! have been asked for none of that, so it has missed something only if a message that waited for it at the last look is
//! gone. What was missed is said until the reader has gone on and caught up.

use super::Finding;
use crate::bus::survey::{Object, Reader};
use std::collections::BTreeMap;
use std::time::Duration;

/// From here on a person has time to act before something is lost.
const SLOW_FROM: f64 = 0.7;

/// What the former looks said.
#[derive(Default)]
pub(super) struct Readers(BTreeMap<String, Known>);

struct Known {
    created: String,
    /// The oldest message that waited for it.
    waiting: Option<u64>,
    missed: Option<Missed>,
    found: Option<Finding>,
}

#[derive(Clone, Copy)]
struct Missed {
    /// None: unknown, since it filters.
    count: Option<u64>,
    /// Where it was then.
    delivered: u64,
}

impl Readers {
    /// What the last look found.
    pub fn known(&self) -> Vec<Finding> {
        self.0.values().filter_map(|it| it.found.clone()).collect()
    }

    /// `now_ms` is the time of this look.
    pub fn judge(&mut self, readers: &[Reader], events: &Object, now_ms: i64) -> Vec<Finding> {
        let mut before = std::mem::take(&mut self.0);
        for reader in readers {
            let known = before
                .remove(&reader.name)
                .filter(|known| known.created == reader.created);
            let missed = missed(reader, known.as_ref(), events);
            let used = used(reader, events, now_ms);
            let found = match missed {
                Some(missed) => Some(lost(reader, missed, events)),
                None if used >= SLOW_FROM => Some(slow(reader, used, events)),
                None => None,
            };
            let known = Known {
                created: reader.created.clone(),
                waiting: reader.waiting.map(|(sequence, _)| sequence),
                missed,
                found,
            };
            self.0.insert(reader.name.clone(), known);
        }
        self.known()
    }
}

fn missed(reader: &Reader, known: Option<&Known>, events: &Object) -> Option<Missed> {
    let is_past = reader.next < events.first;
    if !reader.is_filtered && is_past {
        let count = Some(events.first - reader.next);
        return Some(Missed {
            count,
            delivered: reader.delivered,
        });
    }
    let waited = known.and_then(|known| known.waiting);
    let is_gone = |sequence: u64| sequence < events.first && reader.delivered < sequence;
    if reader.is_filtered && waited.is_some_and(is_gone) {
        return Some(Missed {
            count: None,
            delivered: reader.delivered,
        });
    }
    let before = known.and_then(|known| known.missed)?;
    let has_caught_up = !reader.is_behind && reader.delivered > before.delivered;
    (!has_caught_up).then_some(before)
}

/// How much of the retention the oldest waiting message has used, by its age or by what came after it.
fn used(reader: &Reader, events: &Object, now_ms: i64) -> f64 {
    let Some((sequence, at_ms)) = reader.waiting else {
        return 0.0;
    };
    let age = Duration::from_millis(u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0));
    let by_age = if events.max_age.is_zero() {
        0.0
    } else {
        age.as_secs_f64() / events.max_age.as_secs_f64()
    };
    let by_room = match events.max_bytes {
        Some(most) if events.rolls => {
            let part = ratio(
                (events.last + 1).saturating_sub(sequence),
                (events.last + 1).saturating_sub(events.first),
            );
            part * ratio(events.bytes, most)
        }
        _ => 0.0,
    };
    by_age.max(by_room)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share of 70 percent needs three digits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn lost(reader: &Reader, missed: Missed, events: &Object) -> Finding {
    let (name, stream) = (&reader.name, &events.name);
    let what = match missed.count {
        Some(1) => "1 message".to_owned(),
        Some(count) => format!("{count} messages"),
        None => "messages".to_owned(),
    };
    let text = format!(
        "consumer {name} of {stream} lost {what} to the stream's limits; raise nats.events.max_mib or \
         nats.events.max_age_h, or speed it up"
    );
    Finding::new("reader_missed", name, text)
}

fn slow(reader: &Reader, used: f64, events: &Object) -> Finding {
    let (name, stream) = (&reader.name, &events.name);
    let percent = (used * 100.0).min(100.0);
    let text = format!(
        "consumer {name} of {stream} has used {percent:.0} % of the retention; speed it up"
    );
    Finding::new("reader_slow", name, text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::object;
    use super::*;

    fn events(first: u64, last: u64) -> Object {
        Object {
            rolls: true,
            first,
            last,
            messages: last + 1 - first,
            ..object("IM_EVT")
        }
    }

    fn reader(is_filtered: bool, next: u64, delivered: u64, waiting: Option<(u64, i64)>) -> Reader {
        Reader {
            name: "crm".to_owned(),
            is_filtered,
            created: "then".to_owned(),
            next,
            delivered,
            is_behind: waiting.is_some(),
            waiting,
        }
    }

    fn codes(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|it| it.code).collect()
    }

    #[test]
    fn a_reader_of_everything_has_missed_what_is_before_the_first() {
        let mut readers = Readers::default();
        let now = readers.judge(&[reader(false, 11, 10, Some((11, 0)))], &events(11, 20), 0);
        assert!(now.is_empty(), "it stands at the first");
        let found = readers.judge(&[reader(false, 11, 10, Some((15, 0)))], &events(15, 30), 0);
        assert_eq!(codes(&found), ["reader_missed"]);
        assert!(
            found[0]
                .text
                .contains("consumer crm of IM_EVT lost 4 messages"),
            "{found:?}"
        );
        let gone = readers.judge(&[reader(false, 11, 10, None)], &events(31, 30), 0);
        assert!(
            gone[0].text.contains("lost 20 messages"),
            "also when nothing is left: {gone:?}"
        );
    }

    #[test]
    fn what_was_missed_is_said_until_the_reader_caught_up() {
        let mut readers = Readers::default();
        readers.judge(&[reader(false, 5, 4, Some((10, 0)))], &events(10, 30), 0);
        let reading = readers.judge(&[reader(false, 20, 19, Some((20, 0)))], &events(10, 30), 0);
        assert_eq!(codes(&reading), ["reader_missed"], "it has not caught up");
        assert_eq!(readers.known(), reading);
        let done = readers.judge(&[reader(false, 31, 30, None)], &events(10, 30), 0);
        assert!(done.is_empty(), "{done:?}");
    }

    #[test]
    fn a_filter_is_judged_by_what_waited_for_it() {
        let mut readers = Readers::default();
        let quiet = readers.judge(&[reader(true, 5, 4, None)], &events(100, 200), 0);
        assert!(
            quiet.is_empty(),
            "it was asked for none of those: {quiet:?}"
        );
        let waits = readers.judge(&[reader(true, 5, 4, Some((150, 0)))], &events(100, 200), 0);
        assert!(waits.is_empty(), "{waits:?}");
        let delivered = readers.judge(
            &[reader(true, 5, 150, Some((150, 0)))],
            &events(160, 200),
            0,
        );
        assert!(delivered.is_empty(), "it has it in hand: {delivered:?}");
        readers.judge(
            &[reader(true, 151, 150, Some((170, 0)))],
            &events(160, 200),
            0,
        );
        let lost = readers.judge(&[reader(true, 151, 150, None)], &events(180, 200), 0);
        assert_eq!(codes(&lost), ["reader_missed"]);
        assert!(lost[0].text.contains("lost messages to"), "{lost:?}");
    }

    #[test]
    fn a_reader_made_anew_under_an_old_name_has_missed_nothing() {
        let mut readers = Readers::default();
        readers.judge(&[reader(true, 1, 0, Some((10, 0)))], &events(1, 30), 0);
        let mut other = reader(true, 20, 19, None);
        other.created = "now".to_owned();
        assert!(readers.judge(&[other], &events(20, 30), 0).is_empty());
    }

    #[test]
    fn a_reader_is_slow_from_seven_tenths_of_age_or_room() {
        let mut readers = Readers::default();
        let waits = |at_ms| reader(false, 1, 0, Some((1, at_ms)));
        let day = events(1, 10); // a thousand seconds of age, a thousand bytes
        assert!(readers.judge(&[waits(0)], &day, 699_000).is_empty());
        let found = readers.judge(&[waits(0)], &day, 700_000);
        assert_eq!(codes(&found), ["reader_slow"]);
        assert!(
            found[0].text.contains("has used 70 % of the retention"),
            "{found:?}"
        );
        let full = Object {
            bytes: 900,
            ..events(1, 10)
        };
        assert_eq!(
            codes(&readers.judge(&[waits(0)], &full, 0)),
            ["reader_slow"]
        );
        let ahead = reader(false, 8, 7, Some((8, 0)));
        assert!(
            readers.judge(&[ahead], &full, 0).is_empty(),
            "most of it is read"
        );
        let stops = Object {
            rolls: false,
            ..full
        };
        assert!(
            readers.judge(&[waits(0)], &stops, 0).is_empty(),
            "nothing rolls over it"
        );
    }
}
