//! Ways in which an adapter breaks the contract and the host goes on: counted, and told once a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Milliseconds between two messages about the same kind: a broken loop must not fill the log.
const TELL_EVERY_MS: u64 = 60_000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)+) => {
        /// One way to break the contract.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Misbehaviour { $($(#[$doc])* $kind,)+ }

        impl Misbehaviour {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The label of the metric.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }
        }
    };
}
kinds! {
    /// A struct too short, an array too long, a buffer that cannot be.
    BadStruct = "bad_struct",
    /// A status that this call may not answer.
    BadStatus = "bad_status",
    /// More events than granted.
    EmitWithoutCredit = "emit_without_credit",
    /// A text that is too long or not UTF-8.
    BadText = "bad_text",
    /// An event whose kind `describe` does not name.
    KindNotDeclared = "kind_not_declared",
    /// A payload or body beyond the limit.
    PayloadTooLarge = "payload_too_large",
    /// A completion for an id that was never handed over.
    CompletionUnknown = "completion_unknown",
    /// A second completion.
    CompletionTwice = "completion_twice",
    /// A command that was not completed in time.
    CompletionOverdue = "completion_overdue",
    /// A host function called after `stop` returned.
    CallAfterStop = "call_after_stop",
    /// A quick call that was not quick.
    SlowCall = "slow_call",
}

/// Counters of one instance.
pub(super) struct Counters {
    born: Instant,
    kinds: [Kind; Misbehaviour::ALL.len()],
}

#[derive(Default)]
struct Kind {
    total: AtomicU64,
    told: AtomicU64,
    /// Milliseconds after `born`, plus one; 0 = never.
    told_at: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            kinds: Default::default(),
        }
    }

    /// Counts one; answers how many to tell of, when it is time to tell.
    pub(super) fn count(&self, kind: Misbehaviour) -> Option<u64> {
        let now_ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let kind = &self.kinds[kind as usize];
        let total = kind.total.fetch_add(1, Ordering::AcqRel) + 1;
        let told_at = kind.told_at.load(Ordering::Acquire);
        let is_due = told_at == 0 || now_ms.saturating_sub(told_at) >= TELL_EVERY_MS;
        let is_mine = is_due
            && kind
                .told_at
                .compare_exchange(told_at, now_ms, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        is_mine.then(|| total.saturating_sub(kind.told.swap(total, Ordering::AcqRel)))
    }

    pub(super) fn total(&self, kind: Misbehaviour) -> u64 {
        self.kinds[kind as usize].total.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_told_and_the_rest_counted() {
        let counters = Counters::new();
        assert_eq!(counters.count(Misbehaviour::BadText), Some(1));
        assert_eq!(counters.count(Misbehaviour::BadText), None);
        assert_eq!(counters.count(Misbehaviour::SlowCall), Some(1));
        assert_eq!(counters.total(Misbehaviour::BadText), 2);
        assert_eq!(counters.total(Misbehaviour::BadStruct), 0);
    }
}
