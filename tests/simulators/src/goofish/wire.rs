//! Frames as this provider writes them, in the order of keys that was recorded, and the small forms: ids, times, hex.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde::Serialize;
use serde_json::{Value, json};

/// What every user and conversation id ends with on the wire.
pub const SUFFIX: &str = "@goofish";
/// The app key of the web IM.
pub const MTOP_APP_KEY: &str = "34839810";
pub const FINGERPRINT: i64 = -900_000_001;

/// An answer; `code` 200 is success.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub headers: AnswerHeaders,
    pub code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AnswerHeaders {
    /// Whatever the request had; a request without one is answered without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    #[serde(flatten)]
    pub registration: Option<RegistrationHeaders>,
}

/// What only the answer to `/reg` has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistrationHeaders {
    pub ip_digest: String,
    pub dt: &'static str,
    pub reg_sid: String,
    pub ip_region_digest: String,
    pub reg_uid: String,
    pub real_ip: String,
}

#[derive(Serialize)]
pub struct Push<'a> {
    pub headers: PushHeaders<'a>,
    pub lwp: &'a str,
    pub body: PushBody<'a>,
}

#[derive(Serialize)]
pub struct PushHeaders<'a> {
    #[serde(rename = "app-key")]
    pub app_key: &'a str,
    pub mid: &'a str,
    pub ua: &'a str,
    pub sid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushBody<'a> {
    pub sync_push_package: Package<'a>,
    pub sync_extension_model: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_extra_type: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Package<'a> {
    pub max_high_pts: u64,
    pub start_seq: u64,
    pub end_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_create_time: Option<u64>,
    pub data: Vec<WireItem<'a>>,
    pub max_pts: u64,
    pub has_more: u8,
    pub timestamp: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WireItem<'a> {
    pub biz_type: u32,
    pub data: &'a str,
    pub stream_id: String,
    pub object_type: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_id: Option<&'a str>,
}

/// One thing of a push, encoded.
#[derive(Debug)]
pub struct Item {
    pub biz_type: u32,
    pub object_type: u32,
    /// What stands in `data`.
    pub data: String,
    /// Of a message: its id, for the record.
    pub id: Option<String>,
    pub at_ms: u64,
}

/// The body of a push with these items: numbered on `/s/sync`, of no place in the sequence on `/s/para`.
pub fn push_body<'a>(
    lwp: &str,
    items: &'a [impl AsRef<Item>],
    first_seq: u64,
    max_pts: u64,
    extra: Option<u8>,
) -> PushBody<'a> {
    let is_transient = lwp == "/s/para";
    let data = items
        .iter()
        .map(|item| {
            let item = item.as_ref();
            WireItem {
                biz_type: item.biz_type,
                data: &item.data,
                stream_id: item.biz_type.to_string(),
                object_type: item.object_type,
                sync_id: is_transient.then_some(""),
            }
        })
        .collect();
    let times = || items.iter().map(|item| item.as_ref().at_ms);
    let package = if is_transient {
        Package {
            max_high_pts: 0,
            start_seq: 0,
            end_seq: 0,
            min_create_time: None,
            data,
            max_pts: 0,
            has_more: 0,
            timestamp: 0,
        }
    } else {
        Package {
            max_high_pts: 0,
            start_seq: first_seq,
            end_seq: (first_seq + items.len() as u64)
                .saturating_sub(1)
                .max(first_seq),
            min_create_time: times().min(),
            data,
            max_pts,
            has_more: 0,
            timestamp: times().max().unwrap_or(max_pts / 1000),
        }
    };
    let reconnect = u8::from(lwp == "/s/vulcan");
    PushBody {
        sync_push_package: package,
        sync_extension_model: if is_transient {
            json!({})
        } else {
            // Values whose order in the frame is free.
            json!({ "reconnectType": reconnect, "failover": 0, "fingerprint": FINGERPRINT })
        },
        sync_extra_type: extra.map(|extra| json!({ "type": extra })),
    }
}

pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// Lower-case hex of the MD5.
pub fn md5_hex(text: &[u8]) -> String {
    Md5::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// 32 hex digits that no other call gives and that nobody guesses by counting; secret they are not.
pub fn fresh_hex() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    md5_hex(format!("{} {} {count}", std::process::id(), now_us()).as_bytes())
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Standard alphabet, padded: what the provider's own clients send.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A person's or a conversation's id with the suffix.
pub fn full(id: impl std::fmt::Display) -> String {
    format!("{id}{SUFFIX}")
}

/// The digits of an id that must have the suffix.
pub fn digits(id: &str) -> Option<&str> {
    let digits = id.strip_suffix(SUFFIX)?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// A message's id on the wire.
pub fn pnm(number: u64) -> String {
    format!("{number:013}.PNM")
}

pub fn from_pnm(id: &str) -> Option<u64> {
    let digits = id.strip_suffix(".PNM")?;
    let is_whole = digits.len() == 13 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| digits.parse().ok()).flatten()
}
