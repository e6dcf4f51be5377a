//! Messages as history, look-ups and webhooks have them, read leniently.
//!
//! Names come in camelCase and snake_case, ids as numbers and as texts, the payload as base64, as an object or as plain
//! text: OpenChat passes on what its server said, and its page promises something else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::packet::Flags;

/// Numbers above are rounded where JavaScript passed them on.
const EXACT_MAX: i64 = 1 << 53;

/// From here on a time is in milliseconds, below in seconds.
const MS_FROM: i64 = 100_000_000_000;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Flags of history are not to be trusted: the first record of a page has none.
    pub flags: Flags,
    pub setting: u8,
    pub message_id: i64,
    pub client_msg_no: String,
    /// 0: not told, or not stored.
    pub message_seq: u64,
    pub from_uid: String,
    pub channel_id: String,
    pub channel_type: u8,
    pub topic: String,
    pub expire_s: u32,
    pub time_ms: i64,
    pub payload: Vec<u8>,
}

/// Why a record is of no use. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a record is no JSON object of the expected form, at column {0}")]
    Malformed(usize),
    #[error("a record has no message id")]
    NoId,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    header: Option<WireHeader>,
    #[serde(default)]
    setting: Option<u8>,
    #[serde(default, alias = "messageIdStr", borrow)]
    message_idstr: Option<&'a RawValue>,
    #[serde(default, alias = "messageId", borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(default, alias = "clientMsgNo")]
    client_msg_no: Option<String>,
    #[serde(default, alias = "messageSeq", borrow)]
    message_seq: Option<&'a RawValue>,
    #[serde(default, alias = "fromUid")]
    from_uid: Option<String>,
    #[serde(default, alias = "channelId")]
    channel_id: Option<String>,
    #[serde(default, alias = "channelType")]
    channel_type: Option<u8>,
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    expire: Option<u32>,
    #[serde(default, borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireHeader {
    #[serde(alias = "noPersist")]
    no_persist: u8,
    #[serde(alias = "redDot")]
    red_dot: u8,
    #[serde(alias = "syncOnce")]
    sync_once: u8,
}

impl Record {
    pub fn read(json: &str) -> Result<Self, RecordError> {
        let wire: Wire<'_> =
            serde_json::from_str(json).map_err(|error| RecordError::Malformed(error.column()))?;
        let header = wire.header.unwrap_or_default();
        let id = wire.message_idstr.and_then(integer);
        Ok(Self {
            flags: Flags::default()
                .with(Flags::NO_PERSIST, header.no_persist != 0)
                .with(Flags::RED_DOT, header.red_dot != 0)
                .with(Flags::SYNC_ONCE, header.sync_once != 0),
            setting: wire.setting.unwrap_or_default(),
            message_id: id
                .or_else(|| wire.message_id.and_then(integer))
                .ok_or(RecordError::NoId)?,
            client_msg_no: wire.client_msg_no.unwrap_or_default(),
            message_seq: wire.message_seq.and_then(unsigned).unwrap_or_default(),
            from_uid: wire.from_uid.unwrap_or_default(),
            channel_id: wire.channel_id.unwrap_or_default(),
            channel_type: wire.channel_type.unwrap_or_default(),
            topic: wire.topic.unwrap_or_default(),
            expire_s: wire.expire.unwrap_or_default(),
            time_ms: wire.timestamp.and_then(integer).map_or(0, time_ms),
            payload: wire.payload.map(payload).unwrap_or_default(),
        })
    }
}

/// What a send was answered, through whichever layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentRecord {
    /// None where the number was rounded on the way.
    pub message_id: Option<i64>,
    pub message_seq: Option<u64>,
    /// Newest servers only.
    pub reason: Option<u8>,
}

impl SentRecord {
    /// `is_exact`: nobody on the way rounds numbers.
    pub fn read(json: &str, is_exact: bool) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Sent<'a> {
            #[serde(default, alias = "messageIdStr", borrow)]
            message_idstr: Option<&'a RawValue>,
            #[serde(default, alias = "messageId", borrow)]
            message_id: Option<&'a RawValue>,
            #[serde(default, alias = "messageSeq", borrow)]
            message_seq: Option<&'a RawValue>,
            #[serde(default)]
            reason: Option<u8>,
        }
        let sent: Sent<'_> =
            serde_json::from_str(json).map_err(|error| RecordError::Malformed(error.column()))?;
        let told = |raw: &RawValue| {
            let id = integer(raw)?;
            let is_text = raw.get().starts_with('"');
            (is_exact || is_text || id.abs() < EXACT_MAX).then_some(id)
        };
        Ok(Self {
            message_id: sent
                .message_idstr
                .and_then(integer)
                .or_else(|| sent.message_id.and_then(told)),
            message_seq: sent.message_seq.and_then(unsigned).filter(|seq| *seq > 0),
            reason: sent.reason,
        })
    }
}

/// Seconds or milliseconds, by their size.
pub fn time_ms(time: i64) -> i64 {
    if time >= MS_FROM {
        time
    } else {
        time.saturating_mul(1000)
    }
}

/// An integer, written as a number or as a text.
pub fn integer(raw: &RawValue) -> Option<i64> {
    raw.get().trim_matches('"').parse().ok()
}

pub fn unsigned(raw: &RawValue) -> Option<u64> {
    raw.get().trim_matches('"').parse().ok()
}

fn payload(raw: &RawValue) -> Vec<u8> {
    let Ok(text) = serde_json::from_str::<String>(raw.get()) else {
        // An object, as a proxy may have unpacked it.
        return raw.get().as_bytes().to_vec();
    };
    STANDARD.decode(&text).unwrap_or_else(|_| text.into_bytes())
}
