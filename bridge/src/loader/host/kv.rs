//! Host side of `imb.kv/1`: requests go to the core as messages, answers come back through a handle.
//!
//! Each request taken gets exactly one answer; a handle dropped without one answers `unavailable`. At most
//! [`IN_FLIGHT_MAX`] are in flight: an adapter may not use its own state as a queue.
//!
//! Not here: the bucket, and the bounds on keys and bytes per account, which only it can count.

use super::buffer;
use super::gate::Pass;
use super::messages::HostEvent;
use super::misbehaviour::Misbehaviour;
use super::packed::{Packed, text};
use super::shared::Shared;
use super::table::{self, guarded};
use bytes::Bytes;
use im_bridge_plugin_api::abi::{self, Status, raw};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Requests taken and not answered.
const IN_FLIGHT_MAX: u32 = 64;
/// Longest key, and most segments of one.
const KEY_BYTES_MAX: usize = 128;
const KEY_SEGMENTS_MAX: usize = 4;
/// Longest value.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// The static table.
pub(super) static TABLE: abi::KvHost = abi::KvHost {
    size: table::size_of_table::<abi::KvHost>(),
    reserved: 0,
    submit: Some(submit),
};

/// A request for the account's durable state.
#[derive(Debug)]
pub struct KvRequest {
    /// What is asked.
    pub verb: abi::KvVerb,
    /// Put, delete: the expected revision; 0 = must not exist; [`abi::KV_ANY`].
    pub revision: u64,
    /// Put: seconds to live; none: keep.
    pub ttl_s: Option<u32>,
    /// Never shown, logged or exported.
    pub is_secret: bool,
    /// Put: what to store.
    pub value: Bytes,
    /// Answers it.
    pub reply: KvReply,
    key: Packed,
}

impl KvRequest {
    /// A request that did not cross the boundary: read from another process, or made by a test. `key` has the form that
    /// the contract asks for; `reply` is called exactly once with status, revision and value, and must not block.
    pub fn detached(
        verb: abi::KvVerb,
        key: &str,
        revision: u64,
        value: Bytes,
        reply: impl FnOnce(Status, u64, Bytes) + Send + Sync + 'static,
    ) -> Self {
        Self {
            verb,
            revision,
            ttl_s: None,
            is_secret: false,
            value,
            reply: KvReply(Some(Asker::Told(Box::new(reply)))),
            key: Packed::new(&[key]),
        }
    }

    /// The key; for a list its prefix, which may be empty.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.get(0)
    }
}

/// The duty to answer one request.
pub struct KvReply(Option<Asker>);

enum Asker {
    Instance { shared: Arc<Shared>, request: u64 },
    Told(Box<dyn FnOnce(Status, u64, Bytes) + Send + Sync>),
}

impl KvReply {
    /// Answers; `value` is the value of a get, the JSON of a list, else empty.
    pub fn answer(mut self, status: Status, revision: u64, value: Bytes) {
        self.send(status, revision, value);
    }

    fn send(&mut self, status: Status, revision: u64, value: Bytes) {
        match self.0.take() {
            Some(Asker::Instance { shared, request }) => shared.answer_kv(KvAnswer {
                request,
                status,
                revision,
                value,
            }),
            Some(Asker::Told(tell)) => tell(status, revision, value),
            None => {}
        }
    }
}

impl Drop for KvReply {
    fn drop(&mut self) {
        self.send(Status::E_UNAVAILABLE, 0, Bytes::new());
    }
}

impl std::fmt::Debug for KvReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KvReply")
    }
}

/// On its way to the adapter.
pub(super) struct KvAnswer {
    request: u64,
    status: Status,
    revision: u64,
    value: Bytes,
}

impl KvAnswer {
    /// The value is the adapter's from here on.
    pub(super) fn to_abi(&self) -> abi::KvResult {
        abi::KvResult {
            size: table::size_of_table::<abi::KvResult>(),
            status: self.status,
            request: self.request,
            revision: self.revision,
            value: buffer::lend(self.value.clone()),
        }
    }
}

