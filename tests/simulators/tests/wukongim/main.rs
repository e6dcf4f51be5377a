//! The WuKongIM simulator keeps to its protocol page: its codec reads and writes the vectors, the recorded exchanges of a real
//! server happen again, and each oddity and fault is there.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../src/wukongim/codec/mod.rs"]
#[allow(dead_code, reason = "the simulator uses the other half")]
mod codec;

mod faults;
mod foreign;
mod history;
mod life;
mod load;
mod openchat;
mod peer;
mod replay;
mod rpc;
mod vectors;
mod webhooks;
