//! `imb.webhook/1`: requests to the adapter, each answered exactly once, and not before its events are settled.

use crate::test::host::{bad_struct, pairs, take};
use crate::test::lend::Lent;
use crate::test::record::{ResponseRecord, Trace};
use crate::test::rules::bad;
use crate::test::shared::Shared;
use crate::test::violation::{Call, Function, Violation};
use im_bridge_plugin_api::abi::{Buf, Status, WebhookHost, WebhookRequest, WebhookResponse, raw};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) static WEBHOOK: WebhookHost = WebhookHost {
    size: 16,
    reserved: 0,
    respond: Some(respond),
};

/// A request of the provider as a test writes it.
#[derive(Clone, Debug)]
pub struct Webhook {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    deadline: Duration,
}

impl Webhook {
    /// A POST with that path (after the account) and body, to be answered within 8 s.
    #[must_use]
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: Vec::new(),
            body: body.into(),
            deadline: Duration::from_secs(8),
        }
    }

    /// Another method: `PUT` or `GET`.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    /// The query without its question mark.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        self.query = query.to_owned();
        self
    }

    /// One more header; the name in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The deadline, counted from when it is handed over.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// What the host knows of webhook requests.
#[derive(Default)]
pub(super) struct WebhookBook {
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

struct Entry {
    trace_id: [u8; 16],
    is_answered: bool,
    is_given_up: bool,
}

impl WebhookBook {
    /// Handed over, wanted and not answered.
    pub fn open(&self) -> Vec<u64> {
        let open = self.entries.iter();
        open.filter(|(_, entry)| !entry.is_answered && !entry.is_given_up)
            .map(|(id, _)| *id)
            .collect()
    }

    /// The caller is gone: an answer that still comes is too late.
    pub fn give_up(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_given_up = true;
        }
    }
}

/// Hands a request over; the id, or what the adapter answered instead of taking it.
pub(super) fn hand_over(shared: &Arc<Shared>, request: &Webhook) -> Result<u64, Status> {
    let mut lent = Lent::default();
    let (id, handed) = {
        let mut book = shared.lock();
        book.webhooks.next += 1;
        let id = book.webhooks.next;
        let trace = Trace::numbered(book.next_trace());
        let entry = Entry {
            trace_id: trace.trace_id,
            is_answered: false,
            is_given_up: false,
        };
        book.webhooks.entries.insert(id, entry);
        let handed = WebhookRequest {
            size: 0,
            flags: 0,
            id,
            deadline_ms: book.clock.now_ms() + super::command::millis(request.deadline),
            method: lent.text(&request.method),
            path: lent.text(&request.path),
            query: lent.text(&request.query),
            peer: lent.text("192.0.2.7:40312"),
            headers: lent.pairs(&request.headers),
            headers_len: request.headers.len(),
            trace: trace.to_abi(),
            body: if request.body.is_empty() {
                Buf::EMPTY
            } else {
                let what = format!("the body of webhook request {id}");
                shared.given.give(what, &request.body)
            },
        };
        (id, handed)
    };
    let first = lent.grown(&[handed], shared.extra);
    let status = shared.call(Call::WebhookRequest, |adapter, instance| {
        let Some(take) = adapter.webhook.as_ref().and_then(|webhook| webhook.request) else {
            return Status::E_UNSUPPORTED;
        };
        // SAFETY: a live instance, and a request that outlives the call.
        unsafe { take(instance, first) }
    });
    let status = status.unwrap_or(Status::E_CLOSED);
    if status == Status::OK {
        return Ok(id);
    }
    // Refused means not taken: the body is still the host's. After a panic it counts as taken.
    if status != Status::E_PANIC
        && let Some(release) = handed.body.release
    {
        // SAFETY: the host's own buffer, which the adapter left to it.
        unsafe { release(handed.body.owner, handed.body.ptr, handed.body.len) };
    }
    shared.lock().webhooks.entries.remove(&id);
    Err(status)
}

/// Tells the adapter that the caller is gone.
pub(super) fn cancel(shared: &Arc<Shared>, id: u64) -> Option<Status> {
    shared.lock().webhooks.give_up(id);
    shared.call(Call::WebhookCancel, |adapter, instance| {
        let Some(cancel) = adapter.webhook.as_ref().and_then(|webhook| webhook.cancel) else {
            return Status::E_UNSUPPORTED;
        };
        // SAFETY: a live instance.
        unsafe { cancel(instance, id) }
    })
}

unsafe extern "C" fn respond(ctx: *mut c_void, response: *const WebhookResponse) -> Status {
    let function = Function::WebhookRespond;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return Status::E_CLOSED;
    };
    // SAFETY: the contract makes it a response.
    let response = match unsafe { raw::read(response) } {
        Ok(response) => response,
        Err(status) => return bad_struct(shared, function, status),
    };
    let id = response.id;
    let mut to_release = Vec::new();
    let mut book = shared.lock();
    let trace_id = match book.webhooks.entries.get_mut(&id) {
        Some(entry) if entry.is_given_up => {
            entry.is_answered = true;
            return Status::E_NOT_FOUND;
        }
        Some(entry) if entry.is_answered => {
            book.violate(Violation::RespondedTwice { id });
            return Status::E_NOT_FOUND;
        }
        Some(entry) => {
            entry.is_answered = true;
            entry.trace_id
        }
        None => {
            book.violate(Violation::RespondedUnknown { id });
            return Status::E_NOT_FOUND;
        }
    };
    // SAFETY: headers and body of the adapter's argument.
    let (headers, body) = unsafe {
        let headers = pairs(
            &mut book,
            function,
            "headers",
            response.headers,
            response.headers_len,
            HEADERS_MAX,
        );
        let body = take(&mut book, function, response.body, &mut to_release);
        (headers, body)
    };
    if let Err(status) = &headers {
        let status = *status;
        book.violate(Violation::BadStruct { function, status });
    }
    let status = response.status;
    if !(200..=599).contains(&status) {
        let problem = format!("is {status}, expected 200 to 599");
        book.violate(bad(function, "status", problem));
    }
    if body.len() > BODY_BYTES_MAX {
        let problem = format!("has {} bytes, the limit is {BODY_BYTES_MAX}", body.len());
        book.violate(bad(function, "body", problem));
    }
    let is_of_request = |open: &&super::shared::Open| open.trace_id == Some(trace_id);
    let open = book.open.values().filter(is_of_request).count();
    if (200..300).contains(&status) && open > 0 {
        book.violate(Violation::RespondedBeforeSettle { id, status, open });
    }
    let record = ResponseRecord {
        order: book.order(),
        at: shared.at(),
        id,
        status,
        headers: headers.unwrap_or_default(),
        body,
    };
    book.seen.responses.push(record);
    drop(book);
    shared.notify();
    drop(to_release);
    Status::OK
}
