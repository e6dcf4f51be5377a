//! What leaves for a collector: the real binary, a real NATS, and a collector in this process.
//!
//! The polling provider is a script in C (`tests/zoo/c/poller.c`), so that ten minutes of polling take no time; messages
//! that really flow are sim's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod decoded;
mod export;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod journey;
mod labels;
mod lines;
mod noise;
mod outage;
mod secrets;
mod signals;
mod stalled;
mod start;
mod world;
