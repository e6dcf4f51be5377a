//! Figures of inbound events, under the names that users see. Counted here, exported by telemetry.

use crate::telemetry::Histogram;
use im_bridge_plugin_api::abi::Outcome;
use im_bridge_sdk::model::ErrorClass;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// `events_total` of one provider and kind.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub stored: AtomicU64,
    pub duplicate: AtomicU64,
    pub rejected: AtomicU64,
    pub retry: AtomicU64,
}

impl Outcomes {
    pub(super) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::STORED => &self.stored,
            Outcome::DUPLICATE => &self.duplicate,
            Outcome::REJECTED => &self.rejected,
            _ => &self.retry,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Of one provider.
#[derive(Debug, Default)]
pub struct ProviderFigures {
    /// `events_total` by kind; at most as many as adapters declare, and `other`.
    kinds: Mutex<BTreeMap<Box<str>, Arc<Outcomes>>>,
    /// `event_latency_seconds`: the provider's time to stored, live events that have one.
    pub event_latency: Histogram,
    /// `event_store_seconds`: taken from the adapter to stored.
    pub event_store: Histogram,
    /// `event_bytes_total`: payload.
    pub event_bytes: AtomicU64,
    /// `dead_letters_total` with source `event`, by class.
    dead_letters: Mutex<BTreeMap<&'static str, u64>>,
    /// `writes_given_up_total` of events: what not even the dead letters take.
    pub lost: AtomicU64,
}

impl ProviderFigures {
    pub(super) fn kind(&self, kind: &str) -> Arc<Outcomes> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(kinds.entry(kind.into()).or_default())
    }

    pub(super) fn dead_letter(&self, class: ErrorClass) {
        let mut letters = self
            .dead_letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *letters.entry(class.as_str()).or_default() += 1;
    }

    /// `dead_letters_total` with source `event`, by class.
    pub fn dead_letters(&self) -> BTreeMap<&'static str, u64> {
        let letters = self
            .dead_letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        letters.clone()
    }

    /// Each kind seen so far with its outcomes.
    pub fn kinds(&self) -> Vec<(Box<str>, Arc<Outcomes>)> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds
            .iter()
            .map(|(kind, outcomes)| (kind.clone(), Arc::clone(outcomes)))
            .collect()
    }
}
