//! The account's small durable state.
//!
//! Keys: 1 to 4 segments of `[A-Za-z0-9_=.-]` joined by `/`, at most 128 bytes; values at most 64 KiB. The first segment
//! by convention: `cursor`, `dm`, `session`, `seen`. A successful put is stored. No adapter sees another account.
//!
//! At most 64 requests are in flight; more wait here. A cursor is saved only after the events before it are settled.

use crate::engine::inbox::KvDone;
use crate::engine::local::Local;
use crate::engine::wait::Wait;
use crate::ffi::link::size_of_u32;
use im_bridge_plugin_api::abi::{self, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// Requests in flight; the host refuses more.
const IN_FLIGHT_MAX: usize = 64;

/// Typed access to the account's state; see the module.
#[derive(Clone)]
pub struct Kv {
    local: Rc<Local>,
}

/// A value with its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEntry<T> {
    /// The value.
    pub value: T,
    /// For a later conditional put or delete.
    pub revision: u64,
}

/// How a value is put. `KvPut::default()` puts unconditionally and for good.
#[derive(Clone, Copy, Debug, Default)]
pub struct KvPut {
    /// Only if the key has this revision; 0: only if it does not exist.
    pub revision: Option<u64>,
    /// Forget it after this time.
    pub ttl: Option<Duration>,
    /// A session token, a cookie: never shown, logged or exported.
    pub is_secret: bool,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// Somebody else was faster.
    #[error("the key has another revision than expected; read it again")]
    Conflict,
    /// The bus is away.
    #[error("the state cannot be reached now; try again later")]
    Unavailable,
    /// The account's 4 096 keys or 4 MiB are used up.
    #[error("the account's state is full or asked too often; keep less in it")]
    Full,
    /// The host takes nothing any more: the lease is gone or the instance stops.
    #[error("the instance is closed")]
    Closed,
    /// The key or value breaks the contract.
    #[error("key or value is refused; use keys of [A-Za-z0-9_=.-/] and at most 64 KiB")]
    Refused,
    /// The host offers no state.
    #[error("this host keeps no state")]
    Unsupported,
    /// What is stored does not fit the type asked for.
    #[error("the stored value does not fit; delete it or raise state_version")]
    Malformed(#[source] serde_json::Error),
}

impl Kv {
    pub(crate) fn new(local: Rc<Local>) -> Self {
        Self { local }
    }

