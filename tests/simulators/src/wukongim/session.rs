//! One connection as the server sees it: what it still has to be told, what it has not acknowledged, when it is dropped.
//!
//! The world and the connection's own task share it. Lock order: the world, then a session, then the record.
//!
//! Not here: the socket (`connection.rs`).

use super::codec::packets::Packet;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

use super::message::{Message, Seen};

/// Waiting for one connection. Whoever reads slower loses the connection, as nothing may be lost inside it.
pub const OUT_MAX: usize = 200_000;
/// Told later; those above it are told at once. Each RECV looks at all of them.
const HELD_MAX: usize = 1_000;
/// RECVs that wait for their acknowledgement; those above it are not sent again.
const UNACKED_MAX: usize = 500_000;
/// A RECV that waits to be overtaken does not wait longer than this.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Identity {
    pub uid: Arc<str>,
    pub device_flag: u8,
    pub device_id: String,
    /// 1 is a master.
    pub level: u8,
}

#[derive(Clone, Debug)]
pub enum Out {
    Recv {
        message: Arc<Message>,
        seen: Seen,
        attempt: u32,
        is_key_bad: bool,
    },
    Packet(Packet),
    /// A JSON object of the JSON-RPC form.
    Json(String),
    /// Bytes as they are.
    Raw(Bytes),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// After what is waiting is written.
    End,
    /// At once.
    Drop,
    Reset,
    /// With a WebSocket close frame.
    Code(u16),
}

/// Told later.
struct Held {
    due: Instant,
    places: Option<usize>,
    out: Out,
}

struct Unacked {
    message: Arc<Message>,
    seen: Seen,
    attempts: u32,
}

#[derive(Default)]
struct State {
    out: VecDeque<Out>,
    held: Vec<Held>,
    unacked: HashMap<i64, Unacked>,
    /// When each is due again, the earliest first; those acknowledged meanwhile are passed over.
    due: VecDeque<(Instant, i64)>,
    drop_at: Option<(Instant, &'static str)>,
    is_over: bool,
    is_halted: bool,
    close: Option<(How, String)>,
}

pub struct Session {
    pub conn: u64,
    pub transport: &'static str,
    pub opened: Instant,
    pub identity: OnceLock<Identity>,
    pub wake: Notify,
    state: Mutex<State>,
}

/// What a connection does next.
pub struct Next {
    pub out: Vec<Out>,
    pub is_halted: bool,
    pub is_over: bool,
    pub close: Option<(How, String)>,
    pub drop_at: Option<(Instant, &'static str)>,
    /// When to look again.
    pub at: Option<Instant>,
}

impl Session {
    pub fn new(conn: u64, transport: &'static str) -> Self {
        Self {
            conn,
            transport,
            opened: Instant::now(),
            identity: OnceLock::new(),
            wake: Notify::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn uid(&self) -> Option<&Arc<str>> {
        self.identity.get().map(|identity| &identity.uid)
    }

    pub fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// How much waits to be written, and how many RECVs for their acknowledgement.
    pub fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.out.len(), state.unacked.len())
    }

    pub fn tell(&self, out: Out) {
        self.state().push(out);
        self.wake.notify_one();
    }

    pub fn tell_later(&self, out: Out, after: Duration) {
        let due = Instant::now() + after;
        let places = None;
        self.state().hold(Held { due, places, out });
        self.wake.notify_one();
    }

