//! `imb.kv/1`: answers what an adapter asks of its account's durable state.
//!
//! OK to a put means stored in the bucket. Requests are answered in the order in which they came, writes one at a time;
//! while the bus is away they wait. A former owner's writes are refused by the server, and once the lease is lost
//! everything is answered CLOSED. Secrets are stored sealed, or in memory only when there is no key.
//!
//! It costs a task only while something is being written.
//!
//! Not here: the fence and the keys in the bucket (`bus::account_keys`), how values are sealed (`seal`).

use super::seal::{Opened, Seals, learn};
use crate::bus::account_keys::{AccountKeys, BYTES_MAX, KEYS_MAX, KeysError};
use crate::bus::clock::unix_ms;
use crate::bus::connect::Connection;
use crate::bus::objects::Names;
use crate::bus::patience::Patience;
use crate::bus::{Account, Bus, Hold};
use crate::loader::host::KvRequest;
use bytes::Bytes;
use im_bridge_plugin_api::abi::{KV_ANY, KvVerb, Status};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Requests that wait for their answer: as many as an adapter may have open.
const WAITING_MAX: usize = 64;
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_LAST: Duration = Duration::from_secs(2);

/// One account's, for as long as its lease is held. Clones are the same; dropping the last one ends it.
#[derive(Clone)]
pub struct Kv(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    hold: Hold,
    state: Mutex<State>,
}

struct State {
    /// None while a task writes.
    store: Option<Box<Store>>,
    waiting: VecDeque<KvRequest>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What waits is answered by being dropped.
        let mut state = self.shared.lock();
        if let Some(task) = state.task.take() {
            task.abort();
        }
        state.waiting.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kv {
    /// Raises the fence and loads: no former owner can write after this. Tries while the lease is held.
    ///
    /// # Errors
    /// [`KeysError::Fenced`]: the lease is lost, whatever its owner believes.
    pub async fn open(
        bus: &Bus,
        account: &Account,
        epoch: u64,
        hold: &Hold,
        seals: Arc<Seals>,
    ) -> Result<Self, KeysError> {
        let origin = Origin {
            connection: bus.control.clone(),
            bucket: Names::new(bus.subjects.root()).kv(),
            account: account.clone(),
            epoch,
            hold: hold.clone(),
        };
        let store = Store {
            keys: origin.take_over().await?,
            origin,
            seals,
            volatile: BTreeMap::new(),
            last_volatile: epoch,
        };
        let shared = Shared {
            hold: hold.clone(),
            state: Mutex::new(State {
                store: Some(Box::new(store)),
                waiting: VecDeque::new(),
                task: None,
            }),
        };
        Ok(Self(Arc::new(Handle {
            shared: Arc::new(shared),
        })))
    }

    /// Answers now or later. Never blocks.
    pub fn ask(&self, request: KvRequest) {
        let shared = &self.0.shared;
        if !shared.hold.is_held() {
            return closed(request);
        }
        let mut state = shared.lock();
        if state.waiting.len() >= WAITING_MAX {
            drop(state);
            return answer(request, Err(Status::E_RATE_LIMITED.into()));
        }
        match state.store.take() {
            None => state.waiting.push_back(request),
            Some(mut store) if is_read(&request) => {
                let read = store.read(&request);
                state.store = Some(store);
                drop(state);
                answer(request, read);
            }
            Some(store) => {
                state.waiting.push_back(request);
                state.task = Some(tokio::spawn(work(Arc::clone(shared), store)));
            }
        }
    }
}

/// Until nothing waits.
async fn work(shared: Arc<Shared>, mut store: Box<Store>) {
    loop {
        let request = {
            let mut state = shared.lock();
            let Some(request) = state.waiting.pop_front() else {
                state.store = Some(store);
                state.waiting = VecDeque::new();
                // A handle keeps the memory of a task that has ended.
                state.task = None;
                return;
            };
            request
        };
        let answered = tokio::select! {
            biased;
            () = shared.hold.lost() => Err(Status::E_CLOSED.into()),
            answered = store.answer(&request) => answered,
        };
        answer(request, answered);
    }
}

fn is_read(request: &KvRequest) -> bool {
    matches!(request.verb, KvVerb::GET | KvVerb::LIST)
}

fn closed(request: KvRequest) {
    answer(request, Err(Status::E_CLOSED.into()));
}

/// Revision and value.
type Answer = Result<(u64, Bytes), Refused>;

/// A status, and with a conflict the revision that is there.
#[derive(Clone, Copy)]
struct Refused(Status, u64);

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status, 0)
    }
}

