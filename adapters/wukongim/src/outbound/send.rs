//! Sending: over the connection, whose answer says what became of the message, or by HTTP.
//!
//! The command's client reference is the message's client number. After a lost answer the server is asked for it; the number
//! alone keeps nothing from being stored twice.

use std::sync::Arc;
use std::time::Duration;

use im_bridge_sdk::model::{ErrorCode, Options, ids, params, results};
use im_bridge_sdk::{Command, Context, Noise, Outcome, Verdict};

use super::content::{self, Bodies};
use super::{Done, channel, own};
use crate::api::{ApiError, Call, ToSend};
use crate::link::AskError;
use crate::native::channel::ChannelId;
use crate::native::packet::{Flags, Send, SendAck};
use crate::native::reason::{self, Refusal};
use crate::native::record::{Record, SentRecord};
use crate::session::Ending;
use crate::{WukongIm, locked};

/// The server answers within milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a new connection with new keys may take.
const KEYS_WITHIN: Duration = Duration::from_secs(15);

/// A message that was on its way when the connection broke may be stored a little later.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A part that was sent.
struct Part {
    /// None where nobody told it exactly.
    id: Option<i64>,
    seq: Option<u64>,
    /// Accepted only: it may still fail.
    is_accepted: bool,
}

/// What stays the same for all parts.
struct Sending<'a> {
    wukongim: &'a WukongIm,
    cx: &'a Context,
    command: &'a Command,
    channel: Arc<ChannelId>,
    me: String,
    options: Options,
}

pub async fn send(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::MessageSend = command.params()?;
    let options: Options = command.options()?;
    let channel = channel(wukongim, command)?;
    let me = own(wukongim)?;
    let bodies = content::bodies(&asked.message, &options)?;
    // The server stores the same number twice: look first.
    if command.is_redelivered()
        && wukongim.config.has_native()
        && let Verdict::Happened(outcome) = verify(wukongim, cx, command).await
    {
        return Ok(outcome);
    }
    let sending = Sending {
        wukongim,
        cx,
        command,
        channel,
        me,
        options,
    };
    let mut parts = Vec::new();
    for (index, payload) in bodies.payloads.iter().enumerate() {
        let client_ref = part_ref(command.idempotency_key(), index);
        match sending.part(&client_ref, payload).await {
            Ok(part) => parts.push(part),
            Err(failed) if parts.is_empty() => return Err(failed),
            Err(failed) => return Err(failed.result(&partly(&parts, bodies.degradations))),
        }
    }
    Ok(sent(&sending.channel, &parts, bodies))
}

/// The client number of a part: the first one's is the command's.
fn part_ref(key: &str, index: usize) -> String {
    if index == 0 {
        key.to_owned()
    } else {
        format!("{key}-p{index}")
    }
}

fn ids_of(parts: &[Part]) -> Vec<String> {
    let known = parts.iter().filter_map(|part| part.id);
    known.map(|id| id.to_string()).collect()
}

fn partly(parts: &[Part], degradations: Vec<results::Degradation>) -> results::PartlySent {
    results::PartlySent {
        parts: ids_of(parts),
        degradations,
    }
}

fn sent(channel: &ChannelId, parts: &[Part], bodies: Bodies) -> Outcome {
    let is_accepted = parts.iter().any(|part| part.is_accepted);
    let ids = ids_of(parts);
    let Some(id) = ids.first().cloned() else {
        // The number was rounded on the way; the echo will tell it.
        return Outcome::accepted("");
    };
    let result = results::MessageSend {
        message: results::SentMessage {
            id: id.clone(),
            channel_id: channel.to_string(),
            parts: ids,
            created_at: None,
            orderkey: parts[0].seq.map(ids::order_key),
        },
        degradations: bodies.degradations,
    };
    if is_accepted {
        Outcome::accepted(id).result(&result)
    } else {
        Outcome::ok(id, &result)
    }
}

