//! The spans of a command: one per attempt, and one for each message that tells its end.

use super::open::Open;
use super::span::{Begin, Kind, Span, made, now_ns, ns};
use super::{AccountLabels, Traces, ids, messaging};
use crate::bus::{Headers, Shard};
use crate::config::types::ConsumerParent;
use crate::telemetry::context::{self, BAGGAGE, Carried, TraceContext};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// What arrived.
pub struct CommandFacts<'a> {
    pub account: &'a Arc<AccountLabels>,
    /// A declared name, or `other`.
    pub command: &'a str,
    /// Its subject, with names in place of what differs; asked for if it is recorded.
    pub template: &'a dyn Fn() -> String,
    /// Somebody waits for the answer.
    pub is_request: bool,
    /// The shard that it came from.
    pub group: Option<Shard>,
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
    span: Span,
    labels: Arc<AccountLabels>,
    command: Box<str>,
    link: TraceContext,
    open: Arc<Open>,
    is_finished: bool,
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
            made(trace_id, ids::new_span(), is_recorded)
        } else {
            traces.new_root()
        };
        let state = carried.state.clone().filter(|_| has_parent);
        let recorded = context::is_sampled(&own).then(|| {
            let open = Arc::new(Open::of_command(state.clone()));
            traces.open.add(own.span_id, &open);
            let name = format!("process {}", facts.command);
            let kind = match facts.is_request {
                true => Kind::Server,
                false => Kind::Consumer,
            };
            let start_ns = now_ns().saturating_sub(ns(facts.waited));
            let mut begin = Begin::new(&name, kind, own, start_ns);
            if has_parent {
                begin.parent = carried.context.span_id;
                begin.is_parent_remote = true;
                begin.state = state.as_deref();
            }
            let mut span = Span::begin(&begin);
            say(&mut span, facts);
            Box::new(Recorded {
                span,
                labels: Arc::clone(facts.account),
                command: facts.command.into(),
                link: match is_linked {
                    true => carried.context,
                    false => TraceContext::NONE,
                },
                open,
                is_finished: false,
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

    /// A message that tells its end. `facts` are the span's name and the template of the subject.
    pub fn publish(&self, facts: impl FnOnce() -> (String, String)) -> PublishSpan {
        let recorded = self.recorded.as_ref();
        let context = match &self.traces {
            None => self.context,
            Some(_) => made(self.context.trace_id, ids::new_span(), recorded.is_some()),
        };
        PublishSpan {
            context,
            state: self.state.clone(),
            baggage: self.baggage.clone(),
            span: recorded.zip(self.traces.as_ref()).map(|(own, traces)| {
                let (name, template) = facts();
                let mut span = Span::begin(&Begin {
                    parent: self.context.span_id,
                    state: self.state.as_deref(),
                    ..Begin::new(&name, Kind::Producer, context, now_ns())
                });
                span.put_all(messaging("publish", "send", &template));
                span.put_all(own.labels.attributes());
                span.put("im.command", &*own.command);
                (Arc::clone(traces), Box::new(span))
            }),
        }
    }

    /// Its end.
    pub fn finish(mut self, end: &CommandEnd<'_>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.is_finished = true;
            let span = &mut recorded.span;
            span.put("im.queued_ms", millis(end.queued));
            span.put("im.provider_ms", millis(end.at_provider));
            ends(span, end.outcome, end.error);
        }
    }
}

impl std::fmt::Debug for CommandSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandSpan({:?})", self.context)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn say(span: &mut Span, facts: &CommandFacts<'_>) {
    span.put_all(messaging("process", "process", &(facts.template)()));
    span.put_all(facts.account.attributes());
    span.put("im.command", facts.command);
    span.put("messaging.message.id", facts.message_id);
    span.put("im.attempt", u64::from(facts.attempt));
    if let Some(shard) = facts.group {
        span.put("messaging.consumer.group.name", &*format!("s{shard}"));
    }
    if let Some((stream, sequence)) = &facts.stored {
        span.put("messaging.nats.stream", &**stream);
        span.put("messaging.nats.sequence", *sequence);
    }
}

/// `error` is class and code.
fn ends(span: &mut Span, outcome: &str, error: Option<(&str, &str)>) {
    span.put("im.outcome", outcome);
    if let Some((class, code)) = error {
        span.put("im.error.class", class);
        span.fails(code.to_owned());
    }
}

impl Drop for CommandSpan {
    fn drop(&mut self) {
        let (Some(recorded), Some(traces)) = (self.recorded.take(), &self.traces) else {
            return;
        };
        traces.open.remove(self.context.span_id);
        let Recorded {
            mut span,
            link,
            open,
            is_finished,
            ..
        } = *recorded;
        if !is_finished {
            ends(&mut span, "retry", Some(("internal", "dropped")));
        }
        traces.end(span.end_with(now_ns(), &open.take(), &link));
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
    span: Option<(Arc<Traces>, Box<Span>)>,
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
        let Some((traces, mut span)) = self.span.take() else {
            return;
        };
        match end {
            PublishEnd::Stored {
                message_id,
                body_bytes,
                stored,
            } => {
                span.put("messaging.message.id", *message_id);
                span.put("messaging.message.body.size", *body_bytes as u64);
                if let Some((stream, sequence, is_duplicate)) = stored {
                    span.put("messaging.nats.stream", &**stream);
                    span.put("messaging.nats.sequence", *sequence);
                    span.put("im.duplicate", *is_duplicate);
                }
            }
            PublishEnd::Failed(code) => span.fails(*code),
        }
        traces.end(span.end(now_ns()));
    }
}

impl Drop for PublishSpan {
    fn drop(&mut self) {
        if let Some((traces, mut span)) = self.span.take() {
            span.fails("dropped");
            traces.end(span.end(now_ns()));
        }
    }
}
