//! Events on their way to the host, and what became of those it took.
//!
//! Credit is counted here, in events and bytes: an event may go when a credit is there and the byte balance is above
//! zero, so that the last one may take it below zero once. Events wait until the task that made them yields, at most
//! until 64 of them, 256 KiB or 1 ms; then they cross in one call. What the host refuses stays, costs nothing more, and
//! is offered again once upon the next grant, in order.
//!
//! A token is registered before its event crosses, because its settle may come back before `emit` returns.

use super::wait::Wait;
use crate::Emission;
use crate::ffi::link::HostLink;
use crate::ffi::owned::taken;
use im_bridge_plugin_api::abi::{self, Status};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Events of one call. The page of numbers behind it: more saves nothing, and latency grows.
const BATCH_EVENTS: usize = 64;
/// Bytes of one call: 64 live buffers of 4 KiB or more cost an order of magnitude more per event than one at a time,
/// because the allocator trims and refaults its heap.
const BATCH_BYTES: usize = 256 * 1024;
/// Longest time an event waits for company while its task goes on.
const BATCH_AGE: Duration = Duration::from_millis(1);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The stream acknowledged it.
    Stored,
    /// The stream had it already.
    Duplicate,
    /// It can never be stored and is in the dead letters; repeating would not help.
    Rejected,
    /// Not stored, and this host gives up on it.
    Retry,
}

impl Settled {
    /// Acknowledge to the provider: everything but [`Settled::Retry`].
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Self::Retry
    }

    /// An unknown outcome is a retry.
    pub(crate) fn from_abi(outcome: abi::Outcome) -> Self {
        match outcome {
            abi::Outcome::STORED => Self::Stored,
            abi::Outcome::DUPLICATE => Self::Duplicate,
            abi::Outcome::REJECTED => Self::Rejected,
            _ => Self::Retry,
        }
    }
}

type Callback = Box<dyn FnOnce(Settled)>;

/// One unsettled event.
enum Slot {
    Free,
    /// Nobody asks any more.
    Detached,
    Open(Option<Waker>),
    Callback(Callback),
    Done(Settled),
}

/// Who is to be told, outside the borrow.
enum Tell {
    Nobody,
    Task(Waker),
    Callback(Callback),
}

struct Queued {
    token: u64,
    emission: Emission,
}

#[derive(Default)]
struct Inner {
    events: i64,
    bytes: i64,
    pending: VecDeque<Queued>,
    pending_bytes: usize,
    since: Option<Instant>,
    /// The host refused some: nothing is offered before the next grant.
    is_blocked: bool,
    is_closed: bool,
    slots: Vec<(u32, Slot)>,
    free: Vec<u32>,
    /// Memory of the arrays that cross, kept from call to call.
    array: Vec<abi::Event>,
    meta: Vec<abi::Pair>,
}

#[derive(Default)]
pub(crate) struct Outbox {
    inner: RefCell<Inner>,
    credit: Wait,
    unsettled: Cell<u32>,
    starved: Cell<Starved>,
}

/// Time spent without credit.
#[derive(Clone, Copy, Default)]
struct Starved {
    total: Duration,
    since: Option<Instant>,
}

impl Outbox {
    /// A credit is there. Takes none.
    pub(crate) fn has_credit(&self) -> bool {
        let inner = self.inner.borrow();
        inner.events >= 1 && inner.bytes > 0 && !inner.is_blocked && !inner.is_closed
    }

    pub(crate) async fn ready(&self) {
        self.credit.until(|| self.has_credit().then_some(())).await;
    }

