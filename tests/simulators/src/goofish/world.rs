//! Everything the provider knows: people, conversations, messages, and what it can be set to.
//!
//! One lock around all of it, held for one frame or call, never across an await. Everything is bounded; what was said first
//! is forgotten first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

use super::faults::{Fault, Faults, On};
use super::items::Chat;
use super::log::{Log, Unacknowledged};
use super::mtop::{Grant, Signing, Tokens};
use super::record::Record;
use super::sessions::Session;
use super::settings::Settings;
use super::wire::{Item, base64, fresh_hex, from_base64, full, now_ms, pnm};

pub const PEOPLE_MAX: usize = 10_000;
const UID_DIGITS_MAX: usize = 20;
const CONVERSATIONS_MAX: usize = 50_000;
/// Together, whichever bound comes first.
const MESSAGES_MAX: usize = 200_000;
const MESSAGES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Sends whose first answer is remembered.
const UUIDS_MAX: usize = 50_000;

pub struct Person {
    pub nick: String,
    pub logged_in: bool,
    /// Those that must come with every call.
    pub cookies: BTreeMap<String, String>,
    pub conversations: Vec<u64>,
    /// Connections that are registered.
    pub sessions: Vec<u64>,
    pub log: Log,
    pub unacknowledged: Unacknowledged,
}

pub struct Conversation {
    pub cid: u64,
    /// The numerically smaller uid.
    pub first: String,
    pub second: String,
    pub item_id: String,
    pub created_ms: u64,
    pub modified_ms: u64,
    pub messages: VecDeque<u64>,
    /// Up to which message each has cleared its mark: first, second.
    pub cleared: [u64; 2],
}

impl Conversation {
    pub fn has(&self, uid: &str) -> bool {
        self.first == uid || self.second == uid
    }

    pub fn other(&self, uid: &str) -> &str {
        if self.first == uid {
            &self.second
        } else {
            &self.first
        }
    }

    pub fn side(&self, uid: &str) -> usize {
        usize::from(self.first != uid)
    }

    /// Who sells the item.
    pub fn owner(&self) -> &str {
        &self.second
    }
}

pub struct Message {
    pub number: u64,
    pub cid: u64,
    pub from: String,
    pub at_ms: u64,
    /// The inner JSON as pushes have it, and in base64 as it was sent.
    pub content: String,
    pub data: String,
    pub custom_type: u64,
    pub content_type: u64,
    pub summary: String,
    pub title: String,
    pub platform: String,
    pub related_id: String,
    pub need_push: Option<bool>,
}

impl Message {
    fn bytes(&self) -> usize {
        self.content.len() + self.data.len() + self.summary.len()
    }
}

/// What is said, before it has a number.
pub struct Spoken {
    pub content: Value,
    pub data: Option<String>,
    pub custom_type: u64,
    pub summary: Option<String>,
    pub title: Option<String>,
    pub platform: String,
    pub need_push: Option<bool>,
}

#[derive(Default)]
pub struct World {
    pub settings: Settings,
    pub signing: Tokens<Signing>,
    pub grants: Tokens<Grant>,
    pub people: HashMap<String, Person>,
    pub conversations: HashMap<u64, Conversation>,
    by_pair: HashMap<(String, String, String), u64>,
    pub messages: HashMap<u64, Arc<Message>>,
    /// By age.
    message_numbers: VecDeque<u64>,
    message_bytes: usize,
    pub sessions: HashMap<u64, Session>,
    pub faults: Faults,
    pub record: Record,
    pub uuids: Uuids,
    /// Uploaded ones by name.
    pub images: VecDeque<(String, Bytes)>,
    last_message: u64,
    pub last_conn: u64,
    pub last_push: u64,
}

/// The world as all connections share it.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn new() -> Self {
        let mut world = World::default();
        let made = world.conversation("1000000001", "2000000002", "500000000005");
        debug_assert!(made.is_ok());
        Self(Arc::new(Mutex::new(world)))
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers to sends by sender and `uuid`.
#[derive(Default)]
pub struct Uuids {
    answers: HashMap<(String, String), Value>,
    age: VecDeque<(String, String)>,
}

impl Uuids {
    pub fn get(&self, uid: &str, uuid: &str) -> Option<&Value> {
        self.answers.get(&(uid.to_owned(), uuid.to_owned()))
    }

