//! What passes between the core and an instance: safe types, made once from what crosses the boundary.
//!
//! Not here: how they cross (`host` inwards, `caller` outwards).

use super::event::InboundEvent;
use super::kv::KvRequest;
use super::misbehaviour::Misbehaviour;
use super::packed::Packed;
use bytes::Bytes;
use im_bridge_plugin_api::abi;

/// What an instance has to say, in the order in which it said it.
#[derive(Debug)]
pub enum HostEvent {
    /// Something happened at the provider.
    Event(InboundEvent),
    /// A command has ended.
    Completed(Completed),
    /// The account's state changed.
    Report(Report),
    /// An operation has finished.
    Op(Op),
    /// A line for the log.
    Log(Log),
    /// A request for the account's durable state.
    Kv(KvRequest),
    /// The adapter broke the contract in a way that the host answered: `count` times since this was last said.
    Misbehaved {
        /// How.
        kind: Misbehaviour,
        /// Times since this kind was last told.
        count: u64,
    },
    /// The instance is lost. Comes once; nothing but completions already under way follows.
    Fault(Fault),
}

/// Why an instance is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Poisoned: a call answered that it had panicked, or a task of the adapter did. `stop` and `destroy` are due.
    Panic,
    /// Stuck: this call did not return in time, or `stop` said that something still runs. Nothing may be called.
    Stuck(Call),
}

/// The functions of an adapter, for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// `create`
    Create,
    /// `start`
    Start,
    /// `grant`
    Grant,
    /// `settle`
    Settle,
    /// `execute`
    Execute,
    /// `cancel`
    Cancel,
    /// `drain`
    Drain,
    /// `stop`
    Stop,
    /// `destroy`
    Destroy,
    /// `done` of `imb.kv/1`
    KvDone,
    /// `verify` of `imb.verify/1`
    Verify,
    /// `request` of `imb.webhook/1`
    Webhook,
    /// `cancel` of `imb.webhook/1`
    WebhookCancel,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Grant => "grant",
            Self::Settle => "settle",
            Self::Execute => "execute",
            Self::Cancel => "cancel",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::Destroy => "destroy",
            Self::KvDone => "kv done",
            Self::Verify => "verify",
            Self::Webhook => "webhook request",
            Self::WebhookCancel => "webhook cancel",
        })
    }
}

/// Something that a service wants done.
#[derive(Clone, Debug)]
pub struct Command {
    /// For example `message.send`.
    pub name: Box<str>,
    /// Exact native id; none: the command names no channel.
    pub channel: Option<Box<str>>,
    /// Already shortened to the declared limit.
    pub idempotency_key: Box<str>,
    /// UTF-8 JSON `{"params":{...},"options":{...}}`.
    pub body: Bytes,
    /// Unix milliseconds.
    pub deadline_ms: i64,
    /// The key was handed to an adapter before.
    pub is_redelivered: bool,
    /// Parent of everything done for it.
    pub trace: abi::Trace,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Completed {
    /// As `execute` answered it.
    pub id: u64,
    /// OK, ACCEPTED or an error class.
    pub status: abi::Status,
    /// Errors: the action surely did not happen.
    pub is_certain: bool,
    /// Earliest useful repetition; none: no hint.
    pub retry_after_ms: Option<u64>,
    /// JSON: the result, or what is known of the error.
    pub body: Bytes,
    /// Code, native id.
    texts: Packed,
}

impl Completed {
    /// A completion as the adapter gave it.
    pub(super) fn new(from: &abi::Completion, body: Bytes, code: &str, native_id: &str) -> Self {
        Self {
            id: from.id,
            status: from.status,
            is_certain: from.certain == 1,
            retry_after_ms: (from.retry_after_ms != 0).then_some(from.retry_after_ms),
            body,
            texts: Packed::new(&[code, native_id]),
        }
    }

    /// An error that the host says in the adapter's place.
    #[must_use]
    pub fn by_host(id: u64, status: abi::Status, is_certain: bool, code: &str) -> Self {
        Self {
            id,
            status,
            is_certain,
            retry_after_ms: None,
            body: Bytes::new(),
            texts: Packed::new(&[code, ""]),
        }
    }

    /// Error code of the event model; empty on success, or when only the class is known.
    #[must_use]
    pub fn code(&self) -> &str {
        self.texts.get(0)
    }

