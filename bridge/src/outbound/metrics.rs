//! Figures of commands, under the names that users see. Counted here, exported by telemetry.

use crate::telemetry::Histogram;
use im_bridge_sdk::model::{ErrorClass, ResultStatus};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Label of what has no error class.
pub const NO_CLASS: &str = "none";

/// A key met again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    Duplicate,
    InProgress,
    KeyReused,
    Verified,
}

impl Hit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::InProgress => "in_progress",
            Self::KeyReused => "key_reused",
            Self::Verified => "verified",
        }
    }
}

/// What was to be written, and NATS refuses for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    Ledger,
    Result,
    DeadLetter,
}

impl GivenUp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Result => "result",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// Labels of `commands_total` but the provider.
pub type CommandLabels = (Box<str>, &'static str, &'static str);

#[derive(Debug, Default)]
struct Counts {
    /// By command, then by outcome and class: a name that is known costs no allocation.
    commands: BTreeMap<Box<str>, BTreeMap<(&'static str, &'static str), u64>>,
    retries: BTreeMap<&'static str, u64>,
    ledger_hits: BTreeMap<&'static str, u64>,
    dead_letters: BTreeMap<&'static str, u64>,
    given_up: BTreeMap<&'static str, u64>,
}

/// Of one provider. Its maps are bounded: commands are those of the model, all other labels are closed sets.
#[derive(Debug, Default)]
pub struct ProviderFigures {
    counts: Mutex<Counts>,
    /// `command_seconds`, path `durable`.
    pub durable: Histogram,
    /// `command_seconds`, path `request`.
    pub request: Histogram,
    at_provider: Mutex<BTreeMap<Box<str>, Arc<Histogram>>>,
}

impl ProviderFigures {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn command(&self, name: &str, status: ResultStatus, class: Option<ErrorClass>) {
        let class = class.map_or(NO_CLASS, ErrorClass::as_str);
        let mut counts = self.lock();
        let ends = match counts.commands.get_mut(name) {
            Some(ends) => ends,
            None => counts.commands.entry(name.into()).or_default(),
        };
        *ends.entry((status.as_str(), class)).or_default() += 1;
    }

    pub(super) fn retry(&self, class: ErrorClass) {
        *self.lock().retries.entry(class.as_str()).or_default() += 1;
    }

    pub(super) fn hit(&self, hit: Hit) {
        *self.lock().ledger_hits.entry(hit.as_str()).or_default() += 1;
    }

    pub(super) fn dead_letter(&self, class: ErrorClass) {
        *self.lock().dead_letters.entry(class.as_str()).or_default() += 1;
    }

    pub(super) fn given_up(&self, what: GivenUp) {
        *self.lock().given_up.entry(what.as_str()).or_default() += 1;
    }

    pub(super) fn took(&self, name: &str, at_provider: Duration) {
        let mut all = self
            .at_provider
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match all.get(name) {
            Some(histogram) => histogram.record(at_provider),
            None => all.entry(name.into()).or_default().record(at_provider),
        }
    }

    /// `commands_total` by command, outcome and class.
    pub fn commands(&self) -> BTreeMap<CommandLabels, u64> {
        let counts = self.lock();
        let all = counts.commands.iter().flat_map(|(name, ends)| {
            let of = ends.iter();
            of.map(|((outcome, class), count)| ((name.clone(), *outcome, *class), *count))
        });
        all.collect()
    }

    /// `command_retries_total` by class.
    pub fn retries(&self) -> BTreeMap<&'static str, u64> {
        self.lock().retries.clone()
    }

    /// `ledger_hits_total` by result.
    pub fn ledger_hits(&self) -> BTreeMap<&'static str, u64> {
        self.lock().ledger_hits.clone()
    }

    /// `dead_letters_total` with source `command`, by class.
    pub fn dead_letters(&self) -> BTreeMap<&'static str, u64> {
        self.lock().dead_letters.clone()
    }

    /// `writes_given_up_total` of commands, by what.
    pub fn writes_given_up(&self) -> BTreeMap<&'static str, u64> {
        self.lock().given_up.clone()
    }

    /// `command_provider_seconds` by command.
    pub fn at_provider(&self) -> BTreeMap<Box<str>, Arc<Histogram>> {
        let all = self
            .at_provider
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

/// Of one account; gauges, kept up by its queue.
#[derive(Debug, Default)]
pub struct AccountFigures {
    /// `commands_waiting`: in the owner's hand and not with the adapter.
    pub waiting: AtomicU64,
    /// When the oldest of them was stored or came in, Unix ms; 0: none. Gives `command_oldest_seconds`.
    pub oldest_ms: AtomicI64,
    /// `commands_in_flight`: with the adapter.
    pub in_flight: AtomicU64,
    /// `commands_unresolved`: keys that this owner left as unknown.
    pub unresolved: AtomicU64,
}
