//! A span is the bytes that leave, from its beginning on: what becomes known of it is written once, behind what was known.
//!
//! Only a span that is recorded is begun. One of an event or a command is begun with it and ended by its outcome; any other
//! is written in one go after the fact, with its true times, so what turns out to deserve no span never was one. What many
//! spans say alike is written once, as [`Attributes`], and copied.
//!
//! Limits hold while it is written: what is too long is cut, what is too much is counted.
//!
//! Invariant: fields stand in the order of their numbers; guarded by `a_span_is_what_another_writer_makes_of_it`.

use super::exclude::cut;
use super::open::Notes;
use crate::telemetry::context::{self, TraceContext};
use crate::telemetry::otlp::wire::{self, Value};
use crate::telemetry::redact::redact;
use im_bridge_plugin_api::abi::Trace;
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Limits of one span.
pub(super) const ATTRIBUTES_MAX: usize = 32;
pub(super) const VALUE_BYTES_MAX: usize = 256;
pub(super) const EVENTS_MAX: usize = 16;

/// What both spans of an event need, and most others.
const USUAL_BYTES: usize = 640;

/// The attribute that says what went wrong.
pub(super) const ERROR_TYPE: &str = "error.type";

/// Numbers of the fields of a span, as far as they are written here.
mod field {
    pub const TRACE_ID: u32 = 1;
    pub const SPAN_ID: u32 = 2;
    pub const TRACE_STATE: u32 = 3;
    pub const PARENT: u32 = 4;
    pub const NAME: u32 = 5;
    pub const KIND: u32 = 6;
    pub const START: u32 = 7;
    pub const END: u32 = 8;
    pub const ATTRIBUTE: u32 = 9;
    pub const ATTRIBUTES_DROPPED: u32 = 10;
    pub const EVENTS_DROPPED: u32 = 12;
    pub const LINK: u32 = 13;
    pub const STATUS: u32 = 15;
    pub const FLAGS: u32 = 16;
    /// Of a link.
    pub const LINK_FLAGS: u32 = 6;
    /// Of a status.
    pub const MESSAGE: u32 = 2;
    pub const CODE: u32 = 3;
}

/// The flags say whether the other side of a relation is in another process…
const KNOWS_REMOTE: u32 = 0x100;
/// …and that it is.
const IS_REMOTE: u32 = 0x200;
/// A status that is an error.
const ERROR: u32 = 2;
/// Where the id of a span stands in its bytes: behind the trace's, which has sixteen, and two heads of two bytes.
const SPAN_ID_AT: std::ops::Range<usize> = 20..28;

/// Whose work a span is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Internal = 1,
    Server,
    Client,
    Producer,
    Consumer,
}

/// What is known of a span when it begins.
pub(super) struct Begin<'a> {
    pub own: TraceContext,
    /// Its id; all zero: a root.
    pub parent: [u8; 8],
    pub is_parent_remote: bool,
    pub state: Option<&'a str>,
    pub name: &'a str,
    pub kind: Kind,
    /// Unix nanoseconds, like all times here.
    pub start_ns: u64,
}

impl<'a> Begin<'a> {
    /// A root.
    pub fn new(name: &'a str, kind: Kind, own: TraceContext, start_ns: u64) -> Self {
        Self {
            own,
            parent: [0; 8],
            is_parent_remote: false,
            state: None,
            name,
            kind,
            start_ns,
        }
    }
}

/// A span that has begun.
pub(super) struct Span {
    bytes: Vec<u8>,
    start_ns: u64,
    /// Where its end is written.
    end_at: usize,
    attributes: usize,
    attributes_dropped: u32,
    flags: u32,
    blames: bool,
    error: Option<Cow<'static, str>>,
}

/// Attributes that many spans have.
#[derive(Default)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
    count: usize,
}

impl Attributes {
    pub fn of<'a>(all: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> Self {
        let mut own = Self::default();
        for (key, value) in all {
            attribute(&mut own.bytes, key, value);
            own.count += 1;
        }
        own
    }
}

fn attribute(to: &mut Vec<u8>, key: &str, value: Value<'_>) {
    let value = match value {
        Value::Text(text) => Value::Text(cut(text, VALUE_BYTES_MAX)),
        other => other,
    };
    wire::attribute(to, field::ATTRIBUTE, key, value);
}

