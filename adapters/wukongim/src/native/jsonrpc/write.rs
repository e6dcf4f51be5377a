//! What a client sends, as JSON objects.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::{Header, JsonError, Setting};
use crate::native::packet::{Connect, Packet, RecvAck, Send};

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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
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
