//! What the host's functions, its threads and the test share: one book behind one lock, and the gate.
//!
//! Promises: a host function never blocks on the adapter and never calls it on the same thread; the host never calls
//! the adapter while it holds the lock, and only where the life of an instance allows it; after `stop` returned the gate
//! is closed and no call of the adapter is inside.
//!
//! Lock order: the book is the only lock that is held across a statement; those of `Given` and `KvStore` are taken
//! inside it or alone, never around it.

use crate::test::builder::{Extension, Settling};
use crate::test::clock::ClockBook;
use crate::test::command::CommandBook;
use crate::test::keep::{Kept, Release};
use crate::test::kv::KvBook;
use crate::test::lend::Given;
use crate::test::metrics::MetricsBook;
use crate::test::record::Recording;
use crate::test::rules::Rules;
use crate::test::violation::{Call, Function, Violation};
use crate::test::webhook::WebhookBook;
use im_bridge_plugin_api::abi::{
    Adapter, ClockAdapter, Instance, KvAdapter, LogLevel, Outcome, Status, VerifyAdapter,
    WebhookAdapter,
};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the instance is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the states of an instance's life")]
pub enum Phase {
    /// `create` is inside.
    Creating,
    Created,
    Started,
    Draining,
    /// `stop` is inside: the gate is still open.
    Stopping,
    Stopped,
    Destroyed,
    /// A panic was seen: the gate is closed, `stop` and `destroy` are all that may follow.
    Poisoned,
    /// A call did not come back or `stop` failed: nothing may follow, memory is abandoned.
    Stuck,
}

/// The adapter's functions, as both sides know them.
pub(super) struct Functions {
    pub core: Adapter,
    pub kv: Option<KvAdapter>,
    pub clock: Option<ClockAdapter>,
    pub verify: Option<VerifyAdapter>,
    pub webhook: Option<WebhookAdapter>,
}

/// The adapter's instance.
#[derive(Clone, Copy)]
pub(super) struct InstancePtr(pub *mut Instance);
// SAFETY: the contract lets every host thread use it.
unsafe impl Send for InstancePtr {}

/// What the adapter may still emit.
#[derive(Default)]
pub(super) struct Credit {
    pub events: i64,
    pub bytes: i64,
    /// Give back on settle what an event cost.
    pub is_automatic: bool,
    /// Take fewer than the credit allows, as under memory pressure.
    pub take_at_most: Option<u32>,
}

/// An event that was taken and not settled.
pub(super) struct Open {
    pub bytes: usize,
    pub trace_id: Option<[u8; 16]>,
}

type Job = Box<dyn FnOnce(&Arc<Shared>) + Send>;

/// Everything behind the lock.
pub(super) struct Book {
    pub phase: Phase,
    pub instance: Option<InstancePtr>,
    /// Calls of the host inside the adapter.
    pub calls_inside: u32,
    /// Calls of the adapter inside the host.
    pub functions_inside: u32,
    order: u64,
    next_trace: u64,
    pub seen: Recording,
    pub events_taken: usize,
    pub violations: Vec<Violation>,
    pub credit: Credit,
    pub open: BTreeMap<u64, Open>,
    pub settling: Settling,
    pub release: Release,
    pub kept: Vec<Kept>,
    pub log_level: LogLevel,
    pub commands: CommandBook,
    pub kv: KvBook,
    pub metrics: MetricsBook,
    pub clock: ClockBook,
    pub webhooks: WebhookBook,
    jobs: VecDeque<Job>,
    is_closing: bool,
}

impl Book {
    pub fn new(settling: Settling, release: Release, kv: KvBook, clock: ClockBook) -> Self {
        Self {
            phase: Phase::Creating,
            instance: None,
            calls_inside: 0,
            functions_inside: 0,
            order: 0,
            next_trace: 0,
            seen: Recording::default(),
            events_taken: 0,
            violations: Vec::new(),
            credit: Credit::default(),
            open: BTreeMap::new(),
            settling,
            release,
            kept: Vec::new(),
            log_level: LogLevel::TRACE,
            commands: CommandBook::default(),
            kv,
            metrics: MetricsBook::default(),
            clock,
            webhooks: WebhookBook::default(),
            jobs: VecDeque::new(),
            is_closing: false,
        }
    }

