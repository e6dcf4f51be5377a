//! From what the provider says to events of the model.
//!
//! Every item becomes exactly one event, and the same item the same event, whether it was pushed, pushed again or
//! fetched: ids, order and times are taken from the item only. What the model has no word for becomes a notice that
//! carries it whole.
//!
//! Not here: when an item is read and acknowledged (`session.rs`).

use im_bridge_sdk::model::body::{
    ChannelCreated, ChannelRemoved, ChannelUpdated, ContactAdded, ContactRemoved, ContactRequested,
    MemberJoined, MemberLeft, MemberUpdated, MessageCreated, MessageFailed, MessageRecalled,
    MessageUpdated, NoticeReceived, PresenceChanged, RawFrame, ReactionAdded, ReactionRemoved,
    ReactionSynced, ReceiptDelivered, ReceiptRead, SyncCompleted, SyncGap, TypingStarted,
    TypingStopped, UnreadChanged,
};
use im_bridge_sdk::model::{
    Body, Cause, ChangeReason, ChangedFields, Channel, ChannelKind, Delivery, ErrorObject, Event,
    Frame, Gap, GapReason, GapScope, Json, Member, MemberRole, NativeError, Notice, OpaqueEncoding,
    OrderScope, Origin, Presence, PresenceStatus, RawDirection, Reaction, ReactionUsers, Recall,
    Receipt, Removal, Scope, Severity, Sync, Target, Time, Typing, Unread, User, UserKind, ids,
};

use serde::Serialize;

use crate::native::{Chat, Item, Person, Post, Seat, What};
use crate::{PROVIDER, outbound, segments};

/// Longest body of a raw frame.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// The event of an item, as the own user `me` sees it.
pub fn event(me: &str, item: Item, delivery: Delivery) -> Event {
    let Item {
        seq: _,
        at_ms,
        by,
        chat,
        what,
    } = item;
    let details = Details::of(&what);
    // Member by member, not builder by builder: an event is large, and each of those moves it.
    let mut event = Event::new(me, body(what));
    event.time = Some(Time::from_ms(at_ms));
    event.delivery = delivery;
    if by.as_ref().is_some_and(|person| person.id == me) {
        event.origin = Origin::SelfOtherDevice;
    }
    event.channel = chat.map(channel);
    event.actor = by.map(user);
    // The provider repeats the reference to its sender alone: proof enough that the bridge sent it.
    if details.client_ref.is_some() {
        event.client_ref = details.client_ref;
        event.origin = Origin::Bridge;
    }
    if let Some(order_key) = details.order_key {
        event.order_scope = OrderScope::Channel;
        event.order_key = order_key;
    }
    event.revision = details.revision;
    if let Some(ext) = details.ext {
        event.ext.insert(PROVIDER.to_owned(), ext);
    }
    event
}

/// Items that can no longer be had.
pub fn gap(me: &str, from: u64, to: u64, reason: GapReason) -> Event {
    let gap = Gap {
        scope: GapScope::Account,
        channel_id: None,
        from: Some(ids::order_key(from)),
        to: Some(ids::order_key(to)),
        reason,
        lost_estimate: Some(to.saturating_sub(from).saturating_add(1)),
    };
    Event::new(me, SyncGap { gap })
}

/// What was missed has been fetched: items after `from` up to `to`.
pub fn completed(me: &str, from: u64, to: u64, count: u64) -> Event {
    let sync = Sync {
        scope: GapScope::Account,
        channel_id: None,
        from: Some(ids::order_key(from)),
        to: Some(ids::order_key(to)),
        count,
    };
    Event::new(me, SyncCompleted { sync })
}

