//! What an account was told, as long as it may be asked for again. Bounded by number and by size; the oldest goes first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::wire::{Item, now_us};

const LOG_ITEMS_MAX: usize = 5_000;
const LOG_BYTES_MAX: usize = 32 * 1024 * 1024;
const UNACKNOWLEDGED_MAX: usize = 2_000;
const UNACKNOWLEDGED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Items by their place in time (`pts`), for ackDiff.
#[derive(Default)]
pub struct Log {
    items: VecDeque<(u64, Arc<Item>)>,
    bytes: usize,
    last_pts: u64,
    /// The place of the last one that was forgotten.
    pub forgotten_pts: u64,
}

impl Log {
    pub fn add(&mut self, item: Arc<Item>) {
        self.last_pts = now_us().max(self.last_pts + 1);
        self.bytes += item.data.len();
        self.items.push_back((self.last_pts, item));
        while self.items.len() > LOG_ITEMS_MAX || self.bytes > LOG_BYTES_MAX {
            let Some((pts, item)) = self.items.pop_front() else {
                break;
            };
            self.bytes -= item.data.len();
            self.forgotten_pts = pts;
        }
    }

    /// The place of the latest item.
    pub fn pts(&self) -> u64 {
        self.last_pts
    }

    /// A place that is behind everything so far, and before everything that is to come, also within this microsecond.
    pub fn now(&mut self) -> u64 {
        self.last_pts = now_us().max(self.last_pts);
        self.last_pts
    }

    /// A place in time for whoever is at this one; before everything that may be told again, when it asked for all.
    pub fn begin(&self, pts: u64) -> u64 {
        let oldest = self.items.front().map(|(at, _)| at - 1);
        match pts {
            0 => oldest.unwrap_or_else(now_us),
            pts => pts,
        }
    }

    /// What came after this place, each with its own.
    pub fn after(&self, pts: u64) -> Vec<(u64, Arc<Item>)> {
        let newer = self.items.iter().filter(|(at, _)| *at > pts);
        newer.cloned().collect()
    }
}

/// Pushes that were not acknowledged, by their number, with their place in time.
#[derive(Default)]
pub struct Unacknowledged {
    pushes: BTreeMap<u64, (u64, Vec<Arc<Item>>)>,
    bytes: usize,
}

fn size(items: &[Arc<Item>]) -> usize {
    items.iter().map(|item| item.data.len()).sum()
}

impl Unacknowledged {
    pub fn add(&mut self, number: u64, pts: u64, items: &[Arc<Item>]) {
        self.bytes += size(items);
        self.pushes.insert(number, (pts, items.to_vec()));
        while self.pushes.len() > UNACKNOWLEDGED_MAX || self.bytes > UNACKNOWLEDGED_BYTES_MAX {
            match self.pushes.pop_first() {
                Some((_, (_, items))) => self.bytes -= size(&items),
                None => break,
            }
        }
    }

    pub fn remove(&mut self, number: u64) {
        if let Some((_, items)) = self.pushes.remove(&number) {
            self.bytes -= size(&items);
        }
    }

    /// All of them, which are then none.
    pub fn take(&mut self) -> BTreeMap<u64, (u64, Vec<Arc<Item>>)> {
        self.bytes = 0;
        std::mem::take(&mut self.pushes)
    }
}
