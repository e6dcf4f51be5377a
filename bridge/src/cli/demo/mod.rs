//! What `im-bridge demo` needs beyond the bridge itself: a NATS server that ends with it.
//!
//! Not here: the bridge. The demo runs the same code as `im-bridge run`.

pub mod nats_server;
pub mod watched;
