//! Control of the account: `account.<verb>`.

use std::time::Duration;

use im_bridge_sdk::model::{AccountState, ControlVerb, Delivery, ErrorCode, Time, ids, params};
use im_bridge_sdk::{Command, Context, Outcome};
use serde_json::{Value, json};

use super::{Done, not_implemented, own};
use crate::api::{ApiError, Seqs};
use crate::config::Receive;
use crate::native::channel::ChannelId;
use crate::session::{self, Ending, read_history, record_message};
use crate::{WukongIm, inbound, locked};

/// How long a login may take.
const LOGIN_WITHIN: Duration = Duration::from_secs(20);

/// Messages of a page of a replay.
const PAGE: u32 = 100;

pub async fn execute(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let verb = command
        .name()
        .strip_prefix("account.")
        .and_then(|verb| verb.parse::<ControlVerb>().ok());
    match verb {
        Some(ControlVerb::Login) => login(wukongim, cx).await,
        Some(ControlVerb::Logout) => {
            end(wukongim, cx, Ending::LogOut);
            Ok(Outcome::done())
        }
        Some(ControlVerb::Reconnect) => {
            end(wukongim, cx, Ending::Reconnect);
            Ok(Outcome::done())
        }
        Some(ControlVerb::Sync) => sync(wukongim, cx, command).await,
        Some(ControlVerb::Health) => health(wukongim, cx).await,
        Some(ControlVerb::Info) => info(wukongim, cx).await,
        // Draining is the core's; fetching a token while connected would end the connection.
        _ => Err(not_implemented(command)),
    }
}

/// Ends the session, or the wait for the next one.
fn end(wukongim: &WukongIm, cx: &Context, ending: Ending) {
    if !wukongim.control.end(ending) {
        cx.reconnect();
    }
}

async fn login(wukongim: &WukongIm, cx: &Context) -> Done {
    let session = wukongim.link.session();
    end(wukongim, cx, Ending::Login);
    if wukongim.config.receive == Receive::Connection
        && cx
            .timeout(LOGIN_WITHIN, wukongim.link.opened(session))
            .await
            .is_none()
    {
        return Err(Outcome::error(
            ErrorCode::NotConnected,
            "the login did not work out yet; the account's state tells why",
        ));
    }
    let me = own(wukongim)?;
    Ok(Outcome::ok("", &json!({ "self": { "user_id": me } })))
}

async fn health(wukongim: &WukongIm, cx: &Context) -> Done {
    let is_connected = wukongim.link.is_open() || wukongim.config.receive == Receive::Webhook;
    let (is_well, detail) = match session::health::look(wukongim, cx).await {
        Ok(seen) => seen,
        Err(error) => (false, json!({ "error": error.code().as_str() })),
    };
    let state = match (is_connected, is_well) {
        (true, true) => AccountState::Online,
        (true, false) => AccountState::Degraded,
        (false, _) => AccountState::Backoff,
    };
    Ok(Outcome::ok(
        "",
        &json!({ "healthy": is_connected && is_well, "state": state, "detail": detail }),
    ))
}

async fn info(wukongim: &WukongIm, cx: &Context) -> Done {
    let told = match (wukongim.native(cx), wukongim.openchat(cx)) {
        (Some(native), _) => Some(native.system_info().await),
        (None, Some(openchat)) => Some(openchat.system_info().await),
        (None, None) => None,
    };
    let mut provider = json!({});
    match told {
        Some(Ok(native)) => {
            provider["version"] = native["version"].clone();
            if let Some(seconds) = uptime_s(&native["uptime"]) {
                provider["uptime_s"] = seconds.into();
            }
            provider["connections"] = native["connections"].clone();
            provider["native"] = native;
        }
        Some(Err(error)) => return Err(error.outcome()),
        None => {}
    }
    let login = locked(&wukongim.login);
    if let Some(config) = &login.told {
        provider["config"] = config.clone();
    }
    if let Some(version) = login.server_version {
        provider["protocol_version"] = version.into();
    }
    drop(login);
    Ok(Outcome::ok("", &json!({ "provider": provider })))
}

