//! What the server knows: users with their tokens and connections, channels with their members and messages.
//!
//! Bounded by named limits. Everything lives behind one lock, which is never held across an await; nothing on the way of a
//! message looks at more than its channel's members.

use super::channel::{Channel, Key};
use super::faults::Faults;
use super::ids::MessageIds;
use super::message::Message;
use super::record::{Entry, Record};
use super::session::{How, Session};
use super::settings::Settings;
use super::webhooks::Webhooks;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Users, and channels, that are known at a time.
pub const NAMES_MAX: usize = 200_000;
/// Command messages kept for each user.
pub const COMMANDS_MAX: usize = 1_000;
/// How long a server is away that was sent what it cannot bear.
pub const AWAY_AFTER_A_CRASH: Duration = Duration::from_secs(1);
/// Refresh tokens that are good at a time.
const REFRESH_TOKENS_MAX: usize = 10_000;
/// Conversations kept for each user.
const CONVERSATIONS_MAX: usize = 10_000;

/// Where one user stands in one channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation {
    pub read_to: u64,
    pub deleted_to: u64,
}

#[derive(Default)]
pub struct User {
    /// By device flag: the token and its level.
    pub tokens: BTreeMap<u8, (String, u8)>,
    pub sessions: Vec<Arc<Session>>,
    pub conversations: BTreeMap<Key, Conversation>,
    /// Commands sent over HTTP, with their own count.
    pub commands: VecDeque<Arc<Message>>,
}

impl User {
    pub fn has_conversation(&mut self, key: &Key) {
        if !self.conversations.contains_key(key) && self.conversations.len() < CONVERSATIONS_MAX {
            self.conversations
                .insert(key.clone(), Conversation::default());
        }
    }
}

pub struct World {
    pub settings: Arc<Settings>,
    pub users: HashMap<Arc<str>, User>,
    pub channels: HashMap<Key, Channel>,
    /// Every open socket.
    pub connections: BTreeMap<u64, Arc<Session>>,
    pub last_conn: u64,
    pub ids: MessageIds,
    pub system_uids: BTreeSet<String>,
    pub chance: fastrand::Rng,
    /// OpenChat: access tokens of earlier generations are no good any more.
    pub generation: u64,
    pub refresh_tokens: BTreeMap<String, String>,
    /// Requests to each route of OpenChat in the running minute.
    pub rates: BTreeMap<String, (i64, u32)>,
    pub down_until: Option<Instant>,
}

/// What was ever said, for load that no record holds.
#[derive(Default)]
pub struct Counters {
    pub accepted: AtomicU64,
    pub sends: AtomicU64,
    pub recvs: AtomicU64,
    pub resends: AtomicU64,
    pub recvacks: AtomicU64,
    pub useless_recvacks: AtomicU64,
    pub in_bytes: AtomicU64,
    pub out_bytes: AtomicU64,
}

impl Counters {
    pub fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
pub struct Addresses {
    pub openchat: SocketAddr,
    pub http: SocketAddr,
    pub ws: SocketAddr,
    pub tcp: SocketAddr,
}

/// The whole simulator.
pub struct Sim {
    pub addresses: Addresses,
    pub started: Instant,
    pub faults: Faults,
    pub counters: Counters,
    pub webhooks: Webhooks,
    pub floods: super::flood::Floods,
    world: Mutex<World>,
    record: Mutex<Record>,
}

impl Sim {
    pub fn new(addresses: Addresses, settings: Settings) -> Self {
        let record = Record::new(settings.record_max);
        let world = World {
            settings: Arc::new(settings),
            users: HashMap::new(),
            channels: HashMap::new(),
            connections: BTreeMap::new(),
            last_conn: 0,
            ids: MessageIds::default(),
            system_uids: BTreeSet::new(),
            chance: fastrand::Rng::new(),
            generation: 0,
            refresh_tokens: BTreeMap::new(),
            rates: BTreeMap::new(),
            down_until: None,
        };
        Self {
            addresses,
            started: Instant::now(),
            faults: Faults::default(),
            counters: Counters::default(),
            webhooks: Webhooks::default(),
            floods: super::flood::Floods::default(),
            world: Mutex::new(world),
            record: Mutex::new(record),
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.world().settings.clone()
    }

    pub fn change(&self, changes: &Value) -> Result<(), String> {
        let mut world = self.world();
        let changed = world.settings.changed(changes)?;
        self.records().max = changed.record_max;
        world.settings = Arc::new(changed);
        Ok(())
    }

    pub fn records(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, entry: Entry) {
        self.records().add(entry);
    }

    /// The server gives a session up: from now on it is mute, or its socket closes.
    pub fn end_session(&self, session: &Arc<Session>, cause: &'static str) {
        let mut world = self.world();
        let is_mute = world.settings.mute;
        if let Some(uid) = session.uid()
            && let Some(user) = world.users.get_mut(uid)
        {
            user.sessions.retain(|other| other.conn != session.conn);
        }
        drop(world);
        let Some(unacked) = session.end() else {
            return;
        };
        if let Some(uid) = session.uid() {
            self.note(Entry::Ended {
                conn: session.conn,
                uid: uid.clone(),
                cause,
                is_mute,
                unacked,
            });
        }
        if !is_mute {
            session.close(How::End, cause);
        }
    }

    /// What a real server does when it is sent what it cannot bear: every connection is gone. What it stored it still has.
    pub fn crash(&self, why: &'static str, down: Duration) {
        let mut world = self.world();
        world.down_until = Some(Instant::now() + down);
        let connections: Vec<_> = world.connections.values().cloned().collect();
        drop(world);
        self.note(Entry::Crashed { why });
        for session in connections {
            session.close(How::Reset, why);
        }
    }

    pub fn is_down(&self) -> bool {
        let until = self.world().down_until;
        until.is_some_and(|until| Instant::now() < until)
    }
}

impl World {
    /// This user, made if new; `None` when there are too many.
    pub fn user(&mut self, uid: &str) -> Option<&mut User> {
        if !self.users.contains_key(uid) {
            if self.users.len() >= NAMES_MAX {
                return None;
            }
            self.users.insert(uid.into(), User::default());
        }
        self.users.get_mut(uid)
    }

    /// This channel, made if new; `None` when there are too many.
    pub fn channel(&mut self, key: &Key) -> Option<&mut Channel> {
        if !self.channels.contains_key(key) {
            if self.channels.len() >= NAMES_MAX {
                return None;
            }
            self.channels.insert(key.clone(), Channel::default());
        }
        self.channels.get_mut(key)
    }

    /// One more of OpenChat's refresh tokens, for one use.
    pub fn refresh_token(&mut self, uid: &str) -> String {
        while self.refresh_tokens.len() >= REFRESH_TOKENS_MAX {
            self.refresh_tokens.pop_first();
        }
        let token = format!("refresh-{:016x}", self.chance.u64(..));
        self.refresh_tokens.insert(token.clone(), uid.to_owned());
        token
    }

    pub fn sessions_of(&self, uid: &str) -> Vec<Arc<Session>> {
        let user = self.users.get(uid);
        user.map(|user| user.sessions.clone()).unwrap_or_default()
    }
}
