//! Who the two of a conversation are: to send, both must be named.
//!
//! Learnt from lists and from what people write; what is not known is looked for in the list.
//!
//! Not here: the list itself (`outbound/channels.rs`).

use std::collections::{HashMap, VecDeque};

use crate::native::answers::Conversation;
use crate::native::message::Message;

/// Conversations that are remembered; the oldest go first and are looked up again.
const PEERS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub struct Peers {
    by_conversation: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Peers {
    pub fn of(&self, conversation: &str) -> Option<&str> {
        self.by_conversation.get(conversation).map(String::as_str)
    }

    pub fn learn(&mut self, me: &str, conversation: &Conversation) {
        if let Some(peer) = conversation.peer(me) {
            self.set(&conversation.id, peer);
        }
    }

    /// Whoever writes to the account is the other one, in a chat of two.
    pub fn learn_from(&mut self, me: &str, message: &Message) {
        let is_single = message.session_type.as_deref() == Some("1");
        if let Some(sender) = message
            .sender
            .as_deref()
            .filter(|sender| *sender != me && is_single)
        {
            self.set(&message.conversation, sender);
        }
    }

    fn set(&mut self, conversation: &str, peer: &str) {
        if self.of(conversation) == Some(peer) {
            return;
        }
        let old = self
            .by_conversation
            .insert(conversation.to_owned(), peer.to_owned());
        if old.is_none() {
            self.order.push_back(conversation.to_owned());
        }
        if self.order.len() > PEERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_conversation.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut peers = Peers::default();
        for n in 0..2 * PEERS_MAX {
            peers.set(&n.to_string(), "9");
        }
        assert_eq!(
            (peers.by_conversation.len(), peers.order.len()),
            (PEERS_MAX, PEERS_MAX)
        );
        assert_eq!(
            (peers.of("0"), peers.of(&PEERS_MAX.to_string())),
            (None, Some("9"))
        );
    }
}
