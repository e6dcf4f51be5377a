//! One channel: what is out, what is safe, what is missing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::item::Owed;
use super::{Message, Runs};

/// Runs of missing numbers that would still be taken when they come late after all.
const MISSING_MAX: usize = 32;

/// How far before the first number seen late ones are still taken: more than overtaking was ever seen to move them.
const LATE_MAX: u64 = 4_096;

/// Runs of settled numbers behind one that is not. Only events that nobody settles can bring so many together.
const AHEAD_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Channel {
    /// Every number before went out, is our own, or was passed over. 0: not known yet.
    pub next: u64,
    /// Every number up to here is in safe hands.
    pub cursor: u64,
    /// In safe hands, with something open before.
    ahead: Runs,
    /// Before `next`, and neither out nor safe.
    missing: Runs,
    /// On their way, with what is owed for a push of the same message that came meanwhile.
    pub out: BTreeMap<u64, Option<Owed>>,
    /// Waiting for something before; none: our own, nothing to emit.
    pub held: BTreeMap<u64, Option<Message>>,
    pub due: Option<Duration>,
    pub is_fetching: bool,
    /// How often fetching did not bring what is missing.
    pub fruitless: u32,
    /// The largest message id seen; 0: none yet. Ids grow for as long as there is a server, whatever it forgets.
    pub newest_id: i64,
    pub used: u64,
}

/// Where a number stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Safe,
    OnTheWay,
    /// Passed over, and here after all.
    Late,
    Ahead,
}

impl Channel {
    pub fn place(&self, seq: u64) -> Place {
        if self.next == 0 || seq >= self.next {
            Place::Ahead
        } else if self.out.contains_key(&seq) {
            Place::OnTheWay
        } else if has(&self.missing, seq) {
            Place::Late
        } else {
            Place::Safe
        }
    }

    /// The channel counts anew: this number is behind what is safe, and its message newer than all that were seen. So it is
    /// after the server lost its data.
    pub fn counts_anew(&self, seq: u64, message_id: i64) -> bool {
        self.place(seq) == Place::Safe && message_id > self.newest_id
    }

    /// Its numbers mean nothing any more, but those on their way.
    pub fn forget(&mut self) {
        (self.next, self.cursor, self.fruitless) = (0, 0, 0);
        self.ahead.clear();
        self.missing.clear();
    }

    /// The first number seen will follow this one. Those shortly before may still come.
    pub fn begin(&mut self, before: u64) {
        self.start(before);
        if before > 0 {
            self.missing
                .insert(before.saturating_sub(LATE_MAX).max(1), before);
        }
    }

    /// Everything up to here is in safe hands.
    pub fn start(&mut self, cursor: u64) {
        self.cursor = cursor;
        self.next = cursor + 1;
    }

    /// A number that was missing goes out after all.
    pub fn late(&mut self, seq: u64) {
        take(&mut self.missing, seq);
        self.out.insert(seq, None);
    }

    pub fn miss(&mut self, numbers: RangeInclusive<u64>) {
        self.missing.insert(*numbers.start(), *numbers.end());
        while self.missing.len() > MISSING_MAX {
            self.missing.pop_first();
        }
    }

    /// These are in safe hands; true when the cursor moved.
    pub fn safe(&mut self, numbers: RangeInclusive<u64>) -> bool {
        if *numbers.end() <= self.cursor {
            return false;
        }
        let last = self.ahead.entry(*numbers.start()).or_default();
        *last = (*last).max(*numbers.end());
        let before = self.cursor;
        while let Some(run) = self
            .ahead
            .first_entry()
            .filter(|run| *run.key() <= self.cursor + 1)
        {
            self.cursor = self.cursor.max(run.remove());
        }
        // The cursor must not run away from what is open: fetched again is better than lost.
        while self.ahead.len() > AHEAD_MAX {
            self.ahead.pop_last();
        }
        self.cursor != before
    }

    pub fn is_idle(&self) -> bool {
        self.out.is_empty() && self.held.is_empty() && !self.is_fetching
    }
}

fn run_of(runs: &Runs, seq: u64) -> Option<(u64, u64)> {
    let (&first, &last) = runs.range(..=seq).next_back()?;
    (last >= seq).then_some((first, last))
}

fn has(runs: &Runs, seq: u64) -> bool {
    run_of(runs, seq).is_some()
}

/// Takes one number out of its run.
fn take(runs: &mut Runs, seq: u64) {
    let Some((first, last)) = run_of(runs, seq) else {
        return;
    };
    runs.remove(&first);
    if first < seq {
        runs.insert(first, seq - 1);
    }
    if last > seq {
        runs.insert(seq + 1, last);
    }
}
