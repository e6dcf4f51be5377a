//! When anything was last heard of a provider.

use crate::bus::clock::unix_ms;
use im_bridge_sdk::model::Time;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Written with every event, so without a lock.
#[derive(Debug)]
pub struct Signs {
    born: Instant,
    /// Milliseconds after `born`; 0: never.
    frame: AtomicU64,
    event: AtomicU64,
}

impl Default for Signs {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            frame: AtomicU64::new(0),
            event: AtomicU64::new(0),
        }
    }
}

impl Signs {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// An event came.
    pub(super) fn event(&self) {
        let at = self.elapsed_ms();
        self.event.store(at, Ordering::Relaxed);
        self.frame.store(at, Ordering::Relaxed);
    }

    /// Something else came: an answer, a heartbeat.
    pub(super) fn heard(&self) {
        self.frame.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// How long nothing has been heard.
    pub fn silent_for(&self) -> Duration {
        let heard = self.frame.load(Ordering::Relaxed);
        Duration::from_millis(self.elapsed_ms().saturating_sub(heard))
    }

    pub fn last_frame(&self) -> Option<Time> {
        self.time(self.frame.load(Ordering::Relaxed))
    }

    pub fn last_event(&self) -> Option<Time> {
        self.time(self.event.load(Ordering::Relaxed))
    }

    fn time(&self, at_ms: u64) -> Option<Time> {
        if at_ms == 0 {
            return None;
        }
        let ago = i64::try_from(self.elapsed_ms().saturating_sub(at_ms)).unwrap_or(i64::MAX);
        Some(Time::from_ms(unix_ms().saturating_sub(ago)))
    }
}
