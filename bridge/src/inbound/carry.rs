//! One event's way from the adapter's hand to its outcome.
//!
//! No JSON is parsed on it. What can be published is, until it is stored; what never can be goes into the dead letters,
//! and only then is it settled. What its owner lost the lease for is not sent any more.

use super::lanes::Lane;
use super::route::{Published, Route};
use crate::bus::ack::Refusal;
use crate::bus::blobs::BlobError;
use crate::bus::{Acked, Headers, Outgoing};
use crate::dead_letter::{Body, Letter, Put};
use crate::envelope::{DATA_BYTES_MAX, Data, EnvelopeError, EventAttributes};
use crate::loader::host::{InboundEvent, Misbehaviour, Turn};
use crate::telemetry::{EventFacts, EventSpan, TraceContext, What, context};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use im_bridge_plugin_api::abi::{Delivery, Outcome};
use im_bridge_sdk::model::ids::{B32, EventIdentity, channel_token, event_id};
use im_bridge_sdk::model::{ErrorCode, ErrorObject, Time};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const CONTENT_TYPE: (&str, &str) = ("Content-Type", "application/cloudevents+json");
/// Frames are worth nothing later, so they do not wait for a bus that is away.
const RAW_WITHIN: Duration = Duration::from_millis(500);

/// When the core took an event.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    recorded: Time,
    at: Instant,
}

impl Taken {
    pub(super) fn now() -> Self {
        Self {
            recorded: Time::from_ms(crate::bus::clock::unix_ms()),
            at: Instant::now(),
        }
    }
}

/// An event in hand.
pub(super) struct Held {
    pub route: Arc<Route>,
    pub event: InboundEvent,
    pub taken: Taken,
    pub lane: Option<Lane>,
}

/// It is settled; its adapter hears of it when `turn` is dropped.
pub(super) struct Arrived {
    pub route: Arc<Route>,
    pub lane: Option<Lane>,
    pub turn: Turn,
}

#[allow(
    clippy::manual_async_fn,
    reason = "an async function has room for its argument twice, and each event on its way is one of these"
)]
pub(super) fn carry(held: Held) -> impl Future<Output = Arrived> + Send {
    async move {
        let mut span = held.span();
        let mut outcome = held.ship(&mut span).await;
        // Woken up after its lease, it tells the provider nothing: the next owner has the same event, and settles it.
        if !held.route.owner.hold.is_held() {
            outcome = Outcome::RETRY;
        }
        let context = span.context();
        span.finish(outcome);
        held.count(outcome, held.taken.at.elapsed(), &context);
        let Held {
            route, event, lane, ..
        } = held;
        Arrived {
            route,
            lane,
            turn: event.ticket.settle_with(outcome),
        }
    }
}

/// A message as it is published.
struct Parcel {
    id: B32,
    subject: Subject,
    body: Bytes,
}

impl Held {
    fn span(&self) -> EventSpan {
        let Some(kind) = &self.route.traced else {
            return EventSpan::NONE;
        };
        let event = &self.event;
        let facts = EventFacts {
            noise: event.noise(),
            delivery: event.delivery(),
            origin: event.origin(),
            trace: event.trace,
            waited: self.taken.at.elapsed(),
        };
        EventSpan::begin(kind, &facts, event.meta())
    }

    async fn ship(&self, span: &mut EventSpan) -> Outcome {
        let owner = &self.route.owner;
        if !owner.hold.is_held() {
            return Outcome::RETRY;
        }
        // What is rare stands in a box, so that the common way stays small.
        let published = match (&self.route.published, self.event.defect()) {
            (Some(published), None) => published,
            (_, defect) => return Box::pin(self.violates(span, &violation(defect))).await,
        };
        if published.is_raw {
            return Box::pin(self.show(published, span)).await;
        }
        if self.event.payload.len() > DATA_BYTES_MAX {
            return Box::pin(self.by_reference(published, span)).await;
        }
        let parcel = match self.pack(published, span, Data::Inline(&self.event.payload)) {
            Ok(parcel) => parcel,
            Err(error) => return Box::pin(self.unfit(span, error)).await,
        };
        match self.publish(parcel, span).await {
            Acked::Stored { .. } => Outcome::STORED,
            Acked::Duplicate { .. } => Outcome::DUPLICATE,
            Acked::Abandoned => Outcome::RETRY,
            Acked::Refused(Refusal::TooLarge) => Box::pin(self.by_reference(published, span)).await,
            Acked::Refused(refusal) => {
                let data = Data::Inline(&self.event.payload);
                Box::pin(self.refused(published, span, data, &refusal)).await
            }
        }
    }

