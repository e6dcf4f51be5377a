//! One event as an adapter makes it: `data` and routing from one value, so that they cannot differ.
//!
//! `data` is written straight from the types, members in the order of the reference: where a provider gives no id, the
//! bytes make the event's id, so they must not depend on anything else.
//!
//! Not here: the envelope, which the core writes; tokens, noise and traces, which the SDK adds when it sends.

use super::body::Body;
use super::ids;
use super::json::{Ext, Json};
use super::names::{Delivery, EventKind, OrderScope, Origin};
use super::parts::{Channel, Own, User};
use super::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The own user.
    pub own: Own,
    /// Where it happened.
    pub channel: Option<Channel>,
    /// Who did it.
    pub actor: Option<User>,
    /// False: the actor is missing or incomplete because the provider did not tell, not because nobody acted.
    pub actor_resolved: bool,
    /// What happened.
    pub body: Body,
    /// What the model has no word for, by provider.
    pub ext: Ext,
    /// When, by the provider's clock.
    pub time: Option<Time>,
    /// Revision of what happened, where the default does not fit: see [`Event::native_rev`].
    pub revision: Option<String>,
    /// Inside what the key sorts.
    pub order_scope: OrderScope,
    /// Place in the order; empty without one.
    pub order_key: String,
    /// Who caused it.
    pub origin: Origin,
    /// How it came to be delivered.
    pub delivery: Delivery,
    /// Key of the command that this echoes.
    pub client_ref: Option<String>,
}

/// The members that every kind has.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub(super) struct Common {
    /// The own user.
    #[serde(rename = "self")]
    pub own: Own,
    /// Where it happened; null when in no channel.
    pub channel: Option<Channel>,
    /// Who did it; null when nobody did, or nobody knows.
    pub actor: Option<User>,
    /// False: the actor is missing or incomplete because the provider did not tell.
    pub actor_resolved: bool,
    /// What the model has no word for, by provider.
    #[serde(default, skip_serializing_if = "Ext::is_empty")]
    pub ext: Ext,
}

/// `data`, in order.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(rename = "self")]
    own: &'a Own,
    channel: Option<&'a Channel>,
    actor: Option<&'a User>,
    actor_resolved: bool,
    #[serde(flatten)]
    body: &'a Body,
    #[serde(skip_serializing_if = "Ext::is_empty")]
    ext: &'a Ext,
}

impl Event {
    /// An event seen by the own user `self_id`: no channel, no actor, caused by somebody else, delivered live.
    pub fn new(self_id: impl Into<String>, body: impl Into<Body>) -> Self {
        Self {
            own: Own {
                user_id: self_id.into(),
            },
            channel: None,
            actor: None,
            actor_resolved: true,
            body: body.into(),
            ext: Ext::new(),
            time: None,
            revision: None,
            order_scope: OrderScope::None,
            order_key: String::new(),
            origin: Origin::Remote,
            delivery: Delivery::Live,
            client_ref: None,
        }
    }

