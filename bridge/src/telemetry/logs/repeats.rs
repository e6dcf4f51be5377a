//! Says the same only so often: an outage of an hour is a handful of lines that count it.
//!
//! The first lines of a kind within a minute are written; from then on one a minute, with the number of those left out
//! since. When a kind falls silent, what was left out is still told. Lines that nobody asked to be few, debug and trace, come
//! through as they are. What many accounts say alike is limited once more over all of them: an outage is one fact, however
//! many it hits.
//!
//! Not here: what a kind is made of (`Kind`'s maker), a clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use tracing::Level;

/// Within it the first lines are written, and after them one.
const WINDOW: Duration = Duration::from_secs(60);

/// Kinds of lines remembered, in each of two generations; those not heard of for longest leave, and begin anew.
const KINDS_MAX: usize = 2_048;

/// Lines of all kinds in a second. A bridge that has more to say has nobody who reads it.
const LINES_PER_SECOND_MAX: u32 = 1_000;

/// Lines that differ in nothing but their account, within a minute, before they become one a minute.
const CROWD_MAX: u32 = 30;

/// What makes two lines the same, as hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub own: u64,
    /// The same without the account; none: each account's is told.
    pub crowd: Option<u64>,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written, and says that so many before it were not.
    Written { suppressed: u64 },
    /// It is left out.
    LeftOut,
}

/// What is told of a kind that fell silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary<H> {
    pub head: H,
    pub suppressed: u64,
}

struct Entry<H> {
    /// Begins the minute that `written` counts in.
    since: Instant,
    written: u32,
    suppressed: u64,
    head: Option<H>,
}

/// Remembers kinds; `H` is what a summary begins with.
pub(super) struct Repeats<H> {
    /// Of a kind, before it is one a minute; 0: all of them.
    per_minute: u32,
    young: HashMap<u64, Entry<H>>,
    old: HashMap<u64, Entry<H>>,
    second: Option<Instant>,
    in_second: u32,
}

