//! WukongIM's protocols as types: the binary one, the JSON-RPC one, and the records of its HTTP API.
//!
//! Pure: bytes in, values out, no input or output. Checked against the vectors in `tests/vectors/wukongim/`, both ways.
//!
//! * `packet.rs`, `frames.rs`, `wire.rs`: the binary protocol, versions 0 to 6.
//! * `seal.rs`: key agreement, sealing, msgKey.
//! * `jsonrpc.rs`: the same packets as JSON objects.
//! * `reason.rs`: reason codes and what to do about them.
//! * `record.rs`: messages as history, look-ups and webhooks have them.
//! * `channel.rs`: a channel's id here and there.

pub mod channel;
pub mod frames;
pub mod jsonrpc;
pub mod packet;
pub mod reason;
pub mod record;
pub mod seal;
pub mod wire;
