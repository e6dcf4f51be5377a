//! Commands of which only the place in the stream is kept, in its order, until there is room for them.
//!
//! Their bodies are read again a few at a time, and come out in order. One whose deadline passed is read out of turn, only
//! to be answered.

use super::desk::Desk;
use super::gateway::Found;
use super::queue::kind;
use super::work::{Intake, Origin, Work};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use im_bridge_sdk::model::Command;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bodies being read again at the same time.
const READING_MAX: usize = 16;

struct Waiting {
    command: Command,
    since_ms: i64,
    deadline_ms: i64,
}

/// A command that was read again.
pub(super) struct Read {
    /// Its place in the stream.
    pub sequence: u64,
    pub body: Body,
    pub is_expired: bool,
}

pub(super) enum Body {
    Work(Box<Work>),
    /// No longer in the stream.
    Gone,
    /// The lease was lost before anybody could say.
    Lost,
}

/// See the front page. Bounded by what the server lets one owner have in hand.
#[derive(Default)]
pub(super) struct Tail {
    /// By sequence, so in the order of the stream.
    waiting: BTreeMap<u64, Waiting>,
    expiries: BTreeSet<(i64, u64)>,
    reading: FuturesOrdered<BoxFuture<'static, Read>>,
}

impl Tail {
    pub(super) fn push(&mut self, sequence: u64, command: Command, work: &Work) {
        let waiting = Waiting {
            command,
            since_ms: work.since_ms,
            deadline_ms: work.deadline_ms,
        };
        self.expiries.insert((waiting.deadline_ms, sequence));
        self.waiting.insert(sequence, waiting);
    }

    /// Neither waiting nor being read.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.reading.len()
    }

    pub(super) fn reading(&self) -> usize {
        self.reading.len()
    }

    /// When the first of them was stored.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        self.waiting.values().next().map(|waiting| waiting.since_ms)
    }

    /// Begins to read the next one. False: none is left, or enough are being read.
    pub(super) fn read_next(&mut self, desk: &Arc<Desk>) -> bool {
        if self.reading.len() >= READING_MAX {
            return false;
        }
        let Some((sequence, waiting)) = self.waiting.pop_first() else {
            return false;
        };
        self.expiries.remove(&(waiting.deadline_ms, sequence));
        self.read(desk, sequence, waiting, false);
        true
    }

    /// Begins to read those whose deadline has passed.
    pub(super) fn read_expired(&mut self, now_ms: i64, desk: &Arc<Desk>) {
        while let Some((deadline_ms, sequence)) = self.expiries.first().copied() {
            if deadline_ms > now_ms || self.reading.len() >= READING_MAX {
                return;
            }
            self.expiries.pop_first();
            if let Some(waiting) = self.waiting.remove(&sequence) {
                self.read(desk, sequence, waiting, true);
            }
        }
    }

    fn read(&mut self, desk: &Arc<Desk>, sequence: u64, waiting: Waiting, is_expired: bool) {
        let desk = Arc::clone(desk);
        let read = async move {
            let found = desk.gateway.read(sequence, &desk.hold).await;
            let body = match found {
                Found::Stored(stored) => Body::Work(Box::new(Work::read(Intake {
                    kind: kind(waiting.command),
                    is_control: false,
                    headers: &stored.headers,
                    payload: &stored.payload,
                    origin: Origin::Durable { sequence },
                    since_ms: waiting.since_ms,
                    commands_max_age: desk.gateway.commands_max_age,
                }))),
                Found::Gone => Body::Gone,
                Found::Lost => Body::Lost,
            };
            Read {
                sequence,
                body,
                is_expired,
            }
        };
        self.reading.push_back(read.boxed());
    }

    /// The next one that was read, in order; none while nothing is being read. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Read> {
        self.reading.next().await
    }
}