    pub fn add(&mut self, uid: &str, uuid: &str, answer: Value) {
        if self.age.len() == UUIDS_MAX
            && let Some(oldest) = self.age.pop_front()
        {
            self.answers.remove(&oldest);
        }
        let key = (uid.to_owned(), uuid.to_owned());
        self.age.push_back(key.clone());
        self.answers.insert(key, answer);
    }
}

impl World {
    pub fn tell(&mut self, kind: &'static str, fields: Value) {
        self.record.add(now_ms(), kind, fields);
    }

    /// The fault that hits here, if any; recorded.
    pub fn hit(&mut self, on: On, uid: Option<&str>, of: &str) -> Option<(u64, Fault)> {
        let (id, fault) = self.faults.hit(on, uid, of)?;
        let fields = json!({ "id": id, "on": on, "do": fault.what, "of": of, "uid": uid });
        self.tell("fault", fields);
        Some((id, fault))
    }

    /// Whoever has this uid, made at the first look.
    pub fn person(&mut self, uid: &str) -> Option<&mut Person> {
        let is_uid = (1..=UID_DIGITS_MAX).contains(&uid.len())
            && !uid.starts_with('0')
            && uid.bytes().all(|byte| byte.is_ascii_digit());
        let is_room = self.people.contains_key(uid) || self.people.len() < PEOPLE_MAX;
        (is_uid && is_room).then(|| {
            self.people.entry(uid.to_owned()).or_insert_with(|| Person {
                nick: format!("nick-{uid}"),
                logged_in: true,
                cookies: BTreeMap::new(),
                conversations: Vec::new(),
                sessions: Vec::new(),
                log: Log::default(),
                unacknowledged: Unacknowledged::default(),
            })
        })
    }

    /// The conversation of two people about an item, made if there is none.
    pub fn conversation(&mut self, a: &str, b: &str, item_id: &str) -> Result<u64, String> {
        // By number: the shorter one is the smaller one.
        let (first, second) = if (a.len(), a) < (b.len(), b) {
            (a, b)
        } else {
            (b, a)
        };
        if first == second {
            return Err("a conversation is between two".to_owned());
        }
        let key = (first.to_owned(), second.to_owned(), item_id.to_owned());
        if let Some(cid) = self.by_pair.get(&key) {
            return Ok(*cid);
        }
        if self.conversations.len() == CONVERSATIONS_MAX {
            return Err(format!("there are {CONVERSATIONS_MAX} conversations"));
        }
        let cid = 30_000_000_001 + self.conversations.len() as u64;
        for uid in [first, second] {
            let person = self.person(uid).ok_or_else(|| format!("nobody is {uid}"))?;
            person.conversations.push(cid);
        }
        let now_ms = now_ms();
        self.conversations.insert(
            cid,
            Conversation {
                cid,
                first: first.to_owned(),
                second: second.to_owned(),
                item_id: item_id.to_owned(),
                created_ms: now_ms,
                modified_ms: now_ms,
                messages: VecDeque::new(),
                cleared: [0; 2],
            },
        );
        self.by_pair.insert(key, cid);
        Ok(cid)
    }

    /// The other member of a conversation of this one, and its nick.
    pub fn peer_of(&self, uid: &str, cid: &str) -> Option<(String, String)> {
        let conversation = self.conversations.get(&cid.parse().ok()?)?;
        let peer = conversation.has(uid).then(|| conversation.other(uid))?;
        let nick = &self.people.get(peer)?.nick;
        Some((peer.to_owned(), nick.clone()))
    }

    /// Keeps what a member says; it is pushed elsewhere. Numbers begin with the time, so that a simulator that was restarted
    /// gives no id twice, unless more than a thousand a second were given.
    pub fn keep(&mut self, cid: u64, from: &str, said: Spoken) -> Option<Arc<Message>> {
        let nick = self.people.get(from)?.nick.clone();
        let at_ms = now_ms();
        let number = at_ms.max(self.last_message + 1);
        let conversation = self.conversations.get_mut(&cid)?;
        let content_type = said.content["contentType"].as_u64().unwrap_or_default();
        let summary = said.summary.unwrap_or_else(|| summary(&said.content));
        let content = with_mentions(said.content).to_string();
        let message = Arc::new(Message {
            number,
            cid,
            from: from.to_owned(),
            at_ms,
            data: said.data.unwrap_or_else(|| base64(content.as_bytes())),
            content,
            custom_type: said.custom_type,
            content_type,
            summary,
            title: said.title.unwrap_or(nick),
            platform: said.platform,
            related_id: fresh_hex(),
            need_push: said.need_push,
        });
        self.last_message = number;
        conversation.modified_ms = at_ms;
        conversation.messages.push_back(number);
        self.messages.insert(number, message.clone());
        self.message_numbers.push_back(number);
        self.message_bytes += message.bytes();
        while self.message_numbers.len() > MESSAGES_MAX || self.message_bytes > MESSAGES_BYTES_MAX {
            match self.message_numbers.pop_front() {
                Some(oldest) => self.forget(oldest),
                None => break,
            }
        }
        Some(message)
    }

