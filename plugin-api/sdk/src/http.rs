//! HTTP to the provider: each request is one operation, named and classed by the adapter.
//!
//! Promises: a request ends within its time limit (20 s unless said otherwise) and reads at most 8 MiB; redirects are not
//! followed, cookies not kept, proxies of the environment not used; neither query nor user part of an address stands in an
//! operation or an error. Connections are pooled per thread: accounts that share a thread (`runtime = Shared(n)`) share them,
//! too, and they end with the last of these accounts.
//!
//! ```no_run
//! # async fn f(cx: &im_bridge_sdk::Context) -> Result<(), im_bridge_sdk::http::Error> {
//! use im_bridge_sdk::Noise;
//! let mut found = cx
//!     .http()
//!     .get("poll_messages", Noise::Poll, "https://im.example/v1/messages?after=7")
//!     .template("/v1/messages")
//!     .send()
//!     .await?;
//! let messages: Vec<String> = found.json()?;
//! if messages.is_empty() { found.empty() } else { found.hit(messages.len() as u64) };
//! # Ok(()) }
//! ```
//!
//! Not here: retries, rate limits and login; they differ by provider.

mod error;
mod request;
mod response;

pub use error::Error;
pub(crate) use request::Agent;
pub use request::{Client, Request};
pub use reqwest::Method;
pub use response::Response;

use std::time::Duration;
use url::Url;

/// How long a request may take. A send that takes longer has failed for the person who waits for it.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// How long the connection alone may take: shorter, so that a dead host is told from a slow answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer. Providers page their lists far below; more is a mistake or an attack.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An address as telemetry may see it: without user part, query and fragment.
pub(crate) fn bare(url: &Url) -> String {
    let mut bare = url.clone();
    // These fail only for addresses without a host, which have no user part.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.set_query(None);
    bare.set_fragment(None);
    bare.into()
}

/// Host and port, for people.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// What an HTTP status means in the event model's classes.
pub(crate) fn class_of(status: u16) -> crate::model::ErrorClass {
    use crate::model::ErrorClass;
    match status {
        401 | 407 => ErrorClass::Auth,
        403 => ErrorClass::Forbidden,
        404 | 410 => ErrorClass::NotFound,
        409 => ErrorClass::Conflict,
        429 => ErrorClass::RateLimited,
        405 | 501 => ErrorClass::Unsupported,
        408 | 500.. => ErrorClass::Unavailable,
        _ => ErrorClass::Invalid,
    }
}
