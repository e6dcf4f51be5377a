//! Notices quick calls that do not return.
//!
//! One thread for the whole process. It looks at all callers at a quarter of the shortest patience and goes to sleep
//! after a look that found none of them at work, so that an idle bridge is never woken.

use super::Caller;
use crate::loader::host::messages::Call;
use crate::loader::host::shared::Shared;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The thread is inside no call.
const IDLE: u64 = 0;
/// The thread was abandoned; it must not touch anything any more.
const ABANDONED: u64 = u64::MAX;
/// Longest pause between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(Watchdog::start);

/// What one caller thread does now.
#[derive(Default)]
pub(super) struct Slot {
    /// [`IDLE`], [`ABANDONED`], or when the call began: nanoseconds after [`BASE`], plus one.
    since: AtomicU64,
    /// Turns served: tells a thread at work from one that sleeps.
    turns: AtomicU64,
    now: Mutex<Option<(Arc<Shared>, Call)>>,
}

impl Slot {
    /// An instance's turn begins.
    pub(super) fn begin_turn(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
        // SeqCst, as in `look_and_sleep`: either it sees this turn, or we see that it sleeps.
        if WATCHDOG.is_asleep.swap(false, Ordering::SeqCst) {
            drop(WATCHDOG.callers());
            WATCHDOG.wake.notify_one();
        }
    }

    pub(super) fn enter(&self, shared: &Arc<Shared>, call: Call) -> Instant {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(shared), call));
        let now = Instant::now();
        self.since.store(nanos(now), Ordering::SeqCst);
        now
    }

    /// False: another thread is in charge.
    pub(super) fn leave(&self) -> bool {
        let since = self.since.load(Ordering::SeqCst);
        since != ABANDONED
            && self
                .since
                .compare_exchange(since, IDLE, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
    }

    /// The turn is over: keeps no instance alive.
    pub(super) fn end_turn(&self) {
        let now = self
            .now
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(now);
    }

    /// What it is inside for longer than `patience`, when so; it is not in charge from then on.
    fn abandon(&self, patience: Duration) -> Option<(Arc<Shared>, Call)> {
        let since = self.since.load(Ordering::SeqCst);
        let inside_ns = nanos(Instant::now()).saturating_sub(since);
        let too_long = u128::from(inside_ns) > patience.as_nanos();
        if since == IDLE || since == ABANDONED || !too_long {
            return None;
        }
        self.since
            .compare_exchange(since, ABANDONED, Ordering::SeqCst, Ordering::SeqCst)
            .ok()?;
        self.now
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

fn nanos(now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(*BASE).as_nanos()).unwrap_or(ABANDONED - 2) + 1
}

struct Watchdog {
    callers: Mutex<Vec<Weak<Caller>>>,
    wake: Condvar,
    is_asleep: AtomicBool,
}

/// Adds a caller to those that are watched.
pub(super) fn watch(caller: &Arc<Caller>) {
    WATCHDOG.callers().push(Arc::downgrade(caller));
}

impl Watchdog {
    fn start() -> Self {
        LazyLock::force(&BASE);
        std::thread::Builder::new()
            .name("call watchdog".into())
            .spawn(|| WATCHDOG.run())
            .expect("the first plugin is loaded while threads can be started");
        Self {
            callers: Mutex::default(),
            wake: Condvar::new(),
            is_asleep: AtomicBool::new(false),
        }
    }

    fn callers(&self) -> MutexGuard<'_, Vec<Weak<Caller>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut turns_before = 0;
        loop {
            let mut guard = self.callers();
            guard.retain(|caller| caller.strong_count() > 0);
            let callers: Vec<_> = guard.iter().filter_map(Weak::upgrade).collect();
            self.is_asleep.store(true, Ordering::SeqCst);
            let (turns, is_inside) = look(&callers);
            let pause = pause(&callers);
            drop(callers);
            if turns == turns_before && !is_inside {
                while self.is_asleep.load(Ordering::SeqCst) {
                    guard = self
                        .wake
                        .wait(guard)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                drop(guard);
            } else {
                self.is_asleep.store(false, Ordering::SeqCst);
                drop(guard);
            }
            turns_before = turns;
            std::thread::sleep(pause);
        }
    }
}

/// Takes over from threads that are lost. Turns served by all callers, and whether one is inside a call.
fn look(callers: &[Arc<Caller>]) -> (u64, bool) {
    let (mut turns, mut is_inside) = (0_u64, false);
    for caller in callers {
        let Some(slot) = caller.turns().thread.clone() else {
            continue;
        };
        turns = turns.wrapping_add(slot.turns.load(Ordering::SeqCst));
        is_inside |= slot.since.load(Ordering::SeqCst) != IDLE;
        if let Some((shared, call)) = slot.abandon(caller.patience) {
            shared.stuck(call);
            caller.replace_thread();
        }
    }
    (turns, is_inside)
}

fn pause(callers: &[Arc<Caller>]) -> Duration {
    let shortest = callers.iter().map(|caller| caller.patience / 4).min();
    shortest
        .unwrap_or(LOOK_EVERY_MAX)
        .clamp(Duration::from_millis(1), LOOK_EVERY_MAX)
}
