//! What an adapter may emit: a window of events and bytes for each instance, and one bound over all of them.
//!
//! An instance may emit while it has at least one event and one byte of credit; the last event may take the bytes below
//! zero once. What an event cost comes back when it is settled. Unsettled payloads of all instances together stay
//! below [`Pool`]'s bound, give or take one event per instance: beyond it only an instance without any unsettled event
//! may emit, so that nobody starves, and the others are told to try again once there is room.
//!
//! Not here: telling the adapter, which `caller` does.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// How much one instance may have unsettled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Events.
    pub events: u32,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Default for Window {
    /// 64 events keep a stream's ack window full; 2 MiB are two of the largest payloads.
    fn default() -> Self {
        Self {
            events: 64,
            bytes: 2 * 1024 * 1024,
        }
    }
}

/// One that was refused for want of room, and wants to hear when there is some.
pub(super) trait Waiting: Send + Sync {
    /// Must not block and not take from the pool.
    fn try_again(&self);
}

/// The bound over all instances.
pub struct Pool {
    limit_bytes: u64,
    held_bytes: AtomicU64,
    has_waiting: AtomicBool,
    /// At most one entry per instance: see [`Credits::is_waiting`].
    waiting: Mutex<Vec<Weak<dyn Waiting>>>,
}

impl Pool {
    /// A pool for `limit_bytes` of unsettled payload.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            held_bytes: AtomicU64::new(0),
            has_waiting: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    /// Bytes of payload that are accepted and not settled.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Acquire)
    }

    /// False leaves everything as it was.
    fn reserve(&self, bytes: u64, must: bool) -> bool {
        let before = self.held_bytes.fetch_add(bytes, Ordering::AcqRel);
        if must || before.saturating_add(bytes) <= self.limit_bytes {
            return true;
        }
        self.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
        false
    }

    fn give_back(&self, bytes: u64) {
        let held = self.held_bytes.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        // An eighth of room before anybody is woken: else each settle would wake all of them for one event.
        let room = held <= self.limit_bytes - self.limit_bytes / 8;
        if room && self.has_waiting.swap(false, Ordering::AcqRel) {
            for waiting in std::mem::take(&mut *self.waiting()) {
                if let Some(waiting) = waiting.upgrade() {
                    waiting.try_again();
                }
            }
        }
    }

    fn wait(&self, waiting: Weak<dyn Waiting>) {
        self.waiting().push(waiting);
        self.has_waiting.store(true, Ordering::Release);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Weak<dyn Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an event was not accepted; it stays the adapter's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoCredit {
    /// The adapter emitted more than it was granted.
    NotGranted,
    /// All instances together hold too much.
    Pressure,
}

/// What one instance was granted and what it holds.
pub(super) struct Credits {
    pool: Arc<Pool>,
    window: Window,
    /// Granted and not yet spent. Bytes may be below zero.
    events: AtomicI64,
    bytes: AtomicI64,
    /// Accepted and not yet settled.
    held_events: AtomicU32,
    held_bytes: AtomicU64,
    /// In the pool's list already.
    is_waiting: AtomicBool,
    born: Instant,
    /// Nanoseconds after `born` at which the credit ran out; 0 = it has not.
    starved_since_ns: AtomicU64,
    starved_ns: AtomicU64,
}

/// Figures for metrics and status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CreditFigures {
    /// Events accepted and not settled.
    pub held_events: u32,
    /// Bytes of them.
    pub held_bytes: u64,
    /// Nanoseconds spent without credit, up to the last grant.
    pub starved_ns: u64,
}

impl Credits {
    pub(super) fn new(window: Window, pool: Arc<Pool>) -> Self {
        Self {
            pool,
            window,
            events: AtomicI64::new(0),
            bytes: AtomicI64::new(0),
            held_events: AtomicU32::new(0),
            held_bytes: AtomicU64::new(0),
            is_waiting: AtomicBool::new(false),
            born: Instant::now(),
            starved_since_ns: AtomicU64::new(0),
            starved_ns: AtomicU64::new(0),
        }
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// Counts a grant, before the adapter hears of it: it may emit on another thread meanwhile.
    pub(super) fn granted(&self, events: u32, bytes: u64) {
        self.is_waiting.store(false, Ordering::Release);
        self.bytes
            .fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::AcqRel);
        self.events.fetch_add(i64::from(events), Ordering::AcqRel);
        let since = self.starved_since_ns.swap(0, Ordering::AcqRel);
        if since != 0 {
            self.starved_ns
                .fetch_add(self.now_ns().saturating_sub(since), Ordering::AcqRel);
        }
    }