unsafe extern "C" fn submit(ctx: *mut c_void, requests: *const abi::KvRequest, n: u32) -> Status {
    // SAFETY: the adapter hands back its own context; the array is readable until we return.
    unsafe {
        guarded(ctx, Pass::Full, Status::E_CLOSED, |shared| {
            submit_inside(shared, requests, n)
        })
    }
}

/// # Safety
/// As `raw::elements`, and texts as `imb_str`.
unsafe fn submit_inside(shared: &Shared, requests: *const abi::KvRequest, n: u32) -> Status {
    if shared.plugin.calls.kv_done.is_none() {
        return Status::E_UNSUPPORTED; // nobody could be answered
    }
    // SAFETY: the caller's promise.
    let walk = match unsafe { raw::elements(requests, n, abi::KV_SECRET) } {
        Ok(walk) => walk,
        Err(status) => {
            shared.count(Misbehaviour::BadStruct);
            return status;
        }
    };
    let mut taken = 0;
    for request in walk {
        let refused = match request {
            // SAFETY: the caller's promise.
            Ok(request) => match unsafe { take(shared, &request) } {
                Ok(()) => {
                    taken += 1;
                    continue;
                }
                Err(status) => status,
            },
            Err(status) => status,
        };
        if taken == 0 {
            return refused;
        }
        break;
    }
    Status(taken)
}

/// # Safety
/// Texts as `imb_str`.
unsafe fn take(shared: &Shared, from: &abi::KvRequest) -> Result<(), Status> {
    let me = shared.arc().ok_or(Status::E_CLOSED)?;
    if shared.kv_in_flight.fetch_add(1, Ordering::AcqRel) >= IN_FLIGHT_MAX {
        shared.kv_in_flight.fetch_sub(1, Ordering::AcqRel);
        return Err(Status::E_RATE_LIMITED);
    }
    let reply = KvReply(Some(Asker::Instance {
        shared: me,
        request: from.request,
    }));
    let mut is_bad = false;
    // SAFETY: the caller's promise.
    let key = unsafe { text(&from.key, KEY_BYTES_MAX, &mut is_bad) };
    let is_list = from.verb == abi::KvVerb::LIST;
    let is_key = !is_bad && (is_key(key) || (is_list && is_prefix(key)));
    let has_value = from.value.len <= VALUE_BYTES_MAX
        && (from.value.len == 0 || !from.value.ptr.is_null())
        && abi::KvVerb::ALL.iter().any(|(_, verb)| *verb == from.verb);
    if !is_key || !has_value {
        reply.answer(Status::E_INVALID, 0, Bytes::new());
        return Ok(());
    }
    // SAFETY: the caller's promise; address and length were checked.
    let value = unsafe { from.value.bytes() };
    shared.mailbox.put(HostEvent::Kv(KvRequest {
        verb: from.verb,
        revision: from.revision,
        ttl_s: (from.ttl_s != 0).then_some(from.ttl_s),
        is_secret: from.flags & abi::KV_SECRET != 0,
        value: Bytes::copy_from_slice(value),
        reply,
        key: Packed::new(&[key]),
    }));
    Ok(())
}

fn is_segment(segment: &str) -> bool {
    segment
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_=.-".contains(&b))
}

fn is_key(key: &str) -> bool {
    key.split('/').count() <= KEY_SEGMENTS_MAX
        && key
            .split('/')
            .all(|segment| !segment.is_empty() && is_segment(segment))
}

/// As a key, but its last segment may be unfinished.
fn is_prefix(key: &str) -> bool {
    key.split('/').count() <= KEY_SEGMENTS_MAX && key.split('/').all(is_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_to_four_plain_segments() {
        for key in ["cursor", "dm/42", "a/b/c/d", "session/x_y=z.1-2"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "/", "a//b", "a/b/c/d/e", "a b", "ключ", "a/", "a*"] {
            assert!(!is_key(key), "{key}");
        }
        assert!(is_prefix("") && is_prefix("dm/") && !is_prefix("dm/*"));
    }
}