    /// Takes a message out of list and history.
    pub fn forget(&mut self, number: u64) {
        let Some(message) = self.messages.remove(&number) else {
            return; // recalled before it was old
        };
        self.message_bytes -= message.bytes();
        if let Some(conversation) = self.conversations.get_mut(&message.cid)
            && let Ok(at) = conversation.messages.binary_search(&number)
        {
            conversation.messages.remove(at);
        }
    }

    /// A message as one of its members is told it.
    pub fn told(&self, message: &Message, to: &str) -> Option<Item> {
        let conversation = self.conversations.get(&message.cid)?;
        let is_echo = message.from == to;
        let id = pnm(message.number);
        let notice = format!("{}发来一条新消息", message.title);
        let chat = Chat {
            id: &id,
            cid: message.cid,
            sender: &message.from,
            peer: conversation.other(to),
            item_id: &conversation.item_id,
            at_ms: message.at_ms,
            nick: &message.title,
            notice: &notice,
            related_id: &message.related_id,
            platform: &message.platform,
            is_echo,
            need_push: message.need_push.unwrap_or(!is_echo),
            content: &message.content,
            content_type: message.content_type,
            summary: &message.summary,
        };
        Some(chat.item())
    }

    /// A message as lists and history have it.
    pub fn in_history(&self, message: &Message, to: &str) -> Value {
        let Some(conversation) = self.conversations.get(&message.cid) else {
            return Value::Null;
        };
        let (peer, item_id) = (conversation.other(to), &conversation.item_id);
        let Message {
            cid,
            from,
            related_id,
            summary,
            ..
        } = message;
        json!({
            "extension": {
                "senderUserId": from,
                "reminderContent": summary,
                "reminderTitle": message.title,
                "reminderUrl": format!("fleamarket://message_chat?itemId={item_id}&peerUserId={peer}&sid={cid}&messageId={related_id}&adv=no"),
                "extJson": format!(r#"{{"quickReply":"1","messageId":"{related_id}","tag":"u"}}"#),
                "sessionType": "1",
            },
            "messageId": pnm(message.number),
            "unreadCount": 0,
            "msgReadStatusSetting": 1,
            "createAt": message.at_ms,
            "content": {
                "custom": {
                    "summary": summary, "data": message.data, "title": "",
                    "type": message.custom_type, "degrade": "",
                },
                "contentType": 101,
            },
            "mtags": {},
            "conversationType": 1,
            "displayStyle": 1,
            "redPointPolicy": 0,
            "recordStatus": 0,
            "searchableContent": { "summary": "" },
            "sender": { "uid": full(from), "tag": 0 },
            "receivers": [],
            "receiverCount": 2,
            "cid": full(cid),
        })
    }
}

/// The inner JSON of a send: an object with a content type, in padded base64.
pub fn inner(data: &str) -> Option<Value> {
    let content: Value = serde_json::from_slice(&from_base64(data)?).ok()?;
    content["contentType"].is_u64().then_some(content)
}

/// What a push shows: the text, else the kind in brackets.
fn summary(content: &Value) -> String {
    let kind = match content["contentType"].as_u64() {
        Some(1) => {
            return content["text"]["text"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
        }
        Some(2) => "[图片]",
        Some(3) => "[语音]",
        Some(7) => "[商品]",
        Some(26) => "[交易消息]",
        _ => "[消息]",
    };
    kind.to_owned()
}

/// Texts and images come with the list of who is mentioned, whether or not they were sent with it.
fn with_mentions(mut content: Value) -> Value {
    if let Some(1 | 2) = content["contentType"].as_u64()
        && content["atUsers"].is_null()
    {
        content["atUsers"] = json!([]);
    }
    content
}
