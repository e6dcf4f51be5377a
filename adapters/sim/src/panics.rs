//! Scripted panics, so that tests see what a bug in an adapter does to the bridge. No adapter but this has them.
//!
//! What was configured is remembered for the life of the process, not of the instance: otherwise the panic that ended an
//! instance would end the next one too, and the account could never recover.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the adapter can panic.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PanicAt {
    /// While the instance is made.
    Create,
    /// When the session begins.
    Run,
    /// While a pushed item is read.
    Read,
    /// When an event was settled.
    Settle,
    /// In a command, before it is handed to the provider.
    Execute,
    /// In a command, after it was handed to the provider.
    Sent,
    /// While a command is verified.
    Verify,
    /// In an HTTP request.
    Webhook,
    /// While draining.
    Drain,
    /// In a task of the adapter's own.
    Task,
}

/// When to panic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Panic {
    /// Passes that end well.
    pub after: u64,
    /// Panics; 0 means 1.
    pub times: u64,
}

/// At most one panic of a place, by place.
pub type Panics = BTreeMap<PanicAt, Panic>;

/// By account; bounded by the accounts of a process.
static SCRIPTS: Mutex<BTreeMap<String, Script>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Script {
    configured: Panics,
    armed: BTreeMap<PanicAt, (Panic, u64)>,
}

/// The panics of one account.
#[derive(Clone)]
pub struct Scripted {
    account: String,
}

impl Scripted {
    /// What the account's configuration asks for; the same again changes nothing.
    pub fn configure(account: &str, panics: &Panics) -> Self {
        let scripted = Self {
            account: account.to_owned(),
        };
        scripted.change(|script| {
            if script.configured != *panics {
                script.configured.clone_from(panics);
                script.armed = panics
                    .iter()
                    .map(|(at, panic)| (*at, (panic.clone(), 0)))
                    .collect();
            }
        });
        scripted
    }

    /// At runtime.
    pub fn arm(&self, at: PanicAt, panic: Panic) {
        self.change(|script| {
            script.armed.insert(at, (panic, 0));
        });
    }

    /// Panics if it is time to.
    pub fn at(&self, at: PanicAt) {
        let is_time = scripts()
            .get_mut(&self.account)
            .is_some_and(|script| script.passes(at));
        // Outside the lock: a panic inside would poison it.
        assert!(!is_time, "scripted panic at {at:?}");
    }

    fn change(&self, change: impl FnOnce(&mut Script)) {
        change(scripts().entry(self.account.clone()).or_default());
    }
}

fn scripts() -> MutexGuard<'static, BTreeMap<String, Script>> {
    SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Script {
    /// One more pass of this place; whether it is time to panic there.
    fn passes(&mut self, at: PanicAt) -> bool {
        let Some((panic, passes)) = self.armed.get_mut(&at) else {
            return false;
        };
        *passes += 1;
        let strikes = *passes > panic.after;
        if *passes >= panic.after + panic.times.max(1) {
            self.armed.remove(&at);
        }
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_panic_strikes_once_in_the_life_of_the_process() {
        let panics = Panics::from([(PanicAt::Read, Panic { after: 1, times: 1 })]);
        let strikes =
            |scripted: &Scripted| std::panic::catch_unwind(|| scripted.at(PanicAt::Read)).is_err();
        let first = Scripted::configure("once", &panics);
        assert_eq!(
            [strikes(&first), strikes(&first), strikes(&first)],
            [false, true, false]
        );
        let second = Scripted::configure("once", &panics);
        assert!(!strikes(&second) && !strikes(&second));
    }
}
