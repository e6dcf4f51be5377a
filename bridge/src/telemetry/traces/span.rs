//! A span as a value: everything that is known of it when it ends, in one go.
//!
//! Spans are built at their end with their true times, and until then only their ids exist. So what turns out to deserve
//! no span never was one, and what is not recorded costs its ids.

use super::exclude::cut;
use crate::telemetry::context::{self, TraceContext};
use crate::telemetry::redact::redact;
use im_bridge_plugin_api::abi::Trace;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Limits of one span.
const ATTRIBUTES_MAX: usize = 32;
pub(super) const VALUE_BYTES_MAX: usize = 256;
pub(super) const EVENTS_MAX: usize = 16;

/// The attribute that says what went wrong.
pub(super) const ERROR_TYPE: &str = "error.type";

/// What every span has.
pub(super) struct Draft {
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    pub own: TraceContext,
    /// Its id; all zero: a root.
    pub parent: [u8; 8],
    pub is_parent_remote: bool,
    pub start: SystemTime,
    pub end: SystemTime,
    pub attributes: Vec<KeyValue>,
    pub links: Vec<TraceContext>,
    pub events: Vec<Event>,
    /// Events left out.
    pub events_dropped: u32,
    /// The error's code; its text may be a provider's and stays outside.
    pub error: Option<Cow<'static, str>>,
    pub state: Option<Box<str>>,
}

impl Draft {
    pub fn new(name: impl Into<Cow<'static, str>>, kind: SpanKind, own: TraceContext) -> Self {
        Self {
            name: name.into(),
            kind,
            own,
            parent: [0; 8],
            is_parent_remote: false,
            start: UNIX_EPOCH,
            end: UNIX_EPOCH,
            attributes: Vec::new(),
            links: Vec::new(),
            events: Vec::new(),
            events_dropped: 0,
            error: None,
            state: None,
        }
    }

    pub fn times(mut self, start: SystemTime, end: SystemTime) -> Self {
        self.start = start;
        self.end = end.max(start);
        self
    }

    /// As `error.type`, and as the status.
    pub fn fails(&mut self, code: impl Into<Cow<'static, str>>) {
        let code = code.into();
        self.attributes.push(KeyValue::new(ERROR_TYPE, text(&code)));
        self.error = Some(code);
    }

    pub fn build(mut self, scope: &InstrumentationScope) -> SpanData {
        let attributes_dropped = self.attributes.len().saturating_sub(ATTRIBUTES_MAX);
        self.attributes.truncate(ATTRIBUTES_MAX);
        let mut events = SpanEvents::default();
        events.events = self.events;
        events.dropped_count = self.events_dropped;
        let mut links = SpanLinks::default();
        let linked = self.links.iter().filter(|link| context::is_valid(link));
        links.links = linked
            .map(|link| Link::new(sdk_context(link, true, None), Vec::new(), 0))
            .collect();
        SpanData {
            span_context: sdk_context(&self.own, false, self.state.as_deref()),
            parent_span_id: SpanId::from_bytes(self.parent),
            parent_span_is_remote: self.is_parent_remote,
            span_kind: self.kind,
            name: self.name,
            start_time: self.start,
            end_time: self.end,
            attributes: self.attributes,
            dropped_attributes_count: u32::try_from(attributes_dropped).unwrap_or(u32::MAX),
            events,
            links,
            status: match self.error {
                Some(code) => Status::error(code),
                None => Status::Unset,
            },
            instrumentation_scope: scope.clone(),
        }
    }
}

fn sdk_context(of: &TraceContext, is_remote: bool, state: Option<&str>) -> SpanContext {
    let state = state.and_then(|state| TraceState::from_str(state).ok());
    SpanContext::new(
        TraceId::from_bytes(of.trace_id),
        SpanId::from_bytes(of.span_id),
        TraceFlags::new(of.flags),
        is_remote,
        state.unwrap_or_default(),
    )
}

/// A context made here.
pub(super) fn made(trace_id: [u8; 16], span_id: [u8; 8], is_recorded: bool) -> TraceContext {
    Trace {
        trace_id,
        span_id,
        flags: u8::from(is_recorded) * context::SAMPLED,
        pad: [0; 7],
    }
}

/// A value of an attribute, as long as one may be.
pub(super) fn text(value: &str) -> Value {
    cut(value, VALUE_BYTES_MAX).to_owned().into()
}

/// The same for what an adapter says, which may hold what it should not.
pub(super) fn said(value: &str) -> Value {
    text(&redact(cut(value, VALUE_BYTES_MAX)))
}

/// The same where it is shared.
pub(super) fn shared(value: &Arc<str>) -> Value {
    Value::from(Arc::clone(value))
}

/// A number that has no place in an `i64` is no number of ours.
pub(super) fn number(value: u64) -> Value {
    i64::try_from(value).unwrap_or(i64::MAX).into()
}

/// Nanoseconds since the epoch; before it is the epoch.
pub(super) fn at_ns(ns: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

/// When something began that took this long until now.
pub(super) fn ago(took: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(took).unwrap_or(now)
}
