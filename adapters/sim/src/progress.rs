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
    /// Their numbers, and the pushes that said the same again meanwhile.
    on_the_way: BTreeMap<u64, Vec<u64>>,
}

/// What is known of an item that is pushed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Safe,
    /// The push is acknowledged with the one before.
    OnTheWay,
    /// It must be emitted.
    No,
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

    /// An event goes on its way, with the first of the numbers that it stands for; 0 is none.
    pub fn sent(&mut self, seq: u64) {
        self.open += 1;
        if seq > 0 {
            self.on_the_way.entry(seq).or_default();
        }
    }

    /// The item is pushed again.
    pub fn pushed_again(&mut self, seq: u64, push: u64) -> Known {
        let is_ahead = |run: (&u64, &u64)| *run.1 >= seq;
        if seq <= self.cursor || self.ahead.range(..=seq).next_back().is_some_and(is_ahead) {
            return Known::Safe;
        }
        match self.on_the_way.get_mut(&seq) {
            Some(pushes) => {
                pushes.push(push);
                Known::OnTheWay
            }
            None => Known::No,
        }
    }

    /// It is settled: the pushes that said the same again.
    pub fn arrived(&mut self, seq: u64) -> Vec<u64> {
        self.on_the_way.remove(&seq).unwrap_or_default()
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
        progress.sent(1);
        progress.settled(None);
        assert!(progress.is_all_settled());
        progress.settled(Some(2..=2));
        assert_eq!(progress.cursor(), 0);
        progress.settled(Some(1..=1));
        assert_eq!(progress.cursor(), 2);
    }

    #[test]
    fn what_is_pushed_again_is_known_until_it_must_come_again() {
        let mut progress = Progress::default();
        progress.start(10);
        progress.settled(Some(13..=14));
        let known: Vec<Known> = [10, 11, 13, 14, 15]
            .map(|seq| progress.pushed_again(seq, 1))
            .into();
        let wanted = [Known::Safe, Known::No, Known::Safe, Known::Safe, Known::No];
        assert_eq!(known, wanted);
        progress.sent(11);
        assert_eq!(progress.pushed_again(11, 7), Known::OnTheWay);
        assert_eq!(progress.arrived(11), [7]);
        progress.settled(None);
        assert_eq!(progress.pushed_again(11, 8), Known::No);
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
