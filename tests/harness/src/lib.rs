//! What tests against real servers share: servers to kill, waits with a deadline, seeds that are printed.
//!
//! Each server is a process of its own with a store of its own on a port of its own; it ends with the value that holds it,
//! by its process id. Nothing here is shared between tests, so they run in parallel.
//!
//! Not here: what a test asserts. Invariant: only `stays` and `pause` wait without a condition that ends the wait.

mod bridge;
mod control;
mod nats;
pub mod otlp;
mod process;
mod proxy;
mod seed;
mod simulator;
mod skip;
mod wait;

pub use bridge::{Bridge, Files, Ran, sim_with};
pub use control::Control;
pub use nats::{Cluster, Jetstream, Nats};
pub use proxy::Proxy;
pub use seed::seeded;
pub use simulator::{Director, Simulator};
pub use skip::skip;
pub use wait::{WITHIN, eventually, eventually_within, pause, stays, within};
