//! What runs an instance: its thread, its tasks, and the state that its context stands on.
//!
//! The host's calls put what they bring into the [`inbox`] and wake the instance once; everything else happens on the
//! instance's one thread, without locks. `core` is what both sides share, `local` what only the thread sees, `pump` the
//! task between the two, `outbox` and `commands` what goes to the host in batches, `session` the loop around `run`,
//! `threads` where instances live.
//!
//! Invariant: no borrow of a `RefCell` is held while foreign code runs (a callback, a waker, the host), since it may
//! come back into the same cell.

pub(crate) mod commands;
pub(crate) mod core;
pub(crate) mod inbox;
pub(crate) mod instance;
pub(crate) mod local;
pub(crate) mod outbox;
pub(crate) mod pump;
pub(crate) mod scope;
pub(crate) mod session;
pub(crate) mod tasks;
pub(crate) mod threads;
pub(crate) mod timers;
pub(crate) mod wait;
