//! Sending, and what became of a message whose answer was lost.
//!
//! The provider does the same thing twice if it is asked twice, so a send is written down before it is handed over, and a
//! lost answer is looked for in the history: nothing of ours there, it did not happen; exactly one message that fits and
//! belongs to nobody, that is it; anything else stays unknown.

use im_bridge_sdk::model::results::{self, PartlySent, SentMessage};
use im_bridge_sdk::model::{ErrorCode, Options, Time, params};
use im_bridge_sdk::{Command, Context, Noise, Outcome, Verdict};
use serde_json::Value;

use super::draft::{self, Planned};
use super::{Done, Effect, ask, channels, failed, option};
use crate::link::{AskError, Asker};
use crate::native::answers::{Page, Sent};
use crate::native::calls::{self, FIRST_CURSOR, HISTORY, SEND, Sending};
use crate::native::content::IMAGE;
use crate::native::message::Message;
use crate::sends::{self, CLOCK_MS, Send, content_hash};
use crate::{Goofish, locked};

/// A message may still be on its way to the history for so long after it was handed over.
const STORED_WITHIN_MS: i64 = 3_000;

/// Pages of the history that are looked through for a message, and messages of a page.
const LOOK_PAGES_MAX: usize = 10;
const LOOK_PAGE: u32 = 50;

pub async fn execute(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::MessageSend = command.params()?;
    let options: Options = command.options()?;
    let conversation = conversation(command)?;
    let planned = draft::plan(&asked.message, &options)?;
    if command.is_redelivered() {
        match verify(goofish, cx, command).await {
            Verdict::Happened(outcome) => return Ok(outcome),
            Verdict::DidNotHappen => {}
            Verdict::Unknown => {
                return Err(Outcome::error(
                    ErrorCode::LostAck,
                    "whether an earlier attempt arrived is not known",
                ));
            }
            Verdict::AskLater => {
                let text =
                    "an earlier attempt may have arrived, and the history cannot be read now";
                return Err(Outcome::error(ErrorCode::ProviderUnavailable, text));
            }
        }
    }
    let receivers = match option::<Vec<String>>(&asked.ext, "receivers")? {
        Some(receivers) if !receivers.is_empty() => receivers,
        _ => channels::both(goofish, cx, command, &conversation).await?,
    };
    let mut sent = Vec::new();
    for (part, content) in planned.contents.iter().enumerate() {
        match one(
            goofish,
            cx,
            command,
            &conversation,
            &receivers,
            content,
            part,
        )
        .await
        {
            Ok(one) => sent.push(one),
            Err(error) if sent.is_empty() => return Err(failed(&error, Effect::Changes)),
            Err(error) => {
                let parts = sent.iter().filter_map(|one| one.id.clone()).collect();
                let partly = PartlySent {
                    parts,
                    degradations: planned.degradations,
                };
                return Err(failed(&error, Effect::Changes).result(&partly));
            }
        }
    }
    Ok(done(&conversation, &sent, planned))
}

fn conversation(command: &Command) -> Result<String, Outcome> {
    let missing = || Outcome::error(ErrorCode::BadParam, "no channel is named").path("/params/to");
    command.channel().map(str::to_owned).ok_or_else(missing)
}

/// One message of the provider's.
async fn one(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    conversation: &str,
    receivers: &[String],
    content: &str,
    part: usize,
) -> Result<Sent, AskError> {
    let native: Value = serde_json::from_str(content).unwrap_or_default();
    let is_image = native["contentType"] == IMAGE;
    let under_way = sends::begin(
        goofish,
        cx,
        Send {
            client_ref: command.idempotency_key().to_owned(),
            part,
            conversation: conversation.to_owned(),
            content: content_hash(&native),
            at_ms: goofish.provider_ms(cx),
            message: None,
            is_taken: false,
        },
    );
    let under_way = under_way.await;
    let uuid = format!("-{}{:04}", cx.now_ms(), fastrand::u32(0..10_000));
    let sending = Sending {
        uuid: &uuid,
        conversation,
        content,
        custom_type: if is_image {
            goofish.config.image_type.into()
        } else {
            1
        },
        receivers,
    };
    match ask(goofish, cx, command, Effect::Changes, SEND, &sending.body()).await {
        Ok(reply) => {
            let sent = Sent::read(&reply.body);
            under_way.taken(cx, sent.id.as_deref());
            Ok(sent)
        }
        Err(error) => {
            let is_certain = match &error {
                AskError::NotConnected | AskError::Busy => true,
                AskError::Refused(refusal) => refusal.is_certain(),
                AskError::Lost | AskError::Late(_) => false,
            };
            if is_certain {
                under_way.refused(cx);
            }
            Err(error)
        }
    }
}

