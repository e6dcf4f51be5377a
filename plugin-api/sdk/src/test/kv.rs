//! `imb.kv/1` in memory: revisions, compare and swap, the limits of the real one, and failures on demand.
//!
//! Not here: anything durable. A [`KvStore`] can be handed from one mock to the next, as if the bridge had restarted.

use crate::test::host::{bad_struct, text};
use crate::test::lend::{Lent, size_u32};
use crate::test::record::KvRecord;
use crate::test::rules::bad;
use crate::test::shared::{Book, Phase, Shared};
use crate::test::violation::{Call, Function, Violation};
use im_bridge_plugin_api::abi::{
    Buf, KV_ANY, KV_SECRET, KvHost, KvRequest, KvResult, KvVerb, Status, raw,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests of one account that may wait for their results.
const IN_FLIGHT_MAX: usize = 64;
const KEYS_MAX: usize = 4096;
const ACCOUNT_BYTES_MAX: usize = 4 * 1024 * 1024;
const VALUE_BYTES_MAX: usize = 64 * 1024;
const KEY_BYTES_MAX: usize = 128;
const SEGMENTS_MAX: usize = 4;

pub(super) static KV: KvHost = KvHost {
    size: 16,
    reserved: 0,
    submit: Some(submit),
};

/// The durable state of one account; clones are the same state.
#[derive(Clone, Default)]
pub struct KvStore {
    inner: Arc<Mutex<Store>>,
}

#[derive(Default)]
struct Store {
    entries: BTreeMap<String, Entry>,
    last_revision: u64,
}

#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    revision: u64,
    expires_ms: Option<i64>,
}

impl KvStore {
    /// The value at `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.lock()
            .entries
            .get(key)
            .map(|entry| entry.value.clone())
    }

    /// Writes a value as somebody else would; answers the new revision.
    pub fn put(&self, key: &str, value: &[u8]) -> u64 {
        self.lock().put(key, value, None)
    }

    /// All keys.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.lock().entries.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Status, current revision, value.
type Answer = (Status, u64, Vec<u8>);

impl Store {
    fn put(&mut self, key: &str, value: &[u8], expires_ms: Option<i64>) -> u64 {
        self.last_revision += 1;
        let entry = Entry {
            value: value.to_vec(),
            revision: self.last_revision,
            expires_ms,
        };
        self.entries.insert(key.to_owned(), entry);
        self.last_revision
    }

    fn answer(&mut self, request: &Request, now_ms: i64) -> Answer {
        self.entries
            .retain(|_, entry| entry.expires_ms.is_none_or(|at| at > now_ms));
        let current = self.entries.get(&request.key);
        let revision = current.map_or(0, |entry| entry.revision);
        let is_expected = request.expected == KV_ANY || request.expected == revision;
        match request.verb {
            KvVerb::GET => match current {
                Some(entry) => (Status::OK, revision, entry.value.clone()),
                None => (Status::E_NOT_FOUND, 0, Vec::new()),
            },
            KvVerb::LIST => {
                let listed: BTreeMap<&str, u64> = self
                    .entries
                    .iter()
                    .filter(|(key, _)| key.starts_with(&request.key))
                    .map(|(key, entry)| (key.as_str(), entry.revision))
                    .collect();
                let body = serde_json::to_vec(&listed).expect("a map of numbers");
                (Status::OK, 0, body)
            }
            _ if !is_expected => (Status::E_CONFLICT, revision, Vec::new()),
            KvVerb::PUT => {
                let held: usize = self
                    .entries
                    .iter()
                    .map(|(k, e)| k.len() + e.value.len())
                    .sum();
                let old = current.map_or(0, |entry| request.key.len() + entry.value.len());
                let bytes = held - old + request.key.len() + request.value.len();
                let is_new = current.is_none();
                if bytes > ACCOUNT_BYTES_MAX || is_new && self.entries.len() >= KEYS_MAX {
                    return (Status::E_RATE_LIMITED, revision, Vec::new());
                }
                let expires_ms =
                    (request.ttl_s > 0).then(|| now_ms + i64::from(request.ttl_s) * 1000);
                let revision = self.put(&request.key, &request.value, expires_ms);
                (Status::OK, revision, Vec::new())
            }
            KvVerb::DELETE => {
                self.entries.remove(&request.key);
                (Status::OK, 0, Vec::new())
            }
            _ => (Status::E_UNSUPPORTED, 0, Vec::new()),
        }
    }
}

#[derive(Clone)]
struct Request {
    id: u64,
    verb: KvVerb,
    expected: u64,
    ttl_s: u32,
    is_secret: bool,
    key: String,
    value: Vec<u8>,
}

/// The host's side of one instance.
#[derive(Default)]
pub(super) struct KvBook {
    pub store: KvStore,
    in_flight: BTreeSet<u64>,
    /// Statuses for the next requests, instead of doing them.
    pub failures: VecDeque<Status>,
    /// Results wait until this is lifted.
    pub is_held: bool,
    held: Vec<Request>,
}

impl KvBook {
    pub fn with(store: KvStore) -> Self {
        Self {
            store,
            ..Self::default()
        }
    }