    /// The value of a key, none when it does not exist.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<KvEntry<T>>, KvError> {
        let Some(entry) = self.get_bytes(key).await? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&entry.value).map_err(KvError::Malformed)?;
        Ok(Some(KvEntry {
            value,
            revision: entry.revision,
        }))
    }

    /// As [`Kv::get`], without reading the value as JSON.
    pub async fn get_bytes(&self, key: &str) -> Result<Option<KvEntry<Vec<u8>>>, KvError> {
        let answer = self.ask(request(abi::KvVerb::GET, key)).await?;
        match answer.status {
            Status::E_NOT_FOUND => Ok(None),
            status => check(status).map(|()| {
                Some(KvEntry {
                    value: answer.value.bytes().to_vec(),
                    revision: answer.revision,
                })
            }),
        }
    }

    /// Stores a value as JSON, whatever was there; its revision.
    pub async fn put(&self, key: &str, value: &impl Serialize) -> Result<u64, KvError> {
        self.put_with(key, value, KvPut::default()).await
    }

    /// Stores a value as JSON; its revision.
    pub async fn put_with(
        &self,
        key: &str,
        value: &impl Serialize,
        how: KvPut,
    ) -> Result<u64, KvError> {
        let json = serde_json::to_vec(value).map_err(KvError::Malformed)?;
        self.put_bytes(key, &json, how).await
    }

    /// Stores bytes; their revision.
    pub async fn put_bytes(&self, key: &str, value: &[u8], how: KvPut) -> Result<u64, KvError> {
        let ttl_s = how.ttl.map_or(0, |ttl| {
            u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1)
        });
        let request = abi::KvRequest {
            flags: if how.is_secret { abi::KV_SECRET } else { 0 },
            revision: how.revision.unwrap_or(abi::KV_ANY),
            ttl_s,
            value: abi::Str::from_bytes(value),
            ..request(abi::KvVerb::PUT, key)
        };
        let answer = self.ask(request).await?;
        check(answer.status).map(|()| answer.revision)
    }

    /// Deletes a key; one that does not exist is fine.
    pub async fn delete(&self, key: &str) -> Result<(), KvError> {
        let answer = self.ask(request(abi::KvVerb::DELETE, key)).await?;
        match answer.status {
            Status::E_NOT_FOUND => Ok(()),
            status => check(status),
        }
    }

    /// Deletes a key that still has this revision.
    pub async fn delete_revision(&self, key: &str, revision: u64) -> Result<(), KvError> {
        let request = abi::KvRequest {
            revision,
            ..request(abi::KvVerb::DELETE, key)
        };
        check(self.ask(request).await?.status)
    }

    /// The keys below a prefix with their revisions.
    pub async fn list(&self, prefix: &str) -> Result<BTreeMap<String, u64>, KvError> {
        let answer = self.ask(request(abi::KvVerb::LIST, prefix)).await?;
        check(answer.status)?;
        serde_json::from_slice(answer.value.bytes()).map_err(KvError::Malformed)
    }

    /// Sends a request and waits for its result. Cancel safe in that a result nobody waits for is dropped; a put may
    /// have happened then.
    async fn ask(&self, request: abi::KvRequest) -> Result<KvDone, KvError> {
        let local = &self.local;
        if !local.core.link.has_kv() {
            return Err(KvError::Unsupported);
        }
        let table = &local.kv;
        let pending = table.freed.until(|| table.open(local)).await;
        let request = abi::KvRequest {
            request: pending.id,
            ..request
        };
        match local.core.link.kv_submit(&request) {
            Status(1..) => {}
            Status(0) | Status::E_RATE_LIMITED => return Err(KvError::Full),
            status => return Err(check(status).err().unwrap_or(KvError::Unavailable)),
        }
        let done = table.freed.until(|| table.take(pending.id));
        Ok(done.await)
    }
}

fn request(verb: abi::KvVerb, key: &str) -> abi::KvRequest {
    abi::KvRequest {
        size: size_of_u32::<abi::KvRequest>(),
        flags: 0,
        request: 0,
        revision: abi::KV_ANY,
        verb,
        ttl_s: 0,
        key: abi::Str::new(key),
        value: abi::Str::EMPTY,
    }
}

fn check(status: Status) -> Result<(), KvError> {
    match status {
        Status(0..) => Ok(()),
        Status::E_CONFLICT => Err(KvError::Conflict),
        Status::E_RATE_LIMITED => Err(KvError::Full),
        Status::E_CLOSED => Err(KvError::Closed),
        Status::E_INVALID | Status::E_FORBIDDEN => Err(KvError::Refused),
        Status::E_UNSUPPORTED => Err(KvError::Unsupported),
        _ => Err(KvError::Unavailable),
    }
}

/// Requests in flight: none until the result came.
#[derive(Default)]
pub(crate) struct KvTable {
    next: Cell<u64>,
    pending: RefCell<HashMap<u64, Option<KvDone>>>,
    /// A result came or a place became free.
    freed: Wait,
}

/// Frees its place when dropped, also when the caller gave up.
struct Pending {
    local: Rc<Local>,
    id: u64,
}

impl KvTable {
    fn open(&self, local: &Rc<Local>) -> Option<Pending> {
        let mut pending = self.pending.borrow_mut();
        if pending.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let id = self.next.get() + 1;
        self.next.set(id);
        pending.insert(id, None);
        Some(Pending {
            local: Rc::clone(local),
            id,
        })
    }

    fn take(&self, id: u64) -> Option<KvDone> {
        self.pending.borrow_mut().get_mut(&id)?.take()
    }

    pub(crate) fn done(&self, done: KvDone) {
        if let Some(place) = self.pending.borrow_mut().get_mut(&done.request) {
            *place = Some(done);
        }
        self.freed.wake_all();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.local.kv.pending.borrow_mut().remove(&self.id);
        self.local.kv.freed.wake_all();
    }
}
