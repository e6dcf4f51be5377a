//! The contract between the core of im-bridge and a provider adapter: a C ABI, seen from Rust.
//!
//! It promises that a plugin built against 1.0 loads for as long as major 1 is served: structs only grow at the end,
//! named integers only gain values, tables carry their size. `layout.snapshot` and the C header are the same facts;
//! tests compare all three. No allocation, no dependencies, no thread is started here.
//!
//! Not here: anything safe to use without thought. Adapters are written against `im-bridge-sdk`; the host's half lives
//! in the core's `loader`.
#![no_std]
#![allow(
    unsafe_code,
    reason = "the ABI is raw pointers; each block states why its conditions hold"
)]

pub mod abi;
