//! From a command on NATS to its result: read, checked, claimed, carried out, answered.
//!
//! A command is effected once: its key is claimed before the adapter gets it, and what may have happened is never simply
//! done again. In order within a channel, channels side by side. Nothing is guessed: what nobody knows is `unknown`.
//!
//! Reading order: `incoming` (what arrived), `check` (may it be done), `ledger` (was it done), `lanes` and `budget`
//! (when), `flow`, `retry` and `verify` (one command's way), `answer` and `result` (how its end is told), `queue` (all
//! commands of one account), `shard` and `requests` (where commands come from).
//!
//! Not here: the adapter's side (`account`, `loader::host`), what results look like on the wire (`envelope`).

mod account;
mod address;
mod answer;
mod batch;
pub mod budget;
pub mod check;
mod desk;
mod flow;
mod gateway;
mod hands;
mod in_hand;
pub mod incoming;
pub mod lanes;
pub mod ledger;
pub mod metrics;
mod outcome;
mod queue;
mod requests;
mod result;
mod retry;
mod shard;
mod tail;
mod trace;
mod verify;
mod work;

pub use account::{Options, Outbound, Terms};
pub use desk::{Echoes, Sent};
pub use gateway::Gateway;
pub use hands::{Hands, View};
pub use in_hand::InHand;
pub use queue::{IN_HAND_BYTES_MAX, IN_HAND_MAX, REQUESTS_MAX};
pub use requests::{Core, Requests};
pub use shard::{Accounts, Commands, UNKNOWN_ACCOUNT_WITHIN};

use im_bridge_sdk::model::{ErrorCode, ErrorObject};

/// Why a command is not carried out, as it will stand in the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Fail(pub ErrorObject);

impl Fail {
    /// It surely did not happen. What the text quotes of a command may speak to a terminal, which is taken out.
    pub fn certain(code: ErrorCode, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let plain = message.replace(char::is_control, "\u{fffd}");
        Self(ErrorObject::new(code, true, plain))
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
