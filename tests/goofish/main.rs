//! The goofish adapter against its simulator, which shares no code with it.
//!
//! * `login.rs`, `events.rs`, `commands.rs`, `faults.rs`: the adapter in a mock host, where every call of the contract is
//!   checked and everything can be steered.
//!
//! Not here: the provider's vectors, and what a simulator cannot say; both lie in the adapter's package.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod events;
mod faults;
mod login;
mod mock;