    /// The next number in the order of everything that happens.
    pub fn order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub fn next_trace(&mut self) -> u64 {
        self.next_trace += 1;
        self.next_trace
    }

    pub fn violate(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// Work for a host thread; dropped unless the instance may be called.
    pub fn later(&mut self, job: impl FnOnce(&Arc<Shared>) + Send + 'static) {
        self.jobs.push_back(Box::new(job));
    }

    fn allows(&self, call: Call) -> bool {
        match self.phase {
            Phase::Started => true,
            Phase::Draining => !matches!(call, Call::Execute | Call::Verify | Call::WebhookRequest),
            _ => false,
        }
    }
}

/// What all parts of one mock share.
pub(super) struct Shared {
    pub rules: Rules,
    pub functions: Functions,
    pub account: String,
    pub offers: Vec<Extension>,
    pub patience: Duration,
    /// Bytes by which every struct and table is longer than this side knows it.
    pub extra: usize,
    pub given: Given,
    began: Instant,
    book: Mutex<Book>,
    changed: Condvar,
}

thread_local! {
    /// The adapter function that this thread is inside, with the mock that called it.
    static INSIDE: Cell<Option<(usize, Call)>> = const { Cell::new(None) };
}

impl Shared {
    pub fn new(
        rules: Rules,
        functions: Functions,
        account: String,
        offers: Vec<Extension>,
        patience: Duration,
        extra: usize,
        book: Book,
    ) -> Self {
        Self {
            rules,
            functions,
            account,
            offers,
            patience,
            extra,
            given: Given::default(),
            began: Instant::now(),
            book: Mutex::new(book),
            changed: Condvar::new(),
        }
    }

    /// The mock behind the first argument of a host function.
    ///
    /// # Safety
    /// `ctx` must be the `ctx` of a host table whose mock still lives.
    pub unsafe fn from_ctx<'a>(ctx: *mut c_void) -> &'a Arc<Shared> {
        // SAFETY: `ctx` points to the Arc that the mock keeps at a fixed address for as long as its table is valid.
        unsafe { &*ctx.cast_const().cast::<Arc<Shared>>() }
    }