    /// Where it happened.
    #[must_use]
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channel = Some(channel);
        self
    }

    /// Who did it.
    #[must_use]
    pub fn actor(mut self, actor: User) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Somebody did it, but the provider does not say who, or not all of it.
    #[must_use]
    pub fn actor_unresolved(mut self) -> Self {
        self.actor_resolved = false;
        self
    }

    /// When it happened, in Unix ms by the provider's clock; for a new message its own time is the default.
    #[must_use]
    pub fn time_ms(mut self, ms: i64) -> Self {
        self.time = Some(Time::from_ms(ms));
        self
    }

    /// Its place in the order; the key must sort as a string, see [`ids::order_key`].
    #[must_use]
    pub fn order(mut self, scope: OrderScope, key: impl Into<String>) -> Self {
        self.order_scope = scope;
        self.order_key = key.into();
        self
    }

    /// The provider's version of what changed, where it has one.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Who caused it.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// How it came to be delivered.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The command that this echoes: proven to be ours, so the origin becomes [`Origin::Bridge`].
    #[must_use]
    pub fn client_ref(mut self, client_ref: impl Into<String>) -> Self {
        self.client_ref = Some(client_ref.into());
        self.origin = Origin::Bridge;
        self
    }

    /// What the model has no word for.
    #[must_use]
    pub fn ext(mut self, provider: impl Into<String>, value: impl Into<Json>) -> Self {
        self.ext.insert(provider.into(), value.into());
        self
    }

    /// What kind of event it is.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        self.body.kind()
    }

    /// Exact native id of the channel.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        self.channel.as_ref().map(|channel| channel.id.as_str())
    }

    /// When it happened by the provider's clock, if that is known.
    #[must_use]
    pub fn occurred(&self) -> Option<Time> {
        self.time.or(match &self.body {
            Body::MessageCreated(body) => body.message.created_at,
            _ => None,
        })
    }

    /// Exact native id of what happened, which makes the event's id; empty for kinds that have none.
    #[must_use]
    pub fn native_id(&self) -> Cow<'_, str> {
        ids::native_id(self.whole_native_id())
    }

    fn whole_native_id(&self) -> Cow<'_, str> {
        let actor = self.actor.as_ref().map_or("", |user| &user.id);
        Cow::Borrowed(match &self.body {
            Body::MessageCreated(body) => &body.message.id,
            Body::MessageUpdated(body) => &body.message.id,
            Body::MessageRecalled(body) => &body.target.message_id,
            Body::MessageFailed(_) => self.client_ref.as_deref().unwrap_or_default(),
            Body::ReactionAdded(body) => {
                return join([&body.target.message_id, actor, &body.reaction.key]);
            }
            Body::ReactionRemoved(body) => {
                return join([&body.target.message_id, actor, &body.reaction.key]);
            }
            Body::ReactionSynced(body) => &body.target.message_id,
            Body::ReceiptDelivered(body) => return body.receipt.native_id(),
            Body::ReceiptRead(body) => return body.receipt.native_id(),
            Body::ChannelCreated(_) | Body::ChannelUpdated(_) | Body::ChannelRemoved(_) => {
                self.channel_id().unwrap_or_default()
            }
            Body::MemberJoined(body) => &body.member.user.id,
            Body::MemberLeft(body) => &body.member.user.id,
            Body::MemberUpdated(body) => &body.member.user.id,
            Body::ContactRequested(body) => &body.request_id,
            Body::ContactAdded(body) => &body.contact.id,
            Body::ContactRemoved(body) => &body.contact.id,
            Body::NoticeReceived(body) => body.notice_id.as_deref().unwrap_or_default(),
            Body::SyncGap(body) => {
                let gap = &body.gap;
                return range(gap.scope.as_str(), &gap.from, &gap.to);
            }
            Body::SyncCompleted(body) => {
                let sync = &body.sync;
                return range(sync.scope.as_str(), &sync.from, &sync.to);
            }
            Body::TypingStarted(_)
            | Body::TypingStopped(_)
            | Body::PresenceChanged(_)
            | Body::UnreadChanged(_)
            | Body::RawFrame(_) => "",
        })
    }

    /// Revision of what happened, which tells repeated changes of one thing apart.
    ///
    /// The one given; else, for kinds that can happen to the same thing again, the provider's time in Unix ms.
    #[must_use]
    pub fn native_rev(&self) -> Cow<'_, str> {
        if let Some(revision) = &self.revision {
            return Cow::Borrowed(revision);
        }
        let time = match &self.body {
            Body::MessageUpdated(body) => body.message.edited_at.or(self.time),
            Body::ReceiptDelivered(body) => body.receipt.at.or(self.time),
            Body::ReceiptRead(body) => body.receipt.at.or(self.time),
            Body::ReactionAdded(_)
            | Body::ReactionRemoved(_)
            | Body::ReactionSynced(_)
            | Body::ChannelUpdated(_)
            | Body::MemberJoined(_)
            | Body::MemberLeft(_)
            | Body::MemberUpdated(_)
            | Body::ContactAdded(_)
            | Body::ContactRemoved(_) => self.time,
            _ => None,
        };
        time.map_or(Cow::Borrowed(""), |time| Cow::Owned(time.ms().to_string()))
    }

    /// Appends `data` as JSON.
    pub fn write_payload(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, self)
            .expect("the model's maps have string keys, and a Vec takes everything");
    }

    /// Reads `data` back; what only the envelope tells has its default.
    ///
    /// # Errors
    /// Not JSON, or a required member is missing or of another type. Unknown members are ignored.
    pub fn read(kind: EventKind, data: &[u8]) -> Result<Self, serde_json::Error> {
        let common: Common = serde_json::from_slice(data)?;
        Ok(Self {
            own: common.own,
            channel: common.channel,
            actor: common.actor,
            actor_resolved: common.actor_resolved,
            ext: common.ext,
            ..Self::new("", Body::read(kind, data)?)
        })
    }
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Data {
            own: &self.own,
            channel: self.channel.as_ref(),
            actor: self.actor.as_ref(),
            actor_resolved: self.actor_resolved,
            body: &self.body,
            ext: &self.ext,
        }
        .serialize(to)
    }
}

impl super::event_parts::Receipt {
    /// User, then the messages named: the marker first, then the list.
    fn native_id(&self) -> Cow<'_, str> {
        let mut id = self.user_id.clone().unwrap_or_default();
        for message in self.up_to_message_id.iter().chain(&self.message_ids) {
            id.push('|');
            id.push_str(message);
        }
        Cow::Owned(id)
    }
}

fn join(parts: [&str; 3]) -> Cow<'static, str> {
    Cow::Owned(parts.join("|"))
}

fn range(scope: &str, from: &Option<String>, to: &Option<String>) -> Cow<'static, str> {
    let end = |end: &Option<String>| end.clone().unwrap_or_default();
    join([scope, &end(from), &end(to)])
}
