//! What a result looks like, where it is stored, and how whoever waits for it gets it.
//!
//! Not here: the order in which an end is told (`answer`).

use super::answer::Verdict;
use super::desk::Desk;
use super::gateway::Gateway;
use super::incoming::{self, Fallback};
use super::metrics::GivenUp;
use super::trace::end_of;
use super::work::{Origin, Work};
use crate::bus::clock::unix_ms;
use crate::bus::consumer::Delivered;
use crate::bus::{Account, Acked, Headers, Hold, Kind, Outgoing};
use crate::envelope::{self, Attributes, Data, ModelMinor};
use crate::telemetry::{Carried, CommandSpan, PublishEnd, PublishSpan};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use im_bridge_sdk::model::ids::{B32, result_id};
use im_bridge_sdk::model::{ErrorObject, Json, ResultData, ResultStatus, Time, Timing};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::timeout;

const CONTENT_TYPE: (&str, &str) = ("Content-Type", "application/cloudevents+json");
const SERVICE_ERROR: &str = "Nats-Service-Error";
const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
/// Room for what is said of an ordinary end, beside its result.
const DATA_BYTES: usize = 384;
/// A reply waits for room in the client's channel; a caller that waits longer asks again.
const REPLY_WITHIN: Duration = Duration::from_secs(2);

/// A result as it is published.
pub(super) struct Document {
    id: B32,
    body: Bytes,
}

impl Document {
    /// It went to whoever waits, and nowhere else.
    pub(super) fn replied(&self) -> PublishEnd<'_> {
        PublishEnd::Stored {
            message_id: self.id.as_str(),
            body_bytes: self.body.len(),
            stored: None,
        }
    }
}

/// An answer to who waits for it.
pub(super) struct Reply {
    pub subject: Subject,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Desk {
    pub(super) fn id(&self, work: &Work, verdict: &Verdict) -> B32 {
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
    pub(super) fn data(&self, work: &Work, verdict: &Verdict) -> Bytes {
        let client_ref = work.client_ref(self.key_chars()).map(Cow::into_owned);
        let idempotency_key = work.key.clone().filter(|_| client_ref.is_some());
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
        let result_bytes = verdict.result.as_ref().map_or(0, |it| it.as_str().len());
        let mut json = Vec::with_capacity(DATA_BYTES + result_bytes);
        serde_json::to_writer(&mut json, &data).expect("a result has a JSON form");
        json.into()
    }

    pub(super) fn document(
        &self,
        work: &Work,
        verdict: &Verdict,
        id: B32,
        data: &Bytes,
        telling: &PublishSpan,
    ) -> Document {
        let attributes = Attributes {
            id: &id,
            time: Time::from_ms(unix_ms()),
            channel: work.channel.as_deref(),
            correlation_id: work.attributes.correlation_id.as_deref(),
            causation_id: Some(&work.attributes.id),
            trace: telling.context(),
            model: self.terms().model,
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

    pub(super) fn reply(
        &self,
        work: &Work,
        error: Option<&ErrorObject>,
        document: &Document,
        telling: &PublishSpan,
    ) -> Option<Reply> {
        let Origin::Request { reply, .. } = &work.origin else {
            return None;
        };
        let subject = reply.clone().filter(|_| !work.is_answered)?;
        let mut headers = error.map(error_lines).unwrap_or_default();
        for (name, value) in lines(telling) {
            headers.insert(&*name, &*value);
        }
        headers.insert(crate::bus::ack::MESSAGE_ID, document.id.as_str());
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

    /// Stores it. False: the lease was lost first.
    pub(super) async fn publish(
        &self,
        work: &Work,
        document: &Document,
        telling: PublishSpan,
    ) -> bool {
        let source = work.attributes.source.as_deref();
        let headers = lines(&telling);
        let parcel = Parcel {
            account: &self.account,
            kind: &work.kind,
            source,
            headers,
            id: document.id,
            body: document.body.clone(),
        };
        self.gateway.publish(parcel, &self.hold, telling).await
    }
}

/// What the service framework's clients look for.
pub(super) fn error_lines(error: &ErrorObject) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SERVICE_ERROR, error.code.as_str());
    headers.insert(SERVICE_ERROR_CODE, error.num.to_string());
    headers
}

/// The headers of a result, but for its id.
fn lines(telling: &PublishSpan) -> Headers {
    let (name, value) = CONTENT_TYPE;
    let mut headers: Headers = vec![(name.into(), value.into())];
    telling.write(&mut headers);
    headers
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
    async fn publish(&self, parcel: Parcel<'_>, hold: &Hold, telling: PublishSpan) -> bool {
        let Parcel {
            account, kind, id, ..
        } = parcel;
        let body_bytes = parcel.body.len();
        let caller = parcel
            .source
            .map(|source| source.strip_prefix("/app/").unwrap_or(source))
            .filter(|caller| !caller.is_empty());
        let message = Outgoing {
            subject: self.subjects.result(account, kind, caller),
            message_id: id.as_str().into(),
            headers: parcel.headers,
            payload: parcel.body,
            stream: self.results.clone(),
            hold: hold.clone(),
        };
        // In a box: what it sends is gone at once, and the wait for its being stored would keep room for it.
        let acked = Box::pin(self.acks.publish(message)).await.acked().await;
        telling.finish(&end_of(&acked, &self.results, id.as_str(), body_bytes));
        match acked {
            Acked::Stored { .. } | Acked::Duplicate { .. } => true,
            Acked::Abandoned => false,
            // It would be refused again: the ledger still answers whoever asks.
            Acked::Refused(refusal) => {
                let figures = self.figures().provider(&account.provider);
                figures.given_up(GivenUp::Result);
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
        // No account, no attempt: what the command brought goes on.
        let carried = Carried::read(headers, of.traceparent.as_deref(), of.tracestate.as_deref());
        let telling = CommandSpan::passing(&carried).publish(Default::default);
        let attributes = Attributes {
            id: &id,
            time: Time::from_ms(unix_ms()),
            channel: None,
            correlation_id: of.correlation_id.as_deref(),
            causation_id: Some(&of.id),
            trace: telling.context(),
            model: OWN_MODEL,
        };
        let body = envelope::result(account, kind, &attributes, Data::Inline(&data))
            .expect("without a channel every result is an envelope");
        let parcel = Parcel {
            account,
            kind,
            source: of.source.as_deref(),
            headers: lines(&telling),
            id,
            body: body.into(),
        };
        self.publish(parcel, hold, telling).await
    }
}

/// The model that the core itself writes.
const OWN_MODEL: ModelMinor = ModelMinor(im_bridge_sdk::model::MODEL.minor);
