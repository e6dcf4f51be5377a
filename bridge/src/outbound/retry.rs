//! When a durable command is tried again, and what is said when it is not.
//!
//! Not here: whether it may be tried again at all, which is for `flow` to know: only what certainly did nothing.

use super::desk::Desk;
use super::work::Work;
use crate::bus::clock::unix_ms;
use im_bridge_sdk::model::{ErrorClass, ErrorCode, ErrorObject};
use std::time::Duration;

pub(super) const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(60);

/// When, and what else waits until then.
pub(super) struct Again {
    pub after: Duration,
    /// The provider said to slow down: the whole account does.
    pub pauses_account: bool,
}

/// 1, 2, 4 … 60 s.
pub(super) fn pause(tries: u32) -> Duration {
    let factor = 2_u32.saturating_pow(tries.saturating_sub(1).min(16));
    PAUSE_FIRST.saturating_mul(factor).min(PAUSE_LAST)
}

impl Desk {
    /// For a person: a bug, or tries used up.
    pub(super) fn is_dead(&self, work: &Work, error: &ErrorObject) -> bool {
        let is_spent = is_tried_again(error) && work.attempts >= self.terms().attempts_max;
        work.is_durable && (error.class == ErrorClass::Internal || is_spent)
    }

    /// A durable command whose time is over says so, with what kept it.
    pub(super) fn said(&self, work: &Work, error: ErrorObject) -> ErrorObject {
        let has_tries = work.attempts < self.terms().attempts_max;
        if !(work.is_durable && error.certain && is_tried_again(&error) && has_tries) {
            return error;
        }
        let text = format!(
            "no try is left before its deadline; the last one: {}",
            error.message
        );
        let mut expired = ErrorObject::new(ErrorCode::DeadlineExceeded, true, text);
        expired.native = error.native;
        expired
    }

    /// When a durable command is tried again; none: this was its last try.
    pub(super) fn retry(&self, work: &mut Work, error: &ErrorObject) -> Option<Again> {
        if !work.is_durable || !is_tried_again(error) || work.attempts >= self.terms().attempts_max
        {
            return None;
        }
        let hint = error.retry_after_ms.map(Duration::from_millis);
        let after = hint.unwrap_or_else(|| pause(work.attempts));
        if !self.may_wait(work, after) {
            return None;
        }
        self.figures.retry(error.class);
        self.put_off_span(work, Some(error));
        Some(Again {
            after,
            pauses_account: error.class == ErrorClass::RateLimited,
        })
    }

    pub(super) fn may_wait(&self, work: &Work, after: Duration) -> bool {
        let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        work.is_durable
            && work.attempts < self.terms().attempts_max
            && unix_ms().saturating_add(after) < work.deadline_ms
    }
}

/// Whether a durable command is tried again after this error, which did nothing.
fn is_tried_again(error: &ErrorObject) -> bool {
    match error.class {
        ErrorClass::RateLimited | ErrorClass::Unavailable | ErrorClass::Auth => error.retryable,
        ErrorClass::Conflict => error.code == ErrorCode::InProgress.as_str(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute() {
        let seconds: Vec<u64> = (1..=9).map(|tries| pause(tries).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX), PAUSE_LAST);
    }

    #[test]
    fn only_what_waiting_may_mend_is_tried_again() {
        let tried: Vec<&str> = ErrorCode::ALL
            .iter()
            .filter(|code| is_tried_again(&ErrorObject::new(**code, true, "")))
            .map(|code| code.as_str())
            .collect();
        assert_eq!(
            tried,
            [
                "in_progress",
                "rate_limited",
                "network",
                "provider_unavailable",
                "timeout_before_send",
                "not_connected",
                "overloaded",
                "token_expired",
                "challenge_required"
            ]
        );
    }
}
