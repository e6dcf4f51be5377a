//! What is in safe hands: pushes to acknowledge, messages that came before, and the time to begin at after an absence.
//!
//! A push is acknowledged when all that it held is settled. A message that is said again is not emitted again: while the first
//! is under way, the push waits for it. The cursor is a time of the provider: every message before it is settled. Messages
//! carry the clock of whoever stored them, so [`MARGIN_MS`] before it is looked at again; what was seen there is known by id.
//!
//! Not here: keeping it (`session/catch_up.rs`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::locked;

/// How far messages may be out of order in time.
pub const MARGIN_MS: i64 = 60_000;

/// Message ids that are remembered. A burst of more within the margin is told twice after a restart, with the same event ids.
const SEEN_MAX: usize = 1024;

/// What is kept.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Every message before this time is settled.
    pub at_ms: i64,
    /// When the account was first here: nothing before is asked for.
    #[serde(default)]
    pub begun_ms: i64,
    /// Last package seen, in microseconds.
    #[serde(default)]
    pub max_pts: i64,
    /// Those since a margin before.
    #[serde(default)]
    pub seen: Vec<(String, i64)>,
}

/// One push, until everything in it is settled.
#[derive(Debug)]
pub struct Pushed(Mutex<PushState>);

#[derive(Debug)]
struct PushState {
    open: usize,
    is_safe: bool,
    acknowledgement: Option<Acknowledgement>,
}

/// What the provider is told, on the connection that the push came by, and its place in the provider's count, in
/// microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    pub connection: u64,
    pub text: String,
    pub max_pts: i64,
}

impl Pushed {
    /// With so many things in it.
    pub fn new(acknowledgement: Acknowledgement, open: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(PushState {
            open,
            is_safe: true,
            acknowledgement: Some(acknowledgement),
        })))
    }

    /// One of them is settled; the acknowledgement, when it was the last and all are safe.
    pub fn settled(&self, is_safe: bool) -> Option<Acknowledgement> {
        let mut state = locked(&self.0);
        state.open = state.open.saturating_sub(1);
        state.is_safe &= is_safe;
        let is_done = state.open == 0 && state.is_safe;
        state.acknowledgement.take_if(|_| is_done)
    }
}

#[derive(Debug, Default)]
pub struct Progress {
    /// There is a cursor: the account was here before.
    is_begun: bool,
    begun_ms: i64,
    newest_ms: i64,
    max_pts: i64,
    /// Events under way, of whatever kind.
    under_way: usize,
    /// Messages that are not safe: under way, or owed because storing failed.
    open: HashMap<String, OpenMessage>,
    seen: VecDeque<(String, i64)>,
    seen_ids: HashSet<String>,
    /// Raised by every change of the cursor.
    pub version: u64,
}

#[derive(Debug)]
struct OpenMessage {
    at_ms: i64,
    is_under_way: bool,
    /// Pushes that said it again meanwhile.
    waiting: Vec<Arc<Pushed>>,
}

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Safe,
    /// The push is acknowledged together with the one before.
    UnderWay,
    /// It must be emitted.
    No,
}

impl Progress {
    pub fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// The account is here for the first time: nothing before is missing.
    pub fn begin(&mut self, at_ms: i64) {
        self.resume(Cursor {
            at_ms,
            begun_ms: at_ms,
            ..Cursor::default()
        });
    }

    /// Goes on from what was kept.
    pub fn resume(&mut self, cursor: Cursor) {
        self.is_begun = true;
        self.begun_ms = cursor.begun_ms;
        self.newest_ms = self.newest_ms.max(cursor.at_ms);
        self.version += 1;
        self.max_pts = self.max_pts.max(cursor.max_pts);
        for (id, at_ms) in cursor.seen {
            self.see(id, at_ms);
        }
    }

    /// Where a look for what was missed begins.
    pub fn since_ms(&self) -> i64 {
        self.at_ms().saturating_sub(MARGIN_MS).max(self.begun_ms)
    }

    /// Every message before this time is settled.
    pub fn at_ms(&self) -> i64 {
        let oldest_open = self.open.values().map(|open| open.at_ms - 1).min();
        oldest_open.unwrap_or(i64::MAX).min(self.newest_ms)
    }

    pub fn cursor(&self) -> Cursor {
        let at_ms = self.at_ms();
        let since_ms = at_ms.saturating_sub(MARGIN_MS);
        let is_recent = |(_, at_ms): &&(String, i64)| *at_ms >= since_ms;
        Cursor {
            at_ms,
            begun_ms: self.begun_ms,
            max_pts: self.max_pts,
            seen: self.seen.iter().filter(is_recent).cloned().collect(),
        }
    }

    /// A push is acknowledged.
    pub fn acknowledged(&mut self, max_pts: i64) {
        self.max_pts = self.max_pts.max(max_pts);
    }

    pub fn know(&self, id: &str) -> Known {
        match self.open.get(id) {
            Some(open) if open.is_under_way => Known::UnderWay,
            None if self.seen_ids.contains(id) => Known::Safe,
            _ => Known::No,
        }
    }

    /// A push said again what is under way.
    pub fn wait_for(&mut self, id: &str, push: Arc<Pushed>) {
        if let Some(open) = self.open.get_mut(id) {
            open.waiting.push(push);
        }
    }

    /// An event goes on its way; a message's with its id and time.
    pub fn sent(&mut self, message: Option<(&str, i64)>) {
        self.under_way += 1;
        if let Some((id, at_ms)) = message {
            let waiting = self
                .open
                .remove(id)
                .map(|open| open.waiting)
                .unwrap_or_default();
            let open = OpenMessage {
                at_ms,
                is_under_way: true,
                waiting,
            };
            self.open.insert(id.to_owned(), open);
        }
    }

    /// It is settled; the acknowledgements of pushes that said it again.
    pub fn settled(&mut self, message: Option<&str>, is_safe: bool) -> Vec<Acknowledgement> {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(id) = message else {
            return Vec::new();
        };
        let Some(open) = self.open.get_mut(id) else {
            return Vec::new();
        };
        let waiting = std::mem::take(&mut open.waiting);
        if is_safe {
            let at_ms = open.at_ms;
            self.open.remove(id);
            self.newest_ms = self.newest_ms.max(at_ms);
            self.see(id.to_owned(), at_ms);
            self.version += 1;
        } else {
            // Owed: the cursor stays before it until it was fetched again.
            open.is_under_way = false;
        }
        waiting
            .iter()
            .filter_map(|push| push.settled(is_safe))
            .collect()
    }

    pub fn is_all_settled(&self) -> bool {
        self.under_way == 0
    }

    fn see(&mut self, id: String, at_ms: i64) {
        if !self.seen_ids.insert(id.clone()) {
            return;
        }
        if self.seen.len() >= SEEN_MAX
            && let Some((oldest, _)) = self.seen.pop_front()
        {
            self.seen_ids.remove(&oldest);
        }
        self.seen.push_back((id, at_ms));
    }
}

#[cfg(test)]
mod tests;
