//! Waits for conditions.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a condition may take before the test fails: far above what anything takes on a busy machine, so that only a
/// real fault runs into it.
pub const WITHIN: Duration = Duration::from_secs(30);

/// Short against anything a test waits for, long against one look at a server.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until the look returns `Some`; fails with what was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl FnMut() -> F,
) -> T {
    eventually_within(WITHIN, what, look).await
}

/// [`eventually`] with a deadline of its own.
pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        match tokio::time::timeout(within, look()).await {
            Ok(Some(seen)) => return seen,
            Ok(None) => {}
            Err(_) => panic!("{what}: one look took more than {} s", within.as_secs()),
        }
        assert!(
            start.elapsed() < within,
            "{what}: not within {} s",
            within.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asserts that what is seen stays the same for this long.
pub async fn stays<T: PartialEq + Debug, F: Future<Output = T>>(
    what: &str,
    wanted: T,
    during: Duration,
    mut look: impl FnMut() -> F,
) {
    let start = Instant::now();
    loop {
        let seen = look().await;
        assert_eq!(seen, wanted, "{what}, after {:?}", start.elapsed());
        if start.elapsed() >= during {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The result of something that must not take long: a hang becomes a failure that says what hung.
pub async fn within<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, done)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {} s", WITHIN.as_secs()))
}

/// Lets time pass where time itself is meant: how long a fault lasts, the pace of a load. Never in place of a condition.
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
