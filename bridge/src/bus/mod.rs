//! Every NATS name and object: subjects, streams, consumers, buckets, leases.
//!
//! The bus knows no plugin and looks into no payload. What it says is stored is stored: it has the server's word for it.
//! Everything that waits has a deadline and everything that grows a bound.
//!
//! Not here: what an event or a command means (`inbound`, `outbound`), when an account connects (`account`).

pub mod account_keys;
pub mod ack;
pub mod api;
pub mod blobs;
pub mod clock;
pub mod connect;
pub mod consumer;
pub mod denied;
pub mod fetch;
pub mod hold;
pub mod kv;
pub mod lease;
pub mod lease_figures;
pub mod members;
pub mod objects;
pub mod patience;
pub mod permissions;
pub mod provision;
mod pull;
pub mod replies;
pub mod service;
pub mod shard;
pub mod shards;
pub mod subjects;
pub mod survey;
pub mod tail;
pub mod token;
pub mod watch;

pub use ack::{AckTable, Acked, Headers, Outgoing, Target};
pub use connect::{Bus, Settings};
pub use hold::Hold;
pub use shard::Shard;
pub use subjects::Subjects;
pub use token::{Account, Action, Alias, Kind, Provider, Resource, Root};
