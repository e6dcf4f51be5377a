//! A finished operation of an adapter: mostly nothing, sometimes a span.
//!
//! What it leaves follows from its class, its outcome and its address. All of it runs inside a call of the adapter: it
//! takes two short locks at most and waits for nothing.

use super::exclude::cut;
use super::open::Open;
use super::span::{Begin, Kind, Span, VALUE_BYTES_MAX, at_ns};
use super::{AccountLabels, LeftOut, Traces};
use crate::telemetry::context::{self, TraceContext};
use crate::telemetry::otlp::wire::Value;
use crate::telemetry::redact::redact;
use im_bridge_plugin_api::abi::{Noise, Status};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// What an adapter says of an operation.
pub struct Op<'a> {
    /// As declared, or `other`.
    pub name: &'a str,
    pub noise: Noise,
    pub status: Status,
    pub items: u64,
    /// Unix nanoseconds.
    pub start_ns: i64,
    pub end_ns: i64,
    /// What it was done for.
    pub parent: TraceContext,
    pub attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Op<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.attributes.iter().find(|(own, _)| *own == key);
        found.map(|(_, value)| *value)
    }

    /// The address, however it is said.
    fn url(&self) -> Option<Cow<'a, str>> {
        if let Some(whole) = self.get("url.full").or_else(|| self.get("http.url")) {
            return Some(whole.into());
        }
        let (scheme, host) = (self.get("url.scheme")?, self.get("server.address")?);
        let path = self.get("url.path").unwrap_or("/");
        Some(format!("{scheme}://{host}{path}").into())
    }

    fn took(&self) -> Duration {
        let ns = self.end_ns.saturating_sub(self.start_ns);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }

    fn is_poll(&self) -> bool {
        matches!(self.noise, Noise::POLL_HIT | Noise::POLL_EMPTY)
    }

    /// The error's class, which is the only code that an operation has.
    fn error(&self) -> Option<&'static str> {
        Some(match self.status {
            status if status.0 >= 0 => return None,
            Status::E_INVALID => "invalid",
            Status::E_UNSUPPORTED => "unsupported",
            Status::E_NOT_FOUND => "not_found",
            Status::E_FORBIDDEN => "forbidden",
            Status::E_CONFLICT => "conflict",
            Status::E_RATE_LIMITED => "rate_limited",
            Status::E_UNAVAILABLE => "unavailable",
            Status::E_AUTH => "auth",
            Status::E_UNCERTAIN => "uncertain",
            _ => "internal",
        })
    }
}

/// What an operation belongs to, if that is a span of ours that is still open.
struct Below {
    context: TraceContext,
    open: Option<Arc<Open>>,
}

impl Traces {
    /// The context of what follows from it.
    pub(in crate::telemetry) fn op(&self, labels: &AccountLabels, op: &Op<'_>) -> TraceContext {
        let parent = Some(op.parent).filter(context::is_valid);
        let below = parent.map(|context| Below {
            open: self.open.get(context.span_id),
            context,
        });
        let url = op.url();
        if url.is_some_and(|url| self.exclusion.has(&url)) {
            return self.excluded(labels, op, below.as_ref());
        }
        match (op.noise, op.error()) {
            (Noise::COMMAND, _) | (Noise::SESSION, None) => {
                self.whole(labels, op, below.as_ref(), true, None)
            }
            (Noise::AUX, error) => self.aside(labels, op, below.as_ref(), error),
            (Noise::POLL_HIT, None) if self.has_poll_hit_spans => self.poll_hit(labels, op),
            (_, None) if op.is_poll() && self.slow_poll.is_some_and(|slow| op.took() > slow) => {
                self.limited(labels, op, below.as_ref(), true)
            }
            (_, None) => {
                self.left_out(LeftOut::Noise);
                TraceContext::NONE
            }
            (_, Some(_)) => self.limited(labels, op, below.as_ref(), true),
        }
    }

    /// An address of which nobody wants to hear; but no send disappears, and no failure.
    fn excluded(&self, labels: &AccountLabels, op: &Op<'_>, below: Option<&Below>) -> TraceContext {
        self.left_out(LeftOut::Url);
        let open = below.and_then(|below| below.open.as_ref());
        if let (Noise::COMMAND, Some(open)) = (op.noise, open) {
            note(open, op);
        }
        match op.error() {
            Some(_) if self.keeps_excluded_errors => self.limited(labels, op, below, false),
            _ if op.noise == Noise::AUX => op.parent,
            _ => TraceContext::NONE,
        }
    }

    /// A part of something bigger.
    fn aside(
        &self,
        labels: &AccountLabels,
        op: &Op<'_>,
        below: Option<&Below>,
        error: Option<&'static str>,
    ) -> TraceContext {
        if let Some(open) = below.and_then(|below| below.open.as_ref()) {
            note(open, op);
            return op.parent;
        }
        if error.is_some() {
            self.limited(labels, op, below, true);
        } else {
            self.left_out(LeftOut::Noise);
        }
        op.parent
    }

