//! Structs that grow: `size` first, fields only appended. Arrays are walked with the first element's size as stride.

use super::layout::c_struct;
use super::{Buf, KvVerb, Label, LogLevel, MetricKind, Pair, State, Status, Str, Trace};

c_struct! {
    /// Something that happened at the provider, ready to be routed.
    ///
    /// What the host needs for routing is in the fields; it never parses the payload. Limits in bytes: `kind` 64,
    /// `channel` and `native_id` 512, `native_rev`, `order_key` and `client_ref` 64, the payload
    /// [`super::PAYLOAD_MAX`], keys in `meta` 32 and values 128; `kind` is one that `describe` names. An accepted event
    /// that breaks one of them goes to the dead letters and is settled [`super::Outcome::REJECTED`].
    struct Event = "imb_event" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// No bit is defined in 1.0.
        flags: u32,
        /// Unique among this instance's unsettled events.
        token: u64,
        /// The provider's time in Unix milliseconds; 0 = not given, the host's is used.
        time_ms: i64,
        /// For example `message.created`.
        kind: Str,
        /// Exact native id; absent = no channel.
        channel: Str,
        /// Exact native id of what happened.
        native_id: Str,
        /// Native revision, for edits.
        native_rev: Str,
        /// Sorts correctly as a string inside `order_scope`.
        order_key: Str,
        /// Idempotency key, when this echoes a command.
        client_ref: Str,
        /// [`super::Delivery`].
        delivery: u8,
        /// [`super::Origin`].
        origin: u8,
        /// [`super::OrderScope`].
        order_scope: u8,
        /// [`super::Noise`]; 0 = EVENT.
        noise: u8,
        /// Zero.
        reserved: u32,
        /// From [`super::Host::op`], a webhook request or the causing command; else zero.
        trace: Trace,
        /// UTF-8 JSON of the event's `data`; taken when the event is accepted.
        payload: Buf,
        /// At most 8 facts for telemetry; borrowed; never published.
        meta: *const Pair,
        /// Number of them.
        meta_len: usize,
    }

    /// Something a service wants done, or asked of the account itself (`account.reconnect`).
    ///
    /// At most as many as the declared `max_in_flight` are uncompleted at a time, one of each channel.
    struct Command = "imb_command" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// `CMD_*`.
        flags: u32,
        /// Never used again within an instance.
        id: u64,
        /// Unix milliseconds; always set.
        deadline_ms: i64,
        /// For example `message.send`.
        name: Str,
        /// Exact native id, also where the command said a user; absent: it names none.
        channel: Str,
        /// Already shortened to the declared limit.
        idempotency_key: Str,
        /// UTF-8 JSON `{"params":{...},"options":{...}}`.
        body: Str,
        /// Parent of everything done for this command.
        trace: Trace,
    }

    /// How a command ended: see the point of no return on the front page of this crate for which error it may be.
    struct Completion = "imb_completion" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// OK, ACCEPTED or an error class; PANIC and CLOSED are not used.
        status: Status,
        /// The command's id.
        id: u64,
        /// When to try again, for RATE_LIMITED and UNAVAILABLE; 0 = no hint.
        retry_after_ms: u64,
        /// Error code of the event model; absent on success. An unknown one counts as its class, the status.
        code: Str,
        /// What was made or changed.
        native_id: Str,
        /// JSON: the result, or `{message, native, hint, path, result}`; taken.
        body: Buf,
        /// Errors: 1 = the action surely did not happen.
        certain: u8,
        /// Zero.
        pad: [u8; 7],
    }

    /// A change of the account's state.
    struct Report = "imb_report" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// The new state.
        state: State,
        /// Unix milliseconds; 0 = none planned.
        next_attempt_ms: i64,
        /// Code of the event model or of the adapter, `[a-z0-9_]{1,48}`.
        reason: Str,
        /// The own native user id, once known.
        self_id: Str,
        /// `websocket`, `http`, `tcp`.
        transport: Str,
        /// JSON, at most 16 KiB: challenge, error, capabilities. `capabilities` is a merge patch over those of
        /// `describe`, valid until the next one.
        detail: Str,
    }

    /// A line for the log.
    struct Log = "imb_log" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// How important.
        level: LogLevel,
        /// Which part of the adapter speaks.
        target: Str,
        /// Cut at 8 KiB.
        message: Str,
        /// At most 16.
        fields: *const Pair,
        /// Number of them.
        fields_len: usize,
        /// Context, else zero.
        trace: Trace,
    }

    /// One finished operation.
    struct Op = "imb_op" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// [`super::Noise`].
        noise: u16,
        /// [`Status`].
        status: i16,
        /// Messages in a poll, bytes or frames elsewhere.
        items: u64,
        /// Unix nanoseconds.
        start_ns: i64,
        /// Unix nanoseconds.
        end_ns: i64,
        /// Declared in `describe.operations`; others count as `other`.
        name: Str,
        /// `POST /v1/message/send 200`; no query, no ids, no secrets.
        detail: Str,
        /// What it was done for, else zero.
        parent: Trace,
        /// At most 16.
        attrs: *const Pair,
        /// Number of them.
        attrs_len: usize,
    }

    /// What `create` gets: everything borrowed, except `host`.
    struct Create = "imb_create" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// No bit is defined in 1.0.
        flags: u32,
        /// Valid until `destroy` returned.
        host: *const super::Host,
        /// Provider id.
        provider: Str,
        /// The operator's alias.
        account: Str,
        /// JSON with secrets resolved; the host wipes it after the call.
        config: Str,
    }

    /// A request for the account's durable state.
    struct KvRequest = "imb_kv_request" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// `KV_*`.
        flags: u32,
        /// Id chosen by the adapter.
        request: u64,
        /// Put, delete: expected revision; 0 = must not exist; [`super::KV_ANY`].
        revision: u64,
        /// What is asked.
        verb: KvVerb,
        /// Put: 0 = keep.
        ttl_s: u32,
        /// List: prefix.
        key: Str,
        /// Put: at most 64 KiB.
        value: Str,
    }

    /// The answer to a [`KvRequest`].
    struct KvResult = "imb_kv_result" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// OK; NOT_FOUND; CONFLICT = other revision; UNAVAILABLE; …
        status: Status,
        /// The request's id.
        request: u64,
        /// Now current.
        revision: u64,
        /// Get: the value; list: JSON `{"key": revision}`; always taken.
        value: Buf,
    }

    /// The definition of a metric of the adapter's own.
    struct Metric = "imb_metric" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// Counter, gauge or histogram.
        kind: MetricKind,
        /// `[a-z][a-z0-9_]{0,47}`; exported as `im_bridge_adapter_<name>`.
        name: Str,
        /// UCUM: `s`, `By`, `1`.
        unit: Str,
        /// One sentence.
        help: Str,
        /// At most 3, besides provider and account.
        labels: *const Label,
        /// Number of them.
        labels_len: usize,
        /// Histograms: ascending, at most 16.
        buckets: *const f64,
        /// Number of them.
        buckets_len: usize,
    }

    /// An HTTP request that the provider sent to the bridge.
    struct WebhookRequest = "imb_webhook_request" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// No bit is defined in 1.0.
        flags: u32,
        /// Names the request in the answer.
        id: u64,
        /// Unix milliseconds; after it the host has answered 504.
        deadline_ms: i64,
        /// `POST`, `PUT` or `GET`.
        method: Str,
        /// After `/hooks/<provider>/<account>`; empty, or begins with `/`.
        path: Str,
        /// Raw, without `?`.
        query: Str,
        /// Address of the TCP peer.
        peer: Str,
        /// Names in lower case, order kept; at most 64, 16 KiB.
        headers: *const Pair,
        /// Number of them.
        headers_len: usize,
        /// Put into every event made from this request.
        trace: Trace,
        /// Raw bytes, complete; taken only on OK.
        body: Buf,
    }

    /// The answer to a [`WebhookRequest`].
    struct WebhookResponse = "imb_webhook_response" {
        /// Bytes of this struct as its writer knows it.
        size: u32,
        /// HTTP status, 200–599; others become 500.
        status: u32,
        /// The request's id.
        id: u64,
        /// Only content-type, retry-after and www-authenticate are sent.
        headers: *const Pair,
        /// Number of them.
        headers_len: usize,
        /// At most 64 KiB; taken.
        body: Buf,
    }
}
