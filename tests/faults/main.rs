//! The whole service under faults, at load: the real program, a real nats-server, a real plugin file, and the provider as
//! a process of its own, whose record survives whatever happens to the others.
//!
//! Each test compares three records that share no code: what the provider said, was told and did (`truth`), what the
//! streams hold, and what the commands' publisher was promised. `audit` does it, and every test ends with it.
//!
//! * `stored`: what is acknowledged to a provider is stored.
//! * `chaos`: servers and bridges are killed, frozen and stopped at random. 25 s of it; `IM_BRIDGE_CHAOS_S=60` makes it a
//!   minute. The seed is printed and taken from `IM_BRIDGE_SEED`.
//! * `replicas`, `frozen`, `names`: who owns an account when.
//! * `network`: connections that are cut and connections that are dead without a word.
//!
//! Not here: what one layer does by itself under faults (`tests/bus`, `tests/inbound`, `tests/outbound`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod audit;
mod chaos;
mod frozen;
mod load;
mod names;
mod network;
mod replicas;
mod stored;
mod world;
