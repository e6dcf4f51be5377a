//! What the mock saw, in copies that own everything.
//!
//! `order` counts over all kinds of records of one mock, so that records of different kinds can be compared; `at` is
//! real time since the mock was made.

use im_bridge_plugin_api::abi::{
    self, Delivery, LogLevel, Noise, OrderScope, Origin, Outcome, Status,
};
use serde_json::Value;
use std::time::Duration;

/// W3C trace context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the parts of a trace context")]
pub struct Trace {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub flags: u8,
}

impl Trace {
    /// None where the context is all zero.
    pub(super) fn from_abi(trace: &abi::Trace) -> Option<Self> {
        (!trace.is_none()).then_some(Self {
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            flags: trace.flags,
        })
    }

    /// A made-up context, different for each `number`.
    pub(super) fn numbered(number: u64) -> Self {
        let mut trace_id = [0xAB; 16];
        trace_id[8..].copy_from_slice(&number.to_be_bytes());
        Self {
            trace_id,
            span_id: (number | 1 << 63).to_be_bytes(),
            flags: 1,
        }
    }

    pub(super) fn to_abi(self) -> abi::Trace {
        abi::Trace {
            trace_id: self.trace_id,
            span_id: self.span_id,
            flags: self.flags,
            pad: [0; 7],
        }
    }
}

/// An event that the host took.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_event")]
pub struct EventRecord {
    pub order: u64,
    pub at: Duration,
    pub token: u64,
    pub time_ms: i64,
    pub kind: String,
    pub channel: Option<String>,
    pub native_id: Option<String>,
    pub native_rev: Option<String>,
    pub order_key: Option<String>,
    pub client_ref: Option<String>,
    pub delivery: Delivery,
    pub origin: Origin,
    pub order_scope: OrderScope,
    pub noise: Noise,
    pub trace: Option<Trace>,
    pub payload: Vec<u8>,
    pub meta: Vec<(String, String)>,
}

impl EventRecord {
    /// The payload parsed; null when it is no JSON, which is a violation of its own.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }
}

/// An outcome that the host told the adapter.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_settle")]
pub struct SettleRecord {
    pub order: u64,
    pub at: Duration,
    pub token: u64,
    pub outcome: Outcome,
}

/// How a command, or a question whether it happened, ended.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_completion")]
pub struct CompletionRecord {
    pub order: u64,
    pub at: Duration,
    pub id: u64,
    pub status: Status,
    pub code: Option<String>,
    pub native_id: Option<String>,
    pub certain: bool,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
    /// Written by the host: the adapter refused the command, or left it open when it stopped.
    pub by_host: bool,
}

impl CompletionRecord {
    /// The body parsed; null when there is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// A state that the adapter reported.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_report")]
pub struct ReportRecord {
    pub order: u64,
    pub at: Duration,
    pub state: abi::State,
    pub next_attempt_ms: i64,
    pub reason: Option<String>,
    pub self_id: Option<String>,
    pub transport: Option<String>,
    pub detail: Option<Value>,
}

/// A log line.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_log")]
pub struct LogRecord {
    pub order: u64,
    pub at: Duration,
    pub level: LogLevel,
    pub target: String,
    pub message: String,
    pub fields: Vec<(String, String)>,
    pub trace: Option<Trace>,
}

/// A finished operation.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_op")]
pub struct OpRecord {
    pub order: u64,
    pub at: Duration,
    pub name: String,
    pub noise: Noise,
    pub status: Status,
    pub items: u64,
    pub start_ns: i64,
    pub end_ns: i64,
    pub detail: String,
    pub parent: Option<Trace>,
    pub attrs: Vec<(String, String)>,
    /// What the host answered: the context for what follows.
    pub span: Option<Trace>,
}

impl OpRecord {
    /// The value of an attribute.
    #[must_use]
    pub fn attr(&self, key: &str) -> Option<&str> {
        let found = self.attrs.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// A request of `imb.kv/1` with its answer.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_kv_request and its result")]
pub struct KvRecord {
    pub order: u64,
    pub at: Duration,
    pub request: u64,
    pub verb: abi::KvVerb,
    pub key: String,
    pub value: Vec<u8>,
    pub expected: u64,
    pub is_secret: bool,
    pub ttl_s: u32,
    pub status: Status,
    pub revision: u64,
}

/// An answer to a webhook request.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields of imb_webhook_response")]
pub struct ResponseRecord {
    pub order: u64,
    pub at: Duration,
    pub id: u64,
    pub status: u32,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Everything that one mock saw, each list in order.
#[derive(Clone, Default, Debug)]
#[allow(missing_docs, reason = "one list for each kind of record")]
pub struct Recording {
    pub events: Vec<EventRecord>,
    pub settles: Vec<SettleRecord>,
    pub completions: Vec<CompletionRecord>,
    pub reports: Vec<ReportRecord>,
    pub logs: Vec<LogRecord>,
    pub ops: Vec<OpRecord>,
    pub kv: Vec<KvRecord>,
    pub responses: Vec<ResponseRecord>,
}

impl Recording {
    /// The state reported last.
    #[must_use]
    pub fn state(&self) -> Option<abi::State> {
        self.reports.last().map(|report| report.state)
    }

    /// The operations of that name.
    #[must_use]
    pub fn ops_named(&self, name: &str) -> Vec<&OpRecord> {
        self.ops.iter().filter(|op| op.name == name).collect()
    }

    /// Where `text` was said, for tests that plant a secret: places like `log 3`. Values that the adapter keeps in its
    /// own durable state under the secret flag are not said.
    #[must_use]
    pub fn mentions(&self, text: &str) -> Vec<String> {
        fn find<T: std::fmt::Debug>(what: &str, records: &[T], text: &str, out: &mut Vec<String>) {
            for (index, record) in records.iter().enumerate() {
                if format!("{record:?}").contains(text) {
                    out.push(format!("{what} {index}"));
                }
            }
        }
        let mut places = Vec::new();
        let quoted = format!("{text:?}");
        let escaped = quoted.trim_matches('"');
        find("log", &self.logs, escaped, &mut places);
        find("op", &self.ops, escaped, &mut places);
        find("report", &self.reports, escaped, &mut places);
        for (what, bodies) in [
            (
                "event",
                self.events.iter().map(|e| &e.payload).collect::<Vec<_>>(),
            ),
            (
                "completion",
                self.completions.iter().map(|c| &c.body).collect(),
            ),
            ("response", self.responses.iter().map(|r| &r.body).collect()),
            (
                "kv",
                self.kv
                    .iter()
                    .filter(|k| !k.is_secret)
                    .map(|k| &k.value)
                    .collect(),
            ),
        ] {
            for (index, body) in bodies.into_iter().enumerate() {
                if String::from_utf8_lossy(body).contains(text) {
                    places.push(format!("{what} {index}"));
                }
            }
        }
        places
    }
}
