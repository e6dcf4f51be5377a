//! Client numbers of our own messages: an echo that carries one of them is proven to be ours.
//!
//! Kept with the cursors, so that what is fetched after a restart is known as well.

use std::collections::{HashSet, VecDeque};

/// Numbers remembered, 64 characters at most each: what fits into one value of the account's state with room to spare.
const REFS_MAX: usize = 512;

#[derive(Debug, Default)]
pub struct SentRefs {
    order: VecDeque<String>,
    known: HashSet<String>,
    has_changed: bool,
    /// Accepted by HTTP, with nothing seen of them since.
    unseen: HashSet<String>,
}

impl SentRefs {
    pub fn add(&mut self, client_ref: &str) {
        if !self.known.insert(client_ref.to_owned()) {
            return;
        }
        self.order.push_back(client_ref.to_owned());
        self.has_changed = true;
        while self.order.len() > REFS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// An echo of it will tell that it is stored.
    pub fn expect(&mut self, client_ref: &str) {
        if self.unseen.len() < REFS_MAX {
            self.unseen.insert(client_ref.to_owned());
        }
    }

    pub fn seen(&mut self, client_ref: &str) {
        self.unseen.remove(client_ref);
    }

    /// Whether nothing was seen of it yet; asked once.
    pub fn take_unseen(&mut self, client_ref: &str) -> bool {
        self.unseen.remove(client_ref)
    }

    pub fn has(&self, client_ref: &str) -> bool {
        self.known.contains(client_ref)
    }

    /// All of them, when there are new ones.
    pub fn take_changed(&mut self) -> Option<Vec<String>> {
        std::mem::take(&mut self.has_changed).then(|| self.order.iter().cloned().collect())
    }

    pub fn not_kept(&mut self) {
        self.has_changed = true;
    }

    /// Those kept by an earlier instance.
    pub fn restore(&mut self, kept: Vec<String>) {
        let newer = std::mem::take(self);
        for client_ref in kept.into_iter().chain(newer.order) {
            self.add(&client_ref);
        }
        self.has_changed = newer.has_changed;
        self.unseen = newer.unseen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut refs = SentRefs::default();
        for number in 0..=REFS_MAX {
            refs.add(&number.to_string());
        }
        assert!(!refs.has("0"));
        assert!(refs.has("1") && refs.has(&REFS_MAX.to_string()));
    }

    #[test]
    fn what_was_kept_comes_before_what_is_new() {
        let mut refs = SentRefs::default();
        refs.add("new");
        refs.restore(vec!["old".to_owned()]);
        assert_eq!(refs.take_changed().unwrap(), ["old", "new"]);
        assert_eq!(refs.take_changed(), None);
    }
}
