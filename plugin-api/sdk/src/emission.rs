//! An event on its way to the core: the event itself and what only telemetry wants to know about it.
//!
//! Not here: what events there are (`model`), and credits (`engine::outbox`).

use crate::model::Event;
use crate::{Noise, Trace};
use im_bridge_plugin_api::abi;

/// Most telemetry facts of an event.
const META_MAX: usize = 8;

/// An event with its trace, noise class and telemetry facts. Any event becomes one by `into()`.
#[derive(Debug)]
pub struct Emission {
    pub(crate) routing: Routing,
    pub(crate) payload: Vec<u8>,
    pub(crate) trace: Trace,
    pub(crate) noise: u8,
    pub(crate) meta: Vec<(&'static str, String)>,
}

/// The fields the core routes by, owned.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    pub(crate) kind: &'static str,
    pub(crate) channel: String,
    pub(crate) native_id: String,
    pub(crate) native_rev: String,
    pub(crate) order_key: String,
    pub(crate) client_ref: String,
    pub(crate) time_ms: i64,
    pub(crate) delivery: u8,
    pub(crate) origin: u8,
    pub(crate) order_scope: u8,
}

impl Emission {
    /// The context this event follows from, for example that of the poll that found it. An event without one gets that
    /// of the context it is sent with.
    #[must_use]
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }

    /// What the event is to tracing: [`Noise::Event`] unless said otherwise. [`Noise::Poll`]: found by a poll. Typing
    /// and presence are [`Noise::Aux`].
    #[must_use]
    pub fn noise(mut self, noise: Noise) -> Self {
        // An event found by a poll is by that fact a hit.
        let class = noise.class_of(true).0;
        self.noise = u8::try_from(class).expect("noise classes are small numbers");
        self
    }

    /// A fact for telemetry, never published. Its key is declared by [`crate::Description::meta`]; at most 8.
    #[must_use]
    pub fn meta(mut self, key: &'static str, value: impl Into<String>) -> Self {
        if self.meta.len() < META_MAX {
            self.meta.push((key, value.into()));
        }
        self
    }

    /// The event as the host reads it. Borrows from `self` without saying so: for the call that follows only.
    pub(crate) fn lend(&mut self, token: u64, meta: &[abi::Pair]) -> abi::Event {
        let routing = &self.routing;
        abi::Event {
            size: crate::ffi::link::size_of_u32::<abi::Event>(),
            flags: 0,
            token,
            time_ms: routing.time_ms,
            kind: abi::Str::new(routing.kind),
            channel: abi::Str::new(&routing.channel),
            native_id: abi::Str::new(&routing.native_id),
            native_rev: abi::Str::new(&routing.native_rev),
            order_key: abi::Str::new(&routing.order_key),
            client_ref: abi::Str::new(&routing.client_ref),
            delivery: routing.delivery,
            origin: routing.origin,
            order_scope: routing.order_scope,
            noise: self.noise,
            reserved: 0,
            trace: self.trace.to_abi(),
            payload: crate::ffi::owned::lend(&mut self.payload),
            meta: meta.as_ptr(),
            meta_len: meta.len(),
        }
    }
}

/// Room for a usual payload, so that writing it does not grow the buffer step by step. More than 1,032 bytes glibc no
/// longer takes from a list of the thread's own.
const PAYLOAD_BYTES: usize = 1_024;

impl From<Event> for Emission {
    fn from(event: Event) -> Self {
        let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
        event.write_payload(&mut payload);
        let routing = Routing {
            kind: event.kind().as_str(),
            native_id: event.native_id().into_owned(),
            native_rev: event.native_rev().into_owned(),
            time_ms: event.occurred().map_or(0, |time| time.ms()),
            delivery: event.delivery.number(),
            origin: event.origin.number(),
            order_scope: event.order_scope.number(),
            channel: event.channel.map(|channel| channel.id).unwrap_or_default(),
            order_key: event.order_key,
            client_ref: event.client_ref.unwrap_or_default(),
        };
        Self {
            routing,
            payload,
            trace: Trace::NONE,
            noise: 0,
            meta: Vec::new(),
        }
    }
}