fn done(conversation: &str, sent: &[Sent], planned: Planned) -> Outcome {
    let ids: Option<Vec<String>> = sent.iter().map(|one| one.id.clone()).collect();
    // Taken, without saying as what: its echo will tell.
    let Some(parts) = ids.filter(|ids| !ids.is_empty()) else {
        return Outcome::accepted("");
    };
    let message = SentMessage {
        id: parts[0].clone(),
        channel_id: conversation.to_owned(),
        created_at: sent[0].at_ms.map(Time::from_ms),
        orderkey: None,
        parts,
    };
    let result = results::MessageSend {
        message,
        degradations: planned.degradations,
    };
    Outcome::ok(result.message.id.clone(), &result)
}

pub async fn verify(goofish: &Goofish, cx: &Context, command: &Command) -> Verdict {
    let (Ok(asked), Ok(options), Ok(conversation)) = (
        command.params::<params::MessageSend>(),
        command.options::<Options>(),
        conversation(command),
    ) else {
        return Verdict::Unknown;
    };
    let Ok(planned) = draft::plan(&asked.message, &options) else {
        return Verdict::Unknown;
    };
    let mut all = Vec::new();
    for (part, content) in planned.contents.iter().enumerate() {
        let native: Value = serde_json::from_str(content).unwrap_or_default();
        let send = match sends::recall(goofish, cx, command.idempotency_key(), part).await {
            Ok(Some(send)) => send,
            // Nothing is known of the first: too long ago. Of a later one: the first ones are all that was begun.
            Ok(None) => return Verdict::Unknown,
            Err(_) => return Verdict::AskLater,
        };
        if send.content != content_hash(&native) || send.conversation != conversation {
            return Verdict::Unknown;
        }
        match look(goofish, cx, &send).await {
            Look::Found(sent) => all.push(sent),
            // Once some parts are there, sending again would send those twice.
            Look::Missing if part == 0 => return Verdict::DidNotHappen,
            Look::Missing | Look::Unclear => return Verdict::Unknown,
            Look::Later => return Verdict::AskLater,
        }
    }
    Verdict::Happened(done(&conversation, &all, planned))
}

enum Look {
    Found(Sent),
    Missing,
    Unclear,
    Later,
}

/// Looks for a send in the history since it was handed over.
async fn look(goofish: &Goofish, cx: &Context, send: &Send) -> Look {
    if let Some(id) = &send.message {
        return Look::Found(Sent {
            id: Some(id.clone()),
            at_ms: None,
        });
    }
    if goofish.provider_ms(cx) < send.at_ms + STORED_WITHIN_MS {
        return Look::Later;
    }
    let mut op = cx.op("verify", Noise::Command);
    op.detail(HISTORY);
    let since_ms = send.at_ms - CLOCK_MS;
    let found = match since(goofish, cx, &send.conversation, since_ms).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            op.fail("the history goes on and on");
            return Look::Unclear;
        }
        Err(error) => {
            op.fail(&error);
            return Look::Later;
        }
    };
    op.done();
    let me = goofish.me();
    let (is_alone, mut fits) = {
        let sends = locked(&goofish.sends);
        let is_ours = |message: &&Message| {
            message.sender.as_deref() == Some(&*me)
                && message
                    .native
                    .as_ref()
                    .is_some_and(|native| content_hash(native) == send.content)
                && !sends.is_attributed(&message.id)
        };
        let fits: Vec<Message> = found.iter().filter(is_ours).cloned().collect();
        (sends.alike(send) <= 1, fits.into_iter())
    };
    match (fits.next(), fits.next()) {
        (None, _) => Look::Missing,
        (Some(message), None) if is_alone => {
            sends::resolved(goofish, cx, send, &message.id).await;
            Look::Found(Sent {
                id: Some(message.id),
                at_ms: message.at_ms,
            })
        }
        _ => Look::Unclear,
    }
}

/// Messages of a conversation since a time, newest first; none when there are too many of them.
async fn since(
    goofish: &Goofish,
    cx: &Context,
    conversation: &str,
    since_ms: i64,
) -> Result<Option<Vec<Message>>, AskError> {
    let (mut all, mut cursor) = (Vec::new(), FIRST_CURSOR);
    let limit = goofish.config.request_timeout();
    for _ in 0..LOOK_PAGES_MAX {
        let body = calls::history(conversation, cursor, LOOK_PAGE);
        let reply = goofish
            .link
            .ask(cx, Asker::Command, limit, HISTORY, &body, || {})
            .await?;
        let page = Page::messages(&reply.body);
        let is_older = |message: &Message| message.at_ms.is_some_and(|at_ms| at_ms < since_ms);
        let is_last = page.all.iter().any(is_older);
        all.extend(page.all.into_iter().filter(|message| !is_older(message)));
        match page.next.filter(|next| !is_last && *next < cursor) {
            Some(next) => cursor = next,
            None => return Ok(Some(all)),
        }
    }
    Ok(None)
}
