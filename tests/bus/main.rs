//! The bus against real servers: what it makes there, what it promises when they are killed.
//!
//! Not here: what travels on it; the bus never looks into a payload.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod asking;
mod cluster;
mod keys;
mod ownership;
mod provisioning;
mod publishing;
mod servers;
mod support;
