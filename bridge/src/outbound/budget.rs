//! The pace of an account's commands: a token bucket for all of them, and one for each command that has its own.
//!
//! Waiting for the pace is waiting, not a failed try. Pure: time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An adapter may say any number, also zero: no time at all passes beyond this before it is looked at again.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// So many per second, after a burst.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    pub per_s: f64,
    pub burst: u32,
}

#[derive(Debug)]
struct Bucket {
    pace: Pace,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            tokens: f64::from(pace.burst.max(1)),
            filled_at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens =
            (self.tokens + elapsed * self.pace.per_s).min(f64::from(self.pace.burst.max(1)));
        self.filled_at = now;
    }

    /// How long until a token is there.
    fn wait(&self) -> Duration {
        if self.tokens >= 1.0 {
            return Duration::ZERO;
        }
        let wait = Duration::try_from_secs_f64((1.0 - self.tokens) / self.pace.per_s);
        // A tick late rather than early: a caller that comes back at the hint finds the token.
        wait.unwrap_or(WAIT_MAX).min(WAIT_MAX) + Duration::from_millis(1)
    }
}

/// What a command has to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    pub after: Duration,
    /// Every command of the account does.
    pub is_account: bool,
}

/// The budget of one account; without a pace at first.
#[derive(Debug, Default)]
pub struct Budget {
    all: Option<Bucket>,
    by_command: HashMap<Box<str>, Bucket>,
}

impl Budget {
    /// Takes other paces; a bucket whose pace stays keeps what it has.
    pub fn set(&mut self, all: Option<Pace>, by_command: &[(Box<str>, Pace)], now: Instant) {
        let fits = |bucket: &Bucket, pace: Pace| bucket.pace == pace;
        self.all = all.map(|pace| match self.all.take() {
            Some(bucket) if fits(&bucket, pace) => bucket,
            _ => Bucket::new(pace, now),
        });
        let mut former = std::mem::take(&mut self.by_command);
        self.by_command = by_command
            .iter()
            .map(|(name, pace)| {
                let kept = former.remove(name).filter(|bucket| fits(bucket, *pace));
                (
                    name.clone(),
                    kept.unwrap_or_else(|| Bucket::new(*pace, now)),
                )
            })
            .collect();
    }

    /// Takes one for this command, or says how long to wait; nothing is taken then.
    pub fn take(&mut self, command: &str, now: Instant) -> Result<(), Wait> {
        let mut own = self.by_command.get_mut(command);
        let wait_of = |bucket: Option<&mut Bucket>| {
            bucket.map_or(Duration::ZERO, |bucket| {
                bucket.fill(now);
                bucket.wait()
            })
        };
        let of_all = wait_of(self.all.as_mut());
        let of_own = wait_of(own.as_deref_mut());
        if !of_all.is_zero() || !of_own.is_zero() {
            return Err(Wait {
                after: of_all.max(of_own),
                is_account: of_all >= of_own,
            });
        }
        for bucket in self.all.iter_mut().chain(own) {
            bucket.tokens -= 1.0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Pace = Pace {
        per_s: 2.0,
        burst: 3,
    };

    fn budget(all: Option<Pace>, by_command: &[(Box<str>, Pace)], now: Instant) -> Budget {
        let mut budget = Budget::default();
        budget.set(all, by_command, now);
        budget
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_pace_holds() {
        let start = Instant::now();
        let mut budget = budget(Some(SLOW), &[], start);
        for _ in 0..3 {
            assert!(budget.take("message.send", start).is_ok());
        }
        let Wait {
            after: wait,
            is_account,
        } = budget.take("message.send", start).unwrap_err();
        assert!(is_account);
        assert!(
            wait >= Duration::from_millis(500) && wait < Duration::from_millis(520),
            "{wait:?}"
        );
        assert!(budget.take("message.send", start + wait).is_ok());
        assert!(budget.take("message.send", start + wait).is_err());
    }

    #[test]
    fn a_command_with_its_own_pace_takes_from_both_or_from_none() {
        let start = Instant::now();
        let own = Pace {
            per_s: 1.0,
            burst: 1,
        };
        let mut budget = budget(Some(SLOW), &[("message.recall".into(), own)], start);
        assert!(budget.take("message.recall", start).is_ok());
        assert!(!budget.take("message.recall", start).unwrap_err().is_account);
        assert!(budget.take("message.send", start).is_ok());
        assert!(
            budget.take("message.send", start).is_ok(),
            "the refused one took nothing"
        );
        assert!(budget.take("message.send", start).is_err());
    }

    #[test]
    fn without_a_pace_nothing_waits() {
        let start = Instant::now();
        let mut budget = Budget::default();
        assert!((0..10_000).all(|_| budget.take("message.send", start).is_ok()));
    }

    #[test]
    fn a_pace_of_nonsense_is_waited_for_and_breaks_nothing() {
        let start = Instant::now();
        for per_s in [0.0, -1.0, f64::MIN_POSITIVE] {
            let mut budget = budget(Some(Pace { per_s, burst: 0 }), &[], start);
            assert!(
                budget.take("message.send", start).is_ok(),
                "one goes always"
            );
            let wait = budget.take("message.send", start).unwrap_err().after;
            assert!(wait <= WAIT_MAX + Duration::from_millis(1), "{per_s}");
        }
    }
}
