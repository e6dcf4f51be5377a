//! The two spans of an event: from the adapter's hand to its outcome, and inside it the publish.

use super::open::Notes;
use super::span::{Attributes, Begin, Ended, Kind, Span, now_ns, ns};
use super::{AccountLabels, Traces, ids, messaging};
use crate::bus::Subjects;
use crate::envelope::{delivery, origin};
use crate::telemetry::context::{self, TraceContext};
use im_bridge_plugin_api::abi::{Delivery, Noise, Origin, Outcome};
use im_bridge_sdk::model::ErrorObject;
use std::sync::Arc;
use std::time::Duration;

/// What all events of one kind of one account have in common.
pub struct EventKind {
    traces: Arc<Traces>,
    labels: Arc<AccountLabels>,
    kind: Box<str>,
    process: Common,
    publish: Common,
}

/// What a span of each of them says.
struct Common {
    name: Box<str>,
    attributes: Attributes,
}

impl EventKind {
    /// `template` is the subject with names in place of account and channel, `family` the subject without them.
    pub(in crate::telemetry) fn new(
        traces: &Arc<Traces>,
        labels: &Arc<AccountLabels>,
        kind: &str,
        template: &str,
        family: &str,
    ) -> Self {
        let common = |name: String, operation, of_type| Common {
            name: name.into(),
            attributes: Attributes::of(
                messaging(operation, of_type, template)
                    .into_iter()
                    .chain(labels.attributes())
                    .chain([("im.kind", kind.into())]),
            ),
        };
        let process = format!("process {} {kind}", labels.provider);
        Self {
            traces: Arc::clone(traces),
            process: common(process, "process", "process"),
            publish: common(format!("publish {family}"), "publish", "send"),
            labels: Arc::clone(labels),
            kind: kind.into(),
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
    process: Span,
    process_id: [u8; 8],
    publish_start_ns: u64,
    link: TraceContext,
    /// The last one of them; it may become another's, see [`EventSpan::buried`].
    published: Option<Ended>,
    /// None: nobody has said how it ends.
    outcome: Option<Outcome>,
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
            span_id: ids::new_span(),
            ..root
        };
        if !context::is_sampled(&root) {
            return Self {
                context,
                open: None,
            };
        }
        let now_ns = now_ns();
        let begin = Begin::new(
            &kind.process.name,
            Kind::Consumer,
            root,
            now_ns.saturating_sub(ns(facts.waited)),
        );
        let mut process = Span::begin(&begin);
        process.put_shared(&kind.process.attributes);
        process.put_all([
            ("im.ingest", ingest(facts.noise, is_webhook).into()),
            ("im.delivery", delivery(facts.delivery).into()),
            ("im.origin", origin(facts.origin).into()),
        ]);
        for (key, value) in meta {
            process.put_said(&format!("im.meta.{key}"), value);
        }
        Self {
            context,
            open: Some(Box::new(Open {
                kind: Arc::clone(kind),
                process,
                process_id: root.span_id,
                publish_start_ns: now_ns,
                link: facts.trace,
                published: None,
                outcome: None,
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
        let id = ("messaging.message.id", message_id.into());
        if open.published.is_none() {
            open.process.put_all([id]);
        }
        let common = &open.kind.publish;
        let mut span = open.begin_publish(&common.name, self.context);
        span.put_shared(&common.attributes);
        span.put_all([
            id,
            ("messaging.message.body.size", (body_bytes as u64).into()),
        ]);
        match acked {
            Ok((stream, sequence, is_duplicate)) => span.put_all([
                ("messaging.nats.stream", (&**stream).into()),
                ("messaging.nats.sequence", sequence.into()),
                ("im.duplicate", is_duplicate.into()),
            ]),
            Err(code) => span.fails(code),
        }
        open.published = Some(span.end(now_ns()));
    }

    /// It went into the dead letters for this reason; unless they could not take it either.
    pub fn buried(&mut self, subjects: &Subjects, why: &ErrorObject, is_stored: bool) {
        let Some(open) = &mut self.open else { return };
        let kind = &open.kind;
        // The letter's headers have the context of the span that published it in the end.
        if let Some(tried) = open.published.take() {
            kind.traces.end(tried.renamed(ids::new_span()));
        }
        let [family, _] = subjects.dead_families();
        let template = subjects.dead_event_template();
        let mut span = open.begin_publish(&format!("publish {family}"), self.context);
        span.put_all(messaging("publish", "send", &template));
        span.put_all(kind.labels.attributes());
        span.put("im.kind", &*kind.kind);
        if !is_stored {
            span.fails("not_stored");
        }
        open.process.put("im.error.class", why.class.as_str());
        open.process.blames(&why.code);
        open.published = Some(span.end(now_ns()));
    }

    /// Its end.
    pub fn finish(mut self, outcome: Outcome) {
        if let Some(open) = &mut self.open {
            open.outcome = Some(outcome);
        }
    }
}

impl Open {
    fn begin_publish(&self, name: &str, own: TraceContext) -> Span {
        Span::begin(&Begin {
            parent: self.process_id,
            ..Begin::new(name, Kind::Producer, own, self.publish_start_ns)
        })
    }
}

impl Drop for EventSpan {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open {
            kind,
            mut process,
            link,
            published,
            outcome,
            ..
        } = *open;
        if let Some(published) = published {
            kind.traces.end(published);
        }
        let (outcome, error) = match outcome {
            Some(Outcome::STORED) => ("stored", None),
            Some(Outcome::DUPLICATE) => ("duplicate", None),
            Some(Outcome::REJECTED) => ("rejected", None),
            Some(_) => ("retry", Some("not_stored")),
            None => ("retry", Some("dropped")),
        };
        process.put("im.outcome", outcome);
        if let Some(error) = error {
            process.fails(error);
        }
        kind.traces
            .end(process.end_with(now_ns(), &Notes::default(), &link));
    }
}

fn ingest(noise: Noise, is_webhook: bool) -> &'static str {
    match noise {
        _ if is_webhook => "webhook",
        Noise::POLL_HIT | Noise::POLL_EMPTY => "poll",
        _ => "push",
    }
}
