//! The JSON-RPC form of the protocol: the same packets as JSON objects, not sealed.
//!
//! A connection is in this form or in the binary one for its life. The server's objects follow each other without any
//! separator and are cut anywhere: [`Objects`] finds their ends, [`read`] reads one, [`write`] makes one of ours.

mod objects;
mod read;
mod write;

use serde::{Deserialize, Serialize};

use super::packet::{Flags, Packet, setting};

pub use objects::{OBJECT_BYTES_MAX, Objects};
pub use read::read;
pub use write::write;

/// Why an object of the server is of no use. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("expected an object, got byte {0:#04x}")]
    NoObject(u8),
    #[error("an object has more than {OBJECT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("an object cannot be read at line {line} column {column}")]
    Malformed { line: usize, column: usize },
    #[error("{0} is not what the protocol says")]
    BadMember(&'static str),
    #[error("{0} has no JSON-RPC form")]
    NoForm(&'static str),
}

/// What one object says.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Packet(Packet),
    /// The server could not read something of ours and will answer everything after it with this error.
    Error(String),
    /// Harmless, or of a method that is not known yet.
    Nothing,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Header {
    #[serde(skip_serializing_if = "is_false")]
    no_persist: bool,
    #[serde(skip_serializing_if = "is_false")]
    red_dot: bool,
    #[serde(skip_serializing_if = "is_false")]
    sync_once: bool,
    #[serde(skip_serializing_if = "is_false")]
    dup: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Setting {
    #[serde(skip_serializing_if = "is_false")]
    receipt: bool,
    #[serde(skip_serializing_if = "is_false")]
    signal: bool,
    #[serde(skip_serializing_if = "is_false")]
    stream: bool,
    #[serde(skip_serializing_if = "is_false")]
    topic: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Header {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(flags: Flags) -> Self {
        Self {
            no_persist: flags.has(Flags::NO_PERSIST),
            red_dot: flags.has(Flags::RED_DOT),
            sync_once: flags.has(Flags::SYNC_ONCE),
            dup: flags.has(Flags::DUP),
        }
    }

    fn flags(self) -> Flags {
        Flags::default()
            .with(Flags::NO_PERSIST, self.no_persist)
            .with(Flags::RED_DOT, self.red_dot)
            .with(Flags::SYNC_ONCE, self.sync_once)
            .with(Flags::DUP, self.dup)
    }
}

impl Setting {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(bits: u8) -> Self {
        Self {
            receipt: bits & setting::RECEIPT != 0,
            signal: bits & setting::SIGNAL != 0,
            stream: bits & setting::STREAM != 0,
            topic: bits & setting::TOPIC != 0,
        }
    }

    fn bits(self) -> u8 {
        let pairs = [
            (self.receipt, setting::RECEIPT),
            (self.signal, setting::SIGNAL),
            (self.stream, setting::STREAM),
            (self.topic, setting::TOPIC),
        ];
        let on = pairs.into_iter().filter(|(is_on, _)| *is_on);
        on.fold(0, |bits, (_, bit)| bits | bit)
    }
}
