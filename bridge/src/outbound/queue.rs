//! All commands of one account that its owner has in hand: which may go, which wait, and what becomes of them.
//!
//! In order within a channel, channels side by side, at the adapter's limits and the account's pace. Up to
//! [`IN_HAND_MAX`] commands are kept whole; of what comes after them only the place in the stream is, in order, and it is
//! read again when its turn comes. So an account that is away for a day costs its neighbours nothing.
//!
//! Not here: what is done with one command (`flow`, `answer`), and where commands come from (`shard`, `requests`).

mod intake;
mod turns;

use super::account::{Arrival, Terms};
use super::address::Addresses;
use super::answer::Verdict;
use super::batch::Batches;
use super::budget::{Budget, Pace};
use super::desk::Desk;
use super::flow::{Act, expired, not_now, running};
use super::hands::View;
use super::lanes::{LaneKey, Lanes};
use super::tail::Tail;
use super::work::Work;
use crate::bus::clock::unix_ms;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use im_bridge_sdk::model::Durable;
pub(super) use intake::{kind, overloaded};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Commands kept whole.
pub const IN_HAND_MAX: usize = 256;
/// Bytes of their bodies: a few large commands count as many.
pub const IN_HAND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests in hand of one account; the next one is answered `overloaded`.
pub const REQUESTS_MAX: usize = 256;
/// Unknown ends whose truth is still waited for.
const LATE_MAX: usize = 64;
/// How late a command may notice that its deadline passed while it waited.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Handled before the queue goes round once more: enough for what one wake-up brings, and soon enough for whose turn it is.
const GATHERED_MAX: usize = 64;
/// How old the figure of the oldest command may be: to look for it is to look at all.
const OLDEST_EVERY: Duration = Duration::from_millis(100);

/// Where a command is while it acts.
#[derive(Clone)]
enum Place {
    Lane(LaneKey),
    Read(LaneKey),
    /// Only to be answered.
    Beside,
}

enum TurnEnd {
    Acted(Act),
    Found { user: String, channel: String },
}

struct Turn {
    place: Place,
    work: Box<Work>,
    end: TurnEnd,
}

struct Settled {
    work: Box<Work>,
    verdict: Box<Verdict>,
    is_told: bool,
}

pub(super) struct Queue {
    desk: Arc<Desk>,
    view: watch::Receiver<View>,
    known: View,
    terms: watch::Receiver<Arc<Terms>>,
    budget: Budget,
    arriving: mpsc::Receiver<Arrival>,
    ending: watch::Receiver<bool>,
    is_ending: bool,
    lanes: Lanes<Box<Work>>,
    /// What changes nothing: a lane each, so that only their number is bounded.
    reads: Lanes<Box<Work>>,
    tail: Tail,
    acting: FuturesUnordered<BoxFuture<'static, Turn>>,
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
    lates: FuturesUnordered<BoxFuture<'static, ()>>,
    addresses: Addresses,
    batches: Batches,
    held: usize,
    held_bytes: usize,
    held_requests: usize,
    sweep_at: Instant,
    /// The oldest command is looked for again; while some wait, a sweep comes at the latest.
    oldest_at: Instant,
}

