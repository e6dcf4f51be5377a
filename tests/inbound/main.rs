//! Inbound events against real servers: what an adapter emits is stored once and in order, whatever happens to the bus.
//!
//! Not here: adapters. Events are made here and go the way from the loader's boundary on.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod dead_letters;
mod faults;
mod large;
mod world;
