//! Sleeping by the host's clock, when it offers one.

use crate::ffi::link::HostLink;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

/// Timers that the host was asked for: who is to be woken; none once it fired.
#[derive(Default)]
pub(crate) struct Timers {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Option<Waker>>>,
}

impl Timers {
    /// Asks for a timer; its id.
    pub(crate) fn start(&self, link: &HostLink, delay: Duration, waker: Waker) -> u64 {
        let id = self.next.get() + 1;
        self.next.set(id);
        // Registered first: a simulated clock may fire at once.
        self.waiting.borrow_mut().insert(id, Some(waker));
        // Rounded up, so that nobody wakes before his time; the highest value would mean cancel.
        let delay_ms = delay.as_nanos().div_ceil(1_000_000);
        let delay_ms = u64::try_from(delay_ms)
            .unwrap_or(u64::MAX)
            .min(u64::MAX - 1);
        if !link.clock_timer(id, delay_ms).is_ok() {
            // Refused or closed: whoever sleeps is let go rather than kept for ever.
            self.fire(id);
        }
        id
    }

    /// The timer fired, or its task is woken when it does.
    pub(crate) fn has_fired(&self, id: u64, waker: &Waker) -> bool {
        let former = match self.waiting.borrow_mut().get_mut(&id) {
            None | Some(None) => return true,
            Some(Some(known)) if known.will_wake(waker) => return false,
            Some(Some(known)) => std::mem::replace(known, waker.clone()),
        };
        drop(former);
        false
    }

    pub(crate) fn fire(&self, id: u64) {
        let waker = self
            .waiting
            .borrow_mut()
            .get_mut(&id)
            .and_then(Option::take);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nobody sleeps on it any more; cancelled when it has not fired.
    pub(crate) fn forget(&self, link: &HostLink, id: u64) {
        let former = self.waiting.borrow_mut().remove(&id);
        if matches!(former, Some(Some(_))) {
            link.clock_timer(id, u64::MAX);
        }
    }
}
