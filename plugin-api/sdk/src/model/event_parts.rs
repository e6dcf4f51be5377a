//! The objects that only events have.

use super::json::Json;
use super::names::{
    ChangeReason, GapReason, GapScope, OpaqueEncoding, PresenceStatus, RawDirection, Scope,
    Severity,
};
use super::record::record;
use super::time::Time;

record! {
    /// How a message was taken back.
    Recall {
        /// For whom.
        scope: Scope,
        /// Why.
        reason?: ChangeReason,
    }

    /// How a channel went away.
    Removal {
        /// For whom.
        scope: Scope,
        /// Why.
        reason: ChangeReason,
    }

    /// Why a membership began or ended.
    Cause {
        /// Why.
        reason: ChangeReason,
    }

    /// What changed.
    ChangedFields {
        /// Names of the members whose new values stand in `channel` or `member`.
        fields: Vec<String>,
    }

    /// One reaction.
    Reaction {
        /// The emoji, or the provider's word for it.
        key: String,
    }

    /// One reaction with everybody who gave it.
    ReactionUsers {
        /// The emoji, or the provider's word for it.
        key: String,
        /// Who gave it.
        user_ids: Vec<String>,
    }

    /// How far messages got: up to a marker, or these, as the provider tells it.
    #[derive(Default)]
    Receipt {
        /// To whom; null when the provider does not say.
        user_id: Option<String>,
        /// This one and all before it.
        up_to_message_id?: String,
        /// These.
        message_ids: Vec<String>,
        /// When.
        at?: Time,
    }

    /// Somebody is writing.
    Typing {
        /// For how long to believe it.
        ttl_ms: u64,
    }

    /// Whether a user is there.
    Presence {
        /// What the user is now.
        status: PresenceStatus,
        /// Since when.
        since?: Time,
    }

    /// Unread messages of the own user.
    #[derive(Default)]
    Unread {
        /// In all channels.
        total?: u64,
        /// In the event's channel.
        channel?: u64,
    }

    /// Something the provider says.
    Notice {
        /// The provider's word for it.
        native_type: String,
        /// Title.
        title?: String,
        /// Text.
        text?: String,
        /// How much it matters.
        severity: Severity,
        /// The provider's content, JSON or a string.
        native?: Json,
    }

    /// Events that could not be fetched.
    Gap {
        /// Where.
        scope: GapScope,
        /// In which channel.
        channel_id?: String,
        /// First that is missing: a time or an order key.
        from?: String,
        /// Last that is missing: a time or an order key.
        to?: String,
        /// Why.
        reason: GapReason,
        /// How many, roughly.
        lost_estimate?: u64,
    }

    /// Events that were fetched late.
    Sync {
        /// Where.
        scope: GapScope,
        /// In which channel.
        channel_id?: String,
        /// First: a time or an order key.
        from?: String,
        /// Last: a time or an order key.
        to?: String,
        /// How many.
        count: u64,
    }

    /// One frame of the provider's line.
    Frame {
        /// Seen from the bridge.
        direction: RawDirection,
        /// The provider's word for it.
        native_type: String,
        /// How `body` is to be read.
        encoding: OpaqueEncoding,
        /// At most 64 KiB, without secrets: any JSON, or a string for the other encodings.
        body: Json,
        /// The end is missing.
        truncated: bool,
    }
}

impl Notice {
    /// A notice of which only this is known.
    pub fn new(native_type: impl Into<String>, severity: Severity) -> Self {
        Self {
            native_type: native_type.into(),
            title: None,
            text: None,
            severity,
            native: None,
        }
    }
}
