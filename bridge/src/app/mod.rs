//! The service that `im-bridge run` is: everything else, put together and kept going.
//!
//! It runs each configured account on exactly the replica that holds the account's shard, from the lease that was won to
//! the lease that is given back. An account's trouble stays that account's. Nothing is left running at the end: every task
//! has an owner that stops it.
//!
//! Reading order: `service` (start and main loop), `plan` with `plugins`, `choice` and `load` (what is wanted), `owner` (a
//! held shard), `owned` (an account in it), `face`, `signs` and `outlet` (what it says), `documents` (what is published of
//! it), `liveness`, `logins`, `control`, `reload`, `shutdown`; `lookout` and `holds` see to what is around them; `status`,
//! `figures`, `ask` and `plugin_desk` tell others.
//!
//! Not here: leases (`bus::shards`), one instance's life (`account`), events (`inbound`), commands (`outbound`).

mod ask;
mod base;
mod choice;
mod control;
mod documents;
mod face;
mod figures;
pub(crate) mod holds;
mod hooks;
mod liveness;
mod load;
pub(crate) mod login;
mod logins;
pub(crate) mod lookout;
mod offer;
mod outlet;
mod own_metrics;
mod owned;
mod owner;
mod plan;
mod plugin_desk;
mod plugins;
mod reload;
mod service;
pub(crate) mod settings;
mod shutdown;
mod signals;
mod signs;
mod status;
mod troubles;
mod webhooks;

pub use reload::AT_START_ONLY;
pub use service::{ServiceError, run};
pub use shutdown::End;
pub use signals::{Asked, Signals};
