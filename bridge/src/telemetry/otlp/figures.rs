//! What became of everything that was to be sent.

use super::Signal;
use crate::telemetry::{Exposition, Metric};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    QueueFull,
    /// The collector does not want it.
    Refused,
    Unreachable,
    Timeout,
    /// The bridge ended first.
    Shutdown,
}

/// All reasons, with their labels.
pub const DROPPED: [(Reason, &str); 5] = [
    (Reason::QueueFull, "queue_full"),
    (Reason::Refused, "refused"),
    (Reason::Unreachable, "unreachable"),
    (Reason::Timeout, "timeout"),
    (Reason::Shutdown, "shutdown"),
];

/// Of one signal.
#[derive(Debug)]
pub struct Figures {
    signal: Signal,
    exported: AtomicU64,
    dropped: [AtomicU64; DROPPED.len()],
}

impl Figures {
    pub(super) fn new(signal: Signal) -> Self {
        Self {
            signal,
            exported: AtomicU64::new(0),
            dropped: Default::default(),
        }
    }

    pub(super) fn exported(&self, count: u64) {
        self.exported.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, reason: Reason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Taken by the collector.
    pub fn all_exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Lost, whatever the reason.
    pub fn all_dropped(&self) -> u64 {
        self.dropped
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    pub(super) fn collect(&self, waiting: usize, to: &mut Exposition) {
        let signal = self.signal.as_str();
        to.count(
            Metric::TelemetryExportedTotal,
            &[signal],
            self.all_exported(),
        );
        for ((_, reason), count) in DROPPED.iter().zip(&self.dropped) {
            let count = count.load(Ordering::Relaxed);
            to.count(Metric::TelemetryDroppedTotal, &[signal, reason], count);
        }
        to.count(Metric::TelemetryQueue, &[signal], waiting as u64);
    }
}
