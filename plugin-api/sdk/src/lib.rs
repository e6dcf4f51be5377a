//! Write provider adapters for im-bridge without unsafe code.
//!
//! An adapter is a type that implements [`Adapter`] and one line, [`export_adapter!`]. Built as a `cdylib` it is a plugin;
//! linked into a test it runs against [`test::MockHost`].
//!
//! # What the SDK promises
//! * **One thread.** All of an account's futures run on one thread: they need not be `Send`, and nothing needs a lock.
//! * **Credits.** [`Context::send`] waits until the core has room; [`Context::ready`] before reading keeps the rest at the
//!   provider. What was sent and not settled is bounded.
//! * **Nothing lost in silence.** Acknowledge to the provider when [`Sent::settled`] says so, not before.
//! * **One completion per command**, whatever happens: answer, deadline, cancellation, panic, stop. [`Command::sent`] is
//!   the point of no return that decides between "surely did not happen" and "may have happened".
//! * **A panic ends one account**, which the core starts anew; others go on.
//! * **Secrets** are not printed, not in errors and not in traces.
//!
//! # A whole adapter
//! It polls a provider over HTTP, acknowledges what is stored, and sends.
//!
//! ```
//! use im_bridge_sdk::model::{self, ErrorCode, body::MessageCreated};
//! use im_bridge_sdk::{
//!     Adapter, Command, ConfigError, Context, Description, Emission, Fault, Host, Noise, Outcome, Secret, State,
//!     Trace,
//! };
//! use serde::Deserialize;
//!
//! #[derive(Deserialize, schemars::JsonSchema)]
//! struct Config {
//!     url: String,
//!     token: Secret,
//! }
//!
//! struct Acme {
//!     config: Config,
//! }
//!
//! #[derive(Deserialize)]
//! struct Push {
//!     id: String,
//!     room: String,
//!     sender: String,
//!     text: String,
//! }
//!
//! #[derive(Deserialize)]
//! struct SentMessage {
//!     id: String,
//! }
//!
//! impl Adapter for Acme {
//!     const PROVIDER: &'static str = "acme";
//!     type Config = Config;
//!
//!     fn describe() -> Description {
//!         Description::new(capabilities())
//!             .operation("poll", Noise::Poll)
//!             .operation("ack", Noise::Aux)
//!             .operation("send_message", Noise::Command)
//!             .example(serde_json::json!({ "url": "https://acme.example", "token": "t" }))
//!     }
//!
//!     fn create(config: Config, _: &Host) -> Result<Self, ConfigError> {
//!         if !config.url.starts_with("https://") {
//!             return Err(ConfigError::new("/url", "must begin with https://"));
//!         }
//!         Ok(Self { config })
//!     }
//!
//!     async fn run(&self, cx: &Context) -> Result<(), Fault> {
//!         cx.state(State::online().self_id("bot-1").transport("http"));
//!         loop {
//!             let (pushes, trace) = tokio::select! {
//!                 biased;
//!                 () = cx.draining() => return Ok(()),
//!                 polled = self.poll(cx) => polled?,
//!             };
//!             // Outside the select: what was read is emitted and acknowledged also while draining.
//!             for push in pushes {
//!                 self.emit(cx, push, trace).await?;
//!             }
//!         }
//!     }
//!
//!     async fn execute(&self, cx: &Context, command: Command) -> Outcome {
//!         match command.name() {
//!             "message.send" => self.send(cx, &command).await.unwrap_or_else(|failed| failed),
//!             other => Outcome::error(ErrorCode::NotImplemented, format_args!("{other} is not implemented")),
//!         }
//!     }
//! }
//!
//! impl Acme {
//!     async fn poll(&self, cx: &Context) -> Result<(Vec<Push>, Trace), Fault> {
//!         cx.ready().await; // without credit nothing is fetched
//!         let url = format!("{}/v1/messages?wait=15", self.config.url);
//!         let mut answer = cx.http().get("poll", Noise::Poll, &url).header("token", self.config.token.expose()).send().await?;
//!         let pushes: Vec<Push> = answer.json()?;
//!         let trace = if pushes.is_empty() { answer.empty() } else { answer.hit(pushes.len() as u64) };
//!         Ok((pushes, trace))
//!     }
//!
//!     async fn emit(&self, cx: &Context, push: Push, trace: Trace) -> Result<(), Fault> {
//!         let url = format!("{}/v1/messages/{}", self.config.url, push.id);
//!         let message = model::Message::text(push.id, push.text, None);
//!         let event = model::Event::new("bot-1", MessageCreated { message })
//!             .channel(model::Channel::new(push.room, model::ChannelKind::Room))
//!             .actor(model::User::new(push.sender, model::UserKind::Human));
//!         let sent = cx.send(Emission::from(event).noise(Noise::Poll).trace(trace)).await;
//!         if sent.settled().await.is_final() {
//!             cx.http().delete("ack", Noise::Aux, &url).template("/v1/messages/{id}").send().await?;
//!         }
//!         Ok(())
//!     }
//!
//!     async fn send(&self, cx: &Context, command: &Command) -> Result<Outcome, Outcome> {
//!         let params: model::params::MessageSend = command.params()?;
//!         let url = format!("{}/v1/rooms/{}", self.config.url, command.channel().unwrap_or_default());
//!         let request = cx
//!             .http()
//!             .post("send_message", Noise::Command, &url)
//!             .template("/v1/rooms/{room}")
//!             .json(&serde_json::json!({ "ref": command.idempotency_key(), "segments": params.message.segments }));
//!         command.sent(); // from here on, no answer means: it may have happened
//!         let answer = request.send().await.map_err(|error| Outcome::error(ErrorCode::Network, error))?;
//!         if !answer.is_success() {
//!             return Err(Outcome::error(ErrorCode::ProviderError, format_args!("status {}", answer.status())));
//!         }
//!         let sent: SentMessage = answer.json().map_err(|error| Outcome::error(ErrorCode::AdapterError, error))?;
//!         let result = serde_json::json!({ "message": { "id": sent.id } });
//!         Ok(Outcome::ok(sent.id.clone(), &result))
//!     }
//! }
//!
//! im_bridge_sdk::export_adapter!(Acme);
//! # use im_bridge_sdk::model::*;
//! # fn capabilities() -> Capabilities { panic!("compiled only") }
//! # fn main() {}
//! ```
//!
//! # Where to look
//! [`model`]: events, commands, results, capabilities as types. [`Context`]: everything a session does. [`http`] and
//! [`websocket`]: clients whose operations are reported. [`Kv`]: what must survive a restart. [`test`]: a host for tests.
//!
//! Not here: the C boundary itself (`im-bridge-plugin-api`), and everything the core decides: subjects, retries, spans.

