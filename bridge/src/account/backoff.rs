//! Pauses between attempts: one second, doubled each time, never above a minute, with full jitter.

use std::time::Duration;

/// The longest pause, and how long a life must last for the count to begin anew.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// Counts attempts. Full jitter, because accounts that fail together must not come back together.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The pause before the next attempt; `random` is from 0 to 1.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = PAUSE_FIRST.saturating_mul(1 << self.attempts.min(16));
        self.attempts += 1;
        doubled.min(PAUSE_MAX).mul_f64(random.clamp(0.0, 1.0))
    }

    /// The last attempt lasted.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..8).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(500));
    }
}
