//! One command from its lane to its end: checked, claimed, handed over, and what follows from the answer.
//!
//! What may have happened is never simply done again: it is asked for where the provider can be asked, and unknown
//! otherwise. Before a command is put off, the ledger says whether it may have happened, so that a crash meanwhile
//! changes nothing.
//!
//! Not here: when a command goes (`queue`), which failure is tried again (`retry`), finding out what became of it (`verify`), how its end is told (`answer`).

use super::Fail;
use super::answer::{Keep, Verdict};
use super::check;
use super::desk::{Desk, Sent};
use super::hands::Handed;
use super::ledger::{Claim, Held, Kept, LedgerError};
use super::metrics::Hit;
use super::outcome::Outcome;
use super::retry::{Again, PAUSE_FIRST, pause};
use super::work::{Key, Origin, What, Work};
use crate::account::Request;
use crate::bus::clock::unix_ms;
use crate::bus::kv::WriteError;
use crate::loader::host::Command as HandedOver;
use im_bridge_sdk::model::{Command, Durable, ErrorClass, ErrorCode, ErrorObject, ResultStatus};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Longest time that an adapter gets for one command, however long the command itself may wait.
pub(super) const HANDED_OVER_FOR: Duration = Duration::from_secs(60);

/// What becomes of a command after its turn.
pub(super) enum Act {
    /// It ended.
    Ended(Box<Verdict>),
    /// Again, before everything behind it.
    Again(Again),
    /// Nothing may be done any more: the lease is lost.
    Abandoned,
}

impl From<Verdict> for Act {
    fn from(verdict: Verdict) -> Self {
        Self::Ended(Box::new(verdict))
    }
}

impl From<Fail> for Verdict {
    fn from(fail: Fail) -> Self {
        Self::error(fail.0)
    }
}

impl Desk {
    /// Does what a command asks, or finds out why not.
    pub(super) async fn act(&self, work: &mut Work) -> Act {
        if !self.hold.is_held() {
            return Act::Abandoned;
        }
        let fit = match work.fail.clone() {
            Some(fail) if Work::is_malformed(&fail) || !work.has_entry() => {
                let mut verdict = Verdict::from(fail.clone());
                verdict.is_dead = work.is_durable && Work::is_malformed(&fail);
                return verdict.into();
            }
            Some(fail) => Err(fail),
            None => self.fit(work),
        };
        if work.data.options.dry_run {
            return match fit {
                Ok(()) => Verdict::success(ResultStatus::Ok, None).into(),
                Err(fail) => Verdict::from(fail).into(),
            };
        }
        if !work.is_mutating() {
            return match fit {
                Ok(()) => self.ask(work).await,
                Err(fail) => Verdict::from(fail).into(),
            };
        }
        let Some(key) = work.key_at(&self.account, self.key_chars()) else {
            return Verdict::error(core_error("a mutating command lost its key")).into();
        };
        // What is rare lies in boxes, here and below: each command keeps room for the largest of what it may wait for.
        match fit {
            Ok(()) => self.claimed(work, &key).await,
            Err(fail) => Box::pin(self.refused(work, &key, fail)).await,
        }
    }

    /// The command against what the account can, and the clock.
    fn fit(&self, work: &Work) -> Result<(), Fail> {
        let What::Command(command) = work.what else {
            return Ok(());
        };
        let can = self
            .capabilities()
            .ok_or_else(|| Fail::certain(ErrorCode::NotConnected, "the adapter is not loaded"))?;
        check::abilities(command, &work.data, &can)?;
        if command == Command::NativeCall {
            let method = work.data.params["method"].as_str().unwrap_or_default();
            if !self
                .terms()
                .native_calls
                .iter()
                .any(|pattern| matches(pattern, method))
            {
                let text = "the account's `bridge.native_calls` does not allow this method";
                return Err(Fail::certain(ErrorCode::PermissionDenied, text).at("/params/method"));
            }
        }
        if work.is_expired() {
            return Err(expired());
        }
        Ok(())
    }

    /// It will not be carried out; but a known key is answered from the ledger all the same.
    async fn refused(&self, work: &mut Work, key: &Key, fail: Fail) -> Act {
        if work.key_in_hand.is_none() && !self.take_key(work) {
            return self.busy(work);
        }
        let found = self
            .gateway
            .ledger
            .look(&work.claimant(key, self.epoch))
            .await;
        match found {
            Ok(None) => Verdict::from(fail).into(),
            Ok(Some(Claim::Verify(held))) => self.resolve(work, key, held, Err(fail)).await,
            Ok(Some(claim)) => self.met_again(claim),
            Err(error) => self.put_off(work, &error),
        }
    }

