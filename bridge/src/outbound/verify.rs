//! What became of a command that may have happened: asked where the provider can be asked, and unknown otherwise.
//!
//! It is executed again only if it surely did not happen, or if the provider removes duplicates; the decision is a write
//! that the ledger compares. What is known so far is written before anything waits.
//!
//! Not here: the way of a command that nobody began before (`flow`).

use super::Fail;
use super::answer::{Keep, Verdict};
use super::desk::Desk;
use super::flow::{Act, expired, released};
use super::hands::Handed;
use super::ledger::{Held, Kept, Stored};
use super::metrics::Hit;
use super::outcome::Outcome;
use super::retry::{Again, pause};
use super::work::{Key, Work};
use crate::envelope::DATA_BYTES_MAX;
use im_bridge_sdk::model::{ErrorClass, ErrorCode, ErrorObject, ResultStatus};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time that an adapter gets for looking what became of a command.
const VERIFY_FOR: Duration = Duration::from_secs(30);

impl Desk {
    /// Somebody may have done it before: finds out, as far as that is possible.
    pub(super) async fn resolve(
        &self,
        work: &mut Work,
        key: &Key,
        held: Held,
        fit: Result<(), Fail>,
    ) -> Act {
        let guarantees = self.capabilities().map(|can| can.guarantees.clone());
        let can_verify = guarantees
            .as_ref()
            .is_some_and(|it| it.verify_after_timeout);
        if can_verify {
            return match self.verify(work, key).await {
                Verified::Yes(outcome) => {
                    self.figures.hit(Hit::Verified);
                    self.unresolved(-i64::from(held.earlier().is_some()));
                    self.ended(work, held, *outcome)
                }
                Verified::No => {
                    self.figures.hit(Hit::Verified);
                    self.unresolved(-i64::from(held.earlier().is_some()));
                    match fit {
                        Ok(()) => self.execute_again(work, key, held).await,
                        Err(fail) => released(held, fail),
                    }
                }
                Verified::Perhaps => self.stays_unknown(held),
                Verified::Later => {
                    self.ask_later(work, held, |held| self.stays_unknown(held))
                        .await
                }
            };
        }
        let is_harmless = guarantees.is_some_and(|it| it.provider_dedup);
        match fit {
            Ok(()) if is_harmless => self.execute_again(work, key, held).await,
            _ => self.stays_unknown(held),
        }
    }

    async fn execute_again(&self, work: &mut Work, key: &Key, held: Held) -> Act {
        if !held.may_be_taken_over() {
            return self.stays_unknown(held);
        }
        let claimant = work.claimant(key, self.epoch);
        match self.gateway.ledger.take_over(&claimant, held).await {
            Ok(held) => Box::pin(self.execute(work, key, held, true)).await,
            Err(error) => self.put_off(work, &error),
        }
    }

    /// An earlier unknown is answered again; one that was still in progress becomes one.
    fn stays_unknown(&self, held: Held) -> Act {
        if let Some(stored) = held.earlier() {
            self.figures.hit(Hit::Duplicate);
            return Verdict::again(stored).into();
        }
        let text = "its owner was lost while it was under way";
        let error = ErrorObject::new(ErrorCode::LostAck, false, text);
        self.unknown(held, error, false).into()
    }

    /// The provider cannot be asked now. What is known so far is written first: then a crash changes nothing. Who does not
    /// wait hears `what_is_known`.
    async fn ask_later(
        &self,
        work: &mut Work,
        held: Held,
        what_is_known: impl FnOnce(Held) -> Act,
    ) -> Act {
        work.attempts += 1;
        let after = pause(work.attempts);
        if !self.may_wait(work, after) {
            return what_is_known(held);
        }
        if held.earlier().is_none() {
            let stored = unknown(ErrorCode::LostAck, "it is being asked for");
            if self.gateway.ledger.unknown(&held, stored, &self.hold).await == Kept::Lost {
                return Act::Abandoned;
            }
            self.unresolved(1);
        }
        self.figures.retry(ErrorClass::Uncertain);
        Act::Again(Again {
            after,
            pauses_account: false,
        })
    }

    pub(super) fn unknown(&self, held: Held, error: ErrorObject, is_dead: bool) -> Verdict {
        Verdict {
            keep: Keep::Unknown(held),
            is_dead,
            ..Verdict::unknown(error)
        }
    }

    pub(super) async fn uncertain(
        &self,
        work: &mut Work,
        key: &Key,
        held: Held,
        error: ErrorObject,
        handed: Handed,
    ) -> Act {
        let can_verify = self
            .capabilities()
            .is_some_and(|can| can.guarantees.verify_after_timeout);
        let stays = |held| {
            let mut verdict = self.unknown(held, error, false);
            verdict.late = handed.late;
            verdict.into()
        };
        if !can_verify {
            return stays(held);
        }
        match self.verify(work, key).await {
            Verified::Yes(outcome) => self.ended(work, held, *outcome),
            Verified::No if !work.is_expired() => self.execute_again(work, key, held).await,
            Verified::No => released(held, expired()),
            Verified::Perhaps => stays(held),
            Verified::Later => self.ask_later(work, held, stays).await,
        }
    }

    async fn verify(&self, work: &mut Work, key: &Key) -> Verified {
        let until = Instant::now() + VERIFY_FOR;
        let mut question = self.command(work, Some(key), true, until);
        question.is_verify = true;
        let handed = self.hands.carry_out(question, until).await;
        match Outcome::of(&handed.ended) {
            outcome @ Outcome::Success { .. } => Verified::Yes(Box::new(outcome)),
            Outcome::Failure { error, .. }
                if error.class == ErrorClass::NotFound && error.certain =>
            {
                Verified::No
            }
            Outcome::Failure { error, .. } if error.class == ErrorClass::Unavailable => {
                Verified::Later
            }
            _ => Verified::Perhaps,
        }
    }

    /// The truth about a command that was answered as unknown.
    pub(super) async fn learnt(&self, mut held: Held, outcome: Outcome) {
        let ledger = &self.gateway.ledger;
        let written = match outcome {
            Outcome::Success {
                status,
                result,
                native_id,
            } => {
                let stored = Stored {
                    status,
                    error: None,
                    result: Some(result).filter(|it| it.as_str().len() <= DATA_BYTES_MAX),
                    dataref: None,
                };
                ledger.done(&mut held, stored, native_id, &self.hold).await
            }
            Outcome::Failure { error, .. } if error.certain => {
                ledger.forget_unknown(held, &self.hold).await
            }
            _ => Kept::Refused,
        };
        self.unresolved(-i64::from(written == Kept::Yes));
    }
}

/// What the provider says of a command that may have happened.
enum Verified {
    Yes(Box<Outcome>),
    No,
    Perhaps,
    Later,
}

fn unknown(code: ErrorCode, text: &str) -> Stored {
    Stored {
        status: ResultStatus::Unknown,
        error: Some(ErrorObject::new(code, false, text)),
        result: None,
        dataref: None,
    }
}
