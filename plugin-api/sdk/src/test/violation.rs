//! What an adapter can do against the contract, one variant per rule.

use im_bridge_plugin_api::abi::Status;
use std::time::Duration;

/// A function of the host that an adapter calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the host function of that name")]
pub enum Function {
    Emit,
    Complete,
    Report,
    Log,
    Op,
    Extension,
    KvSubmit,
    MetricDefine,
    MetricRecord,
    ClockTimer,
    WebhookRespond,
}

/// A function of the adapter that the host calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the adapter function of that name")]
pub enum Call {
    Create,
    Start,
    Grant,
    Settle,
    Execute,
    Cancel,
    Drain,
    Stop,
    Destroy,
    KvDone,
    ClockFired,
    Verify,
    WebhookRequest,
    WebhookCancel,
}

/// A rule of the contract that the adapter broke.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the fields are")]
pub enum Violation {
    #[error("{function:?} called before start")]
    CallBeforeStart { function: Function },
    #[error("{function:?} called after stop returned")]
    CallAfterStop { function: Function },
    #[error("{function:?} got a struct or array that breaks the layout rules ({status:?})")]
    BadStruct { function: Function, status: Status },
    #[error("{function:?}: {field} {problem}")]
    BadField {
        function: Function,
        field: &'static str,
        problem: String,
    },

    #[error(
        "event {token} of {bytes} bytes emitted with {credit_events} events and {credit_bytes} bytes of credit"
    )]
    EmitWithoutCredit {
        token: u64,
        bytes: usize,
        credit_events: i64,
        credit_bytes: i64,
    },
    #[error("emit called inside {call:?}")]
    EmitInside { call: Call },
    #[error("token {token} used again before it was settled")]
    TokenReused { token: u64 },
    #[error("kind {kind} is not declared in describe.capabilities.events")]
    KindNotDeclared { kind: String },
    #[error("meta key {key} is not declared in describe.meta")]
    MetaNotDeclared { key: String },
    #[error("operation {name} is not declared in describe.operations")]
    OpNotDeclared { name: String },
    #[error("payload of event {token} has {bytes} bytes, the limit is {limit}")]
    PayloadTooLarge {
        token: u64,
        bytes: usize,
        limit: usize,
    },
    #[error("payload of event {token} is no JSON object: {problem}")]
    PayloadNotJson { token: u64, problem: String },
    #[error(
        "payload of event {token} says {member} {payload:?}, the routing field says {routing:?}"
    )]
    PayloadDisagrees {
        token: u64,
        member: &'static str,
        payload: Option<String>,
        routing: Option<String>,
    },

    #[error("completion for command {id}, which was never handed over")]
    CompletionUnknown { id: u64 },
    #[error("command {id} completed twice")]
    CompletedTwice { id: u64 },
    #[error("command {id} was completed though execute did not take it")]
    CompletedNotTaken { id: u64 },
    #[error("command {id} was completed {late:?} after its deadline")]
    CompletionOverdue { id: u64, late: Duration },
    #[error("stop returned and command {id} is not completed")]
    NeverCompleted { id: u64 },

    #[error("{call:?} answered {status:?}")]
    BadStatus { call: Call, status: Status },
    #[error("{call:?} had not returned after {limit:?}")]
    Overran { call: Call, limit: Duration },
    #[error("settle did not return while emit was inside the host")]
    SettleWaitsForEmit,
    #[error("panic in {call:?}")]
    Panicked { call: Call },
    #[error("a task of the adapter panicked")]
    TaskPanicked,
    #[error("stop answered {status:?}: something still runs")]
    StopFailed { status: Status },
    #[error(
        "drain said clean with {tokens} open tokens, {commands} commands and {webhooks} webhook requests in hand"
    )]
    DrainNotClean {
        tokens: usize,
        commands: usize,
        webhooks: usize,
    },

    #[error("{what} was released {times} times")]
    ReleasedTwice { what: String, times: u32 },
    #[error("{what} was never released")]
    NeverReleased { what: String },
    #[error("{function:?} gave a buffer that the host holds already")]
    BufferGivenTwice { function: Function },

    #[error("imb.kv/1 request {request} used again before its result")]
    KvRequestReused { request: u64 },
    #[error("metric {name}: {problem}")]
    BadMetric { name: String, problem: String },
    #[error("metric defined outside create")]
    MetricDefinedLate,
    #[error("webhook request {id} answered twice")]
    RespondedTwice { id: u64 },
    #[error("answer for webhook request {id}, which was never handed over")]
    RespondedUnknown { id: u64 },
    #[error("webhook request {id} answered {status} with {open} of its events not settled")]
    RespondedBeforeSettle { id: u64, status: u32, open: usize },
    #[error("stop returned and webhook request {id} is not answered")]
    NeverResponded { id: u64 },
}