    /// What was made or changed.
    #[must_use]
    pub fn native_id(&self) -> Option<&str> {
        Some(self.texts.get(1)).filter(|id| !id.is_empty())
    }
}

/// A change of the account's state.
#[derive(Clone, Debug)]
pub struct Report {
    /// The new state; an unknown value is [`abi::State::DEGRADED`].
    pub state: abi::State,
    /// Unix milliseconds; none: no attempt is planned.
    pub next_attempt_ms: Option<i64>,
    /// Reason, own user id, transport, detail.
    pub(super) texts: Packed,
}

impl Report {
    /// Code of the event model or of the adapter.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.texts.get(0)
    }
    /// The own native user id; empty while unknown.
    #[must_use]
    pub fn self_id(&self) -> &str {
        self.texts.get(1)
    }
    /// `websocket`, `http`, `tcp`.
    #[must_use]
    pub fn transport(&self) -> &str {
        self.texts.get(2)
    }
    /// JSON: challenge, error, capabilities.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.texts.get(3)
    }
}

/// One finished operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// An unknown value is [`abi::Noise::AUX`].
    pub noise: abi::Noise,
    /// How it ended.
    pub status: abi::Status,
    /// Messages in a poll, bytes or frames elsewhere.
    pub items: u64,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Unix nanoseconds.
    pub end_ns: i64,
    /// What it was done for.
    pub parent: abi::Trace,
    /// What [`Hooks::op`] answered: the context of the span to be made of it; zero: it leaves none.
    pub context: abi::Trace,
    /// Name, detail, then attributes: key, value.
    pub(super) texts: Packed,
}

impl Op {
    /// As declared; `other` when it is not.
    #[must_use]
    pub fn name(&self) -> &str {
        self.texts.get(0)
    }
    /// For people; no ids, no secrets.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.texts.get(1)
    }
    /// Attributes of the span.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(&self.texts, 2)
    }
}

/// A line for the log.
#[derive(Clone, Debug)]
pub struct Log {
    /// An unknown value is [`abi::LogLevel::TRACE`].
    pub level: abi::LogLevel,
    /// Context, else zero.
    pub trace: abi::Trace,
    /// Lines dropped since the one before, because they came too fast.
    pub dropped_before: u64,
    /// Target, message, then fields: key, value.
    pub(super) texts: Packed,
}

impl Log {
    /// Which part of the adapter speaks.
    #[must_use]
    pub fn target(&self) -> &str {
        self.texts.get(0)
    }
    /// What it says.
    #[must_use]
    pub fn message(&self) -> &str {
        self.texts.get(1)
    }
    /// With what.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(&self.texts, 2)
    }
}

/// Keys and values from the text at `first` on.
pub(super) fn pairs(texts: &Packed, first: usize) -> impl Iterator<Item = (&str, &str)> {
    (first..texts.len())
        .step_by(2)
        .map(|i| (texts.get(i), texts.get(i + 1)))
}

/// A metric of the adapter's own.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricDefinition {
    /// Counter, gauge or histogram.
    pub kind: abi::MetricKind,
    /// Without the prefix that the bridge puts in front.
    pub name: Box<str>,
    /// UCUM.
    pub unit: Box<str>,
    /// One sentence.
    pub help: Box<str>,
    /// Names with their closed sets of values.
    pub labels: Vec<(Box<str>, Vec<Box<str>>)>,
    /// Histograms: upper bounds, ascending.
    pub buckets: Vec<f64>,
}

/// What must be answered while the plugin waits, so that the core's task cannot do it.
///
/// All of it runs on threads of the plugin: it must neither block nor call into the instance.
pub trait Hooks: Send + Sync + 'static {
    /// The context of the span that this operation will leave; zero: none.
    fn op(&self, _op: &Op) -> abi::Trace {
        abi::Trace::NONE
    }

    /// The highest level wanted now.
    fn log_level(&self) -> abi::LogLevel {
        abi::LogLevel::INFO
    }

    /// A metric was defined; only during `create`, ids count from 0.
    fn define(&self, _id: u32, _metric: &MetricDefinition) {}

    /// A metric moved; as many label values as it has labels, each inside its set.
    fn record(&self, _id: u32, _value: f64, _label_values: &[u16]) {}
}

/// Nothing is wanted of an instance but its events: for tests and measurements.
impl Hooks for () {}
