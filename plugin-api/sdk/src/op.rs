//! One operation: what the core may make a span of, depending on its noise class.
//!
//! An adapter cannot make spans; it says what it did, how long it took and how it ended.

use crate::Trace;
use crate::engine::local::Local;
use crate::ffi::link::size_of_u32;
use crate::model::{ErrorClass, NoiseClass};
use crate::state::cut;
use crate::time::{monotonic, now_ns};
use im_bridge_plugin_api::abi::{self, Status};
use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

/// Most attributes of an operation.
const ATTRS_MAX: usize = 16;
/// Longest attribute value, in bytes; the core cuts there too.
const VALUE_MAX: usize = 256;

/// What an operation is to tracing. It decides what is left of it: see [`crate::Description::operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Done for a command: always a span.
    Command,
    /// A push of the provider.
    Event,
    /// Login, connect, register: rare, always a span.
    Session,
    /// A poll; whether it hit is known once its answer is decoded.
    Poll,
    /// Ping, pong, keep-alive; the core's liveness check reads these.
    Heartbeat,
    /// Everything else.
    Aux,
}

impl Noise {
    pub(crate) fn class_of(self, is_hit: bool) -> abi::Noise {
        match self {
            Self::Command => abi::Noise::COMMAND,
            Self::Event => abi::Noise::EVENT,
            Self::Session => abi::Noise::SESSION,
            Self::Poll if is_hit => abi::Noise::POLL_HIT,
            Self::Poll => abi::Noise::POLL_EMPTY,
            Self::Heartbeat => abi::Noise::HEARTBEAT,
            Self::Aux => abi::Noise::AUX,
        }
    }

    /// The class an operation usually has: a poll usually brings nothing.
    pub(crate) fn usual(self) -> NoiseClass {
        NoiseClass::from_number(u16::try_from(self.class_of(false).0).unwrap_or(u16::MAX))
            .unwrap_or(NoiseClass::Aux)
    }
}

/// An operation under way. Ends by [`Op::done`], [`Op::hit`], [`Op::empty`] or [`Op::fail`]; when it is dropped instead,
/// it is a failed `aux`, unless the account is ending: a poll that is cut off is no failure.
pub struct Op {
    local: Rc<Local>,
    name: Cow<'static, str>,
    noise: Noise,
    start_ns: i64,
    started: Duration,
    parent: Trace,
    detail: String,
    attrs: Vec<(&'static str, String)>,
    class: ErrorClass,
    is_reported: bool,
}

impl Op {
    pub(crate) fn new(
        local: Rc<Local>,
        name: Cow<'static, str>,
        noise: Noise,
        parent: Trace,
    ) -> Self {
        Self {
            start_ns: now_ns(&local),
            started: monotonic(&local),
            local,
            name,
            noise,
            parent,
            detail: String::new(),
            attrs: Vec::new(),
            class: ErrorClass::Unavailable,
            is_reported: false,
        }
    }

    /// For people: `POST /v1/message/send 200`. No query, no ids, no secrets.
    pub fn detail(&mut self, detail: impl Into<String>) -> &mut Self {
        self.detail = detail.into();
        self
    }

    /// What it was done for; the context's own trace unless said otherwise.
    pub fn parent(&mut self, parent: Trace) -> &mut Self {
        self.parent = parent;
        self
    }

    /// A fact about it, at most 16. Keys are those of the telemetry reference, or begin with `im.x.`.
    pub fn attr(&mut self, key: &'static str, value: impl Into<String>) -> &mut Self {
        if self.attrs.len() < ATTRS_MAX {
            self.attrs.push((key, value.into()));
        }
        self
    }

    /// The error class that [`Op::fail`] reports; `unavailable` unless said otherwise.
    pub fn class(&mut self, class: ErrorClass) -> &mut Self {
        self.class = class;
        self
    }

    /// It went well.
    pub fn done(self) -> Trace {
        self.finish(0, true)
    }

    /// It went well and moved this many bytes, frames or items.
    pub fn done_with(self, items: u64) -> Trace {
        self.finish(items, true)
    }

    /// A poll that brought something. Usually answers no trace, because a successful poll has no span.
    pub fn hit(self, items: u64) -> Trace {
        self.finish(items, true)
    }

    /// A poll that brought nothing, also one that ran into its own time-out.
    pub fn empty(self) -> Trace {
        self.finish(0, false)
    }

    fn finish(mut self, items: u64, is_hit: bool) -> Trace {
        self.report(self.noise.class_of(is_hit), Status::OK, items)
    }

    /// It failed. The error's text is logged at debug level, not reported: it may hold what a trace must not.
    pub fn fail(mut self, error: &(impl std::fmt::Display + ?Sized)) -> Trace {
        tracing::debug!(operation = %self.name, %error, "operation failed");
        let status = Status(self.class.number());
        self.report(self.noise.class_of(false), status, 0)
    }

    fn report(&mut self, noise: abi::Noise, status: Status, items: u64) -> Trace {
        self.is_reported = true;
        let took = monotonic(&self.local).saturating_sub(self.started);
        let end_ns = self
            .start_ns
            .saturating_add(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX));
        let attrs: Vec<abi::Pair> = self
            .attrs
            .iter()
            .map(|(key, value)| abi::Pair {
                key: abi::Str::new(key),
                value: abi::Str::new(cut(value, VALUE_MAX)),
            })
            .collect();
        self.local.core.link.op(&abi::Op {
            size: size_of_u32::<abi::Op>(),
            noise: u16::try_from(noise.0).expect("noise classes are small numbers"),
            status: i16::try_from(status.0).unwrap_or(-10),
            items,
            start_ns: self.start_ns,
            end_ns,
            name: abi::Str::new(&self.name),
            detail: abi::Str::new(&self.detail),
            parent: self.parent.to_abi(),
            attrs: attrs.as_ptr(),
            attrs_len: attrs.len(),
        })
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        let is_ending = self.local.core.is_draining() || self.local.core.is_stopping();
        if self.is_reported || (is_ending && self.noise == Noise::Poll) || self.local.is_ended() {
            return;
        }
        self.report(abi::Noise::AUX, Status::E_UNAVAILABLE, 0);
    }
}
