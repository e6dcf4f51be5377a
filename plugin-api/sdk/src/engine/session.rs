//! The loop around `run`: again after a fault, with back-off, until the drain.
//!
//! Control verbs arrive as commands. `account.reconnect` is answered here while `run` waits after a fault, because there
//! is nothing the adapter could do; all other verbs, and `reconnect` while `run` is running, are the adapter's.

use super::instance::Handler;
use super::local::Local;
use super::wait::Wait;
use crate::fault::FaultKind;
use crate::model::ErrorCode;
use crate::time::{now_ms, sleep};
use crate::{Context, Fault, State};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The longest back-off.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Session {
    is_waiting: Cell<bool>,
    is_asked: Cell<bool>,
    is_over: Cell<bool>,
    has_worked: Cell<bool>,
    asked: Wait,
}

impl Session {
    /// `run` waits after a fault.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    /// Ends the waiting after a fault; no effect while `run` runs.
    pub(crate) fn restart(&self) {
        if self.is_waiting.get() {
            self.is_asked.set(true);
            self.asked.wake_all();
        }
    }

    /// The loop ended: nothing is read any more and the last acknowledgement is written.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// The account worked: the next back-off begins anew.
    pub(crate) fn worked(&self) {
        self.has_worked.set(true);
    }
}

pub(crate) async fn run(local: Rc<Local>, handler: Rc<dyn Handler>) {
    let cx = Context::new(Rc::clone(&local));
    let mut failures = 0;
    while !local.core.is_draining() {
        local.session.has_worked.set(false);
        let ended = handler.run(&cx).await;
        if local.core.is_draining() {
            break;
        }
        if local.session.has_worked.get() {
            failures = 0;
        }
        let fault = ended.err().unwrap_or_else(|| {
            Fault::retry(
                "session_ended",
                "the session ended though nobody asked it to",
            )
        });
        wait_after(&local, &cx, fault, &mut failures).await;
    }
    local.session.is_over.set(true);
    local.ask_flush();
}

/// Waits until `run` is to be called again, or the drain begins.
async fn wait_after(local: &Rc<Local>, cx: &Context, fault: Fault, failures: &mut u32) {
    let session = &local.session;
    session.is_waiting.set(true);
    match fault.kind {
        FaultKind::Retry { at_least } => {
            let wait = backoff(*failures).max(at_least);
            *failures = failures.saturating_add(1);
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            let (reason, error) = (&fault.reason, &fault.message);
            // An outage is told once; how long it lasts stands in the account's state.
            if *failures <= 1 {
                tracing::warn!(%reason, error, wait_ms, "session lost");
            } else {
                tracing::debug!(%reason, error, wait_ms, "session lost again");
            }
            let next_attempt_ms = now_ms(local).saturating_add(wait_ms);
            let state = State::backoff(next_attempt_ms, fault.reason.clone());
            cx.state(state.error_text(ErrorCode::ProviderUnavailable, &fault.message));
            tokio::select! {
                biased;
                () = cx.draining() => {}
                () = session.asked.until(|| session.is_asked.get().then_some(())) => {}
                () = sleep(local, wait) => {}
            }
        }
        FaultKind::Permanent { state } => {
            *failures = 0;
            tracing::error!(reason = %fault.reason, error = fault.message, "session given up");
            cx.state(*state);
            tokio::select! {
                biased;
                () = cx.draining() => {}
                () = session.asked.until(|| session.is_asked.get().then_some(())) => {}
            }
        }
    }
    session.is_waiting.set(false);
    session.is_asked.set(false);
}

/// 1 s doubled with each failure, at most [`BACKOFF_MAX`], with full jitter: a thousand accounts that lost the same
/// provider must not come back in the same moment.
fn backoff(failures: u32) -> Duration {
    let limit = Duration::from_secs(1)
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(BACKOFF_MAX);
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(0..=limit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_grows_to_a_minute_and_no_further() {
        let longest = |failures| (0..2000).map(|_| backoff(failures)).max().unwrap();
        assert!(longest(0) <= Duration::from_secs(1));
        assert!(longest(3) <= Duration::from_secs(8));
        assert!(longest(3) > Duration::from_secs(4));
        assert!(longest(40) <= BACKOFF_MAX);
    }
}
