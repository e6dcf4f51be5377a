//! Why a session ended, and what follows: again at once, after the interval, with back-off, or not before a person acts.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::time::Duration;

use im_bridge_sdk::{Context, Fault, State};
use tokio::select;

use crate::Goofish;
use crate::link::AskError;

/// Longest delay between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// How a session ended when nothing went wrong.
pub enum Ended {
    Drained,
    /// Begin the next one, or stay away when that was asked.
    Again,
    /// The provider wants another token.
    Unauthorized,
}

/// How it ended when something did.
pub enum Trouble {
    /// Passing: connect again.
    Lost {
        reason: Cow<'static, str>,
        message: String,
        at_least: Duration,
    },
    Unauthorized,
    /// Only a person can help.
    Stop(Fault),
}

impl Trouble {
    pub fn lost(reason: &'static str, message: impl Display) -> Self {
        Self::Lost {
            reason: Cow::Borrowed(reason),
            message: message.to_string(),
            at_least: Duration::ZERO,
        }
    }

    pub fn not_before(mut self, wait: Duration) -> Self {
        if let Self::Lost { at_least, .. } = &mut self {
            *at_least = wait;
        }
        self
    }

    /// The same while a session works.
    pub fn as_degraded(&self) -> State {
        match self {
            Self::Lost { reason, .. } => State::degraded(reason.clone()),
            Self::Unauthorized => State::degraded("token_expired"),
            Self::Stop(fault) => State::degraded(
                fault
                    .to_string()
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ),
        }
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost {
                reason, message, ..
            } => write!(f, "{reason}: {message}"),
            Self::Unauthorized => f.write_str("the token is refused"),
            Self::Stop(fault) => fault.fmt(f),
        }
    }
}

/// Errors of the socket are passing ones.
impl From<im_bridge_sdk::websocket::Error> for Trouble {
    fn from(error: im_bridge_sdk::websocket::Error) -> Self {
        let mut message = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            message = format!("{message}: {cause}");
        }
        Self::lost("network", message)
    }
}

/// A request of the session itself that failed.
impl From<AskError> for Trouble {
    fn from(error: AskError) -> Self {
        match error {
            // Comes with the code of a refused token, and a new one would not help.
            AskError::Refused(refusal) if refusal.is_connection_limit() => {
                let text = refusal.native_text().unwrap_or_default();
                let text =
                    format!("{text}; end the account's other sessions, then account.reconnect");
                Self::Stop(Fault::stopped(State::conflicted(), text))
            }
            AskError::Refused(refusal) if refusal.is_unauthorized() => Self::Unauthorized,
            AskError::Refused(refusal) if refusal.is_flow_control() => {
                Self::lost("rate_limited", AskError::Refused(refusal))
            }
            AskError::Late(_) => Self::lost("timeout", error),
            AskError::NotConnected | AskError::Lost => Self::lost("network", error),
            error => Self::lost("provider_unavailable", error),
        }
    }
}

/// Waits until the next session may begin. An error is the SDK's to tell and to wait for.
pub async fn wait_after(goofish: &Goofish, cx: &Context, trouble: Trouble) -> Result<(), Fault> {
    let (reason, message, at_least) = match trouble {
        Trouble::Lost {
            reason,
            message,
            at_least,
        } => (reason, message, at_least),
        Trouble::Unauthorized => (
            Cow::Borrowed("token_expired"),
            "the token is refused".to_owned(),
            Duration::ZERO,
        ),
        Trouble::Stop(fault) => return Err(fault),
    };
    let config = &goofish.config;
    if !config.auto_reconnect {
        return Err(Fault::permanent(
            reason,
            format_args!("{message}; auto_reconnect is off: use account.reconnect"),
        ));
    }
    let attempt = goofish.attempts_count();
    if attempt > config.max_reconnect_attempts || at_least > config.reconnect_interval() {
        let over = attempt
            .saturating_sub(config.max_reconnect_attempts)
            .min(16);
        let delay = config
            .reconnect_interval()
            .saturating_mul(1 << over)
            .min(BACKOFF_MAX);
        return Err(Fault::retry(reason, message).not_before(delay.max(at_least)));
    }
    tracing::info!(%reason, error = %message, attempt, "the connection was lost");
    let mut state = State::connecting().transport("websocket").reason(reason);
    if let Some(me) = goofish.cookie_user() {
        state = state.self_id(me);
    }
    cx.state(state);
    select! {
        biased;
        () = cx.draining() => {}
        _ = goofish.link.ending() => goofish.attempts_reset(),
        () = cx.sleep(config.reconnect_interval()) => {}
    }
    Ok(())
}