impl Sending<'_> {
    async fn part(&self, client_ref: &str, payload: &[u8]) -> Result<Part, Outcome> {
        if self.wukongim.config.sends_by_http() {
            self.by_http(client_ref, payload).await
        } else {
            self.by_connection(client_ref, payload).await
        }
    }

    async fn by_connection(&self, client_ref: &str, payload: &[u8]) -> Result<Part, Outcome> {
        let mut op = self.cx.op("send", Noise::Command);
        op.detail("SEND");
        let answer = match self.ask(client_ref, payload).await {
            Ok(answer) => answer,
            Err((code, failed)) => {
                op.class(code.class());
                op.fail(code.as_str());
                return Err(failed);
            }
        };
        if answer.reason == reason::SUCCESS {
            op.done();
            return Ok(Part {
                id: Some(answer.message_id),
                seq: Some(answer.message_seq).filter(|seq| *seq > 0),
                is_accepted: false,
            });
        }
        op.fail(reason::name(answer.reason));
        Err(refused(answer.reason))
    }

    /// Asks; once more over a new connection when the server could not unseal it.
    async fn ask(&self, client_ref: &str, payload: &[u8]) -> Result<SendAck, (ErrorCode, Outcome)> {
        let link = &self.wukongim.link;
        let mut has_new_keys = false;
        loop {
            let session = link.session();
            let message = Send {
                flags: Flags::default().with(Flags::RED_DOT, self.options.notify),
                client_msg_no: client_ref.to_owned(),
                channel_id: self.channel.written_by(&self.me).to_owned(),
                channel_type: self.channel.kind,
                expire_s: self.expire_s(),
                payload: payload.to_vec(),
                ..Send::default()
            };
            let asking = link.send(Arc::clone(&self.channel), message, || {
                self.hand_over(client_ref)
            });
            let answer = match self.cx.timeout(ANSWER_WITHIN, asking).await {
                Some(Ok(answer)) => answer,
                Some(Err(error)) => return Err(not_answered(error)),
                None => {
                    let text = format!("no SENDACK within {ANSWER_WITHIN:?}");
                    let code = ErrorCode::TimeoutAfterSend;
                    return Err((code, Outcome::error(code, text)));
                }
            };
            let is_key =
                reason::refusal(answer.reason) == Refusal::Keys && answer.reason != reason::SUCCESS;
            if !is_key || std::mem::replace(&mut has_new_keys, true) {
                return Ok(answer);
            }
            tracing::warn!(
                reason = answer.reason,
                "the server could not unseal a message; connecting anew"
            );
            self.wukongim.control.end(Ending::Reconnect);
            if self
                .cx
                .timeout(KEYS_WITHIN, link.opened(session))
                .await
                .is_none()
            {
                return Ok(answer);
            }
        }
    }

    /// The point of no return. Known from here on: an echo may be faster than the answer.
    fn hand_over(&self, client_ref: &str) {
        locked(&self.wukongim.sent).add(client_ref);
        self.command.sent();
    }

    fn expire_s(&self) -> u32 {
        let expire_s = self.options.expires_in_s.unwrap_or(0);
        u32::try_from(expire_s).unwrap_or(u32::MAX)
    }

    async fn by_http(&self, client_ref: &str, payload: &[u8]) -> Result<Part, Outcome> {
        let message = ToSend {
            channel: &self.channel,
            client_msg_no: client_ref,
            payload,
            red_dot: self.options.notify,
            expire_s: self.expire_s(),
        };
        let handing_over = || self.hand_over(client_ref);
        let (native, openchat) = (
            self.wukongim.native(self.cx),
            self.wukongim.openchat(self.cx),
        );
        let answered = match (native, openchat) {
            (Some(native), _) => native.send(&self.me, &message, handing_over).await,
            (None, Some(openchat)) => openchat.send(&message, handing_over).await,
            (None, None) => Err(ApiError::NotConfigured),
        };
        let record = answered.map_err(|error| self.http_failed(&error))?;
        let SentRecord {
            message_id,
            message_seq,
            reason,
        } = record;
        if let Some(code) = reason.filter(|code| *code != reason::SUCCESS) {
            return Err(refused(code));
        }
        // Without a number nothing is stored yet.
        let is_accepted = message_seq.is_none();
        if is_accepted {
            locked(&self.wukongim.sent).expect(client_ref);
            self.wukongim
                .confirms
                .expect(self.cx, &self.channel, client_ref);
        }
        Ok(Part {
            id: message_id,
            seq: message_seq,
            is_accepted,
        })
    }

    fn http_failed(&self, error: &ApiError) -> Outcome {
        let is_openchat = !self.wukongim.config.has_native();
        let outcome = match error {
            // Somebody on the way answered, or the answer makes no sense: what the server did is not known.
            error if error.is_doubtful() && !matches!(error, ApiError::Http(_)) => {
                Outcome::error(ErrorCode::LostAck, error)
            }
            // OpenChat says the same when its server refused and when it did not answer in time.
            ApiError::Refused { .. } if is_openchat => {
                Outcome::error(ErrorCode::ProviderError, error).certain(false)
            }
            error => Outcome::error(error.code(), error),
        };
        error.described(outcome)
    }
}

