//! When the next token is asked for. A refused renewal is tried again later each time, and one that only a person can help
//! is not tried again at all: what refused it, risk control perhaps, is not to be pressed.

use std::time::Duration;

use im_bridge_sdk::State;

use super::{CallError, trouble};
use crate::native::mtop::Refusal;
use crate::{Goofish, locked};

/// Pauses after refused renewals: the first, and the longest.
const PAUSE: Duration = Duration::from_secs(900);
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3600);

/// What the last renewal came to.
#[derive(Default)]
pub struct Renewal {
    not_before_ms: i64,
    /// Refused so often in a row.
    refused: u32,
    /// Rarely there, so that it weighs nothing.
    degraded: Option<Box<State>>,
}

impl Renewal {
    pub fn refused(&mut self, error: &CallError, now_ms: i64) {
        let pause = PAUSE
            .saturating_mul(1 << self.refused.min(16))
            .min(PAUSE_MAX);
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        self.refused += 1;
        self.not_before_ms = match error {
            CallError::Refused(Refusal::SessionExpired, _) => i64::MAX,
            _ => now_ms.saturating_add(pause_ms),
        };
        self.degraded = Some(Box::new(trouble(error).as_degraded()));
    }
}

impl Goofish {
    /// When the token that is there is to be replaced; never, when there is none.
    pub fn renewal_ms(&self) -> i64 {
        let login = locked(&self.login);
        let due_ms = login
            .token
            .as_ref()
            .map_or(i64::MAX, super::Token::renew_ms);
        due_ms.max(login.renewal.not_before_ms)
    }

    /// The state of a session that works: a person may act before a token that cannot be renewed is over.
    pub fn standing(&self) -> State {
        let degraded = locked(&self.login).renewal.degraded.clone();
        self.online(degraded.map_or_else(State::online, |state| *state))
    }
}
