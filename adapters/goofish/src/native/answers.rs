//! What is read of answers: a message that was taken, conversations, pages of lists.

use serde_json::Value;

use super::calls::SINGLE_CHAT;
use super::message::Message;
use super::{bare, number, text};

/// What the provider says of a message it took. Everything but the code of success is optional.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub id: Option<String>,
    pub at_ms: Option<i64>,
}

impl Sent {
    pub fn read(body: &Value) -> Self {
        let id = [
            &body["messageId"],
            &body["1"]["messageId"],
            &body["1"]["1"]["messageId"],
        ]
        .into_iter()
        .find_map(text);
        let at_ms = number(&body["createAt"]).or_else(|| number(&body["server-timestamp"]));
        Self {
            id: id.map(str::to_owned),
            at_ms,
        }
    }
}

/// A conversation of the account.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    pub id: String,
    pub pair: [String; 2],
    /// 1 is a single chat.
    pub kind: i64,
    pub item: Option<String>,
    pub item_title: Option<String>,
    pub unread: Option<u64>,
    pub modified_ms: Option<i64>,
    pub created_ms: Option<i64>,
    pub last_message: Option<Message>,
}

impl Conversation {
    /// From an element of the list (`type` beside the conversation) or the answer to a creation (without).
    pub fn read(tree: &Value) -> Option<Self> {
        let kind = number(&tree["type"]).unwrap_or(SINGLE_CHAT);
        let mine = match &tree["singleChatUserConversation"] {
            Value::Null => tree,
            mine => mine,
        };
        let one = &mine["singleChatConversation"];
        let side = |name: &str| text(&one[name]).map(|id| bare(id).to_owned());
        let own = |name: &str| text(&one["extension"][name]).map(str::to_owned);
        Some(Self {
            id: bare(text(&one["cid"])?).to_owned(),
            pair: [side("pairFirst")?, side("pairSecond")?],
            kind,
            item: own("itemId"),
            item_title: own("itemTitle"),
            unread: number(&mine["redPoint"]).and_then(|n| u64::try_from(n).ok()),
            modified_ms: number(&mine["modifyTime"]),
            created_ms: number(&one["createAt"]),
            last_message: Message::stored(&mine["lastMessage"]["message"]),
        })
    }

    /// The other one.
    pub fn peer(&self, me: &str) -> Option<&str> {
        self.pair.iter().map(String::as_str).find(|id| *id != me)
    }
}

/// A page of a list.
#[derive(Debug, PartialEq)]
pub struct Page<T> {
    pub all: Vec<T>,
    /// Where the next one begins, if there is one.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    fn read(body: &Value, member: &str, one: impl Fn(&Value) -> Option<T>) -> Self {
        let has_more = body["hasMore"]
            .as_bool()
            .unwrap_or(number(&body["hasMore"]) == Some(1));
        let all = body[member].as_array();
        Self {
            all: all.into_iter().flatten().filter_map(one).collect(),
            next: number(&body["nextCursor"]).filter(|_| has_more),
        }
    }
}

impl Page<Conversation> {
    pub fn conversations(body: &Value) -> Self {
        Self::read(body, "userConvs", Conversation::read)
    }
}

impl Page<Message> {
    pub fn messages(body: &Value) -> Self {
        Self::read(body, "userMessageModels", |model| {
            Message::stored(&model["message"])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_id_of_a_sent_message_is_found_in_all_known_places() {
        for body in [
            json!({ "messageId": "1.PNM", "createAt": 5 }),
            json!({ "1": { "messageId": "1.PNM" }, "server-timestamp": "5" }),
            json!({ "1": { "1": { "messageId": "1.PNM" } }, "createAt": "5" }),
        ] {
            let wanted = Sent {
                id: Some("1.PNM".into()),
                at_ms: Some(5),
            };
            assert_eq!(Sent::read(&body), wanted, "{body}");
        }
        assert_eq!(Sent::read(&json!({})), Sent::default());
    }

    #[test]
    fn a_page_says_whether_there_is_more_in_two_ways() {
        for (more, next) in [
            (json!(1), Some(7)),
            (json!(true), Some(7)),
            (json!(0), None),
            (json!(null), None),
        ] {
            let page = Page::conversations(&json!({ "hasMore": more, "nextCursor": 7 }));
            assert_eq!(page, Page { all: vec![], next });
        }
    }
}
