//! How many spans failures may leave: an outage of a thousand accounts is one fact.
//!
//! The first failure of an operation of an account is told at once, then so many a minute, and over all of them so many a
//! minute; the next span says how many were left out before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Operations of accounts whose failures are remembered: above 1,000 accounts with 16 operations each. Beyond it failures
/// count against the common limit only.
const KEYS_MAX: usize = 16_384;
const MINUTE: Duration = Duration::from_secs(60);

/// Provider, alias, operation, and whether it is about slowness.
type Key = (Arc<str>, Arc<str>, Box<str>, bool);

/// So many in each minute, counted from the first.
#[derive(Debug)]
pub struct Minute {
    since: Instant,
    used: u32,
}

impl Minute {
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            used: 0,
        }
    }

    pub fn take(&mut self, most: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= MINUTE {
            self.since = now;
            self.used = 0;
        }
        let has = self.used < most;
        self.used += u32::from(has);
        has
    }
}

#[derive(Debug)]
struct Seen {
    minute: Minute,
    left_out: u64,
}

/// See the front page.
#[derive(Debug)]
pub struct Limits {
    per_key: u32,
    over_all: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    seen: HashMap<Key, Seen>,
    all: Minute,
}

impl Limits {
    pub fn new(per_key: u32, over_all: u32) -> Self {
        Self {
            per_key,
            over_all,
            inner: Mutex::new(Inner {
                seen: HashMap::new(),
                all: Minute::new(Instant::now()),
            }),
        }
    }

    /// How many were left out since the last one, if this one may be told.
    pub fn take(
        &self,
        provider: &Arc<str>,
        alias: &Arc<str>,
        operation: &str,
        is_slowness: bool,
    ) -> Option<u64> {
        let now = Instant::now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { seen, all } = &mut *inner;
        let key = (
            Arc::clone(provider),
            Arc::clone(alias),
            operation.into(),
            is_slowness,
        );
        if seen.len() >= KEYS_MAX && !seen.contains_key(&key) {
            // What was quiet for a minute begins anew anyway.
            seen.retain(|_, one| one.left_out > 0 || now - one.minute.since < MINUTE);
            if seen.len() >= KEYS_MAX {
                return all.take(self.over_all, now).then_some(0);
            }
        }
        let one = seen.entry(key).or_insert(Seen {
            minute: Minute::new(now),
            left_out: 0,
        });
        if one.minute.take(self.per_key, now) && all.take(self.over_all, now) {
            return Some(std::mem::take(&mut one.left_out));
        }
        one.left_out += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_one_operation_is_one_span_a_minute_and_nothing_is_forgotten() {
        let limits = Limits::new(1, 60);
        let (provider, alias) = ("chat".into(), "a".into());
        let (mut told, mut left_out) = (0, 0);
        for _ in 0..=600 {
            if let Some(before) = limits.take(&provider, &alias, "poll", false) {
                told += 1;
                left_out += before;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!((told, left_out), (11, 590));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_a_thousand_accounts_is_sixty_spans_a_minute() {
        let limits = Limits::new(1, 60);
        let provider: Arc<str> = "chat".into();
        let aliases: Vec<Arc<str>> = (0..1_000).map(|n| n.to_string().into()).collect();
        for _ in 0..3 {
            let told = |alias| limits.take(&provider, alias, "poll", false).is_some();
            assert_eq!(aliases.iter().filter(|alias| told(alias)).count(), 60);
            tokio::time::advance(MINUTE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_names_than_can_be_kept_are_still_limited() {
        let limits = Limits::new(1, 60);
        let (provider, alias) = ("chat".into(), "a".into());
        let told = |n: usize| limits.take(&provider, &alias, &n.to_string(), false);
        let count = (0..2 * KEYS_MAX).filter(|n| told(*n).is_some()).count();
        assert_eq!(count, 60);
        assert!(limits.inner.lock().unwrap().seen.len() <= KEYS_MAX);
    }
}
