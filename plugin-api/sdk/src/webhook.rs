//! HTTP requests that the provider sends to the bridge.
//!
//! **Answer after storage**: a 2xx says that the events of a request are stored. [`WebhookResponse::when_settled`] waits
//! for that. What is not answered shortly before the deadline is answered 503, which makes the provider repeat it.
//!
//! **Authentication is the adapter's.** Without a configured secret answer 401, unless the configuration says
//! `allow_unauthenticated`. Compare with [`crate::crypto`].

use crate::ffi::owned::{HostBuf, lend, taken};
use crate::{Sent, Trace};
use im_bridge_plugin_api::abi::{self, Status};
use serde::Serialize;
use std::borrow::Cow;

/// Most bytes of an answer's body.
const BODY_MAX: usize = 64 * 1024;

/// One request, complete. Nothing of it may be logged: a secret may sit in any part.
pub struct WebhookRequest {
    pub(crate) data: RequestData,
}

/// What crossed the boundary; the body is the host's memory, released when dropped.
pub(crate) struct RequestData {
    pub(crate) id: u64,
    pub(crate) deadline_ms: i64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) peer: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) trace: Trace,
    pub(crate) body: HostBuf,
}

impl WebhookRequest {
    /// `POST`, `PUT` or `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.data.method
    }

    /// What follows the account in the path: empty, or begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.data.path
    }

    /// The query as it came, without `?`.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.data.query
    }

    /// Address of the TCP peer, which may be a proxy.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.data.peer
    }

    /// The first header of this name, which is written in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.data.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All headers, names in lower case, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.data.headers.iter();
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The raw bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.data.body.bytes()
    }

    /// Unix milliseconds after which the core has answered 504.
    #[must_use]
    pub fn deadline_ms(&self) -> i64 {
        self.data.deadline_ms
    }

    /// The request's context; events sent with the context of `webhook` have it already.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.data.trace
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct WebhookResponse {
    status: u16,
    headers: Vec<(&'static str, Cow<'static, str>)>,
    body: Vec<u8>,
}

impl WebhookResponse {
    /// An answer without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A JSON body.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(json) => {
                self.body = json;
                self.header("content-type", "application/json")
            }
            Err(_) => Self::status(500),
        }
    }

    /// A body of plain text.
    #[must_use]
    pub fn text(mut self, body: impl Into<String>) -> Self {
        self.body = body.into().into_bytes();
        self.header("content-type", "text/plain; charset=utf-8")
    }

    /// A header; only `content-type`, `retry-after` and `www-authenticate` are sent on.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// `then` once every event was settled for good; 503 as soon as one was not stored.
    pub async fn when_settled(sent: impl IntoIterator<Item = Sent>, then: Self) -> Self {
        for event in sent {
            if !event.settled().await.is_final() {
                return Self::again();
            }
        }
        then
    }

    /// Not now: the provider shall repeat it.
    pub(crate) fn again() -> Self {
        Self::status(503).header("retry-after", "1")
    }

    pub(crate) fn send(mut self, link: &crate::ffi::link::HostLink, id: u64) {
        if self.body.len() > BODY_MAX {
            tracing::error!(
                bytes = self.body.len(),
                most = BODY_MAX,
                "webhook answer is too long"
            );
            self = Self::status(500);
        }
        let headers: Vec<abi::Pair> = self
            .headers
            .iter()
            .map(|(key, value)| abi::Pair {
                key: abi::Str::new(key),
                value: abi::Str::new(value),
            })
            .collect();
        let status = link.respond(&abi::WebhookResponse {
            size: crate::ffi::link::size_of_u32::<abi::WebhookResponse>(),
            status: u32::from(self.status),
            id,
            headers: headers.as_ptr(),
            headers_len: headers.len(),
            body: lend(&mut self.body),
        });
        // NOT_FOUND says too late: refused, so the body is still ours.
        if is_taken(status) {
            taken(self.body);
        }
    }
}

/// Refused means not taken: a closed, absent or unwilling host leaves the body here.
fn is_taken(status: Status) -> bool {
    status.is_ok() || status == Status::E_PANIC
}
