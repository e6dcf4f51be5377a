//! The JSON-RPC form of the protocol: the same packets as JSON objects, not sealed.
//!
//! A connection is in this form or in the binary one for its life. The server's objects follow each other without any
//! separator and are cut anywhere, so [`Objects`] finds their ends by counting braces outside of texts.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::packet::{
    ConnAck, Connect, Disconnect, Event, Flags, Packet, Recv, RecvAck, Send, SendAck, setting,
};
use super::record;

/// Most bytes of an object. The server sends up to 930 KB; base64 of the largest payload is 1.4 MB.
pub const OBJECT_BYTES_MAX: usize = 4 << 20;

/// What the server says when a read cut an object of ours; it carries it out nevertheless.
const HARMLESS: &str = "unexpected EOF";

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

#[derive(Serialize)]
struct Call<'a, P: Serialize> {
    method: &'static str,
    params: P,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectParams<'a> {
    uid: &'a str,
    token: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    device_id: &'a str,
    device_flag: u8,
    client_timestamp: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SendParams<'a> {
    client_msg_no: &'a str,
    channel_id: &'a str,
    channel_type: u8,
    payload: String,
    #[serde(skip_serializing_if = "Header::is_empty")]
    header: Header,
    #[serde(skip_serializing_if = "Setting::is_empty")]
    setting: Setting,
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    expire: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecvAckParams {
    #[serde(skip_serializing_if = "Header::is_empty")]
    header: Header,
    message_id: String,
    message_seq: u64,
}

#[derive(Serialize)]
struct Empty {}

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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
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

/// Appends what a client sends, as one object. `number` makes the id of CONNECT and PING; a SEND's is its clientSeq.
pub fn write(packet: &Packet, number: u32, out: &mut Vec<u8>) -> Result<(), JsonError> {
    match packet {
        Packet::Connect(connect) => object("connect", Some(number), connect_params(connect), out),
        Packet::Send(send) => object("send", Some(send.client_seq), send_params(send), out),
        Packet::RecvAck(ack) => object("recvack", None, recv_ack_params(*ack), out),
        Packet::Ping => object("ping", Some(number), Empty {}, out),
        other => return Err(JsonError::NoForm(other.name())),
    }
    Ok(())
}

fn object(method: &'static str, number: Option<u32>, params: impl Serialize, out: &mut Vec<u8>) {
    let id = number.map(|number| format!("req-{number}"));
    let id = id.as_deref();
    serde_json::to_writer(out, &Call { method, params, id })
        .expect("members have names, and a Vec takes everything");
}

fn connect_params(connect: &Connect) -> ConnectParams<'_> {
    ConnectParams {
        uid: &connect.uid,
        token: &connect.token,
        device_id: &connect.device_id,
        device_flag: connect.device_flag,
        client_timestamp: connect.client_timestamp_ms,
    }
}

fn send_params(send: &Send) -> SendParams<'_> {
    SendParams {
        client_msg_no: &send.client_msg_no,
        channel_id: &send.channel_id,
        channel_type: send.channel_type,
        payload: STANDARD.encode(&send.payload),
        header: Header::of(send.flags),
        setting: Setting::of(send.setting),
        topic: &send.topic,
        expire: send.expire_s,
    }
}

fn recv_ack_params(ack: RecvAck) -> RecvAckParams {
    RecvAckParams {
        header: Header::of(ack.flags),
        message_id: ack.message_id.to_string(),
        message_seq: ack.message_seq,
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    params: Option<&'a RawValue>,
    #[serde(default)]
    result: Option<ResultObject>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(default)]
    message: String,
}

