//! Identifiers: message numbers, the stored form of a person channel, what may be a name.

use std::time::{SystemTime, UNIX_EPOCH};

/// So that ids of today are as long as a real server's: 63 bits, above what a double holds exactly.
const EPOCH_MS: i64 = 1_288_834_974_657;
const PER_MS: i64 = 1 << 22;
pub const COMMAND_SUFFIX: &str = "____cmd";
pub const MANAGER: &str = "____manager";
pub const SYSTEM: &str = "____system";

pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Message ids: each above the last, whatever the clock does.
#[derive(Debug, Default)]
pub struct MessageIds {
    last: i64,
}

impl MessageIds {
    pub fn next(&mut self) -> i64 {
        let by_clock = (now_ms() - EPOCH_MS) * PER_MS;
        self.last = by_clock.max(self.last + 1);
        self.last
    }
}

/// How the server stores the channel of two people: the one with the larger checksum first.
pub fn person_channel(from: &str, to: &str) -> String {
    let sum = |name: &str| crc32fast::hash(name.as_bytes());
    if sum(from) > sum(to) {
        format!("{from}@{to}")
    } else {
        format!("{to}@{from}")
    }
}

/// Neither blank nor with one of the characters that internal names use.
pub fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains(['@', '#', '&'])
}
