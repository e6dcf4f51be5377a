//! Tables of the extensions, by name. Either side asks with `extension(name)`; null means absent.
//!
//! Adapter-side functions are `[quick]` and called only between `start` and the return of `stop`; host-side functions
//! are `[any]` and never block; their first argument is the `ctx` of [`super::Host`]. Requests are asynchronous: an id
//! in, exactly one result out. Names are `imb.<word>/<major>`; those of other makers begin with their reverse domain.
//!
//! Not here: outgoing connections. An adapter owns its sockets and its HTTP client.

use super::layout::c_struct;
use super::{
    Command, Instance, KvRequest, KvResult, Metric, Status, WebhookRequest, WebhookResponse,
};
use core::ffi::c_void;

/// The account's small durable state: cursors, sessions, what was seen. Always offered.
pub const EXT_KV: &str = "imb.kv/1";
/// Metrics of the adapter's own. Always offered.
pub const EXT_METRICS: &str = "imb.metrics/1";
/// Simulated time, offered by test hosts only.
pub const EXT_CLOCK: &str = "imb.clock/1";
/// The host asks whether a command happened.
pub const EXT_VERIFY: &str = "imb.verify/1";
/// HTTP pushes from the provider, offered when the host listens for them.
pub const EXT_WEBHOOK: &str = "imb.webhook/1";

c_struct! {
    /// Host side of `imb.kv/1`: a small store that outlives the instance and moves with the account.
    ///
    /// A key has 1 to 4 segments of `[A-Za-z0-9_=.-]`, joined by `/`, at most 128 bytes in all; the host puts provider
    /// and account in front, so that no adapter sees another account's. By custom the first segment is `cursor`, `dm`,
    /// `session` or `seen`. An account has at most 4,096 keys of together 4 MiB, and 64 requests under way; beyond that
    /// the result is [`Status::E_RATE_LIMITED`]. Once another replica has the account, it is [`Status::E_CLOSED`].
    struct KvHost = "imb_kv_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(ctx, requests, n)` Copied; answers how many were taken, from the front. Each of them gets exactly one
        /// result.
        submit: Option<unsafe extern "C" fn(*mut c_void, *const KvRequest, u32) -> Status>,
    }

    /// Adapter side of `imb.kv/1`.
    struct KvAdapter = "imb_kv_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(self, results, n)` Results of requests, in any order, one for each.
        ///
        /// All values are the adapter's to release, whatever it answers. OK on a put means that the value is stored,
        /// not merely sent.
        done: Option<unsafe extern "C" fn(*mut Instance, *const KvResult, u32) -> Status>,
    }

    /// Host side of `imb.metrics/1`: defined once, updated by number, so that the series are known from the start.
    struct MetricsHost = "imb_metrics_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(ctx, metric)` Copied; answers the metric's id, at least 0. Works inside `create` only, for at most 32
        /// metrics.
        define: Option<unsafe extern "C" fn(*mut c_void, *const Metric) -> Status>,
        /// `(ctx, id, value, label_values, n)` Adds to a counter, sets a gauge, observes in a histogram.
        ///
        /// `label_values` are indexes into the values of each label, in the order of the definition; `n` is their
        /// number.
        record: Option<unsafe extern "C" fn(*mut c_void, u32, f64, *const u16, u32) -> Status>,
    }

    /// Host side of `imb.clock/1`: when it is there, all waiting and all reading of the time goes through it, so that a
    /// minute passes in a test in no time.
    struct ClockHost = "imb_clock_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(ctx)` Unix milliseconds.
        now_ms: Option<unsafe extern "C" fn(*mut c_void) -> i64>,
        /// `(ctx)` Nanoseconds since some moment, which never go back.
        mono_ns: Option<unsafe extern "C" fn(*mut c_void) -> i64>,
        /// `(ctx, id, delay_ms)` Fires once after the delay; `u64::MAX` cancels. The adapter chooses the id.
        timer: Option<unsafe extern "C" fn(*mut c_void, u64, u64) -> Status>,
    }

    /// Adapter side of `imb.clock/1`.
    struct ClockAdapter = "imb_clock_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(self, ids, n)` Timers that came due. To be copied.
        fired: Option<unsafe extern "C" fn(*mut Instance, *const u64, u32) -> Status>,
    }

    /// Adapter side of `imb.verify/1`: the way out of uncertainty, for providers that can be asked.
    struct VerifyAdapter = "imb_verify_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(self, commands, n)` As [`super::Adapter::execute`], but asks whether the command happened; it must not
        /// act.
        ///
        /// Each has a new id and gets one completion: OK with `native_id` and body as the command itself would have
        /// had; [`Status::E_NOT_FOUND`] with `certain` = 1, after which the host may execute it again;
        /// [`Status::E_UNCERTAIN`] when the provider cannot tell; [`Status::E_UNAVAILABLE`] to be asked later.
        verify: Option<unsafe extern "C" fn(*mut Instance, *const Command, u32) -> Status>,
    }

    /// Adapter side of `imb.webhook/1`: requests that the provider sends to the bridge.
    ///
    /// The adapter authenticates them, for only it knows how the provider signs: without a secret in its configuration
    /// it answers 401, unless the configuration allows that by name. It responds with success only after every event
    /// made from the request was settled as anything but [`super::Outcome::RETRY`]; in that case, or without credit
    /// until the deadline, with 503, so that the provider sends it again.
    struct WebhookAdapter = "imb_webhook_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(self, request)` OK: copied, the body is the adapter's, and exactly one `respond` follows.
        ///
        /// Negative: nothing is taken and the host answers for it: 503 for [`Status::E_UNAVAILABLE`], 404 for
        /// [`Status::E_NOT_FOUND`], else 500.
        request: Option<unsafe extern "C" fn(*mut Instance, *const WebhookRequest) -> Status>,
        /// `(self, id)` The caller is gone or the deadline over. The one `respond` still follows; it comes too late.
        cancel: Option<unsafe extern "C" fn(*mut Instance, u64) -> Status>,
    }

    /// Host side of `imb.webhook/1`.
    struct WebhookHost = "imb_webhook_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `(ctx, response)` Answers a request. Copied; the body is taken on OK. [`Status::E_NOT_FOUND`]: too late, or
        /// no such request; the body is still the adapter's.
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
