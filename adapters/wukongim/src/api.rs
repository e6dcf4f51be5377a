//! The two HTTP APIs: OpenChat's, and the server's own.
//!
//! Success is what the body says, not the status: both answer refusals with 2xx. Texts of errors are the provider's and are
//! passed on as such, never matched.
//!
//! Not here: what is asked when (`session/`, `outbound/`).

mod native;
mod openchat;

use std::time::Duration;

use im_bridge_sdk::http::{self, Response};
use im_bridge_sdk::model::ErrorCode;
use im_bridge_sdk::{Context, Noise, Outcome};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use native::{Conversation, Native, Page, Seqs, ToSend, with_scheme};
pub use openchat::{OpenChat, OpenChatConfig};

use crate::WukongIm;

/// Longest text of a provider's error that is kept.
const TEXT_BYTES_MAX: usize = 512;

/// Why there is no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("no API is configured; give native.api_url")]
    NotConfigured,
    #[error(transparent)]
    Http(#[from] http::Error),
    /// Refused before the handler looked at it, or by an outage.
    #[error("the API answered HTTP status {status}")]
    Status {
        status: u16,
        text: String,
        retry_after: Option<Duration>,
    },
    /// The handler refused.
    #[error("the API refused")]
    Refused { code: Option<i64>, text: String },
    /// The answer is not what the page says; the text does not quote it.
    #[error("the answer of the API is not as expected: {0}")]
    Unexpected(String),
}

impl ApiError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotConfigured => ErrorCode::UnsupportedCommand,
            Self::Http(error) if error.is_before_send() => ErrorCode::Network,
            Self::Http(http::Error::Timeout { .. }) => ErrorCode::TimeoutAfterSend,
            Self::Http(http::Error::Broken { .. }) => ErrorCode::LostAck,
            Self::Http(_) | Self::Unexpected(_) => ErrorCode::AdapterError,
            Self::Status { status, .. } => match status {
                400 => ErrorCode::BadParam,
                401 => ErrorCode::TokenExpired,
                403 => ErrorCode::PermissionDenied,
                404 | 405 => ErrorCode::UnsupportedCommand,
                409 => ErrorCode::AlreadyExists,
                413 => ErrorCode::PayloadTooLarge,
                429 => ErrorCode::RateLimited,
                500.. => ErrorCode::ProviderUnavailable,
                _ => ErrorCode::ProviderError,
            },
            Self::Refused { .. } => ErrorCode::ProviderError,
        }
    }

    /// The same command may have been carried out: an answer of somebody on the way says nothing about it.
    pub fn is_doubtful(&self) -> bool {
        match self {
            Self::Http(error) => !error.is_before_send(),
            // 503 is said by a server that takes nothing.
            Self::Status { status, .. } => *status >= 500 && *status != 503,
            Self::Unexpected(_) => true,
            Self::NotConfigured | Self::Refused { .. } => false,
        }
    }

    /// The outcome of a command that changes nothing, or does the same thing twice without harm.
    pub fn outcome(&self) -> Outcome {
        let code = match (self.code().class(), self) {
            // Reading again, or doing again, is fine.
            (im_bridge_sdk::model::ErrorClass::Uncertain, _) => ErrorCode::ProviderUnavailable,
            _ => self.code(),
        };
        self.described(Outcome::error(code, self)).certain(true)
    }

    /// With what the provider said.
    pub fn described(&self, outcome: Outcome) -> Outcome {
        match self {
            Self::Status {
                status,
                text,
                retry_after,
            } => {
                let outcome = outcome.native(Some(&status.to_string()), Some(text), None);
                match retry_after {
                    Some(wait) => outcome.retry_after(*wait),
                    None => outcome,
                }
            }
            Self::Refused { code, text } => {
                let code = code.map(|code| code.to_string());
                let outcome = outcome.native(code.as_deref(), Some(text), None);
                outcome.hint(
                    "OpenChat's own routes do not fit every server; native.api_url reaches the server itself",
                )
            }
            _ => outcome,
        }
    }
}

impl WukongIm {
    pub fn openchat<'a>(&'a self, cx: &'a Context) -> Option<OpenChat<'a>> {
        OpenChat::new(self, cx)
    }

