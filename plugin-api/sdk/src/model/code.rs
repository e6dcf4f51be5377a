//! Error codes, and the error object that results, events and states carry.

use super::json::Json;
use super::names::ErrorClass;
use super::names_macro::names;
use super::record::record;

macro_rules! codes {
    ($($(#[$meta:meta])* $value:ident = $wire:literal $number:literal $class:ident $retryable:literal,)+) => {
        names! {
            /// What went wrong. Numbers are stable; a thousand groups by cause: request, transport, login, outcome, bug.
            ErrorCode {
                $($(#[$meta])* $value = $wire,)+
            }
        }

        impl ErrorCode {
            /// Its number.
            #[must_use]
            pub const fn num(self) -> u16 {
                match self {
                    $(Self::$value => $number,)+
                }
            }

            /// What to do about it.
            #[must_use]
            pub const fn class(self) -> ErrorClass {
                match self {
                    $(Self::$value => ErrorClass::$class,)+
                }
            }

            /// The same command may succeed later.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$value => $retryable,)+
                }
            }
        }
    };
}

codes! {
    /// Not JSON, wrong envelope, no key, or the type does not fit the subject.
    BadRequest = "bad_request" 1001 Invalid false,
    /// A parameter is missing, unknown or out of range.
    BadParam = "bad_param" 1002 Invalid false,
    /// A segment is malformed, or the combination needs `split`.
    BadSegment = "bad_segment" 1003 Invalid false,
    /// More than the provider or NATS carries.
    PayloadTooLarge = "payload_too_large" 1004 Invalid false,
    /// Expired before the hand-over.
    DeadlineExceeded = "deadline_exceeded" 1005 Invalid false,
    /// The provider cannot, by its capabilities.
    UnsupportedCommand = "unsupported_command" 1101 Unsupported false,
    /// The provider could, this adapter does not.
    NotImplemented = "not_implemented" 1102 Unsupported false,
    /// The segment cannot be sent, and the caller wants no substitute.
    UnsupportedSegment = "unsupported_segment" 1103 Unsupported false,
    ChannelNotFound = "channel_not_found" 1201 NotFound false,
    UserNotFound = "user_not_found" 1202 NotFound false,
    MessageNotFound = "message_not_found" 1203 NotFound false,
    /// Existed; was dissolved or deleted.
    Gone = "gone" 1204 NotFound false,
    /// The account is not in the channel.
    NotMember = "not_member" 1301 Forbidden false,
    /// The account may not write there now.
    Muted = "muted" 1302 Forbidden false,
    /// Blocked by the peer, or not a friend where that is needed.
    Blocked = "blocked" 1303 Forbidden false,
    /// The time for a recall or an edit is over.
    TooOld = "too_old" 1304 Forbidden false,
    /// Refused for its content.
    ContentRejected = "content_rejected" 1305 Forbidden false,
    /// Needs a role, or the operator's leave for native calls.
    PermissionDenied = "permission_denied" 1306 Forbidden false,
    /// Refused for a reason that no other code names; see `native`.
    ProviderError = "provider_error" 1307 Forbidden false,
    /// Same key, other command.
    KeyReused = "key_reused" 1401 Conflict false,
    AlreadyExists = "already_exists" 1402 Conflict false,
    /// The command with this key is still running.
    InProgress = "in_progress" 1403 Conflict true,
    RateLimited = "rate_limited" 2001 RateLimited true,
    /// A limit that waiting does not lift.
    QuotaExceeded = "quota_exceeded" 2002 RateLimited false,
    /// Not handed over: the connection failed.
    Network = "network" 2101 Unavailable true,
    /// The provider says so.
    ProviderUnavailable = "provider_unavailable" 2102 Unavailable true,
    /// Not handed over in time.
    TimeoutBeforeSend = "timeout_before_send" 2103 Unavailable true,
    /// The account is not online.
    NotConnected = "not_connected" 2104 Unavailable true,
    /// A bound of the bridge is reached.
    Overloaded = "overloaded" 2105 Unavailable true,
    /// Being renewed.
    TokenExpired = "token_expired" 3001 Auth true,
    /// Login refused.
    BadCredentials = "bad_credentials" 3002 Auth false,
    /// The credentials are of another user or kind.
    WrongAccountType = "wrong_account_type" 3003 Auth false,
    /// A person must answer.
    ChallengeRequired = "challenge_required" 3004 Auth true,
    /// Displaced by another login.
    Kicked = "kicked" 3005 Auth false,
    /// Handed over, no answer in time.
    TimeoutAfterSend = "timeout_after_send" 4001 Uncertain false,
    /// Handed over, then connection, plugin or process was lost.
    LostAck = "lost_ack" 4002 Uncertain false,
    AdapterError = "adapter_error" 5001 Internal false,
    /// The adapter panicked before the hand-over.
    AdapterPanic = "adapter_panic" 5002 Internal false,
    /// The adapter broke this model.
    SchemaViolation = "schema_violation" 5003 Internal false,
    CoreError = "core_error" 5004 Internal false,
}

/// Longest `message` and `native.text`, in characters: an error is read by people and copied into logs.
pub const ERROR_TEXT_CHARS_MAX: usize = 512;

record! {
    /// What went wrong. An unknown code is treated by its class.
    ErrorObject {
        /// A code of the table, or one of a later version.
        code: String,
        /// Number of the code.
        num: u16,
        /// What to do about it.
        class: ErrorClass,
        /// The same command may succeed later.
        retryable: bool,
        /// When to try again.
        retry_after_ms?: u64,
        /// The action surely did not happen.
        certain: bool,
        /// For people, without secrets, at most 512 characters.
        #[schemars(length(max = 512))]
        message: String,
        /// The provider's own words.
        native?: NativeError,
        /// What to do next.
        hint?: String,
        /// JSON pointer into the command's `data`.
        path?: String,
    }

    /// A provider's own words about an error.
    #[derive(Default)]
    NativeError {
        /// Its code.
        code?: String,
        /// Its text, without secrets, at most 512 characters.
        #[schemars(length(max = 512))]
        text?: String,
        /// Its id of the request.
        #[serde(rename = "ref")]
        request?: String,
    }

    /// What an adapter says of a failed command beside its code: the body of the completion.
    #[derive(Default)]
    ErrorBody {
        /// For people, without secrets.
        message?: String,
        /// The provider's own words.
        native?: NativeError,
        /// What to do next.
        hint?: String,
        /// JSON pointer into the command's `data`.
        path?: String,
        /// The parts already stored, when a message was sent partly.
        result?: Json,
    }
}

impl ErrorObject {
    /// An error with what its code implies; the text is cut to [`ERROR_TEXT_CHARS_MAX`].
    pub fn new(code: ErrorCode, is_certain: bool, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            num: code.num(),
            class: code.class(),
            retryable: code.is_retryable(),
            retry_after_ms: None,
            certain: is_certain,
            message: cut(message.into()),
            native: None,
            hint: None,
            path: None,
        }
    }

    /// The code, when this version knows it.
    #[must_use]
    pub fn known_code(&self) -> Option<ErrorCode> {
        self.code.parse().ok()
    }
}

impl NativeError {
    /// A provider's code and text, the text cut to [`ERROR_TEXT_CHARS_MAX`].
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            code: Some(code.into()),
            text: Some(cut(text.into())),
            request: None,
        }
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(ERROR_TEXT_CHARS_MAX) {
        text.truncate(end);
    }
    text
}