    /// How long there was no credit, all in all.
    pub(crate) fn starved(&self) -> Duration {
        let starved = self.starved.get();
        starved.total
            + starved
                .since
                .map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn count_starvation(&self) {
        let mut starved = self.starved.get();
        match (self.has_credit(), starved.since) {
            (false, None) => starved.since = Some(Instant::now()),
            (true, Some(since)) => {
                starved.total += since.elapsed();
                starved.since = None;
            }
            _ => return,
        }
        self.starved.set(starved);
    }

    /// More may be emitted; also "try again".
    pub(crate) fn grant(&self, events: u64, bytes: u64) {
        {
            let mut inner = self.inner.borrow_mut();
            let add = |balance: i64, more: u64| {
                balance.saturating_add(i64::try_from(more).unwrap_or(i64::MAX))
            };
            inner.events = add(inner.events, events);
            inner.bytes = add(inner.bytes, bytes);
            inner.is_blocked = false;
        }
        self.count_starvation();
        if self.has_credit() {
            self.credit.wake_all();
        }
    }

    /// Takes the credit and queues; answers the token, and whether the batch is full or old and must go now. Only after
    /// [`Outbox::has_credit`].
    pub(crate) fn push(&self, emission: Emission) -> (u64, bool) {
        let mut inner = self.inner.borrow_mut();
        let bytes = emission.payload.len();
        inner.events -= 1;
        inner.bytes = inner
            .bytes
            .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        let token = inner.open();
        self.unsettled.set(self.unsettled.get() + 1);
        inner.pending_bytes += bytes;
        inner.pending.push_back(Queued { token, emission });
        let is_old = match inner.since {
            Some(since) => since.elapsed() >= BATCH_AGE,
            None => {
                inner.since = Some(Instant::now());
                false
            }
        };
        let is_due =
            is_old || inner.pending.len() >= BATCH_EVENTS || inner.pending_bytes >= BATCH_BYTES;
        drop(inner);
        self.count_starvation();
        (token, is_due)
    }

    /// Offers what waits to the host.
    pub(crate) fn flush(&self, link: &HostLink) {
        // Host functions do not call back on the same thread, so the borrow may last.
        let inner = &mut *self.inner.borrow_mut();
        while !inner.pending.is_empty() && !inner.is_blocked && !inner.is_closed {
            inner.flush_batch(link);
        }
        if inner.pending.is_empty() {
            inner.since = None;
        }
    }

    /// Takes note of an outcome and tells who waits for it. Unknown tokens and repetitions change nothing.
    pub(crate) fn settle(&self, token: u64, outcome: Settled) {
        let tell = {
            let mut inner = self.inner.borrow_mut();
            let Some(slot) = inner.slot(token) else {
                return;
            };
            match std::mem::replace(slot, Slot::Done(outcome)) {
                Slot::Open(waker) => waker.map_or(Tell::Nobody, Tell::Task),
                Slot::Callback(callback) => {
                    inner.close(token);
                    Tell::Callback(callback)
                }
                Slot::Detached => {
                    inner.close(token);
                    Tell::Nobody
                }
                // Settled before: the first outcome stays.
                former @ (Slot::Done(_) | Slot::Free) => {
                    *slot = former;
                    return;
                }
            }
        };
        self.unsettled.set(self.unsettled.get() - 1);
        match tell {
            Tell::Nobody => {}
            Tell::Task(waker) => waker.wake(),
            Tell::Callback(callback) => callback(outcome),
        }
    }

    /// The outcome, or to be woken when it comes.
    pub(crate) fn poll_settled(&self, token: u64, waker: &Waker) -> Option<Settled> {
        let mut inner = self.inner.borrow_mut();
        match inner.slot(token)? {
            Slot::Done(outcome) => Some(*outcome),
            open => {
                *open = Slot::Open(Some(waker.clone()));
                None
            }
        }
    }

    /// Has `callback` called with the outcome: now when it is there already.
    pub(crate) fn on_settled(&self, token: u64, callback: Callback) {
        let done = {
            let mut inner = self.inner.borrow_mut();
            match inner.slot(token) {
                Some(Slot::Done(outcome)) => *outcome,
                Some(slot) => {
                    *slot = Slot::Callback(callback);
                    return;
                }
                None => return,
            }
        };
        self.detach(token);
        callback(done);
    }

    /// Nobody asks for this outcome any more.
    pub(crate) fn detach(&self, token: u64) {
        let former = {
            let mut inner = self.inner.borrow_mut();
            match inner.slot(token) {
                None | Some(Slot::Callback(_)) => return,
                Some(Slot::Done(_)) => {
                    inner.close(token);
                    return;
                }
                Some(slot) => std::mem::replace(slot, Slot::Detached),
            }
        };
        // A waker is foreign code, also in its drop.
        drop(former);
    }

    /// Events made and not settled yet.
    pub(crate) fn unsettled(&self) -> u32 {
        self.unsettled.get()
    }
}

impl Inner {
    /// A token that no unsettled event has: place and generation, so that a late settle of a former event is noticed.
    fn open(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, Slot::Free));
            u32::try_from(self.slots.len() - 1).expect("credits bound the unsettled events")
        });
        let (generation, slot) = &mut self.slots[index as usize];
        // From 1, so that no token is 0.
        *generation = generation.wrapping_add(1).max(1);
        *slot = Slot::Open(None);
        u64::from(*generation) << 32 | u64::from(index)
    }

    fn slot(&mut self, token: u64) -> Option<&mut Slot> {
        let (index, generation) = split(token);
        match self.slots.get_mut(index) {
            Some((own, slot)) if *own == generation && !matches!(slot, Slot::Free) => Some(slot),
            _ => None,
        }
    }

    fn close(&mut self, token: u64) {
        let (index, _) = split(token);
        self.slots[index].1 = Slot::Free;
        self.free
            .push(u32::try_from(index).expect("it was made from 32 bits"));
    }

    /// One call of the host.
    fn flush_batch(&mut self, link: &HostLink) {
        let n = self.pending.len().min(BATCH_EVENTS);
        self.array.clear();
        self.meta.clear();
        // The pairs must not move once an event points to them.
        let pairs = self.pending.iter().take(n).map(|q| q.emission.meta.len());
        self.meta.reserve(pairs.sum());
        for queued in self.pending.iter_mut().take(n) {
            let first = self.meta.len();
            self.meta
                .extend(queued.emission.meta.iter().map(|(key, value)| abi::Pair {
                    key: abi::Str::new(key),
                    value: abi::Str::new(value),
                }));
            let event = queued.emission.lend(queued.token, &self.meta[first..]);
            self.array.push(event);
        }
        let status = link.emit(&self.array);
        self.array.clear();
        let accepted = match status {
            Status::E_CLOSED => {
                self.is_closed = true;
                0
            }
            // The host's own failure: every buffer of the call counts as taken, better leaked than freed twice.
            Status::E_PANIC => n,
            _ => usize::try_from(status.0).unwrap_or(0).min(n),
        };
        self.is_blocked = accepted < n;
        for queued in self.pending.drain(..accepted) {
            self.pending_bytes -= queued.emission.payload.len();
            taken(queued.emission.payload);
        }
    }
}

fn split(token: u64) -> (usize, u32) {
    let index = token & u64::from(u32::MAX);
    let generation = token >> 32;
    (
        usize::try_from(index).expect("64-bit targets"),
        u32::try_from(generation).expect("shifted by 32 bits"),
    )
}
