//! How a command ended, and what the core is told about it.
//!
//! The point of no return decides about doubt: an error before `Command::sent` surely left nothing behind; after it,
//! everything but the provider's own answer is uncertain. [`Outcome::settle`] applies that rule to what an adapter
//! returned, so that a forgotten `uncertain` cannot become a duplicate message.
//!
//! Not here: when completions are handed over (`engine::commands`).

use crate::model::{ErrorClass, ErrorCode};
use crate::state::cut;
use im_bridge_plugin_api::abi;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Longest error text, in bytes.
const MESSAGE_MAX: usize = 512;

/// How a command ended.
#[derive(Debug)]
#[must_use = "a command is completed with its outcome"]
pub struct Outcome {
    pub(crate) status: abi::Status,
    pub(crate) code: Option<ErrorCode>,
    pub(crate) native_id: String,
    pub(crate) retry_after_ms: u64,
    pub(crate) certain: Option<bool>,
    message: String,
    detail: Map<String, Value>,
    result: Option<Vec<u8>>,
}

/// Whether a command happened, see [`crate::Adapter::verify`].
#[derive(Debug)]
pub enum Verdict {
    /// It happened; the outcome is what the command's own answer would have been.
    Happened(Outcome),
    /// It surely did not; the core may execute it again.
    DidNotHappen,
    /// Nobody can tell.
    Unknown,
    /// It cannot be told now; the core asks again.
    AskLater,
}

impl Outcome {
    /// The provider confirmed it: what was made or changed, and the result of the event model.
    pub fn ok(native_id: impl Into<String>, result: &impl Serialize) -> Self {
        Self::success(abi::Status::OK, native_id.into()).result(result)
    }

    /// The provider confirmed it, and there is nothing to tell.
    pub fn done() -> Self {
        Self::success(abi::Status::OK, String::new())
    }

    /// Handed over: an event with this client reference follows, or `message.failed`.
    pub fn accepted(native_id: impl Into<String>) -> Self {
        Self::success(abi::Status::ACCEPTED, native_id.into())
    }

    /// It failed. The code's class decides what the core does; see [`Outcome::certain`] about doubt.
    pub fn error(code: ErrorCode, message: impl std::fmt::Display) -> Self {
        Self {
            status: abi::Status(code.class().number()),
            code: Some(code),
            native_id: String::new(),
            retry_after_ms: 0,
            certain: None,
            message: message.to_string(),
            detail: Map::new(),
            result: None,
        }
    }

    fn success(status: abi::Status, native_id: String) -> Self {
        Self {
            status,
            code: None,
            native_id,
            retry_after_ms: 0,
            certain: None,
            message: String::new(),
            detail: Map::new(),
            result: None,
        }
    }

    /// The result; beside an error only for a message that was sent in part.
    pub fn result(mut self, result: &impl Serialize) -> Self {
        match serde_json::to_vec(result) {
            Ok(json) => self.result = Some(json),
            // A map with keys that are no strings: the command happened, its answer cannot be told.
            Err(error) => {
                tracing::error!(%error, "the result of a command is no JSON and was left out");
            }
        }
        self
    }

    /// What the provider said: its code, its text, its own id of the request.
    pub fn native(
        mut self,
        code: Option<&str>,
        text: Option<&str>,
        reference: Option<&str>,
    ) -> Self {
        let mut native = Map::new();
        for (key, value) in [("code", code), ("text", text), ("ref", reference)] {
            if let Some(value) = value {
                native.insert(key.to_owned(), cut(value, MESSAGE_MAX).into());
            }
        }
        self.detail.insert("native".to_owned(), native.into());
        self
    }

