//! An account's configuration.

use std::time::Duration;

use im_bridge_sdk::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::panics::Panics;
use crate::provider;
use crate::session::HELD_MAX;

/// An account of the simulated provider. Nothing is required: without a `url` the provider is played inside the plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of a provider in a process of its own, `ws://host:port`. Without it the provider lives in the plugin and
    /// ends with the bridge.
    pub url: Option<String>,
    /// Accounts of the same world meet each other. Default: a world for each account.
    pub world: Option<String>,
    /// Native user id of the account. Default: the account's alias.
    pub user: Option<String>,
    /// What the account logs in with. Every token is good but the empty one and `wrong`.
    pub token: Secret,
    /// Shown to the provider at login.
    pub device: String,
    /// People who write, beside the accounts.
    pub users: usize,
    /// Rooms and groups that everybody is in.
    pub rooms: usize,
    /// Messages a second, in all rooms together.
    pub rate_per_s: f64,
    /// The same seed makes the same conversation.
    pub seed: u64,
    /// Messages kept per channel, and things told that are kept per account.
    pub history: usize,
    /// What was not acknowledged is pushed again after this time, in milliseconds.
    pub ack_timeout_ms: u32,
    /// Things pushed and not yet acknowledged, at most 64.
    pub window: usize,
    /// The provider does nothing twice for the same idempotency key.
    pub deduplicates: bool,
    /// The provider can be asked what became of a request. If not, a command whose answer was lost stays unknown.
    pub tells_outcomes: bool,
    /// A second login ends the first session.
    pub one_session: bool,
    /// Time between two heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// Also emits every frame as it goes over the wire.
    pub raw_frames: bool,
    /// Secret of HTTP pushes, the first segment of their path. Without it they are refused.
    pub webhook_secret: Option<Secret>,
    /// What goes wrong on purpose.
    pub faults: Faults,
}

/// What goes wrong on purpose.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// At the provider, by kind.
    pub provider: provider::Faults,
    /// Panics in the plugin, by place.
    pub panic: Panics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            world: None,
            user: None,
            token: Secret::from("sim".to_owned()),
            device: "im-bridge".to_owned(),
            users: 3,
            rooms: 2,
            rate_per_s: 0.0,
            seed: 1,
            history: 50_000,
            ack_timeout_ms: 30_000,
            window: HELD_MAX,
            deduplicates: false,
            tells_outcomes: true,
            one_session: false,
            heartbeat_ms: 30_000,
            raw_frames: false,
            webhook_secret: None,
            faults: Faults::default(),
        }
    }
}

impl Config {
    pub fn transport(&self) -> &'static str {
        if self.url.is_some() {
            "websocket"
        } else {
            "memory"
        }
    }

    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.into())
    }

    /// What the world is to be like.
    pub fn world(&self) -> provider::Settings {
        provider::Settings {
            people: self.users,
            rooms: self.rooms,
            rate_per_s: self.rate_per_s,
            seed: self.seed,
            history: self.history,
            ack_timeout_ms: self.ack_timeout_ms.into(),
            window: self.window.min(HELD_MAX),
            deduplicates: self.deduplicates,
            one_session: self.one_session,
            faults: self.faults.provider.clone(),
            ..provider::Settings::default()
        }
    }
}
