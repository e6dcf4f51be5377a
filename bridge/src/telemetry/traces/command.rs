//! The spans of a command: one per attempt, and one for each message that tells its end.

use super::open::Open;
use super::span::{Draft, ago, made, number, shared, text};
use super::{AccountLabels, Traces, messaging};
use crate::bus::Headers;
use crate::config::types::ConsumerParent;
use crate::telemetry::context::{self, BAGGAGE, Carried, TraceContext};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What arrived.
pub struct CommandFacts<'a> {
    pub account: &'a Arc<AccountLabels>,
    /// A declared name, or `other`.
    pub command: &'a str,
    /// Its subject, with names in place of what differs.
    pub template: String,
    /// Somebody waits for the answer.
    pub is_request: bool,
    /// The shard that it came from.
    pub group: Option<String>,
    pub message_id: &'a str,
    /// Where it is stored.
    pub stored: Option<(Arc<str>, u64)>,
    /// It was sent again from the dead letters: its context belongs to what was tried then.
    pub is_redriven: bool,
    /// Since it was stored, or came in.
    pub age: Duration,
    /// Since it was taken, or since this attempt began.
    pub waited: Duration,
    /// From 1.
    pub attempt: u32,
}

/// How an attempt ended.
pub struct CommandEnd<'a> {
    /// `ok`, `accepted`, `error`, `unknown`; `retry` if it is tried again.
    pub outcome: &'static str,
    /// Class and code.
    pub error: Option<(&'static str, &'a str)>,
    pub queued: Duration,
    pub at_provider: Duration,
}

/// One attempt at a command, from its being taken to its answer. Dropped unfinished it says so.
pub struct CommandSpan {
    context: TraceContext,
    state: Option<Box<str>>,
    baggage: Option<Box<str>>,
    recorded: Option<Box<Recorded>>,
    /// None: nothing is traced, and what the command brought goes on as it came.
    traces: Option<Arc<Traces>>,
}

struct Recorded {
    labels: Arc<AccountLabels>,
    command: Box<str>,
    kind: SpanKind,
    parent: [u8; 8],
    link: TraceContext,
    start: SystemTime,
    attributes: Vec<KeyValue>,
    open: Arc<Open>,
    end: Option<(&'static str, Option<(&'static str, String)>)>,
}

impl CommandSpan {
    /// Nothing is traced: what came goes on.
    pub fn passing(carried: &Carried) -> Self {
        Self {
            context: carried.context,
            state: carried.state.clone(),
            baggage: None,
            recorded: None,
            traces: None,
        }
    }

    pub(in crate::telemetry) fn begin(
        traces: &Arc<Traces>,
        facts: &CommandFacts<'_>,
        carried: &Carried,
    ) -> Self {
        let is_known = context::is_valid(&carried.context);
        let is_linked = is_known
            && (traces.consumer_parent == ConsumerParent::Link
                || facts.is_redriven
                || (!facts.is_request && facts.age > traces.parent_max_age));
        let has_parent = is_known && !is_linked;
        let own = if has_parent {
            let trace_id = carried.context.trace_id;
            let is_recorded = traces.sampler.records_below_remote(&carried.context);
            made(trace_id, traces.new_span(), is_recorded)
        } else {
            traces.new_root()
        };
        let state = carried.state.clone().filter(|_| has_parent);
        let recorded = context::is_sampled(&own).then(|| {
            let open = Arc::new(Open::of_command(state.clone()));
            traces.open.add(own.span_id, &open);
            Box::new(Recorded {
                labels: Arc::clone(facts.account),
                command: facts.command.into(),
                kind: match facts.is_request {
                    true => SpanKind::Server,
                    false => SpanKind::Consumer,
                },
                parent: match has_parent {
                    true => carried.context.span_id,
                    false => [0; 8],
                },
                link: match is_linked {
                    true => carried.context,
                    false => TraceContext::NONE,
                },
                start: ago(facts.waited),
                attributes: attributes(facts),
                open,
                end: None,
            })
        });
        Self {
            context: own,
            state,
            baggage: carried.baggage_of(&traces.baggage),
            recorded,
            traces: Some(Arc::clone(traces)),
        }
    }

    /// Parent of everything done for it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// A message that tells its end: `name` of the span, `template` of the subject.
    pub fn publish(&self, name: String, template: String) -> PublishSpan {
        let recorded = self.recorded.as_ref();
        let context = match &self.traces {
            None => self.context,
            Some(traces) => made(self.context.trace_id, traces.new_span(), recorded.is_some()),
        };
        PublishSpan {
            context,
            state: self.state.clone(),
            baggage: self.baggage.clone(),
            draft: recorded.zip(self.traces.as_ref()).map(|(own, traces)| {
                let mut draft = Draft::new(name, SpanKind::Producer, context)
                    .times(SystemTime::now(), SystemTime::now());
                draft.parent = self.context.span_id;
                draft.state.clone_from(&self.state);
                draft
                    .attributes
                    .extend(messaging("publish", "send", template.into()));
                draft.attributes.extend(own.labels.attributes());
                draft
                    .attributes
                    .push(KeyValue::new("im.command", text(&own.command)));
                (Arc::clone(traces), Box::new(draft))
            }),
        }
    }

