//! One accepted event and the duty to settle it.
//!
//! The routing texts are one allocation, the payload is the plugin's own buffer. Settling consumes the [`Ticket`], so
//! that it happens at most once; dropping an event unsettled settles it as RETRY, so that a lost task costs no credit.

use super::misbehaviour::Misbehaviour;
use super::packed::Packed;
use super::shared::{Shared, Turn};
use bytes::Bytes;
use im_bridge_plugin_api::abi;
use std::sync::Arc;

/// Index of a kind that is not among the declared ones: its text is packed with the others.
pub(super) const KIND_PACKED: u16 = u16::MAX;

/// Order of the packed texts; facts (key, value) follow.
pub(super) mod at {
    pub const CHANNEL: usize = 0;
    pub const NATIVE_ID: usize = 1;
    pub const NATIVE_REV: usize = 2;
    pub const ORDER_KEY: usize = 3;
    pub const CLIENT_REF: usize = 4;
    /// Empty unless the kind is not declared.
    pub const KIND: usize = 5;
    pub const META: usize = 6;
}

/// Something that happened at the provider.
#[derive(Debug)]
pub struct InboundEvent {
    /// Settles it.
    pub ticket: Ticket,
    /// UTF-8 JSON of the event's `data`, as the adapter wrote it.
    pub payload: Bytes,
    /// What it belongs to, else zero.
    pub trace: abi::Trace,
    /// The provider's time in Unix milliseconds; none: not given.
    pub time_ms: Option<i64>,
    pub(super) texts: Packed,
    pub(super) kind: u16,
    pub(super) delivery: u8,
    pub(super) origin: u8,
    pub(super) order_scope: u8,
    pub(super) noise: u8,
    pub(super) defect: Option<Misbehaviour>,
}

/// An event's routing, where it does not come from a plugin in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFacts<'a> {
    /// For example `message.created`.
    pub kind: &'a str,
    /// Exact native id of the channel; empty: none. So with all texts.
    pub channel: &'a str,
    /// Exact native id of what happened.
    pub native_id: &'a str,
    /// Native revision.
    pub native_rev: &'a str,
    /// Sorts as a string inside the order scope.
    pub order_key: &'a str,
    /// Idempotency key of the command that this echoes.
    pub client_ref: &'a str,
    /// Unix milliseconds.
    pub time_ms: Option<i64>,
    /// Value of [`abi::Delivery`].
    pub delivery: u8,
    /// Value of [`abi::Origin`].
    pub origin: u8,
    /// Value of [`abi::OrderScope`].
    pub order_scope: u8,
    /// Why it cannot be published.
    pub defect: Option<Misbehaviour>,
}

impl InboundEvent {
    /// An event that did not cross the boundary: read from another process, or made by a test. `settle` is called exactly
    /// once, on any thread, and must not block.
    pub fn detached(
        facts: &EventFacts<'_>,
        payload: Bytes,
        settle: impl FnOnce(abi::Outcome) + Send + Sync + 'static,
    ) -> Self {
        let mut texts = [""; at::META];
        texts[at::CHANNEL] = facts.channel;
        texts[at::NATIVE_ID] = facts.native_id;
        texts[at::NATIVE_REV] = facts.native_rev;
        texts[at::ORDER_KEY] = facts.order_key;
        texts[at::CLIENT_REF] = facts.client_ref;
        texts[at::KIND] = facts.kind;
        Self {
            ticket: Ticket(Some(Duty::Told(Box::new(settle)))),
            payload,
            trace: abi::Trace::NONE,
            time_ms: facts.time_ms,
            texts: Packed::new(&texts),
            kind: KIND_PACKED,
            delivery: facts.delivery,
            origin: facts.origin,
            order_scope: facts.order_scope,
            noise: 0,
            defect: facts.defect,
        }
    }