    fn pack(
        &self,
        published: &Published,
        span: &EventSpan,
        data: Data<'_>,
    ) -> Result<Parcel, EnvelopeError> {
        let event = &self.event;
        let owner = &self.route.owner;
        let id = self.id();
        let token = channel_token(event.channel());
        let echoed = event
            .client_ref()
            .and_then(|it| owner.surroundings.echoed(it));
        let body = published.envelope.render(
            &EventAttributes {
                id: &id,
                time: event.time_ms.map(Time::from_ms),
                recorded: self.taken.recorded,
                channel: event.channel().map(|channel| (channel, &*token)),
                origin: event.origin(),
                delivery: event.delivery(),
                order_scope: event.order_scope(),
                order_key: event.order_key(),
                client_ref: event.client_ref(),
                correlation_id: echoed.as_ref().and_then(|it| it.correlation_id.as_deref()),
                causation_id: echoed.as_ref().map(|it| &*it.causation_id),
                trace: span.context(),
            },
            data,
            &mut owner.room(),
        )?;
        let mut subject = String::with_capacity(published.subject_prefix.len() + token.len());
        subject.push_str(&published.subject_prefix);
        subject.push_str(&token);
        Ok(Parcel {
            id,
            subject: subject.into(),
            body,
        })
    }

    /// The same for every observer of the same thing.
    fn id(&self) -> B32 {
        let event = &self.event;
        let account = &self.route.owner.account;
        event_id(&EventIdentity {
            provider: account.provider.as_str(),
            account: account.alias.as_str(),
            kind: event.kind(),
            channel: event.channel().unwrap_or_default(),
            native_id: event.native_id(),
            native_rev: event.native_rev().unwrap_or_default(),
            payload: &event.payload,
            time_ms: event.time_ms.unwrap_or(self.taken.recorded.ms()),
        })
    }

    async fn publish(&self, parcel: Parcel, span: &mut EventSpan) -> Acked {
        let owner = &self.route.owner;
        let body_bytes = parcel.body.len();
        let message = Outgoing {
            subject: parcel.subject,
            message_id: parcel.id.as_str().into(),
            headers: headers(&span.context()),
            payload: parcel.body,
            stream: owner.gateway.events.clone(),
            hold: owner.hold.clone(),
        };
        let acked = owner.gateway.acks.publish(message).await.acked().await;
        let stream = &owner.gateway.events.name;
        let told = match &acked {
            Acked::Stored { sequence } => Ok((stream, *sequence, false)),
            Acked::Duplicate { sequence } => Ok((stream, *sequence, true)),
            Acked::Refused(_) => Err("refused"),
            Acked::Abandoned => Err("not_stored"),
        };
        span.published(parcel.id.as_str(), body_bytes, told);
        acked
    }

    /// The object first, then the event that names it.
    async fn by_reference(&self, published: &Published, span: &mut EventSpan) -> Outcome {
        let owner = &self.route.owner;
        let inline = Data::Inline(&self.event.payload);
        if let Err(error) = self.pack(published, span, inline) {
            return self.unfit(span, error).await;
        }
        let name = format!("evt.{}", self.id());
        match owner
            .gateway
            .blobs
            .put(&name, &self.event.payload, &owner.hold)
            .await
        {
            Ok(()) => {}
            Err(BlobError::Abandoned) => return Outcome::RETRY,
            Err(error) => return self.refused(published, span, inline, &error).await,
        }
        let data = Data::Blob(&name);
        let parcel = match self.pack(published, span, data) {
            Ok(parcel) => parcel,
            Err(error) => return self.unfit(span, error).await,
        };
        match self.publish(parcel, span).await {
            Acked::Stored { .. } => Outcome::STORED,
            Acked::Duplicate { .. } => Outcome::DUPLICATE,
            Acked::Abandoned => Outcome::RETRY,
            Acked::Refused(refusal) => self.refused(published, span, data, &refusal).await,
        }
    }

    /// Once, to whoever listens.
    async fn show(&self, published: &Published, span: &mut EventSpan) -> Outcome {
        let owner = &self.route.owner;
        let parcel = match self.pack(published, span, Data::Inline(&self.event.payload)) {
            Ok(parcel) => parcel,
            Err(error) => return self.unfit(span, error).await,
        };
        let mut map = HeaderMap::new();
        map.insert(crate::bus::ack::MESSAGE_ID, parcel.id.as_str());
        for (name, value) in headers(&span.context()) {
            map.insert(&*name, &*value);
        }
        let subject = owner.gateway.subjects.raw(&owner.account);
        let sent = owner
            .gateway
            .client
            .publish_with_headers(subject, map, parcel.body);
        // At most once: a bus that is away loses it.
        let _ = timeout(RAW_WITHIN, sent).await;
        Outcome::STORED
    }

    /// No envelope can be made of it.
    async fn unfit(&self, span: &mut EventSpan, error: EnvelopeError) -> Outcome {
        let error = ErrorObject::new(ErrorCode::SchemaViolation, true, error.to_string());
        self.violates(span, &error).await
    }