    /// Another command with its key is being worked on.
    pub(super) fn busy(&self, work: &Work) -> Act {
        self.figures.hit(Hit::InProgress);
        if work.is_durable {
            return Act::Again(Again {
                after: PAUSE_FIRST,
                pauses_account: false,
            });
        }
        let text = "the command with this key is still running";
        Verdict::error(ErrorObject::new(ErrorCode::InProgress, false, text)).into()
    }

    pub(super) fn met_again(&self, claim: Claim) -> Act {
        match claim {
            Claim::Ended(stored) => {
                self.figures.hit(Hit::Duplicate);
                Verdict::again(stored).into()
            }
            _ => {
                self.figures.hit(Hit::KeyReused);
                let text = "the key stands for another command; take a new one";
                Verdict::from(Fail::certain(ErrorCode::KeyReused, text).at("/idempotency_key"))
                    .into()
            }
        }
    }

    async fn claimed(&self, work: &mut Work, key: &Key) -> Act {
        let claimant = work.claimant(key, self.epoch);
        let claim = self.gateway.ledger.claim(&claimant).await;
        match claim {
            Ok(Claim::Execute(held)) => self.execute(work, key, held, false).await,
            Ok(Claim::Verify(held)) => Box::pin(self.resolve(work, key, held, Ok(()))).await,
            Ok(Claim::Exhausted(held)) => {
                let text = "it was begun three times and nobody lived to tell its end";
                let error = ErrorObject::new(ErrorCode::LostAck, false, text);
                self.unknown(held, error, true).into()
            }
            Ok(claim) => self.met_again(claim),
            Err(error) => self.put_off(work, &error),
        }
    }

    /// The ledger did not answer: a durable command waits, a caller is told.
    pub(super) fn put_off(&self, work: &mut Work, error: &LedgerError) -> Act {
        if !self.hold.is_held() {
            return Act::Abandoned;
        }
        if work.is_durable {
            work.put_off += 1;
            return Act::Again(Again {
                after: pause(work.put_off),
                pauses_account: false,
            });
        }
        let code = match error {
            LedgerError::Write(WriteError::Full) => ErrorCode::Overloaded,
            _ => ErrorCode::CoreError,
        };
        Verdict::error(ErrorObject::new(code, true, error.to_string())).into()
    }

    pub(super) async fn execute(
        &self,
        work: &mut Work,
        key: &Key,
        held: Held,
        is_redelivered: bool,
    ) -> Act {
        if !self.hold.is_held() {
            return Act::Abandoned;
        }
        // Again, because claiming may have taken long.
        if work.is_expired() {
            return released(held, expired());
        }
        work.attempts += 1;
        work.first_try_ms.get_or_insert_with(unix_ms);
        self.echoes.sent(
            &key.client_ref,
            Sent {
                command_id: work.attributes.id.as_str().into(),
                correlation_id: work.attributes.correlation_id.as_deref().map(Into::into),
            },
        );
        let handed = self.hand_over(work, Some(key), is_redelivered).await;
        match Outcome::of(&handed.ended) {
            outcome @ Outcome::Success { .. } => self.ended(work, held, outcome),
            Outcome::Failure { error, result } => {
                if error.certain
                    && let Some(again) = self.retry(work, &error)
                {
                    let released = self.gateway.ledger.release(&held, None, &self.hold);
                    return match Box::pin(released).await {
                        // Not released it is still this try's own.
                        Kept::Yes | Kept::Refused => Act::Again(again),
                        Kept::Lost => Act::Abandoned,
                    };
                }
                self.ended(work, held, Outcome::Failure { error, result })
            }
            Outcome::Uncertain { error } => {
                Box::pin(self.uncertain(work, key, held, error, handed)).await
            }
        }
    }

    /// What is certain by now.
    pub(super) fn ended(&self, work: &Work, held: Held, outcome: Outcome) -> Act {
        match outcome {
            Outcome::Success {
                status,
                result,
                native_id,
            } => Verdict {
                keep: Keep::Done { held, native_id },
                ..Verdict::success(status, Some(result))
            }
            .into(),
            Outcome::Failure { error, result } => {
                Verdict {
                    is_dead: self.is_dead(work, &error),
                    // What is not certain may have happened: it is kept, and never done again under this key.
                    keep: match error.certain {
                        true => Keep::Released(held),
                        false => Keep::Done {
                            held,
                            native_id: None,
                        },
                    },
                    result,
                    ..Verdict::error(self.said(work, error))
                }
                .into()
            }
            Outcome::Uncertain { error } => self.unknown(held, error, false).into(),
        }
    }

