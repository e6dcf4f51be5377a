//! An account's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use im_bridge_sdk::{ConfigError, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::native::channel::{ChannelId, is_uid};

/// Reserved: connecting as this uid with a wrong token ends the whole server.
const MANAGER: &str = "____manager";

/// Versions that the codec knows.
const VERSION_MAX: u8 = 6;

/// A user of a WuKongIM server, reached by OpenChat's API, by the server's own, or by a fixed address.
///
/// One of `url`, `openchat.base_url` and `native.api_url` must be given. Use a uid of its own for each account: fetching a
/// token and logging in may end other sessions of the same uid.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The own user id. Default: what OpenChat says.
    pub uid: Option<String>,
    /// Token of the long connection, registered for the same `device_flag`. Default: fetched or registered once, and kept.
    pub token: Option<Secret>,
    /// Address of the long connection: `ws://`, `wss://` or `tcp://`. Default: what OpenChat or the server says, which may
    /// be an internal one.
    pub url: Option<String>,
    /// Which of the addresses told is taken when `url` is not given.
    pub transport: Transport,
    /// How packets are written. JSON-RPC seals nothing and needs a server of March 2025 or later.
    pub codec: Codec,
    /// Protocol version that is announced, 0 to 6.
    pub protocol_version: u8,
    /// 0 app, 1 web, 2 desktop. A token is good for one of them only.
    pub device_flag: u8,
    /// Level with which a token is registered at the server: 1 (master) ends other sessions of the uid and flag.
    pub device_level: u8,
    /// Names this connection; two instances must never share it. Default: `im-bridge-<account>`.
    pub device_id: Option<String>,
    /// Time between two heartbeats, in milliseconds; two unanswered ones end the connection.
    pub heartbeat_ms: u32,
    /// How long messages wait for an earlier one of their channel that overtaking may have delayed, in milliseconds.
    pub reorder_ms: u32,
    /// Where messages come from.
    pub receive: Receive,
    /// How messages are sent. By HTTP the server answers before it has checked or stored anything.
    pub send_via: SendVia,
    /// What to do when another login displaced this one.
    pub on_kick: OnKick,
    /// How long to stay away when displaced, with `on_kick = "pause"`, in seconds.
    pub kick_pause_s: u32,
    /// Time between two attempts once logins were refused in silence, in seconds: the server may also be unwell.
    pub auth_retry_s: u32,
    /// Time between two looks at the API's health, in seconds; 0: never.
    pub health_s: u32,
    /// Channels, as `<channelType>-<channelId>`, whose history is fetched where only OpenChat is configured.
    pub channels: BTreeMap<String, bool>,
    /// Also emits every packet.
    pub raw_frames: bool,
    /// OpenChat's API.
    pub openchat: OpenChat,
    /// The server's own API.
    pub native: Native,
    /// HTTP pushes of the server.
    pub webhook: Webhook,
}

/// OpenChat's API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OpenChat {
    /// Address with the whole prefix, for example `https://chat.example/api/v1/im`.
    pub base_url: Option<String>,
    /// Access token (JWT).
    pub access_token: Option<Secret>,
    /// Renews the access token.
    pub refresh_token: Option<Secret>,
    /// Name for a login in place of an access token.
    pub username: Option<String>,
    /// Password for that login.
    pub password: Option<Secret>,
    /// Address of login and renewal, for example `https://chat.example/api/v1/auth`. Default: `base_url` with its last
    /// part replaced.
    pub auth_url: Option<String>,
}

/// The server's own API, which is for trusted backends only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Native {
    /// Address, for example `http://127.0.0.1:5001`.
    pub api_url: Option<String>,
    /// The server's `managerToken`, if it has one.
    pub manager_token: Option<Secret>,
}

/// HTTP pushes of the server, to `…/hooks/wukongim/<account>/<secret>`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// First segment of their path: the server signs nothing. Without it they are refused.
    pub secret: Option<Secret>,
    /// Which messages of the server are this account's.
    pub scope: Scope,
}

/// How to reach the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Websocket,
    Tcp,
}

/// How packets are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    #[default]
    Binary,
    Jsonrpc,
}

/// Where messages come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Receive {
    /// The long connection.
    #[default]
    Connection,
    /// HTTP pushes of the server only: there is no long connection.
    Webhook,
}

/// How messages are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SendVia {
    #[default]
    Connection,
    Http,
}

/// What to do when another login displaced this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnKick {
    /// Wait for the operator.
    #[default]
    Stop,
    /// Come back after `kick_pause_s` with a new token.
    Pause,
}