    pub fn native<'a>(&'a self, cx: &'a Context) -> Option<Native<'a>> {
        Native::new(self, cx)
    }
}

/// Under which name and noise a call is reported.
#[derive(Clone, Copy)]
pub struct Call {
    pub operation: &'static str,
    pub noise: Noise,
}

impl Call {
    pub const BOOTSTRAP: Self = Self::new("bootstrap", Noise::Session);
    pub const REQUEST: Self = Self::new("request", Noise::Command);
    pub const SEND: Self = Self::new("send", Noise::Command);
    pub const OUTCOME: Self = Self::new("outcome", Noise::Command);
    pub const HISTORY: Self = Self::new("history", Noise::Poll);
    pub const CONVERSATIONS: Self = Self::new("conversations", Noise::Poll);
    pub const HEALTH: Self = Self::new("health", Noise::Aux);

    const fn new(operation: &'static str, noise: Noise) -> Self {
        Self { operation, noise }
    }
}

/// The answer, if its status is one of success. A poll's operation ends here, either way.
fn successful(mut response: Response) -> Result<Response, ApiError> {
    if !response.is_success() {
        end_poll(&mut response, 0);
        return Err(status_error(&response));
    }
    let bytes = response.bytes().len();
    end_poll(&mut response, bytes);
    Ok(response)
}

/// Ends a poll's operation; others have ended already.
fn end_poll(response: &mut Response, items: usize) {
    if items == 0 {
        response.empty();
    } else {
        response.hit(items as u64);
    }
}

/// An error that the layer before the handler made, or an outage.
fn status_error(response: &Response) -> ApiError {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Envelope {
        message: String,
        msg: String,
        error: String,
    }
    let envelope: Envelope = serde_json::from_slice(response.bytes()).unwrap_or_default();
    let texts = [envelope.message, envelope.msg, envelope.error];
    let text = texts.into_iter().find(|text| !text.is_empty());
    ApiError::Status {
        status: response.status(),
        text: cut(text.unwrap_or_default()),
        retry_after: retry_after(response),
    }
}

/// `Retry-After`, also under a name with a suffix.
fn retry_after(response: &Response) -> Option<Duration> {
    const NAMES: [&str; 5] = [
        "retry-after-default",
        "retry-after-short",
        "retry-after-medium",
        "retry-after-long",
        "retry-after-login",
    ];
    response.retry_after().or_else(|| {
        let told = NAMES.iter().find_map(|name| response.header(name))?;
        Some(Duration::from_secs(told.trim().parse().ok()?))
    })
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// Takes the server's own envelope off, if there is one: `{"status":200,"data":…}`.
pub fn unwrapped(raw: Box<RawValue>) -> Result<Box<RawValue>, ApiError> {
    #[derive(Deserialize)]
    struct Envelope {
        status: Option<i64>,
        data: Option<Box<RawValue>>,
        #[serde(default)]
        msg: String,
    }
    if !raw.get().starts_with('{') {
        return Ok(raw);
    }
    let Ok(envelope) = serde_json::from_str::<Envelope>(raw.get()) else {
        return Ok(raw);
    };
    match (envelope.status, envelope.data) {
        (Some(status), _) if status != 200 => Err(ApiError::Refused {
            code: Some(status),
            text: cut(envelope.msg),
        }),
        (Some(_), Some(data)) => Ok(data),
        _ => Ok(raw),
    }
}

/// The records of a page: an array, `{"messages":[…]}` or null. One that cannot be read is told apart, not dropped.
pub fn records(
    raw: &RawValue,
) -> Result<Vec<Result<crate::native::record::Record, Box<RawValue>>>, ApiError> {
    #[derive(Deserialize)]
    struct Messages {
        #[serde(default)]
        messages: Option<Vec<Box<RawValue>>>,
    }
    let unexpected = |_| ApiError::Unexpected("neither a list nor an object with messages".into());
    let all: Vec<Box<RawValue>> = match raw.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(raw.get()).map_err(unexpected)?,
        Some(b'{') => serde_json::from_str::<Messages>(raw.get())
            .map_err(unexpected)?
            .messages
            .unwrap_or_default(),
        _ => vec![],
    };
    let read = |raw: Box<RawValue>| crate::native::record::Record::read(raw.get()).map_err(|_| raw);
    Ok(all.into_iter().map(read).collect())
}
