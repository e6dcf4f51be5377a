//! Commands that wait unread, in the stream's order, until there is room for them.
//!
//! As they came, up to [`KEPT_BYTES_MAX`]; of what comes after them only the place in the stream is kept. Those bodies are
//! read again a few at a time, and come out in order. One whose deadline passed is read out of turn, only to be answered.

use super::desk::Desk;
use super::gateway::Found;
use super::queue::kind;
use super::work::{Intake, Origin, Work, deadline_ms};
use super::{incoming, work::is_redriven};
use crate::bus::api::Stored;
use crate::bus::consumer::Delivered;
use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use im_bridge_sdk::model::Command;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Bodies being read again at the same time.
const READING_MAX: usize = 16;

/// Bytes of commands that wait as they came: a burst is not read from the stream twice.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Of one beside its body: its place in the maps, and its headers.
const KEPT_OVERHEAD: usize = 512;

struct Waiting {
    command: Command,
    since_ms: i64,
    deadline_ms: i64,
    /// None: in the stream only.
    kept: Option<Box<Kept>>,
}

/// A command as it came.
struct Kept {
    headers: HeaderMap,
    payload: Bytes,
}

impl Kept {
    fn bytes(&self) -> usize {
        KEPT_OVERHEAD + self.payload.len()
    }
}

impl Waiting {
    fn work(&self, desk: &Desk, sequence: u64, kept: &Kept) -> Box<Work> {
        Box::new(Work::read(Intake {
            kind: kind(self.command),
            is_control: false,
            headers: &kept.headers,
            payload: &kept.payload,
            origin: Origin::Durable { sequence },
            since_ms: self.since_ms,
            commands_max_age: desk.gateway.commands_max_age,
        }))
    }

    async fn again(&self, desk: &Desk, sequence: u64) -> Body {
        match desk.gateway.read(sequence, &desk.hold).await {
            Found::Stored(Stored {
                headers, payload, ..
            }) => Body::Work(self.work(desk, sequence, &Kept { headers, payload })),
            Found::Gone => Body::Gone,
            Found::Lost => Body::Lost,
        }
    }
}

/// A command whose turn to be read has come.
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
    kept_bytes: usize,
    reading: FuturesOrdered<BoxFuture<'static, Read>>,
}

impl Tail {
    pub(super) fn push(&mut self, delivered: Delivered, command: Command, max_age: Duration) {
        let Delivered {
            sequence,
            stored_ms: since_ms,
            headers,
            payload,
            ..
        } = delivered;
        let asked = incoming::expiry_of(&headers, &payload).filter(|_| !is_redriven(&headers));
        let deadline_ms = deadline_ms(asked, Some(command.effect()), true, since_ms, max_age);
        // A copy: what came is a part of the client's buffer, and would hold all of it.
        let payload = Bytes::copy_from_slice(&payload);
        let kept = Kept { headers, payload };
        let fits = self.kept_bytes + kept.bytes() <= KEPT_BYTES_MAX;
        self.kept_bytes += if fits { kept.bytes() } else { 0 };
        let waiting = Waiting {
            command,
            since_ms,
            deadline_ms,
            kept: fits.then(|| Box::new(kept)),
        };
        self.expiries.insert((deadline_ms, sequence));
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

    /// The next one, if it needs no reading and nothing before it does.
    pub(super) fn take_next(&mut self, desk: &Desk) -> Option<Read> {
        let first = self.waiting.first_entry()?;
        if first.get().kept.is_none() || !self.reading.is_empty() {
            return None;
        }
        let (sequence, mut waiting) = first.remove_entry();
        self.expiries.remove(&(waiting.deadline_ms, sequence));
        let kept = self.taken(&mut waiting)?;
        Some(Read {
            sequence,
            body: Body::Work(waiting.work(desk, sequence, &kept)),
            is_expired: false,
        })
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

    fn taken(&mut self, waiting: &mut Waiting) -> Option<Box<Kept>> {
        let kept = waiting.kept.take();
        self.kept_bytes -= kept.as_ref().map_or(0, |kept| kept.bytes());
        kept
    }

    fn read(&mut self, desk: &Arc<Desk>, sequence: u64, mut waiting: Waiting, is_expired: bool) {
        let desk = Arc::clone(desk);
        let kept = self.taken(&mut waiting);
        let read = async move {
            let body = match kept {
                Some(kept) => Body::Work(waiting.work(&desk, sequence, &kept)),
                None => waiting.again(&desk, sequence).await,
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
