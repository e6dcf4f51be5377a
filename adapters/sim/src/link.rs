//! Requests and their answers over one connection, and everything else that waits to be written.
//!
//! Commands put their requests here and wait; the session, which owns the socket, writes them and brings the answers. So
//! one task writes, and a command neither knows whether there is a connection nor outlives it: when the session ends,
//! whoever waits is told [`AskError::Lost`].
//!
//! Not here: the socket (`transport.rs`), and what an answer means (`outbound.rs`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_bridge_sdk::model::Json;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use crate::native::{Answer, Call, Refusal, Request, Up};

/// Requests waiting for their answers. More than the commands and reads the adapter announces, plus its own.
const WAITING_MAX: usize = 64;

/// Cheap to clone: clones are the same link.
#[derive(Clone, Default)]
pub struct Link(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is to be written, or an answer is awaited.
    changed: Notify,
}

#[derive(Default)]
struct State {
    is_open: bool,
    next_id: u64,
    /// Bounded: requests by `WAITING_MAX`, acknowledgements by the credit window.
    to_write: VecDeque<Up>,
    waiting: HashMap<u64, oneshot::Sender<Result<Json, Refusal>>>,
    ending: Option<Ending>,
}

/// How somebody wants the session to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Connect again at once.
    Reconnect,
    /// Stay away until told otherwise.
    LogOut,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Not handed over.
    #[error("there is no session with the provider")]
    NotConnected,
    /// Not handed over.
    #[error("{WAITING_MAX} requests are waiting for their answers already")]
    Busy,
    /// It surely was not done.
    #[error("the provider refused: {}", .0.code)]
    Refused(Refusal),
    /// Handed over.
    #[error("the connection ended before the answer")]
    Lost,
    /// Done.
    #[error("the answer is not what the protocol says")]
    Malformed(#[source] serde_json::Error),
}

impl Link {
    /// Asks and waits. `handing_over` runs when nothing can stop the request any more.
    ///
    /// Cancel safe: an answer that nobody waits for is dropped.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        client_ref: Option<&str>,
        call: Call,
        handing_over: impl FnOnce(),
    ) -> Result<T, AskError> {
        let answer = self.ask_unread(client_ref, call, handing_over).await?;
        answer.read().map_err(AskError::Malformed)
    }

    /// The same, for whoever reads what is answered by what was asked.
    pub async fn ask_unread(
        &self,
        client_ref: Option<&str>,
        call: Call,
        handing_over: impl FnOnce(),
    ) -> Result<Json, AskError> {
        self.put(client_ref, call, handing_over)?.answer().await
    }

    /// An order to the played provider; `handing_over` as in [`Self::ask`].
    pub async fn order(
        &self,
        order: Value,
        handing_over: impl FnOnce(),
    ) -> Result<Value, AskError> {
        let waiting = self.put_with(|id| Up::Order { id, order }, handing_over)?;
        let answer = waiting.answer().await?;
        answer.read().map_err(AskError::Malformed)
    }

    pub fn write(&self, frame: Up) {
        let mut state = self.state();
        if state.is_open {
            state.to_write.push_back(frame);
            self.0.changed.notify_waiters();
        }
    }

    /// What is to be written: all of it, because each write costs a call of the system. Cancel safe: it is taken when it
    /// is returned.
    pub async fn next_frames(&self) -> Vec<Up> {
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

    pub fn answered(&self, answer: Answer) {
        let Some(waiting) = self.state().waiting.remove(&answer.id) else {
            return;
        };
        // Whoever asked may have given up.
        let _ = waiting.send(match (answer.ok, answer.error) {
            (_, Some(refusal)) => Err(refusal),
            (ok, None) => Ok(ok.unwrap_or_else(|| Value::Null.into())),
        });
    }

    /// A session begins: from now on requests are taken. It ends when the guard is dropped.
    pub fn open(&self) -> Open {
        *self.state() = State {
            is_open: true,
            ..State::default()
        };
        self.0.changed.notify_waiters();
        Open(self.clone())
    }

    /// Resolves when there is a session.
    pub async fn opened(&self) {
        self.until(|state| state.is_open.then_some(())).await;
    }

    /// Asks the session to end; false if there is none.
    pub fn end(&self, ending: Ending) -> bool {
        let mut state = self.state();
        if state.is_open {
            state.ending = Some(ending);
            self.0.changed.notify_waiters();
        }
        state.is_open
    }

    pub async fn ending(&self) -> Ending {
        self.until(|state| state.ending).await
    }

    fn put(
        &self,
        client_ref: Option<&str>,
        call: Call,
        handing_over: impl FnOnce(),
    ) -> Result<Waiting, AskError> {
        let client_ref = client_ref.map(str::to_owned);
        self.put_with(
            |id| {
                Up::Request(Request {
                    id,
                    client_ref,
                    call,
                })
            },
            handing_over,
        )
    }

    fn put_with(
        &self,
        frame: impl FnOnce(u64) -> Up,
        handing_over: impl FnOnce(),
    ) -> Result<Waiting, AskError> {
        let mut state = self.state();
        if !state.is_open {
            return Err(AskError::NotConnected);
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err(AskError::Busy);
        }
        state.next_id += 1;
        let (id, (sender, answer)) = (state.next_id, oneshot::channel());
        handing_over();
        state.waiting.insert(id, sender);
        state.to_write.push_back(frame(id));
        self.0.changed.notify_waiters();
        Ok(Waiting {
            link: self.clone(),
            id,
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
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session; dropped, everybody who waits is told.
pub struct Open(Link);

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.state() = State::default();
    }
}

/// A request under way. Dropped by a command that gave up, its answer is no longer awaited.
struct Waiting {
    link: Link,
    id: u64,
    answer: oneshot::Receiver<Result<Json, Refusal>>,
}

impl Waiting {
    async fn answer(mut self) -> Result<Json, AskError> {
        match (&mut self.answer).await {
            Ok(answer) => answer.map_err(AskError::Refused),
            Err(_) => Err(AskError::Lost),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.link.state().waiting.remove(&self.id);
    }
}
