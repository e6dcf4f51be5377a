//! A provider played inside a plugin: for the demo, for tests, and as the example that authors copy.
//!
//! Seen from the bridge it is an adapter like any other, and it offers everything the event model has. The provider it
//! talks to is played by [`provider`], inside the plugin or behind a `url` in a process of its own.
//!
//! * `config.rs`: the keys of an account.
//! * `native.rs`: the provider's protocol as types.
//! * `session.rs`: connect, log in, catch up, read, acknowledge, drain. With `transport.rs`, `link.rs`, `progress.rs`.
//! * `inbound.rs`: from what the provider says to events. With `segments.rs`.
//! * `outbound.rs`: from commands to what the provider is asked.
//! * `panics.rs` and `provider/`: what only a simulation has.
#![forbid(unsafe_code)]

mod config;
mod describe;
mod inbound;
mod link;
pub mod native;
mod outbound;
mod panics;
mod progress;
pub mod provider;
mod segments;
mod session;
mod transport;
mod webhook;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_bridge_sdk::{
    Adapter, Command, ConfigError, Context, Counter, Description, Fault, Host, Metric, Outcome,
    State, Verdict, WebhookRequest, WebhookResponse,
};
use serde_json::json;
use tokio::sync::Notify;

pub use config::Config;

use link::Link;
use panics::{PanicAt, Scripted};
use progress::Progress;

const PROVIDER: &str = "sim";

/// One account.
pub struct Sim {
    config: Config,
    account: String,
    link: Link,
    /// Kept between sessions: events of the last one are settled during the next.
    progress: Arc<Mutex<Progress>>,
    /// An event was settled.
    settled: Arc<Notify>,
    login: Mutex<NextLogin>,
    panics: Scripted,
    /// Authentic HTTP pushes: with items, or not what was agreed.
    pushes: Counter,
}

/// What the next login has to know.
#[derive(Default)]
struct NextLogin {
    is_to_log_out: bool,
    /// A person's answer to a challenge, used once.
    answer: Option<String>,
}

impl Adapter for Sim {
    const PROVIDER: &'static str = PROVIDER;
    type Config = Config;

    fn describe() -> Description {
        describe::describe()
    }

    fn create(config: Config, host: &Host) -> Result<Self, ConfigError> {
        let is_web_socket = |url: &String| url.starts_with("ws://") || url.starts_with("wss://");
        if !config.url.as_ref().is_none_or(is_web_socket) {
            return Err(ConfigError::new("/url", "expected ws:// or wss://"));
        }
        if config.heartbeat_ms == 0 {
            return Err(ConfigError::new("/heartbeat_ms", "expected at least 1"));
        }
        let panics = Scripted::configure(host.account(), &config.faults.panic);
        panics.at(PanicAt::Create);
        Ok(Self {
            config,
            account: host.account().to_owned(),
            link: Link::default(),
            progress: Arc::default(),
            settled: Arc::default(),
            login: Mutex::default(),
            panics,
            pushes: host.counter(
                &Metric::new("webhook_bodies_total", "HTTP pushes that had the secret.")
                    .label("body", &["items", "nonsense"]),
            ),
        })
    }

    async fn run(&self, cx: &Context) -> Result<(), Fault> {
        let panics = self.panics.clone();
        cx.spawn(async move { panics.at(PanicAt::Task) });
        session::run(self, cx).await
    }

    async fn execute(&self, cx: &Context, command: Command) -> Outcome {
        outbound::execute(self, cx, &command).await
    }

    async fn verify(&self, cx: &Context, command: Command) -> Verdict {
        self.panics.at(PanicAt::Verify);
        outbound::verify(self, cx, &command).await
    }

    async fn webhook(&self, cx: &Context, request: WebhookRequest) -> WebhookResponse {
        self.panics.at(PanicAt::Webhook);
        webhook::webhook(self, cx, &request).await
    }
}

im_bridge_sdk::export_adapter!(Sim, runtime = Shared(2));

impl Sim {
    /// The account's native user id.
    fn person(&self) -> &str {
        self.config.user.as_deref().unwrap_or(&self.account)
    }

    fn world(&self) -> &str {
        self.config.world.as_deref().unwrap_or(&self.account)
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(self.config.world())
            .expect("settings have string keys only, so they are JSON")
    }

    /// A state of a session, with what is special about this account.
    fn online(&self, state: State, me: &str) -> State {
        let state = state.self_id(me).transport(self.config.transport());
        state.capabilities(json!({ "guarantees": {
            "provider_dedup": self.config.deduplicates,
            "verify_after_timeout": self.config.tells_outcomes,
        } }))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        locked(&self.progress)
    }

    fn log_out(&self) {
        locked(&self.login).is_to_log_out = true;
    }

    /// Told once: whoever asks for a session afterwards gets one.
    fn take_log_out(&self) -> bool {
        std::mem::take(&mut locked(&self.login).is_to_log_out)
    }

    fn set_answer(&self, answer: Option<String>) {
        locked(&self.login).answer = answer;
    }

    fn take_answer(&self) -> Option<String> {
        locked(&self.login).answer.take()
    }
}

/// No lock here guards more than plain values, so what a panic left is still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
