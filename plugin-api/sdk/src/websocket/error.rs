//! Why there is no connection, or no longer one.

use crate::http::class_of;
use crate::model::ErrorClass;
use std::time::Duration;
use tokio_tungstenite::tungstenite;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A WebSocket that failed or ended. No text of it holds a query or a user part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The options as the adapter made them.
    #[error("websocket cannot be opened: {problem}")]
    Invalid {
        /// What is wrong.
        problem: String,
    },
    /// There was no connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// The server answered the handshake with another status.
    #[error("{host} refused the websocket with HTTP status {status}")]
    Refused {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer to the handshake in time.
    #[error("no websocket at {host} within {limit:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// The time limit.
        limit: Duration,
    },
    /// The peer closed the connection in an orderly way.
    #[error("closed by the peer with code {}: {reason}", code_text(*.code))]
    Closed {
        /// The code it gave, if any.
        code: Option<u16>,
        /// The reason it gave, or nothing.
        reason: String,
    },
    /// Nothing was heard for so long while the reader listened.
    #[error("nothing heard from {host} for {silence:?}")]
    Silent {
        /// Host and port.
        host: String,
        /// How long.
        silence: Duration,
    },
    /// A message is longer than allowed.
    #[error("a message has more than {limit} bytes; raise it with message_max")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The connection was over before anything was written.
    #[error("the websocket is closed")]
    NotOpen,
    /// The connection broke; what was being written may have arrived.
    #[error("the websocket to {host} broke")]
    Broken {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        source: Source,
    },
}

impl Error {
    /// Surely nothing of the message reached the provider: a command that fails so may be tried again.
    #[must_use]
    pub fn is_before_send(&self) -> bool {
        !matches!(
            self,
            Self::Broken { .. } | Self::Closed { .. } | Self::Silent { .. }
        )
    }

    /// The event model's class.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid { .. } | Self::TooLarge { .. } => ErrorClass::Invalid,
            Self::Refused { status, .. } => class_of(*status),
            _ => ErrorClass::Unavailable,
        }
    }

    /// An error of the library on an open connection.
    pub(super) fn of_open(error: tungstenite::Error, host: &str, limit: usize) -> Self {
        use tungstenite::error::{CapacityError, ProtocolError};
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::NotOpen
            }
            // Writing after the closing handshake began: refused before a byte was written.
            tungstenite::Error::Protocol(ProtocolError::SendAfterClosing) => Self::NotOpen,
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. })
            | tungstenite::Error::WriteBufferFull(_) => Self::TooLarge { limit },
            other => Self::Broken {
                host: host.to_owned(),
                source: Box::new(other),
            },
        }
    }

    /// An error of the library during the handshake.
    pub(super) fn of_handshake(error: tungstenite::Error, host: &str) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::Refused {
                host: host.to_owned(),
                status: response.status().as_u16(),
            },
            other => Self::Connect {
                host: host.to_owned(),
                source: Box::new(other),
            },
        }
    }
}

fn code_text(code: Option<u16>) -> String {
    code.map_or_else(|| "none".to_owned(), |code| code.to_string())
}
