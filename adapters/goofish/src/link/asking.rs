//! Who asks, why there is no answer, and how a session is asked to end.

use std::time::Duration;

use super::WAITING_MAX;
use crate::native::refusal::Refusal;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    Session,
    Command,
}

/// How somebody wants the session to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Connect again at once.
    Reconnect,
    /// Stay away until told otherwise.
    LogOut,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Not handed over.
    #[error("there is no session with the provider")]
    NotConnected,
    /// Not handed over.
    #[error("{WAITING_MAX} requests are waiting for their answers already")]
    Busy,
    #[error("the provider refused: {}", .0.native_text().unwrap_or_else(|| .0.native_code()))]
    Refused(Refusal),
    /// Handed over.
    #[error("the connection ended before the answer")]
    Lost,
    /// Handed over.
    #[error("no answer within {0:?}")]
    Late(Duration),
}
