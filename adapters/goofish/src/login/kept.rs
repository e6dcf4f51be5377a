//! What of the login is kept with the account: the device id, and sealed the cookies and the token.

use std::fmt::Display;
use std::time::Duration;

use im_bridge_sdk::model::ids::B32;
use im_bridge_sdk::{Context, Fault, KvError, KvPut};
use serde::{Deserialize, Serialize};

use super::{Login, Token};
use crate::cookies::Jar;
use crate::{Config, Goofish, locked};

const DEVICE: &str = "session/device";
const COOKIES: &str = "session/cookies";
const TOKEN: &str = "session/token";

const KEEP_WITHIN: Duration = Duration::from_secs(2);

/// Cookies as they are kept.
#[derive(Serialize, Deserialize)]
struct KeptCookies {
    /// Hash of those that the operator gave.
    given: String,
    cookies: String,
}

/// The provider refused the token.
pub async fn drop_token(goofish: &Goofish, cx: &Context) {
    locked(&goofish.login).token = None;
    let deleted = cx.timeout(KEEP_WITHIN, cx.kv().delete(TOKEN)).await;
    told(
        deleted.map(|deleted| deleted.err()),
        "the token was not forgotten",
    );
}

/// Reads what is kept, once. Without a device id that outlives this process a token would be bound to nothing, so the
/// account waits until its state can be reached.
pub async fn load(goofish: &Goofish, cx: &Context) -> Result<(), Fault> {
    if locked(&goofish.login).is_loaded {
        return Ok(());
    }
    let config = &goofish.config;
    let device = match &config.device_id {
        Some(device) => device.clone(),
        None => device(goofish, cx).await?,
    };
    let given = given(config);
    let kept = cx.kv().get::<KeptCookies>(COOKIES).await.ok().flatten();
    let kept = kept.filter(|kept| kept.value.given == given);
    let token = cx.kv().get::<Token>(TOKEN).await.ok().flatten();
    let token = token
        .map(|entry| entry.value)
        .filter(|token| token.bound_to == bound_to(config, &device));
    let cookies = kept.map(|kept| kept.value.cookies);
    *locked(&goofish.login) = Login {
        is_loaded: true,
        jar: Jar::of(cookies.as_deref().unwrap_or(config.cookies.expose())),
        device,
        token,
        renewal: super::Renewal::default(),
    };
    Ok(())
}

async fn device(goofish: &Goofish, cx: &Context) -> Result<String, Fault> {
    let kv = cx.kv();
    if let Some(kept) = kv.get::<String>(DEVICE).await? {
        return Ok(kept.value);
    }
    let hex = |digits: usize| -> String {
        (0..digits)
            .map(|_| fastrand::digit(16).to_ascii_uppercase())
            .collect()
    };
    let whose = goofish
        .cookie_user()
        .unwrap_or_else(|| cx.now_ms().to_string());
    let made = format!(
        "{}-{}-4{}-8{}-{}-{whose}",
        hex(8),
        hex(4),
        hex(3),
        hex(3),
        hex(12)
    );
    // Whoever was faster has made the one that counts.
    let first = KvPut {
        revision: Some(0),
        ..KvPut::default()
    };
    match kv.put_with(DEVICE, &made, first).await {
        Ok(_) => Ok(made),
        Err(KvError::Conflict) => Ok(kv
            .get::<String>(DEVICE)
            .await?
            .map_or(made, |kept| kept.value)),
        Err(error) => Err(error.into()),
    }
}

pub async fn keep_cookies(goofish: &Goofish, cx: &Context) {
    let kept = KeptCookies {
        given: given(&goofish.config),
        cookies: goofish.cookie_header(),
    };
    keep(cx, COOKIES, &kept, "the cookies were not kept").await;
}

pub async fn keep_token(cx: &Context, token: &Token) {
    keep(cx, TOKEN, token, "the token was not kept").await;
}

/// What cannot be kept is fetched again after a restart.
async fn keep(cx: &Context, key: &str, value: &impl Serialize, otherwise: &'static str) {
    let sealed = KvPut {
        is_secret: true,
        ..KvPut::default()
    };
    let kept = cx
        .timeout(KEEP_WITHIN, cx.kv().put_with(key, value, sealed))
        .await;
    told(kept.map(|kept| kept.err()), otherwise);
}

fn told(failed: Option<Option<impl Display>>, otherwise: &'static str) {
    match failed {
        Some(None) => {}
        Some(Some(error)) => tracing::warn!(%error, "{otherwise}"),
        None => tracing::warn!(error = "the account's state takes too long", "{otherwise}"),
    }
}

/// Tells other cookies of the operator from these.
fn given(config: &Config) -> String {
    B32::of(config.cookies.expose().trim().as_bytes()).to_string()
}

pub fn bound_to(config: &Config, device: &str) -> String {
    B32::of(format!("{}\n{}\n{device}", given(config), config.app_key).as_bytes()).to_string()
}
