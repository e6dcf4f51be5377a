//! Write provider adapters for im-bridge without unsafe code.

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
