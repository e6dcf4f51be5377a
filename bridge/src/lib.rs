//! The bridge as a library, so that tests and benches call the same code as the binary.

pub mod account;
pub mod admin;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod dead_letter;
pub mod envelope;
pub mod inbound;
pub mod loader;
pub mod outbound;
pub mod telemetry;
