//! How packets are read and written: their members in the order of the protocol's page, by version.

use super::{
    ConnAck, Connect, Disconnect, Event, Flags, Packet, Recv, RecvAck, Send, SendAck, Stream, kind,
    setting,
};
use crate::native::wire::{BODY_BYTES_MAX, Reader, WireError, Writer, write_length};

impl Packet {
    /// Reads one frame: its first byte and its body.
    pub fn read(first: u8, body: &[u8], version: u8) -> Result<Self, WireError> {
        let flags = Flags(first & 0x0f);
        let mut from = Reader::new(body);
        Ok(match first >> 4 {
            kind::CONNECT => Self::Connect(Connect::read(&mut from)?),
            kind::CONNACK => Self::ConnAck(ConnAck::read(&mut from, flags)?),
            kind::SEND => Self::Send(Send::read(from, flags, version)?),
            kind::SENDACK => Self::SendAck(SendAck {
                flags,
                message_id: from.i64("messageId")?,
                client_seq: from.u32("clientSeq")?,
                message_seq: read_seq(&mut from, version)?,
                reason: from.u8("reasonCode")?,
            }),
            kind::RECV => Self::Recv(Recv::read(from, flags, version)?),
            kind::RECVACK => Self::RecvAck(RecvAck {
                flags,
                message_id: from.i64("messageId")?,
                message_seq: read_seq(&mut from, version)?,
            }),
            kind::PING => Self::Ping,
            kind::PONG => Self::Pong,
            kind::DISCONNECT => Self::Disconnect(Disconnect {
                reason: from.u8("reasonCode")?,
                text: from.text("reason")?.to_owned(),
            }),
            kind::EVENT => Self::Event(Event {
                id: from.text("id")?.to_owned(),
                kind: from.text("type")?.to_owned(),
                timestamp_ms: from.i64("timestamp")?,
                data: from.rest().to_vec(),
            }),
            other => Self::Unknown(other),
        })
    }

    /// Appends the whole frame. [`Packet::Unknown`] is read only.
    pub fn write(&self, version: u8, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut to = Writer::default();
        let (kind, flags) = match self {
            Self::Ping => return bare(kind::PING, out),
            Self::Pong => return bare(kind::PONG, out),
            Self::Unknown(_) => return Ok(()),
            Self::Connect(connect) => connect.write(&mut to)?,
            Self::ConnAck(answer) => answer.write(&mut to)?,
            Self::Send(send) => send.write(&mut to, version)?,
            Self::SendAck(answer) => {
                to.i64(answer.message_id);
                to.u32(answer.client_seq);
                write_seq(&mut to, answer.message_seq, version);
                to.u8(answer.reason);
                (kind::SENDACK, answer.flags)
            }
            Self::Recv(recv) => recv.write(&mut to, version)?,
            Self::RecvAck(answer) => {
                to.i64(answer.message_id);
                write_seq(&mut to, answer.message_seq, version);
                (kind::RECVACK, answer.flags)
            }
            Self::Disconnect(end) => {
                to.u8(end.reason);
                to.text("reason", &end.text)?;
                (kind::DISCONNECT, Flags::default())
            }
            Self::Event(event) => {
                to.text("id", &event.id)?;
                to.text("type", &event.kind)?;
                to.i64(event.timestamp_ms);
                to.bytes(&event.data);
                (kind::EVENT, Flags::default())
            }
        };
        let body = to.0;
        if body.len() > BODY_BYTES_MAX {
            return Err(WireError::TooLarge(body.len()));
        }
        out.push(kind << 4 | flags.0 & 0x0f);
        write_length(body.len(), out);
        out.extend_from_slice(&body);
        Ok(())
    }
}

fn bare(kind: u8, out: &mut Vec<u8>) -> Result<(), WireError> {
    out.push(kind << 4);
    Ok(())
}

type Head = (u8, Flags);

