//! WuKongIM from end to end: the real program, a real nats-server, the plugin file, and the server's simulator as a process of
//! its own, whose record survives whatever happens to the others.
//!
//! * `chats`: people and groups, both ways, every command. `sessions`: logging in and being sent away.
//! * `gaps`: what was not pushed, pushed twice, or out of order. `openchat`: OpenChat in front. `webhooks`: HTTP pushes.
//! * `faults`: everything that can break, on both transports, with the record compared to the streams.
//! * `example`: the adapter's example.toml.
//! * `load`: how many messages a second are stored and acknowledged. `IM_BRIDGE_LOAD=<messages>` makes it long.
//! * `idle`: memory of idle accounts. `IM_BRIDGE_ACCOUNTS=500` makes it many.
//!
//! Not here: what the adapter does by itself (`adapters/wukongim/tests`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod chats;
mod example;
mod faults;
mod gaps;
mod idle;
mod load;
mod openchat;
mod sessions;
mod webhooks;
mod world;