/// A number of seconds, or `1d2h3m4s`.
fn uptime_s(uptime: &Value) -> Option<u64> {
    if let Some(seconds) = uptime.as_u64() {
        return Some(seconds);
    }
    let (mut total, mut number) = (0_u64, None::<u64>);
    for character in uptime.as_str()?.chars() {
        if let Some(digit) = character.to_digit(10) {
            number = Some(
                number
                    .unwrap_or(0)
                    .checked_mul(10)?
                    .checked_add(digit.into())?,
            );
            continue;
        }
        let unit = match character {
            'y' => 31_536_000,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    number.is_none().then_some(total)
}

/// Fetches now: from the cursors as what was missed, from a place asked for as a replay.
async fn sync(wukongim: &WukongIm, cx: &Context, command: &Command) -> Done {
    let asked: params::account::Sync = command.params()?;
    let channel = asked
        .channel_id
        .as_deref()
        .map(|id| super::parse(id, "/params/channel_id"))
        .transpose()?;
    if let Some(from) = &asked.from {
        return replay(wukongim, cx, channel, from).await;
    }
    let not_connected = || Outcome::error(ErrorCode::NotConnected, "there is no session to sync");
    let waiting = wukongim.link.sync(channel).ok_or_else(not_connected)?;
    let synced = waiting.await.map_err(|_| not_connected())?;
    if synced.is_impossible {
        return Err(Outcome::error(
            ErrorCode::ProviderError,
            "nobody gives history for this account",
        )
        .hint("configure native.api_url"));
    }
    Ok(Outcome::ok(
        "",
        &json!({
            "count": synced.count,
            "from": synced.from.map(ids::order_key),
            "to": synced.to.map(ids::order_key),
        }),
    ))
}

/// Emits a part of history again. Cursors stay where they are.
async fn replay(wukongim: &WukongIm, cx: &Context, channel: Option<ChannelId>, from: &str) -> Done {
    let me = own(wukongim)?;
    let bad = |text| Outcome::error(ErrorCode::BadParam, text).path("/params/from");
    let (seq, since_ms) = match (from.parse::<u64>(), from.parse::<Time>()) {
        (Ok(seq), _) => (seq, None),
        (_, Ok(time)) => (1, Some(time.ms())),
        _ => return Err(bad("neither an order key nor a time")),
    };
    let channels = match channel {
        Some(channel) => vec![channel],
        None if since_ms.is_some() => {
            let book = wukongim.book();
            book.cursors().map(|(id, _)| id.as_ref().clone()).collect()
        }
        None => {
            return Err(bad(
                "an order key needs a channel_id; numbers count inside one",
            ));
        }
    };
    let (mut count, mut first, mut last) = (0_u64, None, None);
    for channel in channels {
        let id = wukongim.book().id(channel);
        let mut next = seq.max(1);
        loop {
            let page = read_history(wukongim, cx, &me, &id, Seqs::From(next), PAGE)
                .await
                .map_err(|error: ApiError| error.outcome())?;
            let Some(end) = page.records.last().map(|record| record.message_seq) else {
                break;
            };
            for record in page.records {
                if since_ms.is_some_and(|since_ms| record.time_ms < since_ms) {
                    continue;
                }
                let number = record.message_seq;
                first.get_or_insert(number);
                last = Some(number);
                count += 1;
                let message = record_message(&id, record, Delivery::Replay);
                let event = {
                    let mut sent = locked(&wukongim.sent);
                    inbound::event(&me, message, &mut sent)
                };
                cx.send(event).await;
            }
            if !page.has_more {
                break;
            }
            next = end + 1;
        }
    }
    Ok(Outcome::ok(
        "",
        &json!({
            "count": count,
            "from": first.map(ids::order_key),
            "to": last.map(ids::order_key),
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::uptime_s;
    use serde_json::json;

    #[test]
    fn an_uptime_is_a_number_or_a_text() {
        assert_eq!(uptime_s(&json!(86_400)), Some(86_400));
        assert_eq!(uptime_s(&json!("1d2h3m4s")), Some(93_784));
        assert_eq!(uptime_s(&json!("3h2m1s")), Some(10_921));
        for odd in [json!("soon"), json!("1h2"), json!(null), json!("h")] {
            assert_eq!(uptime_s(&odd), None);
        }
    }
}