#[cfg(feature = "adapter")]
#[doc(hidden)]
pub use im_bridge_plugin_api::abi;

#[cfg(feature = "adapter")]
pub mod http;
pub mod model;
#[cfg(feature = "adapter")]
pub mod test;
#[cfg(feature = "adapter")]
pub mod websocket;

#[cfg(feature = "adapter")]
mod adapter;
#[cfg(feature = "adapter")]
mod command;
#[cfg(feature = "adapter")]
mod config;
#[cfg(feature = "adapter")]
mod context;
#[cfg(feature = "adapter")]
pub mod crypto;
#[cfg(feature = "adapter")]
mod description;
#[cfg(feature = "adapter")]
mod emission;
#[cfg(feature = "adapter")]
mod engine;
#[cfg(feature = "adapter")]
pub mod export;
#[cfg(feature = "adapter")]
mod fault;
#[cfg(feature = "adapter")]
mod ffi;
#[cfg(feature = "adapter")]
mod host;
#[cfg(feature = "adapter")]
mod kv;
#[cfg(feature = "adapter")]
mod log;
#[cfg(feature = "adapter")]
mod metrics;
#[cfg(feature = "adapter")]
mod op;
#[cfg(feature = "adapter")]
mod outcome;
#[cfg(feature = "adapter")]
mod state;
#[cfg(feature = "adapter")]
mod time;
#[cfg(feature = "adapter")]
mod tls;
#[cfg(feature = "adapter")]
mod trace;
#[cfg(feature = "adapter")]
mod webhook;

#[cfg(feature = "adapter")]
pub use self::{
    adapter::Adapter,
    command::Command,
    config::{ConfigError, Secret},
    context::{Context, Sent},
    description::{Description, Session},
    emission::Emission,
    engine::outbox::Settled,
    fault::Fault,
    host::Host,
    kv::{Kv, KvEntry, KvError, KvPut},
    metrics::{Counter, Gauge, Histogram, Metric},
    op::{Noise, Op},
    outcome::{Outcome, Verdict},
    state::State,
    time::Interval,
    trace::Trace,
    webhook::{WebhookRequest, WebhookResponse},
};
