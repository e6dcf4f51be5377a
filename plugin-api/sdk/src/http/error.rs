//! Why a request has no usable answer.

use crate::model::ErrorClass;
use std::time::Duration;

/// A request without a usable answer. No text of it holds a query or a user part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request as the adapter made it.
    #[error("request {operation} cannot be made: {problem}")]
    Invalid {
        /// The operation.
        operation: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// There was no connection: the provider got nothing.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No whole answer in time.
    #[error("no answer from {host} within {limit:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// The time limit.
        limit: Duration,
    },
    /// The connection broke while the request was under way.
    #[error("the connection to {host} broke")]
    Broken {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is longer than allowed.
    #[error("the answer of {host} has more than {limit} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is not what the adapter wanted. The text never quotes the answer.
    #[error("the answer of {host} ({status}) is not as expected: {problem}")]
    Decode {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// What is wrong, and where.
        problem: String,
    },
}

impl Error {
    /// Surely nothing of the request reached the provider: a command that fails so may be tried again.
    #[must_use]
    pub fn is_before_send(&self) -> bool {
        matches!(self, Self::Invalid { .. } | Self::Connect { .. })
    }

    /// The event model's class.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid { .. } => ErrorClass::Invalid,
            Self::Connect { .. } => ErrorClass::Unavailable,
            Self::Timeout { .. } | Self::Broken { .. } => ErrorClass::Uncertain,
            Self::TooLarge { .. } | Self::Decode { .. } => ErrorClass::Internal,
        }
    }
}

/// What serde_json says, without the value that it quotes: an answer may hold a token.
pub(super) fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    // Only these two name a member and never a value.
    let is_harmless = text.starts_with("missing field") || text.starts_with("duplicate field");
    if is_harmless {
        return text;
    }
    let what = match error.classify() {
        serde_json::error::Category::Data => "another type or value than expected",
        serde_json::error::Category::Eof => "cut off",
        _ => "no JSON",
    };
    format!("{what} at line {line} column {column}")
}
