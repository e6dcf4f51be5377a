//! How renewals of leases go: what an operator sees before one is lost.

use crate::telemetry::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The smallest margin is that of the last one to two minutes.
const WINDOW: Duration = Duration::from_secs(60);

/// Of the shards of one replica.
#[derive(Debug, Default)]
pub struct LeaseFigures {
    /// `lease_renew_seconds`: of renewals that succeeded.
    pub renew: Histogram,
    /// `leases_lost_total` with reason `expired`: not renewed in time.
    pub expired: AtomicU64,
    /// `leases_lost_total` with reason `conflict`: somebody else has it.
    pub conflict: AtomicU64,
    margin: Mutex<Option<Margin>>,
}

#[derive(Debug)]
struct Margin {
    since: Instant,
    now: Duration,
    before: Option<Duration>,
}

impl LeaseFigures {
    /// A renewal succeeded; `left` is what was left of the time before it.
    pub(super) fn renewed(&self, took: Duration, left: Duration) {
        self.renew.record(took);
        let mut margin = self.margin.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut *margin {
            Some(margin) if now.duration_since(margin.since) < WINDOW => {
                margin.now = margin.now.min(left);
            }
            other => {
                let is_old = |margin: &Margin| now.duration_since(margin.since) >= 2 * WINDOW;
                let before = other.take().filter(|margin| !is_old(margin));
                *other = Some(Margin {
                    since: now,
                    now: left,
                    before: before.map(|margin| margin.now),
                });
            }
        }
    }

    /// `lease_margin_seconds`: the smallest time that was left at a renewal lately.
    pub fn margin(&self) -> Option<Duration> {
        let margin = self.margin.lock().unwrap_or_else(PoisonError::into_inner);
        let margin = margin.as_ref()?;
        Some(
            margin
                .before
                .map_or(margin.now, |before| before.min(margin.now)),
        )
    }

    pub(super) fn lost(&self, is_conflict: bool) {
        let counter = if is_conflict {
            &self.conflict
        } else {
            &self.expired
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_margin_counts() {
        let figures = LeaseFigures::default();
        assert_eq!(figures.margin(), None);
        for left in [13, 4, 12] {
            figures.renewed(Duration::from_millis(2), Duration::from_secs(left));
        }
        assert_eq!(figures.margin(), Some(Duration::from_secs(4)));
        assert_eq!(figures.renew.counts()[1], 3);
    }
}
