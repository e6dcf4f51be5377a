//! The envelope of an event.

use super::text::{TRACE_BYTES, push_escaped, push_trace, shape};
use super::{Data, EnvelopeError, MODEL_MAJOR, ModelMinor, Room};
use crate::bus::{Account, Kind};
use bytes::{BufMut, Bytes};
use im_bridge_plugin_api::abi::{Delivery, OrderScope, Origin, Trace};
use im_bridge_sdk::model::Time;
use im_bridge_sdk::model::ids::B32;

/// What all events of one account and kind share, rendered once.
#[derive(Clone, Debug)]
pub struct EventEnvelope {
    /// From the end of the id to the time.
    source: Box<str>,
    /// From the channel to the origin.
    names: Box<str>,
    /// From the trace context to what carries the body.
    schema: Box<str>,
}

/// What differs from event to event.
#[derive(Clone, Copy)]
pub struct EventAttributes<'a> {
    pub id: &'a B32,
    /// When it happened by the provider's clock; none: the provider does not say.
    pub time: Option<Time>,
    /// When the core took it.
    pub recorded: Time,
    /// Exact native id and its token.
    pub channel: Option<(&'a str, &'a str)>,
    pub origin: Origin,
    pub delivery: Delivery,
    pub order_scope: OrderScope,
    pub order_key: Option<&'a str>,
    pub client_ref: Option<&'a str>,
    pub correlation_id: Option<&'a str>,
    pub causation_id: Option<&'a str>,
    /// Of the first publish; zero: none.
    pub trace: Trace,
}

const BEGIN: &str = "{\"specversion\":\"1.0\",\"id\":\"";
const TIME_BYTES: usize = 24;

impl EventEnvelope {
    #[must_use]
    pub fn new(account: &Account, kind: &Kind, model: ModelMinor) -> Self {
        let Account { provider, alias } = account;
        let minor = model.0;
        Self {
            source: format!(
                "\",\"source\":\"/im/{provider}/{alias}\",\"type\":\"im-bridge.evt.{kind}.v{MODEL_MAJOR}\",\"time\":\""
            )
            .into(),
            names: format!(",\"provider\":\"{provider}\",\"account\":\"{alias}\",\"origin\":\"").into(),
            schema: format!(
                ",\"datacontenttype\":\"application/json\",\
                 \"dataschema\":\"urn:im-bridge:schema:{MODEL_MAJOR}.{minor}:evt.{kind}\","
            )
            .into(),
        }
    }

    /// The message's body.
    ///
    /// # Errors
    /// A control character where none may be, or a body that is no object.
    pub fn render(
        &self,
        of: &EventAttributes<'_>,
        data: Data<'_>,
        room: &mut Room,
    ) -> Result<Bytes, EnvelopeError> {
        data.check()?;
        let optional = [
            (",\"orderkey\":\"", of.order_key, true),
            (",\"clientref\":\"", of.client_ref, true),
            // The caller's own words: whoever sends control characters gets them back, escaped.
            (",\"correlationid\":\"", of.correlation_id, false),
            (",\"causationid\":\"", of.causation_id, false),
        ];
        let (channel_len, has_trace) = (self.channel_len(of)?, !of.trace.is_none());
        let mut optional_len = 0;
        for (name, value, is_native) in &optional {
            let Some(value) = value else { continue };
            let shape = shape(value);
            if *is_native && shape.has_control {
                let attribute = name.trim_matches([',', '"', ':']);
                return Err(EnvelopeError::ControlCharacter { attribute });
            }
            optional_len += name.len() + shape.escaped_len + 1;
        }
        let (origin, delivery, scope) = (
            origin(of.origin),
            delivery(of.delivery),
            scope(of.order_scope),
        );
        let time_source = if of.time.is_some() { PROVIDER } else { BRIDGE };
        let capacity = BEGIN.len()
            + of.id.len()
            + self.source.len()
            + 2 * TIME_BYTES
            + time_source.len()
            + channel_len
            + self.names.len()
            + origin.len()
            + DELIVERY.len()
            + delivery.len()
            + ORDER_SCOPE.len()
            + scope.len()
            + 2
            + optional_len
            + if has_trace {
                TRACE.len() + TRACE_BYTES + 1
            } else {
                0
            }
            + self.schema.len()
            + data.len()
            + 1;
        let out = room.of(capacity);
        for text in [BEGIN, of.id, &self.source] {
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&of.time.unwrap_or(of.recorded).text());
        out.extend_from_slice(time_source.as_bytes());
        out.extend_from_slice(&of.recorded.text());
        out.put_u8(b'"');
        if let Some((id, token)) = of.channel {
            out.extend_from_slice(SUBJECT.as_bytes());
            push_escaped(out, id);
            out.extend_from_slice(PARTITION_KEY.as_bytes());
            out.extend_from_slice(token.as_bytes());
            out.put_u8(b'"');
        }
        for text in [&*self.names, origin, DELIVERY, delivery, ORDER_SCOPE, scope] {
            out.extend_from_slice(text.as_bytes());
        }
        out.put_u8(b'"');
        for (name, value, _) in optional {
            let Some(value) = value else { continue };
            out.extend_from_slice(name.as_bytes());
            push_escaped(out, value);
            out.put_u8(b'"');
        }
        if has_trace {
            out.extend_from_slice(TRACE.as_bytes());
            push_trace(out, &of.trace);
            out.put_u8(b'"');
        }
        out.extend_from_slice(self.schema.as_bytes());
        data.write(out);
        out.put_u8(b'}');
        debug_assert_eq!(out.len(), capacity);
        Ok(room.cut())
    }

    fn channel_len(&self, of: &EventAttributes<'_>) -> Result<usize, EnvelopeError> {
        let Some((id, token)) = of.channel else {
            return Ok(0);
        };
        let shape = shape(id);
        if shape.has_control {
            return Err(EnvelopeError::ControlCharacter {
                attribute: "subject",
            });
        }
        Ok(SUBJECT.len() + shape.escaped_len + PARTITION_KEY.len() + token.len() + 1)
    }
}

const PROVIDER: &str = "\",\"timesource\":\"provider\",\"recordedtime\":\"";
const BRIDGE: &str = "\",\"timesource\":\"bridge\",\"recordedtime\":\"";
const SUBJECT: &str = ",\"subject\":\"";
const PARTITION_KEY: &str = "\",\"partitionkey\":\"";
const DELIVERY: &str = "\",\"delivery\":\"";
const ORDER_SCOPE: &str = "\",\"orderscope\":\"";
const TRACE: &str = ",\"traceparent\":\"";

/// As it stands in envelopes and in spans.
pub fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::SELF_OTHER_DEVICE => "self_other_device",
        Origin::BRIDGE => "bridge",
        _ => "remote",
    }
}

/// As it stands in envelopes and in spans.
pub fn delivery(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::BACKFILL => "backfill",
        Delivery::REPLAY => "replay",
        _ => "live",
    }
}

fn scope(scope: OrderScope) -> &'static str {
    match scope {
        OrderScope::CHANNEL => "channel",
        OrderScope::ACCOUNT => "account",
        _ => "none",
    }
}
