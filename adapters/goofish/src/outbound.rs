//! Commands: what the provider is asked for each, and what its answer means.
//!
//! * `send.rs`: messages, and what became of one whose answer was lost. With `draft.rs`.
//! * `messages.rs`: history, recall, read marks, unread counts.
//! * `channels.rs`: conversations and who is in them.
//! * `control.rs`: control of the account.
//!
//! Not here: waiting for answers (`link.rs`).

mod channels;
mod control;
mod draft;
mod messages;
mod send;

use std::time::Duration;

use im_bridge_sdk::model::{self, ErrorCode, params, results};
use im_bridge_sdk::{Command, Context, Noise, Outcome, Verdict};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Goofish;
use crate::link::{AskError, Asker};
use crate::native::frame::Reply;
use crate::native::refusal::Refusal;

pub use messages::Unread;

/// The provider asks to slow down without saying how long.
const SLOWER: Duration = Duration::from_secs(2);

/// The error side is an outcome as well: why the command failed.
type Done = Result<Outcome, Outcome>;

pub async fn execute(goofish: &Goofish, cx: &Context, command: &Command) -> Outcome {
    let done = match command.name().parse::<model::Command>() {
        Ok(model::Command::MessageSend) => send::execute(goofish, cx, command).await,
        Ok(model::Command::MessageList) => messages::list(goofish, cx, command).await,
        Ok(model::Command::MessageRecall) => messages::recall(goofish, cx, command).await,
        Ok(model::Command::ReceiptRead) => messages::mark_read(goofish, cx, command).await,
        Ok(model::Command::UnreadGet) => messages::unread(goofish, cx, command).await,
        Ok(model::Command::ChannelList) => channels::list(goofish, cx, command).await,
        Ok(model::Command::ChannelGet) => channels::get(goofish, cx, command).await,
        Ok(model::Command::ChannelCreate) => channels::create(goofish, cx, command).await,
        Ok(model::Command::MemberList) => channels::members(goofish, cx, command).await,
        Ok(model::Command::UserGet) => channels::user(goofish, cx, command).await,
        Ok(model::Command::NativeCall) => native_call(goofish, cx, command).await,
        Ok(name) => Err(not_here(name.as_str())),
        Err(_) => control::execute(goofish, cx, command).await,
    };
    done.unwrap_or_else(|failed| failed)
}

/// What became of a command whose answer was lost, without acting.
pub async fn verify(goofish: &Goofish, cx: &Context, command: &Command) -> Verdict {
    match command.name().parse::<model::Command>() {
        Ok(model::Command::MessageSend) => send::verify(goofish, cx, command).await,
        // Both find what is there already, so doing it again does nothing twice and has the true answer.
        Ok(model::Command::ReceiptRead | model::Command::ChannelCreate) => Verdict::DidNotHappen,
        _ => Verdict::Unknown,
    }
}

/// Any request that has no word in the model: its path, and its body as the provider wants it. The core lets through what
/// the operator allowed.
async fn native_call(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::NativeCall = command.params()?;
    let bad = |text: &str, path: &'static str| Outcome::error(ErrorCode::BadParam, text).path(path);
    // Registration and heartbeats are the session's.
    if !asked.method.starts_with("/r/") {
        return Err(bad(
            "the method is a path that begins with /r/",
            "/params/method",
        ));
    }
    let body: Box<RawValue> = match &asked.body {
        Some(body) => body
            .read()
            .map_err(|error| Outcome::error(ErrorCode::BadParam, error).path("/params/body"))?,
        None => RawValue::from_string("[]".to_owned()).expect("an empty array is JSON"),
    };
    if !body.get().starts_with('[') {
        return Err(bad("the body is an array", "/params/body"));
    }
    let reply = ask(goofish, cx, command, Effect::Changes, &asked.method, &body)
        .await
        .map_err(|error| failed(&error, Effect::Changes))?;
    let native = model::Json::from_text(reply.text)
        .map_err(|error| Outcome::error(ErrorCode::AdapterError, error))?;
    Ok(Outcome::ok(
        "",
        &results::NativeCall {
            native,
            degradations: vec![],
        },
    ))
}

/// What a request does to the world, and so what a lost answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Changes,
    Reads,
}

/// One request of a command.
async fn ask(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    effect: Effect,
    lwp: &str,
    body: &impl Serialize,
) -> Result<Reply, AskError> {
    let mut op = cx.op("request", Noise::Command);
    op.detail(lwp.to_owned());
    let limit = goofish.config.request_timeout();
    let handing_over = || {
        if effect == Effect::Changes {
            command.sent();
        }
    };
    match goofish
        .link
        .ask(cx, Asker::Command, limit, lwp, body, handing_over)
        .await
    {
        Ok(reply) => {
            op.done();
            Ok(reply)
        }
        Err(error) => {
            op.class(code(&error, effect).class());
            op.fail(&error);
            Err(error)
        }
    }
}

