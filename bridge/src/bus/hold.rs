//! Whether this replica still owns something: asked before every act, answered without waiting.
//!
//! A hold ends by itself when its time has passed, whatever the rest of the process is doing: the clock runs on through
//! suspend, and asking reads it. It never comes back; whoever wins the lease again gets a new one.
//!
//! Not here: winning and renewing (`shards`).

use super::clock::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Clones are the same hold.
#[derive(Clone, Debug)]
pub struct Hold {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    until: AtomicU64,
    ended: watch::Sender<bool>,
}

impl Hold {
    pub(super) fn until(moment: Moment) -> Self {
        Self {
            state: Arc::new(State {
                until: AtomicU64::new(moment.to_bits()),
                ended: watch::Sender::new(false),
            }),
        }
    }

    /// For what no lease guards: never ends by itself.
    pub fn forever() -> Self {
        Self::until(Moment::from_bits(u64::MAX))
    }

    /// Whether acting is still allowed, now.
    pub fn is_held(&self) -> bool {
        !*self.state.ended.borrow() && !self.ends_at().has_passed()
    }

    /// When it ends, unless it is renewed.
    pub fn ends_at(&self) -> Moment {
        Moment::from_bits(self.state.until.load(Ordering::Acquire))
    }

    /// Returns when it has ended. Cancel safe.
    pub async fn lost(&self) {
        let mut ended = self.state.ended.subscribe();
        loop {
            if !self.is_held() {
                return;
            }
            let left = self.ends_at().until();
            tokio::select! {
                biased;
                changed = ended.changed() => if changed.is_err() { return },
                // The timer stands still through suspend; then the loop looks at the clock again.
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Only forward: a renewal that was overtaken by a later one changes nothing.
    pub(super) fn renewed_until(&self, moment: Moment) {
        self.state
            .until
            .fetch_max(moment.to_bits(), Ordering::AcqRel);
    }

    /// At once: given back, or lost.
    pub fn end(&self) {
        self.state.ended.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_hold_ends_with_its_time_and_never_comes_back() {
        let hold = Hold::until(Moment::now().after(Duration::from_secs(60)));
        assert!(hold.is_held());
        hold.end();
        hold.renewed_until(Moment::now().after(Duration::from_secs(600)));
        assert!(!hold.is_held());
        assert!(!Hold::until(Moment::now()).is_held());
    }

    #[tokio::test]
    async fn waiting_for_its_end_returns_at_its_end() {
        let hold = Hold::until(Moment::now().after(Duration::from_millis(20)));
        hold.renewed_until(Moment::now().after(Duration::from_millis(40)));
        hold.lost().await;
        assert!(!hold.is_held());
    }
}
