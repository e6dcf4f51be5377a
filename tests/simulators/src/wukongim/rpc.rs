//! The JSON-RPC form: what the lines of a client ask for, and the lines that the server says.
//!
//! Reads as leniently and answers as oddly as the real server; what that does to a connection is in `connection.rs`.

use super::codec::packets::{Connack, Connect, Event, Flags, Recv, Send, TOPIC};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub enum Request {
    Connect(Connect),
    Send(Send),
    Recvack {
        message_id: i64,
        no_persist: bool,
    },
    Ping,
    /// A client's `disconnect`.
    Ignored,
}

/// A line that is not carried out, and after which no other is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub id: Option<String>,
    pub message: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    jsonrpc: Option<Value>,
    id: Option<Value>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConnectParams {
    uid: String,
    token: String,
    device_id: String,
    device_flag: u8,
    client_timestamp: i64,
    version: u8,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
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

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
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

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SendParams {
    header: Header,
    setting: Setting,
    client_msg_no: String,
    channel_id: String,
    channel_type: u8,
    topic: String,
    expire: u32,
    payload: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RecvackParams {
    header: Header,
    message_id: String,
}

fn is_false(is: &bool) -> bool {
    !is
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl Header {
    fn flags(self) -> Flags {
        Flags {
            no_persist: self.no_persist,
            red_dot: self.red_dot,
            sync_once: self.sync_once,
            dup: self.dup,
        }
    }

    /// `None` where nothing is set: then it is left out.
    fn of(flags: Flags) -> Option<Self> {
        (flags != Flags::default()).then_some(Self {
            no_persist: flags.no_persist,
            red_dot: flags.red_dot,
            sync_once: flags.sync_once,
            dup: flags.dup,
        })
    }
}

impl Setting {
    const BITS: [u8; 4] = [0x80, 0x20, 0x02, TOPIC];

    fn bits(self) -> u8 {
        let flags = [self.receipt, self.signal, self.stream, self.topic];
        let set = flags.iter().zip(Self::BITS).filter(|(is, _)| **is);
        set.fold(0, |bits, (_, bit)| bits | bit)
    }

    fn of(bits: u8) -> Option<Self> {
        let [receipt, signal, stream, topic] = Self::BITS.map(|bit| bits & bit != 0);
        let setting = Self {
            receipt,
            signal,
            stream,
            topic,
        };
        (setting.bits() != 0).then_some(setting)
    }
}

/// One object: its id, if it has one, and what it asks for.
pub fn parse(text: &[u8]) -> Result<(Option<String>, Request), Wrong> {
    let wrong = |id: &Option<String>, message: String| Wrong {
        id: id.clone(),
        message: format!("jsonrpc: {message}"),
    };
    let line: Line =
        serde_json::from_slice(text).map_err(|error| wrong(&None, error.to_string()))?;
    let id = match line.id {
        None => None,
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(wrong(&None, "id must be a string".to_owned())),
    };
    if let Some(version) = line.jsonrpc.filter(|version| *version != "2.0") {
        return Err(wrong(&id, format!("version {version} where 2.0 is spoken")));
    }
    let method = line.method.unwrap_or_default();
    let needs_params = matches!(method.as_str(), "connect" | "send" | "recvack");
    if needs_params && line.params.is_none() {
        return Err(wrong(&id, format!("{method} without params")));
    }
    let params = line.params.map_or("null", RawValue::get);
    fn read<'a, T: Default + Deserialize<'a>>(params: &'a str) -> Result<T, String> {
        let read: Result<Option<T>, _> = serde_json::from_str(params);
        read.map(Option::unwrap_or_default)
            .map_err(|error| error.to_string())
    }
    let needs_id = matches!(method.as_str(), "connect" | "send" | "ping");
    if needs_id && id.is_none() {
        return Err(wrong(&id, format!("{method} without an id")));
    }
    let request = match method.as_str() {
        "connect" => {
            let it: ConnectParams = read(params).map_err(|error| wrong(&id, error))?;
            Request::Connect(Connect {
                // Who says none gets the newest.
                version: if it.version == 0 { u8::MAX } else { it.version },
                device_flag: it.device_flag,
                device_id: it.device_id,
                uid: it.uid,
                token: it.token,
                client_timestamp_ms: it.client_timestamp,
                client_key: String::new(),
            })
        }
        "send" => {
            let it: SendParams = read(params).map_err(|error| wrong(&id, error))?;
            let payload = STANDARD.decode(&it.payload);
            let payload = payload.map_err(|error| wrong(&id, format!("payload: {error}")))?;
            Request::Send(Send {
                flags: it.header.flags(),
                setting: it.setting.bits(),
                client_msg_no: it.client_msg_no,
                channel_id: it.channel_id,
                channel_type: it.channel_type,
                expire_s: it.expire,
                topic: it.topic,
                payload: payload.into(),
                ..Send::default()
            })
        }
        "recvack" if id.is_some() => {
            return Err(wrong(&id, "recvack is a notification".to_owned()));
        }
        "recvack" => {
            let it: RecvackParams = read(params).map_err(|error| wrong(&id, error))?;
            let message_id = it.message_id.parse();
            Request::Recvack {
                message_id: message_id.map_err(|_| wrong(&id, "messageId".to_owned()))?,
                no_persist: it.header.no_persist,
            }
        }
        "ping" => Request::Ping,
        "disconnect" => Request::Ignored,
        other => return Err(wrong(&id, format!("unknown method: {other}"))),
    };
    Ok((id, request))
}

#[derive(Serialize)]
struct Answer<T> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
}

#[derive(Serialize)]
struct Fault {
    code: u8,
    message: String,
}

#[derive(Serialize)]
struct Notification<T> {
    jsonrpc: &'static str,
    method: &'static str,
    params: T,
}

fn line<T: Serialize>(it: &T) -> String {
    serde_json::to_string(it).unwrap_or_default()
}

fn answer<T: Serialize>(id: &str, result: Option<T>) -> String {
    line(&Answer {
        jsonrpc: "2.0",
        id: Some(id.to_owned()),
        result,
        error: None,
    })
}

fn notification<T: Serialize>(method: &'static str, params: T) -> String {
    line(&Notification {
        jsonrpc: "2.0",
        method,
        params,
    })
}

pub fn error(wrong: &Wrong) -> String {
    let message = wrong.message.clone();
    line(&Answer::<()> {
        jsonrpc: "2.0",
        id: wrong.id.clone(),
        result: None,
        error: Some(Fault { code: 0, message }),
    })
}

pub fn connack(id: &str, it: &Connack) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Result {
        #[serde(skip_serializing_if = "is_zero")]
        server_version: u8,
        #[serde(skip_serializing_if = "is_zero")]
        time_diff: i64,
        reason_code: u8,
        #[serde(skip_serializing_if = "is_zero")]
        node_id: u64,
    }
    let result = Result {
        server_version: it.server_version.unwrap_or(0),
        time_diff: it.time_diff_ms,
        reason_code: it.reason,
        node_id: it.node_id,
    };
    answer(id, Some(result))
}

pub fn sendack(id: &str, flags: Flags, message_id: i64, message_seq: u64, reason: u8) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Result {
        #[serde(skip_serializing_if = "Option::is_none")]
        header: Option<Header>,
        message_id: String,
        message_seq: u64,
        reason_code: u8,
    }
    let result = Result {
        header: Header::of(flags),
        message_id: message_id.to_string(),
        message_seq,
        reason_code: reason,
    };
    answer(id, Some(result))
}

