//! An account's configuration. The keys of the provider's own client keep their meaning and defaults; a zero means zero or is
//! refused, it never stands for the default.

use std::time::Duration;

use im_bridge_sdk::{ConfigError, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cookies::Jar;

/// An account of Goofish (Xianyu), as its web client sees it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Cookies of a logged-in browser session, as one `Cookie` header: `unb=...; cookie2=...`. All of them, also those that
    /// scripts cannot see.
    pub cookies: Secret,
    /// Address of the WebSocket.
    #[serde(default = "ws_url")]
    pub ws_url: String,
    /// Base address of mtop, without the path.
    #[serde(default = "mtop_url")]
    pub mtop_url: String,
    /// Plain `ws://` and `http://` also beyond this machine, which shows the cookies to everybody on the way.
    #[serde(default)]
    pub allow_insecure: bool,
    /// Key of the app for token and registration.
    #[serde(default = "app_key")]
    pub app_key: String,
    /// Id of the device that the token is bound to. Default: made once and kept with the account.
    pub device_id: Option<String>,
    /// The browser that the cookies came from.
    #[serde(default = "user_agent")]
    pub user_agent: String,
    /// Also sends the cookies in the WebSocket's handshake.
    #[serde(default = "yes")]
    pub handshake_cookies: bool,
    /// Connects again after the connection was lost. If not, the account waits for `account.reconnect`.
    #[serde(default = "yes")]
    pub auto_reconnect: bool,
    /// Time between two heartbeats, in milliseconds, at least 1.
    #[serde(default = "heartbeat_interval_ms")]
    #[schemars(range(min = 1))]
    pub heartbeat_interval_ms: u32,
    /// A connection on which nothing was heard for so many heartbeats is given up, at least 1.
    #[serde(default = "silent_heartbeats")]
    #[schemars(range(min = 1))]
    pub silent_heartbeats: u32,
    /// Time before the next attempt to connect, in milliseconds.
    #[serde(default = "reconnect_interval_ms")]
    pub reconnect_interval_ms: u32,
    /// Attempts at that interval; then the account is in `backoff`, and the time between two attempts grows to five minutes.
    #[serde(default = "max_reconnect_attempts")]
    pub max_reconnect_attempts: u32,
    /// How long an answer is waited for, in milliseconds, at least 1.
    #[serde(default = "request_timeout_ms")]
    #[schemars(range(min = 1))]
    pub request_timeout_ms: u32,
    /// How long an answer of mtop is waited for, in milliseconds, at least 1.
    #[serde(default = "request_timeout_ms")]
    #[schemars(range(min = 1))]
    pub mtop_timeout_ms: u32,
    /// Where the provider is asked to begin after a login. What was missed is fetched from the history in either case.
    #[serde(default)]
    pub sync_from: SyncFrom,
    /// Messages sent per second in the long run. The provider's own limit is not known.
    #[serde(default = "send_per_s")]
    pub send_per_s: f64,
    /// Messages sent at once after a pause, at least 1.
    #[serde(default = "send_burst")]
    #[schemars(range(min = 1))]
    pub send_burst: u32,
    /// The number that a picture's envelope carries: 1, or 2 as some clients write it.
    #[serde(default = "image_type")]
    pub image_type: u32,
    /// Also emits every frame, decoded and without private members.
    #[serde(default)]
    pub raw_frames: bool,
}

/// What the provider is told to have been received.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncFrom {
    /// What it says itself.
    #[default]
    State,
    /// The last package that was seen.
    LastSeen,
}

fn ws_url() -> String {
    "wss://wss-goofish.dingtalk.com/".to_owned()
}

fn mtop_url() -> String {
    "https://h5api.m.goofish.com".to_owned()
}

fn app_key() -> String {
    "444e9908a51d1cb236a27862abc769c9".to_owned()
}

fn user_agent() -> String {
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
        .to_owned()
}

fn yes() -> bool {
    true
}

fn heartbeat_interval_ms() -> u32 {
    10_000
}

fn silent_heartbeats() -> u32 {
    2
}

fn reconnect_interval_ms() -> u32 {
    3_000
}

fn max_reconnect_attempts() -> u32 {
    5
}

fn request_timeout_ms() -> u32 {
    20_000
}

fn send_per_s() -> f64 {
    1.0
}

fn send_burst() -> u32 {
    5
}

fn image_type() -> u32 {
    1
}

/// What the browser's name is followed by at registration.
const USER_AGENT_SUFFIX: &str = " DingTalk(2.2.0) OS(Mac OS/10.15.7) Browser(Chrome/141.0.0.0) DingWeb/2.2.0 IMPaaS DingWeb/2.2.0";

impl Config {
    /// What no schema says.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, text: &str| Err(ConfigError::new(format!("/{key}"), text));
        for (key, url, secure, plain) in [
            ("ws_url", &self.ws_url, "wss://", "ws://"),
            ("mtop_url", &self.mtop_url, "https://", "http://"),
        ] {
            let is_plain = url.starts_with(plain);
            if !is_plain && !url.starts_with(secure) {
                return bad(key, &format!("expected {secure} or {plain}"));
            }
            if is_plain && !self.allow_insecure && !is_here(url) {
                return bad(
                    key,
                    "a plain address beyond this machine shows the cookies to everybody on the way; \
                     use the encrypted one, or set allow_insecure",
                );
            }
        }
        for (key, number) in [
            ("heartbeat_interval_ms", self.heartbeat_interval_ms),
            ("silent_heartbeats", self.silent_heartbeats),
            ("request_timeout_ms", self.request_timeout_ms),
            ("mtop_timeout_ms", self.mtop_timeout_ms),
            ("send_burst", self.send_burst),
        ] {
            if number == 0 {
                return bad(key, "expected at least 1");
            }
        }
        if !(self.send_per_s.is_finite() && self.send_per_s > 0.0) {
            return bad("send_per_s", "expected more than 0");
        }
        let is_header = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        for (key, text) in [
            ("cookies", self.cookies.expose().trim()),
            ("user_agent", &self.user_agent),
            ("app_key", &self.app_key),
            ("device_id", self.device_id.as_deref().unwrap_or("-")),
        ] {
            if text.is_empty() || !is_header(text) {
                return bad(
                    key,
                    "expected one line of printable ASCII, as a browser sends it",
                );
            }
        }
        if Jar::of(self.cookies.expose()).is_empty() {
            return bad("cookies", "expected pairs, name=value; name=value");
        }
        Ok(())
    }

    /// What registers a connection calls itself so.
    pub fn registered_agent(&self) -> String {
        format!("{}{USER_AGENT_SUFFIX}", self.user_agent)
    }

    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms.into())
    }

    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }

    pub fn mtop_timeout(&self) -> Duration {
        Duration::from_millis(self.mtop_timeout_ms.into())
    }

    pub fn reconnect_interval(&self) -> Duration {
        Duration::from_millis(self.reconnect_interval_ms.into())
    }
}

/// The address is one of this machine.
fn is_here(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What stands before an @ is no host.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