    /// Requests without a result.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

unsafe extern "C" fn submit(ctx: *mut c_void, requests: *const KvRequest, n: u32) -> Status {
    let function = Function::KvSubmit;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return Status::E_CLOSED;
    };
    // SAFETY: the contract makes `requests` an array of `n` elements.
    let elements = match unsafe { raw::elements(requests, n, KV_SECRET) } {
        Ok(elements) => elements,
        Err(status) => return bad_struct(shared, function, status),
    };
    let mut book = shared.lock();
    let book = &mut *book;
    let (mut taken, mut refusal) = (Vec::new(), Status::OK);
    for element in elements {
        let element = match element {
            Ok(element) => element,
            Err(status) => {
                book.violate(Violation::BadStruct { function, status });
                refusal = status;
                break;
            }
        };
        // Nobody counts in flight what the adapter itself bounds: the limit is the host's, so this is no violation.
        if book.kv.in_flight.len() >= IN_FLIGHT_MAX {
            refusal = Status::E_RATE_LIMITED;
            break;
        }
        let request = element.request;
        if !book.kv.in_flight.insert(request) {
            book.violate(Violation::KvRequestReused { request });
            refusal = Status::E_INVALID;
            break;
        }
        // SAFETY: texts of an element of the adapter's array.
        let (key, value) = unsafe {
            (
                text(book, function, "key", element.key),
                element.value.bytes().to_vec(),
            )
        };
        taken.push(Request {
            id: request,
            verb: element.verb,
            expected: element.revision,
            ttl_s: element.ttl_s,
            is_secret: element.flags & KV_SECRET != 0,
            key,
            value,
        });
    }
    let count = taken.len();
    if book.kv.is_held {
        book.kv.held.append(&mut taken);
    } else if !taken.is_empty() {
        book.later(move |shared| answer(shared, taken));
    }
    shared.notify();
    if count == 0 && !refusal.is_ok() {
        return refusal;
    }
    Status(i32::try_from(count).expect("at most the batch limit"))
}

/// Lets held requests go on and later ones pass.
pub(super) fn release(shared: &Shared) {
    let mut book = shared.lock();
    book.kv.is_held = false;
    let held = std::mem::take(&mut book.kv.held);
    if !held.is_empty() {
        book.later(move |shared| answer(shared, held));
    }
    drop(book);
    shared.notify();
}

/// Does the requests and tells the results, on a thread of the host.
fn answer(shared: &Arc<Shared>, requests: Vec<Request>) {
    let results: Vec<KvResult> = {
        let mut book = shared.lock();
        if !matches!(book.phase, Phase::Started | Phase::Draining) {
            return;
        }
        let results = requests
            .iter()
            .map(|request| decide(shared, &mut book, request));
        results.collect()
    };
    let mut lent = Lent::default();
    let first = lent.grown(&results, shared.extra);
    let count = size_u32(results.len());
    shared.call(Call::KvDone, |adapter, instance| {
        let Some(done) = adapter.kv.as_ref().and_then(|kv| kv.done) else {
            return Status::E_UNSUPPORTED;
        };
        // SAFETY: a live instance, and an array of `count` elements that outlives the call.
        unsafe { done(instance, first, count) }
    });
}

fn decide(shared: &Shared, book: &mut Book, request: &Request) -> KvResult {
    let now_ms = book.clock.now_ms();
    let problem = key_problem(request);
    let (status, revision, value) = if let Some(status) = book.kv.failures.pop_front() {
        (status, 0, Vec::new())
    } else if let Some((field, problem)) = problem {
        book.violate(bad(Function::KvSubmit, field, problem));
        (Status::E_INVALID, 0, Vec::new())
    } else {
        book.kv.store.lock().answer(request, now_ms)
    };
    book.kv.in_flight.remove(&request.id);
    let record = KvRecord {
        order: book.order(),
        at: shared.at(),
        request: request.id,
        verb: request.verb,
        key: request.key.clone(),
        value: request.value.clone(),
        expected: request.expected,
        is_secret: request.is_secret,
        ttl_s: request.ttl_s,
        status,
        revision,
    };
    book.seen.kv.push(record);
    let value = if value.is_empty() {
        Buf::EMPTY
    } else {
        let what = format!("the value for imb.kv/1 request {}", request.id);
        shared.given.give(what, &value)
    };
    KvResult {
        size: 0,
        status,
        request: request.id,
        revision,
        value,
    }
}

fn key_problem(request: &Request) -> Option<(&'static str, String)> {
    let key = &request.key;
    let is_list = request.verb == KvVerb::LIST;
    let is_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'=' | b'.' | b'-');
    let is_segment = |part: &str| part.bytes().all(is_char) && (is_list || !part.is_empty());
    if key.len() > KEY_BYTES_MAX || !key.split('/').all(is_segment) {
        let problem = format!("is {key:?}, expected segments of [A-Za-z0-9_=.-], 128 bytes");
        return Some(("key", problem));
    }
    if key.split('/').count() > SEGMENTS_MAX {
        let problem = format!("is {key:?}, expected at most {SEGMENTS_MAX} segments");
        return Some(("key", problem));
    }
    (request.value.len() > VALUE_BYTES_MAX).then(|| {
        let problem = format!(
            "has {} bytes, the limit is {VALUE_BYTES_MAX}",
            request.value.len()
        );
        ("value", problem)
    })
}