pub fn pong(id: &str) -> String {
    answer::<()>(id, None)
}

pub fn recv(it: &Recv) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Params<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        header: Option<Header>,
        #[serde(skip_serializing_if = "Option::is_none")]
        setting: Option<Setting>,
        #[serde(skip_serializing_if = "is_zero")]
        expire: u32,
        message_id: String,
        message_seq: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        client_msg_no: &'a str,
        timestamp: i32,
        channel_id: &'a str,
        channel_type: u8,
        #[serde(skip_serializing_if = "str::is_empty")]
        topic: &'a str,
        from_uid: &'a str,
        payload: String,
    }
    notification(
        "recv",
        Params {
            header: Header::of(it.flags),
            setting: Setting::of(it.setting),
            expire: it.expire_s,
            message_id: it.message_id.to_string(),
            message_seq: it.message_seq,
            client_msg_no: &it.client_msg_no,
            timestamp: it.timestamp_s,
            channel_id: &it.channel_id,
            channel_type: it.channel_type,
            topic: &it.topic,
            from_uid: &it.from_uid,
            payload: STANDARD.encode(&it.payload),
        },
    )
}

pub fn disconnect(reason: u8, text: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Params<'a> {
        reason_code: u8,
        #[serde(skip_serializing_if = "str::is_empty")]
        reason: &'a str,
    }
    let params = Params {
        reason_code: reason,
        reason: text,
    };
    notification("disconnect", params)
}

pub fn event(it: &Event) -> String {
    #[derive(Serialize)]
    struct Params<'a> {
        id: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        timestamp: i64,
        data: std::borrow::Cow<'a, str>,
    }
    notification(
        "event",
        Params {
            id: &it.id,
            kind: &it.kind,
            timestamp: it.timestamp_ms,
            data: String::from_utf8_lossy(&it.data),
        },
    )
}
