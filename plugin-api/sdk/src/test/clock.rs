//! `imb.clock/1`: time that stands still until the test moves it, and timers that fire on the way.

use crate::test::lend::{Lent, size_u32};
use crate::test::shared::Shared;
use crate::test::violation::{Call, Function};
use im_bridge_plugin_api::abi::{ClockHost, Status};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where simulated time begins: 2026-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_767_225_600_000;

pub(super) static CLOCK: ClockHost = ClockHost {
    size: 32,
    reserved: 0,
    now_ms: Some(now_ms),
    mono_ns: Some(mono_ns),
    timer: Some(timer),
};

/// The simulated time of one instance; without it the machine's.
#[derive(Default)]
pub(super) struct ClockBook {
    pub is_simulated: bool,
    since_begin: Duration,
    /// When each timer is due, by id.
    timers: BTreeMap<u64, Duration>,
    /// Counts settings and cancellations, so that a test can wait for the next one.
    changes: u64,
}

impl ClockBook {
    pub fn simulated() -> Self {
        Self {
            is_simulated: true,
            ..Self::default()
        }
    }

    /// Unix milliseconds of this host.
    pub fn now_ms(&self) -> i64 {
        if self.is_simulated {
            return BEGIN_MS + super::command::millis(self.since_begin);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        super::command::millis(now.unwrap_or_default())
    }

    /// Timers that are set.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Takes the timers due at the earliest moment not after `end`, and moves time there.
    fn step(&mut self, end: Duration) -> Vec<u64> {
        let Some(due) = self
            .timers
            .values()
            .min()
            .copied()
            .filter(|due| *due <= end)
        else {
            self.since_begin = self.since_begin.max(end);
            return Vec::new();
        };
        self.since_begin = self.since_begin.max(due);
        let ids: Vec<u64> = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= due)
            .map(|(id, _)| *id)
            .collect();
        for id in &ids {
            self.timers.remove(id);
        }
        ids
    }
}

unsafe extern "C" fn now_ms(ctx: *mut c_void) -> i64 {
    // SAFETY: the table's own ctx.
    unsafe { Shared::from_ctx(ctx) }.lock().clock.now_ms()
}

unsafe extern "C" fn mono_ns(ctx: *mut c_void) -> i64 {
    // SAFETY: the table's own ctx.
    let now = unsafe { Shared::from_ctx(ctx) }.lock().clock.since_begin;
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

unsafe extern "C" fn timer(ctx: *mut c_void, id: u64, delay_ms: u64) -> Status {
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(Function::ClockTimer) else {
        return Status::E_CLOSED;
    };
    let mut book = shared.lock();
    let clock = &mut book.clock;
    clock.changes += 1;
    if delay_ms == u64::MAX {
        clock.timers.remove(&id);
    } else {
        let due = clock
            .since_begin
            .saturating_add(Duration::from_millis(delay_ms));
        clock.timers.insert(id, due);
        if delay_ms == 0 {
            book.later(|shared| {
                fire_due(shared, Duration::ZERO);
            });
        }
    }
    drop(book);
    shared.notify();
    Status::OK
}

/// Moves time by `by`, stopping at each timer on the way.
///
/// The adapter sets its next timer on threads of its own. After each firing this waits until it did, at most `grace` of
/// real time: an interval of a second inside an advance by a minute then fires sixty times.
pub(super) fn advance(shared: &Arc<Shared>, by: Duration, grace: Duration) {
    let end = shared.lock().clock.since_begin + by;
    while fire_until(shared, end) {
        let changes = shared.lock().clock.changes;
        shared.wait(grace, |book| (book.clock.changes != changes).then_some(()));
    }
}

/// Fires what is due now.
fn fire_due(shared: &Arc<Shared>, by: Duration) {
    let end = shared.lock().clock.since_begin + by;
    fire_until(shared, end);
}

/// One step; whether something fired.
fn fire_until(shared: &Arc<Shared>, end: Duration) -> bool {
    let ids = shared.lock().clock.step(end);
    if ids.is_empty() {
        return false;
    }
    let mut lent = Lent::default();
    let first = lent.array(&ids);
    let count = size_u32(ids.len());
    shared.call(Call::ClockFired, |adapter, instance| {
        let Some(fired) = adapter.clock.as_ref().and_then(|clock| clock.fired) else {
            return Status::E_UNSUPPORTED;
        };
        // SAFETY: a live instance, and an array of `count` ids that outlives the call.
        unsafe { fired(instance, first, count) }
    });
    true
}
