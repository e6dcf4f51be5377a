//! Why a session ended, and with that whether it is begun again.
//!
//! Any `std::error::Error` becomes a [`Fault::retry`] with `?`, because most errors of a session are passing ones.

use crate::State;
use crate::model::ErrorCode;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The end of a session, see [`crate::Adapter::run`].
#[derive(Debug)]
pub struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

#[derive(Debug)]
pub(crate) enum FaultKind {
    /// Again after a back-off, at least after this time.
    Retry { at_least: Duration },
    /// Not again before somebody asks for it; until then the account is in this state.
    Permanent { state: Box<State> },
}

impl Fault {
    /// The session may be begun again soon: reported as `backoff`. `reason` is a code, `[a-z0-9_]{1,48}`.
    pub fn retry(reason: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self {
            kind: FaultKind::Retry {
                at_least: Duration::ZERO,
            },
            reason: reason.into(),
            message: message.to_string(),
        }
    }

    /// Repeating would not help: reported as `failed`, and `run` waits for `account.reconnect`.
    pub fn permanent(reason: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        let (reason, message) = (reason.into(), message.to_string());
        Self {
            kind: FaultKind::Permanent {
                state: Box::new(
                    State::failed(reason.clone()).error_text(ErrorCode::ProviderError, &message),
                ),
            },
            reason,
            message,
        }
    }

    /// As [`Fault::permanent`], with a state that says more: bad credentials, challenge required, conflicted, logged
    /// out.
    pub fn stopped(state: State, message: impl fmt::Display) -> Self {
        Self {
            reason: state.reason_code().to_owned().into(),
            kind: FaultKind::Permanent {
                state: Box::new(state),
            },
            message: message.to_string(),
        }
    }

    /// The provider named a time: the next attempt is not made earlier. No effect on a permanent fault.
    #[must_use]
    pub fn not_before(mut self, wait: Duration) -> Self {
        if let FaultKind::Retry { at_least } = &mut self.kind {
            *at_least = wait;
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

// Fault is no `Error` itself: that would make this conversion ambiguous.
impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::retry("network", chain(&error))
    }
}

/// The error with its causes, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
