//! What an adapter's answer means: success, an error that surely did nothing, or nobody knows.
//!
//! The class of the status decides, the code says more; where only the class is known, its usual code stands in. Not
//! here: what follows from it (`flow`).

use crate::account::Ended;
use crate::loader::host::Completed;
use crate::telemetry::redact::redact;
use bytes::Bytes;
use im_bridge_plugin_api::abi::Status;
use im_bridge_sdk::model::{
    ERROR_TEXT_CHARS_MAX, ErrorBody, ErrorClass, ErrorCode, ErrorObject, Json, ResultStatus,
};

/// How a hand-over ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Success {
        /// `ok` or `accepted`.
        status: ResultStatus,
        result: Json,
        native_id: Option<String>,
    },
    /// It did not happen, if the error is certain.
    Failure {
        error: ErrorObject,
        /// Parts that were sent all the same.
        result: Option<Json>,
    },
    /// It may have happened.
    Uncertain { error: ErrorObject },
}

impl Outcome {
    pub(super) fn of(ended: &Ended) -> Self {
        match ended {
            Ended::Completed(completed) | Ended::Late(completed) => Self::completed(completed),
            Ended::Unknown(code) => {
                let code = code.parse().unwrap_or(ErrorCode::LostAck);
                let message = match code {
                    ErrorCode::TimeoutAfterSend => "the adapter gave no answer in time",
                    _ => "the adapter was lost before it answered",
                };
                let error = ErrorObject::new(code, false, message);
                Self::Uncertain { error }
            }
        }
    }

    fn completed(completed: &Completed) -> Self {
        if matches!(completed.status, Status::OK | Status::ACCEPTED) {
            let status = match completed.status {
                Status::OK => ResultStatus::Ok,
                _ => ResultStatus::Accepted,
            };
            return Self::Success {
                status,
                result: object(&completed.body),
                native_id: completed.native_id().map(str::to_owned),
            };
        }
        let said: ErrorBody = serde_json::from_slice(&completed.body).unwrap_or_default();
        let mut error = error(completed, &said);
        error.native = said.native;
        error.hint = said.hint;
        error.path = said.path;
        if error.class == ErrorClass::Uncertain {
            return Self::Uncertain { error };
        }
        Self::Failure {
            error,
            result: said.result,
        }
    }
}

/// The result as the adapter wrote it. It happened, whatever the adapter says of it: text that is no object is left out.
fn object(body: &Bytes) -> Json {
    let text = str::from_utf8(body).unwrap_or_default().trim();
    let written = text
        .starts_with('{')
        .then(|| Json::from_text(text.to_owned()).ok())
        .flatten();
    if written.is_none() && !body.is_empty() {
        tracing::warn!("an adapter completed a command with a result that is no JSON object");
    }
    written.unwrap_or_else(|| Json::from_text("{}".to_owned()).expect("an empty object"))
}

fn error(completed: &Completed, said: &ErrorBody) -> ErrorObject {
    let class = ErrorClass::from_abi(completed.status.0);
    let is_uncertain = class == ErrorClass::Uncertain;
    let is_certain = completed.is_certain && !is_uncertain;
    let named = completed.code();
    let known = match named {
        // Said by the host of a command that it never handed over.
        "stopping" => Some(ErrorCode::NotConnected),
        named => named.parse::<ErrorCode>().ok(),
    };
    // A code of the other kind must not turn what may have happened into what did not.
    let is_foreign = known.is_none() && is_word(named);
    let known = known.filter(|code| (code.class() == ErrorClass::Uncertain) == is_uncertain);
    let code = known.unwrap_or_else(|| usual(class));
    // A provider may repeat what it was told, and a result is stored for everybody to read.
    let said = said.message.as_deref();
    let text = said.map_or_else(|| usual_text(code), |said| redact(said).into_owned());
    let mut error = ErrorObject::new(code, is_certain, text);
    if is_foreign {
        named.clone_into(&mut error.code);
        error.num = 0;
        error.class = class;
        error.retryable = matches!(class, ErrorClass::RateLimited | ErrorClass::Unavailable);
    }
    error.retry_after_ms = completed.retry_after_ms;
    error
}

fn usual_text(code: ErrorCode) -> String {
    let words = code.as_str().replace('_', " ");
    words.chars().take(ERROR_TEXT_CHARS_MAX).collect()
}

/// Of an adapter that names a class only.
fn usual(class: ErrorClass) -> ErrorCode {
    match class {
        ErrorClass::Invalid => ErrorCode::BadParam,
        ErrorClass::Unsupported => ErrorCode::NotImplemented,
        ErrorClass::NotFound => ErrorCode::ChannelNotFound,
        ErrorClass::Forbidden => ErrorCode::ProviderError,
        ErrorClass::Conflict => ErrorCode::AlreadyExists,
        ErrorClass::RateLimited => ErrorCode::RateLimited,
        ErrorClass::Unavailable => ErrorCode::ProviderUnavailable,
        ErrorClass::Auth => ErrorCode::TokenExpired,
        ErrorClass::Uncertain => ErrorCode::LostAck,
        ErrorClass::Internal => ErrorCode::AdapterError,
    }
}

/// A code of a later version of the model.
fn is_word(text: &str) -> bool {
    (1..=48).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: Status, is_certain: bool, code: &str, body: &'static str) -> Outcome {
        let mut completed = Completed::by_host(1, status, is_certain, code);
        completed.body = Bytes::from_static(body.as_bytes());
        Outcome::of(&Ended::Completed(completed))
    }

    fn error_of(outcome: Outcome) -> ErrorObject {
        match outcome {
            Outcome::Failure { error, .. } | Outcome::Uncertain { error } => error,
            Outcome::Success { .. } => panic!("a success"),
        }
    }

    #[test]
    fn an_error_says_what_its_code_implies_and_what_the_adapter_said() {
        let body = r#"{"message":"you are muted","native":{"code":"25"},"path":"/params/to"}"#;
        let error = error_of(failed(Status::E_FORBIDDEN, true, "muted", body));
        assert_eq!((error.num, error.certain), (1302, true));
        assert_eq!(error.message, "you are muted");
        assert_eq!(error.path.as_deref(), Some("/params/to"));
    }

    #[test]
    fn an_unknown_code_is_treated_by_its_class() {
        let error = error_of(failed(Status::E_UNAVAILABLE, true, "moon_phase", ""));
        assert_eq!(error.code, "moon_phase");
        assert!(error.retryable && error.class == ErrorClass::Unavailable);
    }

    #[test]
    fn what_may_have_happened_never_becomes_certain() {
        for code in ["", "rate_limited", "lost_ack"] {
            let outcome = failed(Status::E_UNCERTAIN, true, code, "");
            assert!(matches!(outcome, Outcome::Uncertain { .. }), "{code}");
            assert!(!error_of(outcome).certain);
        }
        let certain = error_of(failed(Status::E_UNAVAILABLE, true, "lost_ack", ""));
        assert_eq!(certain.code, "provider_unavailable");
    }

    #[test]
    fn each_class_has_a_code_of_its_own_class() {
        for number in -10..=-1 {
            let class = ErrorClass::from_abi(number);
            assert_eq!(usual(class).class(), class);
        }
    }

    #[test]
    fn a_success_without_an_object_is_still_a_success() {
        let outcome = failed(Status::OK, true, "", "nonsense");
        let Outcome::Success { result, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(result.as_str(), "{}");
    }
}
