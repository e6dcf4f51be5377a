//! Spans of ours that have begun and not ended, by id, as far as operations of adapters can name them as their parent.

use super::span::{EVENTS_MAX, number, text};
use opentelemetry::KeyValue;
use opentelemetry::trace::Event;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What was done below a span and has none of its own.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub events: Vec<Event>,
    pub dropped: u32,
}

/// One span.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Other vendors' part of its context, which does not cross the plugin boundary.
    pub state: Option<Box<str>>,
    /// A request of the provider's, and whether it brought events; none: a command.
    webhook: Option<AtomicBool>,
    notes: Mutex<Notes>,
}

impl Open {
    pub fn of_command(state: Option<Box<str>>) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    pub fn of_webhook() -> Self {
        Self {
            webhook: Some(AtomicBool::new(false)),
            ..Self::default()
        }
    }

    /// An event came of it. False: it is no request of the provider's.
    pub fn brings_event(&self) -> bool {
        let has_events = self.webhook.as_ref();
        has_events
            .inspect(|it| it.store(true, Ordering::Relaxed))
            .is_some()
    }

    pub fn has_events(&self) -> bool {
        let has_events = self.webhook.as_ref();
        has_events.is_some_and(|it| it.load(Ordering::Relaxed))
    }

    /// An operation that leaves no span here.
    pub fn note(
        &self,
        name: Cow<'static, str>,
        operation: &str,
        times: (SystemTime, SystemTime),
        error: Option<&'static str>,
    ) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.events.len() >= EVENTS_MAX {
            notes.dropped += 1;
            return;
        }
        let took = times.1.duration_since(times.0).unwrap_or_default();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut attributes = vec![
            KeyValue::new("im.operation", text(operation)),
            KeyValue::new("im.duration_us", number(took_us)),
            KeyValue::new("im.status", if error.is_some() { "error" } else { "ok" }),
        ];
        if let Some(error) = error {
            attributes.push(KeyValue::new(super::span::ERROR_TYPE, error));
        }
        notes.events.push(Event::new(name, times.1, attributes, 0));
    }

    pub fn take(&self) -> Notes {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All of them: as many as there are commands in hand.
#[derive(Debug, Default)]
pub(super) struct OpenSpans(Mutex<HashMap<[u8; 8], Arc<Open>>>);

impl OpenSpans {
    pub fn add(&self, id: [u8; 8], open: &Arc<Open>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id, Arc::clone(open));
    }

    pub fn get(&self, id: [u8; 8]) -> Option<Arc<Open>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id).cloned()
    }

    pub fn remove(&self, id: [u8; 8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&id);
    }
}
