//! How a command's end is told: kept in the ledger, stored as a result, replied to who waits, and then acknowledged.
//!
//! In this order, so that a crash in between repeats a step and never loses one: what was done is kept first, and the
//! command is acknowledged last. A result has the same id however often it is stored.
//!
//! Not here: what the end is (`flow`).

use super::desk::Desk;
use super::gateway::Gateway;
use super::hands::Late;
use super::incoming::{self, Fallback};
use super::ledger::{Held, Stored};
use super::work::{Origin, What, Work};
use crate::bus::api::header;
use crate::bus::blobs::BlobError;
use crate::bus::clock::unix_ms;
use crate::bus::consumer::Delivered;
use crate::bus::{Account, Acked, Headers, Hold, Kind, Outgoing};
use crate::dead_letter::{Body, Letter};
use crate::envelope::{self, Attributes, DATA_BYTES_MAX, Data, ModelMinor};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use im_bridge_plugin_api::abi::Trace;
use im_bridge_sdk::model::ids::{B32, result_id};
use im_bridge_sdk::model::{ErrorObject, Json, ResultData, ResultStatus, Time, Timing};
use std::time::Duration;
use tokio::time::timeout;

const CONTENT_TYPE: (&str, &str) = ("Content-Type", "application/cloudevents+json");
const SERVICE_ERROR: &str = "Nats-Service-Error";
const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
const CE_ID: &str = "ce-id";
/// A reply waits for room in the client's channel; a caller that waits longer asks again.
const REPLY_WITHIN: Duration = Duration::from_secs(2);

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

/// A result as it is published.
struct Document {
    id: B32,
    body: Bytes,
}

/// An answer to who waits for it.
pub(super) struct Reply {
    subject: Subject,
    headers: HeaderMap,
    body: Bytes,
}

