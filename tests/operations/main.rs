//! The whole service as its operators meet it: real processes, a real NATS server, a real plugin file.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_input;
mod control;
mod flow;
mod full;
mod life;
mod lookout;
mod outcomes;
mod plugins;
mod reload;
mod replicas;
mod webhooks;
mod world;