    /// What the caller may try instead.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail
            .insert("hint".to_owned(), Value::String(hint.into()));
        self
    }

    /// JSON pointer into the command's `data` to what is wrong.
    pub fn path(mut self, pointer: impl Into<String>) -> Self {
        self.detail
            .insert("path".to_owned(), Value::String(pointer.into()));
        self
    }

    /// Not before this time again; counts for `rate_limited` and `unavailable`.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Says outright whether the action surely did not happen, in place of the rule of the point of no return. Right
    /// after an answer of the provider that leaves no doubt.
    pub fn certain(mut self, certain: bool) -> Self {
        self.certain = Some(certain);
        self
    }

    /// An error, not `ok` or `accepted`.
    #[must_use]
    pub fn is_error(&self) -> bool {
        !self.status.is_ok()
    }

    /// Applies the rule of the point of no return.
    pub(crate) fn settle(mut self, sent: bool) -> Self {
        let Some(code) = self.code else {
            return self;
        };
        if self.status == abi::Status::E_UNCERTAIN {
            self.certain = Some(false);
        } else if self.certain.is_none() {
            if sent && !is_answer(code) {
                // Nobody knows what became of it: the text stays, class and code say so.
                let told = code;
                self.code = Some(match told {
                    ErrorCode::TimeoutBeforeSend | ErrorCode::DeadlineExceeded => {
                        ErrorCode::TimeoutAfterSend
                    }
                    _ => ErrorCode::LostAck,
                });
                self.status = abi::Status::E_UNCERTAIN;
                self.certain = Some(false);
            } else {
                self.certain = Some(true);
            }
        }
        self
    }

    /// The completion's body: the result, or `{message, native, hint, path, result}`.
    pub(crate) fn body(&mut self) -> Vec<u8> {
        let result = self.result.take();
        if !self.is_error() {
            return result.unwrap_or_default();
        }
        let mut detail = std::mem::take(&mut self.detail);
        detail.insert(
            "message".to_owned(),
            cut(&self.message, MESSAGE_MAX).to_owned().into(),
        );
        if let Some(result) = result.and_then(|json| serde_json::from_slice(&json).ok()) {
            detail.insert("result".to_owned(), result);
        }
        Value::Object(detail).to_string().into_bytes()
    }
}

/// Only an answer of the provider makes this code, so that it leaves no doubt after the hand-over.
fn is_answer(code: ErrorCode) -> bool {
    match code.class() {
        ErrorClass::Unavailable => code == ErrorCode::ProviderUnavailable,
        ErrorClass::Internal | ErrorClass::Uncertain => false,
        _ => code != ErrorCode::DeadlineExceeded,
    }
}

impl Verdict {
    pub(crate) fn into_outcome(self) -> Outcome {
        match self {
            Self::Happened(outcome) => outcome,
            Self::DidNotHappen => {
                Outcome::error(ErrorCode::MessageNotFound, "it did not happen").certain(true)
            }
            Self::Unknown => Outcome::error(ErrorCode::LostAck, "whether it happened is not known"),
            Self::AskLater => {
                Outcome::error(ErrorCode::ProviderUnavailable, "ask again later").certain(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: ErrorCode, sent: bool) -> (abi::Status, &'static str, bool) {
        let outcome = Outcome::error(code, "").settle(sent);
        let code = outcome.code.map_or("", ErrorCode::as_str);
        (outcome.status, code, outcome.certain == Some(true))
    }

    #[test]
    fn before_the_hand_over_every_error_is_certain() {
        let network = ended(ErrorCode::Network, false);
        assert_eq!(network, (abi::Status::E_UNAVAILABLE, "network", true));
        let bug = ended(ErrorCode::AdapterError, false);
        assert_eq!(bug, (abi::Status::E_INTERNAL, "adapter_error", true));
    }

    #[test]
    fn after_it_only_the_providers_answer_is() {
        let lost = (abi::Status::E_UNCERTAIN, "lost_ack", false);
        assert_eq!(ended(ErrorCode::Network, true), lost);
        assert_eq!(ended(ErrorCode::AdapterError, true), lost);
        let timeout = (abi::Status::E_UNCERTAIN, "timeout_after_send", false);
        assert_eq!(ended(ErrorCode::TimeoutBeforeSend, true), timeout);
        let refused = (abi::Status::E_FORBIDDEN, "content_rejected", true);
        assert_eq!(ended(ErrorCode::ContentRejected, true), refused);
        let busy = (abi::Status::E_UNAVAILABLE, "provider_unavailable", true);
        assert_eq!(ended(ErrorCode::ProviderUnavailable, true), busy);
    }

    #[test]
    fn what_the_adapter_says_outright_is_kept() {
        let outcome = Outcome::error(ErrorCode::Network, "refused")
            .certain(true)
            .settle(true);
        assert_eq!(outcome.status, abi::Status::E_UNAVAILABLE);
        assert_eq!(outcome.certain, Some(true));
    }

    #[test]
    fn the_body_of_an_error_has_the_members_of_the_contract() {
        let mut outcome = Outcome::error(ErrorCode::BadParam, "no such user")
            .path("/params/to")
            .native(Some("1004"), None, None)
            .hint("use the id");
        let body: Value = serde_json::from_slice(&outcome.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"message": "no such user", "path": "/params/to", "native": {"code": "1004"},
                "hint": "use the id"})
        );
    }
}
