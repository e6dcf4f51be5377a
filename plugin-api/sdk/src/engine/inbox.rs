//! What the host's calls bring, on its way to the instance's thread.
//!
//! Any number of calls between two turns of the instance cost one wake-up. The lock is held for copying only, never
//! across a call of the host.
//!
//! Bounds: each list has its own; what does not fit is refused to the host in the way its function allows.

use crate::command::CommandData;
use crate::ffi::owned::HostBuf;
use crate::webhook::RequestData;
use futures_util::task::AtomicWaker;
use im_bridge_plugin_api::abi;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Uncompleted commands of an instance. The core hands over `max_in_flight`, a few; this guards against a host that
/// does not count.
pub(crate) const COMMANDS_MAX: u32 = 1024;
/// Unanswered webhook requests of an instance; the core's own default bound is 16.
pub(crate) const WEBHOOKS_MAX: u32 = 64;
/// Settles, cancellations and timers waiting for the instance: many times what a window allows, so that only a host
/// that repeats itself to an instance that does not turn meets it.
pub(crate) const SIGNALS_MAX: usize = 16 * 1024;

/// A result of `imb.kv/1`.
pub(crate) struct KvDone {
    pub(crate) request: u64,
    pub(crate) status: abi::Status,
    pub(crate) revision: u64,
    pub(crate) value: HostBuf,
}

/// What came since the last turn.
#[derive(Default)]
pub(crate) struct Batch {
    /// A grant came, possibly of nothing: "try again".
    pub(crate) is_granted: bool,
    pub(crate) granted_events: u64,
    pub(crate) granted_bytes: u64,
    pub(crate) settles: Vec<abi::Settle>,
    pub(crate) commands: Vec<CommandData>,
    pub(crate) cancels: Vec<u64>,
    pub(crate) kv: Vec<KvDone>,
    pub(crate) fired: Vec<u64>,
    pub(crate) webhooks: Vec<RequestData>,
    pub(crate) webhook_cancels: Vec<u64>,
}

#[derive(Default)]
pub(crate) struct Inbox {
    is_signaled: AtomicBool,
    waker: AtomicWaker,
    batch: Mutex<Batch>,
}

impl Inbox {
    /// Adds to the batch; the instance must then be woken by [`Inbox::signal`].
    pub(crate) fn add<T>(&self, add: impl FnOnce(&mut Batch) -> T) -> T {
        add(&mut lock(&self.batch))
    }

    /// Wakes the instance, unless it is about to look anyway.
    pub(crate) fn signal(&self) {
        if !self.is_signaled.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// To be woken by the next signal.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Something came since the last time this was asked.
    pub(crate) fn take_signal(&self) -> bool {
        self.is_signaled.swap(false, Ordering::AcqRel)
    }

    /// Swaps what came against an empty batch, whose lists keep their memory.
    pub(crate) fn take(&self, empty: &mut Batch) {
        std::mem::swap(&mut *lock(&self.batch), empty);
    }
}

/// A lock whose former holder panicked is used on: what it guards is changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
