//! Bodies of requests, members in the order in which the provider's own client writes them.
//!
//! Not here: what is read of answers (`answers.rs`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::content::{IMAGE, Picture, TEXT};
use super::full;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numerically_smaller_user_comes_first() {
        assert_eq!(ascending("20", "3"), ("3", "20"));
        assert_eq!(ascending("3", "20"), ("3", "20"));
        assert_eq!(ascending("7", "8"), ("7", "8"));
    }
}
