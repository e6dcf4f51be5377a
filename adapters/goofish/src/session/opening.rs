//! After the socket is open: register, tell the provider where to begin, and fetch what was missed.
//!
//! All three after every connection: without them the provider says nothing.

use im_bridge_sdk::model::Delivery;
use im_bridge_sdk::{Context, Fault, Noise, State};
use serde_json::json;
use serde_json::value::RawValue;

use super::catch_up::{self, SyncError, Wanted};
use super::{Trouble, cursor};
use crate::config::SyncFrom;
use crate::link::Asker;
use crate::native::calls::{ACK_DIFF, GET_STATE, ack_diff, get_state};
use crate::native::frame::{Registration, Reply};
use crate::native::{bare, number, text};
use crate::{Goofish, locked, login, sends};

pub async fn open(goofish: &Goofish, cx: &Context, token: &login::Token) -> Result<(), Trouble> {
    let mut op = cx.op("register", Noise::Session);
    op.detail("/reg");
    let registered = async {
        let reply = register(goofish, cx, token).await?;
        admit(goofish, cx, &reply)?;
        synchronize(goofish, cx).await
    };
    if let Err(trouble) = registered.await {
        op.fail(&trouble);
        return Err(trouble);
    }
    op.done();
    cx.state(goofish.online(State::catching_up()));
    goofish.link.registered();
    goofish.set_registered();
    sends::read_back(goofish, cx).await;
    if cursor::begin(goofish, cx).await.map_err(SyncError::from)? {
        missed(goofish, cx).await?;
    }
    Ok(())
}

/// The provider skipped something, or something could not be stored.
pub async fn again(goofish: &Goofish, cx: &Context) -> Result<(), Trouble> {
    synchronize(goofish, cx).await?;
    cx.state(goofish.online(State::catching_up()));
    missed(goofish, cx).await
}

async fn missed(goofish: &Goofish, cx: &Context) -> Result<(), Trouble> {
    let wanted = Wanted {
        since_ms: None,
        conversation: None,
        delivery: Delivery::Backfill,
    };
    catch_up::sync(goofish, cx, &wanted).await?;
    Ok(())
}

async fn register(goofish: &Goofish, cx: &Context, token: &login::Token) -> Result<Reply, Trouble> {
    let config = &goofish.config;
    let (agent, device) = (config.registered_agent(), goofish.device());
    let registration = Registration {
        app_key: &config.app_key,
        token: &token.token,
        user_agent: &agent,
        device_id: &device,
    };
    let write = |mid: &str| registration.request(mid);
    let asked = goofish
        .link
        .ask_with(cx, Asker::Session, config.request_timeout(), write, || {});
    Ok(asked.await?)
}

/// Who the provider says the account is. Another user than the cookies name is another's login.
fn admit(goofish: &Goofish, cx: &Context, reply: &Reply) -> Result<(), Trouble> {
    let registered = text(&reply.headers["reg-uid"]).map(|id| bare(id).to_owned());
    let me = match (registered, goofish.cookie_user()) {
        (Some(registered), Some(cookie)) if registered != cookie => {
            let text = "the provider registered another user than the cookie unb names; take all cookies from one session";
            return Err(Trouble::Stop(Fault::stopped(
                State::bad_credentials().reason("wrong_account_type"),
                text,
            )));
        }
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => {
            return Err(Trouble::lost(
                "provider_error",
                "neither the provider nor the cookies say who the account is",
            ));
        }
    };
    goofish.set_me(me);
    if let Some(theirs_ms) = number(&reply.body["timestamp"]) {
        locked(&goofish.sends).clock_ms = theirs_ms.saturating_sub(cx.now_ms());
    }
    Ok(())
}

/// Asks where the provider stands, and says that all before is known: from then on it pushes.
async fn synchronize(goofish: &Goofish, cx: &Context) -> Result<(), Trouble> {
    let limit = goofish.config.request_timeout();
    let ask = |lwp: &'static str, body: Box<RawValue>| async move {
        goofish
            .link
            .ask(cx, Asker::Session, limit, lwp, &body, || {})
            .await
    };
    let state = ask(GET_STATE, raw(&get_state())).await?;
    let position = position(goofish, state)
        .ok_or_else(|| Trouble::lost("provider_error", "the answer to getState has no body"))?;
    ask(ACK_DIFF, raw(&ack_diff(&position))).await?;
    Ok(())
}

/// The state unchanged, or with the last package that was seen.
fn position(goofish: &Goofish, mut state: Reply) -> Option<Box<RawValue>> {
    let max_pts = goofish.progress().cursor().max_pts;
    if !state.body.is_object() {
        return None;
    }
    if goofish.config.sync_from == SyncFrom::LastSeen && max_pts > 0 {
        state.body["pts"] = json!(max_pts);
        return Some(raw(&state.body));
    }
    RawValue::from_string(state.text).ok()
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// An error of the catch-up's own requests.
impl From<SyncError> for Trouble {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Ask(error) => error.into(),
            SyncError::Kv(error) => Self::lost("state_unavailable", error),
        }
    }
}
