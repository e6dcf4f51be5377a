//! HTTP client and WebSocket against servers on the loopback, inside an adapter that a mock host runs.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod http;
mod script;
mod server;
mod tls;
mod websocket;
