//! Calls to the host, of one instance.
//!
//! Any thread may call. After [`HostLink::close`] returned no call is inside and none gets in, so that nothing an
//! adapter kept (a metric, a context in a thread-local) reaches a host table that is gone. `CLOSED` from the host closes
//! it too: a host that takes nothing any more is not asked again.

use crate::trace::Trace;
use im_bridge_plugin_api::abi::{self, Status, raw};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// The host's functions as one instance may use them.
pub(crate) struct HostLink {
    table: abi::Host,
    kv: Option<abi::KvHost>,
    metrics: Option<abi::MetricsHost>,
    clock: Option<abi::ClockHost>,
    webhook: Option<abi::WebhookHost>,
    account: Box<str>,
    /// Bit 0: closed. The rest counts calls inside, in steps of 2.
    gate: AtomicUsize,
    /// The state is closed, which happens alone when the account's lease is lost.
    is_kv_closed: AtomicBool,
    /// Highest log level wanted, as of the last answer.
    wanted: AtomicU32,
}

const CLOSED: usize = 1;
const ONE_INSIDE: usize = 2;

// SAFETY: every function of the tables may be called on any thread, and the gate keeps calls inside their life.
unsafe impl Send for HostLink {}
// SAFETY: as above.
unsafe impl Sync for HostLink {}

/// Inside the gate until dropped.
struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(ONE_INSIDE, Ordering::Release);
    }
}

