//! The JetStream API: JSON in, JSON out, errors by their number.
//!
//! Configurations travel as JSON, not as the library's structs: what the server keeps and this program does not know is
//! sent back unchanged.

use super::replies::{AskError, Replies};
use async_nats::{HeaderMap, Subject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use im_bridge_sdk::model::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for one answer of the API.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Numbers of the server's errors that are acted upon.
pub mod number {
    pub const STREAM_NOT_FOUND: u32 = 10_059;
    pub const CONSUMER_NOT_FOUND: u32 = 10_014;
    pub const MESSAGE_NOT_FOUND: u32 = 10_037;
    pub const JETSTREAM_OFF: u32 = 10_076;
    pub const JETSTREAM_OFF_FOR_ACCOUNT: u32 = 10_039;
    pub const STREAM_NAME_IN_USE: u32 = 10_058;
    pub const CREATE_STORE: u32 = 10_049;
    pub const NO_CLUSTER_LEADER: u32 = 10_008;
    pub const NO_SUITABLE_PEERS: u32 = 10_005;
    pub const REPLICAS_WITHOUT_CLUSTER: u32 = 10_074;
    pub const STORAGE_EXCEEDED: u32 = 10_047;
    pub const INSUFFICIENT_RESOURCES: u32 = 10_023;
    pub const FILTER_NOT_UNIQUE: u32 = 10_100;
    pub const WRONG_LAST_SEQUENCE: u32 = 10_071;
    pub const WRONG_LAST_SEQUENCE_CONSTANT: u32 = 10_164;
    pub const STREAM_FULL: u32 = 10_077;
    pub const MESSAGE_TOO_LARGE: u32 = 10_054;
    /// A message with this id is being stored.
    pub const DUPLICATE_IN_PROCESS: u32 = 10_158;
    pub const EXPECTED_NOT_READY: u32 = 10_163;
    pub const TOO_MANY_REQUESTS: u32 = 10_167;
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{call}: {description} ({err_code})")]
    Server {
        call: String,
        code: u16,
        err_code: u32,
        description: String,
    },
    #[error("{call}: the answer cannot be read: {why}")]
    Answer { call: String, why: String },
}

impl ApiError {
    /// The server's number for its error; none if it did not answer.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Server { err_code, .. } => Some(*err_code),
            _ => None,
        }
    }

    pub fn is(&self, number: u32) -> bool {
        self.number() == Some(number)
    }

    pub fn is_not_found(&self) -> bool {
        self.is(number::STREAM_NOT_FOUND)
            || self.is(number::CONSUMER_NOT_FOUND)
            || self.is(number::MESSAGE_NOT_FOUND)
    }

    /// Whether the same call may work in a moment: no answer, an election, an overload.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ask(AskError::NotSent { .. } | AskError::Forbidden { .. }) => false,
            Self::Ask(_) => true,
            Self::Server { code, err_code, .. } => {
                let lasting = [
                    number::JETSTREAM_OFF,
                    number::JETSTREAM_OFF_FOR_ACCOUNT,
                    number::STORAGE_EXCEEDED,
                    number::INSUFFICIENT_RESOURCES,
                ];
                *err_code == number::CREATE_STORE
                    || (matches!(code, 429 | 503) && !lasting.contains(err_code))
            }
            Self::Answer { .. } => false,
        }
    }
}

/// An error as the API and the acknowledgement of a publish carry it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ServerError {
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    pub err_code: u32,
    #[serde(default)]
    pub description: String,
}

/// One message of a stream, read by [`Api::message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub subject: String,
    pub sequence: u64,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// RFC 3339
    pub time: String,
}

