//! The host's half of the contract against adapters written in C, loaded as any plugin is.
//!
//! Each fault is provoked in a real image with an allocator of its own, and each time an instance beside it goes on.
//!
//! Not here: the gate's interleavings (`gate_model`), the loader's refusals.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod account;
mod life;
mod lost;
mod misbehaving;
mod random;
mod rig;
