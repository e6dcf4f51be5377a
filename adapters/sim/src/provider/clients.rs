//! Connections: what comes in, what waits to go out, and when.
//!
//! Each client has one queue, ordered by the time a frame is due, so that a late answer does not hold up the rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::Value;

use super::{Deed, World};
use crate::native::{Answer, Down, Item, Refusal, Up};

/// Frames waiting for one client. A client that asks and never reads is cut off.
const WAITING_MAX: usize = 10_000;

/// What a client hears next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Frame(String),
    End,
}

#[derive(Default)]
pub(super) struct Client {
    pub session: Option<Session>,
    /// By the time they are due, then by number.
    pub waiting: BTreeMap<(i64, u64), String>,
    said: u64,
    ended: bool,
    /// Nothing is said before.
    pub silent_until_ms: i64,
    waker: Option<Waker>,
}

pub(super) struct Session {
    pub id: u64,
    pub account: String,
    /// Number of the next item of the inbox.
    pub next_seq: u64,
    /// By push number.
    pub unacknowledged: BTreeMap<u64, Unacknowledged>,
    /// Left over from earlier sessions.
    pub again: VecDeque<Arc<Item>>,
    /// Items that are not kept.
    pub passing: VecDeque<Arc<Item>>,
    /// A push that changes places with the next one.
    pub held_back: Option<String>,
}

pub(super) struct Unacknowledged {
    pub item: Arc<Item>,
    pub pushed_ms: i64,
}

impl World {
    pub(super) fn connect(&mut self, client: u64) {
        self.clients.insert(
            client,
            Client {
                silent_until_ms: i64::MIN,
                ..Client::default()
            },
        );
    }

    /// The client went away, with or without a word.
    pub(super) fn hang_up(&mut self, client: u64) {
        self.end_session(client, "hung up");
        self.clients.remove(&client);
    }

    pub(super) fn receive(&mut self, client: u64, frame: Up, now_ms: i64) {
        self.advance(now_ms);
        match frame {
            Up::Hello { .. } => self.close(client, "bad_frame", "hello comes once, and first"),
            Up::Login(login) => self.login(client, &login),
            Up::Ack { push } => self.acknowledge(client, push),
            Up::Request(request) => match self.account(client) {
                Some(account) => self.ask(client, &account, request),
                None => self.close(client, "bad_frame", "log in first"),
            },
            Up::Order { id, order } => {
                let answer = self.order(order);
                self.answer(client, id, answer, 0);
            }
            Up::Ping { id } => self.say(client, &Down::Pong { id }, 0),
        }
        self.pump();
    }

