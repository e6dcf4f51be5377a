//! From a command on NATS to its result: read, checked, claimed, carried out, answered.
//!
//! A command is effected once: its key is claimed before the adapter gets it, and what may have happened is never simply
//! done again. In order within a channel, channels side by side. Nothing is guessed: what nobody knows is `unknown`.
//!
//! Reading order: `incoming` (what arrived), `check` (may it be done), `ledger` (was it done), `lanes` and `budget` (when).
//!
//! Not here: the adapter's side (`loader::host`), what results look like on the wire (`envelope`).

pub mod budget;
pub mod check;
pub mod incoming;
pub mod lanes;

use im_bridge_sdk::model::{ErrorCode, ErrorObject};

/// Why a command is not carried out, as it will stand in the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Fail(pub ErrorObject);

impl Fail {
    /// It surely did not happen.
    pub fn certain(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorObject::new(code, true, message))
    }

    /// At this place, a JSON pointer into `data`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.0.path = Some(path.into()).filter(|path: &String| !path.is_empty());
        self
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint;
        self
    }
}

#[cfg(test)]
mod tests;