/// A frame as it went over the wire, for people who debug. A login's token is left out.
pub fn raw_frame(me: &str, direction: RawDirection, frame: &impl Serialize) -> Event {
    let mut body = serde_json::to_value(frame).unwrap_or_default();
    if let Some(token) = body.get_mut("token") {
        *token = "[redacted]".into();
    }
    let native_type = body["type"].as_str().unwrap_or("unknown").to_owned();
    let is_too_long = body.to_string().len() > RAW_BYTES_MAX;
    let body = if is_too_long {
        serde_json::Value::Null
    } else {
        body
    };
    let raw = Frame {
        direction,
        native_type,
        encoding: OpaqueEncoding::Json,
        body: body.into(),
        truncated: is_too_long,
    };
    Event::new(me, RawFrame { raw })
}

/// What an item says beside its body.
#[derive(Default)]
struct Details {
    client_ref: Option<String>,
    order_key: Option<String>,
    revision: Option<String>,
    ext: Option<Json>,
}

impl Details {
    fn of(what: &What) -> Self {
        match what {
            What::Posted { post } => Self {
                client_ref: post.client_ref.clone(),
                order_key: Some(ids::order_key(post.seq)),
                ext: Some(ext(post)),
                ..Self::default()
            },
            What::Edited { post } => Self {
                revision: Some(post.version.to_string()),
                ext: Some(ext(post)),
                ..Self::default()
            },
            What::Failed { client_ref, .. } => Self {
                client_ref: Some(client_ref.clone()),
                ..Self::default()
            },
            What::ChatChanged { version, .. }
            | What::Joined { version, .. }
            | What::Left { version, .. }
            | What::SeatChanged { version, .. } => Self {
                revision: Some(version.to_string()),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }
}

fn body(what: What) -> Body {
    match what {
        What::Posted { post } => MessageCreated {
            message: segments::message(post),
        }
        .into(),
        What::Edited { post } => MessageUpdated {
            message: segments::message(post),
        }
        .into(),
        What::Recalled { post, for_all } => MessageRecalled {
            target: Target::new(post),
            change: Recall {
                scope: scope(for_all),
                reason: None,
            },
        }
        .into(),
        What::Failed {
            client_ref: _,
            code,
            text,
        } => {
            let mut error = ErrorObject::new(
                outbound::code(&code),
                true,
                "the provider could not deliver the message",
            );
            error.native = Some(NativeError::new(code, text));
            MessageFailed {
                error,
                target: None,
            }
            .into()
        }
        What::Reacted { post, key } => ReactionAdded {
            target: Target::new(post),
            reaction: Reaction { key },
        }
        .into(),
        What::Unreacted { post, key } => ReactionRemoved {
            target: Target::new(post),
            reaction: Reaction { key },
        }
        .into(),
        What::Reactions { post, reactions } => {
            let users = |of: crate::native::Reaction| ReactionUsers {
                key: of.key,
                user_ids: of.people,
            };
            let reactions = reactions.into_iter().map(users).collect();
            ReactionSynced {
                target: Target::new(post),
                reactions,
            }
            .into()
        }
        What::Delivered { person, posts } => ReceiptDelivered {
            receipt: Receipt {
                user_id: Some(person),
                message_ids: posts,
                ..Receipt::default()
            },
        }
        .into(),
        What::Read { person, up_to } => {
            let receipt = Receipt {
                user_id: Some(person),
                up_to_message_id: Some(up_to),
                ..Receipt::default()
            };
            ReceiptRead { receipt }.into()
        }
        What::Typing { ttl_ms } => TypingStarted {
            typing: Typing { ttl_ms },
        }
        .into(),
        What::TypingEnded => TypingStopped {}.into(),
        What::Presence { status, since_ms } => {
            let status = status.parse().unwrap_or(PresenceStatus::Online);
            PresenceChanged {
                presence: Presence {
                    status,
                    since: Some(Time::from_ms(since_ms)),
                },
            }
            .into()
        }
        What::ChatOpened => ChannelCreated {}.into(),
        What::ChatChanged { fields, version: _ } => ChannelUpdated {
            change: ChangedFields { fields },
        }
        .into(),
        What::ChatClosed { reason, for_all } => ChannelRemoved {
            change: Removal {
                scope: scope(for_all),
                reason: change_reason(&reason),
            },
        }
        .into(),
        What::Joined {
            seat,
            reason,
            version: _,
        } => MemberJoined {
            member: member(seat),
            change: Cause {
                reason: change_reason(&reason),
            },
        }
        .into(),
        What::Left {
            seat,
            reason,
            version: _,
        } => MemberLeft {
            member: member(seat),
            change: Cause {
                reason: change_reason(&reason),
            },
        }
        .into(),
        What::SeatChanged {
            seat,
            fields,
            version: _,
        } => MemberUpdated {
            member: member(seat),
            change: ChangedFields { fields },
        }
        .into(),
        What::ContactAsked {
            person,
            request,
            text,
        } => ContactRequested {
            contact: user(person),
            request_id: request,
            text,
        }
        .into(),
        What::ContactAdded { person } => ContactAdded {
            contact: user(person),
        }
        .into(),
        What::ContactRemoved { person } => ContactRemoved {
            contact: user(person),
        }
        .into(),
        What::Unread { total, in_chat } => UnreadChanged {
            unread: Unread {
                total: Some(total),
                channel: in_chat,
            },
        }
        .into(),
        What::Notice {
            id,
            name,
            title,
            text,
            warning,
            body,
        } => {
            let severity = if warning {
                Severity::Warning
            } else {
                Severity::Info
            };
            let notice = Notice {
                title: Some(title),
                text: Some(text),
                native: Some(body.into()),
                ..Notice::new(name, severity)
            };
            NoticeReceived {
                notice,
                notice_id: Some(id),
            }
            .into()
        }
        What::Dropped { from, to } => gap("", from, to, GapReason::Overflow).body,
        What::Unknown(native) => {
            let name = native["what"].as_str().unwrap_or("unknown").to_owned();
            let notice = Notice {
                native: Some(native.into()),
                ..Notice::new(name, Severity::Debug)
            };
            NoticeReceived {
                notice,
                notice_id: None,
            }
            .into()
        }
    }
}

pub fn channel(chat: Chat) -> Channel {
    let kind = match chat.kind {
        1 => ChannelKind::Dm,
        2 => ChannelKind::Group,
        3 => ChannelKind::Room,
        4 => ChannelKind::Broadcast,
        5 => ChannelKind::System,
        _ => ChannelKind::Unknown,
    };
    Channel {
        native_kind: Some(chat.kind.to_string()),
        name: chat.name,
        member_count: chat.seats,
        unread: chat.unread,
        last_message_at: chat.last_post_ms.map(Time::from_ms),
        ..Channel::new(chat.id, kind)
    }
}

pub fn user(person: Person) -> User {
    let kind = if person.robot {
        UserKind::Bot
    } else {
        UserKind::Human
    };
    User {
        name: Some(person.name),
        avatar_url: person.picture,
        ..User::new(person.id, kind)
    }
}

pub fn member(seat: Seat) -> Member {
    Member {
        alias: seat.alias,
        joined_at: Some(Time::from_ms(seat.since_ms)),
        muted_until: seat.muted_until_ms.map(Time::from_ms),
        ..Member::new(
            user(seat.person),
            seat.role.parse().unwrap_or(MemberRole::Unknown),
        )
    }
}

/// What the model has no word for.
fn ext(post: &Post) -> Json {
    #[derive(Serialize)]
    struct Version {
        version: u32,
    }
    let version = Version {
        version: post.version,
    };
    Json::new(&version).expect("its keys are strings")
}

fn scope(for_all: bool) -> Scope {
    if for_all { Scope::Everyone } else { Scope::Me }
}

fn change_reason(reason: &str) -> ChangeReason {
    reason.parse().unwrap_or(ChangeReason::Unknown)
}
