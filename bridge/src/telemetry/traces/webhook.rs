//! A provider's HTTP request: its ids are drawn before the adapter sees it, its span is made only if it deserves one.

use super::open::Open;
use super::span::{Begin, Kind, Span, now_ns};
use super::{AccountLabels, Traces};
use crate::telemetry::context::{self, TraceContext};
use std::sync::Arc;

/// The operation under which failures are limited: anybody may send requests.
const OPERATION: &str = "webhook";

/// From the request to its response. Dropped unfinished it leaves nothing.
pub struct WebhookSpan {
    context: TraceContext,
    open: Option<Box<Begun>>,
}

struct Begun {
    traces: Arc<Traces>,
    labels: Arc<AccountLabels>,
    open: Arc<Open>,
    start_ns: u64,
}

impl WebhookSpan {
    /// Nothing is traced.
    pub const NONE: Self = Self {
        context: TraceContext::NONE,
        open: None,
    };

    pub(in crate::telemetry) fn begin(traces: &Arc<Traces>, labels: &Arc<AccountLabels>) -> Self {
        let context = traces.new_root();
        let open = Arc::new(Open::of_webhook());
        traces.open.add(context.span_id, &open);
        Self {
            context,
            open: Some(Box::new(Begun {
                traces: Arc::clone(traces),
                labels: Arc::clone(labels),
                open,
                start_ns: now_ns(),
            })),
        }
    }

    /// For the adapter, which puts it into the events that it makes of the request: they link to it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// The response. A span is left if the request brought events, or failed and there are not too many of those.
    pub fn finish(self, status: u16) {
        let Some(begun) = &self.open else { return };
        let Begun { traces, labels, .. } = &**begun;
        let has_failed = status >= 400;
        let mut own = self.context;
        let mut suppressed = None;
        if has_failed {
            let (provider, alias) = (&labels.provider, &labels.alias);
            suppressed = traces.limits.take(provider, alias, OPERATION, false);
            if suppressed.is_none() {
                return traces.left_out(super::LeftOut::Limited);
            }
            own.flags |= context::SAMPLED;
        } else if !begun.open.has_events() {
            return traces.left_out(super::LeftOut::Noise);
        }
        if !context::is_sampled(&own) {
            return;
        }
        let name = format!("webhook {}", labels.provider);
        let mut span = Span::begin(&Begin::new(&name, Kind::Server, own, begun.start_ns));
        span.put_all(labels.attributes());
        span.put("http.response.status_code", u64::from(status));
        if let Some(suppressed) = suppressed {
            span.put("im.suppressed", suppressed);
            span.fails(status.to_string());
        }
        traces.end(span.end_with(now_ns(), &begun.open.take(), &TraceContext::NONE));
    }
}

impl Drop for WebhookSpan {
    fn drop(&mut self) {
        if let Some(begun) = &self.open {
            begun.traces.open.remove(self.context.span_id);
        }
    }
}
