//! The binary protocol of WuKongIM, both directions: frames, packets, sealing.
//!
//! Knows no connection and no server, so that the tests read the simulator's answers with it. Checked against the recorded
//! vectors in `tests/vectors/wukongim/` by `tests/wukongim/vectors.rs`.
//!
//! Not here: the JSON form (`rpc.rs`).

pub mod frames;
pub mod packets;
pub mod seal;
