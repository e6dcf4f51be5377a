//! Every closed set of words of the model: what an enum is called here is what it is called in the reference.
//!
//! Reading an unknown word fails, except where a stand-in is given. Numbers are those of the plugin ABI or the wire.
//!
//! Not here: commands and error codes, whose tables carry more than names (`command`, `code`).

use super::names_macro::names;

names! {
    /// What happened: `<resource>.<action>`.
    EventKind {
        MessageCreated = "message.created",
        MessageUpdated = "message.updated",
        MessageRecalled = "message.recalled",
        MessageFailed = "message.failed",
        ReactionAdded = "reaction.added",
        ReactionRemoved = "reaction.removed",
        ReactionSynced = "reaction.synced",
        ReceiptDelivered = "receipt.delivered",
        ReceiptRead = "receipt.read",
        TypingStarted = "typing.started",
        TypingStopped = "typing.stopped",
        PresenceChanged = "presence.changed",
        ChannelCreated = "channel.created",
        ChannelUpdated = "channel.updated",
        ChannelRemoved = "channel.removed",
        MemberJoined = "member.joined",
        MemberLeft = "member.left",
        MemberUpdated = "member.updated",
        ContactRequested = "contact.requested",
        ContactAdded = "contact.added",
        ContactRemoved = "contact.removed",
        UnreadChanged = "unread.changed",
        NoticeReceived = "notice.received",
        SyncGap = "sync.gap",
        SyncCompleted = "sync.completed",
        RawFrame = "raw.frame",
    }

    /// What an operator asks of an account; at the ABI a command named `account.<verb>`.
    ControlVerb {
        Login = "login",
        Logout = "logout",
        Reconnect = "reconnect",
        RefreshToken = "refresh_token",
        AnswerChallenge = "answer_challenge",
        Sync = "sync",
        Health = "health",
        Info = "info",
        Drain = "drain",
    }

    /// What an operator asks of a plugin.
    AdapterVerb {
        Info = "info",
        Reload = "reload",
        Upgrade = "upgrade",
        Rollback = "rollback",
        Clear = "clear",
    }

    /// What to do about an error; the number is the plugin ABI's status.
    ErrorClass: i32 else Internal {
        /// Change the request.
        Invalid = "invalid" = -1,
        /// Do without.
        Unsupported = "unsupported" = -2,
        /// Check the target.
        NotFound = "not_found" = -3,
        /// Give up, or ask for rights.
        Forbidden = "forbidden" = -4,
        /// Look at the state.
        Conflict = "conflict" = -5,
        /// Slow down.
        RateLimited = "rate_limited" = -6,
        /// Try again.
        Unavailable = "unavailable" = -7,
        /// Wait for the operator.
        Auth = "auth" = -8,
        /// It may have happened: decide.
        Uncertain = "uncertain" = -9,
        /// Report a bug.
        Internal = "internal" = -10,
    }

    /// How a command ended.
    ResultStatus {
        /// The provider confirmed it.
        Ok = "ok",
        /// Handed over; an event with this client reference follows.
        Accepted = "accepted",
        /// It did not happen, or `certain` is false.
        Error = "error",
        /// It may or may not have happened.
        Unknown = "unknown",
    }

    /// State of an account. Those an adapter may report have a number at the ABI: [`AccountState::abi`].
    AccountState else Degraded {
        Stopped = "stopped",
        Starting = "starting",
        Unconfigured = "unconfigured",
        LoggingIn = "logging_in",
        Connecting = "connecting",
        CatchingUp = "catching_up",
        Online = "online",
        Degraded = "degraded",
        Backoff = "backoff",
        ChallengeRequired = "challenge_required",
        Conflicted = "conflicted",
        BadCredentials = "bad_credentials",
        LoggedOut = "logged_out",
        Failed = "failed",
    }

    /// What a person must do about an account.
    UserAction {
        None = "none",
        Wait = "wait",
        AnswerChallenge = "answer_challenge",
        Relogin = "relogin",
        FixConfig = "fix_config",
        Look = "look",
    }

    /// State of a plugin file on one replica.
    AdapterState {
        Discovered = "discovered",
        Refused = "refused",
        Held = "held",
        Quarantined = "quarantined",
        Loaded = "loaded",
        Retired = "retired",
    }

    /// What risk control wants a person to do.
    ChallengeKind else Other {
        Captcha = "captcha",
        Sms = "sms",
        Qr = "qr",
        DeviceConfirm = "device_confirm",
        Other = "other",
    }

    /// Who caused an event.
    Origin: u8 else Remote {
        /// Somebody else.
        Remote = "remote" = 0,
        /// The own user, on another device.
        SelfOtherDevice = "self_other_device" = 1,
        /// Echo of a command of this bridge.
        Bridge = "bridge" = 2,
    }

    /// How an event came to be delivered.
    Delivery: u8 else Live {
        /// As it happened.
        Live = "live" = 0,
        /// Fetched after a gap.
        Backfill = "backfill" = 1,
        /// Asked for by an operator.
        Replay = "replay" = 2,
    }

    /// Inside what an order key sorts.
    OrderScope: u8 else None {
        None = "none" = 0,
        Channel = "channel" = 1,
        Account = "account" = 2,
    }

    /// Whose clock told the time of an event.
    TimeSource {
        Provider = "provider",
        Bridge = "bridge",
    }

    /// What an operation is to tracing.
    NoiseClass: u16 else Aux {
        Command = "command" = 1,
        Event = "event" = 2,
        Session = "session" = 3,
        PollHit = "poll_hit" = 4,
        PollEmpty = "poll_empty" = 5,
        Heartbeat = "heartbeat" = 6,
        Aux = "aux" = 7,
    }

    /// Kind of a channel.
    ChannelKind else Unknown {
        /// Two people.
        Dm = "dm",
        /// Members by invitation.
        Group = "group",
        /// Whoever comes in.
        Room = "room",
        /// One writes, many read.
        Broadcast = "broadcast",
        /// The provider writes.
        System = "system",
        Unknown = "unknown",
    }

    /// Kind of a user.
    UserKind else Unknown {
        Human = "human",
        Bot = "bot",
        System = "system",
        Unknown = "unknown",
    }

    /// Role of a member in its channel.
    MemberRole else Unknown {
        Owner = "owner",
        Admin = "admin",
        Member = "member",
        Visitor = "visitor",
        Unknown = "unknown",
    }

    /// Why a message, a channel or a membership changed.
    ChangeReason else Unknown {
        Join = "join",
        Invite = "invite",
        Leave = "leave",
        Kick = "kick",
        Ban = "ban",
        Dissolved = "dissolved",
        Hidden = "hidden",
        Unknown = "unknown",
    }

    /// For whom something is taken away.
    Scope {
        Everyone = "everyone",
        Me = "me",
    }

    /// Why events are missing.
    GapReason {
        Downtime = "downtime",
        Overflow = "overflow",
        CursorRefused = "cursor_refused",
        NoHistory = "no_history",
        Undecodable = "undecodable",
    }

    /// Where events are missing, or were fetched.
    GapScope {
        Account = "account",
        Channel = "channel",
    }

    /// Whether a user is there.
    PresenceStatus {
        Online = "online",
        Away = "away",
        Busy = "busy",
        Offline = "offline",
    }

    /// Weight of a notice.
    Severity else Info {
        Debug = "debug",
        Info = "info",
        Warning = "warning",
    }

    /// What became of a message.
    MessageStatus else Normal {
        Normal = "normal",
        Edited = "edited",
        Recalled = "recalled",
    }

    /// Type of a segment.
    SegmentType {
        Text = "text",
        Mention = "mention",
        MentionAll = "mention_all",
        Emoji = "emoji",
        Link = "link",
        Image = "image",
        Sticker = "sticker",
        Voice = "voice",
        Audio = "audio",
        Video = "video",
        File = "file",
        Location = "location",
        Contact = "contact",
        Card = "card",
        Forward = "forward",
        Opaque = "opaque",
    }

    /// Markup of a text.
    TextFormat else Plain {
        Plain = "plain",
        Markdown = "markdown",
        Html = "html",
    }

    /// Whom a mention of all reaches.
    MentionScope else All {
        All = "all",
        Online = "online",
    }

    /// How provider content stands in an `opaque` segment or a raw frame.
    OpaqueEncoding {
        Json = "json",
        Utf8 = "utf8",
        Base64 = "base64",
    }

    /// What to do with a segment that the provider cannot carry.
    OnUnsupported {
        Fail = "fail",
        Fallback = "fallback",
        Drop = "drop",
    }

    /// What was done to a segment or parameter that the provider cannot carry.
    DegradationAction {
        Dropped = "dropped",
        Fallback = "fallback",
        Converted = "converted",
        Split = "split",
    }

    /// Direction of a raw frame, seen from the bridge.
    RawDirection {
        In = "in",
        Out = "out",
    }

    /// How events come in.
    Inbound {
        Push = "push",
        Poll = "poll",
        PushAndPoll = "push_and_poll",
    }

    /// How commands go out.
    Outbound {
        Socket = "socket",
        Http = "http",
    }

    /// What confirms a send.
    SendAck {
        Response = "response",
        Echo = "echo",
    }

    /// What the provider is told about events received.
    InboundAck {
        None = "none",
        Cumulative = "cumulative",
        Each = "each",
    }

    /// How much of what was missed can be fetched.
    CatchUp {
        None = "none",
        Partial = "partial",
        Full = "full",
    }

    /// How media gets to the provider.
    MediaBy {
        Url = "url",
        Upload = "upload",
    }

    /// How well something is supported; written as its number.
    Level: i8 {
        /// Refused.
        Rejected = "rejected" = -2,
        /// Silently dropped by the provider.
        Dropped = "dropped" = -1,
        /// Not supported, but a fallback exists.
        Fallback = "fallback" = 0,
        /// In part, or converted.
        Partial = "partial" = 1,
        /// Wholly.
        Full = "full" = 2,
    }

    /// Things a message or a command may use where the provider can.
    Feature {
        Reply = "reply",
        Thread = "thread",
        MixedSegments = "mixed_segments",
        DirectByUserId = "direct_by_user_id",
    }
}

/// A word outside its set.
#[derive(Debug, thiserror::Error)]
#[error("unknown {set} `{word}`; use one of {}", .names.join(", "))]
pub struct UnknownName {
    word: String,
    set: &'static str,
    names: &'static [&'static str],
}

impl UnknownName {
    pub(super) fn new(word: &str, set: &'static str, names: &'static [&'static str]) -> Self {
        // Cut, because the word may come from anywhere and goes into logs.
        let word = word.chars().take(64).collect();
        Self { word, set, names }
    }

    /// The words of the set.
    #[must_use]
    pub const fn known(&self) -> &'static [&'static str] {
        self.names
    }
}
