//! A chat message: pushed with numbers for names, or told by the history with names for the same things.

use serde_json::Value;

use super::content::{self, Content};
use super::{bare, number, text};

/// One chat message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub conversation: String,
    /// `….PNM`: the same in pushes, history and answers.
    pub id: String,
    pub sender: Option<String>,
    pub sender_name: Option<String>,
    /// `0` is a person.
    pub sender_type: Option<String>,
    pub at_ms: Option<i64>,
    /// The item that the two talk about.
    pub item: Option<String>,
    /// `1` is a single chat.
    pub session_type: Option<String>,
    pub platform: Option<String>,
    /// The number of the content's kind.
    pub content_type: Option<i64>,
    pub content: Content,
    /// The provider's own rendering in a line.
    pub summary: Option<String>,
    /// The inner content as the provider wrote it.
    pub native: Option<Value>,
}

impl Message {
    /// From the decoded item of a push.
    pub fn pushed(tree: &Value) -> Option<Self> {
        let one = tree["1"].as_object()?;
        let field = |name: &str| one.get(name).unwrap_or(&Value::Null);
        let (extras, custom) = (field("10"), &field("6")["3"]);
        let sender = text(&extras["senderUserId"])
            .or_else(|| text(&field("1")["1"]))
            .or_else(|| text(field("1")));
        Some(Self::new(Parts {
            conversation: text(field("2"))?,
            id: text(field("3"))?,
            sender,
            at_ms: number(field("5")),
            extras,
            summary: text(&custom["2"]),
            content_type: number(&custom["4"]),
            native: text(&custom["5"]).and_then(content::parse),
        }))
    }

    /// From an element of the history, or a conversation's last message.
    pub fn stored(tree: &Value) -> Option<Self> {
        let (extras, custom) = (&tree["extension"], &tree["content"]["custom"]);
        let sender = text(&extras["senderUserId"]).or_else(|| text(&tree["sender"]["uid"]));
        Some(Self::new(Parts {
            conversation: text(&tree["cid"])?,
            id: text(&tree["messageId"])?,
            sender,
            at_ms: number(&tree["createAt"]),
            extras,
            summary: text(&custom["summary"]),
            content_type: None,
            native: text(&custom["data"]).and_then(content::parse),
        }))
    }

    fn new(parts: Parts<'_>) -> Self {
        let extra = |name: &str| text(&parts.extras[name]).map(str::to_owned);
        let summary = parts
            .summary
            .map(str::to_owned)
            .or_else(|| extra("reminderContent"));
        let native = parts.native;
        let inner_type = native
            .as_ref()
            .and_then(|native| number(&native["contentType"]));
        let content_type = inner_type.or(parts.content_type);
        Self {
            conversation: bare(parts.conversation).to_owned(),
            id: parts.id.to_owned(),
            sender: parts.sender.map(|id| bare(id).to_owned()),
            sender_name: extra("reminderTitle"),
            sender_type: extra("senderUserType"),
            at_ms: parts.at_ms,
            item: text(&parts.extras["reminderUrl"]).and_then(item_of),
            session_type: extra("sessionType"),
            platform: extra("_platform"),
            content: Content::read(content_type, native.as_ref(), summary.as_deref()),
            content_type,
            summary,
            native,
        }
    }
}

/// Where the two forms keep the same things.
struct Parts<'a> {
    conversation: &'a str,
    id: &'a str,
    sender: Option<&'a str>,
    at_ms: Option<i64>,
    extras: &'a Value,
    summary: Option<&'a str>,
    content_type: Option<i64>,
    native: Option<Value>,
}

/// `itemId` in the query of an address.
fn item_of(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let item = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("itemId="))?;
    (!item.is_empty()).then(|| item.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_sender_is_taken_from_the_best_source() {
        let sender = |one: Value| Message::pushed(&json!({ "1": one })).unwrap().sender;
        let best = json!({ "1": { "1": "2@goofish" }, "2": "7@goofish", "3": "1.PNM", "10": { "senderUserId": "3" } });
        assert_eq!(sender(best).as_deref(), Some("3"));
        let map = json!({ "1": { "1": "2@goofish" }, "2": "7@goofish", "3": "1.PNM" });
        assert_eq!(sender(map).as_deref(), Some("2"));
        assert_eq!(
            sender(json!({ "1": "2@goofish", "2": "7@goofish", "3": "1.PNM" })).as_deref(),
            Some("2")
        );
        assert_eq!(sender(json!({ "2": "7@goofish", "3": "1.PNM" })), None);
    }

    #[test]
    fn the_item_is_found_in_the_address() {
        assert_eq!(
            item_of("fleamarket://message_chat?itemId=5&peerUserId=2").as_deref(),
            Some("5")
        );
        assert_eq!(item_of("fleamarket://message_chat?a=1&itemId="), None);
        assert_eq!(item_of("fleamarket://message_chat"), None);
    }
}
