//! Pushes and redelivery.
//!
//! Items of an account are pushed in order, at most `window` unacknowledged at a time. What a session leaves
//! unacknowledged is pushed again in the next one, first; what happened while nobody was logged in is in the inbox only
//! and must be asked for.

use std::sync::Arc;

use super::clients::{Unacknowledged, frame};
use super::{Deed, FaultKind, World};
use crate::native::{Down, Item, What};

impl World {
    /// Pushes what there is room for, to everybody.
    pub(super) fn pump(&mut self) {
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        for client in clients {
            while let Some((item, redelivered)) = self.next_item(client) {
                self.push(client, item, redelivered);
            }
        }
    }

    fn next_item(&mut self, client: u64) -> Option<(Arc<Item>, bool)> {
        let session = self.clients.get_mut(&client)?.session.as_mut()?;
        if session.unacknowledged.len() >= self.settings.window {
            return None;
        }
        if let Some(item) = session.again.pop_front() {
            return Some((item, true));
        }
        if let Some(item) = session.passing.pop_front() {
            return Some((item, false));
        }
        let inbox = self.inboxes.get(&session.account)?;
        let first_seq = inbox.first_seq();
        if session.next_seq < first_seq {
            let what = What::Dropped {
                from: session.next_seq,
                to: first_seq - 1,
            };
            session.next_seq = first_seq;
            let item = Item {
                seq: first_seq - 1,
                at_ms: self.now_ms,
                by: None,
                chat: None,
                what,
            };
            return Some((Arc::new(item), false));
        }
        let item = inbox.get(session.next_seq)?.clone();
        session.next_seq += 1;
        Some((item, false))
    }

    fn push(&mut self, client: u64, item: Arc<Item>, redelivered: bool) {
        // Never used twice in a world: an acknowledgement that comes after its session is over must not hit another push.
        let push = self.number();
        let Some(session) = self
            .clients
            .get_mut(&client)
            .and_then(|client| client.session.as_mut())
        else {
            return;
        };
        let account = session.account.clone();
        let deed = Deed::Pushed {
            account: account.clone(),
            session: session.id,
            push,
            seq: item.seq,
            redelivered,
        };
        let frame = frame(&Down::Push {
            push,
            redelivered,
            item: Item::clone(&item),
        });
        session.unacknowledged.insert(
            push,
            Unacknowledged {
                item,
                pushed_ms: self.now_ms,
            },
        );
        let before = session.held_back.take();
        self.record.note(self.now_ms, deed);
        if before.is_none() && self.struck(FaultKind::Reorder, &account).is_some() {
            if let Some(session) = self
                .clients
                .get_mut(&client)
                .and_then(|client| client.session.as_mut())
            {
                session.held_back = Some(frame);
            }
        } else {
            if self.struck(FaultKind::Duplicate, &account).is_some() {
                self.say_text(client, frame.clone(), 0);
            }
            self.say_text(client, frame, 0);
            if let Some(before) = before {
                self.say_text(client, before, 0);
            }
        }
        self.break_session(client, &account);
    }

    /// Faults that a push gives the opportunity for.
    fn break_session(&mut self, client: u64, account: &str) {
        if let Some(fault) = self.struck(FaultKind::Flood, account) {
            for _ in 0..fault.count {
                self.say_something();
            }
        }
        if let Some(fault) = self.struck(FaultKind::Silence, account) {
            self.hush(client, fault.for_ms);
        }
        if let Some(fault) = self.struck(FaultKind::Disconnect, account) {
            self.cut(fault.for_ms);
        }
        if self.struck(FaultKind::Replace, account).is_some() {
            self.close(client, "replaced", "another device logged in");
        }
        if self.struck(FaultKind::Expire, account).is_some() {
            self.close(client, "token_expired", "log in again");
        }
    }

    pub(super) fn hush(&mut self, client: u64, for_ms: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            let for_ms = if for_ms == 0 {
                i64::MAX
            } else {
                i64::try_from(for_ms).unwrap_or(i64::MAX)
            };
            client.silent_until_ms = self.now_ms.saturating_add(for_ms);
        }
    }

    /// All sessions are cut, and nobody gets in for `for_ms`.
    pub(super) fn cut(&mut self, for_ms: u64) {
        self.shut_until_ms = self
            .now_ms
            .saturating_add(i64::try_from(for_ms).unwrap_or(i64::MAX));
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        for client in clients {
            if self.account(client).is_some() {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.waiting.clear();
                }
                self.end(client, "cut");
            }
        }
    }

    /// Pushes again what was not acknowledged in time.
    pub(super) fn push_again(&mut self) {
        let mut again = Vec::new();
        for (id, client) in &mut self.clients {
            let Some(session) = client.session.as_mut() else {
                continue;
            };
            for (push, unacknowledged) in &mut session.unacknowledged {
                if unacknowledged.pushed_ms + self.settings.ack_timeout_ms <= self.now_ms {
                    unacknowledged.pushed_ms = self.now_ms;
                    let item = Item::clone(&unacknowledged.item);
                    let (account, session, push, seq) =
                        (session.account.clone(), session.id, *push, item.seq);
                    self.record.note(
                        self.now_ms,
                        Deed::Pushed {
                            account,
                            session,
                            push,
                            seq,
                            redelivered: true,
                        },
                    );
                    again.push((
                        *id,
                        frame(&Down::Push {
                            push,
                            redelivered: true,
                            item,
                        }),
                    ));
                }
            }
        }
        for (client, frame) in again {
            self.say_text(client, frame, 0);
        }
    }

    pub(super) fn struck(&mut self, kind: FaultKind, account: &str) -> Option<super::Fault> {
        let fault = self.script.strikes(kind, account)?;
        self.record.note(self.now_ms, Deed::Fault { kind });
        Some(fault)
    }
}
