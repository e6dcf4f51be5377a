//! Outbound commands against real servers: each is effected once and answered, whatever happens to the bus or the owner.
//!
//! The provider is scripted: it stands where an account's supervisor does, and says of each command what the test wants.
//! Not here: adapters and the plugin boundary.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod faults;
mod once;
mod order;
mod provider;
mod requests;
mod world;
