//! Commands: what the provider is asked for each, and what its answer means.
//!
//! A command becomes one call ([`request`]), and the answer to that call a result ([`result`]). They are apart because
//! verifying needs the second without the first: the provider remembers what it answered to a client reference, so after
//! a lost answer the result is the one that would have come.
//!
//! Not here: control of the account (`control`), waiting for answers (`link.rs`).

mod control;
mod request;
mod result;

use std::time::Duration;

use im_bridge_sdk::model::{self, ErrorCode, params};
use im_bridge_sdk::{Command, Context, Noise, Outcome, Verdict};
use serde_json::{Value, json};

use crate::Sim;
use crate::link::AskError;
use crate::native::{self, Call, Refusal};
use crate::panics::PanicAt;

pub async fn execute(sim: &Sim, cx: &Context, command: &Command) -> Outcome {
    sim.panics.at(PanicAt::Execute);
    let done = match command.name().parse::<model::Command>() {
        Ok(model::Command::NativeCall) => native_call(sim, command).await,
        Ok(name) => call(sim, cx, command, name).await,
        Err(_) => control::execute(sim, cx, command).await,
    };
    done.unwrap_or_else(|failed| failed)
}

/// The error side is an outcome as well: why the command failed.
type Done = Result<Outcome, Outcome>;

async fn call(sim: &Sim, cx: &Context, command: &Command, name: model::Command) -> Done {
    let call = request::request(name, command)?;
    // The provider does the same thing twice if it is asked twice: look first.
    if command.is_redelivered()
        && !sim.config.deduplicates
        && let Verdict::Happened(outcome) = verify(sim, cx, command).await
    {
        return Ok(outcome);
    }
    let mut op = cx.op("request", Noise::Command);
    op.detail(command.name());
    let handing_over = || {
        command.sent();
        sim.panics.at(PanicAt::Sent);
    };
    match sim
        .link
        .ask_unread(Some(command.idempotency_key()), call, handing_over)
        .await
    {
        Ok(answer) => {
            op.done();
            result::result(name, command, &answer)
                .map_err(|error| failed(AskError::Malformed(error)))
        }
        Err(error) => {
            op.class(code_of(&error).class());
            op.fail(&error);
            Err(failed(error))
        }
    }
}

/// Asks what became of the command, without acting.
pub async fn verify(sim: &Sim, cx: &Context, command: &Command) -> Verdict {
    let name = command.name().parse::<model::Command>();
    let Some(name) = name.ok().filter(|_| sim.config.tells_outcomes) else {
        return Verdict::Unknown;
    };
    let of = command.idempotency_key().to_owned();
    let op = cx.op("outcome", Noise::Command);
    match sim
        .link
        .ask::<native::Outcome>(None, Call::Outcome { of }, || {})
        .await
    {
        Ok(outcome) => {
            op.done();
            match outcome.answer {
                Some(answer) => result::result(name, command, &answer)
                    .map_or(Verdict::Unknown, Verdict::Happened),
                None => Verdict::DidNotHappen,
            }
        }
        Err(error) => {
            op.fail(&error);
            Verdict::AskLater
        }
    }
}

/// Orders to the played provider, as `sim.<order>`, and panics of the adapter, as `sim.panic`.
async fn native_call(sim: &Sim, command: &Command) -> Done {
    let params: params::NativeCall = command.params()?;
    let mut body: Value = match params.body {
        Some(body) => body.read().unwrap_or_default(),
        None => json!({}),
    };
    let method = params.method.strip_prefix("sim.").unwrap_or(&params.method);
    if method == "panic" {
        let panic = serde_json::from_value(body["panic"].take()).unwrap_or_default();
        let at = serde_json::from_value(body["at"].take())
            .map_err(|error| Outcome::error(ErrorCode::BadParam, error).path("/params/body/at"))?;
        sim.panics.arm(at, panic);
        return Ok(Outcome::ok("", &json!({ "native": {} })));
    }
    body["do"] = json!(method);
    let native = sim
        .link
        .order(body, || command.sent())
        .await
        .map_err(failed)?;
    Ok(Outcome::ok("", &json!({ "native": native })))
}

fn failed(error: AskError) -> Outcome {
    let code = code_of(&error);
    match error {
        AskError::Refused(Refusal {
            code: native,
            text,
            retry_after_ms,
        }) => {
            let outcome = Outcome::error(code, "the provider refused").native(
                Some(&native),
                Some(&text),
                None,
            );
            match retry_after_ms {
                Some(ms) => outcome.retry_after(Duration::from_millis(ms)).certain(true),
                None => outcome.certain(true),
            }
        }
        error => Outcome::error(code, error),
    }
}

fn code_of(error: &AskError) -> ErrorCode {
    match error {
        AskError::NotConnected => ErrorCode::NotConnected,
        AskError::Busy => ErrorCode::Overloaded,
        AskError::Refused(refusal) => code(&refusal.code),
        AskError::Lost => ErrorCode::LostAck,
        AskError::Malformed(_) => ErrorCode::AdapterError,
    }
}

/// The provider's code in the model's words.
pub fn code(native: &str) -> ErrorCode {
    match native {
        "bad_request" => ErrorCode::BadParam,
        "no_such_chat" => ErrorCode::ChannelNotFound,
        "no_such_person" => ErrorCode::UserNotFound,
        "no_such_post" => ErrorCode::MessageNotFound,
        "gone" | "no_such_request" => ErrorCode::Gone,
        "not_in_chat" => ErrorCode::NotMember,
        "muted" => ErrorCode::Muted,
        "blocked" => ErrorCode::Blocked,
        "too_old" => ErrorCode::TooOld,
        "bad_content" => ErrorCode::ContentRejected,
        "forbidden" => ErrorCode::PermissionDenied,
        "exists" => ErrorCode::AlreadyExists,
        "slow_down" => ErrorCode::RateLimited,
        "quota" => ErrorCode::QuotaExceeded,
        "busy" => ErrorCode::ProviderUnavailable,
        "token_expired" => ErrorCode::TokenExpired,
        _ => ErrorCode::ProviderError,
    }
}

/// A user in the provider's words.
pub fn person(user: model::User) -> native::Person {
    native::Person {
        robot: user.kind == model::UserKind::Bot,
        name: user.name.unwrap_or_else(|| user.id.clone()),
        id: user.id,
        picture: user.avatar_url,
    }
}