/// Which messages of the server are the account's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those to and from the own uid, and all groups.
    #[default]
    Own,
    /// All.
    All,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            uid: None,
            token: None,
            url: None,
            transport: Transport::default(),
            codec: Codec::default(),
            protocol_version: crate::native::packet::VERSION,
            device_flag: 1,
            device_level: 0,
            device_id: None,
            heartbeat_ms: 30_000,
            reorder_ms: 500,
            receive: Receive::default(),
            send_via: SendVia::default(),
            on_kick: OnKick::default(),
            kick_pause_s: 300,
            auth_retry_s: 300,
            health_s: 60,
            channels: BTreeMap::new(),
            raw_frames: false,
            openchat: OpenChat::default(),
            native: Native::default(),
            webhook: Webhook::default(),
        }
    }
}

impl Config {
    /// What a schema cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_addresses()?;
        let uid = self.uid.as_deref();
        if uid.is_some_and(|uid| !is_uid(uid)) {
            return Err(ConfigError::new(
                "/uid",
                "expected a text that is not blank and has none of @, # and &",
            ));
        }
        if uid == Some(MANAGER) {
            return Err(ConfigError::new(
                "/uid",
                "the server keeps this uid for itself; take one of your own",
            ));
        }
        let from_one = [
            ("/heartbeat_ms", self.heartbeat_ms),
            ("/kick_pause_s", self.kick_pause_s),
            ("/auth_retry_s", self.auth_retry_s),
        ];
        if let Some((pointer, _)) = from_one.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::new(*pointer, "expected at least 1"));
        }
        if self.protocol_version > VERSION_MAX {
            return Err(ConfigError::new(
                "/protocol_version",
                format_args!("expected 0 to {VERSION_MAX}"),
            ));
        }
        for name in self.channels.keys() {
            if let Err(error) = name.parse::<ChannelId>() {
                return Err(ConfigError::new(format!("/channels/{name}"), error));
            }
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let beginnings = [
            ("/url", &self.url, &["ws://", "wss://", "tcp://"][..]),
            (
                "/openchat/base_url",
                &self.openchat.base_url,
                &["http://", "https://"],
            ),
            (
                "/openchat/auth_url",
                &self.openchat.auth_url,
                &["http://", "https://"],
            ),
            (
                "/native/api_url",
                &self.native.api_url,
                &["http://", "https://"],
            ),
        ];
        for (pointer, address, allowed) in beginnings {
            let fits = |address: &String| allowed.iter().any(|start| address.starts_with(start));
            if !address.as_ref().is_none_or(fits) {
                let allowed = allowed.join(" or ");
                return Err(ConfigError::new(
                    pointer,
                    format_args!("expected {allowed}"),
                ));
            }
        }
        let (has_openchat, has_native) = (self.has_openchat(), self.has_native());
        if self.receive == Receive::Connection && self.url.is_none() && !has_openchat && !has_native
        {
            return Err(ConfigError::new(
                "/url",
                "no address; give url, openchat.base_url or native.api_url",
            ));
        }
        if self.uid.is_none() && !has_openchat {
            return Err(ConfigError::new(
                "/uid",
                "is missing; only OpenChat can tell it",
            ));
        }
        if self.receive == Receive::Webhook && self.webhook.secret.is_none() {
            return Err(ConfigError::new(
                "/webhook/secret",
                "is missing; without it every push is refused",
            ));
        }
        if self.sends_by_http() && !has_openchat && !has_native {
            return Err(ConfigError::new(
                "/send_via",
                "no API to send by; give openchat.base_url or native.api_url",
            ));
        }
        Ok(())
    }

    pub fn has_openchat(&self) -> bool {
        self.openchat.base_url.is_some()
    }

    pub fn has_native(&self) -> bool {
        self.native.api_url.is_some()
    }

    /// Without a long connection there is nothing else to send by.
    pub fn sends_by_http(&self) -> bool {
        self.send_via == SendVia::Http || self.receive == Receive::Webhook
    }

    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.into())
    }

    pub fn reorder(&self) -> Duration {
        Duration::from_millis(self.reorder_ms.into())
    }

    pub fn transport_name(&self) -> &'static str {
        match (self.receive, &self.url, self.transport) {
            (Receive::Webhook, ..) => "http",
            (_, Some(url), _) if url.starts_with("tcp://") => "tcp",
            (_, None, Transport::Tcp) => "tcp",
            _ => "websocket",
        }
    }
}