    /// A message for this connection; `behind` as many others, `after` this time.
    pub fn recv(&self, out: Out, again: Option<Duration>, behind: usize, after: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        if state.is_over {
            return;
        }
        if let (Out::Recv { message, seen, .. }, Some(again)) = (&out, again)
            && state.unacked.len() < UNACKED_MAX
        {
            let unacked = Unacked {
                message: message.clone(),
                seen: seen.clone(),
                attempts: 1,
            };
            state.unacked.insert(message.id, unacked);
            state.due.push_back((now + again, message.id));
        }
        if behind > 0 || !after.is_zero() {
            let after = if behind > 0 && after.is_zero() {
                OVERTAKEN_WITHIN
            } else {
                after
            };
            let places = (behind > 0).then_some(behind);
            let due = now + after;
            state.overtake();
            state.hold(Held { due, places, out });
        } else {
            state.push(out);
            state.overtake();
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Whether it stopped the resends: the id counts and that a stored message is not said to be none.
    pub fn acked(&self, message_id: i64, no_persist: bool) -> bool {
        let mut state = self.state();
        let is_known = !no_persist && !state.is_over && state.unacked.remove(&message_id).is_some();
        while let Some((_, id)) = state.due.front()
            && !state.unacked.contains_key(id)
        {
            state.due.pop_front();
        }
        is_known
    }

    pub fn drop_after(&self, after: Duration, cause: &'static str) {
        let at = Instant::now() + after;
        let mut state = self.state();
        if state.drop_at.is_none_or(|(other, _)| at < other) {
            state.drop_at = Some((at, cause));
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Neither read nor written from now on.
    pub fn halt(&self, is_halted: bool) {
        self.state().is_halted = is_halted;
        self.wake.notify_one();
    }

    pub fn close(&self, how: How, why: &str) {
        let mut state = self.state();
        state.close.get_or_insert((how, why.to_owned()));
        drop(state);
        self.wake.notify_one();
    }

    /// Its close frame is said; what is left is to end.
    pub fn closing(&self) {
        if let Some((how, _)) = &mut self.state().close {
            *how = How::End;
        }
    }

    /// The server forgets it; how many RECVs were not acknowledged, `None` if it was over before.
    pub fn end(&self) -> Option<usize> {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_over, true) {
            return None;
        }
        let unacked = state.unacked.len();
        state.unacked = HashMap::new();
        state.due = VecDeque::new();
        state.held = Vec::new();
        state.drop_at = None;
        drop(state);
        self.wake.notify_one();
        Some(unacked)
    }

    /// At most so many things to say, and when to look again.
    pub fn next(&self, max: usize, resend: Duration, resend_max: u32) -> Next {
        let now = Instant::now();
        let mut state = self.state();
        state.release(now);
        state.resend(now, resend, resend_max);
        let count = if state.is_halted {
            0
        } else {
            max.min(state.out.len())
        };
        let out = state.out.drain(..count).collect();
        let held = state.held.iter().map(|held| held.due).min();
        let due = state.due.front().map(|(at, _)| *at);
        let dropped = state.drop_at.map(|(at, _)| at);
        Next {
            out,
            is_halted: state.is_halted,
            is_over: state.is_over,
            close: state.close.clone(),
            drop_at: state.drop_at.filter(|(at, _)| *at <= now),
            at: [held, due, dropped].into_iter().flatten().min(),
        }
    }
}

impl State {
    fn push(&mut self, out: Out) {
        if self.out.len() >= OUT_MAX {
            let why = format!("more than {OUT_MAX} packets wait for it");
            self.close.get_or_insert((How::Drop, why));
            return;
        }
        self.out.push_back(out);
    }

    fn hold(&mut self, held: Held) {
        if self.held.len() >= HELD_MAX {
            return self.push(held.out);
        }
        self.held.push(held);
    }

    /// One more RECV passes those that wait to be overtaken.
    fn overtake(&mut self) {
        if self.held.is_empty() {
            return;
        }
        for held in &mut self.held {
            if let Some(places) = &mut held.places {
                *places = places.saturating_sub(1);
            }
        }
        self.release(Instant::now());
    }

    fn release(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(held) = self.held.get(index) {
            if held.due <= now || held.places == Some(0) {
                let held = self.held.remove(index);
                self.push(held.out);
            } else {
                index += 1;
            }
        }
    }

    fn resend(&mut self, now: Instant, again: Duration, max: u32) {
        while let Some(&(at, id)) = self.due.front()
            && (at <= now || !self.unacked.contains_key(&id))
        {
            self.due.pop_front();
            let Some(unacked) = self.unacked.get_mut(&id) else {
                continue;
            };
            if unacked.attempts > max {
                self.unacked.remove(&id);
                continue;
            }
            unacked.attempts += 1;
            let out = Out::Recv {
                message: unacked.message.clone(),
                seen: unacked.seen.clone(),
                attempt: unacked.attempts,
                is_key_bad: false,
            };
            self.push(out);
            self.due.push_back((now + again, id));
        }
    }
}