    /// A command that changes nothing, or a control verb: no key, and nothing to fear from a repetition.
    async fn ask(&self, work: &mut Work) -> Act {
        work.attempts += 1;
        work.first_try_ms.get_or_insert_with(unix_ms);
        let handed = self.hand_over(work, None, work.attempts > 1).await;
        let (mut error, result) = match Outcome::of(&handed.ended) {
            Outcome::Success { status, result, .. } => {
                return Verdict::success(status, Some(result)).into();
            }
            Outcome::Failure { error, result } => (error, result),
            Outcome::Uncertain { error } => (error, None),
        };
        if error.class == ErrorClass::Uncertain {
            let text = error.message;
            error = ErrorObject::new(ErrorCode::ProviderUnavailable, true, text);
        }
        if let Some(again) = self.retry(work, &error) {
            return Act::Again(again);
        }
        Verdict {
            is_dead: self.is_dead(work, &error),
            result,
            ..Verdict::error(self.said(work, error))
        }
        .into()
    }

    pub(super) async fn ask_adapter(&self, work: &mut Work) -> Handed {
        self.hand_over(work, None, false).await
    }

    async fn hand_over(&self, work: &mut Work, key: Option<&Key>, is_redelivered: bool) -> Handed {
        let until = work.deadline_at().min(Instant::now() + HANDED_OVER_FOR);
        let command = self.command(work, key, is_redelivered, until);
        let began = Instant::now();
        self.account_figures
            .in_flight
            .fetch_add(1, Ordering::Relaxed);
        let mut carried = std::pin::pin!(self.hands.carry_out(command, until));
        let caller_waits = matches!(work.origin, Origin::Request { .. });
        let deadline = work.deadline_at();
        let handed = match caller_waits {
            true => match timeout_at(deadline, &mut carried).await {
                Ok(handed) => handed,
                Err(_) => {
                    let error = running(work.is_mutating());
                    Box::pin(self.still_running(work, error)).await;
                    carried.await
                }
            },
            false => carried.await,
        };
        self.account_figures
            .in_flight
            .fetch_sub(1, Ordering::Relaxed);
        let took = began.elapsed();
        work.at_provider += took;
        self.figures.took(&work.name, took);
        handed
    }

    pub(super) fn command(
        &self,
        work: &Work,
        key: Option<&Key>,
        is_redelivered: bool,
        until: Instant,
    ) -> Box<Request> {
        let left = until.saturating_duration_since(Instant::now());
        let left_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        Box::new(Request::of(HandedOver {
            name: work.name.clone(),
            channel: work.channel.as_deref().map(Into::into),
            idempotency_key: key.map_or("", |key| &key.client_ref).into(),
            body: work.data.body.clone(),
            deadline_ms: unix_ms().saturating_add(left_ms),
            is_redelivered,
            trace: work.trace(),
        }))
    }
}

pub(super) fn released(held: Held, fail: Fail) -> Act {
    Verdict {
        keep: Keep::Released(held),
        ..Verdict::from(fail)
    }
    .into()
}

pub(super) fn expired() -> Fail {
    Fail::certain(
        ErrorCode::DeadlineExceeded,
        "its deadline passed before it was handed over",
    )
}

/// For a caller whose deadline comes while the adapter has the command.
pub(super) fn running(is_mutating: bool) -> ErrorObject {
    match is_mutating {
        true => ErrorObject::new(
            ErrorCode::InProgress,
            false,
            "still running; ask again with the same key, or read its result",
        ),
        false => ErrorObject::new(
            ErrorCode::ProviderUnavailable,
            true,
            "the provider did not answer in time",
        ),
    }
}

fn core_error(text: &str) -> ErrorObject {
    ErrorObject::new(ErrorCode::CoreError, true, text)
}

/// Why nothing runs in this state, for who does not wait.
pub(super) fn not_now(durable: Durable) -> Fail {
    match durable {
        Durable::Refused => Fail::certain(
            ErrorCode::BadCredentials,
            "the provider refused the account's login; it needs new credentials",
        ),
        Durable::Run | Durable::Wait => {
            Fail::certain(ErrorCode::NotConnected, "the account is not online")
        }
    }
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    text.strip_prefix(before).is_some_and(|rest| {
        (0..=rest.len())
            .filter(|at| rest.is_char_boundary(*at))
            .any(|at| matches(after, &rest[at..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_allows_what_it_says_and_nothing_more() {
        for (pattern, method, allowed) in [
            ("/r/*", "/r/Conversation/list", true),
            ("/r/*/list", "/r/Conversation/list", true),
            ("/r/*/list", "/r/Conversation/lists", false),
            ("/r/a", "/r/ab", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, method), allowed, "{pattern} {method}");
        }
    }
}
