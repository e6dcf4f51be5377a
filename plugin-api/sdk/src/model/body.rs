//! What each kind of event says beside the common members: one struct per kind.
//!
//! Not here: the common members and routing (`event`).

use super::code::ErrorObject;
use super::event_parts::{
    Cause, ChangedFields, Frame, Gap, Notice, Presence, Reaction, ReactionUsers, Recall, Receipt,
    Removal, Sync, Typing, Unread,
};
use super::message::Message;
use super::names::EventKind;
use super::parts::{Member, Target, User};
use super::record::record;

record! {
    /// A message was written.
    MessageCreated {
        /// The message.
        message: Message,
    }

    /// A message was edited.
    MessageUpdated {
        /// Its whole new content.
        message: Message,
    }

    /// A message was taken back.
    MessageRecalled {
        /// Which one.
        target: Target,
        /// For whom, and why.
        change: Recall,
    }

    /// A message that was accepted for sending did not get through; the event's client reference says which.
    MessageFailed {
        /// Why.
        error: ErrorObject,
        /// The message, where the provider had given it an id.
        target?: Target,
    }

    /// Somebody reacted to a message.
    ReactionAdded {
        /// Which one.
        target: Target,
        /// How.
        reaction: Reaction,
    }

    /// Somebody took a reaction back.
    ReactionRemoved {
        /// From which message.
        target: Target,
        /// Which one.
        reaction: Reaction,
    }

    /// All reactions to a message, as they are now.
    ReactionSynced {
        /// Which one.
        target: Target,
        /// Each key with its users.
        reactions: Vec<ReactionUsers>,
    }

    /// Messages reached a user.
    ReceiptDelivered {
        /// Whom, and which.
        receipt: Receipt,
    }

    /// A user read messages.
    ReceiptRead {
        /// Who, and which.
        receipt: Receipt,
    }

    /// Somebody began to write.
    TypingStarted {
        /// For how long to believe it.
        typing: Typing,
    }

    /// Somebody stopped writing.
    TypingStopped {}

    /// A user came or went.
    PresenceChanged {
        /// What the user is now.
        presence: Presence,
    }

    /// A channel came to be; the common members say which.
    ChannelCreated {}

    /// A channel changed; the common members have the new values.
    ChannelUpdated {
        /// What changed.
        change: ChangedFields,
    }

    /// A channel went away.
    ChannelRemoved {
        /// For whom, and why.
        change: Removal,
    }

    /// A user became a member.
    MemberJoined {
        /// Who.
        member: Member,
        /// How.
        change: Cause,
    }

    /// A user is a member no more.
    MemberLeft {
        /// Who.
        member: Member,
        /// Why.
        change: Cause,
    }

    /// A membership changed.
    MemberUpdated {
        /// Whose, with the new values.
        member: Member,
        /// What changed.
        change: ChangedFields,
    }

    /// A user wants to be a contact.
    ContactRequested {
        /// Who.
        contact: User,
        /// What to name when approving.
        request_id: String,
        /// What the user says.
        text?: String,
    }

    /// A user became a contact.
    ContactAdded {
        /// Who.
        contact: User,
    }

    /// A user is a contact no more.
    ContactRemoved {
        /// Who.
        contact: User,
    }

    /// The own user's unread count changed.
    UnreadChanged {
        /// What it is now.
        unread: Unread,
    }

    /// The provider says something that is no message.
    NoticeReceived {
        /// What.
        notice: Notice,
        /// The provider's id of the notice, if it has one: it makes the event's id and is not part of `data`.
        #[serde(skip)]
        notice_id: Option<String>,
    }

    /// Events are missing and could not be fetched.
    SyncGap {
        /// Where.
        gap: Gap,
    }

    /// What was missed has been fetched.
    SyncCompleted {
        /// Where, and how much.
        sync: Sync,
    }

    /// One frame as it went over the provider's line; for people who debug an adapter, never in the stream.
    RawFrame {
        /// The frame, without secrets.
        raw: Frame,
    }
}

macro_rules! bodies {
    ($($kind:ident)+) => {
        /// What happened: one variant per kind of event.
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        pub enum Body {
            $(#[doc = concat!("See [`", stringify!($kind), "`].")] $kind($kind),)+
        }

        impl Body {
            /// The kind of event that has this body.
            #[must_use]
            pub const fn kind(&self) -> EventKind {
                match self {
                    $(Self::$kind(_) => EventKind::$kind,)+
                }
            }

            /// Reads the body of an event of this kind from the event's whole `data`.
            ///
            /// # Errors
            /// A member of the body is missing or of another type.
            pub fn read(kind: EventKind, data: &[u8]) -> Result<Self, serde_json::Error> {
                match kind {
                    $(EventKind::$kind => serde_json::from_slice(data).map(Self::$kind),)+
                }
            }

            pub(super) fn schema(kind: EventKind, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match kind {
                    $(EventKind::$kind => <$kind as schemars::JsonSchema>::json_schema(generator),)+
                }
            }
        }

        $(impl From<$kind> for Body {
            fn from(body: $kind) -> Self {
                Self::$kind(body)
            }
        })+
    };
}

bodies! {
    MessageCreated MessageUpdated MessageRecalled MessageFailed
    ReactionAdded ReactionRemoved ReactionSynced ReceiptDelivered ReceiptRead
    TypingStarted TypingStopped PresenceChanged
    ChannelCreated ChannelUpdated ChannelRemoved MemberJoined MemberLeft MemberUpdated
    ContactRequested ContactAdded ContactRemoved
    UnreadChanged NoticeReceived SyncGap SyncCompleted RawFrame
}
