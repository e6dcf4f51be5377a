//! Bodies of requests, members in the order in which the provider's own client writes them, and what is read of answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::content::{IMAGE, Picture, TEXT};
use super::message::Message;
use super::{bare, full, number, text};

pub const GET_STATE: &str = "/r/SyncStatus/getState";
pub const ACK_DIFF: &str = "/r/SyncStatus/ackDiff";
pub const LIST: &str = "/r/Conversation/listNewestPagination";
pub const HISTORY: &str = "/r/MessageManager/listUserMessages";
pub const SEND: &str = "/r/MessageSend/sendByReceiverScope";
pub const CREATE: &str = "/r/SingleChatConversation/create";
pub const READ: &str = "/r/MessageStatus/read";
pub const CLEAR_RED_POINT: &str = "/r/Conversation/clearRedPoint";
pub const RECALL: &str = "/r/MessageManager/recallMessage";

/// Where a first page begins: the largest number that a double carries exactly.
pub const FIRST_CURSOR: i64 = 9_007_199_254_740_991;

/// The only kind of conversation that is known.
pub const SINGLE_CHAT: i64 = 1;

#[derive(Serialize)]
struct Topic {
    topic: &'static str,
}

pub fn get_state() -> impl Serialize {
    [Topic { topic: "sync" }]
}

/// What the state's answer said, unchanged.
pub fn ack_diff(state: &RawValue) -> impl Serialize {
    [state]
}

/// A page of conversations, newest first.
pub fn list(cursor: i64, limit: u32) -> impl Serialize {
    (cursor, limit)
}

/// A page of a conversation's messages, newest first.
pub fn history(conversation: &str, cursor: i64, limit: u32) -> impl Serialize {
    (full(conversation), false, cursor, limit, false)
}

pub fn read(messages: &[String]) -> impl Serialize {
    [messages]
}

pub fn clear_red_point(conversation: &str, message: &str) -> impl Serialize {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Mark<'a> {
        cid: String,
        message_id: &'a str,
    }
    [[Mark {
        cid: full(conversation),
        message_id: message,
    }]]
}

pub fn recall(message: &str) -> impl Serialize {
    [message]
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ctx {
    app_version: &'static str,
    platform: &'static str,
}

const CTX: Ctx = Ctx {
    app_version: "1.0",
    platform: "web",
};

/// A conversation of two about an item; made once, found afterwards.
pub fn create(me: &str, peer: &str, item: &str) -> impl Serialize {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Create<'a> {
        pair_first: String,
        pair_second: String,
        biz_type: &'static str,
        extension: Extension<'a>,
        ctx: Ctx,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Extension<'a> {
        item_id: &'a str,
        order_id: &'static str,
        source: &'static str,
    }
    let (first, second) = ascending(me, peer);
    [Create {
        pair_first: full(first),
        pair_second: full(second),
        biz_type: "1",
        extension: Extension {
            item_id: item,
            order_id: "",
            source: "",
        },
        ctx: CTX,
    }]
}

/// The numerically smaller first, as the client has it: ids are decimal, so length decides before digits do.
fn ascending<'a>(one: &'a str, other: &'a str) -> (&'a str, &'a str) {
    if (one.len(), one) <= (other.len(), other) {
        (one, other)
    } else {
        (other, one)
    }
}

/// A message to be sent.
pub struct Sending<'a> {
    /// `-<ms><digits>`, unique per message.
    pub uuid: &'a str,
    pub conversation: &'a str,
    /// The inner content as JSON text.
    pub content: &'a str,
    pub custom_type: i64,
    pub receivers: &'a [String],
}

impl Sending<'_> {
    pub fn body(&self) -> impl Serialize {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Message<'a> {
            uuid: &'a str,
            cid: String,
            conversation_type: i64,
            content: Content,
            red_point_policy: i64,
            extension: Extension,
            ctx: Ctx,
            mtags: Empty,
            msg_read_status_setting: i64,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Content {
            content_type: i64,
            custom: Custom,
        }
        #[derive(Serialize)]
        struct Custom {
            r#type: i64,
            data: String,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Extension {
            ext_json: &'static str,
        }
        #[derive(Serialize)]
        struct Empty {}
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Receivers {
            actual_receivers: Vec<String>,
        }
        let message = Message {
            uuid: self.uuid,
            cid: full(self.conversation),
            conversation_type: SINGLE_CHAT,
            content: Content {
                content_type: 101,
                custom: Custom {
                    r#type: self.custom_type,
                    data: STANDARD.encode(self.content),
                },
            },
            red_point_policy: 0,
            extension: Extension { ext_json: "{}" },
            ctx: CTX,
            mtags: Empty {},
            msg_read_status_setting: 1,
        };
        let actual_receivers = self.receivers.iter().map(|id| full(id)).collect();
        (message, Receivers { actual_receivers })
    }
}

/// The inner content of words.
pub fn text_content(words: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content<'a> {
        content_type: i64,
        text: Text<'a>,
    }
    #[derive(Serialize)]
    struct Text<'a> {
        text: &'a str,
    }
    json(&Content {
        content_type: TEXT,
        text: Text { text: words },
    })
}

/// The inner content of a picture. A size that is not known is 0, because the provider's form has no other word for it.
pub fn image_content(picture: &Picture) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content<'a> {
        content_type: i64,
        image: Image<'a>,
    }
    #[derive(Serialize)]
    struct Image<'a> {
        pics: [Pic<'a>; 1],
    }
    #[derive(Serialize)]
    struct Pic<'a> {
        height: u32,
        r#type: i64,
        url: &'a str,
        width: u32,
    }
    json(&Content {
        content_type: IMAGE,
        image: Image {
            pics: [Pic {
                height: picture.height.unwrap_or(0),
                r#type: 0,
                url: &picture.url,
                width: picture.width.unwrap_or(0),
            }],
        },
    })
}

fn json(content: &impl Serialize) -> String {
    serde_json::to_string(content).expect("contents have string keys only, so they are JSON")
}

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
    fn the_numerically_smaller_user_comes_first() {
        assert_eq!(ascending("20", "3"), ("3", "20"));
        assert_eq!(ascending("3", "20"), ("3", "20"));
        assert_eq!(ascending("7", "8"), ("7", "8"));
    }

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
