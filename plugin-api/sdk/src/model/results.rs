//! Results of every command, and `data` of a result.

use super::capability::CapabilityDocument;
use super::code::ErrorObject;
use super::json::Json;
use super::media::Media;
use super::message::Message;
use super::names::{AccountState, AdapterState, DegradationAction, ResultStatus};
use super::parts::{Channel, Member, User};
use super::record::record;
use super::state::{AdapterBuild, SelfUser};
use super::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `data` of a result. `result` comes last, because the core splices the adapter's bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultData<R = Json> {
    /// Id of the command.
    pub command_id: String,
    /// Name of the command.
    pub command: String,
    /// Its key; mutating commands only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What the key became at the provider; mutating commands only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ref: Option<String>,
    /// How it ended.
    pub status: ResultStatus,
    /// The first result again; nothing was done.
    pub duplicate: bool,
    /// Everything was checked, and nothing done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How long it took.
    pub timing: Timing,
    /// What went wrong; with `error` and `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
    /// With `ok` and `accepted`; beside an error only for messages that were sent partly, and of plugins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<R>,
}

record! {
    /// How long a command took.
    #[derive(Default)]
    Timing {
        /// In the bridge.
        queued_ms: u64,
        /// At the provider.
        provider_ms: u64,
        /// How often it was tried.
        attempts: u32,
    }

    /// What was done to something that the provider cannot carry.
    Degradation {
        /// JSON pointer into `params`.
        path: String,
        /// What was done.
        action: DegradationAction,
        /// Why, for people.
        reason: String,
    }
}

