//! What waits to be written on the connection, and who waits for an answer on it.
//!
//! Commands put their messages here and wait; the session, which owns the connection, seals and writes them and brings the
//! answers. So one task writes, and a command neither knows whether there is a connection nor outlives it: when the
//! session ends, whoever waits is told whether the message had been written.
//!
//! Not here: the connection (`session/`), and what an answer means (`outbound/`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot};

use crate::locked;
use crate::native::channel::ChannelId;
use crate::native::packet::{RecvAck, Send, SendAck};

/// Messages waiting for their answers: more than the commands that the adapter takes at a time.
const WAITING_MAX: usize = 64;

/// Cheap to clone: clones are the same link.
#[derive(Clone, Default)]
pub struct Link(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something changed that somebody may wait for.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Counts sessions; acknowledgements of an earlier one are of no use to the next.
    session: u64,
    is_open: bool,
    last_seq: u32,
    /// Bounded by `WAITING_MAX`.
    to_send: VecDeque<Send>,
    /// Bounded by the credit window.
    acks: Vec<RecvAck>,
    waiting: HashMap<u32, Waiter>,
    syncs: Vec<SyncOrder>,
}

struct Waiter {
    channel: Arc<ChannelId>,
    is_written: bool,
    answer: oneshot::Sender<Result<SendAck, AskError>>,
}

/// Somebody wants what was missed, now.
pub struct SyncOrder {
    /// Only of this channel.
    pub channel: Option<ChannelId>,
    pub done: oneshot::Sender<Synced>,
}

/// What catching up brought.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Synced {
    pub count: u64,
    pub from: Option<u64>,
    pub to: Option<u64>,
    /// Nothing can be fetched.
    pub is_impossible: bool,
}

/// Syncs waiting at a time.
const SYNCS_MAX: usize = 16;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("there is no connection to the server")]
    NotConnected,
    #[error("{WAITING_MAX} messages are waiting for their answers already")]
    Busy,
    #[error("the connection ended before the message was written")]
    NotWritten,
    #[error("the connection ended before the answer")]
    Lost,
}

/// What is to be written.
#[derive(Default)]
pub struct Batch {
    pub acks: Vec<RecvAck>,
    pub sends: Vec<Send>,
}

impl Link {
    /// Sends a message and waits for its answer. `handing_over` runs when nothing can stop it any more.
    ///
    /// Cancel safe: an answer that nobody waits for is dropped.
    pub async fn send(
        &self,
        channel: Arc<ChannelId>,
        message: Send,
        handing_over: impl FnOnce(),
    ) -> Result<SendAck, AskError> {
        let mut waiting = {
            let mut state = self.state();
            if !state.is_open {
                return Err(AskError::NotConnected);
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err(AskError::Busy);
            }
            state.last_seq = state.last_seq.wrapping_add(1);
            let client_seq = state.last_seq;
            let (answer, receiver) = oneshot::channel();
            let waiter = Waiter {
                channel,
                is_written: false,
                answer,
            };
            state.waiting.insert(client_seq, waiter);
            handing_over();
            state.to_send.push_back(Send {
                client_seq,
                ..message
            });
            Waiting {
                link: self.clone(),
                session: state.session,
                client_seq,
                receiver,
            }
        };
        self.0.changed.notify_waiters();
        (&mut waiting.receiver).await.unwrap_or(Err(AskError::Lost))
    }

    /// A message of this session is stored.
    pub fn ack(&self, session: u64, ack: RecvAck) {
        let mut state = self.state();
        if state.is_open && state.session == session {
            let was_empty = state.acks.is_empty();
            state.acks.push(ack);
            drop(state);
            if was_empty {
                self.0.changed.notify_waiters();
            }
        }
    }

    /// What is to be written: all of it, because each write costs a call of the system. Cancel safe: it is taken when it is
    /// returned.
    pub async fn next_batch(&self) -> Batch {
        self.until(|state| {
            if state.acks.is_empty() && state.to_send.is_empty() {
                return None;
            }
            for message in &state.to_send {
                if let Some(waiter) = state.waiting.get_mut(&message.client_seq) {
                    waiter.is_written = true;
                }
            }
            Some(Batch {
                acks: std::mem::take(&mut state.acks),
                sends: state.to_send.drain(..).collect(),
            })
        })
        .await
    }

    /// Somebody waits for an answer, so the connection must be read even when nothing can be emitted.
    pub async fn is_awaited(&self) {
        self.until(|state| (!state.waiting.is_empty()).then_some(()))
            .await;
    }

    /// Nothing waits, neither to be written nor to be answered.
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        state.acks.is_empty() && state.to_send.is_empty() && state.waiting.is_empty()
    }

    /// The channel of the message that this answers, if somebody waited for it.
    pub fn answered(&self, answer: SendAck) -> Option<Arc<ChannelId>> {
        let waiter = self.state().waiting.remove(&answer.client_seq)?;
        // Whoever asked may have given up.
        let _ = waiter.answer.send(Ok(answer));
        Some(waiter.channel)
    }

    /// A session begins: from now on messages are taken. It ends when the guard is dropped.
    pub fn open(&self) -> Open {
        let mut state = self.state();
        let session = state.session + 1;
        *state = State {
            is_open: true,
            session,
            syncs: std::mem::take(&mut state.syncs),
            ..State::default()
        };
        drop(state);
        self.0.changed.notify_waiters();
        Open {
            link: self.clone(),
            session,
        }
    }

    pub fn is_open(&self) -> bool {
        self.state().is_open
    }

    /// Resolves when there is a session other than `not`.
    pub async fn opened(&self, not: u64) -> u64 {
        self.until(|state| (state.is_open && state.session != not).then_some(state.session))
            .await
    }

    pub fn session(&self) -> u64 {
        self.state().session
    }

    /// Asks the session to catch up; none when too many ask or there is no session.
    pub fn sync(&self, channel: Option<ChannelId>) -> Option<oneshot::Receiver<Synced>> {
        let mut state = self.state();
        if !state.is_open || state.syncs.len() >= SYNCS_MAX {
            return None;
        }
        let (done, receiver) = oneshot::channel();
        state.syncs.push(SyncOrder { channel, done });
        drop(state);
        self.0.changed.notify_waiters();
        Some(receiver)
    }

    /// Who wants to catch up. Cancel safe.
    pub async fn next_syncs(&self) -> Vec<SyncOrder> {
        self.until(|state| (!state.syncs.is_empty()).then(|| std::mem::take(&mut state.syncs)))
            .await
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

/// A session; dropped, everybody who waits is told.
pub struct Open {
    link: Link,
    pub session: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.link.state();
        state.is_open = false;
        state.to_send.clear();
        state.acks.clear();
        state.syncs.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waiter in waiting.into_values() {
            let error = if waiter.is_written {
                AskError::Lost
            } else {
                AskError::NotWritten
            };
            let _ = waiter.answer.send(Err(error));
        }
    }
}

/// A message under way. Dropped by a command that gave up, its answer is no longer awaited.
struct Waiting {
    link: Link,
    session: u64,
    client_seq: u32,
    receiver: oneshot::Receiver<Result<SendAck, AskError>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.link.state();
        if state.session == self.session {
            state.waiting.remove(&self.client_seq);
            // Nobody wants it any more: what was not written yet stays so.
            state
                .to_send
                .retain(|message| message.client_seq != self.client_seq);
        }
    }
}
