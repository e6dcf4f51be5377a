//! Control of the account: `account.<verb>`.

use im_bridge_sdk::model::{AccountState, ControlVerb, Delivery, ErrorCode, Time, params};
use im_bridge_sdk::{Command, Context, Fault, Outcome};
use serde_json::json;

use super::{Done, Effect, failed, not_here};
use crate::inbound::order_ms;
use crate::link::Ending;
use crate::session::{self, SyncError, Wanted};
use crate::{Goofish, login};

pub async fn execute(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let verb = command
        .name()
        .strip_prefix("account.")
        .and_then(|verb| verb.parse::<ControlVerb>().ok());
    match verb {
        Some(ControlVerb::Login) => {
            goofish
                .begin_anew(cx)
                .await
                .map_err(|fault| unreachable_state(&fault))?;
            reconnect(goofish, cx).await;
            goofish.link.opened().await.map_err(|why| {
                // The reason of the fault, which is a code of the model where there is one.
                let reason = why.split(':').next().unwrap_or_default();
                let code = reason.parse().unwrap_or(ErrorCode::ProviderUnavailable);
                Outcome::error(code, why).certain(true)
            })?;
            Ok(Outcome::ok(
                "",
                &json!({ "self": { "user_id": &*goofish.me() } }),
            ))
        }
        Some(ControlVerb::Logout) => {
            goofish.log_out();
            goofish.link.end(Ending::LogOut);
            cx.reconnect();
            Ok(Outcome::done())
        }
        Some(ControlVerb::Reconnect) => {
            reconnect(goofish, cx).await;
            Ok(Outcome::done())
        }
        Some(ControlVerb::AnswerChallenge) => answer_challenge(goofish, cx, command).await,
        Some(ControlVerb::RefreshToken) => {
            let renewed = login::renew(goofish, cx).await;
            if goofish.link.is_registered() {
                cx.state(goofish.standing());
            }
            let token = renewed.map_err(|error| login::outcome(&error).certain(true))?;
            Ok(Outcome::ok(
                "",
                &json!({ "expires_at": Time::from_ms(token.expires_ms()) }),
            ))
        }
        Some(ControlVerb::Sync) => sync(goofish, cx, command).await,
        Some(ControlVerb::Health) => {
            let is_online = goofish.link.is_registered();
            let state = if is_online {
                AccountState::Online
            } else {
                AccountState::Connecting
            };
            Ok(Outcome::ok(
                "",
                &json!({ "healthy": is_online, "state": state }),
            ))
        }
        Some(ControlVerb::Info) => {
            let expires_at = goofish
                .token()
                .map(|token| Time::from_ms(token.expires_ms()));
            Ok(Outcome::ok("", &json!({ "token_expires_at": expires_at })))
        }
        // Draining is the core's.
        Some(ControlVerb::Drain) | None => Err(not_here(command.name())),
    }
}

/// Ends the session, or the wait for the next one. The old one is over when this returns, so that what follows waits for
/// the new one.
async fn reconnect(goofish: &Goofish, cx: &Context) {
    goofish.link.end(Ending::Reconnect);
    cx.reconnect();
    goofish.link.closed().await;
}

/// A person solved what the provider asked: the cookies that the page gave, or nothing when the browser's own are in place.
async fn answer_challenge(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::account::AnswerChallenge = command.params()?;
    if let Some(answer) = asked
        .answer
        .as_deref()
        .map(str::trim)
        .filter(|answer| !answer.is_empty())
    {
        if !answer.contains('=') {
            let text = "expected the cookies that the solved page set, name=value; name=value";
            return Err(Outcome::error(ErrorCode::BadParam, text).path("/params/answer"));
        }
        goofish
            .add_cookies(cx, answer)
            .await
            .map_err(|fault| unreachable_state(&fault))?;
    }
    goofish.link.end(Ending::Reconnect);
    cx.reconnect();
    Ok(Outcome::ok(
        "",
        &json!({ "state": AccountState::LoggingIn }),
    ))
}

fn unreachable_state(fault: &Fault) -> Outcome {
    Outcome::error(
        ErrorCode::ProviderUnavailable,
        format_args!("the account's state cannot be reached: {fault}"),
    )
    .certain(true)
}

/// Asks the history now: from the cursor for what was missed, from a place asked for as a replay.
async fn sync(goofish: &Goofish, cx: &Context, command: &Command) -> Done {
    let asked: params::account::Sync = command.params()?;
    let since_ms = asked.from.as_deref().map(place).transpose()?;
    if !goofish.link.is_registered() {
        return Err(Outcome::error(
            ErrorCode::NotConnected,
            "there is no session with the provider",
        ));
    }
    let wanted = Wanted {
        since_ms,
        conversation: asked.channel_id,
        delivery: if since_ms.is_some() {
            Delivery::Replay
        } else {
            Delivery::Backfill
        },
    };
    let synced = session::sync(goofish, cx, &wanted)
        .await
        .map_err(|error| match error {
            SyncError::Ask(error) => failed(&error, Effect::Reads),
            SyncError::Kv(error) => Outcome::error(ErrorCode::ProviderUnavailable, error),
        })?;
    Ok(Outcome::ok(
        "",
        &json!({ "count": synced.count, "from": synced.first, "to": synced.last }),
    ))
}

/// A time, or the time of an order key.
fn place(from: &str) -> Result<i64, Outcome> {
    let bad = |_| {
        Outcome::error(ErrorCode::BadParam, "neither an order key nor a time").path("/params/from")
    };
    match order_ms(from) {
        Some(at_ms) => Ok(at_ms),
        None => from.parse::<Time>().map(Time::ms).map_err(bad),
    }
}
