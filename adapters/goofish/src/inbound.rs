//! From what the provider says to events of the model.
//!
//! The same thing becomes the same event, whether it was pushed, pushed again or fetched: ids, order and times are taken from
//! the item only. What the model has no word for becomes a notice that carries it, without the members that are private.
//!
//! * `segments.rs`: what a message says, both ways.
//! * `raw.rs`: frames for people who debug.
//!
//! Not here: when an item is read and acknowledged (`session.rs`).

pub mod raw;
pub mod segments;

use im_bridge_sdk::model::body::{
    MessageCreated, NoticeReceived, ReceiptRead, SyncCompleted, SyncGap, TypingStarted,
};
use im_bridge_sdk::model::ids::B32;
use im_bridge_sdk::model::{
    Channel, ChannelKind, Delivery, Event, Gap, GapReason, GapScope, Json, Message, Notice,
    OrderScope, Origin, Receipt, Severity, Sync, Time, Typing, User, UserKind,
};
use serde_json::{Map, Value, json};

use crate::PROVIDER;
use crate::native::answers::Conversation;
use crate::native::content::Content;
use crate::native::item::Item;
use crate::native::{message, private};
use crate::sends::Author;

/// Nobody says when typing ends.
const TYPING_TTL_MS: u64 = 6_000;

/// Longest content that an event carries beside its text; real ones have a few kilobytes.
const NATIVE_BYTES_MAX: usize = 512 * 1024;

/// A chat message, as the own user `me` sees it.
pub fn message(
    me: &str,
    said: &message::Message,
    author: Option<&Author>,
    delivery: Delivery,
) -> Event {
    let body = MessageCreated {
        message: model_message(said),
    };
    let mut event = Event::new(me, body)
        .delivery(delivery)
        .channel(channel(said));
    if let Some(key) = order_key(said) {
        event = event.order(OrderScope::Channel, key);
    }
    event = match user(said) {
        Some(user) => event.actor(user),
        None => event.actor_unresolved(),
    };
    event = match author {
        Some(Author::Command(client_ref)) => event.client_ref(client_ref),
        Some(_) => event.origin(Origin::SelfOtherDevice),
        None => event,
    };
    event.ext(PROVIDER, ext(said))
}

/// The message itself, for events and results alike.
pub fn model_message(said: &message::Message) -> Message {
    Message::new(
        said.id.clone(),
        segments::segments(said),
        said.at_ms.map(Time::from_ms),
    )
}

/// Sorts messages of a conversation as strings: thirteen digits of milliseconds, then the id.
pub fn order_key(said: &message::Message) -> Option<String> {
    said.at_ms.map(|at_ms| format!("{at_ms:013}.{}", said.id))
}

/// Time of an order key.
pub fn order_ms(key: &str) -> Option<i64> {
    let (ms, id) = key.split_once('.')?;
    (!id.is_empty()).then(|| ms.parse().ok())?
}

pub fn user(said: &message::Message) -> Option<User> {
    // The provider numbers kinds of users; only that of people is known, and the history names none.
    let kind = match said.sender_type.as_deref() {
        None | Some("0") => UserKind::Human,
        Some(_) => UserKind::Unknown,
    };
    let mut user = User::new(said.sender.clone()?, kind);
    user.name.clone_from(&said.sender_name);
    Some(user)
}

fn channel(said: &message::Message) -> Channel {
    kind_of(
        &said.conversation,
        said.session_type.as_deref().unwrap_or("1"),
    )
}

/// A conversation, where nothing says of which kind: only one kind is known.
pub fn plain_channel(id: &str) -> Channel {
    kind_of(id, "1")
}

fn kind_of(id: &str, native_kind: &str) -> Channel {
    let kind = if native_kind == "1" {
        ChannelKind::Dm
    } else {
        ChannelKind::Unknown
    };
    Channel::new(id, kind).native_kind(native_kind)
}

/// A conversation as lists tell it.
pub fn listed_channel(one: &Conversation) -> Channel {
    let last = one.last_message.as_ref().and_then(|message| message.at_ms);
    Channel {
        name: one.item_title.clone(),
        member_count: Some(2),
        unread: one.unread,
        last_message_at: last.or(one.modified_ms).map(Time::from_ms),
        ..kind_of(&one.id, &one.kind.to_string())
    }
}

/// What the model has no word for.
fn ext(said: &message::Message) -> Json {
    let mut ext = Map::new();
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            ext.insert(key.to_owned(), value);
        }
    };
    set("content_type", json!(said.content_type));
    set("item_id", json!(said.item));
    set("platform", json!(said.platform));
    // What the segment does not say whole.
    if matches!(
        said.content,
        Content::Voice { .. } | Content::ItemCard { .. }
    ) && let Some(native) = &said.native
        && native.to_string().len() <= NATIVE_BYTES_MAX
    {
        set("content", without_private(native));
    }
    if segments::is_cut(said) {
        set("truncated", true.into());
    }
    Value::Object(ext).into()
}

