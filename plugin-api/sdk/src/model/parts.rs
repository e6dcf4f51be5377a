//! The objects that events, commands and results share: who and where.

use super::names::{ChannelKind, MemberRole, UserKind};
use super::record::record;
use super::time::Time;

record! {
    /// Where something happens.
    Channel {
        /// Exact native id.
        id: String,
        /// What kind of channel it is.
        kind: ChannelKind,
        /// The provider's own word or number for the kind.
        native_kind?: String,
        /// Its name.
        name?: String,
        /// Id of the channel that it belongs to.
        parent_id?: String,
        /// How many members it has.
        member_count?: u64,
        /// Unread messages of the own user.
        unread?: u64,
        /// Time of its last message.
        last_message_at?: Time,
    }

    /// Who does something.
    User {
        /// Exact native id.
        id: String,
        /// The name shown by the provider.
        name?: String,
        /// What kind of user it is.
        kind: UserKind,
        /// Address of the picture.
        avatar_url?: String,
    }

    /// A user in a channel.
    Member {
        /// Who.
        user: User,
        /// Its role in the channel.
        role: MemberRole,
        /// Its name in the channel.
        alias?: String,
        /// Since when it is a member.
        joined_at?: Time,
        /// Until when it may not write.
        muted_until?: Time,
    }

    /// The own user.
    Own {
        /// Exact native id.
        user_id: String,
    }

    /// The message that something happened to.
    Target {
        /// Exact native id.
        message_id: String,
    }
}

impl Channel {
    /// A channel of which only this is known.
    pub fn new(id: impl Into<String>, kind: ChannelKind) -> Self {
        Self {
            id: id.into(),
            kind,
            native_kind: None,
            name: None,
            parent_id: None,
            member_count: None,
            unread: None,
            last_message_at: None,
        }
    }

    /// With the provider's own word for the kind.
    #[must_use]
    pub fn native_kind(mut self, native_kind: impl Into<String>) -> Self {
        self.native_kind = Some(native_kind.into());
        self
    }

    /// With a name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl User {
    /// A user of whom only this is known.
    pub fn new(id: impl Into<String>, kind: UserKind) -> Self {
        Self {
            id: id.into(),
            name: None,
            kind,
            avatar_url: None,
        }
    }

    /// With a name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl Member {
    /// A member of whom only this is known.
    #[must_use]
    pub fn new(user: User, role: MemberRole) -> Self {
        Self {
            user,
            role,
            alias: None,
            joined_at: None,
            muted_until: None,
        }
    }
}

impl Target {
    /// The message with this id.
    pub fn new(message_id: impl Into<String>) -> Self {
        Self {
            message_id: message_id.into(),
        }
    }
}