impl Queue {
    pub(super) fn new(
        desk: Arc<Desk>,
        arriving: mpsc::Receiver<Arrival>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            view: desk.hands.watch(),
            known: desk.hands.view(),
            terms: desk.terms.clone(),
            budget: Budget::default(),
            arriving,
            ending,
            is_ending: false,
            lanes: Lanes::new(1),
            reads: Lanes::new(1),
            tail: Tail::default(),
            acting: FuturesUnordered::new(),
            settling: FuturesUnordered::new(),
            lates: FuturesUnordered::new(),
            addresses: Addresses::default(),
            batches: Batches::default(),
            held: 0,
            held_bytes: 0,
            held_requests: 0,
            sweep_at: Instant::now() + SWEEP_EVERY,
            oldest_at: Instant::now(),
            desk,
        }
    }

    /// Boxed: a task has room for what it is started with twice.
    pub(super) async fn run(mut self: Box<Self>) {
        let hold = self.desk.hold.clone();
        let mut lost = std::pin::pin!(hold.lost());
        // One timer for all rounds: most of them wait for the same moment as the one before.
        let mut timer = std::pin::pin!(sleep_until(Instant::now()));
        self.adapt();
        loop {
            self.start_ready();
            self.read_more();
            self.show();
            if self.is_ending && self.is_idle() {
                return;
            }
            let wake = self.wake_at();
            if let Some(wake) = wake.filter(|wake| *wake != timer.deadline()) {
                timer.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                // Whoever owns the account next has all of it.
                () = &mut lost => return,
                _ = self.ending.changed(), if !self.is_ending => self.begin_to_end(),
                Some(settled) = self.settling.next() => self.settled(settled),
                Some(turn) = self.acting.next() => self.ended(turn),
                Some(()) = self.lates.next() => {}
                Some(read) = self.tail.next() => self.read(read),
                Ok(()) = self.view.changed() => {
                    self.known = self.view.borrow_and_update().clone();
                    self.adapt();
                }
                Ok(()) = self.terms.changed() => {
                    self.adapt();
                    self.lanes.pace_changed();
                }
                Some(arrival) = self.arriving.recv(), if !self.is_ending => self.arrived(arrival),
                () = timer.as_mut(), if wake.is_some() => {
                    if self.sweep_at <= Instant::now() {
                        self.sweep();
                    }
                }
            }
            self.gathered();
        }
    }

    /// What has gathered behind what ended the wait: going round for each would cost more than most of it.
    fn gathered(&mut self) {
        for _ in 0..GATHERED_MAX {
            // The wait that follows looks at all of them again, and is woken by them.
            if let Some(Some(settled)) = self.settling.next().now_or_never() {
                self.settled(settled);
            } else if let Some(Some(turn)) = self.acting.next().now_or_never() {
                self.ended(turn);
            } else if !self.is_ending
                && let Ok(arrival) = self.arriving.try_recv()
            {
                self.arrived(arrival);
            } else {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.acting.is_empty()
            && self.settling.is_empty()
            && self.lanes.waiting() + self.reads.waiting() == 0
    }

    /// What waits is the next owner's; requests are answered by this one.
    fn begin_to_end(&mut self) {
        self.is_ending = true;
        // Requests that were taken and have not been looked at; who still asks hears at once that it ends.
        self.arriving.close();
        while let Ok(arrival) = self.arriving.try_recv() {
            if let Arrival::Asked(asked) = arrival {
                self.asked(*asked);
            }
        }
        self.tail = Tail::default();
        self.lanes.extract(|work| work.is_durable);
        self.reads.extract(|work| work.is_durable);
        self.lates.clear();
    }

    fn wake_at(&self) -> Option<Instant> {
        let mut wake = None;
        if self.known.durable() == Durable::Run {
            let now = std::time::Instant::now();
            let next = [self.lanes.wake_at(now), self.reads.wake_at(now)];
            wake = next.into_iter().flatten().min().map(Instant::from_std);
        }
        let has_waiting = !self.tail.is_empty()
            || !self.batches.is_empty()
            || self.lanes.waiting() + self.reads.waiting() > 0;
        let sweep = has_waiting.then_some(self.sweep_at);
        wake.into_iter().chain(sweep).min()
    }

    /// The account's state or its adapter changed.
    fn adapt(&mut self) {
        let terms = Arc::clone(&self.terms.borrow_and_update());
        let mut rate = terms.rate;
        if let Some(can) = self.known.capabilities.clone() {
            let count = |bound: u32| usize::try_from(bound).unwrap_or(usize::MAX);
            self.lanes.set_out_max(count(can.limits.max_in_flight));
            self.reads
                .set_out_max(count(can.limits.max_reads_in_flight));
            let own = can.limits.rate.as_ref().map(|rate| Pace {
                per_s: rate.per_s,
                burst: rate.burst,
            });
            rate = rate.or(own);
        }
        let now = std::time::Instant::now();
        self.budget.set(rate, &terms.rates, now);
        let durable = self.known.durable();
        let given_up = |work: &Work| match durable {
            Durable::Run => false,
            Durable::Wait => !work.is_durable,
            Durable::Refused => true,
        };
        let mut over = self.lanes.extract(|work| given_up(work));
        over.extend(self.reads.extract(|work| given_up(work)));
        for work in over {
            self.fail(work, not_now(durable));
        }
    }

    /// Answers what waited beyond its deadline.
    fn sweep(&mut self) {
        self.sweep_at = Instant::now() + SWEEP_EVERY;
        let now_ms = unix_ms();
        let is_late = |work: &Work| work.deadline_ms <= now_ms;
        let mut over = self.lanes.extract(|work| is_late(work));
        over.extend(self.reads.extract(|work| is_late(work)));
        for work in over {
            self.fail(work, expired());
        }
        self.tail.read_expired(now_ms, &self.desk);
        for work in self.batches.overdue() {
            let reply = self.desk.compose(work, &mut Verdict::error(running(true)));
            let desk = Arc::clone(&self.desk);
            self.lates
                .push(async move { desk.send(reply).await }.boxed());
        }
    }

    fn show(&mut self) {
        let figures = &self.desk.account_figures;
        let in_flight = figures.in_flight.load(Ordering::Relaxed);
        let waiting = (self.held + self.tail.len()) as u64;
        figures
            .waiting
            .store(waiting.saturating_sub(in_flight), Ordering::Relaxed);
        let kept = self.lanes.iter().chain(self.reads.iter());
        let now = Instant::now();
        // Lanes hold the earlier ones.
        let oldest = match self.lanes.waiting() + self.reads.waiting() {
            0 => self.tail.oldest_ms(),
            _ if now < self.oldest_at => return,
            _ => {
                self.oldest_at = now + OLDEST_EVERY;
                kept.map(|work| work.since_ms).min()
            }
        };
        figures
            .oldest_ms
            .store(oldest.unwrap_or(0), Ordering::Relaxed);
    }
}