    /// For example `message.created`.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self.ticket.0.as_ref() {
            Some(Duty::Instance { shared, .. }) if self.kind != KIND_PACKED => {
                shared.plugin.kind(self.kind)
            }
            _ => self.texts.get(at::KIND),
        }
    }

    /// Exact native id of the channel.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        self.text(at::CHANNEL)
    }

    /// Exact native id of what happened.
    #[must_use]
    pub fn native_id(&self) -> &str {
        self.texts.get(at::NATIVE_ID)
    }

    /// Native revision, for edits.
    #[must_use]
    pub fn native_rev(&self) -> Option<&str> {
        self.text(at::NATIVE_REV)
    }

    /// Sorts as a string inside the order scope.
    #[must_use]
    pub fn order_key(&self) -> Option<&str> {
        self.text(at::ORDER_KEY)
    }

    /// Idempotency key, when this echoes a command.
    #[must_use]
    pub fn client_ref(&self) -> Option<&str> {
        self.text(at::CLIENT_REF)
    }

    /// Facts for telemetry; never published.
    pub fn meta(&self) -> impl Iterator<Item = (&str, &str)> {
        super::messages::pairs(&self.texts, at::META)
    }

    /// Live, fetched after a gap, or replayed; an unknown value is live.
    #[must_use]
    pub fn delivery(&self) -> abi::Delivery {
        match abi::Delivery(u32::from(self.delivery)) {
            known @ (abi::Delivery::BACKFILL | abi::Delivery::REPLAY) => known,
            _ => abi::Delivery::LIVE,
        }
    }

    /// Who caused it; an unknown value is remote.
    #[must_use]
    pub fn origin(&self) -> abi::Origin {
        match abi::Origin(u32::from(self.origin)) {
            known @ (abi::Origin::SELF_OTHER_DEVICE | abi::Origin::BRIDGE) => known,
            _ => abi::Origin::REMOTE,
        }
    }

    /// Inside what the order key sorts; an unknown value is none.
    #[must_use]
    pub fn order_scope(&self) -> abi::OrderScope {
        match abi::OrderScope(u32::from(self.order_scope)) {
            known @ (abi::OrderScope::CHANNEL | abi::OrderScope::ACCOUNT) => known,
            _ => abi::OrderScope::NONE,
        }
    }

    /// Its class for tracing; 0 is event, an unknown value is aux.
    #[must_use]
    pub fn noise(&self) -> abi::Noise {
        match self.noise {
            0 => abi::Noise::EVENT,
            known @ 1..=7 => abi::Noise(u32::from(known)),
            _ => abi::Noise::AUX,
        }
    }

    /// Why it cannot be published: it belongs into the dead letters and is settled REJECTED. Its texts were cut.
    #[must_use]
    pub fn defect(&self) -> Option<Misbehaviour> {
        self.defect
    }

    fn text(&self, index: usize) -> Option<&str> {
        Some(self.texts.get(index)).filter(|text| !text.is_empty())
    }
}

/// The duty to settle one event. May be taken out of the event and kept until the stream has answered.
pub struct Ticket(Option<Duty>);

enum Duty {
    Instance {
        shared: Arc<Shared>,
        token: u64,
        bytes: u64,
    },
    Told(Box<dyn FnOnce(abi::Outcome) + Send + Sync>),
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, token: u64, bytes: u64) -> Self {
        Self(Some(Duty::Instance {
            shared,
            token,
            bytes,
        }))
    }

    /// Tells the adapter what became of the event and gives its credit back. Never blocks; after `stop` it only frees.
    pub fn settle(self, outcome: abi::Outcome) {
        drop(self.settle_with(outcome));
    }

    /// The same, told when what is returned is dropped: whoever settles several keeps it meanwhile, and all of them cost
    /// one wake-up.
    #[must_use]
    pub fn settle_with(mut self, outcome: abi::Outcome) -> Turn {
        self.discharge(outcome)
    }

    /// The adapter's name for the event; 0 when it comes from no adapter.
    #[must_use]
    pub fn token(&self) -> u64 {
        match self.0 {
            Some(Duty::Instance { token, .. }) => token,
            _ => 0,
        }
    }

    fn discharge(&mut self, outcome: abi::Outcome) -> Turn {
        match self.0.take() {
            Some(Duty::Instance {
                shared,
                token,
                bytes,
            }) => shared.settle(token, bytes, outcome),
            Some(Duty::Told(tell)) => {
                tell(outcome);
                Turn::NONE
            }
            None => Turn::NONE,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        drop(self.discharge(abi::Outcome::RETRY));
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({})", self.token())
    }
}