impl Connect {
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            version: from.u8("version")?,
            device_flag: from.u8("deviceFlag")?,
            device_id: from.text("deviceId")?.to_owned(),
            uid: from.text("uid")?.to_owned(),
            token: from.text("token")?.to_owned(),
            client_timestamp_ms: from.i64("clientTimestamp")?,
            client_key: from.text("clientKey")?.to_owned(),
        })
    }

    fn write(&self, to: &mut Writer) -> Result<Head, WireError> {
        to.u8(self.version);
        to.u8(self.device_flag);
        to.text("deviceId", &self.device_id)?;
        to.text("uid", &self.uid)?;
        to.text("token", &self.token)?;
        to.i64(self.client_timestamp_ms);
        to.text("clientKey", &self.client_key)?;
        Ok((kind::CONNECT, Flags::default()))
    }
}

impl ConnAck {
    fn read(from: &mut Reader<'_>, flags: Flags) -> Result<Self, WireError> {
        let server_version = match flags.has(Flags::HAS_VERSION) {
            true => Some(from.u8("serverVersion")?),
            false => None,
        };
        let (time_diff_ms, reason) = (from.i64("timeDiff")?, from.u8("reasonCode")?);
        let (server_key, salt) = (from.text("serverKey")?, from.text("salt")?);
        // From version 4 on, but its absence is no error: it is of no use to a client.
        let node_id = from.u64("nodeId").ok();
        Ok(Self {
            server_version,
            time_diff_ms,
            reason,
            server_key: server_key.to_owned(),
            salt: salt.to_owned(),
            node_id,
        })
    }

    fn write(&self, to: &mut Writer) -> Result<Head, WireError> {
        let mut flags = Flags::default();
        if let Some(version) = self.server_version {
            flags = Flags::HAS_VERSION;
            to.u8(version);
        }
        to.i64(self.time_diff_ms);
        to.u8(self.reason);
        to.text("serverKey", &self.server_key)?;
        to.text("salt", &self.salt)?;
        if let Some(node_id) = self.node_id {
            to.u64(node_id);
        }
        Ok((kind::CONNACK, flags))
    }
}

impl Send {
    fn read(mut from: Reader<'_>, flags: Flags, version: u8) -> Result<Self, WireError> {
        let setting = from.u8("setting")?;
        Ok(Self {
            flags,
            setting,
            client_seq: from.u32("clientSeq")?,
            client_msg_no: from.text("clientMsgNo")?.to_owned(),
            stream_no: text_if(
                &mut from,
                has_stream(setting, version) == Some(setting::STREAM),
                "streamNo",
            )?,
            channel_id: from.text("channelId")?.to_owned(),
            channel_type: from.u8("channelType")?,
            expire_s: read_expire(&mut from, version)?,
            msg_key: from.text("msgKey")?.to_owned(),
            topic: text_if(&mut from, setting & setting::TOPIC != 0, "topic")?,
            payload: from.rest().to_vec(),
        })
    }

    fn write(&self, to: &mut Writer, version: u8) -> Result<Head, WireError> {
        to.u8(self.setting);
        to.u32(self.client_seq);
        to.text("clientMsgNo", &self.client_msg_no)?;
        if has_stream(self.setting, version) == Some(setting::STREAM) {
            to.text("streamNo", &self.stream_no)?;
        }
        to.text("channelId", &self.channel_id)?;
        to.u8(self.channel_type);
        write_expire(to, self.expire_s, version);
        to.text("msgKey", &self.msg_key)?;
        if self.setting & setting::TOPIC != 0 {
            to.text("topic", &self.topic)?;
        }
        to.bytes(&self.payload);
        Ok((kind::SEND, self.flags))
    }
}

