//! What can be asked of an account: every command with its effect, its parameters and its result.
//!
//! Not here: how commands are checked against capabilities, claimed and ordered, which is the core's.

use super::names::{AdapterVerb, ControlVerb, OnUnsupported};
use super::names_macro::names;
use super::record::record;
use super::{params, results, strict};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What a command does to the world, and so what the core does for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes something: has a key, an entry in the ledger and a place in its channel's lane.
    Mutating,
    /// Changes nothing: no key and no lane.
    ReadOnly,
    /// Matters only now: no key, and late ones are dropped.
    Ephemeral,
}

/// Parameters of one command or control verb.
pub trait Params: Serialize + DeserializeOwned + JsonSchema {
    /// The command's name at the plugin ABI: `message.send`, `account.login`.
    const NAME: &'static str;
    /// What a success carries.
    type Result: Serialize + DeserializeOwned + JsonSchema;
}

macro_rules! commands {
    ($($value:ident = $wire:literal $effect:ident => $result:ident,)+) => {
        names! {
            /// What a caller asks of an account.
            Command {
                $($value = $wire,)+
            }
        }

        impl Command {
            /// What it does to the world.
            #[must_use]
            pub const fn effect(self) -> Effect {
                match self {
                    $(Self::$value => Effect::$effect,)+
                }
            }

            /// Checks parameters for missing, unknown and ill-typed members.
            ///
            /// # Errors
            /// The first of them, with its place inside `params`.
            pub fn check(self, params: &Value) -> Result<(), strict::Refused> {
                match self {
                    $(Self::$value => strict::read::<params::$value>(params).map(drop),)+
                }
            }

            /// Schema of the parameters.
            pub(super) fn params_schema(self, generator: &mut SchemaGenerator) -> Schema {
                match self {
                    $(Self::$value => generator.subschema_for::<params::$value>(),)+
                }
            }

            /// Schema of the result.
            pub(super) fn result_schema(self, generator: &mut SchemaGenerator) -> Schema {
                match self {
                    $(Self::$value => generator.subschema_for::<results::$result>(),)+
                }
            }
        }

        $(impl Params for params::$value {
            const NAME: &'static str = $wire;
            type Result = results::$result;
        })+
    };
}

commands! {
    MessageSend = "message.send" Mutating => MessageSend,
    MessageSendBatch = "message.send_batch" Mutating => MessageSendBatch,
    MessageRecall = "message.recall" Mutating => Done,
    MessageUpdate = "message.update" Mutating => MessageSend,
    MessageGet = "message.get" ReadOnly => MessageGet,
    MessageList = "message.list" ReadOnly => MessageList,
    ReactionAdd = "reaction.add" Mutating => Done,
    ReactionRemove = "reaction.remove" Mutating => Done,
    ReceiptRead = "receipt.read" Mutating => ReceiptRead,
    ReceiptList = "receipt.list" ReadOnly => ReceiptList,
    TypingSet = "typing.set" Ephemeral => Done,
    ChannelCreate = "channel.create" Mutating => ChannelCreate,
    ChannelUpdate = "channel.update" Mutating => ChannelGet,
    ChannelDelete = "channel.delete" Mutating => Done,
    ChannelLeave = "channel.leave" Mutating => Done,
    ChannelGet = "channel.get" ReadOnly => ChannelGet,
    ChannelList = "channel.list" ReadOnly => ChannelList,
    MemberAdd = "member.add" Mutating => MemberAdd,
    MemberRemove = "member.remove" Mutating => MemberRemove,
    MemberUpdate = "member.update" Mutating => MemberUpdate,
    MemberList = "member.list" ReadOnly => MemberList,
    UserGet = "user.get" ReadOnly => UserGet,
    ContactList = "contact.list" ReadOnly => ContactList,
    ContactApprove = "contact.approve" Mutating => Done,
    UnreadGet = "unread.get" ReadOnly => UnreadGet,
    MediaUpload = "media.upload" Mutating => MediaUpload,
    NativeCall = "native.call" Mutating => NativeCall,
}

macro_rules! verbs {
    ($enum:ident in $module:ident, $prefix:literal: $($value:ident = $wire:literal => $result:ident,)+) => {
        impl $enum {
            /// The command's name at the plugin ABI and in results.
            #[must_use]
            pub const fn command_name(self) -> &'static str {
                match self {
                    $(Self::$value => concat!($prefix, ".", $wire),)+
                }
            }

            /// Checks parameters for missing, unknown and ill-typed members.
            ///
            /// # Errors
            /// The first of them, with its place inside `params`.
            pub fn check(self, params: &Value) -> Result<(), strict::Refused> {
                match self {
                    $(Self::$value => strict::read::<params::$module::$value>(params).map(drop),)+
                }
            }

            /// Schema of the parameters.
            pub(super) fn params_schema(self, generator: &mut SchemaGenerator) -> Schema {
                match self {
                    $(Self::$value => generator.subschema_for::<params::$module::$value>(),)+
                }
            }

            /// Schema of the result.
            pub(super) fn result_schema(self, generator: &mut SchemaGenerator) -> Schema {
                match self {
                    $(Self::$value => generator.subschema_for::<results::$result>(),)+
                }
            }
        }

        $(impl Params for params::$module::$value {
            const NAME: &'static str = concat!($prefix, ".", $wire);
            type Result = results::$result;
        })+
    };
}

verbs! {
    ControlVerb in account, "account":
    Login = "login" => Login,
    Logout = "logout" => Done,
    Reconnect = "reconnect" => Done,
    RefreshToken = "refresh_token" => RefreshToken,
    AnswerChallenge = "answer_challenge" => AnswerChallenge,
    Sync = "sync" => SyncDone,
    Health = "health" => Health,
    Info = "info" => AccountInfo,
    Drain = "drain" => Drain,
}

verbs! {
    AdapterVerb in adapter, "adapter":
    Info = "info" => AdapterInfo,
    Reload = "reload" => AdapterReload,
    Upgrade = "upgrade" => AdapterReload,
    Rollback = "rollback" => AdapterReload,
    Clear = "clear" => AdapterReload,
}

/// `data` of a command, as the caller writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandData<P> {
    /// Names the action: the same key is executed once. Begin it with the caller's name. The envelope's id by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub idempotency_key: Option<String>,
    /// What is wanted.
    pub params: P,
    /// How.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
}

/// What an adapter gets of a command: the body at the plugin ABI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandBody<P> {
    /// What is wanted.
    pub params: P,
    /// How.
    #[serde(default)]
    pub options: Options,
}

record! {
    /// How a command is to be carried out. What has its default is not written.
    #[serde(deny_unknown_fields, default)]
    Options {
        /// What to do with a segment that the provider cannot carry.
        #[serde(skip_serializing_if = "is_fail")]
        on_unsupported: OnUnsupported,
        /// Segments that need several native messages become several.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        split: bool,
        /// The receiver is notified; false: quietly, where the provider can.
        #[serde(skip_serializing_if = "Clone::clone")]
        notify: bool,
        /// The message itself expires, where the provider can.
        expires_in_s?: u64,
        /// All checks of the core, and nothing else.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            on_unsupported: OnUnsupported::Fail,
            split: false,
            notify: true,
            expires_in_s: None,
            dry_run: false,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_fail(what: &OnUnsupported) -> bool {
    *what == OnUnsupported::Fail
}
