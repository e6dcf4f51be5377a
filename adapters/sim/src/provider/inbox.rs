//! What an account was told and has not lost: items by number, the oldest trimmed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::World;
use crate::native::{Challenge, Chat, Item, Person, Synced, What};

#[derive(Default)]
pub(super) struct Inbox {
    items: VecDeque<Arc<Item>>,
    pub last_seq: u64,
    /// Pushed in a session that ended before they were acknowledged, by number; pushed again in the next one.
    pub left_over: BTreeMap<u64, Arc<Item>>,
    pub token_expires_ms: i64,
    pub challenge: Option<Challenge>,
}

impl Inbox {
    pub fn new(first_number: u64) -> Self {
        Self {
            last_seq: first_number,
            ..Self::default()
        }
    }

    /// Number of the oldest item that is kept; one above the newest if none is.
    pub fn first_seq(&self) -> u64 {
        self.items
            .front()
            .map_or(self.last_seq + 1, |item| item.seq)
    }

    pub fn get(&self, seq: u64) -> Option<&Arc<Item>> {
        let place = seq.checked_sub(self.first_seq())?;
        self.items.get(usize::try_from(place).ok()?)
    }

    pub fn trim(&mut self, keep: usize) {
        while self.items.len() > keep {
            self.items.pop_front();
        }
    }

    fn add(&mut self, mut item: Item, keep: usize) {
        self.last_seq += 1;
        item.seq = self.last_seq;
        self.items.push_back(Arc::new(item));
        self.trim(keep);
    }

    pub fn after(&self, after: u64, limit: usize) -> Synced {
        let first = self.first_seq();
        let from = first.max(after.saturating_add(1));
        let items: Vec<Item> = (from..=self.last_seq)
            .take(limit)
            .filter_map(|seq| self.get(seq))
            .map(|item| Item::clone(item))
            .collect();
        let more = items.last().is_some_and(|last| last.seq < self.last_seq);
        let dropped = (after + 1 < first).then(|| (after + 1, first - 1));
        Synced {
            items,
            more,
            dropped,
        }
    }
}

impl World {
    /// Tells the accounts among `people`; nobody else listens.
    pub(super) fn tell(
        &mut self,
        people: &[String],
        by: Option<&str>,
        chat: Option<&str>,
        what: &What,
    ) {
        let by = by
            .and_then(|id| self.people.get(id))
            .map(|someone| someone.person.clone());
        let chat = chat.and_then(|id| self.brief(id));
        for id in people {
            self.tell_one(id, by.clone(), chat.clone(), what.clone());
        }
        self.pump();
    }

    fn tell_one(&mut self, id: &str, by: Option<Person>, chat: Option<Chat>, mut what: What) {
        let Some(inbox) = self.inboxes.get_mut(id) else {
            return;
        };
        if let What::Posted { post } | What::Edited { post } = &mut what
            && post.from.id != id
        {
            post.client_ref = None;
        }
        let kept = !matches!(
            what,
            What::Typing { .. } | What::TypingEnded | What::Presence { .. }
        );
        let item = Item {
            seq: 0,
            at_ms: self.now_ms,
            by,
            chat,
            what,
        };
        if kept {
            inbox.add(item, self.settings.history);
            return;
        }
        let item = Arc::new(item);
        for client in self.clients.values_mut() {
            client.pass_by(id, &item, self.settings.window);
        }
    }

    /// A chat as items name it.
    fn brief(&self, id: &str) -> Option<Chat> {
        self.rooms.get(id).map(|room| room.describe(id, None))
    }
}