impl Recv {
    fn read(mut from: Reader<'_>, flags: Flags, version: u8) -> Result<Self, WireError> {
        let setting = from.u8("setting")?;
        Ok(Self {
            flags,
            setting,
            msg_key: from.text("msgKey")?.to_owned(),
            from_uid: from.text("fromUid")?.to_owned(),
            channel_id: from.text("channelId")?.to_owned(),
            channel_type: from.u8("channelType")?,
            expire_s: read_expire(&mut from, version)?,
            client_msg_no: from.text("clientMsgNo")?.to_owned(),
            stream: Stream::read(&mut from, setting, version)?,
            message_id: from.i64("messageId")?,
            message_seq: read_seq(&mut from, version)?,
            timestamp_s: from.i32("timestamp")?,
            topic: text_if(&mut from, setting & setting::TOPIC != 0, "topic")?,
            payload: from.rest().to_vec(),
        })
    }

    fn write(&self, to: &mut Writer, version: u8) -> Result<Head, WireError> {
        to.u8(self.setting);
        to.text("msgKey", &self.msg_key)?;
        to.text("fromUid", &self.from_uid)?;
        to.text("channelId", &self.channel_id)?;
        to.u8(self.channel_type);
        write_expire(to, self.expire_s, version);
        to.text("clientMsgNo", &self.client_msg_no)?;
        if let Some(stream) = &self.stream {
            stream.write(to)?;
        }
        to.i64(self.message_id);
        write_seq(to, self.message_seq, version);
        to.i32(self.timestamp_s);
        if self.setting & setting::TOPIC != 0 {
            to.text("topic", &self.topic)?;
        }
        to.bytes(&self.payload);
        Ok((kind::RECV, self.flags))
    }
}

impl Stream {
    fn read(from: &mut Reader<'_>, setting: u8, version: u8) -> Result<Option<Self>, WireError> {
        Ok(match has_stream(setting, version) {
            Some(setting::STREAM) => Some(Self::New {
                flag: from.u8("streamFlag")?,
                no: from.text("streamNo")?.to_owned(),
                id: from.u64("streamId")?,
            }),
            Some(_) => Some(Self::Old {
                no: from.text("streamNo")?.to_owned(),
                seq: from.u32("streamSeq")?,
                flag: from.u8("streamFlag")?,
            }),
            None => None,
        })
    }

    fn write(&self, to: &mut Writer) -> Result<(), WireError> {
        match self {
            Self::New { flag, no, id } => {
                to.u8(*flag);
                to.text("streamNo", no)?;
                to.u64(*id);
            }
            Self::Old { no, seq, flag } => {
                to.text("streamNo", no)?;
                to.u32(*seq);
                to.u8(*flag);
            }
        }
        Ok(())
    }
}

/// Which of the two bits of a streamed message counts in this version.
fn has_stream(setting: u8, version: u8) -> Option<u8> {
    let bits = [setting::STREAM, setting::STREAM_OLD];
    let is_there = (2..5).contains(&version);
    bits.into_iter().find(|bit| is_there && setting & bit != 0)
}

fn text_if(from: &mut Reader<'_>, is_there: bool, what: &'static str) -> Result<String, WireError> {
    Ok(match is_there {
        true => from.text(what)?.to_owned(),
        false => String::new(),
    })
}

fn read_expire(from: &mut Reader<'_>, version: u8) -> Result<u32, WireError> {
    if version >= 3 {
        from.u32("expire")
    } else {
        Ok(0)
    }
}

fn write_expire(to: &mut Writer, expire_s: u32, version: u8) {
    if version >= 3 {
        to.u32(expire_s);
    }
}

fn read_seq(from: &mut Reader<'_>, version: u8) -> Result<u64, WireError> {
    if version >= 6 {
        from.u64("messageSeq")
    } else {
        from.u32("messageSeq").map(u64::from)
    }
}

fn write_seq(to: &mut Writer, seq: u64, version: u8) {
    if version >= 6 {
        to.u64(seq);
    } else {
        // A channel's four thousand millionth message is the last that such a server can count.
        to.u32(u32::try_from(seq).unwrap_or(u32::MAX));
    }
}
