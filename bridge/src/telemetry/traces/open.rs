//! Spans of ours that have begun and not ended, by id, as far as operations of adapters can name them as their parent.

use super::span::{ERROR_TYPE, EVENTS_MAX};
use crate::telemetry::otlp::wire::{self, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Number of the field of a span that has its events, and of those of an event.
const EVENT: u32 = 11;
const TIME: u32 = 1;
const NAME: u32 = 2;
const ATTRIBUTE: u32 = 3;

/// What was done below a span and has none of its own, as the span's events.
#[derive(Debug, Default)]
pub(super) struct Notes {
    bytes: Vec<u8>,
    count: usize,
    dropped: u32,
}

impl Notes {
    /// All of them, as they stand in a span.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there was no room for.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    pub fn add<'v>(
        &mut self,
        name: &str,
        at_ns: u64,
        attributes: impl IntoIterator<Item = (&'v str, Value<'v>)>,
    ) {
        if self.count >= EVENTS_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.count += 1;
        let mut event = Vec::new();
        wire::fixed64(&mut event, TIME, at_ns);
        wire::bytes(&mut event, NAME, name.as_bytes());
        for (key, value) in attributes {
            wire::attribute(&mut event, ATTRIBUTE, key, value);
        }
        wire::bytes(&mut self.bytes, EVENT, &event);
    }
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
        operation: &str,
        (start_ns, end_ns): (u64, u64),
        error: Option<&'static str>,
    ) {
        let took_us = end_ns.saturating_sub(start_ns) / 1_000;
        let status = if error.is_some() { "error" } else { "ok" };
        let attributes = [
            ("im.operation", operation.into()),
            ("im.duration_us", took_us.into()),
            ("im.status", status.into()),
        ];
        let error = error.map(|error| (ERROR_TYPE, error.into()));
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.add("im.op", end_ns, attributes.into_iter().chain(error));
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
