//! One item of a push: decoded, and told apart by structure. The provider's own client takes all of them for chat messages.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::frame::RawItem;
use super::message::Message;
use super::{bare, msgpack, number, text};

/// Padding indifferent, and odd last bits, too.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const READ_RECEIPT: i64 = 40_103;

/// What an item says.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Message(Box<Message>),
    /// A peer has read these.
    Read {
        conversation: Option<String>,
        messages: Vec<String>,
        at_ms: Option<i64>,
    },
    Typing {
        conversation: String,
        user: Option<String>,
    },
    /// State of an order. What its id means is not known.
    Order {
        subject: String,
        reminder: String,
        at_ms: Option<i64>,
        native: Value,
    },
    /// Suggestions for the seller; not a message.
    SessionHint {
        conversation: String,
        native: Value,
    },
    /// Decoded, and of no known kind.
    Unknown {
        object_type: Option<i64>,
        native: Value,
    },
    /// Neither MessagePack nor JSON.
    Undecodable {
        object_type: Option<i64>,
        bytes: usize,
    },
}

/// What stands in the item's data: none when nothing does.
pub fn decode(data: &str) -> Option<Result<Value, &'static str>> {
    let data = data.trim();
    if data.is_empty() {
        return None;
    }
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).map_err(|_| "no JSON");
    if data.starts_with(['{', '[']) {
        return Some(json(data.as_bytes()));
    }
    Some(base64(data).ok_or("no base64").and_then(|bytes| {
        if bytes.starts_with(b"{") || bytes.starts_with(b"[") {
            return json(&bytes);
        }
        match msgpack::read(&bytes) {
            Ok(map @ Value::Object(_)) => Ok(map),
            _ => Err("no MessagePack map"),
        }
    }))
}

/// Bytes of base64 in either alphabet, padded or not.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    if text.contains(['-', '_']) {
        let standard = text.replace('-', "+").replace('_', "/");
        return LENIENT.decode(standard).ok();
    }
    LENIENT.decode(text).ok()
}

/// Everything that an item says, in order. Several people may type in one.
pub fn read(item: &RawItem) -> Vec<Item> {
    let object_type = item.object_type;
    match decode(&item.data) {
        None => Vec::new(),
        Some(Err(_)) => vec![Item::Undecodable {
            object_type,
            bytes: item.data.len(),
        }],
        Some(Ok(tree)) => classify(object_type, tree),
    }
}

/// The first kind whose structure fits, in the order of the protocol; the object type only confirms.
fn classify(object_type: Option<i64>, tree: Value) -> Vec<Item> {
    if let Some(typing) = typing(&tree) {
        return typing;
    }
    let one = read_receipt(object_type, &tree)
        .or_else(|| order(&tree))
        .or_else(|| hint(&tree))
        .or_else(|| Message::pushed(&tree).map(|message| Item::Message(Box::new(message))));
    vec![one.unwrap_or(Item::Unknown {
        object_type,
        native: tree,
    })]
}

fn typing(tree: &Value) -> Option<Vec<Item>> {
    let all = tree["1"].as_array()?;
    if !all.first()?.is_object() {
        return None;
    }
    let one = |one: &Value| {
        Some(Item::Typing {
            conversation: bare(text(&one["1"])?).to_owned(),
            user: text(&one["4"]).map(|user| bare(user).to_owned()),
        })
    };
    // One that names no conversation makes the item unknown, or nobody would hear of it.
    all.iter().map(one).collect()
}

fn read_receipt(object_type: Option<i64>, tree: &Value) -> Option<Item> {
    let is_id = |value: &Value| value.as_str().is_some_and(|id| id.ends_with(".PNM"));
    let messages: Vec<String> = match &tree["1"] {
        Value::String(id) => vec![id.clone()],
        Value::Array(ids) => ids
            .iter()
            .map(|id| id.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let looks_so = is_id(&tree["1"]) || tree["1"].is_array();
    // Another number than 2 says something else than "read".
    let is_read = number(&tree["2"]) == Some(2);
    if !is_read || messages.is_empty() || !(looks_so || object_type == Some(READ_RECEIPT)) {
        return None;
    }
    let conversation = text(&tree["4"]).or_else(|| text(&tree["3"]));
    Some(Item::Read {
        conversation: conversation.map(|id| bare(id).to_owned()),
        messages,
        at_ms: number(&tree["6"]),
    })
}

fn order(tree: &Value) -> Option<Item> {
    let subject = text(&tree["1"])?;
    let reminder = tree["3"]["redReminder"].as_str()?;
    Some(Item::Order {
        subject: bare(subject).to_owned(),
        reminder: reminder.to_owned(),
        at_ms: number(&tree["4"]),
        native: tree.clone(),
    })
}

fn hint(tree: &Value) -> Option<Item> {
    let conversation = match &tree["sessionId"] {
        Value::Number(id) => id.to_string(),
        id => text(id)?.to_owned(),
    };
    Some(Item::SessionHint {
        conversation: bare(&conversation).to_owned(),
        native: tree.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kinds(object_type: Option<i64>, tree: Value) -> Vec<&'static str> {
        let name = |item: Item| match item {
            Item::Message(_) => "message",
            Item::Read { .. } => "read",
            Item::Typing { .. } => "typing",
            Item::Order { .. } => "order",
            Item::SessionHint { .. } => "hint",
            Item::Unknown { .. } => "unknown",
            Item::Undecodable { .. } => "undecodable",
        };
        classify(object_type, tree).into_iter().map(name).collect()
    }

    #[test]
    fn kinds_are_told_by_structure() {
        let typing = json!({ "1": [{ "1": "7@goofish", "4": "8@goofish" }, { "1": "9@goofish", "4": "8@goofish" }] });
        assert_eq!(kinds(None, typing), ["typing", "typing"]);
        assert_eq!(
            kinds(None, json!({ "1": "7.PNM", "2": 2, "4": "7@goofish" })),
            ["read"]
        );
        assert_eq!(
            kinds(
                Some(READ_RECEIPT),
                json!({ "1": "7.PNM", "2": 1, "4": "7@goofish" })
            ),
            ["unknown"]
        );
        assert_eq!(
            kinds(
                None,
                json!({ "1": "7@goofish", "3": { "redReminder": "x" } })
            ),
            ["order"]
        );
        assert_eq!(kinds(None, json!({ "sessionId": 7 })), ["hint"]);
        assert_eq!(
            kinds(None, json!({ "1": { "2": "7@goofish", "3": "7.PNM" } })),
            ["message"]
        );
        for tree in [
            json!({}),
            json!([1]),
            json!({ "1": { "2": 7 } }),
            json!({ "1": [1] }),
            json!({ "1": [{}] }),
        ] {
            assert_eq!(kinds(None, tree.clone()), ["unknown"], "{tree}");
        }
    }

    #[test]
    fn base64_of_both_alphabets_is_read_with_and_without_padding() {
        for text in ["+/8=", "+/8", "-_8=", "-_8", "+_8"] {
            assert_eq!(base64(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(base64("%%%%"), None);
    }
}
