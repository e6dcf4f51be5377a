//! The two spans of an event: from the adapter's hand to its outcome, and inside it the publish.

use super::span::{Draft, ERROR_TYPE, ago, made, number, said, shared, text};
use super::{AccountLabels, Traces, messaging};
use crate::bus::Subjects;
use crate::telemetry::context::{self, TraceContext};
use im_bridge_plugin_api::abi::{Delivery, Noise, Origin, Outcome};
use im_bridge_sdk::model::ErrorObject;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What all events of one kind of one account have in common.
pub struct EventKind {
    traces: Arc<Traces>,
    labels: Arc<AccountLabels>,
    kind: Arc<str>,
    template: Arc<str>,
    process: Box<str>,
    publish: Box<str>,
}

impl EventKind {
    /// `template` is the subject with names in place of account and channel, `family` the subject without them.
    pub(in crate::telemetry) fn new(
        traces: &Arc<Traces>,
        labels: &Arc<AccountLabels>,
        kind: &str,
        template: String,
        family: &str,
    ) -> Self {
        Self {
            traces: Arc::clone(traces),
            process: format!("process {} {kind}", labels.provider).into(),
            publish: format!("publish {family}").into(),
            labels: Arc::clone(labels),
            kind: kind.into(),
            template: template.into(),
        }
    }
}

/// What an event says that its spans repeat.
pub struct EventFacts {
    pub noise: Noise,
    pub delivery: Delivery,
    pub origin: Origin,
    /// What it belongs to: a poll's span, a request of the provider's, a command.
    pub trace: TraceContext,
    /// Since the adapter handed it over.
    pub waited: Duration,
}

/// From `emit` to the outcome. Dropped unfinished it says so.
pub struct EventSpan {
    /// Of the publishing span.
    context: TraceContext,
    /// Only if it is recorded.
    open: Option<Box<Open>>,
}

struct Open {
    kind: Arc<EventKind>,
    process: [u8; 8],
    start: SystemTime,
    publish_start: SystemTime,
    link: TraceContext,
    attributes: Vec<KeyValue>,
    published: Option<Draft>,
    outcome: &'static str,
    error: Option<&'static str>,
}

impl EventSpan {
    /// No span: nothing is traced, or it is not worth one.
    pub const NONE: Self = Self {
        context: TraceContext::NONE,
        open: None,
    };