impl HostLink {
    /// Reads the host's table and asks for the extensions. Refused when one of the functions of 1.0 is missing.
    ///
    /// # Safety
    /// `host` is null or a host table, valid until [`HostLink::close`] returned.
    pub(crate) unsafe fn new(host: *const abi::Host, account: Box<str>) -> Result<Self, Status> {
        // SAFETY: the caller's promise.
        let table = unsafe { raw::read(host) }?;
        let complete = table.emit.is_some()
            && table.complete.is_some()
            && table.report.is_some()
            && table.log.is_some()
            && table.op.is_some();
        let (Some(extension), true) = (table.extension, complete) else {
            return Err(Status::E_INVALID);
        };
        let ask = |name: &str| {
            // SAFETY: a function of the host with its own context; the name is copied by the callee.
            unsafe { extension(table.ctx, abi::Str::new(name)) }
        };
        // SAFETY: what the host answers is null or a static table of the type that belongs to the name.
        let (kv, metrics, clock, webhook) = unsafe {
            (
                raw::read::<abi::KvHost>(ask(abi::EXT_KV).cast()).ok(),
                raw::read::<abi::MetricsHost>(ask(abi::EXT_METRICS).cast()).ok(),
                raw::read::<abi::ClockHost>(ask(abi::EXT_CLOCK).cast()).ok(),
                raw::read::<abi::WebhookHost>(ask(abi::EXT_WEBHOOK).cast()).ok(),
            )
        };
        let link = Self {
            table,
            kv,
            metrics,
            clock,
            webhook,
            account,
            gate: AtomicUsize::new(0),
            is_kv_closed: AtomicBool::new(false),
            wanted: AtomicU32::new(abi::LogLevel::OFF.0),
        };
        link.log(None);
        Ok(link)
    }

    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// Lets nothing in any more and waits until nothing is inside. Host functions never block, so neither does this.
    pub(crate) fn close(&self) {
        self.gate.fetch_or(CLOSED, Ordering::AcqRel);
        while self.gate.load(Ordering::Acquire) != CLOSED {
            std::thread::yield_now();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Entering and checking are one operation: a call cannot slip in between check and close.
    fn enter(&self) -> Option<Inside<'_>> {
        let before = self.gate.fetch_add(ONE_INSIDE, Ordering::Acquire);
        let inside = Inside(&self.gate);
        (before & CLOSED == 0).then_some(inside)
    }

    /// Calls a function of the core table: closed for one is closed for all.
    fn call(&self, call: impl FnOnce() -> Status) -> Status {
        let status = self.call_extension(call);
        if status == Status::E_CLOSED {
            self.gate.fetch_or(CLOSED, Ordering::AcqRel);
        }
        status
    }

    fn call_extension(&self, call: impl FnOnce() -> Status) -> Status {
        match self.enter() {
            Some(_inside) => call(),
            None => Status::E_CLOSED,
        }
    }

    /// How many were taken, from the front.
    pub(crate) fn emit(&self, events: &[abi::Event]) -> Status {
        let Some(emit) = self.table.emit else {
            return Status::E_CLOSED;
        };
        // SAFETY: inside the gate; the array outlives the call, and its length fits, as batches are bounded.
        self.call(|| unsafe { emit(self.table.ctx, events.as_ptr(), count(events.len())) })
    }

    pub(crate) fn complete(&self, completions: &[abi::Completion]) -> Status {
        let Some(complete) = self.table.complete else {
            return Status::E_CLOSED;
        };
        self.call(|| {
            let n = count(completions.len());
            // SAFETY: as `emit`.
            unsafe { complete(self.table.ctx, completions.as_ptr(), n) }
        })
    }

    pub(crate) fn report(&self, report: &abi::Report) -> Status {
        let Some(function) = self.table.report else {
            return Status::E_CLOSED;
        };
        // SAFETY: inside the gate; the report outlives the call.
        self.call(|| unsafe { function(self.table.ctx, report) })
    }

    /// Logs, or with no record only asks which level is wanted.
    pub(crate) fn log(&self, record: Option<&abi::Log>) {
        let Some(log) = self.table.log else { return };
        let record = record.map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: inside the gate; the record outlives the call or is null, which asks only.
        let wanted = self.call(|| unsafe { log(self.table.ctx, record) });
        let level = u32::try_from(wanted.0).unwrap_or(abi::LogLevel::OFF.0);
        self.wanted.store(level, Ordering::Relaxed);
    }

    pub(crate) fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Reports a finished operation; answers the context for what follows from it.
    pub(crate) fn op(&self, op: &abi::Op) -> Trace {
        let Some(function) = self.table.op else {
            return Trace::NONE;
        };
        let mut span = abi::Trace::NONE;
        // SAFETY: inside the gate; both pointers are valid for the call.
        let status = self.call(|| unsafe { function(self.table.ctx, op, &raw mut span) });
        if status.is_ok() {
            Trace::from_abi(span)
        } else {
            Trace::NONE
        }
    }

    pub(crate) fn has_kv(&self) -> bool {
        self.kv.is_some()
    }

    /// How many requests were taken.
    pub(crate) fn kv_submit(&self, request: &abi::KvRequest) -> Status {
        let Some(submit) = self.kv.and_then(|kv| kv.submit) else {
            return Status::E_UNSUPPORTED;
        };
        if self.is_kv_closed.load(Ordering::Relaxed) {
            return Status::E_CLOSED;
        }
        // SAFETY: inside the gate; one element.
        let status = self.call_extension(|| unsafe { submit(self.table.ctx, request, 1) });
        if status == Status::E_CLOSED {
            self.is_kv_closed.store(true, Ordering::Relaxed);
        }
        status
    }

    pub(crate) fn define_metric(&self, metric: &abi::Metric) -> Status {
        let Some(define) = self.metrics.and_then(|metrics| metrics.define) else {
            return Status::E_UNSUPPORTED;
        };
        // SAFETY: inside the gate; the definition is copied.
        self.call_extension(|| unsafe { define(self.table.ctx, metric) })
    }

    pub(crate) fn record_metric(&self, id: u32, value: f64, labels: &[u16]) -> Status {
        let Some(record) = self.metrics.and_then(|metrics| metrics.record) else {
            return Status::E_UNSUPPORTED;
        };
        self.call_extension(|| {
            let n = count(labels.len());
            // SAFETY: inside the gate; the labels outlive the call.
            unsafe { record(self.table.ctx, id, value, labels.as_ptr(), n) }
        })
    }

    /// Unix milliseconds of the host's clock, when it offers one.
    pub(crate) fn clock_now_ms(&self) -> Option<i64> {
        let now_ms = self.clock?.now_ms?;
        let _inside = self.enter()?;
        // SAFETY: inside the gate.
        Some(unsafe { now_ms(self.table.ctx) })
    }

    /// Nanoseconds of the host's monotonic clock, when it offers one.
    pub(crate) fn clock_mono_ns(&self) -> Option<i64> {
        let mono_ns = self.clock?.mono_ns?;
        let _inside = self.enter()?;
        // SAFETY: inside the gate.
        Some(unsafe { mono_ns(self.table.ctx) })
    }

    pub(crate) fn has_clock(&self) -> bool {
        self.clock.is_some_and(|clock| {
            clock.now_ms.is_some() && clock.mono_ns.is_some() && clock.timer.is_some()
        })
    }

    /// Sets a timer; `u64::MAX` cancels it.
    pub(crate) fn clock_timer(&self, id: u64, delay_ms: u64) -> Status {
        let Some(timer) = self.clock.and_then(|clock| clock.timer) else {
            return Status::E_UNSUPPORTED;
        };
        // SAFETY: inside the gate.
        self.call_extension(|| unsafe { timer(self.table.ctx, id, delay_ms) })
    }

    pub(crate) fn respond(&self, response: &abi::WebhookResponse) -> Status {
        let Some(respond) = self.webhook.and_then(|webhook| webhook.respond) else {
            return Status::E_UNSUPPORTED;
        };
        // SAFETY: inside the gate; the response outlives the call.
        self.call_extension(|| unsafe { respond(self.table.ctx, response) })
    }
}

/// The length of an array argument; all of them are bounded far below.
pub(crate) fn count(len: usize) -> u32 {
    u32::try_from(len).expect("array arguments are bounded")
}

/// The size field of a struct of ours.
pub(crate) const fn size_of_u32<T>() -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "structs of the boundary have a few hundred bytes"
    )]
    let size = size_of::<T>() as u32;
    size
}
