//! Durations by size, counted by hot paths.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of latency histograms, in seconds.
pub const LATENCY_S: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Counts durations by size, from any thread.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; LATENCY_S.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = LATENCY_S.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Count of each bucket, not cumulated; the last one is beyond all bounds.
    pub fn counts(&self) -> [u64; LATENCY_S.len() + 1] {
        std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed))
    }

    pub fn sum_seconds(&self) -> f64 {
        Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64()
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
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[1], counts[14]), (2, 1, 1));
        assert!((histogram.sum_seconds() - 40.003).abs() < 1e-9);
    }
}
