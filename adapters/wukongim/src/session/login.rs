//! Before the connection: uid, token and address; and the first exchange on it.
//!
//! A token is fetched or registered once and kept: doing so ends other sessions of the uid, also our own. A refused login
//! is mostly silent: the server closes after some seconds without a word, as an unwell one may do, so two in a row are
//! needed to suspect the token.

mod exchange;

use im_bridge_sdk::{Context, Fault, KvPut, Secret, State};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;

use crate::api::{ApiError, with_scheme};
use crate::config::{Config, Transport};
use crate::{WukongIm, locked};

pub use exchange::{Failed, login};

/// Where the token is kept.
const TOKEN: &str = "session/token";

/// Logged in with where nobody checks.
const ANY_TOKEN: &str = "im-bridge";

/// Failed connections after which the address is asked for again.
const ADDRESS_TRIES: u32 = 3;

/// What logging in needs and brought.
#[derive(Default)]
pub struct Login {
    pub uid: Option<String>,
    /// OpenChat's access token, and what renews it.
    pub access: Option<Secret>,
    pub refresh: Option<Secret>,
    /// Of the long connection.
    token: Option<Secret>,
    /// The token can be had anew.
    is_token_ours: bool,
    /// It was fetched or registered since the last login that worked.
    is_token_new: bool,
    address: Option<String>,
    /// What OpenChat said, for people.
    pub told: Option<Value>,
    pub failed_connects: u32,
    pub silent_logins: u32,
    pub server_version: Option<u8>,
}

impl Login {
    pub fn new(config: &Config) -> Self {
        let access = config.openchat.access_token.clone();
        Self {
            uid: config
                .uid
                .clone()
                .or_else(|| uid_of(access.as_ref()?.expose())),
            access,
            refresh: config.openchat.refresh_token.clone(),
            token: config.token.clone(),
            ..Self::default()
        }
    }

    /// Credentials are read again: everything learnt is forgotten.
    pub fn forget(&mut self, config: &Config) {
        *self = Self {
            told: self.told.take(),
            ..Self::new(config)
        };
    }
}

/// The uid that a JWT is about, if it says so.
fn uid_of(jwt: &str) -> Option<String> {
    use base64::Engine;
    let claims = jwt.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let told = ["userId", "sub"]
        .iter()
        .find_map(|claim| claims[*claim].as_str());
    told.map(str::to_owned)
}

/// What is needed to connect.
pub struct Ready {
    pub uid: String,
    pub token: Secret,
    pub address: String,
}

/// Fetches what is not known yet.
pub async fn prepare(wukongim: &WukongIm, cx: &Context) -> Result<Ready, Fault> {
    let is_asked_again = {
        let mut login = locked(&wukongim.login);
        let is_enough = login.failed_connects >= ADDRESS_TRIES;
        if is_enough {
            login.failed_connects = 0;
            login.address = None;
        }
        is_enough
    };
    let is_complete = {
        let login = locked(&wukongim.login);
        let has_address = login.address.is_some() || wukongim.config.url.is_some();
        login.uid.is_some() && login.token.is_some() && has_address
    };
    if !is_complete || is_asked_again {
        cx.state(State::logging_in().transport(wukongim.config.transport_name()));
    }
    let told = ask_openchat(wukongim, cx).await?;
    let uid = wukongim.uid().ok_or_else(|| {
        Fault::permanent(
            "bad_config",
            "the own uid is not known: neither uid nor OpenChat tells it",
        )
    })?;
    let token = token(wukongim, cx, &uid).await?;
    let address = match &wukongim.config.url {
        Some(url) => url.clone(),
        None => address(wukongim, cx, &uid, told).await?,
    };
    locked(&wukongim.login).address = Some(address.clone());
    Ok(Ready {
        uid,
        token,
        address,
    })
}

/// OpenChat's configuration, where something of it is needed.
async fn ask_openchat(
    wukongim: &WukongIm,
    cx: &Context,
) -> Result<Option<crate::api::OpenChatConfig>, Fault> {
    let Some(openchat) = wukongim.openchat(cx) else {
        return Ok(None);
    };
    let is_needed = {
        let login = locked(&wukongim.login);
        let needs_address = login.address.is_none() && wukongim.config.url.is_none();
        login.uid.is_none() || needs_address
    };
    if !is_needed {
        return Ok(None);
    }
    let (config, all) = openchat.config().await.map_err(fault)?;
    let mut login = locked(&wukongim.login);
    login.told = Some(all);
    if login.uid.is_none() {
        login.uid.clone_from(&config.uid);
    }
    Ok(Some(config))
}

