//! How far the account's items are in safe hands, in order.
//!
//! Items are settled in any order; the cursor stands where nothing before it is open, so that whoever begins there
//! misses nothing. It never goes back within a session.
//!
//! Not here: storing it (`session.rs`).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Settled items behind one that is not. Only an item that nobody settles can bring so many together; the session is
/// then begun again from the cursor.
const AHEAD_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Progress {
    /// Everything up to here is settled.
    cursor: u64,
    /// Settled, with something open before: first and last of each run.
    ahead: BTreeMap<u64, u64>,
    /// Events on their way.
    open: usize,
}

impl Progress {
    /// Everything up to `cursor` is settled already.
    pub fn start(&mut self, cursor: u64) {
        self.cursor = cursor;
        self.catch_up();
    }

    /// The provider counts anew: what was known before says nothing.
    pub fn start_anew(&mut self, cursor: u64) {
        self.cursor = cursor;
        self.ahead.clear();
    }

    /// Nothing of these can be had any more.
    pub fn skip(&mut self, seqs: RangeInclusive<u64>) {
        self.add(seqs);
    }

    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    pub fn sent(&mut self) {
        self.open += 1;
    }

    pub fn is_all_settled(&self) -> bool {
        self.open == 0
    }

    pub fn is_too_far_ahead(&self) -> bool {
        self.ahead.len() > AHEAD_MAX
    }

    /// One event less on its way. `seqs` is what is stored for good with it; none when it must come again.
    pub fn settled(&mut self, seqs: Option<RangeInclusive<u64>>) {
        self.open = self.open.saturating_sub(1);
        if let Some(seqs) = seqs {
            self.add(seqs);
        }
    }

    fn add(&mut self, seqs: RangeInclusive<u64>) {
        let last = self.ahead.entry(*seqs.start()).or_default();
        *last = (*last).max(*seqs.end());
        self.catch_up();
    }

    fn catch_up(&mut self) {
        while let Some(run) = self
            .ahead
            .first_entry()
            .filter(|run| *run.key() <= self.cursor + 1)
        {
            self.cursor = self.cursor.max(run.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_waits_for_the_oldest_open_item() {
        let mut progress = Progress::default();
        progress.start(10);
        progress.settled(Some(12..=12));
        progress.settled(Some(13..=13));
        assert_eq!(progress.cursor(), 10);
        progress.settled(Some(11..=11));
        assert_eq!(progress.cursor(), 13);
    }

    #[test]
    fn an_item_that_must_come_again_holds_the_cursor_until_it_did() {
        let mut progress = Progress::default();
        progress.sent();
        progress.settled(None);
        assert!(progress.is_all_settled());
        progress.settled(Some(2..=2));
        assert_eq!(progress.cursor(), 0);
        progress.settled(Some(1..=1));
        assert_eq!(progress.cursor(), 2);
    }

    #[test]
    fn what_can_no_longer_be_had_is_passed_over() {
        let mut progress = Progress::default();
        progress.start(1);
        progress.settled(Some(1_000_000..=1_000_000));
        progress.skip(2..=999_999);
        assert_eq!(progress.cursor(), 1_000_000);
    }

    #[test]
    fn what_was_settled_before_the_start_is_known() {
        let mut progress = Progress::default();
        progress.settled(Some(6..=6));
        progress.start(5);
        progress.settled(Some(3..=3));
        assert_eq!(progress.cursor(), 6);
    }
}
