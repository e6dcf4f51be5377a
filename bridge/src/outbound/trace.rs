//! What a command leaves in traces: a span per attempt, and one for each message that tells its end.
//!
//! An attempt begins when the command is taken, or when its next turn comes after the adapter had it; it ends with the
//! result and its acknowledgement, or when it is put off. Messages of a batch are part of the batch's span.
//!
//! Not here: what a span says (`telemetry`).

use super::answer::Verdict;
use super::desk::Desk;
use super::work::{Origin, What, Work};
use crate::bus::clock::unix_ms;
use crate::bus::shard::SHARDS;
use crate::bus::{Acked, Kind, Shard, Target};
use crate::telemetry::{CommandEnd, CommandFacts, CommandSpan, PublishEnd, PublishSpan, context};
use im_bridge_sdk::model::{ErrorClass, ErrorObject};
use std::time::Duration;

/// Names that nobody declares must not stand in traces.
const OTHER: &str = "other";

impl Work {
    /// Its name, if it is one that somebody declares.
    pub(super) fn declared(&self) -> &str {
        match self.what {
            What::Unknown => OTHER,
            _ => &self.name,
        }
    }

    fn traced_kind(&self) -> Kind {
        match self.what {
            What::Unknown => format!("{OTHER}.{OTHER}").parse().expect("a kind"),
            _ => self.kind.clone(),
        }
    }
}

impl Desk {
    /// The first attempt, or the next one if the last was ended.
    pub(super) fn begin_span(&self, work: &mut Work) {
        if work.span.is_some() || matches!(work.origin, Origin::Item { .. }) {
            return;
        }
        let telemetry = &self.gateway.telemetry;
        let of = &*work;
        let is_first = of.attempts == 0;
        let template = || {
            let (subjects, kind) = (&self.gateway.subjects, of.traced_kind());
            match (of.what, of.is_durable) {
                (What::Control(_), _) => subjects.control_template(&kind.action),
                (_, true) => subjects.command_template(&kind),
                (_, false) => subjects.request_template(&kind),
            }
        };
        let span = telemetry.command(&of.carried, || {
            let age_ms = unix_ms().saturating_sub(of.since_ms);
            CommandFacts {
                account: &self.labels,
                command: of.declared(),
                template: &template,
                is_request: !of.is_durable,
                group: of.is_durable.then(|| Shard::of(&self.account, SHARDS)),
                message_id: &of.attributes.id,
                stored: of
                    .sequence()
                    .map(|sequence| (self.gateway.commands.clone(), sequence)),
                is_redriven: of.is_redriven,
                age: Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)),
                // Later attempts begin with their turn: the pause before them was nobody's work.
                waited: match is_first {
                    true => of.taken.elapsed(),
                    false => Duration::ZERO,
                },
                attempt: of.attempts + 1,
            }
        });
        work.span = Some(span);
        work.attempts_told = work.attempts;
    }

    /// It is put off. While the adapter did not have it this is still the same attempt.
    pub(super) fn put_off_span(&self, work: &mut Work, why: Option<&ErrorObject>) {
        if work.attempts > work.attempts_told {
            let error = why.map_or((ErrorClass::Unavailable.as_str(), "retry"), |error| {
                (error.class.as_str(), &*error.code)
            });
            self.end(work, "retry", Some(error));
        }
    }

    /// Everything is told.
    pub(super) fn end_span(&self, work: &mut Work, verdict: &Verdict) {
        let error = verdict.error.as_ref();
        let error = error.map(|error| (error.class.as_str(), &*error.code));
        self.end(work, verdict.status.as_str(), error);
    }

    fn end(&self, work: &mut Work, outcome: &'static str, error: Option<(&'static str, &str)>) {
        self.say(work, outcome, error);
        if let Some(span) = work.span.take() {
            span.finish(&CommandEnd {
                outcome,
                error,
                queued: work.taken.elapsed().saturating_sub(work.at_provider),
                at_provider: work.at_provider,
            });
        }
    }

    /// A line for people: one that failed is a warning.
    fn say(&self, work: &Work, outcome: &'static str, error: Option<(&'static str, &str)>) {
        let (account, trace) = (&self.account, work.trace());
        let command = work.declared();
        let (class, code) = error.unzip();
        let ids = || (context::trace_id(&trace), context::span_id(&trace));
        if error.is_some() && outcome != "retry" {
            let (trace_id, span_id) = ids();
            tracing::warn!(
                %account, command, outcome, class, code, trace_id, span_id, "command failed"
            );
        } else if tracing::enabled!(tracing::Level::DEBUG) {
            let (trace_id, span_id) = ids();
            tracing::debug!(%account, command, outcome, class, code, trace_id, span_id, "command");
        }
    }

    /// A result or a reply to this command.
    pub(super) fn telling(&self, work: &Work) -> PublishSpan {
        let subjects = &self.gateway.subjects;
        let of = |span: &CommandSpan| {
            span.publish(|| {
                let kind = work.traced_kind();
                let family = subjects.result_family(&self.account.provider, &kind);
                (format!("publish {family}"), subjects.result_template(&kind))
            })
        };
        match &work.span {
            Some(span) => of(span),
            None => of(&CommandSpan::passing(&work.carried)),
        }
    }

    /// A dead letter of this command.
    pub(super) fn burying(&self, work: &Work) -> Option<PublishSpan> {
        let subjects = &self.gateway.subjects;
        let span = work.span.as_ref()?;
        Some(span.publish(|| {
            let [_, family] = subjects.dead_families();
            (
                format!("publish {family}"),
                subjects.dead_command_template(),
            )
        }))
    }
}

/// What became of a message that was to be stored.
pub(super) fn end_of<'a>(
    acked: &Acked,
    stream: &Target,
    message_id: &'a str,
    body_bytes: usize,
) -> PublishEnd<'a> {
    let (sequence, is_duplicate) = match acked {
        Acked::Stored { sequence } => (*sequence, false),
        Acked::Duplicate { sequence } => (*sequence, true),
        Acked::Refused(_) => return PublishEnd::Failed("refused"),
        Acked::Abandoned => return PublishEnd::Failed("not_stored"),
    };
    PublishEnd::Stored {
        message_id,
        body_bytes,
        stored: Some((stream.name.clone(), sequence, is_duplicate)),
    }
}
