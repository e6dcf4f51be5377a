//! How a world is made. A client sends these with its first frame; the first client's count.

use serde::{Deserialize, Serialize};

use super::Faults;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// People who write, beside the accounts.
    pub people: usize,
    /// Chats that everybody sits in.
    pub rooms: usize,
    /// Posts a second in all rooms together, at even intervals; 0: nobody writes unasked.
    pub rate_per_s: f64,
    pub seed: u64,
    /// Posts kept per chat and items per inbox.
    pub history: usize,
    /// An item is pushed again when it was not acknowledged for so long.
    pub ack_timeout_ms: i64,
    /// Items that may be pushed and unacknowledged in one session.
    pub window: usize,
    /// The same reference twice is the same post.
    pub deduplicates: bool,
    /// A new session of an account ends its old one.
    pub one_session: bool,
    /// Entries of the record.
    pub record: usize,
    pub faults: Faults,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            people: 3,
            rooms: 2,
            rate_per_s: 0.0,
            seed: 1,
            history: 50_000,
            ack_timeout_ms: 30_000,
            window: 256,
            deduplicates: false,
            one_session: false,
            record: 100_000,
            faults: Faults::default(),
        }
    }
}