    pub(super) fn poll(&mut self, client: u64, now_ms: i64, cx: &mut Context<'_>) -> Poll<Heard> {
        self.advance(now_ms);
        let Some(client) = self.clients.get_mut(&client) else {
            return Poll::Ready(Heard::End);
        };
        match client.waiting.first_entry() {
            Some(first) if first.key().0 <= now_ms.max(self.now_ms) || client.ended => {
                Poll::Ready(Heard::Frame(first.remove()))
            }
            None if client.ended => Poll::Ready(Heard::End),
            _ => {
                client.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// When there may be something to hear without anybody doing anything.
    pub(super) fn due_ms(&self, client: u64) -> Option<i64> {
        let client = self.clients.get(&client)?;
        let frame = client.waiting.first_key_value().map(|(key, _)| key.0);
        let again = client.session.as_ref().and_then(|session| {
            let oldest = session
                .unacknowledged
                .values()
                .map(|push| push.pushed_ms)
                .min()?;
            Some(oldest + self.settings.ack_timeout_ms)
        });
        [frame, again, self.chatter_due_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn account(&self, client: u64) -> Option<String> {
        Some(self.clients.get(&client)?.session.as_ref()?.account.clone())
    }

    /// Session and client, for each open session of the account.
    pub(super) fn sessions_of(&self, account: &str) -> Vec<(u64, u64)> {
        let open = self
            .clients
            .iter()
            .filter_map(|(client, state)| Some((state.session.as_ref()?, *client)));
        open.filter(|(session, _)| session.account == account)
            .map(|(session, client)| (session.id, client))
            .collect()
    }

    /// Items pushed and not acknowledged in the open sessions of the account.
    pub(super) fn unacknowledged(&self, account: &str) -> usize {
        let open = self
            .clients
            .values()
            .filter_map(|state| state.session.as_ref());
        open.filter(|session| session.account == account)
            .map(|session| session.unacknowledged.len())
            .sum()
    }

    pub(super) fn unhush(&mut self) {
        for state in self.clients.values_mut() {
            state.silent_until_ms = i64::MIN;
        }
    }

    pub(super) fn answer(
        &mut self,
        client: u64,
        id: u64,
        answer: Result<Value, Refusal>,
        late_ms: u64,
    ) {
        let (ok, error) = match answer {
            Ok(value) => (Some(value.into()), None),
            Err(refusal) => (None, Some(refusal)),
        };
        self.say(client, &Down::Answer(Answer { id, ok, error }), late_ms);
    }

    pub(super) fn say(&mut self, client: u64, what: &Down, late_ms: u64) {
        self.say_text(client, frame(what), late_ms);
    }

    pub(super) fn say_text(&mut self, client: u64, text: String, late_ms: u64) {
        let due_ms = self
            .now_ms
            .saturating_add(i64::try_from(late_ms).unwrap_or(i64::MAX));
        let Some(state) = self.clients.get_mut(&client) else {
            return;
        };
        if state.ended || self.now_ms < state.silent_until_ms {
            return;
        }
        state.said += 1;
        state.waiting.insert((due_ms, state.said), text);
        let is_too_much = state.waiting.len() > WAITING_MAX;
        state.wake();
        if is_too_much {
            self.end(client, "asks and does not read");
        }
    }

    /// Says why, and ends.
    pub(super) fn close(&mut self, client: u64, code: &str, text: &str) {
        self.say(
            client,
            &Down::Closing {
                code: code.to_owned(),
                text: text.to_owned(),
            },
            0,
        );
        self.end(client, code);
    }

    /// What is waiting is still said; nothing is said after it.
    pub(super) fn end(&mut self, client: u64, why: &str) {
        self.end_session(client, why);
        if let Some(state) = self.clients.get_mut(&client) {
            state.ended = true;
            state.wake();
        }
    }

    fn end_session(&mut self, client: u64, why: &str) {
        let Some(session) = self
            .clients
            .get_mut(&client)
            .and_then(|state| state.session.take())
        else {
            return;
        };
        let pushed = session.unacknowledged.into_values().map(|push| push.item);
        let mut left_over: Vec<Arc<Item>> = pushed
            .chain(session.again)
            .filter(|item| item.seq > 0)
            .collect();
        // What another session of the account is pushed as well is that session's to acknowledge.
        let others = self
            .clients
            .values()
            .filter_map(|state| state.session.as_ref());
        for other in others.filter(|other| other.account == session.account) {
            left_over.retain(|item| !other.has_in_hand(item.seq));
        }
        if let Some(inbox) = self.inboxes.get_mut(&session.account) {
            inbox
                .left_over
                .extend(left_over.into_iter().map(|item| (item.seq, item)));
        }
        let (account, session, why) = (session.account, session.id, why.to_owned());
        self.record.note(
            self.now_ms,
            Deed::SessionEnded {
                account,
                session,
                why,
            },
        );
    }
}

impl Client {
    /// Something that is not kept happened; it is dropped rather than queued without a bound.
    pub fn pass_by(&mut self, account: &str, item: &Arc<Item>, at_most: usize) {
        let session = self
            .session
            .as_mut()
            .filter(|session| session.account == account);
        if let Some(session) = session.filter(|session| session.passing.len() < at_most) {
            session.passing.push_back(item.clone());
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Session {
    fn has_in_hand(&self, seq: u64) -> bool {
        self.unacknowledged
            .values()
            .any(|push| push.item.seq == seq)
            || self.again.iter().any(|item| item.seq == seq)
    }
}

pub(super) fn frame(what: &Down) -> String {
    serde_json::to_string(what).expect("frames have string keys only, so they are JSON")
}