    /// A poll that brought something, for whoever looks for a fault in polling.
    fn poll_hit(&self, labels: &AccountLabels, op: &Op<'_>) -> TraceContext {
        let own = self.new_root();
        if context::is_sampled(&own) {
            let name = format!("poll {}", labels.provider);
            let begin = Begin::new(&name, Kind::Internal, own, at_ns(op.start_ns));
            let mut span = begin_of(labels, op, &begin);
            span.put("im.poll.items", op.items);
            self.end(span.end(at_ns(op.end_ns)));
        }
        own
    }

    /// A span after the fact, if there are not too many of them.
    fn limited(
        &self,
        labels: &AccountLabels,
        op: &Op<'_>,
        below: Option<&Below>,
        shows_address: bool,
    ) -> TraceContext {
        // What fails inside a recorded command is part of its story.
        if below.is_some_and(|below| below.open.is_some()) {
            return self.whole(labels, op, below, shows_address, None);
        }
        let is_slowness = op.error().is_none();
        let taken = self
            .limits
            .take(&labels.provider, &labels.alias, op.name, is_slowness);
        let Some(suppressed) = taken else {
            self.left_out(LeftOut::Limited);
            return TraceContext::NONE;
        };
        self.whole(labels, op, below, shows_address, Some(suppressed))
    }

    /// `suppressed` of a limited one, which is recorded whatever the ratio says: the limit bounds them already.
    fn whole(
        &self,
        labels: &AccountLabels,
        op: &Op<'_>,
        below: Option<&Below>,
        shows_address: bool,
        suppressed: Option<u64>,
    ) -> TraceContext {
        let mut own = match below {
            Some(below) => self.new_child(&below.context),
            None => self.new_root(),
        };
        if suppressed.is_some() {
            own.flags |= context::SAMPLED;
        }
        if !context::is_sampled(&own) {
            return own;
        }
        let method = op.get("http.request.method");
        let template = op.get("url.template").filter(|_| shows_address);
        let name = match (op.noise, method, template) {
            _ if op.is_poll() => format!("poll {}", labels.provider),
            (Noise::HEARTBEAT, ..) => format!("heartbeat {}", labels.provider),
            (Noise::COMMAND | Noise::SESSION, Some(method), Some(template)) => {
                let name = format!("{method} {template}");
                redact(cut(&name, VALUE_BYTES_MAX)).into_owned()
            }
            _ => op.name.to_owned(),
        };
        let kind = match op.noise {
            Noise::COMMAND | Noise::SESSION => Kind::Client,
            _ => Kind::Internal,
        };
        let mut begin = Begin::new(&name, kind, own, at_ns(op.start_ns));
        if let Some(below) = below {
            begin.parent = below.context.span_id;
            begin.state = below.open.as_ref().and_then(|open| open.state.as_deref());
        }
        let mut span = begin_of(labels, op, &begin);
        let is_ours = |key: &str| match key {
            "http.request.method" | "http.response.status_code" => true,
            "url.template" | "server.address" => shows_address,
            key => key.starts_with("im.x."),
        };
        for (key, value) in op.attributes.iter().filter(|(key, _)| is_ours(key)) {
            match value.parse() {
                Ok(status) if *key == "http.response.status_code" => {
                    span.put(key, Value::Number(status));
                }
                _ => span.put_said(key, value),
            }
        }
        match (suppressed, op.error()) {
            (Some(_), None) => span.put("im.slow", true),
            (Some(suppressed), Some(_)) => span.put("im.suppressed", suppressed),
            _ => {}
        }
        if let Some(error) = op.error() {
            span.fails(error);
        }
        self.end(span.end(at_ns(op.end_ns)));
        own
    }
}

fn begin_of(labels: &AccountLabels, op: &Op<'_>, begin: &Begin<'_>) -> Span {
    let mut span = Span::begin(begin);
    span.put_all(labels.attributes());
    span.put("im.operation", op.name);
    span.put("im.noise", noise(op.noise));
    if op.items > 0 {
        span.put("im.items", op.items);
    }
    span
}

fn note(open: &Open, op: &Op<'_>) {
    let times = (at_ns(op.start_ns), at_ns(op.end_ns));
    open.note(op.name, times, op.error());
}

/// As it stands in metrics.
fn noise(class: Noise) -> &'static str {
    match class {
        Noise::COMMAND => "command",
        Noise::EVENT => "event",
        Noise::SESSION => "session",
        Noise::POLL_HIT => "poll_hit",
        Noise::POLL_EMPTY => "poll_empty",
        Noise::HEARTBEAT => "heartbeat",
        _ => "aux",
    }
}