    pub fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Real time since the mock was made.
    pub fn at(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until `ready` has something, or the deadline is over.
    pub fn wait<T>(
        &self,
        within: Duration,
        mut ready: impl FnMut(&mut Book) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut book = self.lock();
        loop {
            if let Some(found) = ready(&mut book) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            book = self
                .changed
                .wait_timeout(book, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Lets a call of the adapter in, or says why not: entering and checking are one step under the lock.
    pub fn enter(self: &Arc<Self>, function: Function) -> Option<Entered<'_>> {
        let mut book = self.lock();
        let is_early = matches!(
            function,
            Function::Log | Function::Extension | Function::MetricDefine
        );
        let is_open = match book.phase {
            Phase::Started | Phase::Draining | Phase::Stopping => true,
            Phase::Creating | Phase::Created => is_early,
            _ => false,
        };
        if is_open {
            book.functions_inside += 1;
            return Some(Entered { shared: self });
        }
        let violation = match book.phase {
            Phase::Creating | Phase::Created => Some(Violation::CallBeforeStart { function }),
            Phase::Stopped | Phase::Destroyed => Some(Violation::CallAfterStop { function }),
            // A poisoned or stuck adapter cannot know that it is.
            _ => None,
        };
        if let Some(violation) = violation {
            book.violate(violation);
        }
        drop(book);
        self.notify();
        None
    }

    /// The adapter function that called into the host on this thread.
    pub fn inside(&self) -> Option<Call> {
        let own = std::ptr::from_ref(self) as usize;
        INSIDE
            .get()
            .filter(|(of, _)| *of == own)
            .map(|(_, call)| call)
    }

    /// Calls the adapter where the life of the instance allows it; none where it does not.
    pub fn call(
        self: &Arc<Self>,
        call: Call,
        run: impl FnOnce(&Functions, *mut Instance) -> Status,
    ) -> Option<Status> {
        let instance = {
            let mut book = self.lock();
            if !book.allows(call) {
                return None;
            }
            book.calls_inside += 1;
            book.instance?
        };
        let status = self.run(call, || run(&self.functions, instance.0));
        let mut book = self.lock();
        book.calls_inside -= 1;
        if status == Status::E_PANIC {
            book.violate(Violation::Panicked { call });
            poison(&mut book);
        } else if !status.is_ok() && is_never_negative(call) {
            book.violate(Violation::BadStatus { call, status });
        }
        drop(book);
        self.notify();
        Some(status)
    }

    /// Runs a call with this thread marked as being inside it.
    pub fn run<R>(&self, call: Call, run: impl FnOnce() -> R) -> R {
        let before = INSIDE.replace(Some((std::ptr::from_ref(self) as usize, call)));
        let result = run();
        INSIDE.set(before);
        result
    }

    /// Tells outcomes to the adapter and, with automatic credit, gives back what the events cost.
    pub fn settle(self: &Arc<Self>, outcomes: &[(u64, Outcome)]) {
        use im_bridge_plugin_api::abi::Settle;
        let mut settles = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        {
            let mut book = self.lock();
            for &(token, outcome) in outcomes {
                let Some(open) = book.open.remove(&token) else {
                    continue;
                };
                settles.push(Settle {
                    token,
                    outcome,
                    reserved: 0,
                });
                events += 1;
                bytes += open.bytes as u64;
                let (order, at) = (book.order(), self.at());
                book.seen.settles.push(super::record::SettleRecord {
                    order,
                    at,
                    token,
                    outcome,
                });
            }
        }
        self.notify();
        for batch in settles.chunks(im_bridge_plugin_api::abi::BATCH_MAX as usize) {
            self.settle_raw(batch);
        }
        if events > 0 && self.lock().credit.is_automatic {
            self.grant(events, bytes);
        }
    }

    /// Makes the call as it is, without looking whether the tokens are open.
    pub fn settle_raw(self: &Arc<Self>, settles: &[im_bridge_plugin_api::abi::Settle]) {
        let mut lent = super::lend::Lent::default();
        let first = lent.array(settles);
        let count = super::lend::size_u32(settles.len());
        self.call(Call::Settle, |adapter, instance| {
            let settle = adapter.core.settle.expect("checked when entered");
            // SAFETY: a live instance, and an array of frozen values that outlives the call.
            unsafe { settle(instance, first, count) }
        });
    }

    /// Counts the credit first, so that an event that races with the call is within it.
    pub fn grant(self: &Arc<Self>, events: u32, bytes: u64) {
        {
            let mut book = self.lock();
            book.credit.events += i64::from(events);
            book.credit.bytes += i64::try_from(bytes).unwrap_or(i64::MAX / 2);
        }
        self.call(Call::Grant, |adapter, instance| {
            let grant = adapter.core.grant.expect("checked when entered");
            // SAFETY: a live instance.
            unsafe { grant(instance, events, bytes) }
        });
    }

    /// The host's threads: they make its quick calls until the mock ends.
    pub fn work(self: &Arc<Self>) {
        loop {
            let job = {
                let mut book = self.lock();
                loop {
                    if let Some(job) = book.jobs.pop_front() {
                        break job;
                    }
                    if book.is_closing {
                        return;
                    }
                    book = self
                        .changed
                        .wait(book)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            };
            job(self);
        }
    }

    /// Ends the host's threads when their work is done.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.notify();
    }
}

/// Closes the gate after a panic and completes what is open, as the contract says of a poisoned instance.
pub(super) fn poison(book: &mut Book) {
    if matches!(
        book.phase,
        Phase::Creating | Phase::Created | Phase::Started | Phase::Draining
    ) {
        book.phase = Phase::Poisoned;
    }
}

fn is_never_negative(call: Call) -> bool {
    matches!(
        call,
        Call::Grant | Call::Settle | Call::Cancel | Call::KvDone | Call::ClockFired
    )
}

/// A call of the adapter that is inside the host.
pub(super) struct Entered<'a> {
    shared: &'a Arc<Shared>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.shared.lock().functions_inside -= 1;
        self.shared.notify();
    }
}
