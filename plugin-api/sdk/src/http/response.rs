//! What the provider answered.

use super::{Error, error};
use crate::{Op, Trace};
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// An answer, read to its end.
///
/// That of a poll carries its operation: say [`Response::hit`] or [`Response::empty`] once it is decoded. Dropped before,
/// the poll has failed.
pub struct Response {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    host: String,
    op: Option<Op>,
    trace: Trace,
}

impl Response {
    pub(super) fn new(
        status: u16,
        headers: HeaderMap,
        body: Vec<u8>,
        host: String,
        op: Result<Op, Trace>,
    ) -> Self {
        let (op, trace) = match op {
            Ok(op) => (Some(op), Trace::NONE),
            Err(trace) => (None, trace),
        };
        Self {
            status,
            headers,
            body,
            host,
            op,
            trace,
        }
    }

    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The status is 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Every header of that name, such as `set-cookie`.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.headers.get_all(name).into_iter();
        all.filter_map(|value| value.to_str().ok())
    }

    /// How long the provider asks to wait, where it says so in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body, to keep.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|error| {
            self.unexpected(format!("no UTF-8 after byte {}", error.valid_up_to()))
        })
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.unexpected(error::describe(&error)))
    }

    /// An error that says the answer is not as expected; `problem` must not quote secrets.
    #[must_use]
    pub fn unexpected(&self, problem: impl Into<String>) -> Error {
        Error::Decode {
            host: self.host.clone(),
            status: self.status,
            problem: problem.into(),
        }
    }

    /// A poll that brought so many items.
    pub fn hit(&mut self, items: u64) -> Trace {
        self.end(|op| op.hit(items))
    }

    /// A poll that brought nothing.
    pub fn empty(&mut self) -> Trace {
        self.end(Op::empty)
    }

    /// A poll whose answer cannot be used.
    pub fn fail(&mut self, error: &(impl std::fmt::Display + ?Sized)) -> Trace {
        self.end(|op| op.fail(error))
    }

    /// The context for what follows from this answer; none where its operation leaves no span.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace
    }

    fn end(&mut self, end: impl FnOnce(Op) -> Trace) -> Trace {
        if let Some(op) = self.op.take() {
            self.trace = end(op);
        }
        self.trace
    }
}
