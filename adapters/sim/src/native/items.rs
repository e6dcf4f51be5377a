//! What a person is told: one item per thing that happened, numbered without holes inside that person's inbox.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Post;

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

impl Item {
    /// As [`super::Down::read`]: what people write is read in place.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Written<'a> {
            seq: u64,
            at_ms: i64,
            by: Option<Person>,
            chat: Option<Chat>,
            #[serde(borrow)]
            what: Cow<'a, str>,
            #[serde(borrow)]
            post: Option<&'a RawValue>,
        }
        let Ok(written) = serde_json::from_str::<Written<'_>>(text) else {
            return serde_json::from_str(text);
        };
        let post = |raw: Option<&RawValue>| serde_json::from_str(raw?.get()).ok();
        let what = match &*written.what {
            "posted" => post(written.post).map(|post| What::Posted { post }),
            "edited" => post(written.post).map(|post| What::Edited { post }),
            _ => None,
        };
        let Some(what) = what else {
            return serde_json::from_str(text);
        };
        let Written {
            seq,
            at_ms,
            by,
            chat,
            ..
        } = written;
        Ok(Self {
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
            let text = item.to_string();
            let (read, wanted) = (
                Item::read(&text).ok(),
                serde_json::from_str::<Item>(&text).ok(),
            );
            assert_eq!(read, wanted, "{text}");
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
