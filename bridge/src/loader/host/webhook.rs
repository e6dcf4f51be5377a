//! Host side of `imb.webhook/1`: requests of the provider go to the adapter, its answers come back by id.
//!
//! Each request gets at most one answer; one that comes too late is told so. A caller that goes away cancels.
//!
//! Not here: the listener, its limits, and what it answers by itself.

use super::buffer;
use super::gate::Pass;
use super::misbehaviour::Misbehaviour;
use super::packed::text;
use super::shared::Shared;
use super::table::{self, guarded};
use bytes::Bytes;
use im_bridge_plugin_api::abi::{self, Status, raw};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Longest body of an answer.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Headers of an answer that are looked at, and the longest value.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 1024;
/// Only these are sent.
const HEADERS_SENT: [&str; 3] = ["content-type", "retry-after", "www-authenticate"];

/// The static table.
pub(super) static TABLE: abi::WebhookHost = abi::WebhookHost {
    size: table::size_of_table::<abi::WebhookHost>(),
    reserved: 0,
    respond: Some(respond),
};

/// Requests in hand.
pub(super) struct Webhooks {
    max: usize,
    last: u64,
    open: HashMap<u64, oneshot::Sender<WebhookResponse>>,
}

impl Webhooks {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            last: 0,
            open: HashMap::new(),
        }
    }
}

/// An HTTP request of the provider.
#[derive(Debug)]
pub struct WebhookRequest {
    pub(super) id: u64,
    /// Unix milliseconds; after it the host has answered 504.
    pub deadline_ms: i64,
    /// `POST`, `PUT` or `GET`.
    pub method: Box<str>,
    /// Empty, or begins with `/`.
    pub path: Box<str>,
    /// Raw, without `?`.
    pub query: Box<str>,
    /// Address of the TCP peer.
    pub peer: Box<str>,
    /// Names in lower case, order kept.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Put into every event made from this request.
    pub trace: abi::Trace,
    /// Raw bytes, complete.
    pub body: Bytes,
}

/// What goes in; the id is the host's.
impl WebhookRequest {
    /// A request without query, headers, trace or body: fill in what there is.
    #[must_use]
    pub fn new(method: &str, path: &str, deadline_ms: i64) -> Self {
        Self {
            id: 0,
            deadline_ms,
            method: method.into(),
            path: path.into(),
            query: "".into(),
            peer: "".into(),
            headers: Vec::new(),
            trace: abi::Trace::NONE,
            body: Bytes::new(),
        }
    }

    pub(super) fn to_abi(&self, headers: &[abi::Pair]) -> abi::WebhookRequest {
        abi::WebhookRequest {
            size: table::size_of_table::<abi::WebhookRequest>(),
            flags: 0,
            id: self.id,
            deadline_ms: self.deadline_ms,
            method: abi::Str::new(&self.method),
            path: abi::Str::new(&self.path),
            query: abi::Str::new(&self.query),
            peer: abi::Str::new(&self.peer),
            headers: headers.as_ptr(),
            headers_len: headers.len(),
            trace: self.trace,
            body: buffer::lend(self.body.clone()),
        }
    }
}

