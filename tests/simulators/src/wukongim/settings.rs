//! What the server, and the OpenChat in front of it, are like; all of it can be changed while they run.
//!
//! The defaults are those of a WuKongIM 2.2.5 without a configuration.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a refused login sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// v2: nothing, and a closed socket after `refusal_ms`.
    Silent,
    /// v1 and v3: CONNACK with the reason.
    Answered,
}

/// Which server's answer `/message/send` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendAnswer {
    V1,
    V2,
    V3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// What its page promises.
    Seed,
    /// What its source does against a real server.
    Observed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Newest binary version that is spoken: 4, 5 or 6.
    pub max_version: u8,
    pub encryption: bool,
    pub jsonrpc: bool,
    pub token_auth: bool,
    pub refusal: Refusal,
    pub refusal_ms: u64,
    /// A connection that says nothing is closed after this.
    pub silent_ms: u64,
    /// A session without input goes mute after this, and its socket closes half as much later.
    pub idle_ms: u64,
    /// Sessions that the server drops go mute; otherwise their sockets close.
    pub mute: bool,
    /// From a kick, or from a login that takes over, to the drop.
    pub kick_ms: u64,
    /// The same after a new token of master level.
    pub token_kick_ms: u64,
    /// A stored RECV without RECVACK is sent again after this, `resend_max` times.
    pub resend_ms: u64,
    pub resend_max: u32,
    /// Share of RECVs that arrive up to `disorder_places` too late.
    pub disorder_percent: u8,
    pub disorder_places: usize,
    /// Frames that wait are one WebSocket message up to this size; 0: each is its own.
    pub batch_bytes: usize,
    /// Everything is written in pieces of this size, on WebSockets as messages; 0: uncut.
    pub chunk_bytes: usize,
    pub send_answer: SendAnswer,
    /// The oldest record of a history page has no flags.
    pub zeroed_header: bool,
    pub manager_token: Option<String>,
    /// Messages kept of each channel.
    pub history_max: usize,
    /// Entries kept in the record.
    pub record_max: usize,
    /// Put over what `/route` says.
    pub route: serde_json::Map<String, Value>,
    pub webhook_url: Option<String>,
    /// Empty: all.
    pub webhook_events: Vec<String>,
    pub openchat: OpenChat,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenChat {
    pub profile: Profile,
    pub prefix: String,
    /// Where all but `config` and `token` are, if elsewhere.
    pub admin_prefix: Option<String>,
    pub jwt_secret: String,
    pub token_ttl_s: i64,
    /// Passwords by user; the name is the uid.
    pub users: BTreeMap<String, String>,
    /// Profile `observed`: `/token` fails as it did before April 2026.
    pub token_fails: bool,
    /// Calls a minute to one route; 0: no limit.
    pub rate_limit: u32,
    /// Put over what `/config` says.
    pub config: serde_json::Map<String, Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_version: 5,
            encryption: true,
            jsonrpc: true,
            token_auth: false,
            refusal: Refusal::Silent,
            refusal_ms: 6_000,
            silent_ms: 2_500,
            idle_ms: 180_000,
            mute: true,
            kick_ms: 2_000,
            token_kick_ms: 10_000,
            resend_ms: 60_000,
            resend_max: 5,
            disorder_percent: 0,
            disorder_places: 33,
            batch_bytes: 0,
            chunk_bytes: 0,
            send_answer: SendAnswer::V2,
            zeroed_header: true,
            manager_token: None,
            history_max: 100_000,
            record_max: 200_000,
            route: serde_json::Map::new(),
            webhook_url: None,
            webhook_events: Vec::new(),
            openchat: OpenChat::default(),
        }
    }
}

impl Default for OpenChat {
    fn default() -> Self {
        Self {
            profile: Profile::Seed,
            prefix: "/api/v1/im".to_owned(),
            admin_prefix: None,
            jwt_secret: "openchat-simulator".to_owned(),
            token_ttl_s: 3_600,
            users: BTreeMap::from([("bot".to_owned(), "bot-password".to_owned())]),
            token_fails: false,
            rate_limit: 0,
            config: serde_json::Map::new(),
        }
    }
}

impl Settings {
    /// These with some of them changed; objects inside are merged, too.
    pub fn changed(&self, changes: &Value) -> Result<Self, String> {
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        merge(&mut all, changes);
        let changed: Self = serde_json::from_value(all).map_err(|error| error.to_string())?;
        if !(4..=6).contains(&changed.max_version) {
            return Err("max_version is 4, 5 or 6".to_owned());
        }
        Ok(changed)
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
