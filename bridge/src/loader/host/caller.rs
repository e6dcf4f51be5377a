//! The one thread per plugin file that makes the host's quick calls, in batches.
//!
//! A quick call is never made on a worker of the async runtime: a worker lost in a call would keep its task for ever.
//! Here an instance has a queue of its own, the thread serves one instance after the other, and each time takes all
//! that has gathered: settles first, then the credit that they give back, then answers and commands. A call that does
//! not return in time makes its instance stuck; the thread is abandoned inside, with the arguments it lent, and a new
//! one serves the other instances of the file.
//!
//! Not here: calls that may block (`instance`); who decides what is called (the account's supervisor).
//!
//! Invariant: after a call the thread touches nothing unless it is still in charge; guarded by
//! `a_quick_call_that_never_returns_makes_its_instance_stuck_and_no_other`. Lock order: none is held together with
//! another.

mod serve;
mod watchdog;

use super::kv::KvAnswer;
use super::messages::Command;
use super::shared::Shared;
use super::webhook::WebhookRequest;
use im_bridge_plugin_api::abi;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use watchdog::Slot;

/// What waits for one instance's turn. Each list is bounded where it is filled.
#[derive(Default)]
pub(super) struct Waiting {
    pub settles: Vec<abi::Settle>,
    /// Events and bytes; 0, 0 means "try again".
    grant: Option<(u32, u64)>,
    /// Id, command, and whether it is only asked what became of it.
    pub commands: VecDeque<(u64, Command, bool)>,
    pub cancels: Vec<u64>,
    pub kv: Vec<KvAnswer>,
    pub webhooks: Vec<WebhookRequest>,
    pub webhook_cancels: Vec<u64>,
    /// In the caller's queue already.
    pub is_scheduled: bool,
    /// The adapter took fewer commands than offered; the rest waits for a completion, or a moment.
    pub is_busy: bool,
    pub is_closed: bool,
}

impl Waiting {
    pub(super) fn closed() -> Self {
        Self {
            is_closed: true,
            ..Self::default()
        }
    }

    /// Adds to what the adapter may emit.
    pub(super) fn grant(&mut self, events: u32, bytes: u64) {
        let (more_events, more_bytes) = self.grant.unwrap_or_default();
        self.grant = Some((events + more_events, bytes + more_bytes));
    }
}

/// See the front page.
pub(super) struct Caller {
    name: String,
    /// A call longer than this is stuck.
    patience: Duration,
    turns: Mutex<Turns>,
    wake: Condvar,
}

#[derive(Default)]
struct Turns {
    /// Each instance at most once: `Waiting::is_scheduled`.
    queue: VecDeque<Arc<Shared>>,
    /// Busy instances and when they are asked again.
    later: Vec<(Instant, Weak<Shared>)>,
    /// The thread in charge.
    thread: Option<Arc<Slot>>,
    is_parked: bool,
    is_finished: bool,
}

impl Caller {
    pub(super) fn new(provider: &str, patience: Duration) -> Arc<Self> {
        let caller = Arc::new(Self {
            name: format!("call {provider}"),
            patience,
            turns: Mutex::default(),
            wake: Condvar::new(),
        });
        watchdog::watch(&caller);
        caller
    }

    /// Gives an instance its turn.
    pub(super) fn push(self: Arc<Self>, shared: Arc<Shared>) {
        let mut turns = self.turns();
        turns.queue.push_back(shared);
        if turns.thread.is_none() {
            self.start_thread(&mut turns);
        } else if turns.is_parked {
            turns.is_parked = false; // one wake-up is enough, however many come before it runs
            drop(turns);
            self.wake.notify_one();
        }
    }

    /// Asks a busy instance again after a while.
    fn push_later(&self, at: Instant, shared: &Arc<Shared>) {
        self.turns().later.push((at, Arc::downgrade(shared)));
    }

    /// Ends the thread once the file has no instance any more.
    pub(super) fn finish(&self) {
        self.turns().is_finished = true;
        self.wake.notify_one();
    }

    /// Another thread takes over: the one in charge is inside a call that does not return.
    fn replace_thread(self: &Arc<Self>) {
        let mut turns = self.turns();
        turns.thread = None;
        if !turns.queue.is_empty() || !turns.later.is_empty() {
            self.start_thread(&mut turns);
        }
    }

    fn start_thread(self: &Arc<Self>, turns: &mut Turns) {
        let slot = Arc::new(Slot::default());
        let (caller, own) = (Arc::clone(self), Arc::clone(&slot));
        let spawned = std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || {
                // A bug of ours must not silence every account of the file.
                if catch_unwind(AssertUnwindSafe(|| serve::run(&caller, &own))).is_err() {
                    caller.replace_thread();
                }
            });
        match spawned {
            Ok(_) => turns.thread = Some(slot),
            // The next push tries again.
            Err(error) => tracing::error!(thread = self.name, "cannot start a thread: {error}"),
        }
    }

    /// The next instance whose turn it is; none when the file is finished.
    fn next(&self) -> Option<Arc<Shared>> {
        loop {
            let mut turns = self.turns();
            let now = Instant::now();
            let due: Vec<_> = turns.later.extract_if(.., |(at, _)| *at <= now).collect();
            if !due.is_empty() {
                drop(turns);
                for shared in due.iter().filter_map(|(_, shared)| shared.upgrade()) {
                    shared.send(|queue| queue.is_busy = false);
                }
                continue;
            }
            if let Some(shared) = turns.queue.pop_front() {
                return Some(shared);
            }
            if turns.is_finished {
                return None;
            }
            turns.is_parked = true;
            let until = turns.later.iter().map(|(at, _)| *at).min();
            let mut turns = match until {
                Some(until) => {
                    let pause = until.saturating_duration_since(now);
                    self.wake
                        .wait_timeout(turns, pause)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .wake
                    .wait(turns)
                    .unwrap_or_else(PoisonError::into_inner),
            };
            turns.is_parked = false;
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
