//! The WuKongIM simulator keeps to its protocol page: its codec reads and writes the vectors, the recorded exchanges of a real
//! server happen again, and each oddity and fault is there.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../src/wukongim/codec/mod.rs"]
#[allow(dead_code, reason = "the simulator uses the other half")]
mod codec;

mod foreign;
mod life;
mod peer;
mod replay;
mod vectors;
