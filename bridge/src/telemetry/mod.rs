//! What the bridge says of itself: traces, metrics and log lines.
//!
//! It promises that looking costs nothing while nobody looks: without a collector there are no spans and no ids, for a
//! branch; hot paths count in structs of their own, and are asked when a scraper comes. Labels are closed sets; no
//! channel, user, message or text is ever one. Nothing here blocks or grows, whatever the collector does.
//!
//! Spans that would only say that nothing happened are never made: see `traces`.
//!
//! Not here: who answers `/metrics` (`admin`). Nobody else knows how anything is written that leaves; guarded by
//! `only_telemetry_names_opentelemetry`.

pub mod context;
pub mod exposition;
mod hidden;
pub mod histogram;
pub mod labels;
mod limits;
pub mod logs;
pub mod metrics;
pub mod otlp;
mod own;
pub mod per_provider;
mod process;
mod pushed;
pub mod redact;
mod settings;
mod slow;
pub mod traces;

pub use context::{Carried, TraceContext};
pub use exposition::Exposition;
pub use histogram::Histogram;
pub use metrics::{Metric, Registry, Source, Type};
pub use own::{Own, OwnValue};
pub use per_provider::PerProvider;
pub use pushed::Pushed;
pub use settings::{TelemetryError, mistakes};
pub use slow::What;
pub use traces::{
    AccountLabels, CommandEnd, CommandFacts, CommandSpan, EventFacts, EventKind, EventSpan, Op,
    PublishEnd, PublishSpan, WebhookSpan,
};

use crate::bus::Account;
use crate::config::types;
use hidden::Hidden;
use otlp::{Signal, Target};
use settings::{Resource, Settings};
use slow::Slow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use traces::Traces;

/// Makes spans, or nothing. Clones are the same.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    traces: Option<Arc<Traces>>,
    /// Who speaks.
    resource: Resource,
    slow: Slow,
    /// None: accounts are called by their aliases.
    hidden: Option<Arc<Hidden>>,
    /// `trace_context_invalid_total`
    contexts_invalid: AtomicU64,
}

impl Telemetry {
    /// No spans.
    pub fn off() -> Self {
        Self(Arc::new(Inner {
            traces: None,
            resource: Resource::new(),
            slow: Slow::new(0),
            hidden: None,
            contexts_invalid: AtomicU64::new(0),
        }))
    }

    /// As it is configured; without an endpoint that is nothing. `replica` is a part of the instance's name.
    ///
    /// # Errors
    /// What is configured cannot be used. A collector that is away is no error.
    pub fn start(config: &types::Telemetry, replica: &str) -> Result<Self, TelemetryError> {
        let settings = Settings::new(config)?;
        let target = Target::of(Signal::Traces, &config.otlp)?;
        let hidden = settings.hash_key.as_ref().map(Hidden::new).map(Arc::new);
        let mut inner = Inner {
            traces: None,
            resource: settings::resource(config, replica),
            slow: Slow::new(config.logs.slow_ms),
            hidden: hidden.clone(),
            contexts_invalid: AtomicU64::new(0),
        };
        if let Some(target) = target.filter(|_| config.traces.enabled) {
            let capacity = usize::try_from(config.traces.queue).unwrap_or(usize::MAX);
            let exporter = otlp::traces::start(target, capacity, &inner.resource)?;
            inner.traces = Some(Arc::new(Traces::new(settings, hidden, exporter)));
        }
        Ok(Self(Arc::new(inner)))
    }

    /// What stands for an alias in log lines; none: itself.
    fn hidden(&self) -> Option<Arc<Hidden>> {
        self.0.hidden.clone()
    }

    fn resource(&self) -> &Resource {
        &self.0.resource
    }

    /// Whether there are spans at all.
    pub fn is_on(&self) -> bool {
        self.0.traces.is_some()
    }

    /// Who an account is in spans.
    pub fn account(&self, account: &Account) -> Arc<AccountLabels> {
        let (provider, alias) = (account.provider.as_str(), account.alias.as_str());
        Arc::new(match &self.0.traces {
            Some(traces) => traces.labels(provider, alias),
            None => AccountLabels {
                provider: provider.into(),
                alias: alias.into(),
            },
        })
    }

    /// What events of this kind of this account leave; none: nothing.
    pub fn event_kind(
        &self,
        account: &Arc<AccountLabels>,
        kind: &str,
        template: String,
        family: &str,
    ) -> Option<Arc<EventKind>> {
        let traces = self.0.traces.as_ref()?;
        Some(Arc::new(EventKind::new(
            traces, account, kind, &template, family,
        )))
    }

    /// One attempt at a command, which brought `carried`.
    pub fn command<'a>(
        &self,
        carried: &Carried,
        facts: impl FnOnce() -> CommandFacts<'a>,
    ) -> CommandSpan {
        if carried.is_malformed {
            self.0.contexts_invalid.fetch_add(1, Ordering::Relaxed);
        }
        match &self.0.traces {
            Some(traces) => CommandSpan::begin(traces, &facts(), carried),
            None => CommandSpan::passing(carried),
        }
    }

    /// A finished operation. The context of what follows from it; zero: it left no span. Called on an adapter's thread.
    pub fn op<'a>(&self, account: &AccountLabels, op: impl FnOnce() -> Op<'a>) -> TraceContext {
        match &self.0.traces {
            Some(traces) => traces.op(account, &op()),
            None => TraceContext::NONE,
        }
    }

    /// A request of the provider's.
    pub fn webhook(&self, account: &Arc<AccountLabels>) -> WebhookSpan {
        match &self.0.traces {
            Some(traces) => WebhookSpan::begin(traces, account),
            None => WebhookSpan::NONE,
        }
    }

    /// An event or a command is done; a line tells of it if it took long.
    pub fn took(&self, what: What<'_>, account: &Account, took: Duration, trace: &TraceContext) {
        self.0.slow.look(what, account, took, trace);
    }

    /// Sends what waits, and blocks until it was sent or `within` has passed.
    pub fn flush(&self, within: Duration) -> bool {
        let traces = self.0.traces.as_ref();
        traces.is_none_or(|traces| traces.exporter().flush(within))
    }

    /// Sends what waits and takes nothing more; blocks, so it has a thread of its own. How many spans were lost by it.
    pub fn shut_down(&self, within: Duration) -> u64 {
        let traces = self.0.traces.as_ref();
        traces.map_or(0, |traces| traces.exporter().shut_down(within))
    }

    /// Its figures, for a scraper.
    pub fn source(&self) -> Arc<impl Source + 'static> {
        Arc::clone(&self.0)
    }
}

impl Source for Inner {
    fn collect(&self, to: &mut Exposition) {
        let invalid = self.contexts_invalid.load(Ordering::Relaxed);
        to.count(Metric::TraceContextInvalidTotal, &[], invalid);
        process::collect(to);
        for (key, fact) in &self.resource {
            to.resource(key, &fact.to_string());
        }
        if let Some(traces) = &self.traces {
            traces.collect(to);
        }
    }
}

#[cfg(test)]
mod tests;