fn not_answered(error: AskError) -> (ErrorCode, Outcome) {
    let (code, is_certain) = match error {
        AskError::NotConnected => (ErrorCode::NotConnected, true),
        AskError::Busy => (ErrorCode::Overloaded, true),
        AskError::NotWritten => (ErrorCode::Network, true),
        AskError::Lost => (ErrorCode::LostAck, false),
    };
    let outcome = Outcome::error(code, error);
    (
        code,
        if is_certain {
            outcome.certain(true)
        } else {
            outcome
        },
    )
}

/// The server said no, and why.
fn refused(code: u8) -> Outcome {
    let (error, text) = match reason::refusal(code) {
        Refusal::Code(error) => (error, reason::name(code)),
        Refusal::Keys => (
            ErrorCode::ProviderUnavailable,
            "the server cannot unseal messages, with new keys neither",
        ),
        Refusal::Doubtful => (ErrorCode::LostAck, reason::name(code)),
    };
    let outcome = Outcome::error(error, format_args!("the server refused: {text}"));
    let outcome = outcome.native(Some(&code.to_string()), Some(text), None);
    if error == ErrorCode::LostAck {
        outcome
    } else {
        outcome.certain(true)
    }
}

/// Asks for the client numbers of all parts.
pub async fn verify(wukongim: &WukongIm, cx: &Context, command: &Command) -> Verdict {
    let Ok(asked) = command.params::<params::MessageSend>() else {
        return Verdict::Unknown;
    };
    let Ok(options) = command.options::<Options>() else {
        return Verdict::Unknown;
    };
    let (Ok(channel), Ok(bodies)) = (
        channel(wukongim, command),
        content::bodies(&asked.message, &options),
    ) else {
        return Verdict::Unknown;
    };
    let (Some(native), Some(me)) = (wukongim.native(cx), wukongim.uid()) else {
        return Verdict::Unknown;
    };
    let key = command.idempotency_key();
    let refs: Vec<String> = (0..bodies.payloads.len())
        .map(|index| part_ref(key, index))
        .collect();
    let numbers: Vec<&str> = refs.iter().map(String::as_str).collect();
    for is_last in [false, true] {
        let found = native
            .messages(Call::OUTCOME, &me, &channel, &[], &numbers)
            .await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "what became of a message is not known yet");
                return Verdict::AskLater;
            }
        };
        if let Some(verdict) = judged(&channel, &refs, &found, bodies_of(&bodies)) {
            return verdict;
        }
        if !is_last {
            cx.sleep(LOOK_AGAIN_AFTER).await;
        }
    }
    Verdict::DidNotHappen
}

fn bodies_of(bodies: &Bodies) -> Bodies {
    Bodies {
        payloads: Vec::new(),
        degradations: bodies.degradations.clone(),
    }
}

/// None: nothing of it is there.
fn judged(
    channel: &ChannelId,
    refs: &[String],
    found: &[Record],
    bodies: Bodies,
) -> Option<Verdict> {
    let parts: Vec<Part> = refs
        .iter()
        .filter_map(|client_ref| {
            let record = found
                .iter()
                .find(|record| record.client_msg_no == *client_ref)?;
            Some(Part {
                id: Some(record.message_id),
                seq: Some(record.message_seq).filter(|seq| *seq > 0),
                is_accepted: false,
            })
        })
        .collect();
    if parts.is_empty() {
        return None;
    }
    if parts.len() < refs.len() {
        return Some(Verdict::Unknown);
    }
    Some(Verdict::Happened(sent(channel, &parts, bodies)))
}