/// Of CONNECT and of SEND; absent members are zero.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultObject {
    message_id: Option<String>,
    #[serde(default)]
    message_seq: u64,
    #[serde(default)]
    reason_code: u8,
    #[serde(default)]
    header: Header,
    server_version: Option<u8>,
    #[serde(default)]
    server_key: String,
    #[serde(default)]
    salt: String,
    #[serde(default)]
    time_diff: i64,
    node_id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecvParams<'a> {
    #[serde(borrow)]
    message_id: &'a RawValue,
    #[serde(default)]
    message_seq: u64,
    #[serde(default)]
    timestamp: i32,
    #[serde(default)]
    channel_id: String,
    #[serde(default)]
    channel_type: u8,
    #[serde(default)]
    from_uid: String,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    client_msg_no: String,
    #[serde(default)]
    header: Header,
    #[serde(default)]
    setting: Setting,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    expire: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct DisconnectParams {
    reason_code: u8,
    reason: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EventParams {
    id: String,
    r#type: String,
    timestamp: i64,
    data: String,
}

/// Reads one object of the server.
pub fn read(object: &[u8]) -> Result<Line, JsonError> {
    let answer: Answer<'_> = serde_json::from_slice(object).map_err(malformed)?;
    if let Some(error) = answer.error {
        return Ok(match error.message.as_str() {
            HARMLESS => Line::Nothing,
            _ => Line::Error(error.message),
        });
    }
    let packet = match (answer.method.as_deref(), answer.result) {
        (Some("recv"), _) => Packet::Recv(recv(params(answer.params)?)?),
        (Some("disconnect"), _) => {
            let DisconnectParams {
                reason_code: reason,
                reason: text,
            } = params(answer.params)?;
            Packet::Disconnect(Disconnect { reason, text })
        }
        (Some("event"), _) => {
            let EventParams {
                id,
                r#type: kind,
                timestamp: timestamp_ms,
                data,
            } = params(answer.params)?;
            Packet::Event(Event {
                id,
                kind,
                timestamp_ms,
                data: data.into_bytes(),
            })
        }
        // Of the first servers that spoke this form.
        (Some("pong"), _) => Packet::Pong,
        (Some(_), _) => return Ok(Line::Nothing),
        (None, Some(result)) => result_packet(answer.id.as_deref(), result)?,
        (None, None) if answer.id.is_some() => Packet::Pong,
        (None, None) => return Ok(Line::Nothing),
    };
    Ok(Line::Packet(packet))
}

/// The two kinds of results differ in whether there is a message.
fn result_packet(id: Option<&str>, result: ResultObject) -> Result<Packet, JsonError> {
    let Some(message_id) = result.message_id else {
        return Ok(Packet::ConnAck(ConnAck {
            server_version: result.server_version,
            time_diff_ms: result.time_diff,
            reason: result.reason_code,
            server_key: result.server_key,
            salt: result.salt,
            node_id: result.node_id,
        }));
    };
    let client_seq = id.and_then(|id| id.strip_prefix("req-")?.parse().ok());
    Ok(Packet::SendAck(SendAck {
        flags: result.header.flags(),
        message_id: message_id
            .parse()
            .map_err(|_| JsonError::BadMember("messageId"))?,
        client_seq: client_seq.ok_or(JsonError::BadMember("id"))?,
        message_seq: result.message_seq,
        reason: result.reason_code,
    }))
}

fn recv(params: RecvParams<'_>) -> Result<Recv, JsonError> {
    Ok(Recv {
        flags: params.header.flags(),
        setting: params.setting.bits(),
        msg_key: String::new(),
        from_uid: params.from_uid,
        channel_id: params.channel_id,
        channel_type: params.channel_type,
        expire_s: params.expire,
        client_msg_no: params.client_msg_no,
        stream: None,
        message_id: record::integer(params.message_id).ok_or(JsonError::BadMember("messageId"))?,
        message_seq: params.message_seq,
        timestamp_s: params.timestamp,
        topic: params.topic,
        payload: params.payload.map_or(Ok(Vec::new()), payload)?,
    })
}

/// Base64; or, from the first servers, the body as it is.
fn payload(raw: &RawValue) -> Result<Vec<u8>, JsonError> {
    if !raw.get().starts_with('"') {
        return Ok(raw.get().as_bytes().to_vec());
    }
    let text: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(malformed)?;
    STANDARD
        .decode(text.as_bytes())
        .map_err(|_| JsonError::BadMember("payload"))
}

fn params<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<T, JsonError> {
    serde_json::from_str(raw.map_or("{}", RawValue::get)).map_err(malformed)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: serde_json::Error) -> JsonError {
    JsonError::Malformed {
        line: error.line(),
        column: error.column(),
    }
}

/// Objects out of a stream of bytes, however the transport cut it.
#[derive(Default)]
pub struct Objects {
    bytes: Vec<u8>,
    /// Everything before was taken.
    at: usize,
    /// Everything before was looked at.
    seen: usize,
    depth: usize,
    is_text: bool,
    is_escaped: bool,
}

impl Objects {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.seen -= self.at;
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole object; none when more bytes are needed. After an error the stream is of no use any more.
    pub fn next_object(&mut self) -> Result<Option<&[u8]>, JsonError> {
        while let Some(&byte) = self.bytes.get(self.seen) {
            if self.depth == 0 && byte.is_ascii_whitespace() {
                self.seen += 1;
                self.at = self.seen;
                continue;
            }
            if self.depth == 0 && byte != b'{' {
                return Err(JsonError::NoObject(byte));
            }
            self.seen += 1;
            if self.seen - self.at > OBJECT_BYTES_MAX {
                return Err(JsonError::TooLarge);
            }
            if self.ends_with(byte) {
                let object = self.at..self.seen;
                self.at = self.seen;
                return Ok(Some(&self.bytes[object]));
            }
        }
        Ok(None)
    }

    /// The byte closes the outermost object.
    fn ends_with(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.is_escaped) {
            return false;
        }
        match byte {
            b'\\' if self.is_text => self.is_escaped = true,
            b'"' => self.is_text = !self.is_text,
            b'{' if !self.is_text => self.depth += 1,
            b'}' if !self.is_text => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
