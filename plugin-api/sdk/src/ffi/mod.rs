//! The boundary: the only part of the SDK with `unsafe` in it.
//!
//! `entries` are the functions the host calls, each under a guard that turns a panic into a status. `link` calls the
//! host. `owned` are buffers that cross. Everything the other side wrote is read through `abi::raw`.
//!
//! Not here: what the calls mean (`engine`).
#![allow(
    unsafe_code,
    reason = "the ABI is raw pointers; each block states why its conditions hold"
)]

pub(crate) mod describe;
pub(crate) mod entries;
pub(crate) mod extensions;
pub(crate) mod guard;
pub(crate) mod link;
pub(crate) mod owned;
pub(crate) mod wipe;
