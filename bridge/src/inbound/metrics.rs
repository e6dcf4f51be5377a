//! Figures of inbound events, under the names that users see. Counted here, exported by telemetry.

use crate::bus::Provider;
use im_bridge_plugin_api::abi::Outcome;
use im_bridge_sdk::model::ErrorClass;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds.
pub const LATENCY_BUCKETS_S: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BUCKETS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = LATENCY_BUCKETS_S.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Count of each bucket, not cumulated; the last one is beyond all bounds.
    pub fn buckets(&self) -> [u64; LATENCY_BUCKETS_S.len() + 1] {
        std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed))
    }

    pub fn sum_seconds(&self) -> f64 {
        Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64()
    }
}

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

/// Of all providers.
#[derive(Debug, Default)]
pub struct Figures {
    providers: Mutex<HashMap<Provider, Arc<ProviderFigures>>>,
}

impl Figures {
    pub fn provider(&self, provider: &Provider) -> Arc<ProviderFigures> {
        let mut providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(providers.entry(provider.clone()).or_default())
    }

    /// Each provider seen so far.
    pub fn providers(&self) -> Vec<(Provider, Arc<ProviderFigures>)> {
        let providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        providers
            .iter()
            .map(|(provider, figures)| (provider.clone(), Arc::clone(figures)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for ms in [0, 1, 2, 40_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let buckets = histogram.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[14]), (2, 1, 1));
        assert!((histogram.sum_seconds() - 40.003).abs() < 1e-9);
    }
}
