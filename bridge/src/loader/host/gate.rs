//! Counts calls that cross the boundary in one direction and refuses them once closed.
//!
//! After `close` returned true no call is inside and none will enter. Entering and checking are one atomic operation:
//! "check, then enter" would let a call slip in between. Entering never waits.
//!
//! Each instance has two: one for the adapter's calls into the host, one for the host's quick calls into the adapter.
//!
//! Not here: what the calls do. A refused buffer stays the caller's.
//!
//! Invariant: a leaving call touches the gate for the last time when it takes itself off the count, so that whoever
//! saw zero may free the gate; guarded by `no_call_is_inside_after_close_returned` (threads) and by a loom model.

use super::sync::{AtomicU32, Ordering, pause};

/// Nothing enters any more.
const CLOSED: u32 = 1 << 31;
/// Calls of [`Pass::Full`] enter, too.
const FULL: u32 = 1 << 30;
/// The rest counts the calls inside: more threads than this cannot exist.
const COUNT: u32 = FULL - 1;

/// What a call needs to find open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pass {
    /// Allowed from the first moment: what an adapter may call inside `create`.
    Early,
    /// Allowed once [`Gate::open`] was called.
    Full,
}

/// See the front page. A new gate lets [`Pass::Early`] in.
#[derive(Debug)]
pub(super) struct Gate(AtomicU32);

/// One call inside; dropping it leaves.
#[derive(Debug)]
pub(super) struct Inside<'a>(&'a Gate);

impl Gate {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Lets [`Pass::Full`] in, unless closed.
    pub(super) fn open(&self) {
        self.0.fetch_or(FULL, Ordering::AcqRel);
    }

    /// Takes [`Gate::open`] back: a failed start leaves the instance as it was created.
    pub(super) fn narrow(&self) {
        self.0.fetch_and(!FULL, Ordering::AcqRel);
    }

    /// Enters, or says that this call may not.
    pub(super) fn enter(&self, pass: Pass) -> Option<Inside<'_>> {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let inside = Inside(self); // also a refused call was counted for a moment: dropping this takes it off again
        let refused = before & CLOSED != 0 || (pass == Pass::Full && before & FULL == 0);
        (!refused).then_some(inside)
    }

    /// Refuses from now on, without waiting for those inside.
    pub(super) fn shut(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Refuses from now on and waits until none is inside. False: `wait_on` said no before that.
    ///
    /// It polls instead of sleeping on a condition, because the last one to leave may not touch the gate again. Calls
    /// inside are short: host functions never block, quick calls are watched.
    pub(super) fn close(&self, mut wait_on: impl FnMut() -> bool) -> bool {
        self.shut();
        let mut round = 0;
        while self.0.load(Ordering::Acquire) & COUNT != 0 {
            if !wait_on() {
                return false;
            }
            pause(round);
            round += 1;
        }
        true
    }

    /// Whether calls are refused for good.
    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}
