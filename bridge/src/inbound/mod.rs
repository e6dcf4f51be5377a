//! From what an adapter emitted to what JetStream stored, and back as an outcome.
//!
//! In order inside a channel, channels in parallel: a channel has one publish on its way and the rest waits in its lane.
//! Each event is settled once: stored, stored before, in the dead letters, or not stored and this owner gives up. Until
//! then it is kept, through reconnects and full streams; credits bound how much that is. Nothing here starts a task: the
//! account's own task drives its events, so one event costs no hop.
//!
//! Reading order: `lanes` (what may go), `carry` (one event's way), `account` (all events of an account).
//!
//! Not here: sending again until stored (`bus::ack`), credits (`loader::host`), when an account connects (`account`).

mod account;
mod carry;
mod gateway;
mod lanes;
pub mod metrics;
mod route;
mod split;

pub use account::{Inbound, Options, Settled};
pub use gateway::Gateway;
pub use lanes::Order;
pub use route::{Alone, Echoed, Surroundings};
pub use split::{Carrier, Intake};