impl Span {
    pub fn begin(begin: &Begin<'_>) -> Self {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        let out = &mut bytes;
        wire::bytes(out, field::TRACE_ID, &begin.own.trace_id);
        wire::bytes(out, field::SPAN_ID, &begin.own.span_id);
        if let Some(state) = begin.state.filter(|state| context::is_member_list(state)) {
            wire::bytes(out, field::TRACE_STATE, state.as_bytes());
        }
        if begin.parent != [0; 8] {
            wire::bytes(out, field::PARENT, &begin.parent);
        }
        wire::bytes(out, field::NAME, begin.name.as_bytes());
        wire::number(out, field::KIND, begin.kind as u32);
        wire::fixed64(out, field::START, begin.start_ns);
        wire::fixed64(out, field::END, 0);
        let end_at = bytes.len() - size_of::<u64>();
        Self {
            bytes,
            start_ns: begin.start_ns,
            end_at,
            attributes: 0,
            attributes_dropped: 0,
            flags: flags(&begin.own, begin.is_parent_remote),
            blames: false,
            error: None,
        }
    }

    /// An attribute, or one that is too much.
    pub fn put<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) {
        if self.attributes >= ATTRIBUTES_MAX {
            self.attributes_dropped = self.attributes_dropped.saturating_add(1);
            return;
        }
        self.attributes += 1;
        attribute(&mut self.bytes, key, value.into());
    }

    pub fn put_all<'v>(&mut self, all: impl IntoIterator<Item = (&'v str, Value<'v>)>) {
        for (key, value) in all {
            self.put(key, value);
        }
    }

    /// The same for what an adapter says, which may hold what it should not.
    pub fn put_said(&mut self, key: &str, value: &str) {
        // Cut first: what is looked through is bounded. Cut again: a mark may be longer than what it stands for.
        self.put(key, &*redact(cut(value, VALUE_BYTES_MAX)));
    }

    /// What it says like others. Comes first, so that it always has room.
    pub fn put_shared(&mut self, shared: &Attributes) {
        debug_assert!(self.attributes + shared.count <= ATTRIBUTES_MAX);
        self.attributes += shared.count;
        self.bytes.extend_from_slice(&shared.bytes);
    }

    /// What went wrong, once; it need not be the span's own failure.
    pub fn blames(&mut self, code: &str) {
        if !self.blames {
            self.blames = true;
            self.put(ERROR_TYPE, code);
        }
    }

    /// As `error.type`, and as the status. The code says all: an error's text may be a provider's and stays outside.
    pub fn fails(&mut self, code: impl Into<Cow<'static, str>>) {
        let code = code.into();
        self.blames(&code);
        self.error = Some(code);
    }

    /// Nothing was done below it, and it links to nothing.
    pub fn end(self, end_ns: u64) -> Ended {
        self.end_with(end_ns, &Notes::default(), &TraceContext::NONE)
    }

    /// Its end, what is noted on it, and what it links to; a context of zeros is no link.
    pub fn end_with(mut self, end_ns: u64, notes: &Notes, link: &TraceContext) -> Ended {
        let end = end_ns.max(self.start_ns).to_le_bytes();
        self.bytes[self.end_at..][..end.len()].copy_from_slice(&end);
        let out = &mut self.bytes;
        wire::number(out, field::ATTRIBUTES_DROPPED, self.attributes_dropped);
        out.extend_from_slice(notes.bytes());
        wire::number(out, field::EVENTS_DROPPED, notes.dropped());
        if context::is_valid(link) {
            let mut of_link = Vec::new();
            wire::bytes(&mut of_link, field::TRACE_ID, &link.trace_id);
            wire::bytes(&mut of_link, field::SPAN_ID, &link.span_id);
            wire::fixed32(&mut of_link, field::LINK_FLAGS, flags(link, true));
            wire::bytes(out, field::LINK, &of_link);
        }
        if let Some(code) = self.error {
            let code = cut(&code, VALUE_BYTES_MAX).as_bytes();
            let mut status = Vec::new();
            wire::bytes(&mut status, field::MESSAGE, code);
            wire::number(&mut status, field::CODE, ERROR);
            wire::bytes(out, field::STATUS, &status);
        }
        wire::fixed32(out, field::FLAGS, self.flags);
        Ended(self.bytes)
    }
}

fn flags(of: &TraceContext, is_remote: bool) -> u32 {
    let relation = if is_remote { IS_REMOTE } else { 0 };
    u32::from(of.flags) | KNOWS_REMOTE | relation
}

/// A span of which everything is known.
pub(super) struct Ended(Vec<u8>);

impl Ended {
    /// The same with another id.
    pub fn renamed(mut self, span_id: [u8; 8]) -> Self {
        self.0[SPAN_ID_AT].copy_from_slice(&span_id);
        self
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
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

/// What an adapter says of time: before the epoch is the epoch.
pub(super) fn at_ns(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0)
}

pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    ns(since)
}

/// As a number that has room until the year 2554.
pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