macro_rules! results {
    ($($(#[$meta:meta])* $name:ident { $($members:tt)* })+) => {
        record! {
            $(
                $(#[$meta])*
                $name {
                    $($members)*
                    /// What was done to what the provider cannot carry.
                    #[serde(default, skip_serializing_if = "Vec::is_empty")]
                    degradations: Vec<Degradation>,
                }
            )+
        }
    };
}

record! {
    /// What was sent.
    MessageSend {
        /// The message, as far as the provider tells it.
        message: SentMessage,
        /// What was done to what the provider cannot carry.
        #[serde(default)]
        degradations: Vec<Degradation>,
    }

    /// What was stored before a send of several parts failed; stands beside the error.
    PartlySent {
        /// Native ids of the stored parts, in order.
        parts: Vec<String>,
        /// What was done to what the provider cannot carry.
        #[serde(default)]
        degradations: Vec<Degradation>,
    }

    /// The channel made or found.
    ChannelCreate {
        /// The channel.
        channel: Channel,
        /// It was made now; false: it was there.
        created: bool,
        /// What was done to what the provider cannot carry.
        #[serde(default)]
        degradations: Vec<Degradation>,
    }

    /// A message just sent.
    SentMessage {
        /// Native id; of the first part, when there are several.
        id: String,
        /// Where it stands.
        channel_id: String,
        /// Native ids of all its parts.
        parts: Vec<String>,
        /// When, by the provider's clock.
        created_at?: Time,
        /// Its place in the channel.
        orderkey?: String,
    }

    /// How one message of a batch ended.
    BatchResult {
        /// Its place in the batch, from 0.
        index: u32,
        /// How it ended.
        status: ResultStatus,
        /// With `ok` and `accepted`.
        result?: MessageSend,
        /// With `error` and `unknown`.
        error?: ErrorObject,
    }

    /// How far a user has read.
    ReadUpTo {
        /// Who.
        user_id: String,
        /// Order key of the last message read.
        up_to_orderkey: String,
    }

    /// A user for whom it did not work.
    FailedUser {
        /// Who.
        user_id: String,
        /// Why.
        error: ErrorObject,
    }

    /// One version of a plugin that still runs after an upgrade.
    RetiredImage {
        /// Its version.
        version: String,
        /// First 8 characters of the file's hash.
        sha256: String,
        /// Accounts that it still serves.
        instances: Vec<String>,
    }
}

results! {
    /// Nothing but success.
    #[derive(Default)]
    Done {}

    /// How each message of a batch ended, in order.
    MessageSendBatch {
        /// One each.
        items: Vec<BatchResult>,
    }

    /// One message.
    MessageGet {
        /// The message.
        message: Message,
    }

    /// Messages of a channel.
    MessageList {
        /// The messages.
        messages: Vec<Message>,
        /// Where the next page begins; absent at the end.
        next_cursor?: String,
    }

    /// What was marked as read.
    #[derive(Default)]
    ReceiptRead {
        /// How many messages.
        updated?: u64,
    }

    /// How far members have read.
    ReceiptList {
        /// One each.
        receipts: Vec<ReadUpTo>,
    }

    /// One channel.
    ChannelGet {
        /// The channel.
        channel: Channel,
    }

    /// Channels of the own user.
    ChannelList {
        /// The channels.
        channels: Vec<Channel>,
        /// Where the next page begins; absent at the end.
        next_cursor?: String,
    }

    /// Who became a member.
    #[derive(Default)]
    MemberAdd {
        /// Ids of who did.
        added: Vec<String>,
        /// Who did not.
        failed: Vec<FailedUser>,
    }

    /// Who is a member no more.
    #[derive(Default)]
    MemberRemove {
        /// Ids of who is not.
        removed: Vec<String>,
        /// Who still is.
        failed: Vec<FailedUser>,
    }

    /// The membership as it is now.
    MemberUpdate {
        /// The member.
        member: Member,
    }

    /// Members of a channel.
    MemberList {
        /// The members.
        members: Vec<Member>,
        /// Where the next page begins; absent at the end.
        next_cursor?: String,
    }

    /// One user.
    UserGet {
        /// The user.
        user: User,
    }

    /// Contacts of the own user.
    ContactList {
        /// The contacts.
        contacts: Vec<User>,
        /// Where the next page begins; absent at the end.
        next_cursor?: String,
    }

    /// Unread counts; never fails for want of the provider.
    UnreadGet {
        /// Over all channels, or of the one asked for.
        total: u64,
        /// Count by channel id, where the provider tells.
        channels?: BTreeMap<String, u64>,
        /// The last count known, because the provider did not answer.
        stale: bool,
    }

    /// Media, now at the provider.
    MediaUpload {
        /// The media.
        media: Media,
    }

    /// What the provider answered.
    NativeCall {
        /// Its answer.
        native: Json,
    }

    /// Who is logged in.
    Login {
        /// The own user.
        #[serde(rename = "self")]
        own: SelfUser,
    }

    /// The token is new.
    #[derive(Default)]
    RefreshToken {
        /// Until when it holds.
        expires_at?: Time,
    }

    /// What the answer led to.
    AnswerChallenge {
        /// The account's state.
        state: AccountState,
    }

    /// What was caught up.
    #[derive(Default)]
    SyncDone {
        /// How many events.
        count: u64,
        /// First: a time or an order key.
        from?: String,
        /// Last: a time or an order key.
        to?: String,
    }

    /// How the account is.
    Health {
        /// All is well.
        healthy: bool,
        /// The account's state.
        state: AccountState,
        /// What the provider says of its own health.
        detail?: Json,
    }

    /// What the account offers.
    AccountInfo {
        /// The plugin that serves it.
        adapter: AdapterBuild,
        /// What it can.
        capabilities: CapabilityDocument,
        /// Until when its token holds.
        token_expires_at?: Time,
        /// What the provider says of itself.
        provider?: Json,
    }

    /// Accounts handed to another replica.
    Drain {
        /// As `<provider>/<account>`.
        accounts: Vec<String>,
    }

    /// The plugin that one replica runs.
    AdapterInfo {
        /// The replica.
        instance: String,
        /// The file.
        file?: String,
        /// Its version.
        version?: String,
        /// First 8 characters of the file's hash.
        sha256?: String,
        /// Accounts that it serves.
        instances: Vec<String>,
        /// Earlier versions that still run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        retired: Vec<RetiredImage>,
    }

    /// How a provider's plugin is on one replica after what was asked for.
    AdapterReload {
        /// The replica.
        instance: String,
        /// State of the newest file.
        state: AdapterState,
        /// Its version.
        version?: String,
        /// Why it is in that state.
        reason?: String,
    }
}
