//! Packets of the binary protocol, both directions, versions 0 to 6.
//!
//! Here they are as types; `packet/codec.rs` reads and writes them. What a version adds is written and read by that version
//! only; the payload of SEND and RECV is taken as it goes over the wire, sealed or not.
//!
//! Not here: where a frame begins and ends (`frames`), sealing (`seal`), what a reason means (`reason`).

mod codec;

/// The version that is announced.
pub const VERSION: u8 = 5;

/// What a server without a version in its CONNACK speaks at most.
pub const VERSION_UNTOLD_MAX: u8 = 3;

/// Bits of a frame's first byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    pub const NO_PERSIST: Self = Self(1);
    pub const RED_DOT: Self = Self(2);
    pub const SYNC_ONCE: Self = Self(4);
    pub const DUP: Self = Self(8);
    /// In CONNACK.
    const HAS_VERSION: Self = Self(1);
    /// What a RECVACK repeats of its RECV.
    const REPEATED: Self = Self(7);

    pub fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }

    pub fn with(self, bit: Self, is_on: bool) -> Self {
        if is_on { Self(self.0 | bit.0) } else { self }
    }

    pub fn repeated(self) -> Self {
        Self(self.0 & Self::REPEATED.0)
    }
}

/// Bits of `setting`.
pub mod setting {
    pub const RECEIPT: u8 = 0x80;
    pub const SIGNAL: u8 = 0x20;
    pub const TOPIC: u8 = 0x08;
    /// Before 2025, with other members behind it.
    pub const STREAM_OLD: u8 = 0x04;
    pub const STREAM: u8 = 0x02;
}

mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const SEND: u8 = 3;
    pub const SENDACK: u8 = 4;
    pub const RECV: u8 = 5;
    pub const RECVACK: u8 = 6;
    pub const PING: u8 = 7;
    pub const PONG: u8 = 8;
    pub const DISCONNECT: u8 = 9;
    pub const EVENT: u8 = 12;
}

/// PING and PONG are their first byte alone.
pub fn is_bare(first: u8) -> bool {
    matches!(first >> 4, kind::PING | kind::PONG)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Connect(Connect),
    ConnAck(ConnAck),
    Send(Send),
    SendAck(SendAck),
    Recv(Recv),
    RecvAck(RecvAck),
    Ping,
    Pong,
    Disconnect(Disconnect),
    Event(Event),
    /// To be skipped: SUB, SUBACK and what is not known yet.
    Unknown(u8),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    pub version: u8,
    pub device_flag: u8,
    pub device_id: String,
    pub uid: String,
    pub token: String,
    pub client_timestamp_ms: i64,
    /// Base64 of the client's public key.
    pub client_key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnAck {
    pub server_version: Option<u8>,
    /// Server's clock minus ours.
    pub time_diff_ms: i64,
    pub reason: u8,
    /// Empty, like `salt`, when nothing is sealed.
    pub server_key: String,
    pub salt: String,
    pub node_id: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Send {
    pub flags: Flags,
    pub setting: u8,
    pub client_seq: u32,
    pub client_msg_no: String,
    pub stream_no: String,
    pub channel_id: String,
    pub channel_type: u8,
    pub expire_s: u32,
    pub msg_key: String,
    pub topic: String,
    pub payload: Vec<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendAck {
    pub flags: Flags,
    pub message_id: i64,
    pub client_seq: u32,
    pub message_seq: u64,
    pub reason: u8,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recv {
    pub flags: Flags,
    pub setting: u8,
    pub msg_key: String,
    pub from_uid: String,
    pub channel_id: String,
    pub channel_type: u8,
    pub expire_s: u32,
    pub client_msg_no: String,
    pub stream: Option<Stream>,
    pub message_id: i64,
    pub message_seq: u64,
    pub timestamp_s: i32,
    pub topic: String,
    pub payload: Vec<u8>,
}

/// Members of a streamed message, in versions 2 to 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    New { flag: u8, no: String, id: u64 },
    Old { no: String, seq: u32, flag: u8 },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecvAck {
    pub flags: Flags,
    pub message_id: i64,
    pub message_seq: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disconnect {
    pub reason: u8,
    pub text: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub timestamp_ms: i64,
    pub data: Vec<u8>,
}

impl Packet {
    /// Its name on the protocol's page.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "CONNECT",
            Self::ConnAck(_) => "CONNACK",
            Self::Send(_) => "SEND",
            Self::SendAck(_) => "SENDACK",
            Self::Recv(_) => "RECV",
            Self::RecvAck(_) => "RECVACK",
            Self::Ping => "PING",
            Self::Pong => "PONG",
            Self::Disconnect(_) => "DISCONNECT",
            Self::Event(_) => "EVENT",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl ConnAck {
    /// What both sides speak from now on, when `announced` was announced.
    pub fn negotiated(&self, announced: u8) -> u8 {
        announced.min(self.server_version.unwrap_or(VERSION_UNTOLD_MAX))
    }
}

impl Recv {
    /// What is sent once it is stored.
    pub fn ack(&self) -> RecvAck {
        RecvAck {
            flags: self.flags.repeated(),
            message_id: self.message_id,
            message_seq: self.message_seq,
        }
    }
}
