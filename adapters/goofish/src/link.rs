//! Requests and their answers over one connection, and everything else that waits to be written.
//!
//! Whoever asks waits here; the session, which owns the socket, writes and brings the answers, matched by `mid` alone. So one
//! task writes, and a command neither knows whether there is a connection nor outlives it: when the connection ends, whoever
//! waits is told [`AskError::Lost`]. Commands are let in once the connection is registered.
//!
//! Not here: the socket (`session.rs`), and what an answer means (`outbound.rs`).

mod asking;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use im_bridge_sdk::Context;
use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use crate::locked;
use crate::native::frame::{self, Answer, Reply};

pub use asking::{AskError, Asker, Ending};

/// Requests waiting for their answers. More than the commands and reads the adapter announces, plus its own.
const WAITING_MAX: usize = 64;

/// Cheap to clone: clones are the same link.
#[derive(Clone, Default)]
pub struct Link(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is to be written, an answer is awaited, or somebody wants the session to end.
    changed: Notify,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Connections so far.
    connection: u64,
    count: u64,
    /// Bounded: requests by `WAITING_MAX`, acknowledgements by the credit window.
    to_write: VecDeque<String>,
    waiting: HashMap<String, oneshot::Sender<Answer>>,
    ending: Option<Ending>,
    /// Why nobody tries to connect any more.
    given_up: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    /// Only the session asks.
    Registering,
    Registered,
}

impl Link {
    /// Asks and waits. `handing_over` runs when nothing can stop the request any more.
    ///
    /// Cancel safe: an answer that nobody waits for is dropped.
    pub async fn ask(
        &self,
        cx: &Context,
        asker: Asker,
        limit: Duration,
        lwp: &str,
        body: &impl Serialize,
        handing_over: impl FnOnce(),
    ) -> Result<Reply, AskError> {
        let write = |mid: &str| frame::request(lwp, mid, Some(body));
        self.ask_with(cx, asker, limit, write, handing_over).await
    }

    /// As [`Self::ask`], for a frame that is written otherwise.
    pub async fn ask_with(
        &self,
        cx: &Context,
        asker: Asker,
        limit: Duration,
        write: impl FnOnce(&str) -> String,
        handing_over: impl FnOnce(),
    ) -> Result<Reply, AskError> {
        let mut waiting = self.put(cx, asker, write, handing_over)?;
        match cx.timeout(limit, &mut waiting.answer).await {
            Some(Ok(answer)) => answer.outcome().map_err(AskError::Refused),
            Some(Err(_)) => Err(AskError::Lost),
            None => Err(AskError::Late(limit)),
        }
    }

    /// A `mid` that no other request of this connection has.
    pub fn mid(&self, cx: &Context) -> String {
        self.state().mid(cx)
    }

    /// The number of this connection, for what belongs to no other.
    pub fn connection(&self) -> u64 {
        self.state().connection
    }

    pub fn write(&self, frame: String) {
        self.write_on(self.connection(), frame);
    }

    /// Writes if that connection is still the one.
    pub fn write_on(&self, connection: u64, frame: String) {
        let mut state = self.state();
        if connection == state.connection && state.phase != Phase::Closed {
            state.to_write.push_back(frame);
            self.0.changed.notify_waiters();
        }
    }

    /// What is to be written: all of it, because each write costs a call of the system. Cancel safe: it is taken when it
    /// is returned.
    pub async fn next_frames(&self) -> Vec<String> {
        self.until(|state| {
            // With its memory: an idle link keeps none.
            (!state.to_write.is_empty()).then(|| std::mem::take(&mut state.to_write).into())
        })
        .await
    }

    /// Somebody waits for an answer, so the socket must be read even when nothing can be emitted.
    pub async fn is_awaited(&self) {
        self.until(|state| (!state.waiting.is_empty()).then_some(()))
            .await;
    }

