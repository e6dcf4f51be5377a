//! What a person is told: one item per thing that happened, numbered without holes inside that person's inbox.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Down, Post};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Place in the inbox; 0 for what is not kept (typing, presence).
    pub seq: u64,
    pub at_ms: i64,
    /// Who did it; absent when nobody in particular did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<Chat>,
    #[serde(flatten)]
    pub what: What,
}

/// An item that is a post, new or edited, as it stands in a push.
#[derive(Deserialize)]
pub(super) struct Written<'a> {
    seq: u64,
    at_ms: i64,
    by: Option<Person>,
    chat: Option<Chat>,
    #[serde(borrow)]
    what: Cow<'a, str>,
    post: Post,
}

impl<'a> Written<'a> {
    /// The push of one, read in place; none: the frame is something else, or none at all.
    pub(super) fn push(text: &'a str) -> Option<Down> {
        #[derive(Deserialize)]
        struct Frame<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            push: u64,
            #[serde(default)]
            redelivered: bool,
            #[serde(borrow)]
            item: Written<'a>,
        }
        let frame: Frame<'a> = serde_json::from_str(text).ok()?;
        if frame.kind != "push" {
            return None;
        }
        Some(Down::Push {
            push: frame.push,
            redelivered: frame.redelivered,
            item: frame.item.into_item()?,
        })
    }

    fn into_item(self) -> Option<Item> {
        let Self {
            seq,
            at_ms,
            by,
            chat,
            what,
            post,
        } = self;
        let what = match &*what {
            "posted" => What::Posted { post },
            "edited" => What::Edited { post },
            _ => return None,
        };
        Some(Item {
            seq,
            at_ms,
            by,
            chat,
            what,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    Posted {
        post: Post,
    },
    Edited {
        post: Post,
    },
    /// `for_all`: gone for everybody, else for the person who is told.
    Recalled {
        post: String,
        for_all: bool,
    },
    /// A post that was accepted could not be delivered after all.
    Failed {
        #[serde(rename = "ref")]
        client_ref: String,
        code: String,
        text: String,
    },
    Reacted {
        post: String,
        key: String,
    },
    Unreacted {
        post: String,
        key: String,
    },
    Reactions {
        post: String,
        reactions: Vec<Reaction>,
    },
    Delivered {
        person: String,
        posts: Vec<String>,
    },
    Read {
        person: String,
        up_to: String,
    },
    Typing {
        ttl_ms: u64,
    },
    TypingEnded,
    Presence {
        status: String,
        since_ms: i64,
    },
    ChatOpened,
    ChatChanged {
        fields: Vec<String>,
        version: u64,
    },
    ChatClosed {
        reason: String,
        for_all: bool,
    },
    Joined {
        seat: Seat,
        reason: String,
        version: u64,
    },
    Left {
        seat: Seat,
        reason: String,
        version: u64,
    },
    SeatChanged {
        seat: Seat,
        fields: Vec<String>,
        version: u64,
    },
    ContactAsked {
        person: Person,
        request: String,
        #[serde(default)]
        text: Option<String>,
    },
    ContactAdded {
        person: Person,
    },
    ContactRemoved {
        person: Person,
    },
    Unread {
        total: u64,
        #[serde(default)]
        in_chat: Option<u64>,
    },
    Notice {
        id: String,
        name: String,
        title: String,
        text: String,
        warning: bool,
        body: Value,
    },
    /// Items from `from` to `to` were dropped before this person took them: the provider keeps so many only.
    Dropped {
        from: u64,
        to: u64,
    },
    /// A kind of item that is newer than the client.
    #[serde(untagged)]
    Unknown(Value),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub robot: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    pub id: String,
    /// 1 two people, 2 group, 3 room, 4 broadcast, 5 the provider itself.
    pub kind: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_post_ms: Option<i64>,
}

/// A person in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub person: Person,
    /// `owner`, `admin`, `member`, `visitor`.
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    pub since_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    pub key: String,
    pub people: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_item_read_in_place_is_the_one_that_the_enum_reads() {
        let person = json!({ "id": "a", "name": "A \"quoted\"", "robot": false });
        let post = json!({
            "id": "p1", "chat": "c", "seq": 3, "at_ms": 4, "version": 1, "from": person, "state": "normal",
            "parts": [{ "part": "text", "text": "hi" }, { "part": "at_all" }],
        });
        let chat = json!({ "id": "c", "kind": 3 });
        let items = [
            json!({ "seq": 1, "at_ms": 2, "by": person, "chat": chat, "what": "posted", "post": post }),
            json!({ "what": "edited", "post": post, "seq": 1, "at_ms": 2, "later": [1] }),
            // A post that is none, one that is missing, and kinds without and unknown.
            json!({ "seq": 1, "at_ms": 2, "what": "posted", "post": "p1" }),
            json!({ "seq": 1, "at_ms": 2, "what": "posted" }),
            json!({ "seq": 1, "at_ms": 2, "what": "recalled", "post": "p1", "for_all": true }),
            json!({ "seq": 1, "at_ms": 2, "what": "typing", "ttl_ms": 9 }),
            json!({ "seq": 1, "at_ms": 2, "what": "danced", "how": "well" }),
            json!({ "seq": 1, "at_ms": 2 }),
            json!({ "what": "posted", "post": post }),
        ];
        for item in items {
            let text =
                json!({ "type": "push", "push": 7, "redelivered": true, "item": item }).to_string();
            let read = match Down::read(&text) {
                Ok(Down::Push {
                    push: 7,
                    redelivered: true,
                    item,
                }) => Some(item),
                Ok(other) => panic!("{other:?}"),
                Err(_) => None,
            };
            assert_eq!(read, serde_json::from_value(item).ok(), "{text}");
        }
    }

    #[test]
    fn a_kind_without_members_is_read_back() {
        let item = Item {
            seq: 1,
            at_ms: 2,
            by: None,
            chat: None,
            what: What::ChatOpened,
        };
        let text = serde_json::to_string(&item).unwrap();
        assert_eq!(
            serde_json::from_str::<Item>(&text).map_err(|e| (e.to_string(), text)),
            Ok(item)
        );
    }
}