/// What to answer the provider.
#[derive(Debug)]
pub struct WebhookResponse {
    /// HTTP status, 200–599.
    pub status: u16,
    /// Only those that are sent.
    pub headers: Vec<(&'static str, Box<str>)>,
    /// At most 64 KiB.
    pub body: Bytes,
}

impl WebhookResponse {
    fn by_host(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }
}

/// The answer to come. Dropping it before tells the adapter that the caller is gone.
pub struct WebhookReply {
    shared: Arc<Shared>,
    id: u64,
    answer: oneshot::Receiver<WebhookResponse>,
}

impl WebhookReply {
    /// Waits for the answer; 503 when the instance ends first.
    pub async fn recv(&mut self) -> WebhookResponse {
        (&mut self.answer)
            .await
            .unwrap_or_else(|_| WebhookResponse::by_host(503))
    }
}

impl Drop for WebhookReply {
    fn drop(&mut self) {
        if self.shared.webhooks().open.remove(&self.id).is_some() {
            self.shared
                .send(|queue| queue.webhook_cancels.push(self.id));
        }
    }
}

impl Shared {
    fn webhooks(&self) -> MutexGuard<'_, Webhooks> {
        self.webhooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request; none: too many are in hand, or nothing is called any more (both 503).
    pub(super) fn request_webhook(
        self: &Arc<Self>,
        mut request: WebhookRequest,
    ) -> Option<WebhookReply> {
        let (sender, answer) = oneshot::channel();
        {
            let mut webhooks = self.webhooks();
            if webhooks.open.len() >= webhooks.max {
                return None;
            }
            webhooks.last += 1;
            request.id = webhooks.last;
            webhooks.open.insert(request.id, sender);
        }
        let reply = WebhookReply {
            shared: Arc::clone(self),
            id: request.id,
            answer,
        };
        self.send(|queue| queue.webhooks.push(request))
            .then_some(reply)
    }

    /// The adapter did not take it.
    pub(super) fn webhook_refused(&self, id: u64, status: Status) {
        let sender = self.webhooks().open.remove(&id);
        if let Some(sender) = sender {
            let _ = sender.send(WebhookResponse::by_host(match status {
                Status::E_UNAVAILABLE => 503,
                Status::E_NOT_FOUND => 404,
                _ => 500,
            }));
        }
    }

    pub(super) fn offers_webhooks(&self) -> bool {
        self.webhooks().max > 0
    }

    /// Nobody answers any more.
    pub(super) fn close_webhooks(&self) {
        let open = std::mem::take(&mut self.webhooks().open);
        drop(open);
    }
}

unsafe extern "C" fn respond(ctx: *mut c_void, response: *const abi::WebhookResponse) -> Status {
    // SAFETY: the adapter hands back its own context; the struct and what it names are readable until we return.
    unsafe {
        guarded(ctx, Pass::Full, Status::E_CLOSED, |shared| {
            let read = raw::read(response).and_then(|response| {
                let headers = raw::slice(response.headers, response.headers_len, HEADERS_MAX)?;
                let is_sound = buffer::is_sound(&response.body);
                is_sound
                    .then_some((response, headers))
                    .ok_or(Status::E_INVALID)
            });
            let Ok((response, headers)) = read else {
                shared.count(Misbehaviour::BadStruct);
                return Status::E_INVALID;
            };
            // Too late means refused, and what is refused stays the adapter's.
            let Some(sender) = shared.webhooks().open.remove(&response.id) else {
                return Status::E_NOT_FOUND;
            };
            let body = buffer::adopt(response.body);
            let _ = sender.send(answer(shared, response.status, headers, body));
            Status::OK
        })
    }
}

/// # Safety
/// Texts as `imb_str`.
unsafe fn answer(
    shared: &Shared,
    status: u32,
    headers: &[abi::Pair],
    body: Bytes,
) -> WebhookResponse {
    let mut is_bad = false;
    let mut sent = Vec::new();
    for pair in headers {
        // SAFETY: the caller's promise.
        let (key, value) = unsafe {
            (
                text(&pair.key, HEADER_BYTES_MAX, &mut is_bad),
                text(&pair.value, HEADER_BYTES_MAX, &mut is_bad),
            )
        };
        if let Some(name) = HEADERS_SENT
            .iter()
            .find(|name| name.eq_ignore_ascii_case(key))
        {
            sent.push((*name, value.into()));
        }
    }
    if is_bad {
        shared.count(Misbehaviour::BadText);
    }
    if body.len() > BODY_BYTES_MAX {
        shared.count(Misbehaviour::PayloadTooLarge);
        return WebhookResponse::by_host(500);
    }
    let status = u16::try_from(status)
        .ok()
        .filter(|status| (200..600).contains(status));
    WebhookResponse {
        status: status.unwrap_or(500),
        headers: sent,
        body,
    }
}