    /// Nothing waits, neither to be written nor to be answered.
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        state.to_write.is_empty() && state.waiting.is_empty()
    }

    /// Requests that wait for their answers.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// An answer arrived; one that nobody waits for any more is dropped.
    pub fn answered(&self, answer: Answer) {
        if let Some(waiting) = self.state().waiting.remove(&answer.mid) {
            // Whoever asked may have given up.
            let _ = waiting.send(answer);
        }
    }

    /// A connection begins. It ends when the guard is dropped.
    pub fn open(&self) -> Open {
        let mut state = self.state();
        *state = State {
            phase: Phase::Registering,
            connection: state.connection + 1,
            count: state.count,
            // Asked for while there was no connection, it still holds.
            ending: state.ending.filter(|ending| *ending == Ending::LogOut),
            ..State::default()
        };
        drop(state);
        self.0.changed.notify_waiters();
        Open(self.clone())
    }

    /// From now on commands are let in.
    pub fn registered(&self) {
        self.state().phase = Phase::Registered;
        self.0.changed.notify_waiters();
    }

    /// Nobody tries to connect any more, for this reason.
    pub fn give_up(&self, reason: String) {
        self.state().given_up = Some(reason);
        self.0.changed.notify_waiters();
    }

    /// Resolves when commands are let in; an error is the reason why they will not be.
    pub async fn opened(&self) -> Result<(), String> {
        self.until(|state| match state.phase {
            Phase::Registered => Some(Ok(())),
            _ => state.given_up.take().map(Err),
        })
        .await
    }

    /// Resolves when nobody has asked the session to end any more: it ended, or whoever waited was woken.
    pub async fn closed(&self) {
        self.until(|state| state.ending.is_none().then_some(()))
            .await;
    }

    pub fn is_registered(&self) -> bool {
        self.state().phase == Phase::Registered
    }

    /// Asks the session to end, or whoever waits for the next one to wait no longer.
    pub fn end(&self, ending: Ending) {
        let mut state = self.state();
        state.ending = Some(ending);
        state.given_up = None;
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Somebody wants the session, or the wait for it, to end. It is taken when it is returned.
    pub async fn ending(&self) -> Ending {
        let ending = self.until(|state| state.ending.take()).await;
        self.0.changed.notify_waiters();
        ending
    }

    fn put(
        &self,
        cx: &Context,
        asker: Asker,
        write: impl FnOnce(&str) -> String,
        handing_over: impl FnOnce(),
    ) -> Result<Waiting, AskError> {
        let mut state = self.state();
        let is_let_in = match asker {
            Asker::Session => state.phase != Phase::Closed,
            Asker::Command => state.phase == Phase::Registered,
        };
        if !is_let_in {
            return Err(AskError::NotConnected);
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err(AskError::Busy);
        }
        let mid = state.mid(cx);
        let (sender, answer) = oneshot::channel();
        let frame = write(&mid);
        handing_over();
        state.waiting.insert(mid.clone(), sender);
        state.to_write.push_back(frame);
        self.0.changed.notify_waiters();
        Ok(Waiting {
            link: self.clone(),
            mid,
            answer,
        })
    }

    async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Before the look: a change between look and wait must not be missed.
            let changed = self.0.changed.notified();
            if let Some(value) = ready(&mut self.state()) {
                return value;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0.state)
    }
}

impl State {
    /// One to three digits, the time in milliseconds, and ` 0`: the client's form, with a count for its random part.
    fn mid(&mut self, cx: &Context) -> String {
        self.count += 1;
        format!("{}{} 0", self.count % 1000, cx.now_ms())
    }
}

/// A connection; dropped, everybody who waits is told.
pub struct Open(Link);

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.state();
        *state = State {
            connection: state.connection,
            count: state.count,
            ending: state.ending,
            ..State::default()
        };
        drop(state);
        self.0.0.changed.notify_waiters();
    }
}

/// A request under way. Dropped by a command that gave up, its answer is no longer awaited.
struct Waiting {
    link: Link,
    mid: String,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.link.state().waiting.remove(&self.mid);
    }
}
