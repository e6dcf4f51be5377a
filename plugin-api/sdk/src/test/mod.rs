//! A host for tests: runs an adapter through the raw ABI with no bridge, and checks the contract while doing so.
//!
//! [`MockHost`] knows nothing of how the adapter was written; linked statically or loaded, in Rust or not, it sees the
//! entry function only. It scripts credits, settles, durable state, time and webhooks, records everything the adapter
//! says, and collects each broken rule as a [`Violation`]. Threads are plain ones, waits have deadlines.
//!
//! Not here: the checks of a file before it is loaded, and those that need a child process.
//!
//! Reading order: `mock` (how a test drives it), `life`, `shared` (the book and the gate), `host` (the functions an adapter
//! calls), then one file per extension.
#![allow(
    unsafe_code,
    reason = "speaks the raw ABI; each block states why its conditions hold"
)]

mod builder;
mod clock;
mod command;
mod host;
mod keep;
mod kv;
mod lend;
mod life;
mod metrics;
mod mock;
mod record;
mod rules;
mod shared;
#[cfg(test)]
mod tests;
mod violation;
mod webhook;

pub use builder::{Builder, CreateError, Decide, Entry, Extension, Settling, entry};
pub use command::Command;
pub use im_bridge_plugin_api::abi::{
    Delivery, KvVerb, LogLevel, Noise, OrderScope, Origin, Outcome, State, Status,
};
pub use keep::Release;
pub use kv::KvStore;
pub use mock::MockHost;
pub use record::{
    CompletionRecord, EventRecord, KvRecord, LogRecord, OpRecord, Recording, ReportRecord,
    ResponseRecord, SettleRecord, Trace,
};
pub use shared::Phase;
pub use violation::{Call, Function, Violation};
pub use webhook::Webhook;
