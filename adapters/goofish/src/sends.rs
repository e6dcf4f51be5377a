//! What the account sent through the bridge: to know its echo, and to find out what became of it.
//!
//! An echo carries no reference of ours. It is matched by the message id of the answer; where that never came, by its content,
//! if exactly one send fits. Each send is written down before it is handed over, so this also holds after a restart.
//!
//! Not here: where they are written down (`sends/kept.rs`), and sending (`outbound/send.rs`).

mod kept;

use std::collections::{HashMap, VecDeque};

use im_bridge_sdk::Context;
use im_bridge_sdk::model::ids::B32;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::native::message::Message;
use crate::{Goofish, locked};

use kept::{forget, keep};
pub use kept::{read_back, recall, resolved};

/// Sends in memory.
const SENDS_MAX: usize = 512;

/// How much earlier than handed over the provider may say that a message was stored: clocks differ.
pub const CLOCK_MS: i64 = 5_000;

/// One send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    pub client_ref: String,
    /// Its place, where a command became several messages.
    #[serde(default)]
    pub part: usize,
    pub conversation: String,
    /// Hash of the content.
    pub content: String,
    /// When it was handed over, by the provider's clock.
    pub at_ms: i64,
    /// The message that it became.
    pub message: Option<String>,
    /// The provider took it, whether or not it said as what.
    #[serde(default)]
    pub is_taken: bool,
}

impl Send {
    fn is(&self, client_ref: &str, part: usize) -> bool {
        self.client_ref == client_ref && self.part == part
    }
}

#[derive(Default)]
pub struct Sends {
    all: VecDeque<Send>,
    /// Unanswered, by conversation.
    waiting: HashMap<String, usize>,
    is_read_back: bool,
    /// The provider's clock minus ours.
    pub clock_ms: i64,
}

/// Whose message it is, when it is the account's own.
#[derive(Debug, PartialEq, Eq)]
pub enum Author {
    /// This command's.
    Command(String),
    /// Another device of the account.
    Elsewhere,
}

/// The content, whoever wrote it down: the provider adds an empty list of mentions.
pub fn content_hash(native: &Value) -> String {
    let mut native = native.clone();
    if let Some(map) = native.as_object_mut()
        && map
            .get("atUsers")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty)
    {
        map.remove("atUsers");
    }
    B32::of(native.to_string().as_bytes()).to_string()
}

impl Sends {
    fn begin(&mut self, send: Send) {
        self.all.retain(|old| !old.is(&send.client_ref, send.part));
        if self.all.len() >= SENDS_MAX {
            self.all.pop_front();
        }
        *self.waiting.entry(send.conversation.clone()).or_default() += 1;
        self.all.push_back(send);
    }

    /// One of an earlier process.
    fn remember(&mut self, send: Send) {
        if self.find(&send.client_ref, send.part).is_none() && self.all.len() < SENDS_MAX {
            self.all.push_front(send);
        }
    }

    fn answered(&mut self, conversation: &str) {
        if let Some(waiting) = self.waiting.get_mut(conversation) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(conversation);
            }
        }
    }

    fn find(&mut self, client_ref: &str, part: usize) -> Option<&mut Send> {
        self.all.iter_mut().find(|send| send.is(client_ref, part))
    }

    fn taken(&mut self, client_ref: &str, part: usize, message: Option<&str>) -> Option<Send> {
        let send = self.find(client_ref, part)?;
        send.is_taken = true;
        if let Some(message) = message {
            send.message = Some(message.to_owned());
        }
        Some(send.clone())
    }

    /// The answer to a send is under way, and may name this message.
    pub fn is_unsettled(&self, message: &Message) -> bool {
        self.waiting.contains_key(&message.conversation) && !self.is_attributed(&message.id)
    }

    /// Whose an own message is.
    pub fn author(&mut self, message: &Message) -> Author {
        if let Some(send) = self
            .all
            .iter()
            .find(|send| send.message.as_deref() == Some(&message.id))
        {
            return Author::Command(send.client_ref.clone());
        }
        let Some(content) = message.native.as_ref().map(content_hash) else {
            return Author::Elsewhere;
        };
        let at_ms = message.at_ms.unwrap_or(i64::MAX);
        let mut fits = self.all.iter_mut().filter(|send| {
            send.message.is_none()
                && send.conversation == message.conversation
                && send.content == content
                && send.at_ms - CLOCK_MS <= at_ms
        });
        match (fits.next(), fits.next()) {
            (Some(send), None) => {
                send.message = Some(message.id.clone());
                Author::Command(send.client_ref.clone())
            }
            _ => Author::Elsewhere,
        }
    }

    /// A message that some send became.
    pub fn is_attributed(&self, message: &str) -> bool {
        self.all
            .iter()
            .any(|send| send.message.as_deref() == Some(message))
    }

    /// Sends of the same content whose message is not known, this one among them.
    pub fn alike(&self, one: &Send) -> usize {
        let is_alike = |send: &&Send| {
            send.message.is_none()
                && send.conversation == one.conversation
                && send.content == one.content
        };
        self.all.iter().filter(is_alike).count()
    }
}

/// A send under way. Dropped, what it became is not known.
pub struct UnderWay<'a> {
    goofish: &'a Goofish,
    conversation: String,
    client_ref: String,
    part: usize,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        locked(&self.goofish.sends).answered(&self.conversation);
        self.goofish.settled.notify_waiters();
    }
}

/// Writes down that a send is about to be handed over.
pub async fn begin<'a>(goofish: &'a Goofish, cx: &Context, send: Send) -> UnderWay<'a> {
    keep(cx, &send, goofish.config.send_per_s).await;
    let under_way = UnderWay {
        goofish,
        conversation: send.conversation.clone(),
        client_ref: send.client_ref.clone(),
        part: send.part,
    };
    locked(&goofish.sends).begin(send);
    under_way
}

impl UnderWay<'_> {
    /// The provider took it, as this message if it said so.
    pub fn taken(self, cx: &Context, message: Option<&str>) {
        let send = locked(&self.goofish.sends).taken(&self.client_ref, self.part, message);
        if let Some(send) = send {
            let (own, pace) = (cx.clone(), self.goofish.config.send_per_s);
            cx.spawn(async move { keep(&own, &send, pace).await });
        }
    }

    /// It surely did not happen.
    pub fn refused(self, cx: &Context) {
        let mut sends = locked(&self.goofish.sends);
        sends
            .all
            .retain(|send| !send.is(&self.client_ref, self.part));
        drop(sends);
        forget(cx, &self.client_ref, self.part);
    }
}

#[cfg(test)]
mod tests;