    async fn violates(&self, span: &mut EventSpan, error: &ErrorObject) -> Outcome {
        let payload = &self.event.payload;
        // Of a text that was cut no subject can be made.
        let is_whole = self.event.defect() != Some(Misbehaviour::BadText);
        let published = self.route.published.as_ref().filter(|_| is_whole);
        let subject = published.map(|published| {
            let token = channel_token(self.event.channel());
            format!("{}{token}", published.subject_prefix)
        });
        // Its texts may have been cut, and then two such events would share an id: the whole payload makes it.
        let id = match self.event.defect() {
            None => self.id(),
            Some(_) => B32::of(&[self.id().as_bytes(), payload].concat()),
        };
        let body = Body::Payload(payload.clone());
        self.bury(id, subject, body, span, error, 1).await
    }

    /// An envelope was made, and nobody takes it.
    async fn refused(
        &self,
        published: &Published,
        span: &mut EventSpan,
        data: Data<'_>,
        why: &(dyn std::error::Error + Sync),
    ) -> Outcome {
        let parcel = match self.pack(published, span, data) {
            Ok(parcel) => parcel,
            Err(error) => return self.unfit(span, error).await,
        };
        let error = ErrorObject::new(ErrorCode::CoreError, true, why.to_string());
        let subject = Some(parcel.subject.to_string());
        let body = Body::Message(parcel.body);
        self.bury(
            parcel.id,
            subject,
            body,
            span,
            &error,
            crate::bus::ack::ODD_ERRORS_MAX,
        )
        .await
    }

    async fn bury(
        &self,
        id: B32,
        original: Option<String>,
        body: Body,
        span: &mut EventSpan,
        error: &ErrorObject,
        attempts: u32,
    ) -> Outcome {
        let owner = &self.route.owner;
        let letter = Letter {
            subject: owner.gateway.subjects.dead_event(&owner.account),
            id: id.as_str().into(),
            original,
            error,
            attempts,
            first: self.taken.recorded,
            last: Time::from_ms(crate::bus::clock::unix_ms()),
            headers: headers(&span.context()),
            body,
        };
        let put = owner.gateway.dead_letters.put(letter, &owner.hold).await;
        span.buried(&owner.gateway.subjects, error, put == Put::Stored);
        match put {
            Put::Stored => {
                owner.figures.dead_letter(error.class);
                let trace = span.context();
                tracing::warn!(
                    account = %owner.account,
                    kind = &*self.route.kind,
                    code = &*error.code,
                    trace_id = context::trace_id(&trace),
                    span_id = context::span_id(&trace),
                    "an event cannot be published; it is in the dead letters"
                );
            }
            // Nobody ever takes it, and what comes after it must not wait for that.
            Put::Refused => drop(owner.figures.lost.fetch_add(1, Ordering::Relaxed)),
            Put::Lost => return Outcome::RETRY,
        }
        Outcome::REJECTED
    }

    fn count(&self, outcome: Outcome, took: Duration, context: &TraceContext) {
        let owner = &self.route.owner;
        let figures = &owner.figures;
        self.route.outcomes.count(outcome);
        let payload_bytes = self.event.payload.len() as u64;
        figures
            .event_bytes
            .fetch_add(payload_bytes, Ordering::Relaxed);
        if outcome != Outcome::STORED {
            return;
        }
        let telemetry = &owner.gateway.telemetry;
        let what = What::Event(&self.route.kind);
        telemetry.took(what, &owner.account, took, context);
        figures.event_store.record(took);
        if let (Some(time_ms), Delivery::LIVE) = (self.event.time_ms, self.event.delivery()) {
            let since_ms = self.taken.recorded.ms().saturating_sub(time_ms);
            // A provider whose clock is ahead of ours: no delay that we could see.
            let before = Duration::from_millis(u64::try_from(since_ms).unwrap_or(0));
            figures.event_latency.record(before + took);
        }
    }
}

fn headers(context: &TraceContext) -> Headers {
    let (name, value) = CONTENT_TYPE;
    let mut headers = Vec::with_capacity(2);
    headers.push((name.into(), value.into()));
    context::write(&mut headers, context, None);
    headers
}

fn violation(defect: Option<Misbehaviour>) -> ErrorObject {
    let (code, text) = match defect {
        Some(Misbehaviour::PayloadTooLarge) => (
            ErrorCode::PayloadTooLarge,
            "the payload is larger than 1 MiB, which no event may be",
        ),
        Some(Misbehaviour::BadText) => (
            ErrorCode::SchemaViolation,
            "a text is longer than its limit or not UTF-8; the texts here are cut",
        ),
        Some(Misbehaviour::KindNotDeclared) => (
            ErrorCode::SchemaViolation,
            "the adapter does not declare this kind of event",
        ),
        Some(other) => (ErrorCode::SchemaViolation, other.as_str()),
        None => (
            ErrorCode::SchemaViolation,
            "the kind is no `<resource>.<action>`",
        ),
    };
    ErrorObject::new(code, true, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<F: Future>(_: fn(Held) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_event_on_its_way_is_small() {
        // What glibc takes from a list of the thread's own; more costs a search each time.
        let bytes = future_bytes(carry);
        assert!(bytes <= 1032, "{bytes} bytes");
    }
}
