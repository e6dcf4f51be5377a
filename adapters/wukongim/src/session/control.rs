//! What was asked of the session from outside, and what it tells: orders, health, whether there is history.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::locked;

/// How somebody wants the session to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Connect again at once.
    Reconnect,
    /// Fetch the token anew, then connect again.
    Login,
    /// Stay away until told otherwise.
    LogOut,
}

/// Cheap to clone: clones are the same control.
#[derive(Clone, Default)]
pub struct Control(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    is_running: bool,
    ending: Option<Ending>,
    is_unhealthy: bool,
    is_without_history: bool,
    /// What was missed is not fetched yet.
    is_behind: bool,
    /// Cursors were read; with when nothing was missing.
    loaded: Option<Option<i64>>,
}

impl Control {
    /// Asks the session to end; false if nobody runs who could, so that waiting must be ended otherwise.
    pub fn end(&self, ending: Ending) -> bool {
        let mut state = self.state();
        state.ending = Some(ending);
        let is_running = state.is_running;
        drop(state);
        self.0.changed.notify_waiters();
        is_running
    }

    /// Told once. Cancel safe.
    pub async fn ending(&self) -> Ending {
        self.until(|state| state.ending.take()).await
    }

    /// An order that came while nobody ran.
    pub fn take_ending(&self) -> Option<Ending> {
        self.state().ending.take()
    }

    pub fn run(&self) -> Run {
        self.state().is_running = true;
        Run(self.clone())
    }

    pub fn set_healthy(&self, is_healthy: bool) {
        let was_unhealthy = std::mem::replace(&mut self.state().is_unhealthy, !is_healthy);
        if was_unhealthy == is_healthy {
            self.0.changed.notify_waiters();
        }
    }

    pub fn is_unhealthy(&self) -> bool {
        self.state().is_unhealthy
    }

    /// Health is not `known` any more. Cancel safe.
    pub async fn health_other_than(&self, known: bool) {
        self.until(|state| (state.is_unhealthy != known).then_some(()))
            .await;
    }

    pub fn set_without_history(&self) {
        self.state().is_without_history = true;
    }

    pub fn is_without_history(&self) -> bool {
        self.state().is_without_history
    }

    pub fn set_behind(&self, is_behind: bool) {
        self.state().is_behind = is_behind;
    }

    pub fn is_behind(&self) -> bool {
        self.state().is_behind
    }

    pub fn loaded(&self) -> Option<Option<i64>> {
        self.state().loaded
    }

    pub fn set_loaded(&self, since_ms: Option<i64>) {
        self.state().loaded = Some(since_ms);
    }

    async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Before the look: a change between look and wait must not be missed.
            let changed = self.0.changed.notified();
            if let Some(value) = ready(&mut self.state()) {
                return value;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0.state)
    }
}

/// Somebody runs who hears orders.
pub struct Run(Control);

impl Drop for Run {
    fn drop(&mut self) {
        self.0.state().is_running = false;
    }
}
