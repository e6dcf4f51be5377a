//! Looking at the API's health now and then: an account whose API fails works with a restriction.

use std::time::Duration;

use im_bridge_sdk::Context;
use serde_json::{Value, json};

use crate::WukongIm;
use crate::api::ApiError;

/// Looks that must fail before it is believed.
const FAILURES_MAX: u32 = 2;

/// Looks for as long as the session lasts, and tells the control when what it saw has changed.
pub async fn watch(wukongim: &WukongIm, cx: &Context) {
    let every = Duration::from_secs(wukongim.config.health_s.into());
    let has_api = wukongim.config.has_openchat() || wukongim.config.has_native();
    if every.is_zero() || !has_api {
        return std::future::pending().await;
    }
    let mut failures = 0;
    let mut interval = cx.interval(every);
    loop {
        interval.tick().await;
        // Boxed, as everything big that an idle account does not need.
        let is_healthy = matches!(Box::pin(look(wukongim, cx)).await, Ok((true, _)));
        failures = if is_healthy { 0 } else { failures + 1 };
        wukongim
            .metrics
            .healthy
            .set(f64::from(u8::from(is_healthy)), &[]);
        wukongim.control.set_healthy(failures < FAILURES_MAX);
    }
}

/// Whether the API is well, and what it says.
pub async fn look(wukongim: &WukongIm, cx: &Context) -> Result<(bool, Value), ApiError> {
    let mut parts = serde_json::Map::new();
    let mut is_healthy = true;
    if let Some(openchat) = wukongim.openchat(cx) {
        let (is_well, detail) = openchat.health().await?;
        is_healthy &= is_well;
        parts.insert("openchat".to_owned(), detail);
    }
    if let Some(native) = wukongim.native(cx) {
        let (is_well, detail) = native.health().await?;
        is_healthy &= is_well;
        parts.insert("native".to_owned(), detail);
    }
    if wukongim.control.is_without_history() {
        parts.insert("catch_up".to_owned(), json!("unavailable"));
    }
    Ok((is_healthy, parts.into()))
}
