//! Reason codes: what they are called, and what to do about them.

use im_bridge_sdk::model::ErrorCode;

pub const SUCCESS: u8 = 1;
pub const KICKED: u8 = 12;

/// What a refused message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The message is refused for this reason.
    Code(ErrorCode),
    /// The server could not unseal it: a new connection has new keys.
    Keys,
    /// Storing or forwarding took too long or failed half-way: it may be stored nevertheless.
    Doubtful,
}

/// The reason of a SENDACK that is not [`SUCCESS`].
pub fn refusal(reason: u8) -> Refusal {
    Refusal::Code(match reason {
        8 | 9 => return Refusal::Keys,
        0 | 10 | 15 => return Refusal::Doubtful,
        2 | 14 | 21 => ErrorCode::BadCredentials,
        3 => ErrorCode::NotMember,
        4 | 13 => ErrorCode::Blocked,
        5 => ErrorCode::ChannelNotFound,
        6 | 7 | 17 | 18 | 26 => ErrorCode::ProviderUnavailable,
        11 => ErrorCode::PermissionDenied,
        12 => ErrorCode::Kicked,
        16 => ErrorCode::BadParam,
        // Here it is the channel that is banned, not the account: that would not have got in.
        19 | 25 => ErrorCode::Muted,
        20 | 23 | 27 => ErrorCode::UnsupportedCommand,
        22 => ErrorCode::RateLimited,
        24 => ErrorCode::Gone,
        28 => ErrorCode::AlreadyExists,
        29 => ErrorCode::QuotaExceeded,
        _ => ErrorCode::ProviderError,
    })
}

/// What a refused login means: nobody but a person can repair it.
pub fn is_identity(reason: u8) -> bool {
    matches!(reason, 2 | 12 | 14 | 19 | 21 | 25 | 27)
}

/// For people.
pub fn name(reason: u8) -> &'static str {
    match reason {
        0 => "no reason given",
        1 => "success",
        2 => "authentication failed",
        3 => "not a subscriber of the channel",
        4 => "in the deny-list",
        5 => "the channel does not exist",
        6 => "the user is not on this node",
        7 => "the sender is offline",
        8 => "msgKey error",
        9 => "the payload cannot be decoded",
        10 => "forwarding failed",
        11 => "not allowed",
        12 => "kicked",
        13 => "not in the allow-list",
        14 => "the token cannot be checked",
        15 => "system error",
        16 => "bad channel id",
        17 => "node match error",
        18 => "node mismatch",
        19 => "banned",
        20 => "header not supported",
        21 => "client key is empty",
        22 => "rate limited",
        23 => "channel type not supported",
        24 => "disbanded",
        25 => "sending is banned",
        26 => "the channel is being deleted",
        27 => "a newer protocol is required",
        28 => "idempotency conflict",
        29 => "the channel's sequence is exhausted",
        _ => "unknown reason",
    }
}
