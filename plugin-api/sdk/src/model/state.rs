//! What is published when an account or a plugin changes its state.

use super::code::ErrorObject;
use super::names::{AccountState, AdapterState, ChallengeKind, UserAction};
use super::record::record;
use super::time::Time;

record! {
    /// State of an account, published on transitions only.
    State {
        /// What it is.
        state: AccountState,
        /// Since when.
        since: Time,
        /// Why: an error's code, or a word of the core or the adapter.
        #[schemars(regex(pattern = "^[a-z0-9_]{1,48}$"))]
        reason?: String,
        /// What a person must do.
        action: UserAction,
        /// The own user, once known.
        #[serde(rename = "self")]
        own?: SelfUser,
        /// The connection to the provider.
        connection?: Connection,
        /// What risk control wants; in `challenge_required` only.
        challenge?: Challenge,
        /// The error that led here.
        error?: ErrorObject,
        /// The plugin that serves it.
        adapter?: AdapterBuild,
        /// The replica that holds it.
        owner?: Owner,
    }

    /// The own user.
    SelfUser {
        /// Exact native id.
        user_id: String,
        /// Name at the provider.
        name?: String,
    }

    /// A connection to a provider.
    Connection {
        /// `websocket`, `http`, `tcp`.
        transport: String,
        /// How often it was tried since it was last up.
        attempt: u32,
        /// Since when it is up.
        connected_at?: Time,
        /// When anything came in.
        last_frame_at?: Time,
        /// When an event came in.
        last_event_at?: Time,
        /// When it is tried again.
        next_attempt_at?: Time,
    }

    /// What risk control wants.
    Challenge {
        /// Its kind.
        kind: ChallengeKind,
        /// Where to answer it.
        url?: String,
        /// Until when.
        expires_at?: Time,
    }

    /// A plugin.
    AdapterBuild {
        /// Its package.
        name: String,
        /// Its version.
        version: String,
        /// The plugin ABI that it speaks.
        abi: String,
        /// First 8 characters of the file's hash.
        sha256?: String,
    }

    /// Who holds an account.
    Owner {
        /// The replica.
        instance: String,
        /// The lease's epoch.
        epoch: u64,
    }

    /// State of a plugin file on one replica.
    AdapterStateDocument {
        /// The replica.
        instance: String,
        /// The provider that the plugin serves.
        provider: String,
        /// Its version.
        version: String,
        /// The plugin ABI that it speaks.
        abi: String,
        /// First 8 characters of the file's hash.
        sha256: String,
        /// What it is.
        state: AdapterState,
        /// Why.
        reason?: String,
    }
}

/// What becomes of durable commands in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// They are carried out.
    Run,
    /// They stay in the stream until they expire.
    Wait,
    /// They are acknowledged with an error.
    Refused,
}

impl AccountState {
    /// What becomes of durable commands.
    #[must_use]
    pub const fn durable(self) -> Durable {
        match self {
            Self::CatchingUp | Self::Online | Self::Degraded => Durable::Run,
            Self::BadCredentials => Durable::Refused,
            Self::Stopped
            | Self::Starting
            | Self::Unconfigured
            | Self::LoggingIn
            | Self::Connecting
            | Self::Backoff
            | Self::ChallengeRequired
            | Self::Conflicted
            | Self::LoggedOut
            | Self::Failed => Durable::Wait,
        }
    }

    /// What a person must do.
    #[must_use]
    pub const fn action(self) -> UserAction {
        match self {
            Self::Unconfigured => UserAction::FixConfig,
            Self::Degraded | Self::Conflicted | Self::Failed => UserAction::Look,
            Self::Backoff => UserAction::Wait,
            Self::ChallengeRequired => UserAction::AnswerChallenge,
            Self::BadCredentials => UserAction::Relogin,
            Self::Stopped
            | Self::Starting
            | Self::LoggingIn
            | Self::Connecting
            | Self::CatchingUp
            | Self::Online
            | Self::LoggedOut => UserAction::None,
        }
    }
}
