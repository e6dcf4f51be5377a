//! Tables of the extensions, by name. Either side asks with `extension(name)`; null means absent.
//!
//! Adapter-side functions are `[quick]` and called only between `start` and the return of `stop`; host-side functions
//! are `[any]` and never block. Requests are asynchronous: an id in, exactly one result out.

use super::layout::c_struct;
use super::{
    Command, Instance, KvRequest, KvResult, Metric, Status, WebhookRequest, WebhookResponse,
};
use core::ffi::c_void;

/// The account's small durable state.
pub const EXT_KV: &str = "imb.kv/1";
/// Metrics of the adapter's own.
pub const EXT_METRICS: &str = "imb.metrics/1";
/// Simulated time, offered by test hosts only.
pub const EXT_CLOCK: &str = "imb.clock/1";
/// Did this command happen?
pub const EXT_VERIFY: &str = "imb.verify/1";
/// HTTP pushes from the provider.
pub const EXT_WEBHOOK: &str = "imb.webhook/1";

c_struct! {
    /// Host side of `imb.kv/1`.
    struct KvHost = "imb_kv_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// Copied; answers how many were taken, from the front.
        submit: Option<unsafe extern "C" fn(*mut c_void, *const KvRequest, u32) -> Status>,
    }

    /// Adapter side of `imb.kv/1`.
    struct KvAdapter = "imb_kv_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// Results of earlier requests, one for each.
        done: Option<unsafe extern "C" fn(*mut Instance, *const KvResult, u32) -> Status>,
    }

    /// Host side of `imb.metrics/1`.
    struct MetricsHost = "imb_metrics_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// Copied; answers the metric's id, at least 0. Only inside `create`.
        define: Option<unsafe extern "C" fn(*mut c_void, *const Metric) -> Status>,
        /// Adds to, sets or observes a metric; label values by index.
        record: Option<unsafe extern "C" fn(*mut c_void, u32, f64, *const u16, u32) -> Status>,
    }

    /// Host side of `imb.clock/1`.
    struct ClockHost = "imb_clock_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// Unix milliseconds.
        now_ms: Option<unsafe extern "C" fn(*mut c_void) -> i64>,
        /// Nanoseconds that never go back.
        mono_ns: Option<unsafe extern "C" fn(*mut c_void) -> i64>,
        /// Fires once after the delay; `u64::MAX` cancels.
        timer: Option<unsafe extern "C" fn(*mut c_void, u64, u64) -> Status>,
    }

    /// Adapter side of `imb.clock/1`.
    struct ClockAdapter = "imb_clock_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// Timers that came due.
        fired: Option<unsafe extern "C" fn(*mut Instance, *const u64, u32) -> Status>,
    }

    /// Adapter side of `imb.verify/1`.
    struct VerifyAdapter = "imb_verify_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// As `execute`, but asks whether the command happened; must not act.
        verify: Option<unsafe extern "C" fn(*mut Instance, *const Command, u32) -> Status>,
    }

    /// Adapter side of `imb.webhook/1`.
    struct WebhookAdapter = "imb_webhook_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// OK: taken, exactly one respond follows. Negative: the host answers.
        request: Option<unsafe extern "C" fn(*mut Instance, *const WebhookRequest) -> Status>,
        /// The caller is gone or the deadline over.
        cancel: Option<unsafe extern "C" fn(*mut Instance, u64) -> Status>,
    }

    /// Host side of `imb.webhook/1`.
    struct WebhookHost = "imb_webhook_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// Answers a request; NOT_FOUND: too late.
        respond: Option<unsafe extern "C" fn(*mut c_void, *const WebhookResponse) -> Status>,
    }
}

// SAFETY: constant tables of functions, as the core tables.
unsafe impl Sync for KvHost {}
// SAFETY: as above.
unsafe impl Sync for KvAdapter {}
// SAFETY: as above.
unsafe impl Sync for MetricsHost {}
// SAFETY: as above.
unsafe impl Sync for ClockHost {}
// SAFETY: as above.
unsafe impl Sync for ClockAdapter {}
// SAFETY: as above.
unsafe impl Sync for VerifyAdapter {}
// SAFETY: as above.
unsafe impl Sync for WebhookAdapter {}
// SAFETY: as above.
unsafe impl Sync for WebhookHost {}