    /// Spends what one event costs.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), NoCredit> {
        let events_left = self.events.fetch_sub(1, Ordering::AcqRel);
        // Two threads may both find the last bytes: each takes one event more, which the rule allows once anyway.
        if events_left < 1 || self.bytes.load(Ordering::Acquire) <= 0 {
            self.events.fetch_add(1, Ordering::AcqRel);
            return Err(NoCredit::NotGranted);
        }
        let held_before = self.held_events.fetch_add(1, Ordering::AcqRel);
        if !self.pool.reserve(bytes, held_before == 0) {
            self.held_events.fetch_sub(1, Ordering::AcqRel);
            self.events.fetch_add(1, Ordering::AcqRel);
            return Err(NoCredit::Pressure);
        }
        self.held_bytes.fetch_add(bytes, Ordering::AcqRel);
        let cost = i64::try_from(bytes).unwrap_or(i64::MAX);
        let bytes_left = self.bytes.fetch_sub(cost, Ordering::AcqRel) - cost;
        if events_left == 1 || bytes_left <= 0 {
            self.starved_since_ns
                .store(self.now_ns().max(1), Ordering::Release);
        }
        Ok(())
    }

    /// Asks to be told when the pool has room. Once is enough until the next grant.
    pub(super) fn wait_for_room(&self, me: impl FnOnce() -> Weak<dyn Waiting>) {
        if !self.is_waiting.swap(true, Ordering::AcqRel) {
            self.pool.wait(me());
        }
    }

    /// Frees what a settled event held. The credit itself returns with the next [`Credits::granted`].
    pub(super) fn settled(&self, bytes: u64) {
        self.held_events.fetch_sub(1, Ordering::AcqRel);
        self.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.pool.give_back(bytes);
    }

    pub(super) fn figures(&self) -> CreditFigures {
        CreditFigures {
            held_events: self.held_events.load(Ordering::Acquire),
            held_bytes: self.held_bytes.load(Ordering::Acquire),
            starved_ns: self.starved_ns.load(Ordering::Acquire),
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(AtomicU32);
    impl Waiting for Counter {
        fn try_again(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn credits(events: u32, bytes: u64, pool: &Arc<Pool>) -> Credits {
        let credits = Credits::new(Window { events, bytes }, Arc::clone(pool));
        credits.granted(events, bytes);
        credits
    }

    #[test]
    fn nothing_is_granted_at_first() {
        let credits = Credits::new(Window::default(), Pool::new(1000));
        assert_eq!(credits.spend(1), Err(NoCredit::NotGranted));
    }

    #[test]
    fn events_run_out() {
        let credits = credits(2, 1000, &Pool::new(1000));
        assert_eq!(credits.spend(1), Ok(()));
        assert_eq!(credits.spend(1), Ok(()));
        assert_eq!(credits.spend(1), Err(NoCredit::NotGranted));
        credits.settled(1);
        assert_eq!(
            credits.spend(1),
            Err(NoCredit::NotGranted),
            "only a grant brings credit"
        );
        credits.granted(1, 1);
        assert_eq!(credits.spend(1), Ok(()));
    }

    #[test]
    fn the_last_event_may_take_the_bytes_below_zero_once() {
        let credits = credits(9, 10, &Pool::new(1000));
        assert_eq!(credits.spend(9), Ok(()));
        assert_eq!(credits.spend(50), Ok(()));
        assert_eq!(credits.spend(0), Err(NoCredit::NotGranted));
        credits.granted(1, 50);
        assert_eq!(credits.spend(1), Ok(()));
    }

    #[test]
    fn all_together_stay_below_the_bound_and_nobody_starves() {
        let pool = Pool::new(100);
        let (first, second) = (credits(9, 1000, &pool), credits(9, 1000, &pool));
        let waiting = Arc::new(Counter(AtomicU32::new(0)));
        assert_eq!(first.spend(90), Ok(()));
        assert_eq!(first.spend(20), Err(NoCredit::Pressure));
        assert_eq!(second.spend(20), Ok(()), "it holds nothing, so it may");
        assert_eq!(second.spend(20), Err(NoCredit::Pressure));
        assert_eq!(pool.held_bytes(), 110);
        for _ in 0..3 {
            second.wait_for_room(|| {
                let weak: Weak<Counter> = Arc::downgrade(&waiting);
                weak
            });
        }
        first.settled(90);
        assert_eq!(waiting.0.load(Ordering::SeqCst), 1);
        assert_eq!(second.spend(20), Ok(()));
        second.settled(20);
        second.settled(20);
        assert_eq!((pool.held_bytes(), second.figures().held_events), (0, 0));
    }

    #[test]
    fn many_threads_never_spend_more_than_was_granted() {
        let pool = Pool::new(1_000_000);
        let credits = credits(500, 1_000_000, &pool);
        let spent = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if credits.spend(3).is_ok() {
                            spent.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(spent.load(Ordering::SeqCst), 500);
        assert_eq!(pool.held_bytes(), 1500);
    }
}
