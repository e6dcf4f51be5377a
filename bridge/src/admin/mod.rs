//! Probes, metrics and status over HTTP, for machines beside the bridge.
//!
//! Answered by a thread of its own, so that a busy core does not look dead; and no probe ever asks NATS or a provider, so
//! that their trouble restarts nobody. Only GET, no actions: operators act over NATS, where permissions decide.
//!
//! Not here: what is counted (`telemetry`), what the status consists of (whoever gives the [`Report`]).

mod health;
mod server;

pub use health::{Check, Health};
pub use server::{Admin, AdminError, Report};
