//! How a command's end is told: kept in the ledger, stored as a result, replied to who waits, and then acknowledged.
//!
//! In this order, so that a crash in between repeats a step and never loses one: what was done is kept first, and the
//! command is acknowledged last. A result has the same id however often it is stored.
//!
//! Not here: what the end is (`flow`), what a result looks like (`result`).

use super::desk::Desk;
use super::gateway::Found;
use super::hands::Late;
use super::ledger::{Held, Kept, Stored};
use super::metrics::GivenUp;
use super::result::Reply;
use super::work::{Origin, Work};
use crate::bus::Headers;
use crate::bus::api::header;
use crate::bus::blobs::BlobError;
use crate::bus::clock::unix_ms;
use crate::dead_letter::{Body, Letter, Put};
use crate::envelope::DATA_BYTES_MAX;
use crate::telemetry::{PublishEnd, What as Took};
use async_nats::HeaderMap;
use im_bridge_sdk::model::ids::B32;
use im_bridge_sdk::model::{ErrorObject, Json, ResultStatus, Time};

const CE_ID: &str = "ce-id";
/// What the ledger keeps of an end.
#[derive(Debug)]
pub(super) enum Keep {
    Nothing,
    Done {
        held: Held,
        native_id: Option<String>,
    },
    Unknown(Held),
    Released(Held),
}

/// How a command ended.
pub(super) struct Verdict {
    pub status: ResultStatus,
    pub error: Option<ErrorObject>,
    pub result: Option<Json>,
    /// Where a large result lies that was stored before.
    pub dataref: Option<String>,
    pub is_duplicate: bool,
    pub keep: Keep,
    /// For a person to look at.
    pub is_dead: bool,
    /// What is unknown may be told later.
    pub late: Option<Late>,
}

impl Verdict {
    pub(super) fn success(status: ResultStatus, result: Option<Json>) -> Self {
        Self {
            status,
            error: None,
            result,
            dataref: None,
            is_duplicate: false,
            keep: Keep::Nothing,
            is_dead: false,
            late: None,
        }
    }

    pub(super) fn error(error: ErrorObject) -> Self {
        Self {
            error: Some(error),
            ..Self::success(ResultStatus::Error, None)
        }
    }

    pub(super) fn unknown(error: ErrorObject) -> Self {
        Self {
            error: Some(error),
            ..Self::success(ResultStatus::Unknown, None)
        }
    }

    /// What was answered before, once more.
    pub(super) fn again(stored: Stored) -> Self {
        Self {
            error: stored.error,
            dataref: stored.dataref,
            is_duplicate: true,
            ..Self::success(stored.status, stored.result)
        }
    }

    /// What the ledger holds as unknown, if this is it.
    pub(super) fn unknown_held(&self) -> Option<&Held> {
        match &self.keep {
            Keep::Unknown(held) => Some(held),
            _ => None,
        }
    }

    fn stored(&self) -> Stored {
        let fits =
            |result: &Json| self.dataref.is_none() && result.as_str().len() <= DATA_BYTES_MAX;
        Stored {
            status: self.status,
            error: self.error.clone(),
            result: self.result.clone().filter(fits),
            dataref: self.dataref.clone(),
        }
    }
}

impl Desk {
    /// Tells a command's end everywhere. False: the lease was lost first, and the next owner tells it.
    pub(super) async fn settle(&self, work: &mut Work, verdict: &mut Verdict) -> bool {
        let id = self.id(work, verdict);
        // A large result lies in the object store before anything names it.
        let data = self.data(work, verdict);
        if data.len() > DATA_BYTES_MAX && verdict.dataref.is_none() {
            let name = format!("res.{id}");
            // What is rare lies in boxes: a command keeps room for the largest of what it may wait for.
            match Box::pin(self.gateway.blobs.put(&name, &data, &self.hold)).await {
                Ok(()) => verdict.dataref = Some(name),
                Err(BlobError::Abandoned) => return false,
                // It goes as one message then, as long as that is not too large for the stream.
                Err(error) => {
                    tracing::warn!(account = %self.account, "a large result is not stored: {error}");
                }
            }
        }
        if !self.keep(work, verdict).await {
            return false;
        }
        // From here on the ledger answers for the key, also whoever hears the answer and asks again at once.
        self.free_key(work);
        if let Origin::Item { .. } = work.origin {
            self.count(work, verdict);
            return true;
        }
        if verdict.is_dead && !Box::pin(self.bury(work, verdict)).await {
            return false;
        }
        let telling = self.telling(work);
        let document = self.document(work, verdict, id, &data, &telling);
        let reply = self.reply(work, verdict.error.as_ref(), &document, &telling);
        if reply.is_some() {
            Box::pin(self.send(reply)).await;
        }
        let is_public = work.is_durable || work.is_mutating();
        if !is_public {
            telling.finish(&document.replied());
        } else if !self.publish(work, &document, telling).await {
            return false;
        }
        self.count(work, verdict);
        if let Some(sequence) = work.sequence() {
            self.in_hand.done(sequence).await;
        }
        self.end_span(work, verdict);
        true
    }

    /// Tells who waits that the command still runs; its result follows.
    pub(super) async fn still_running(&self, work: &mut Work, error: ErrorObject) {
        let reply = self.compose(work, &mut Verdict::error(error));
        self.send(reply).await;
        work.is_answered = true;
    }

