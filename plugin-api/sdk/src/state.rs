//! What an adapter says of its account.
//!
//! Not here: when a state is repeated (equal ones are dropped by [`crate::Context::state`]), and the states that the
//! core sets itself.

use crate::model::{ErrorCode, ErrorObject};
use im_bridge_plugin_api::abi;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Longest reason code.
const REASON_MAX: usize = 48;
/// Most bytes of the detail document; more is refused by the core.
const DETAIL_MAX: usize = 16 * 1024;

/// A state of the account with what is known about it.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a state says nothing until it is given to Context::state"]
pub struct State {
    pub(crate) state: abi::State,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) self_id: String,
    pub(crate) transport: Cow<'static, str>,
    pub(crate) next_attempt_ms: i64,
    pub(crate) detail: Map<String, Value>,
}

impl State {
    fn new(state: abi::State) -> Self {
        Self {
            state,
            reason: Cow::Borrowed(""),
            self_id: String::new(),
            transport: Cow::Borrowed(""),
            next_attempt_ms: 0,
            detail: Map::new(),
        }
    }

    /// A token is being fetched.
    pub fn logging_in() -> Self {
        Self::new(abi::State::LOGGING_IN)
    }

    /// Socket, registration.
    pub fn connecting() -> Self {
        Self::new(abi::State::CONNECTING)
    }

    /// Online, what was missed is being fetched.
    pub fn catching_up() -> Self {
        Self::new(abi::State::CATCHING_UP)
    }

    /// Connected and current.
    pub fn online() -> Self {
        Self::new(abi::State::ONLINE)
    }

    /// Works with a restriction.
    pub fn degraded(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(abi::State::DEGRADED).reason(reason)
    }

    /// Lost, the next attempt is planned. [`crate::Fault::retry`] reports this by itself.
    pub fn backoff(next_attempt_ms: i64, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut state = Self::new(abi::State::BACKOFF).reason(reason);
        state.next_attempt_ms = next_attempt_ms;
        state
    }

    /// Risk control wants a person. `kind`, an address and an end time tell them what to do.
    pub fn challenge_required(kind: &str, url: Option<&str>, expires_at: Option<&str>) -> Self {
        let mut challenge = Map::new();
        challenge.insert("kind".into(), kind.into());
        for (key, value) in [("url", url), ("expires_at", expires_at)] {
            if let Some(value) = value {
                challenge.insert(key.into(), value.into());
            }
        }
        let mut state = Self::new(abi::State::CHALLENGE_REQUIRED).reason("challenge_required");
        state.detail.insert("challenge".into(), challenge.into());
        state
    }

    /// Displaced by another login; nobody reconnects by himself.
    pub fn conflicted() -> Self {
        Self::new(abi::State::CONFLICTED).reason("kicked")
    }

    /// The login was refused; new credentials are needed.
    pub fn bad_credentials() -> Self {
        Self::new(abi::State::BAD_CREDENTIALS).reason("bad_credentials")
    }

    /// Logged out on request.
    pub fn logged_out() -> Self {
        Self::new(abi::State::LOGGED_OUT)
    }

    /// Given up. [`crate::Fault::permanent`] reports this by itself.
    pub fn failed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(abi::State::FAILED).reason(reason)
    }

    /// Why: an error code of the event model or one of the adapter's own, `[a-z0-9_]{1,48}`.
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason_code(reason.into());
        self
    }

    /// The own native user id.
    pub fn self_id(mut self, id: impl Into<String>) -> Self {
        self.self_id = id.into();
        self
    }

    /// `websocket`, `http` or `tcp`.
    pub fn transport(mut self, transport: impl Into<Cow<'static, str>>) -> Self {
        self.transport = transport.into();
        self
    }

    /// A JSON merge patch over the capabilities of `describe`, valid for this account until the next one.
    pub fn capabilities(self, patch: impl Serialize) -> Self {
        self.detail("capabilities", patch)
    }

    /// One more member of the detail document. A value that is no JSON is left out.
    pub fn detail(mut self, key: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.detail.insert(key.to_owned(), value);
        }
        self
    }

    /// The error that led here.
    pub fn error(self, error: &ErrorObject) -> Self {
        self.detail("error", error)
    }

    /// The same from a reason, which may be a code of the adapter's own: its class is then that of `stand_in`.
    pub(crate) fn error_text(self, stand_in: ErrorCode, message: &str) -> Self {
        let code = self.reason.parse().unwrap_or(stand_in);
        let mut error = ErrorObject::new(code, true, message);
        self.reason.as_ref().clone_into(&mut error.code);
        self.error(&error)
    }

    pub(crate) fn reason_code(&self) -> &str {
        &self.reason
    }

    /// The session works: a back-off begins anew after it.
    pub(crate) fn is_working(&self) -> bool {
        [
            abi::State::ONLINE,
            abi::State::CATCHING_UP,
            abi::State::DEGRADED,
        ]
        .contains(&self.state)
    }

    /// The detail document as text; without its biggest parts when it is too long for the core.
    pub(crate) fn detail_json(&self) -> String {
        if self.detail.is_empty() {
            return String::new();
        }
        let text = Value::Object(self.detail.clone()).to_string();
        if text.len() <= DETAIL_MAX {
            return text;
        }
        r#"{"truncated":true}"#.to_owned()
    }
}

/// Makes a code of whatever was given, so that a report is not refused for its reason.
fn reason_code(reason: Cow<'static, str>) -> Cow<'static, str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if reason.len() <= REASON_MAX && reason.bytes().all(fits) {
        return reason;
    }
    let code = reason
        .bytes()
        .take(REASON_MAX)
        .map(|b| b.to_ascii_lowercase())
        .map(|b| if fits(b) { char::from(b) } else { '_' });
    Cow::Owned(code.collect())
}

/// At most `most` bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_is_no_code_becomes_one() {
        assert_eq!(State::failed("Bad Thing!").reason_code(), "bad_thing_");
        assert_eq!(State::failed("x".repeat(99)).reason_code().len(), 48);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("häuser", 2), "h");
        assert_eq!(cut("hä", 3), "hä");
    }

    #[test]
    fn a_detail_that_is_too_long_is_left_out_and_says_so() {
        let state = State::online().detail("big", "x".repeat(20_000));
        assert_eq!(state.detail_json(), r#"{"truncated":true}"#);
        assert_eq!(State::online().detail_json(), "");
    }
}
