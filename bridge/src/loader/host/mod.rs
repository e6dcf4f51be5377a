//! The host's half of the plugin contract: instances of a loaded file, seen from safe code.
//!
//! ```text
//! let plugin = Plugin::new(loaded, Patience::default());             // once per loaded file
//! let (instance, mut inbox) = Instance::create(&plugin, "shop", config, options).await?;
//! instance.start().await?;                                           // and its window is granted
//! match inbox.recv().await {
//!     HostEvent::Event(event) => ..                                  // event.ticket.settle(Outcome::STORED)
//!     HostEvent::Completed(completed) => ..                          // of instance.execute(command)
//!     HostEvent::Fault(fault) => ..                                  // panic: stop and destroy; stuck: drop it
//!     ..
//! }
//! instance.drain(timeout).await?; instance.stop(timeout).await?; instance.destroy().await?;
//! ```
//!
//! One hop each way: an event goes from the plugin's thread through `mailbox` to the task that reads the [`Inbox`]; a
//! settle goes through the instance's queue to the `caller` thread of its file. Nothing in between blocks or grows: what
//! each queue may hold is bounded by credits, by commands in flight, or by leaving out.
//!
//! Reading order: `gate`, `credits` and `buffer` (small and alone), `messages` and `event` (what passes), `table` (the
//! adapter calls us), `caller` (we call it quickly), `instance` (we call it and wait), `shared` (what they all hold).
//!
//! Not here: when to create, restart or give up an instance (`account`); what an event or a command means.

#![allow(
    unsafe_code,
    reason = "the ABI is raw pointers; each block states why its conditions hold"
)]

mod buffer;
mod caller;
mod credits;
mod event;
mod faults;
mod gate;
#[cfg(test)]
mod gate_tests;
mod instance;
mod kv;
mod mailbox;
mod messages;
mod metrics;
mod misbehaviour;
mod packed;
mod plugin;
mod shared;
mod sync;
mod table;
mod webhook;

pub use credits::{CreditFigures, Pool, Window};
pub use event::{EventFacts, InboundEvent, Ticket};
pub use faults::{Faults, Verdict};
pub use instance::{CallError, Instance, STOP_POISONED};
pub use kv::{KvReply, KvRequest};
pub use mailbox::Inbox;
pub use messages::{
    Call, Command, Completed, Fault, Hooks, HostEvent, Log, MetricDefinition, Op, Report,
};
pub use misbehaviour::Misbehaviour;
pub use packed::Packed;
pub use plugin::{Patience, Plugin};
pub use shared::{Options, Phase, Turn, stuck_instances};
pub use webhook::{WebhookReply, WebhookRequest, WebhookResponse};
