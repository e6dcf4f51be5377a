//! The played provider: people, chats and what happens between them, told to clients in frames.
//!
//! A [`World`] is a state machine. It is given frames and the time and holds frames to be sent, so it runs inside the
//! plugin and in a process of its own, and a test can run an hour of it at once. The same seed and the same times give
//! the same world. Everything it holds is bounded by its [`Settings`].
//!
//! It is a provider as an adapter author dreads it: what was not acknowledged comes again, history is trimmed, answers
//! are late or never come, tokens expire. It also keeps a [`Record`] of what it was told and did, which is the truth
//! that tests compare the bridge with.
//!
//! * [`worlds`]: worlds by name, and the [`Port`] a client is plugged into.
//! * `world`: the state, time passing, chatter.
//! * `clients`, `sessions`, `inbox`, `pushes`: connections, login, what an account is told, redelivery.
//! * `requests`, `chats`, `seats`, `people`, `posts`, `marks`: what clients may ask.
//! * `orders`, `control`: what the one who plays the provider may order.
//! * [`faults`]: what goes wrong on purpose.
//! * [`record`]: what was told and done.
//!
//! Not here: anything of the SDK. This could be a server in another language.

pub mod faults;
pub mod record;
pub mod settings;
pub mod worlds;

mod chats;
mod clients;
mod control;
mod inbox;
mod marks;
mod orders;
mod people;
mod posts;
mod pushes;
mod requests;
mod seats;
mod sessions;
mod world;

pub use clients::Heard;
pub use faults::{Fault, FaultKind, Faults};
pub use record::{Deed, Entry, Excerpt, Record, Summary};
pub use settings::Settings;
pub use world::World;
pub use worlds::{Port, Worlds};

#[cfg(test)]
mod tests;