async fn address(
    wukongim: &WukongIm,
    cx: &Context,
    uid: &str,
    told: Option<crate::api::OpenChatConfig>,
) -> Result<String, Fault> {
    if let Some(known) = locked(&wukongim.login).address.clone() {
        return Ok(known);
    }
    let is_tcp = wukongim.config.transport == Transport::Tcp;
    if let Some(config) = told {
        let websocket = config.ws_url.and_then(|url| with_scheme("ws", url));
        let tcp = config
            .tcp_addr
            .and_then(|address| with_scheme("tcp", address));
        let found = if is_tcp {
            tcp.or(websocket)
        } else {
            websocket.or(tcp)
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    match wukongim.native(cx) {
        Some(native) => native.route(uid, is_tcp).await.map_err(fault),
        None => Err(Fault::retry(
            "bad_config",
            "nobody tells the address of the long connection; give url",
        )),
    }
}

/// The configured one, the one kept, or a new one.
async fn token(wukongim: &WukongIm, cx: &Context, uid: &str) -> Result<Secret, Fault> {
    if let Some(token) = locked(&wukongim.login).token.clone() {
        return Ok(token);
    }
    if let Ok(Some(kept)) = cx.kv().get::<(String, String)>(TOKEN).await
        && kept.value.0 == uid
    {
        let token = Secret::from(kept.value.1);
        let mut login = locked(&wukongim.login);
        login.token = Some(token.clone());
        login.is_token_ours = true;
        return Ok(token);
    }
    let made = match (wukongim.openchat(cx), wukongim.native(cx)) {
        // Other clients of this server have theirs from OpenChat as well.
        (Some(openchat), native) => match (openchat.token().await, native) {
            (Ok(token), _) => Some(token),
            (Err(error), Some(native)) => {
                tracing::warn!(%error, "OpenChat gave no token; registering one at the server");
                Some(register(&native, uid).await?)
            }
            // A server that checks no tokens takes any.
            (Err(error @ (ApiError::Refused { .. } | ApiError::Unexpected(_))), None) => {
                tracing::warn!(%error, "OpenChat gave no token; trying without");
                None
            }
            (Err(error), None) => return Err(fault(error)),
        },
        (None, Some(native)) => Some(register(&native, uid).await?),
        (None, None) => None,
    };
    let Some(token) = made else {
        return Ok(Secret::from(ANY_TOKEN.to_owned()));
    };
    let secret = KvPut {
        is_secret: true,
        ..KvPut::default()
    };
    if let Err(error) = cx
        .kv()
        .put_with(TOKEN, &(uid, token.expose()), secret)
        .await
    {
        tracing::debug!(%error, "the token is kept in memory only");
    }
    let mut login = locked(&wukongim.login);
    login.token = Some(token.clone());
    login.is_token_ours = true;
    login.is_token_new = true;
    Ok(token)
}

async fn register(native: &crate::api::Native<'_>, uid: &str) -> Result<Secret, Fault> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Fault::retry("adapter_error", "the machine gives no random numbers"))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    native.register(uid, &token).await.map_err(fault)?;
    Ok(Secret::from(token))
}

/// Forgets a token that can be had anew, unless that was tried since the last login that worked.
pub async fn forget_token(wukongim: &WukongIm, cx: &Context) -> bool {
    {
        let mut login = locked(&wukongim.login);
        if !login.is_token_ours || login.is_token_new {
            return false;
        }
        login.token = None;
    }
    // A kept one that comes back is refused again, nothing worse.
    let _ = cx.kv().delete(TOKEN).await;
    true
}

/// Forgets what `account.login` is to fetch again.
pub async fn start_anew(wukongim: &WukongIm, cx: &Context) {
    locked(&wukongim.login).forget(&wukongim.config);
    let _ = cx.kv().delete(TOKEN).await;
}

/// An API that fails before connecting.
fn fault(error: ApiError) -> Fault {
    match &error {
        ApiError::Status { status: 401, .. } => Fault::stopped(
            State::bad_credentials(),
            "the API refused the access token or the manager token; check openchat.* and native.manager_token",
        ),
        ApiError::Refused { code: Some(19), .. } => {
            Fault::stopped(State::bad_credentials(), "the uid is banned at the server")
        }
        ApiError::Status {
            retry_after: Some(wait),
            ..
        } => Fault::retry("rate_limited", &error).not_before(*wait),
        _ => Fault::retry("provider_unavailable", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::uid_of;

    #[test]
    fn an_access_token_tells_whose_it_is() {
        // {"alg":"HS256"}.{"sub":"bot-1"}
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib3QtMSJ9.c2lnbmF0dXJl";
        assert_eq!(uid_of(jwt).as_deref(), Some("bot-1"));
        for bad in ["", "a", "a.b.c", "a.e30.c"] {
            assert_eq!(uid_of(bad), None);
        }
    }
}
