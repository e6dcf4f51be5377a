//! Parameters of every command: one struct each, named like the command.
//!
//! Unknown members are refused. `ext.<provider>` holds provider options, which only the adapter knows.

use super::command::Options;
use super::json::{Ext, Json};
use super::message::ReplyTo;
use super::names::{ChannelKind, MemberRole, Scope};
use super::record::record;
use super::segment::Segment;
use serde::{Deserialize, Serialize};

macro_rules! params {
    ($($(#[$meta:meta])* $name:ident { $($members:tt)* })+) => {
        record! {
            $(
                #[serde(deny_unknown_fields)]
                $(#[$meta])*
                $name {
                    $($members)*
                    /// Provider options, by provider.
                    #[serde(default, skip_serializing_if = "Ext::is_empty")]
                    ext: Ext,
                }
            )+
        }
    };
}

/// Whom a message goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// Into this channel.
    ChannelId(String),
    /// To this user, in the channel of the two.
    UserId(String),
}

record! {
    /// A message to be sent.
    #[serde(deny_unknown_fields)]
    Draft {
        /// Content in reading order.
        #[schemars(length(min = 1, max = 64))]
        segments: Vec<Segment>,
        /// The message that it answers.
        reply_to?: ReplyTo,
        /// The thread that it belongs to.
        thread_id?: String,
    }
}

params! {
    /// Sends a message.
    MessageSend {
        /// Whom it goes to.
        to: To,
        /// What is sent.
        message: Draft,
    }

    /// Sends several messages, each with a key of its own.
    MessageSendBatch {
        /// Which.
        #[schemars(length(min = 1, max = 100))]
        items: Vec<BatchItem>,
    }

    /// One message of a batch.
    BatchItem {
        /// Whom it goes to.
        to: To,
        /// What is sent.
        message: Draft,
        /// How, where it differs from the batch.
        options?: Options,
    }

    /// Takes a message back.
    MessageRecall {
        /// Where it stands.
        channel_id: String,
        /// Which one.
        message_id: String,
        /// For whom; everyone when absent.
        scope?: Scope,
    }

    /// Replaces the content of a message.
    MessageUpdate {
        /// Where it stands.
        channel_id: String,
        /// Which one.
        message_id: String,
        /// Its whole new content.
        message: Draft,
    }

    /// Reads one message.
    MessageGet {
        /// Where it stands.
        channel_id?: String,
        /// Which one.
        message_id: String,
    }

    /// Reads messages of a channel, from the newest down unless a bound is given.
    MessageList {
        /// Which channel.
        channel_id: String,
        /// At most so many.
        #[schemars(range(min = 1, max = 200))]
        limit?: u32,
        /// Where the page before ended.
        cursor?: String,
        /// Only what follows this order key; not together with `before`.
        after?: String,
        /// Only what precedes this order key; not together with `after`.
        before?: String,
    }

    /// Reacts to a message.
    ReactionAdd {
        /// Where it stands.
        channel_id: String,
        /// Which one.
        message_id: String,
        /// The emoji, or the provider's word for it.
        key: String,
    }

    /// Takes a reaction back.
    ReactionRemove {
        /// Where the message stands.
        channel_id: String,
        /// Which one.
        message_id: String,
        /// The emoji, or the provider's word for it.
        key: String,
    }

    /// Marks messages as read: up to one, or these.
    ReceiptRead {
        /// Where they stand.
        channel_id: String,
        /// This one and all before it.
        up_to_message_id?: String,
        /// These.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        message_ids: Vec<String>,
    }

    /// Reads how far the members of a channel have read.
    ReceiptList {
        /// Which channel.
        channel_id: String,
        /// Only who read this message.
        message_id?: String,
        /// Only these users.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        user_ids: Vec<String>,
    }

    /// Shows or hides that one is writing.
    TypingSet {
        /// Where.
        channel_id: String,
        /// Whether one is writing.
        on: bool,
        /// For how long to show it.
        ttl_ms?: u64,
    }

    /// Makes a channel; one of two people is found if there is one.
    ChannelCreate {
        /// What kind.
        kind: ChannelKind,
        /// Its id, where the provider lets the caller choose.
        id?: String,
        /// Its name.
        name?: String,
        /// Address of its picture.
        avatar_url?: String,
        /// Its members; exactly one for `dm`.
        member_ids: Vec<String>,
    }

    /// Changes a channel.
    ChannelUpdate {
        /// Which one.
        channel_id: String,
        /// Its new name.
        name?: String,
        /// Address of its new picture.
        avatar_url?: String,
        /// Its new topic.
        topic?: String,
    }

    /// Deletes a channel; for everyone, that destroys it.
    ChannelDelete {
        /// Which one.
        channel_id: String,
        /// For whom; everyone when absent.
        scope?: Scope,
    }

    /// Leaves a channel.
    ChannelLeave {
        /// Which one.
        channel_id: String,
    }

    /// Reads one channel.
    ChannelGet {
        /// Which one.
        channel_id: String,
    }

    /// Reads the own user's channels.
    #[derive(Default)]
    ChannelList {
        /// At most so many.
        #[schemars(range(min = 1, max = 200))]
        limit?: u32,
        /// Where the page before ended.
        cursor?: String,
    }

    /// Adds members to a channel.
    MemberAdd {
        /// Which channel.
        channel_id: String,
        /// Whom.
        #[schemars(length(min = 1, max = 200))]
        user_ids: Vec<String>,
    }

    /// Removes members from a channel.
    MemberRemove {
        /// Which channel.
        channel_id: String,
        /// Whom.
        #[schemars(length(min = 1, max = 200))]
        user_ids: Vec<String>,
    }

    /// Changes a membership.
    MemberUpdate {
        /// Which channel.
        channel_id: String,
        /// Whose.
        user_id: String,
        /// The new role.
        role?: MemberRole,
        /// The new name in the channel.
        alias?: String,
    }

    /// Reads the members of a channel.
    MemberList {
        /// Which channel.
        channel_id: String,
        /// At most so many.
        #[schemars(range(min = 1, max = 200))]
        limit?: u32,
        /// Where the page before ended.
        cursor?: String,
    }

    /// Reads one user.
    UserGet {
        /// Whom.
        user_id: String,
        /// A channel both are in, where the provider needs one.
        channel_id?: String,
    }

    /// Reads the own user's contacts.
    #[derive(Default)]
    ContactList {
        /// At most so many.
        #[schemars(range(min = 1, max = 200))]
        limit?: u32,
        /// Where the page before ended.
        cursor?: String,
    }

    /// Answers somebody who wants to be a contact.
    ContactApprove {
        /// Which request.
        request_id: String,
        /// Yes or no.
        accept: bool,
    }

    /// Reads unread counts.
    #[derive(Default)]
    UnreadGet {
        /// Only of this channel.
        channel_id?: String,
    }

    /// Brings media to the provider.
    MediaUpload {
        /// Name of an object in the bridge's store.
        #[serde(rename = "ref")]
        blob: String,
        /// Media type.
        mime: String,
        /// File name.
        name?: String,
    }

    /// Calls a method of the provider that the model has no word for.
    NativeCall {
        /// The provider's name of it.
        method: String,
        /// What it takes.
        body?: Json,
    }
}

/// Results per page when the caller names no limit.
pub const PAGE_DEFAULT: u32 = 50;

/// Parameters of the control verbs of an account.
pub mod account {
    use crate::model::names::ChallengeKind;
    use crate::model::record::record;

    record! {
        /// Logs in anew with the configured credentials, which are read again.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Login {}

        /// Logs out and stays so.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Logout {}

        /// Connects anew.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Reconnect {}

        /// Fetches a new token, which is never returned.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        RefreshToken {}

        /// Answers risk control, or says that it was answered elsewhere.
        #[serde(deny_unknown_fields)]
        AnswerChallenge {
            /// What was asked.
            kind: ChallengeKind,
            /// The answer: used once, neither stored nor logged.
            answer?: String,
        }

        /// Catches up now.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Sync {
            /// Only in this channel.
            channel_id?: String,
            /// From this time or order key on; events are then marked as replay.
            from?: String,
        }

        /// Asks how the account is.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Health {}

        /// Asks what the account offers.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Info {}

        /// Hands the account to another replica.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Drain {}
    }
}

/// Parameters of the control verbs of a plugin.
pub mod adapter {
    use crate::model::record::record;

    record! {
        /// Asks which plugin a replica runs.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Info {}

        /// Searches the plugin directories now, and upgrades.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Reload {}

        /// Uses the newest file that waits for a person.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Upgrade {
            /// Also if the version before cannot read what this one keeps.
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            one_way: bool,
        }

        /// Goes back to the version before, and uses the newer one no more until that is cleared.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Rollback {}

        /// Lets files be used again that are out of use.
        #[derive(Default)]
        #[serde(deny_unknown_fields)]
        Clear {
            /// The first digits of a hash, at least four: that one only.
            sha256?: String,
        }
    }
}
