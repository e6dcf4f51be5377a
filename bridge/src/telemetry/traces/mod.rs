//! Spans: which there are, what they say, and what deserves none.
//!
//! A successful poll and a heartbeat leave no span: none is made. An event is the root of its own trace, so nothing that
//! keeps polls out can take events with it. A failure gets its span afterwards with its true times, within limits.
//!
//! Reading order: `span` (what a span is), `ids`, `event` and `command` (what becomes one always), `op` (what mostly does not),
//! with `exclude` and `limits`, and `webhook`; `sampler` decides which traces are recorded.
//!
//! Not here: how spans leave (`otlp`), contexts in headers (`context`).

mod command;
mod event;
pub mod exclude;
mod ids;
mod op;
mod open;
pub mod sampler;
mod span;
mod webhook;

pub use command::{CommandEnd, CommandFacts, CommandSpan, PublishEnd, PublishSpan};
pub use event::{EventFacts, EventKind, EventSpan};
pub use op::Op;
pub use webhook::WebhookSpan;

use super::context::TraceContext;
use super::hidden::Hidden;
use super::limits::Limits;
use super::otlp::Exporter;
use super::otlp::wire::Value;
use super::settings::Settings;
use super::{Exposition, Metric};
use crate::config::types::ConsumerParent;
use exclude::Exclusion;
use open::OpenSpans;
use sampler::Sampler;
use span::{Ended, made};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Who an account is in spans.
#[derive(Debug)]
pub struct AccountLabels {
    pub(super) provider: Arc<str>,
    /// The alias, or what stands for it.
    pub(super) alias: Arc<str>,
}

impl AccountLabels {
    /// Both attributes.
    fn attributes(&self) -> [(&'static str, Value<'_>); 2] {
        [
            ("im.provider", (&*self.provider).into()),
            ("im.account", (&*self.alias).into()),
        ]
    }
}

/// Why an operation left no span of its own.
#[derive(Clone, Copy)]
enum LeftOut {
    Noise,
    Url,
    Limited,
}

const LEFT_OUT: [&str; 3] = ["noise", "url", "limited"];

/// What makes spans while there is somebody to send them to.
pub(super) struct Traces {
    exporter: Exporter<Vec<u8>>,
    sampler: Sampler,
    limits: Limits,
    exclusion: Exclusion,
    open: OpenSpans,
    consumer_parent: ConsumerParent,
    parent_max_age: Duration,
    has_poll_hit_spans: bool,
    /// None: polls are never slow.
    slow_poll: Option<Duration>,
    keeps_excluded_errors: bool,
    baggage: BTreeSet<Box<str>>,
    hidden: Option<Arc<Hidden>>,
    left_out: [AtomicU64; LEFT_OUT.len()],
}

impl Traces {
    pub(super) fn new(
        settings: Settings,
        hidden: Option<Arc<Hidden>>,
        exporter: Exporter<Vec<u8>>,
    ) -> Self {
        let config = settings.traces;
        let slow_poll = Duration::from_millis(config.slow_poll_ms);
        Self {
            exporter,
            sampler: settings.sampler,
            limits: Limits::new(
                config.error_spans_per_minute,
                config.error_spans_total_per_minute,
            ),
            exclusion: settings.exclusion,
            open: OpenSpans::default(),
            consumer_parent: config.consumer_parent,
            parent_max_age: Duration::from_secs(config.parent_max_age_s),
            has_poll_hit_spans: config.poll_hit_spans,
            slow_poll: Some(slow_poll).filter(|slow| !slow.is_zero()),
            keeps_excluded_errors: config.exclude_keep_errors,
            baggage: config
                .baggage
                .iter()
                .filter(|(_, is_copied)| **is_copied)
                .map(|(key, _)| key.as_str().into())
                .collect(),
            hidden,
            left_out: Default::default(),
        }
    }

    pub(super) fn exporter(&self) -> &Exporter<Vec<u8>> {
        &self.exporter
    }

    pub(super) fn labels(&self, provider: &str, alias: &str) -> AccountLabels {
        let alias = match &self.hidden {
            None => alias.into(),
            Some(hidden) => hidden.name(alias).into(),
        };
        AccountLabels {
            provider: provider.into(),
            alias,
        }
    }

    /// A trace that begins here.
    fn new_root(&self) -> TraceContext {
        let trace_id = ids::new_trace();
        made(
            trace_id,
            ids::new_span(),
            self.sampler.records_root(trace_id),
        )
    }

    /// A span below one of ours.
    fn new_child(&self, parent: &TraceContext) -> TraceContext {
        made(
            parent.trace_id,
            ids::new_span(),
            self.sampler.records_below(parent),
        )
    }

    /// Hands a span over. Only those are begun that are recorded.
    fn end(&self, span: Ended) {
        self.exporter.push(span.into_bytes());
    }

    fn left_out(&self, why: LeftOut) {
        self.left_out[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn collect(&self, to: &mut Exposition) {
        self.exporter.collect(to);
        for (reason, count) in LEFT_OUT.iter().zip(&self.left_out) {
            let count = count.load(Ordering::Relaxed);
            to.count(Metric::TelemetryExcludedTotal, &[reason], count);
        }
    }
}

/// What every message on NATS has.
fn messaging<'t>(
    operation: &'static str,
    of_type: &'static str,
    template: &'t str,
) -> [(&'static str, Value<'t>); 4] {
    [
        ("messaging.system", "nats".into()),
        ("messaging.operation.name", operation.into()),
        ("messaging.operation.type", of_type.into()),
        ("messaging.destination.template", template.into()),
    ]
}
