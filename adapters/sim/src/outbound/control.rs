//! Control of the account: `account.<verb>`.

use im_bridge_sdk::model::{AccountState, ControlVerb, Delivery, ErrorCode, Time, params};
use im_bridge_sdk::{Command, Context, Outcome};
use serde_json::{Value, json};

use super::{Done, failed};
use crate::Sim;
use crate::link::Ending;
use crate::native::{Call, Token};
use crate::session;

pub async fn execute(sim: &Sim, cx: &Context, command: &Command) -> Done {
    let verb = command
        .name()
        .strip_prefix("account.")
        .and_then(|verb| verb.parse::<ControlVerb>().ok());
    match verb {
        Some(ControlVerb::Login) => {
            reconnect(sim, cx, None);
            sim.link.opened().await;
            Ok(Outcome::ok(
                "",
                &json!({ "self": { "user_id": sim.person() } }),
            ))
        }
        Some(ControlVerb::Logout) => {
            sim.log_out();
            sim.link.end(Ending::LogOut);
            Ok(Outcome::done())
        }
        Some(ControlVerb::Reconnect) => {
            reconnect(sim, cx, None);
            Ok(Outcome::done())
        }
        Some(ControlVerb::AnswerChallenge) => {
            let asked: params::account::AnswerChallenge = command.params()?;
            reconnect(sim, cx, asked.answer);
            Ok(Outcome::ok(
                "",
                &json!({ "state": AccountState::LoggingIn }),
            ))
        }
        Some(ControlVerb::RefreshToken) => {
            let Token { expires_ms } = sim
                .link
                .ask(None, Call::Renew, || command.sent())
                .await
                .map_err(failed)?;
            Ok(Outcome::ok(
                "",
                &json!({ "expires_at": Time::from_ms(expires_ms) }),
            ))
        }
        Some(ControlVerb::Sync) => sync(sim, cx, command).await,
        Some(ControlVerb::Health) => {
            let detail: Value = sim
                .link
                .ask(None, Call::Status, || {})
                .await
                .map_err(failed)?;
            Ok(Outcome::ok(
                "",
                &json!({ "healthy": true, "state": AccountState::Online, "detail": detail }),
            ))
        }
        Some(ControlVerb::Info) => {
            let provider: Value = sim
                .link
                .ask(None, Call::Status, || {})
                .await
                .map_err(failed)?;
            Ok(Outcome::ok("", &json!({ "provider": provider })))
        }
        // Draining is the core's.
        Some(ControlVerb::Drain) | None => Err(Outcome::error(
            ErrorCode::NotImplemented,
            format_args!("{} is not known here", command.name()),
        )),
    }
}

/// Ends the session, or the wait for the next one.
fn reconnect(sim: &Sim, cx: &Context, answer: Option<String>) {
    sim.set_answer(answer);
    if !sim.link.end(Ending::Reconnect) {
        cx.reconnect();
    }
}

/// Fetches the inbox now: from the cursor as what was missed, from a place asked for as a replay.
async fn sync(sim: &Sim, cx: &Context, command: &Command) -> Done {
    let asked: params::account::Sync = command.params()?;
    let (after, since_ms, delivery) = match asked.from.as_deref() {
        None => (sim.progress().cursor(), None, Delivery::Backfill),
        Some(from) => {
            let (after, since_ms) = place(from)?;
            (after, since_ms, Delivery::Replay)
        }
    };
    let wanted = session::Wanted {
        after,
        up_to: None,
        since_ms,
        channel: asked.channel_id,
        delivery,
    };
    let synced = session::sync(sim, cx, wanted).await.map_err(failed)?;
    Ok(Outcome::ok(
        "",
        &json!({ "count": synced.count, "from": synced.from(), "to": synced.to() }),
    ))
}

/// A number of the inbox, or a time.
fn place(from: &str) -> Result<(u64, Option<i64>), Outcome> {
    if let Ok(seq) = from.parse::<u64>() {
        return Ok((seq, None));
    }
    let bad = |_| {
        Outcome::error(ErrorCode::BadParam, "neither an order key nor a time").path("/params/from")
    };
    let time: Time = from.parse().map_err(bad)?;
    Ok((0, Some(time.ms())))
}