/// Which message of a stream.
#[derive(Clone, Debug)]
pub enum Which<'s> {
    Sequence(u64),
    LastOf(&'s str),
    /// The first with such a subject at this sequence or after it.
    NextOf(u64, &'s str),
}

/// Calls on one connection.
#[derive(Clone, Debug)]
pub struct Api {
    replies: Replies,
}

impl Api {
    pub fn new(replies: Replies) -> Self {
        Self { replies }
    }

    pub fn replies(&self) -> &Replies {
        &self.replies
    }

    /// One call, once.
    pub async fn call<T: DeserializeOwned>(
        &self,
        call: &str,
        request: &impl Serialize,
    ) -> Result<T, ApiError> {
        let unreadable = |error: serde_json::Error| ApiError::Answer {
            call: call.to_owned(),
            why: error.to_string(),
        };
        let body = serde_json::to_vec(request).map_err(unreadable)?;
        // The API takes an empty body where there is nothing to say, and some calls take nothing else.
        let body = if body == b"null" {
            Bytes::new()
        } else {
            body.into()
        };
        let subject = Subject::from(format!("$JS.API.{call}"));
        let answer = self.replies.ask(subject, None, body, ANSWER_WITHIN).await?;
        #[derive(Deserialize)]
        struct Refused {
            error: Option<ServerError>,
        }
        let refused: Refused = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        if let Some(error) = refused.error {
            return Err(ApiError::Server {
                call: call.to_owned(),
                code: error.code,
                err_code: error.err_code,
                description: error.description,
            });
        }
        serde_json::from_slice(&answer.payload).map_err(unreadable)
    }

    /// Configuration and state of a stream; `None` if there is none.
    pub async fn stream(&self, name: &str) -> Result<Option<StreamInfo>, ApiError> {
        let info = self
            .call(&format!("STREAM.INFO.{name}"), &Value::Null)
            .await;
        absent_is_none(info)
    }

    /// Names of the streams that capture some of these subjects.
    pub async fn streams_capturing(&self, subject: &str) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        struct Names {
            streams: Option<Vec<String>>,
        }
        let names: Names = self
            .call("STREAM.NAMES", &json!({ "subject": subject }))
            .await?;
        Ok(names.streams.unwrap_or_default())
    }

    /// A message as the leader has it: a direct get may be answered by a follower that lags.
    pub async fn message(
        &self,
        stream: &str,
        which: Which<'_>,
    ) -> Result<Option<Stored>, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            message: RawMessage,
        }
        #[derive(Deserialize)]
        struct RawMessage {
            subject: String,
            seq: u64,
            #[serde(default)]
            hdrs: String,
            #[serde(default)]
            data: String,
            #[serde(default)]
            time: String,
        }
        let request = match which {
            Which::Sequence(sequence) => json!({ "seq": sequence }),
            Which::LastOf(subject) => json!({ "last_by_subj": subject }),
            Which::NextOf(from, subject) => json!({ "seq": from, "next_by_subj": subject }),
        };
        let call = format!("STREAM.MSG.GET.{stream}");
        let answer = absent_is_none(self.call::<Answer>(&call, &request).await)?;
        let Some(Answer { message }) = answer else {
            return Ok(None);
        };
        let unreadable = |why: String| ApiError::Answer {
            call: call.clone(),
            why,
        };
        let payload = STANDARD
            .decode(&message.data)
            .map_err(|error| unreadable(error.to_string()))?;
        let headers = STANDARD
            .decode(&message.hdrs)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(Some(Stored {
            subject: message.subject,
            sequence: message.seq,
            headers: parse_headers(&headers),
            payload: payload.into(),
            time: message.time,
        }))
    }
}

fn absent_is_none<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of a stream, what is acted upon; its configuration as it came.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamInfo {
    pub config: Value,
    pub state: StreamState,
    #[serde(default)]
    pub cluster: Option<ClusterInfo>,
    /// When the server made this answer.
    #[serde(default)]
    pub ts: Option<Time>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    #[serde(default)]
    pub consumer_count: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ClusterInfo {
    #[serde(default)]
    pub leader: Option<String>,
}

/// Reads the header block of a stored message: a status line, then `name: value` lines.
fn parse_headers(block: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let text = String::from_utf8_lossy(block);
    for line in text.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let (Ok(name), Ok(value)) = (
            name.parse::<async_nats::HeaderName>(),
            value.trim().parse::<async_nats::HeaderValue>(),
        ) else {
            continue;
        };
        headers.append(name, value);
    }
    headers
}

/// Looks a header up; senders do not agree on case. Allocates nothing, which the library's own look-up does.
pub fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut similar = None;
    for (key, values) in headers.iter() {
        let key: &str = key.as_ref();
        if key == name {
            return values.first().map(async_nats::HeaderValue::as_str);
        }
        if key.eq_ignore_ascii_case(name) {
            similar = values.first();
        }
    }
    similar.map(async_nats::HeaderValue::as_str)
}
