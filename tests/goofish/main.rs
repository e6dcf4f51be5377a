//! The goofish adapter against its simulator, which shares no code with it.
//!
//! * `login.rs`, `events.rs`, `missed.rs`, `sends.rs`, `commands.rs`, `connections.rs`, `faults.rs`: the adapter in a mock
//!   host, where every call of the contract is checked and everything can be steered. With `mock.rs`.
//! * `service.rs`, `outages.rs`: the plugin loaded from its file by a bridge, with a real NATS server. With `whole.rs`.
//! * `idle.rs`: what an idle account costs.
//!
//! Not here: the provider's vectors, and what a simulator cannot say; both lie in the adapter's package.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod connections;
mod events;
mod faults;
mod idle;
mod login;
mod missed;
mod mock;
mod outages;
mod sends;
mod service;
mod whole;