    /// Its end.
    pub fn finish(mut self, end: &CommandEnd<'_>) {
        let Some(recorded) = &mut self.recorded else {
            return;
        };
        recorded.attributes.extend([
            KeyValue::new("im.queued_ms", millis(end.queued)),
            KeyValue::new("im.provider_ms", millis(end.at_provider)),
        ]);
        recorded.end = Some((
            end.outcome,
            end.error.map(|(class, code)| (class, code.to_owned())),
        ));
    }
}

impl std::fmt::Debug for CommandSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandSpan({:?})", self.context)
    }
}

fn millis(duration: Duration) -> opentelemetry::Value {
    number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn attributes(facts: &CommandFacts<'_>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(16);
    let template = facts.template.clone().into();
    attributes.extend(messaging("process", "process", template));
    attributes.extend(facts.account.attributes());
    attributes.extend([
        KeyValue::new("im.command", text(facts.command)),
        KeyValue::new("messaging.message.id", text(facts.message_id)),
        KeyValue::new("im.attempt", i64::from(facts.attempt)),
    ]);
    if let Some(group) = &facts.group {
        attributes.push(KeyValue::new("messaging.consumer.group.name", text(group)));
    }
    if let Some((stream, sequence)) = &facts.stored {
        attributes.push(KeyValue::new("messaging.nats.stream", shared(stream)));
        attributes.push(KeyValue::new("messaging.nats.sequence", number(*sequence)));
    }
    attributes
}

impl Drop for CommandSpan {
    fn drop(&mut self) {
        let (Some(recorded), Some(traces)) = (self.recorded.take(), &self.traces) else {
            return;
        };
        traces.open.remove(self.context.span_id);
        let mut draft = Draft::new(
            format!("process {}", recorded.command),
            recorded.kind,
            self.context,
        )
        .times(recorded.start, SystemTime::now());
        draft.parent = recorded.parent;
        draft.is_parent_remote = recorded.parent != [0; 8];
        draft.links.push(recorded.link);
        draft.state = self.state.take();
        draft.attributes = recorded.attributes;
        let notes = recorded.open.take();
        (draft.events, draft.events_dropped) = (notes.events, notes.dropped);
        let (outcome, error) = recorded
            .end
            .unwrap_or(("retry", Some(("internal", "dropped".to_owned()))));
        draft.attributes.push(KeyValue::new("im.outcome", outcome));
        if let Some((class, code)) = error {
            draft
                .attributes
                .push(KeyValue::new("im.error.class", class));
            draft.fails(code);
        }
        traces.end(draft);
    }
}

/// How a message was told.
pub enum PublishEnd<'a> {
    Stored {
        message_id: &'a str,
        body_bytes: usize,
        /// None: it was a reply, or a letter whose place nobody needs.
        stored: Option<(Arc<str>, u64, bool)>,
    },
    Failed(&'static str),
}

/// A result or a dead letter on its way. Dropped unfinished it was not told.
pub struct PublishSpan {
    context: TraceContext,
    state: Option<Box<str>>,
    baggage: Option<Box<str>>,
    draft: Option<(Arc<Traces>, Box<Draft>)>,
}

impl PublishSpan {
    /// For the envelope.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Adds its context to the headers of the message.
    pub fn write(&self, headers: &mut Headers) {
        context::write(headers, &self.context, self.state.as_deref());
        if let Some(baggage) = &self.baggage {
            headers.push((Cow::Borrowed(BAGGAGE), baggage.clone()));
        }
    }

    /// Its end.
    pub fn finish(mut self, end: &PublishEnd<'_>) {
        let Some((traces, mut draft)) = self.draft.take() else {
            return;
        };
        draft.end = SystemTime::now().max(draft.start);
        match end {
            PublishEnd::Stored {
                message_id,
                body_bytes,
                stored,
            } => {
                draft.attributes.extend([
                    KeyValue::new("messaging.message.id", text(message_id)),
                    KeyValue::new("messaging.message.body.size", number(*body_bytes as u64)),
                ]);
                if let Some((stream, sequence, is_duplicate)) = stored {
                    draft.attributes.extend([
                        KeyValue::new("messaging.nats.stream", shared(stream)),
                        KeyValue::new("messaging.nats.sequence", number(*sequence)),
                        KeyValue::new("im.duplicate", *is_duplicate),
                    ]);
                }
            }
            PublishEnd::Failed(code) => draft.fails(*code),
        }
        traces.end(*draft);
    }
}

impl Drop for PublishSpan {
    fn drop(&mut self) {
        if let Some((traces, mut draft)) = self.draft.take() {
            draft.end = SystemTime::now().max(draft.start);
            draft.fails("dropped");
            traces.end(*draft);
        }
    }
}