fn answer(request: KvRequest, answer: Answer) {
    match answer {
        Ok((revision, value)) => request.reply.answer(Status::OK, revision, value),
        Err(Refused(status, revision)) => request.reply.answer(status, revision, Bytes::new()),
    }
}

/// How its keys were got, and can be again.
struct Origin {
    connection: Connection,
    bucket: String,
    account: Account,
    epoch: u64,
    hold: Hold,
}

impl Origin {
    async fn take_over(&self) -> Result<AccountKeys, KeysError> {
        let mut again = Again::default();
        loop {
            let (connection, hold) = (&self.connection, self.hold.clone());
            match AccountKeys::take_over(connection, &self.bucket, &self.account, self.epoch, hold)
                .await
            {
                Err(KeysError::Full | KeysError::Unavailable(_) | KeysError::Refused(_))
                    if self.hold.is_held() =>
                {
                    again.later().await;
                }
                done => return done,
            }
        }
    }
}

/// Pauses that grow.
struct Again {
    pause: Duration,
    patience: Patience,
}

impl Default for Again {
    fn default() -> Self {
        Self {
            pause: AGAIN_FIRST,
            patience: Patience::default(),
        }
    }
}

impl Again {
    async fn later(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(AGAIN_LAST);
    }
}

struct Store {
    origin: Origin,
    keys: AccountKeys,
    seals: Arc<Seals>,
    /// Secrets without a key to seal them: gone with this owner. In the form in which others are stored.
    volatile: BTreeMap<Box<str>, (Bytes, u64)>,
    last_volatile: u64,
}

impl Store {
    async fn answer(&mut self, request: &KvRequest) -> Answer {
        if is_read(request) {
            return self.read(request);
        }
        let key = request.key();
        let revision = self.current(key).map_or(0, |(_, revision)| revision);
        if request.revision != KV_ANY && request.revision != revision {
            return Err(Refused(Status::E_CONFLICT, revision));
        }
        if request.verb == KvVerb::DELETE {
            self.volatile.remove(key);
            self.delete(key).await?;
            return Ok((0, Bytes::new()));
        }
        let ttl = request
            .ttl_s
            .map(|seconds| Duration::from_secs(seconds.into()));
        self.forget_ended();
        let ends_ms = ttl.map(|ttl| {
            let ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
            unix_ms().saturating_add(ms)
        });
        if request.is_secret {
            learn(&request.value);
        }
        if request.is_secret && !self.seals.can_seal() {
            return self.keep_in_memory(key, &request.value, ends_ms).await;
        }
        let stored = self
            .seals
            .wrap(&self.place(key), &request.value, request.is_secret, ends_ms)
            .ok_or(Status::E_INTERNAL)?;
        let revision = self.put(key, &stored, ttl).await?;
        self.volatile.remove(key);
        Ok((revision, Bytes::new()))
    }

    fn read(&mut self, request: &KvRequest) -> Answer {
        let key = request.key();
        if request.verb == KvVerb::LIST {
            let listed = serde_json::to_vec(&self.list(key)).expect("a map of numbers");
            return Ok((0, listed.into()));
        }
        self.current(key)
            .map(|(value, revision)| (revision, value))
            .ok_or(Status::E_NOT_FOUND.into())
    }

