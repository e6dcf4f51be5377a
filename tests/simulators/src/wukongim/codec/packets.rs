//! Packets: what each frame's body holds, by the version that both sides agreed on.

use super::frames::{Frame, write_frame};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bits of a packet's setting.
pub const TOPIC: u8 = 0x08;
pub const STREAM: u8 = 0x02;
/// What the bit of a stream was on servers of before 2025.
pub const OLD_STREAM: u8 = 0x04;
/// In CONNACK the lowest flag says that a version byte follows.
const HAS_VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub no_persist: bool,
    pub red_dot: bool,
    pub sync_once: bool,
    pub dup: bool,
}

impl Flags {
    pub fn of(bits: u8) -> Self {
        Self {
            no_persist: bits & 1 != 0,
            red_dot: bits & 2 != 0,
            sync_once: bits & 4 != 0,
            dup: bits & 8 != 0,
        }
    }

    pub fn bits(self) -> u8 {
        u8::from(self.no_persist)
            | u8::from(self.red_dot) << 1
            | u8::from(self.sync_once) << 2
            | u8::from(self.dup) << 3
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    pub version: u8,
    pub device_flag: u8,
    pub device_id: String,
    pub uid: String,
    pub token: String,
    pub client_timestamp_ms: i64,
    pub client_key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connack {
    pub server_version: Option<u8>,
    pub time_diff_ms: i64,
    pub reason: u8,
    pub server_key: String,
    pub salt: String,
    pub node_id: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Sealed, unless encryption is off.
    pub payload: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sendack {
    pub flags: Flags,
    pub message_id: i64,
    pub client_seq: u32,
    pub message_seq: u64,
    pub reason: u8,
    /// What newer servers append, and readers skip.
    pub trailing: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recv {
    pub flags: Flags,
    pub setting: u8,
    pub msg_key: String,
    pub from_uid: String,
    pub channel_id: String,
    pub channel_type: u8,
    pub expire_s: u32,
    pub client_msg_no: String,
    pub stream_flag: u8,
    pub stream_no: String,
    pub stream_id: u64,
    pub message_id: i64,
    pub message_seq: u64,
    pub timestamp_s: i32,
    pub topic: String,
    /// Sealed, unless encryption is off.
    pub payload: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub timestamp_ms: i64,
    pub data: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connect(Connect),
    Connack(Connack),
    Send(Send),
    Sendack(Sendack),
    Recv(Recv),
    Recvack {
        flags: Flags,
        message_id: i64,
        message_seq: u64,
    },
    Ping,
    Pong,
    Disconnect {
        reason: u8,
        text: String,
    },
    Event(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A packet type that does not exist.
    Unknown(u8),
    /// The body ends before its fields do.
    Short,
    /// A length with its top bit set.
    Negative,
    /// A string that is not UTF-8.
    Text,
}

impl Send {
    /// What its message key signs.
    pub fn sign_text(&self) -> Vec<u8> {
        let head = format!(
            "{}{}{}{}",
            self.client_seq, self.client_msg_no, self.channel_id, self.channel_type
        );
        [head.as_bytes(), &self.payload].concat()
    }
}

impl Recv {
    /// What its message key signs.
    pub fn sign_text(&self) -> Vec<u8> {
        let head = format!(
            "{}{}{}{}{}{}{}",
            self.message_id,
            self.message_seq,
            self.client_msg_no,
            self.timestamp_s,
            self.from_uid,
            self.channel_id,
            self.channel_type
        );
        [head.as_bytes(), &self.payload].concat()
    }
}

/// Whether the fields of a stream are on the wire.
fn has_stream(setting: u8, version: u8) -> bool {
    (2..5).contains(&version) && setting & STREAM != 0
}

fn has_old_stream(setting: u8, version: u8) -> bool {
    (2..5).contains(&version) && setting & STREAM == 0 && setting & OLD_STREAM != 0
}

pub fn decode(frame: Frame, version: u8) -> Result<Packet, DecodeError> {
    let flags = Flags::of(frame.flags);
    let mut body = Body(frame.body);
    Ok(match frame.kind {
        1 => Packet::Connect(Connect {
            version: body.u8()?,
            device_flag: body.u8()?,
            device_id: body.text()?,
            uid: body.text()?,
            token: body.text()?,
            client_timestamp_ms: body.i64()?,
            client_key: body.text()?,
        }),
        2 => {
            let has_version = frame.flags & HAS_VERSION != 0;
            Packet::Connack(Connack {
                server_version: has_version.then(|| body.u8()).transpose()?,
                time_diff_ms: body.i64()?,
                reason: body.u8()?,
                server_key: body.text()?,
                salt: body.text()?,
                node_id: body.u64().unwrap_or(0),
            })
        }
        3 => Packet::Send(send(flags, &mut body, version)?),
        4 => Packet::Sendack(Sendack {
            flags,
            message_id: body.i64()?,
            client_seq: body.u32()?,
            message_seq: body.seq(version)?,
            reason: body.u8()?,
            trailing: body.0,
        }),
        5 => Packet::Recv(recv(flags, &mut body, version)?),
        6 => Packet::Recvack {
            flags,
            message_id: body.i64()?,
            message_seq: body.seq(version)?,
        },
        7 => Packet::Ping,
        8 => Packet::Pong,
        9 => Packet::Disconnect {
            reason: body.u8()?,
            text: body.text()?,
        },
        12 => Packet::Event(Event {
            id: body.text()?,
            kind: body.text()?,
            timestamp_ms: body.i64()?,
            data: body.0,
        }),
        kind => return Err(DecodeError::Unknown(kind)),
    })
}

fn send(flags: Flags, body: &mut Body, version: u8) -> Result<Send, DecodeError> {
    let setting = body.u8()?;
    Ok(Send {
        flags,
        setting,
        client_seq: body.u32()?,
        client_msg_no: body.text()?,
        stream_no: body.text_if(has_stream(setting, version))?,
        channel_id: body.text()?,
        channel_type: body.u8()?,
        expire_s: if version >= 3 { body.u32()? } else { 0 },
        msg_key: body.text()?,
        topic: body.text_if(setting & TOPIC != 0)?,
        payload: std::mem::take(&mut body.0),
    })
}

fn recv(flags: Flags, body: &mut Body, version: u8) -> Result<Recv, DecodeError> {
    let mut packet = Recv {
        flags,
        setting: body.u8()?,
        msg_key: body.text()?,
        from_uid: body.text()?,
        channel_id: body.text()?,
        channel_type: body.u8()?,
        expire_s: if version >= 3 { body.u32()? } else { 0 },
        client_msg_no: body.text()?,
        ..Recv::default()
    };
    if has_stream(packet.setting, version) {
        packet.stream_flag = body.u8()?;
        packet.stream_no = body.text()?;
        packet.stream_id = body.u64()?;
    } else if has_old_stream(packet.setting, version) {
        packet.stream_no = body.text()?;
        packet.stream_id = body.u32()?.into();
        packet.stream_flag = body.u8()?;
    }
    packet.message_id = body.i64()?;
    packet.message_seq = body.seq(version)?;
    packet.timestamp_s = body.u32()?.cast_signed();
    packet.topic = body.text_if(packet.setting & TOPIC != 0)?;
    packet.payload = std::mem::take(&mut body.0);
    Ok(packet)
}

/// What is not read yet of a body.
struct Body(Bytes);

impl Body {
    fn has(&self, bytes: usize) -> Result<(), DecodeError> {
        (self.0.len() >= bytes)
            .then_some(())
            .ok_or(DecodeError::Short)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.has(1)?;
        Ok(self.0.get_u8())
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.has(4)?;
        Ok(self.0.get_u32())
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.has(8)?;
        Ok(self.0.get_u64())
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.has(8)?;
        Ok(self.0.get_i64())
    }

    fn seq(&mut self, version: u8) -> Result<u64, DecodeError> {
        if version >= 6 {
            self.u64()
        } else {
            Ok(self.u32()?.into())
        }
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        self.has(2)?;
        let length = usize::try_from(self.0.get_i16()).map_err(|_| DecodeError::Negative)?;
        self.has(length)?;
        let bytes = self.0.split_to(length);
        String::from_utf8(bytes.into()).map_err(|_| DecodeError::Text)
    }

    fn text_if(&mut self, is_there: bool) -> Result<String, DecodeError> {
        if is_there {
            self.text()
        } else {
            Ok(String::new())
        }
    }
}

fn put_text(text: &str, body: &mut BytesMut) {
    // What is longer cannot be said in this protocol; it is cut, never wrapped.
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    body.put_i16(length);
    body.put_slice(&text.as_bytes()[..usize::try_from(length).unwrap_or(0)]);
}

fn put_seq(seq: u64, version: u8, body: &mut BytesMut) {
    if version >= 6 {
        body.put_u64(seq);
    } else {
        body.put_u32(u32::try_from(seq).unwrap_or(u32::MAX));
    }
}

pub fn encode(packet: &Packet, version: u8, out: &mut BytesMut) {
    let mut body = BytesMut::new();
    let (kind, flags) = match packet {
        Packet::Connect(it) => {
            body.put_u8(it.version);
            body.put_u8(it.device_flag);
            put_text(&it.device_id, &mut body);
            put_text(&it.uid, &mut body);
            put_text(&it.token, &mut body);
            body.put_i64(it.client_timestamp_ms);
            put_text(&it.client_key, &mut body);
            (1, 0)
        }
        Packet::Connack(it) => {
            if let Some(version) = it.server_version {
                body.put_u8(version);
            }
            body.put_i64(it.time_diff_ms);
            body.put_u8(it.reason);
            put_text(&it.server_key, &mut body);
            put_text(&it.salt, &mut body);
            if version >= 4 {
                body.put_u64(it.node_id);
            }
            (2, u8::from(it.server_version.is_some()))
        }
        Packet::Send(it) => {
            put_send(it, version, &mut body);
            (3, it.flags.bits())
        }
        Packet::Sendack(it) => {
            body.put_i64(it.message_id);
            body.put_u32(it.client_seq);
            put_seq(it.message_seq, version, &mut body);
            body.put_u8(it.reason);
            body.put_slice(&it.trailing);
            (4, it.flags.bits())
        }
        Packet::Recv(it) => {
            put_recv(it, version, &mut body);
            (5, it.flags.bits())
        }
        Packet::Recvack {
            flags,
            message_id,
            message_seq,
        } => {
            body.put_i64(*message_id);
            put_seq(*message_seq, version, &mut body);
            (6, flags.bits())
        }
        Packet::Ping => (7, 0),
        Packet::Pong => (8, 0),
        Packet::Disconnect { reason, text } => {
            body.put_u8(*reason);
            put_text(text, &mut body);
            (9, 0)
        }
        Packet::Event(it) => {
            put_text(&it.id, &mut body);
            put_text(&it.kind, &mut body);
            body.put_i64(it.timestamp_ms);
            body.put_slice(&it.data);
            (12, 0)
        }
    };
    write_frame(kind, flags, &body, out);
}

fn put_send(it: &Send, version: u8, body: &mut BytesMut) {
    body.put_u8(it.setting);
    body.put_u32(it.client_seq);
    put_text(&it.client_msg_no, body);
    if has_stream(it.setting, version) {
        put_text(&it.stream_no, body);
    }
    put_text(&it.channel_id, body);
    body.put_u8(it.channel_type);
    if version >= 3 {
        body.put_u32(it.expire_s);
    }
    put_text(&it.msg_key, body);
    if it.setting & TOPIC != 0 {
        put_text(&it.topic, body);
    }
    body.put_slice(&it.payload);
}

fn put_recv(it: &Recv, version: u8, body: &mut BytesMut) {
    body.put_u8(it.setting);
    put_text(&it.msg_key, body);
    put_text(&it.from_uid, body);
    put_text(&it.channel_id, body);
    body.put_u8(it.channel_type);
    if version >= 3 {
        body.put_u32(it.expire_s);
    }
    put_text(&it.client_msg_no, body);
    if has_stream(it.setting, version) {
        body.put_u8(it.stream_flag);
        put_text(&it.stream_no, body);
        body.put_u64(it.stream_id);
    } else if has_old_stream(it.setting, version) {
        put_text(&it.stream_no, body);
        body.put_u32(u32::try_from(it.stream_id).unwrap_or(u32::MAX));
        body.put_u8(it.stream_flag);
    }
    body.put_i64(it.message_id);
    put_seq(it.message_seq, version, body);
    body.put_i32(it.timestamp_s);
    if it.setting & TOPIC != 0 {
        put_text(&it.topic, body);
    }
    body.put_slice(&it.payload);
}