/// As [`ask`], for what reads.
async fn read(
    goofish: &Goofish,
    cx: &Context,
    command: &Command,
    lwp: &str,
    body: &impl Serialize,
) -> Result<Reply, Outcome> {
    let asked = ask(goofish, cx, command, Effect::Reads, lwp, body).await;
    asked.map_err(|error| failed(&error, Effect::Reads))
}

fn failed(error: &AskError, effect: Effect) -> Outcome {
    let code = code(error, effect);
    let AskError::Refused(refusal) = error else {
        return Outcome::error(code, error);
    };
    let text = refusal.native_text();
    let outcome = Outcome::error(code, "the provider refused")
        .native(Some(&refusal.native_code()), text.as_deref(), None)
        .certain(refusal.is_certain() || effect == Effect::Reads);
    if code == ErrorCode::RateLimited {
        outcome.retry_after(SLOWER)
    } else {
        outcome
    }
}

fn code(error: &AskError, effect: Effect) -> ErrorCode {
    match (error, effect) {
        (AskError::NotConnected, _) => ErrorCode::NotConnected,
        (AskError::Busy, _) => ErrorCode::Overloaded,
        (AskError::Lost, Effect::Changes) => ErrorCode::LostAck,
        (AskError::Lost, Effect::Reads) => ErrorCode::Network,
        (AskError::Late(_), Effect::Changes) => ErrorCode::TimeoutAfterSend,
        (AskError::Late(_), Effect::Reads) => ErrorCode::ProviderUnavailable,
        (AskError::Refused(refusal), effect) => refusal_code(refusal, effect),
    }
}

fn refusal_code(refusal: &Refusal, effect: Effect) -> ErrorCode {
    if refusal.is_unauthorized() {
        ErrorCode::TokenExpired
    } else if refusal.is_flow_control() {
        ErrorCode::RateLimited
    } else if refusal.is_content() {
        ErrorCode::ContentRejected
    } else if refusal.is_certain() {
        ErrorCode::ProviderError
    } else if effect == Effect::Changes {
        ErrorCode::TimeoutAfterSend
    } else {
        ErrorCode::ProviderUnavailable
    }
}

fn not_here(name: &str) -> Outcome {
    Outcome::error(
        ErrorCode::NotImplemented,
        format_args!("{name} is not known here"),
    )
}

/// An option of the provider in `ext.goofish`.
fn option<T: serde::de::DeserializeOwned>(
    ext: &model::Ext,
    name: &str,
) -> Result<Option<T>, Outcome> {
    let Some(options) = ext.get(crate::PROVIDER) else {
        return Ok(None);
    };
    let bad = |error| {
        Outcome::error(ErrorCode::BadParam, error)
            .path(format!("/params/ext/{}/{name}", crate::PROVIDER))
    };
    let options: serde_json::Map<String, serde_json::Value> = options.read().map_err(bad)?;
    options
        .get(name)
        .map(|value| serde_json::from_value(value.clone()))
        .transpose()
        .map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_is_uncertain_only_where_something_may_have_changed() {
        let late = AskError::Late(Duration::ZERO);
        assert_eq!(code(&late, Effect::Changes), ErrorCode::TimeoutAfterSend);
        assert_eq!(code(&late, Effect::Reads), ErrorCode::ProviderUnavailable);
        let refused = |code, body_code: Option<&str>, more: Option<&str>| {
            AskError::Refused(Refusal {
                code: Some(code),
                body_code: body_code.map(str::to_owned),
                reason: Some("no".to_owned()),
                more: more.map(str::to_owned),
            })
        };
        for (error, wanted) in [
            (refused(200, None, None), ErrorCode::ProviderError),
            (
                refused(200, Some("400600001"), None),
                ErrorCode::RateLimited,
            ),
            (
                refused(200, None, Some("CSI_FORBID||x")),
                ErrorCode::ContentRejected,
            ),
            (refused(401, None, None), ErrorCode::TokenExpired),
            (refused(403, None, None), ErrorCode::ProviderError),
            (refused(408, None, None), ErrorCode::TimeoutAfterSend),
            (refused(500, None, None), ErrorCode::TimeoutAfterSend),
        ] {
            assert_eq!(code(&error, Effect::Changes), wanted, "{error}");
        }
    }
}
