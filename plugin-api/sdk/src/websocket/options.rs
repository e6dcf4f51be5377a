//! How to connect.

use super::{MESSAGE_BYTES_LIMIT, MESSAGE_BYTES_MAX};
use std::time::Duration;

/// How long the handshake may take, from the name's look-up to the answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pings of one's own, and when their silence means that the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Time between two pings.
    pub every: Duration,
    /// The connection is given up when nothing was heard for so long while the reader listened.
    pub dead_after: Duration,
}

/// How to connect. The address may hold secrets in its query: they stand in no operation and no error.
#[derive(Clone)]
pub struct Options {
    pub(super) url: String,
    pub(super) template: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) subprotocol: Option<String>,
    pub(super) message_bytes_max: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) ping: Option<Ping>,
    pub(super) heartbeat: &'static str,
}

impl Options {
    /// Connects to a `ws://` or `wss://` address.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            template: None,
            headers: Vec::new(),
            subprotocol: None,
            message_bytes_max: MESSAGE_BYTES_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            ping: None,
            heartbeat: "heartbeat",
        }
    }

    /// The path with names in place of ids: what people see of the address.
    #[must_use]
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// One more header of the handshake.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The subprotocol asked for; a server that does not agree is refused.
    #[must_use]
    pub fn subprotocol(mut self, subprotocol: impl Into<String>) -> Self {
        self.subprotocol = Some(subprotocol.into());
        self
    }

    /// Most bytes of a message in either direction, at most 16 MiB.
    #[must_use]
    pub fn message_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes.min(MESSAGE_BYTES_LIMIT);
        self
    }

    /// How long the handshake may take.
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// Sends pings, and gives the connection up when the peer is silent.
    #[must_use]
    pub fn ping(mut self, ping: Ping) -> Self {
        self.ping = Some(ping);
        self
    }

    /// The operation that pings and pongs are; `heartbeat` unless said otherwise. Declared like every other.
    #[must_use]
    pub fn heartbeat(mut self, operation: &'static str) -> Self {
        self.heartbeat = operation;
        self
    }
}
