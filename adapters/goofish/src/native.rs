//! The provider's protocol as types, without the event model: `inbound.rs` and `outbound.rs` translate.
//!
//! Two protocols make it one: `mtop` over HTTP fetches a token, LWP over a WebSocket carries everything else as one JSON
//! object per text message. Reading is lenient, because the provider's own clients disagree; writing is exact.
//!
//! * `frame.rs`: requests, answers, pushes, acknowledgements.
//! * `item.rs`: what a push carries: MessagePack or JSON, told apart by structure. With `msgpack.rs`.
//! * `message.rs`, `content.rs`: a chat message, pushed or from the history, and what it says.
//! * `calls.rs`, `answers.rs`: bodies of requests, and what is read of their answers; `refusal.rs`: why there is none.
//! * `mtop.rs`: signature, query, refusals.
//! * `private.rs`: what must never leave the adapter.
//!
//! Not here: which answer belongs to which request (`link.rs`).

pub mod answers;
pub mod calls;
pub mod content;
pub mod frame;
pub mod item;
pub mod message;
pub mod msgpack;
pub mod mtop;
pub mod private;
pub mod refusal;

use serde_json::Value;

/// Behind each id of a user or a conversation on the WebSocket.
const SUFFIX: &str = "@goofish";

/// An id without its suffix: `30000000001` of `30000000001@goofish`.
pub fn bare(id: &str) -> &str {
    id.strip_suffix(SUFFIX).unwrap_or(id)
}

/// An id as the WebSocket wants it.
pub fn full(id: &str) -> String {
    format!("{}{SUFFIX}", bare(id))
}

/// A number, also one that is written as a string: the provider does both.
pub fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A string that says something.
pub fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_lose_their_suffix_and_get_it_back_once() {
        assert_eq!(bare("7@goofish"), "7");
        assert_eq!(bare("7"), "7");
        assert_eq!(full("7@goofish"), "7@goofish");
        assert_eq!(full("7"), "7@goofish");
    }

    #[test]
    fn numbers_come_as_strings_too() {
        assert_eq!(number(&json!("1700000000123")), Some(1_700_000_000_123));
        assert_eq!(number(&json!(17)), Some(17));
        assert_eq!(number(&json!("x")), None);
        assert_eq!(number(&json!(u64::MAX)), None);
    }
}