impl Desk {
    /// Tells a command's end everywhere. False: the lease was lost first, and the next owner tells it.
    pub(super) async fn settle(&self, work: &mut Work, verdict: &mut Verdict) -> bool {
        let id = self.id(work, verdict);
        // A large result lies in the object store before anything names it.
        let data = self.data(work, verdict);
        if data.len() > DATA_BYTES_MAX && verdict.dataref.is_none() {
            let name = format!("res.{id}");
            match self.gateway.blobs.put(&name, &data, &self.hold).await {
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
        if verdict.is_dead && !self.bury(work, verdict).await {
            return false;
        }
        let document = self.document(work, verdict, id, &data);
        self.send(self.reply(work, verdict.error.as_ref(), &document))
            .await;
        let is_public = work.is_durable || work.is_mutating();
        if is_public && !self.publish(work, &document).await {
            return false;
        }
        self.count(work, verdict);
        if let Some(sequence) = work.sequence() {
            self.in_hand.done(sequence).await;
        }
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
        let document = self.document(work, verdict, id, &data);
        self.reply(work, verdict.error.as_ref(), &document)
    }

    async fn keep(&self, work: &Work, verdict: &mut Verdict) -> bool {
        let ledger = &self.gateway.ledger;
        let stored = verdict.stored();
        match &verdict.keep {
            Keep::Nothing => true,
            Keep::Done { held, native_id } => {
                let native_id = native_id.as_deref();
                ledger
                    .done(held.clone(), stored, native_id, &self.hold)
                    .await
            }
            Keep::Unknown(held) => {
                let is_new = held.earlier().is_none();
                let kept = ledger.unknown(held, stored, &self.hold).await;
                self.unresolved(i64::from(kept && is_new));
                kept
            }
            Keep::Released(held) => {
                let last = work.sequence().map(|sequence| (sequence, stored));
                ledger.release(held, last, &self.hold).await
            }
        }
    }

    fn id(&self, work: &Work, verdict: &Verdict) -> B32 {
        let code = verdict.error.as_ref().map_or("", |error| &error.code);
        result_id(
            self.account.provider.as_str(),
            self.account.alias.as_str(),
            &work.attributes.id,
            verdict.status.as_str(),
            code,
        )
    }

    /// `data` of the result.
    fn data(&self, work: &Work, verdict: &Verdict) -> Bytes {
        let key = work.key_at(&self.account, self.key_chars());
        let (idempotency_key, client_ref) = key.map(|it| (it.key, it.client_ref)).unzip();
        let is_batch = !work.has_entry() && !work.data.options.dry_run;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let data = ResultData {
            command_id: work.attributes.id.clone(),
            command: work.name.to_string(),
            idempotency_key,
            // A batch has a key, but no message of that reference exists.
            client_ref: client_ref.filter(|_| !is_batch),
            status: verdict.status,
            duplicate: verdict.is_duplicate,
            dry_run: work.data.options.dry_run,
            timing: Timing {
                queued_ms: ms(work.taken.elapsed().saturating_sub(work.at_provider)),
                provider_ms: ms(work.at_provider),
                attempts: work.attempts,
            },
            error: verdict.error.clone(),
            result: verdict.result.as_ref(),
        };
        serde_json::to_vec(&data)
            .expect("a result has a JSON form")
            .into()
    }

    fn document(&self, work: &Work, verdict: &Verdict, id: B32, data: &Bytes) -> Document {
        let attributes = Attributes {
            id: &id,
            time: Time::from_ms(unix_ms()),
            channel: work.channel.as_deref(),
            correlation_id: work.attributes.correlation_id.as_deref(),
            causation_id: Some(&work.attributes.id),
            trace: work.trace,
            model: self.model,
        };
        let data = match &verdict.dataref {
            Some(name) => Data::Blob(name),
            None => Data::Inline(data),
        };
        let body = envelope::result(&self.account, &work.kind, &attributes, data)
            // Only a channel id can be at fault, and the result says which command it is about.
            .or_else(|_| {
                let plain = Attributes {
                    channel: None,
                    ..attributes
                };
                envelope::result(&self.account, &work.kind, &plain, data)
            })
            .expect("without a channel every result is an envelope");
        Document {
            id,
            body: body.into(),
        }
    }

    fn reply(
        &self,
        work: &Work,
        error: Option<&ErrorObject>,
        document: &Document,
    ) -> Option<Reply> {
        let Origin::Request { reply, .. } = &work.origin else {
            return None;
        };
        let subject = reply.clone().filter(|_| !work.is_answered)?;
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers(work) {
            headers.insert(&*name, &*value);
        }
        headers.insert(crate::bus::ack::MESSAGE_ID, document.id.as_str());
        if let Some(error) = error {
            headers.insert(SERVICE_ERROR, error.code.as_str());
            headers.insert(SERVICE_ERROR_CODE, error.num.to_string());
        }
        Some(Reply {
            subject,
            headers,
            body: document.body.clone(),
        })
    }

    pub(super) async fn send(&self, reply: Option<Reply>) {
        let Some(Reply {
            subject,
            headers,
            body,
        }) = reply
        else {
            return;
        };
        let control = &self.gateway.control;
        let sent = control.publish_with_headers(subject, headers, body);
        // A caller that is gone hears nothing; whatever changed something stands in the results.
        let _ = timeout(REPLY_WITHIN, sent).await;
    }

    fn headers(&self, work: &Work) -> Headers {
        let (name, value) = CONTENT_TYPE;
        let mut headers: Headers = vec![(name.into(), value.into())];
        if let Some(context) = envelope::traceparent(&work.trace) {
            headers.push(("traceparent".into(), context.into()));
        }
        headers
    }

    async fn publish(&self, work: &Work, document: &Document) -> bool {
        let source = work.attributes.source.as_deref();
        let headers = self.headers(work);
        let parcel = Parcel {
            account: &self.account,
            kind: &work.kind,
            source,
            headers,
            id: document.id,
            body: document.body.clone(),
        };
        self.gateway.publish(parcel, &self.hold).await
    }

    /// Puts a durable command into the dead letters, as it was.
    async fn bury(&self, work: &Work, verdict: &Verdict) -> bool {
        let (Some(sequence), Some(error)) = (work.sequence(), &verdict.error) else {
            return true;
        };
        // Gone from its stream: somebody deleted it, and there is nothing to keep.
        let Some(original) = self.gateway.read(sequence, &self.hold).await else {
            return self.hold.is_held();
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
        let is_stored = self.gateway.dead_letters.put(letter, &self.hold).await;
        if is_stored {
            self.figures.dead_letter(error.class);
        }
        is_stored
    }

    fn count(&self, work: &Work, verdict: &Verdict) {
        let class = verdict.error.as_ref().map(|error| error.class);
        // A name that nobody declares must not make metrics grow.
        let name = match work.what {
            What::Unknown => "other",
            _ => &work.name,
        };
        self.figures.command(name, verdict.status, class);
        let histogram = match work.is_durable {
            true => &self.figures.durable,
            false => &self.figures.request,
        };
        histogram.record(work.taken.elapsed());
    }
}

/// A result on its way into the stream.
struct Parcel<'a> {
    account: &'a Account,
    kind: &'a Kind,
    source: Option<&'a str>,
    headers: Headers,
    id: B32,
    body: Bytes,
}

impl Gateway {
    /// False: the lease was lost first.
    async fn publish(&self, parcel: Parcel<'_>, hold: &Hold) -> bool {
        let Parcel { account, kind, .. } = parcel;
        let caller = parcel
            .source
            .map(|source| source.strip_prefix("/app/").unwrap_or(source))
            .filter(|caller| !caller.is_empty());
        let message = Outgoing {
            subject: self.subjects.result(account, kind, caller),
            message_id: parcel.id.as_str().into(),
            headers: parcel.headers,
            payload: parcel.body,
            stream: self.results.clone(),
            hold: hold.clone(),
        };
        match self.acks.publish(message).await.acked().await {
            Acked::Stored { .. } | Acked::Duplicate { .. } => true,
            Acked::Abandoned => false,
            // It would be refused again: the ledger still answers whoever asks.
            Acked::Refused(refusal) => {
                tracing::error!(%account, command = %kind, "a result is not stored: {refusal}");
                true
            }
        }
    }

    /// Stores the result of a command whose account nobody here has. False: the lease was lost first.
    pub(super) async fn answer_stray(
        &self,
        account: &Account,
        kind: &Kind,
        delivered: &Delivered,
        error: &ErrorObject,
        hold: &Hold,
    ) -> bool {
        let sequence = Fallback::Sequence(delivered.sequence);
        let headers = Some(&delivered.headers);
        let (of, _) = incoming::read(&kind.to_string(), headers, &delivered.payload, sequence);
        let (provider, alias) = (account.provider.as_str(), account.alias.as_str());
        let status = ResultStatus::Error;
        let id = result_id(provider, alias, &of.id, status.as_str(), &error.code);
        let data = ResultData::<Json> {
            command_id: of.id.clone(),
            command: kind.to_string(),
            idempotency_key: None,
            client_ref: None,
            status,
            duplicate: false,
            dry_run: false,
            timing: Timing::default(),
            error: Some(error.clone()),
            result: None,
        };
        let data = serde_json::to_vec(&data).expect("a result has a JSON form");
        let attributes = Attributes {
            id: &id,
            time: Time::from_ms(unix_ms()),
            channel: None,
            correlation_id: of.correlation_id.as_deref(),
            causation_id: Some(&of.id),
            trace: Trace::NONE,
            model: OWN_MODEL,
        };
        let body = envelope::result(account, kind, &attributes, Data::Inline(&data))
            .expect("without a channel every result is an envelope");
        let (name, value) = CONTENT_TYPE;
        let parcel = Parcel {
            account,
            kind,
            source: of.source.as_deref(),
            headers: vec![(name.into(), value.into())],
            id,
            body: body.into(),
        };
        self.publish(parcel, hold).await
    }
}

/// The model that the core itself writes.
const OWN_MODEL: ModelMinor = ModelMinor(im_bridge_sdk::model::MODEL.minor);

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