    /// `meta` are facts of the adapter's, with declared keys.
    pub fn begin<'a>(
        kind: &Arc<EventKind>,
        facts: &EventFacts,
        meta: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        // What shows up only while somebody looks, like typing, is published and counted.
        if matches!(facts.noise, Noise::AUX | Noise::HEARTBEAT) {
            return Self::NONE;
        }
        let traces = &kind.traces;
        let is_webhook = context::is_valid(&facts.trace)
            && traces
                .open
                .get(facts.trace.span_id)
                .is_some_and(|open| open.brings_event());
        let root = traces.new_root();
        let context = TraceContext {
            span_id: traces.new_span(),
            ..root
        };
        if !context::is_sampled(&root) {
            return Self {
                context,
                open: None,
            };
        }
        let start = ago(facts.waited);
        let ingest = match facts.noise {
            _ if is_webhook => "webhook",
            Noise::POLL_HIT | Noise::POLL_EMPTY => "poll",
            _ => "push",
        };
        let delivery = match facts.delivery {
            Delivery::BACKFILL => "backfill",
            Delivery::REPLAY => "replay",
            _ => "live",
        };
        let origin = match facts.origin {
            Origin::SELF_OTHER_DEVICE => "self_other_device",
            Origin::BRIDGE => "bridge",
            _ => "remote",
        };
        let mut attributes = Vec::with_capacity(14);
        attributes.extend([
            KeyValue::new("im.ingest", ingest),
            KeyValue::new("im.delivery", delivery),
            KeyValue::new("im.origin", origin),
        ]);
        attributes
            .extend(meta.map(|(key, value)| KeyValue::new(format!("im.meta.{key}"), said(value))));
        Self {
            context,
            open: Some(Box::new(Open {
                kind: Arc::clone(kind),
                process: root.span_id,
                start,
                publish_start: SystemTime::now(),
                link: facts.trace,
                attributes,
                published: None,
                outcome: "retry",
                error: Some("dropped"),
            })),
        }
    }

    /// For the headers and the envelope: that of the publishing span.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// It was published, or nobody took it. The stream and its sequence are those of the acknowledgement.
    pub fn published(
        &mut self,
        message_id: &str,
        body_bytes: usize,
        acked: Result<(&Arc<str>, u64, bool), &'static str>,
    ) {
        let Some(open) = &mut self.open else { return };
        let kind = &open.kind;
        let id = KeyValue::new("messaging.message.id", message_id.to_owned());
        open.attributes.push(id.clone());
        let mut draft = Draft::new(kind.publish.to_string(), SpanKind::Producer, self.context)
            .times(open.publish_start, SystemTime::now());
        draft.parent = open.process;
        draft.attributes = Vec::with_capacity(12);
        draft
            .attributes
            .extend(messaging("publish", "send", shared(&kind.template)));
        draft.attributes.extend([
            id,
            KeyValue::new("messaging.message.body.size", number(body_bytes as u64)),
            KeyValue::new("im.kind", shared(&kind.kind)),
        ]);
        draft.attributes.extend(kind.labels.attributes());
        match acked {
            Ok((stream, sequence, is_duplicate)) => draft.attributes.extend([
                KeyValue::new("messaging.nats.stream", shared(stream)),
                KeyValue::new("messaging.nats.sequence", number(sequence)),
                KeyValue::new("im.duplicate", is_duplicate),
            ]),
            Err(code) => draft.fails(code),
        }
        open.published = Some(draft);
    }

    /// It went into the dead letters for this reason; unless they could not take it either.
    pub fn buried(&mut self, subjects: &Subjects, why: &ErrorObject, is_stored: bool) {
        let Some(open) = &mut self.open else { return };
        let kind = &open.kind;
        // The letter's headers have the context of the span that published it in the end.
        if let Some(tried) = open.published.take() {
            let own = made(self.context.trace_id, kind.traces.new_span(), true);
            kind.traces.end(Draft { own, ..tried });
        }
        let [family, _] = subjects.dead_families();
        let name = format!("publish {family}");
        let mut draft = Draft::new(name, SpanKind::Producer, self.context)
            .times(open.publish_start, SystemTime::now());
        draft.parent = open.process;
        let template = subjects.dead_event_template().into();
        draft
            .attributes
            .extend(messaging("publish", "send", template));
        draft.attributes.extend(kind.labels.attributes());
        draft
            .attributes
            .push(KeyValue::new("im.kind", shared(&kind.kind)));
        open.attributes.extend([
            KeyValue::new("im.error.class", why.class.as_str()),
            KeyValue::new(ERROR_TYPE, text(&why.code)),
        ]);
        if !is_stored {
            draft.fails("not_stored");
        }
        open.published = Some(draft);
    }

    /// Its end.
    pub fn finish(mut self, outcome: Outcome) {
        let Some(open) = &mut self.open else { return };
        (open.outcome, open.error) = match outcome {
            Outcome::STORED => ("stored", None),
            Outcome::DUPLICATE => ("duplicate", None),
            Outcome::REJECTED => ("rejected", None),
            _ => ("retry", Some("not_stored")),
        };
    }
}

impl Drop for EventSpan {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open {
            kind,
            process,
            start,
            link,
            attributes,
            published,
            outcome,
            error,
            ..
        } = *open;
        if let Some(published) = published {
            kind.traces.end(published);
        }
        let own = TraceContext {
            span_id: process,
            ..self.context
        };
        let mut draft = Draft::new(kind.process.to_string(), SpanKind::Consumer, own)
            .times(start, SystemTime::now());
        draft.attributes = attributes;
        draft
            .attributes
            .extend(messaging("process", "process", shared(&kind.template)));
        draft.attributes.extend(kind.labels.attributes());
        draft.attributes.extend([
            KeyValue::new("im.kind", shared(&kind.kind)),
            KeyValue::new("im.outcome", outcome),
        ]);
        draft.links.push(link);
        if let Some(error) = error {
            draft.fails(error);
        }
        kind.traces.end(draft);
    }
}