    /// Answers a caller, and nobody else: nothing was done.
    pub(super) async fn answer_only(&self, work: &Work, verdict: &mut Verdict) {
        let reply = self.compose(work, verdict);
        self.send(reply).await;
        self.count(work, verdict);
    }

    /// A small answer to who waits.
    pub(super) fn compose(&self, work: &Work, verdict: &mut Verdict) -> Option<Reply> {
        let id = self.id(work, verdict);
        let data = self.data(work, verdict);
        let telling = self.telling(work);
        let document = self.document(work, verdict, id, &data, &telling);
        let reply = self.reply(work, verdict.error.as_ref(), &document, &telling);
        // It goes at once, and nobody hears whether it came.
        telling.finish(&document.replied());
        reply
    }

    /// False: the lease was lost first.
    async fn keep(&self, work: &Work, verdict: &mut Verdict) -> bool {
        let ledger = &self.gateway.ledger;
        let kept = match std::mem::replace(&mut verdict.keep, Keep::Nothing) {
            Keep::Nothing => Kept::Yes,
            Keep::Done {
                mut held,
                native_id,
            } => {
                let stored = verdict.stored();
                ledger.done(&mut held, stored, native_id, &self.hold).await
            }
            Keep::Unknown(held) => {
                let is_new = held.earlier().is_none();
                let unknown = ledger.unknown(&held, verdict.stored(), &self.hold);
                let kept = Box::pin(unknown).await;
                self.unresolved(i64::from(kept == Kept::Yes && is_new));
                // Its truth may come late.
                verdict.keep = Keep::Unknown(held);
                kept
            }
            Keep::Released(held) => {
                let sequence = work.sequence();
                let last = sequence.map(|sequence| (sequence, verdict.stored()));
                Box::pin(ledger.release(&held, last, &self.hold)).await
            }
        };
        if kept == Kept::Refused {
            // What is told all the same is true; whoever comes with this key later finds it unresolved.
            self.figures.given_up(GivenUp::Ledger);
        }
        kept != Kept::Lost
    }

    /// Puts a durable command into the dead letters, as it was.
    async fn bury(&self, work: &Work, verdict: &Verdict) -> bool {
        let (Some(sequence), Some(error)) = (work.sequence(), &verdict.error) else {
            return true;
        };
        let original = match self.gateway.read(sequence, &self.hold).await {
            Found::Stored(original) => original,
            // There is nothing to keep.
            Found::Gone => return true,
            Found::Lost => return false,
        };
        let account = &self.account;
        let kind = &work.kind;
        let parts = ["dlq", account.provider.as_str(), account.alias.as_str()];
        let id = B32::of(
            format!(
                "{}\u{1f}{sequence}\u{1f}{}",
                parts.join("\u{1f}"),
                work.attributes.id
            )
            .as_bytes(),
        );
        let original_bytes = original.payload.len();
        let mut headers = originals(&original.headers);
        // Sent again it gets another message id, and must still be the same command.
        if header(&original.headers, CE_ID).is_none() {
            headers.push((CE_ID.into(), work.attributes.id.as_str().into()));
        }
        let letter = Letter {
            subject: self.gateway.subjects.dead_command(account),
            id: id.as_str().into(),
            original: Some(self.gateway.subjects.command(account, kind).to_string()),
            error,
            attempts: work.attempts,
            first: Time::from_ms(work.first_try_ms.unwrap_or(work.since_ms)),
            last: Time::from_ms(unix_ms()),
            headers,
            body: Body::Message(original.payload),
        };
        let burying = self.burying(work);
        let put = self.gateway.dead_letters.put(letter, &self.hold).await;
        if let Some(burying) = burying {
            burying.finish(&match put {
                Put::Stored => PublishEnd::Stored {
                    message_id: id.as_str(),
                    body_bytes: original_bytes,
                    stored: None,
                },
                Put::Lost | Put::Refused => PublishEnd::Failed("not_stored"),
            });
        }
        match put {
            Put::Stored => self.figures.dead_letter(error.class),
            Put::Refused => self.figures.given_up(GivenUp::DeadLetter),
            Put::Lost => return false,
        }
        true
    }

    fn count(&self, work: &Work, verdict: &Verdict) {
        let class = verdict.error.as_ref().map(|error| error.class);
        // A name that nobody declares must not make metrics grow.
        let name = work.declared();
        self.figures.command(name, verdict.status, class);
        let histogram = match work.is_durable {
            true => &self.figures.durable,
            false => &self.figures.request,
        };
        let took = work.taken.elapsed();
        histogram.record(took);
        let telemetry = &self.gateway.telemetry;
        telemetry.took(Took::Command(name), &self.account, took, &work.trace());
    }
}

/// All headers of a message but its id, and what a stream adds to what it transforms.
pub(super) fn originals(headers: &HeaderMap) -> Headers {
    let kept = headers.iter().filter(|(name, _)| {
        let name: &str = name.as_ref();
        !name.eq_ignore_ascii_case(crate::bus::ack::MESSAGE_ID)
    });
    kept.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values
            .iter()
            .map(|value| (name.to_owned().into(), value.as_str().into()))
    })
    .collect()
}