impl<H> Repeats<H> {
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            young: HashMap::new(),
            old: HashMap::new(),
            second: None,
            in_second: 0,
        }
    }

    /// A line of this kind, now. `head` makes what a summary begins with: true of its own kind, false of its crowd.
    pub fn meet(
        &mut self,
        kind: Kind,
        level: Level,
        now: Instant,
        head: impl Fn(bool) -> H,
    ) -> Fate {
        let mut is_first = false;
        if self.per_minute > 0 && level <= Level::INFO {
            let (fate, is) = self.counted(kind.own, self.per_minute, 1, now, || head(true));
            let Fate::Written { suppressed } = fate else {
                return fate;
            };
            is_first = is;
            let mut before = suppressed;
            if let Some(crowd) = kind.crowd {
                let (fate, _) = self.counted(crowd, CROWD_MAX, 1 + before, now, || head(false));
                let Fate::Written { suppressed } = fate else {
                    return fate;
                };
                before += suppressed;
            }
            if before > 0 {
                return Fate::Written { suppressed: before };
            }
        }
        // Somebody must act on an error: it is told once, whatever else is said in that second.
        let is_urgent = is_first && level == Level::ERROR;
        if self.has_room(now) || is_urgent {
            Fate::Written { suppressed: 0 }
        } else {
            Fate::LeftOut
        }
    }

    /// One that stands for so many lines. Also: is it the first of its minute?
    fn counted(
        &mut self,
        kind: u64,
        per_minute: u32,
        stands_for: u64,
        now: Instant,
        head: impl FnOnce() -> H,
    ) -> (Fate, bool) {
        if !self.young.contains_key(&kind) {
            let entry = self.old.remove(&kind).unwrap_or(Entry {
                since: now,
                written: 0,
                suppressed: 0,
                head: None,
            });
            if self.young.len() >= KINDS_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(kind, entry);
        }
        let entry = self.young.get_mut(&kind).expect("put there if it was not");
        if now.duration_since(entry.since) >= WINDOW {
            entry.since = now;
            if entry.suppressed > 0 {
                let suppressed = std::mem::take(&mut entry.suppressed);
                return (Fate::Written { suppressed }, false);
            }
            entry.written = 0;
        }
        if entry.written < per_minute {
            entry.written += 1;
            return (Fate::Written { suppressed: 0 }, entry.written == 1);
        }
        entry.suppressed += stands_for;
        entry.head.get_or_insert_with(head);
        (Fate::LeftOut, false)
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let is_same = self
            .second
            .is_some_and(|second| now.duration_since(second) < Duration::from_secs(1));
        if !is_same {
            self.second = Some(now);
            self.in_second = 0;
        }
        self.in_second += 1;
        self.in_second <= LINES_PER_SECOND_MAX
    }

    /// Something was left out and not told yet.
    pub fn owes(&self) -> bool {
        self.entries().any(|entry| entry.suppressed > 0)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<H>> {
        self.young.values().chain(self.old.values())
    }

    /// Summaries of kinds whose minute is over; at the end of the process, of all.
    pub fn due(&mut self, now: Instant, is_end: bool) -> Vec<Summary<H>> {
        let entries = self.young.values_mut().chain(self.old.values_mut());
        entries
            .filter(|entry| is_end || now.duration_since(entry.since) >= WINDOW)
            .filter_map(|entry| {
                let head = entry.head.take()?;
                entry.since = now;
                let suppressed = std::mem::take(&mut entry.suppressed);
                (suppressed > 0).then_some(Summary { head, suppressed })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(own: u64) -> Kind {
        Kind { own, crowd: None }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_hour_of_the_same_is_five_lines_and_one_a_minute_that_count_the_rest() {
        let mut repeats = Repeats::new(5);
        let start = Instant::now();
        let (mut written, mut told) = (0, 0);
        for second in 0..3_600 {
            match repeats.meet(own(1), Level::WARN, after(start, second), |_| ()) {
                Fate::Written { suppressed } => {
                    written += 1;
                    told += suppressed;
                }
                Fate::LeftOut => {}
            }
        }
        let rest: u64 = repeats
            .due(after(start, 3_600), true)
            .iter()
            .map(|summary| summary.suppressed)
            .sum();
        assert_eq!(written, 5 + 59);
        assert_eq!(u64::from(written as u32) + told + rest, 3_600);
        assert!(!repeats.owes());
    }

    #[test]
    fn an_hour_of_the_same_from_a_hundred_accounts_is_some_dozens_of_lines() {
        let mut repeats = Repeats::new(5);
        let start = Instant::now();
        let (mut written, mut told) = (0_u64, 0);
        for second in 0..3_600 {
            for account in 0..100 {
                let kind = Kind {
                    own: account,
                    crowd: Some(1_000),
                };
                let fate = repeats.meet(kind, Level::WARN, after(start, second), |_| ());
                if let Fate::Written { suppressed } = fate {
                    written += 1;
                    told += suppressed;
                }
            }
        }
        let rest = repeats.due(after(start, 3_600), true);
        let rest: u64 = rest.iter().map(|summary| summary.suppressed).sum();
        assert!(written <= u64::from(CROWD_MAX) + 60, "{written}");
        assert_eq!(written + told + rest, 360_000, "all of them are told");
    }

    #[test]
    fn a_kind_that_falls_silent_still_tells_what_was_left_out() {
        let mut repeats = Repeats::new(2);
        let start = Instant::now();
        for _ in 0..10 {
            repeats.meet(own(1), Level::WARN, start, |_| "the head");
        }
        assert!(repeats.owes());
        assert!(repeats.due(after(start, 59), false).is_empty());
        let due = repeats.due(after(start, 60), false);
        let summary = Summary {
            head: "the head",
            suppressed: 8,
        };
        assert_eq!(due, [summary]);
        assert!(!repeats.owes());
        // A quiet minute later it is new.
        let fate = repeats.meet(own(1), Level::WARN, after(start, 121), |_| "");
        assert_eq!(fate, Fate::Written { suppressed: 0 });
    }

    #[test]
    fn kinds_do_not_silence_each_other_and_only_so_many_are_remembered() {
        let mut repeats = Repeats::new(1);
        let start = Instant::now();
        for kind in 0..100 {
            let fate = repeats.meet(own(kind), Level::INFO, start, |_| ());
            assert_eq!(fate, Fate::Written { suppressed: 0 });
        }
        for kind in 0..100_000 {
            repeats.meet(own(kind), Level::INFO, start, |_| ());
        }
        assert!(repeats.entries().count() <= 2 * KINDS_MAX);
    }

    #[test]
    fn beyond_a_thousand_lines_a_second_only_the_first_error_of_a_kind_is_told() {
        let mut repeats = Repeats::new(5);
        let start = Instant::now();
        let written = (0..3_000)
            .filter(|kind| repeats.meet(own(*kind), Level::INFO, start, |_| ()) != Fate::LeftOut)
            .count();
        assert_eq!(written, 1_000);
        let mut error = || repeats.meet(own(9_999), Level::ERROR, start, |_| ());
        assert_eq!(error(), Fate::Written { suppressed: 0 });
        assert_eq!(error(), Fate::LeftOut);
        let later = after(start, 1);
        let fate = repeats.meet(own(10_000), Level::INFO, later, |_| ());
        assert_eq!(fate, Fate::Written { suppressed: 0 });
    }

    #[test]
    fn who_debugs_sees_every_line_and_so_does_who_asks_for_it() {
        let mut repeats = Repeats::new(1);
        let start = Instant::now();
        let mut many = Repeats::new(0);
        for _ in 0..10 {
            let fate = repeats.meet(own(1), Level::DEBUG, start, |_| ());
            assert_eq!(fate, Fate::Written { suppressed: 0 });
            let fate = many.meet(own(1), Level::WARN, start, |_| ());
            assert_eq!(fate, Fate::Written { suppressed: 0 });
        }
    }
}
