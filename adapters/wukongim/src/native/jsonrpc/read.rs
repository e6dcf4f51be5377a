//! What the server sends, as JSON objects. Absent members are zero.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Header, JsonError, Line, Setting};
use crate::native::packet::{ConnAck, Disconnect, Event, Packet, Recv, SendAck};
use crate::native::record;

/// What the server says when a read cut an object of ours; it carries it out nevertheless.
const HARMLESS: &str = "unexpected EOF";

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
