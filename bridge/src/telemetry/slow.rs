//! Tells what took long, with the trace to look at: it stands in for exemplars, which the text format cannot carry.

use super::limits::Minute;
use super::{TraceContext, context};
use crate::bus::Account;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Lines of events and commands together.
const LINES_PER_MINUTE: u32 = 10;

/// See the front page.
pub(super) struct Slow {
    /// None: nothing is slow.
    above: Option<Duration>,
    minute: Mutex<Minute>,
}

impl Slow {
    /// 0: nothing is slow.
    pub fn new(above_ms: u64) -> Self {
        Self {
            above: Some(Duration::from_millis(above_ms)).filter(|above| !above.is_zero()),
            minute: Mutex::new(Minute::new(Instant::now())),
        }
    }

    /// For each event and each command: mostly one comparison.
    pub fn look(&self, what: What<'_>, account: &Account, took: Duration, trace: &TraceContext) {
        if self.above.is_none_or(|above| took <= above) {
            return;
        }
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if !minute.take(LINES_PER_MINUTE, Instant::now()) {
            return;
        }
        drop(minute);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (trace_id, span_id) = (context::trace_id(trace), context::span_id(trace));
        match what {
            What::Event(kind) => {
                tracing::info!(%account, kind, took_ms, trace_id, span_id, "slow event");
            }
            What::Command(command) => {
                tracing::info!(%account, command, took_ms, trace_id, span_id, "slow command");
            }
        }
    }
}

/// Of which something is said: its name, as declared, or `other`.
#[derive(Clone, Copy)]
pub enum What<'a> {
    /// From the adapter's hand to stored.
    Event(&'a str),
    /// From taken to its result stored.
    Command(&'a str),
}
