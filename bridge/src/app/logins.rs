//! Leave to begin a session: all accounts of a provider share it, so that they do not log in as a storm.
//!
//! After a start or a takeover accounts begin evenly spaced. Whatever begins again, after a fault or because it was asked
//! to, comes out of a budget per minute as well. Each takes its place in time when it asks; one that gives up leaves its
//! place empty.
//!
//! Not here: the pauses of one account that fails again and again (`account`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const MINUTE: Duration = Duration::from_secs(60);
/// Of the space between two sessions that begin again: none of them may find the others' rhythm.
const JITTER: f64 = 0.5;

/// See the front page.
pub struct Logins {
    start_per_s: u32,
    logins_per_minute: u32,
    places: Mutex<Places>,
}

struct Places {
    /// The first free place of a start.
    start: Instant,
    /// When the budget of a minute will be whole again.
    whole: Instant,
}

impl Logins {
    pub fn new(start_per_s: u32, logins_per_minute: u32) -> Self {
        let now = Instant::now();
        Self {
            start_per_s: start_per_s.max(1),
            logins_per_minute: logins_per_minute.max(1),
            places: Mutex::new(Places {
                start: now,
                whole: now,
            }),
        }
    }

    /// Whether it has these figures.
    pub fn is_paced(&self, start_per_s: u32, logins_per_minute: u32) -> bool {
        (self.start_per_s, self.logins_per_minute) == (start_per_s, logins_per_minute)
    }

    /// For the first session after the account came here.
    pub async fn start(&self) {
        sleep_until(self.place_of_start()).await;
    }

    /// For every later one.
    pub async fn again(&self) {
        sleep_until(self.place_of_another()).await;
        self.start().await;
    }

    fn place_of_start(&self) -> Instant {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.start.max(Instant::now());
        places.start = place + Duration::from_secs(1) / self.start_per_s;
        place
    }

    fn place_of_another(&self) -> Instant {
        let space = MINUTE / self.logins_per_minute;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        places.whole = places.whole.max(now) + space;
        match places.whole.checked_sub(MINUTE) {
            Some(place) if place > now => place + space.mul_f64(fastrand::f64() * JITTER),
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn accounts_begin_evenly_spaced() {
        let logins = Logins::new(10, 30);
        let start = Instant::now();
        for _ in 0..11 {
            logins.start().await;
        }
        let took = start.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_millis(1_100),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_again_has_a_budget_a_minute() {
        let logins = Logins::new(1000, 30);
        let start = Instant::now();
        for _ in 0..30 {
            logins.again().await;
        }
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        for _ in 0..10 {
            logins.again().await;
        }
        let took = start.elapsed().as_secs_f64();
        assert!((18.0..32.0).contains(&took), "{took}");
    }
}