    /// The value that the adapter sees, with its revision. What cannot be read is not there: a login made anew replaces it.
    fn current(&mut self, key: &str) -> Option<(Bytes, u64)> {
        let (stored, revision) = match (self.volatile.get(key), self.keys.get(key)) {
            (Some((stored, revision)), _) => (stored.clone(), *revision),
            (None, Some(value)) => (value.bytes.clone(), value.revision),
            (None, None) => return None,
        };
        match self.seals.unwrap(&self.place(key), &stored, unix_ms()) {
            Opened::Value(value) => Some((value, revision)),
            Opened::Unreadable => None,
            Opened::Ended => {
                // The server has removed it, or is about to.
                if self.volatile.remove(key).is_none() {
                    self.keys.forget(key);
                }
                None
            }
        }
    }

    fn list(&mut self, prefix: &str) -> BTreeMap<String, u64> {
        let stored = self.keys.list(prefix).map(|(key, _)| key.to_owned());
        let volatile = self.volatile.keys().filter(|key| key.starts_with(prefix));
        let keys: Vec<String> = stored.chain(volatile.map(|key| key.to_string())).collect();
        keys.into_iter()
            .filter_map(|key| self.current(&key).map(|(_, revision)| (key, revision)))
            .collect()
    }

    /// What has ended takes no room from what is written next, whether anybody asked for it or not.
    fn forget_ended(&mut self) {
        let now_ms = unix_ms();
        self.keys
            .forget_those(|value| Seals::has_ended(&value.bytes, now_ms));
        self.volatile
            .retain(|_, (stored, _)| !Seals::has_ended(stored, now_ms));
    }

    /// What a sealed value is bound to.
    fn place(&self, key: &str) -> String {
        format!("{}/{}/{key}", self.origin.bucket, self.origin.account)
    }

    async fn keep_in_memory(&mut self, key: &str, value: &[u8], ends_ms: Option<i64>) -> Answer {
        let others = self.volatile.iter().filter(|(other, _)| &***other != key);
        let (keys, bytes) = others.fold((0, 0), |(keys, bytes), (_, (stored, _))| {
            (keys + 1, bytes + stored.len())
        });
        if keys >= KEYS_MAX || bytes + value.len() > BYTES_MAX {
            return Err(Status::E_RATE_LIMITED.into());
        }
        // What was stored under this key must not come back after a takeover.
        self.delete(key).await?;
        let in_memory = self
            .seals
            .wrap(&self.place(key), value, false, ends_ms)
            .ok_or(Status::E_INTERNAL)?;
        self.last_volatile += 1;
        self.volatile
            .insert(key.into(), (in_memory, self.last_volatile));
        Ok((self.last_volatile, Bytes::new()))
    }

    async fn put(
        &mut self,
        key: &str,
        stored: &Bytes,
        ttl: Option<Duration>,
    ) -> Result<u64, Status> {
        let mut again = Again::default();
        loop {
            // Compared above, in the owner's copy; a write whose answer was lost may already have changed the revision.
            match self.keys.put(key, stored.clone(), None, ttl).await {
                Ok(revision) => return Ok(revision),
                Err(error) => self.after(error, &mut again).await?,
            }
        }
    }

    async fn delete(&mut self, key: &str) -> Result<(), Status> {
        let mut again = Again::default();
        loop {
            match self.keys.delete(key, None).await {
                Ok(()) => return Ok(()),
                Err(error) => self.after(error, &mut again).await?,
            }
        }
    }

    /// Whether to try again, after what is to be done first.
    async fn after(&mut self, error: KeysError, again: &mut Again) -> Result<(), Status> {
        match error {
            KeysError::TooMuch => return Err(Status::E_RATE_LIMITED),
            KeysError::Revision { .. } => return Err(Status::E_CONFLICT),
            // Somebody raised the fence: a former owner that woke, and ours is newer; or we are the former one.
            KeysError::Fenced => {
                self.keys = self
                    .origin
                    .take_over()
                    .await
                    .map_err(|_| Status::E_CLOSED)?;
            }
            KeysError::Refused(why) => {
                if !again.patience.refused() {
                    let account = &self.origin.account;
                    tracing::error!(%account, why, "the adapter is told that its state is not kept");
                    return Err(Status::E_INTERNAL);
                }
                again.later().await;
            }
            KeysError::Full | KeysError::Unavailable(_) => again.later().await,
        }
        Ok(())
    }
}
