//! What the host's threads and the instance's thread share.

use super::inbox::{Inbox, lock};
use crate::ffi::link::HostLink;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// One instance, as any thread may see it.
pub(crate) struct Core {
    pub(crate) link: Arc<HostLink>,
    pub(crate) inbox: Inbox,
    /// Commands taken and not completed yet.
    pub(crate) open_commands: AtomicU32,
    /// Webhook requests taken and not answered yet.
    pub(crate) open_webhooks: AtomicU32,
    is_draining: AtomicBool,
    is_stopping: AtomicBool,
    is_poisoned: AtomicBool,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// What a drain still waits for; none until the instance looked at it.
    open: Option<u32>,
    is_finished: bool,
}

impl Core {
    pub(crate) fn new(link: HostLink) -> Self {
        Self {
            link: Arc::new(link),
            inbox: Inbox::default(),
            open_commands: AtomicU32::new(0),
            open_webhooks: AtomicU32::new(0),
            is_draining: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
            progress: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Acquire)
    }

    /// Nothing of the adapter is to run any more.
    pub(crate) fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Release);
        self.inbox.signal();
        // A drain waits for nothing any more. Under the lock, so that it cannot miss this between looking and waiting.
        drop(lock(&self.progress));
        self.changed.notify_all();
    }

    /// Stops reading and waits until nothing is open; answers what still is.
    pub(crate) fn drain(&self, timeout: Duration) -> u32 {
        self.is_draining.store(true, Ordering::Release);
        self.inbox.signal();
        let deadline = Instant::now() + timeout;
        let mut progress = lock(&self.progress);
        loop {
            if progress.is_finished || progress.open == Some(0) {
                return 0;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_poisoned() {
                return progress.open.unwrap_or(1);
            }
            progress = self
                .changed
                .wait_timeout(progress, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }

    /// Ends the instance and waits for it; false when it did not end in time.
    pub(crate) fn stop(&self, timeout: Duration) -> bool {
        self.is_stopping.store(true, Ordering::Release);
        self.inbox.signal();
        let deadline = Instant::now() + timeout;
        let mut progress = lock(&self.progress);
        while !progress.is_finished {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            progress = self
                .changed
                .wait_timeout(progress, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
        true
    }

    /// The instance tells what a drain still waits for.
    pub(crate) fn tell_open(&self, open: u32) {
        let mut progress = lock(&self.progress);
        if progress.open != Some(open) {
            progress.open = Some(open);
            self.changed.notify_all();
        }
    }

    /// The instance ended: none of its code runs any more.
    pub(crate) fn finish(&self) {
        lock(&self.progress).is_finished = true;
        self.changed.notify_all();
    }
}
