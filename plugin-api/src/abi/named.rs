//! Integers with a meaning. Never Rust enums: a value this side does not know would be undefined behaviour.
//!
//! Each type says what an unknown value means; values may be added at any minor.

use core::fmt::{Result, Write};

macro_rules! named {
    ($($(#[$meta:meta])* $name:ident($repr:ty) $c_type:literal $prefix:literal {
        $($(#[$value_meta:meta])* $value:ident = $number:literal,)+
    })+) => {
        $($(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$value_meta])* pub const $value: Self = Self($number);)+

            /// Every value with its name in the C header, in the header's order.
            pub const ALL: &'static [(&'static str, Self)] = &[
                $((concat!($prefix, stringify!($value)), Self::$value),)+
            ];
        }
        impl super::layout::CType for $name {
            fn c_type(out: &mut dyn Write) -> Result { out.write_str($c_type) }
        })+

        /// Calls `fact` with each value of each type above, named as in the C header.
        pub(super) fn each_value(fact: &mut dyn FnMut(&'static str, i128) -> Result) -> Result {
            $(for (name, value) in $name::ALL { fact(name, value.0.into())?; })+
            Ok(())
        }
    };
}

named! {
    /// How a call or a command ended: at least 0 is success (a count where said so), below 0 an error class.
    ///
    /// An unknown negative value means [`Status::E_INTERNAL`].
    Status(i32) "imb_status" "IMB_" {
        /// Done.
        OK = 0,
        /// Completions only: handed over, confirmation follows as an event.
        ACCEPTED = 1,
        /// The caller must change what it asks for.
        E_INVALID = -1,
        /// Not offered.
        E_UNSUPPORTED = -2,
        /// The target does not exist.
        E_NOT_FOUND = -3,
        /// Refused for want of rights or by a rule.
        E_FORBIDDEN = -4,
        /// The state does not allow it.
        E_CONFLICT = -5,
        /// Slow down.
        E_RATE_LIMITED = -6,
        /// Try again later.
        E_UNAVAILABLE = -7,
        /// The login does not allow it.
        E_AUTH = -8,
        /// May or may not have happened.
        E_UNCERTAIN = -9,
        /// A bug, also the meaning of any unknown negative value.
        E_INTERNAL = -10,
        /// The callee caught a panic: the instance is poisoned.
        E_PANIC = -11,
        /// The callee takes nothing any more.
        E_CLOSED = -12,
    }

    /// What became of an event. Unknown: [`Outcome::RETRY`].
    Outcome(u32) "uint32_t" "IMB_OUTCOME_" {
        /// The stream acknowledged it: acknowledge the provider.
        STORED = 1,
        /// The stream had it already: acknowledge the provider.
        DUPLICATE = 2,
        /// Can never be stored; it is in the dead letters: acknowledge, repeating would not help.
        REJECTED = 3,
        /// Not stored, and this host gives up on it: do not acknowledge.
        RETRY = 4,
    }

    /// How an event came to be delivered. Unknown: [`Delivery::LIVE`].
    Delivery(u32) "uint32_t" "IMB_DELIVERY_" {
        /// As it happened.
        LIVE = 0,
        /// Fetched after a gap.
        BACKFILL = 1,
        /// Asked for by an operator.
        REPLAY = 2,
    }

    /// Who caused an event. Unknown: [`Origin::REMOTE`].
    Origin(u32) "uint32_t" "IMB_ORIGIN_" {
        /// Somebody else.
        REMOTE = 0,
        /// The own user, elsewhere.
        SELF_OTHER_DEVICE = 1,
        /// Echo of a command of this bridge.
        BRIDGE = 2,
    }

    /// Inside what the order key sorts. Unknown: [`OrderScope::NONE`].
    OrderScope(u32) "uint32_t" "IMB_ORDER_" {
        /// Nothing is promised.
        NONE = 0,
        /// Inside the channel.
        CHANNEL = 1,
        /// Inside the account.
        ACCOUNT = 2,
    }

    /// What an operation or event is to tracing. Unknown: [`Noise::AUX`].
    Noise(u32) "uint32_t" "IMB_NOISE_" {
        /// Done for a command: always a span.
        COMMAND = 1,
        /// An event pushed by the provider.
        EVENT = 2,
        /// Login, connect, register.
        SESSION = 3,
        /// A poll that brought something.
        POLL_HIT = 4,
        /// A poll that brought nothing.
        POLL_EMPTY = 5,
        /// Ping, pong, keep-alive.
        HEARTBEAT = 6,
        /// Everything else.
        AUX = 7,
    }

    /// What an adapter says of its account. Unknown: [`State::DEGRADED`].
    State(u32) "uint32_t" "IMB_STATE_" {
        /// A token is being fetched.
        LOGGING_IN = 1,
        /// Socket, registration.
        CONNECTING = 2,
        /// Online, back-fill running.
        CATCHING_UP = 3,
        /// Connected and current.
        ONLINE = 4,
        /// Works with a restriction.
        DEGRADED = 5,
        /// Lost; the next attempt is planned.
        BACKOFF = 6,
        /// Risk control wants a person.
        CHALLENGE_REQUIRED = 7,
        /// Displaced by another login.
        CONFLICTED = 8,
        /// Login refused.
        BAD_CREDENTIALS = 9,
        /// Logged out on request.
        LOGGED_OUT = 10,
        /// Given up.
        FAILED = 11,
        /// A task of the adapter panicked: the instance is poisoned.
        PANICKED = 100,
    }

    /// Level of a log record, and the highest level wanted: what lies above it is not wanted.
    /// Unknown: [`LogLevel::TRACE`].
    LogLevel(u32) "uint32_t" "IMB_LOG_" {
        /// Nothing is wanted.
        OFF = 0,
        /// Somebody must act.
        ERROR = 1,
        /// Recovered or refused.
        WARN = 2,
        /// A state changed.
        INFO = 3,
        /// Per connection.
        DEBUG = 4,
        /// Per frame.
        TRACE = 5,
    }

    /// What a request of `imb.kv/1` asks for. Unknown: the result is [`Status::E_UNSUPPORTED`].
    KvVerb(u32) "uint32_t" "IMB_KV_" {
        /// Read one key.
        GET = 1,
        /// Write one key.
        PUT = 2,
        /// Delete one key.
        DELETE = 3,
        /// List keys with their revisions.
        LIST = 4,
    }

    /// What a metric of `imb.metrics/1` is. Unknown: `define` answers [`Status::E_UNSUPPORTED`].
    MetricKind(u32) "uint32_t" "IMB_METRIC_" {
        /// Only rises.
        COUNTER = 1,
        /// Goes both ways.
        GAUGE = 2,
        /// Counts by size.
        HISTOGRAM = 3,
    }
}

impl Status {
    /// Not an error.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 >= 0
    }
}

/// Flags: bits 0–15 may be ignored when unknown, an unknown bit 16–31 makes the receiver refuse.
pub const FLAGS_MUST_KNOW: u32 = 0xffff_0000;
/// Descriptor: built with the SDK feature `test-hooks`.
pub const DESC_TEST_HOOKS: u32 = 1;
/// Descriptor: built with panic=abort.
pub const DESC_PANIC_ABORT: u32 = 1 << 16;
/// Descriptor: must run in a child process.
pub const DESC_PROCESS_ONLY: u32 = 1 << 17;
/// Command: the key was handed to an adapter before; look before acting.
pub const CMD_REDELIVERED: u32 = 1;
/// `imb.kv/1`: do not compare the revision.
pub const KV_ANY: u64 = u64::MAX;
/// `imb.kv/1`, put: never shown, logged or exported.
pub const KV_SECRET: u32 = 1 << 16;