/// Everything that is no message. `peer` is the other one in the conversation, if known.
pub fn other(me: &str, item: &Item, peer: Option<&str>) -> Option<Event> {
    Some(match item {
        Item::Message(_) | Item::Undecodable { .. } => return None,
        Item::Read {
            conversation,
            messages,
            at_ms,
        } => {
            // The reader is not told, and being guessed would not be the same in each delivery.
            let receipt = Receipt {
                message_ids: messages.clone(),
                at: at_ms.map(Time::from_ms),
                ..Receipt::default()
            };
            let mut event = Event::new(me, ReceiptRead { receipt });
            event.time = at_ms.map(Time::from_ms);
            if let Some(conversation) = conversation {
                event = event.channel(plain_channel(conversation));
            }
            match peer {
                Some(peer) => event.actor(User::new(peer, UserKind::Human)),
                None => event.actor_unresolved(),
            }
        }
        Item::Typing { conversation, user } => {
            let typing = Typing {
                ttl_ms: TYPING_TTL_MS,
            };
            let event =
                Event::new(me, TypingStarted { typing }).channel(plain_channel(conversation));
            match user {
                Some(user) if user == me => event
                    .actor(User::new(user, UserKind::Human))
                    .origin(Origin::SelfOtherDevice),
                Some(user) => event.actor(User::new(user, UserKind::Human)),
                None => event.actor_unresolved(),
            }
        }
        Item::Order {
            subject,
            reminder,
            at_ms,
            native,
        } => {
            let mut event = notice(me, "order_state", Severity::Info, Some(reminder), native);
            event.time = at_ms.map(Time::from_ms);
            // Users and conversations look alike here, so it is no channel.
            event.ext(PROVIDER, json!({ "subject": subject }))
        }
        Item::SessionHint {
            conversation,
            native,
        } => notice(me, "session_hint", Severity::Debug, None, native)
            .channel(plain_channel(conversation)),
        Item::Unknown {
            object_type,
            native,
        } => {
            let native_type =
                object_type.map_or_else(|| "item".to_owned(), |number| format!("item_{number}"));
            notice(me, &native_type, Severity::Debug, None, native)
        }
    })
}

/// Its id is its content, so that it is the same notice when it is pushed again.
fn notice(
    me: &str,
    native_type: &str,
    severity: Severity,
    text: Option<&String>,
    native: &Value,
) -> Event {
    let told = without_private(native);
    let bytes = native.to_string();
    let notice = Notice {
        text: text.cloned(),
        native: (told.to_string().len() <= NATIVE_BYTES_MAX).then(|| told.into()),
        ..Notice::new(native_type, severity)
    };
    let notice_id = Some(B32::of(bytes.as_bytes()).to_string());
    Event::new(me, NoticeReceived { notice, notice_id })
}

pub fn without_private(native: &Value) -> Value {
    let mut told = native.clone();
    private::strip(&mut told);
    told
}

/// Messages between these times, in milliseconds, that can't be had.
pub fn gap(
    me: &str,
    conversation: Option<&str>,
    from_ms: i64,
    to_ms: i64,
    reason: GapReason,
) -> Event {
    let gap = Gap {
        scope: scope(conversation),
        channel_id: conversation.map(str::to_owned),
        from: Some(Time::from_ms(from_ms).to_string()),
        to: Some(Time::from_ms(to_ms).to_string()),
        reason,
        lost_estimate: None,
    };
    let event = Event::new(me, SyncGap { gap });
    match conversation {
        Some(id) => event.channel(plain_channel(id)),
        None => event,
    }
}

/// What was missed between these times has been fetched.
pub fn completed(
    me: &str,
    conversation: Option<&str>,
    from_ms: i64,
    to_ms: i64,
    count: u64,
) -> Event {
    let sync = Sync {
        scope: scope(conversation),
        channel_id: conversation.map(str::to_owned),
        from: Some(Time::from_ms(from_ms).to_string()),
        to: Some(Time::from_ms(to_ms).to_string()),
        count,
    };
    let event = Event::new(me, SyncCompleted { sync });
    match conversation {
        Some(id) => event.channel(plain_channel(id)),
        None => event,
    }
}

fn scope(conversation: Option<&str>) -> GapScope {
    if conversation.is_some() {
        GapScope::Channel
    } else {
        GapScope::Account
    }
}

#[cfg(test)]
mod tests;
