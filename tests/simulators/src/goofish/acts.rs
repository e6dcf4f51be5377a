//! What tests do through `/_sim/`: each act either happens as a whole or is refused with its reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::control::Outcome;
use super::faults::Fault;
use super::items::{json_item, order_state, pack_item, typing};
use super::pushes::PUSH_ITEMS_MAX;
use super::sessions::{How, Out};
use super::wire::{Item, SUFFIX, from_pnm, now_ms, pnm};
use super::world::{Spoken, World};

/// Repeated texts of one call.
const TIMES_MAX: u64 = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    from: String,
    cid: Option<String>,
    to: Option<String>,
    item: Option<String>,
    text: Option<String>,
    content: Option<Value>,
    summary: Option<String>,
    title: Option<String>,
    platform: Option<String>,
    need_push: Option<bool>,
    #[serde(default = "once")]
    times: u64,
    #[serde(default)]
    together: bool,
    #[serde(default)]
    forget: bool,
}

fn once() -> u64 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    by: String,
    message_ids: Vec<String>,
    #[serde(default)]
    batch: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typing {
    from: String,
    cid: String,
    lwp: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recall {
    message_id: String,
    item: Option<RawItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    to: String,
    cid: String,
    reminder: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    to: String,
    cid: String,
    lwp: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    a: String,
    b: String,
    item: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawItem {
    pack: Option<Value>,
    json: Option<Value>,
    data: Option<String>,
    biz_type: Option<u32>,
    object_type: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPush {
    to: String,
    lwp: Option<String>,
    items: Option<Vec<RawItem>>,
    frame: Option<Value>,
    text: Option<String>,
    #[serde(default)]
    binary: bool,
    extra: Option<u8>,
    #[serde(default)]
    logged: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kick {
    uid: Option<String>,
    device: Option<String>,
    how: How,
    code: Option<u16>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expiring {
    Access,
    Signing,
    Login,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expire {
    what: Expiring,
    uid: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    uid: String,
    nick: Option<String>,
    logged_in: Option<bool>,
    cookies: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uid {
    uid: String,
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// The digits of an id, which may have the suffix.
fn bare(id: &str) -> &str {
    id.strip_suffix(SUFFIX).unwrap_or(id)
}

impl RawItem {
    fn item(self) -> Result<Item, String> {
        let at_ms = now_ms();
        let mut item = match (&self.pack, &self.json, self.data) {
            (Some(value), None, None) => pack_item(value, at_ms),
            (None, Some(value), None) => json_item(value, at_ms),
            (None, None, Some(data)) => Item {
                biz_type: 40,
                object_type: 40_000,
                data,
                id: None,
                at_ms,
            },
            _ => return Err("an item has one of `pack`, `json`, `data`".to_owned()),
        };
        item.biz_type = self.biz_type.unwrap_or(item.biz_type);
        item.object_type = self.object_type.unwrap_or(item.object_type);
        Ok(item)
    }
}

impl World {
    pub fn act(&mut self, what: &str, body: &[u8]) -> Outcome {
        match what {
            "say" => self.say(parsed(body)?),
            "read" => self.has_read(&parsed(body)?),
            "typing" => {
                let Typing { from, cid, lwp } = parsed(body)?;
                let cid = self.cid_of(&cid, &from)?;
                let peer = self.conversations[&cid].other(bare(&from)).to_owned();
                let item = Arc::new(typing(cid, bare(&from), now_ms()));
                let lwp = lwp.as_deref().unwrap_or("/s/para");
                Ok(json!({ "sessions": self.deliver(&peer, lwp, &[item], false) }))
            }
            "recall" => self.take_back(parsed(body)?),
            "order" => {
                let Order { to, cid, reminder } = parsed(body)?;
                let cid = self.cid_of(&cid, &to)?;
                let item = Arc::new(order_state(cid, &reminder, now_ms()));
                Ok(json!({ "sessions": self.deliver(bare(&to), "/s/sync", &[item], true) }))
            }
            "hint" => {
                let Hint { to, cid, lwp } = parsed(body)?;
                let cid = self.cid_of(&cid, &to)?;
                let item = self.hint(cid, bare(&to)).ok_or("no such conversation")?;
                let lwp = lwp.as_deref().unwrap_or("/s/sync");
                let told = self.deliver(bare(&to), lwp, &[Arc::new(item)], true);
                Ok(json!({ "sessions": told }))
            }
            "conversation" => {
                let Pair { a, b, item } = parsed(body)?;
                let item = item.as_deref().unwrap_or("500000000005");
                let cid = self.conversation(bare(&a), bare(&b), item)?;
                Ok(json!({ "cid": cid.to_string() }))
            }
            "push" => self.push_raw(parsed(body)?),
            "kick" => Ok(self.kick(&parsed(body)?)),
            "expire" => self.expire(&parsed(body)?),
            "account" => {
                let Account {
                    uid,
                    nick,
                    logged_in,
                    cookies,
                } = parsed(body)?;
                let person = self
                    .person(bare(&uid))
                    .ok_or(format!("nobody can be {uid}"))?;
                person.nick = nick.unwrap_or_else(|| person.nick.clone());
                person.logged_in = logged_in.unwrap_or(person.logged_in);
                person.cookies = cookies.unwrap_or_else(|| person.cookies.clone());
                Ok(json!({ "uid": bare(&uid), "nick": person.nick, "logged_in": person.logged_in }))
            }
            "redeliver" => {
                let Uid { uid } = parsed(body)?;
                Ok(json!({ "pushes": self.redeliver(bare(&uid), None) }))
            }
            "settings" => {
                let changes = if body.is_empty() {
                    json!({})
                } else {
                    parsed(body)?
                };
                self.set(changes)
            }
            "fault" => {
                let mut fault: Fault = parsed(body)?;
                fault.uid = fault.uid.map(|uid| bare(&uid).to_owned());
                Ok(json!({ "id": self.faults.arm(fault)? }))
            }
            _ => Err(format!("no call {what}; see tests/simulators/README.md")),
        }
    }

    /// A conversation of this person.
    fn cid_of(&self, cid: &str, uid: &str) -> Result<u64, String> {
        let number = bare(cid)
            .parse()
            .map_err(|_| format!("{cid} is no conversation id"))?;
        let conversation = self
            .conversations
            .get(&number)
            .filter(|it| it.has(bare(uid)));
        conversation
            .map(|it| it.cid)
            .ok_or_else(|| format!("{uid} has no conversation {cid}"))
    }

    fn say(&mut self, say: Say) -> Outcome {
        let from = bare(&say.from);
        if say.times > TIMES_MAX {
            return Err(format!("`times` is {TIMES_MAX} at most"));
        }
        let content = match (say.text, say.content) {
            (Some(text), None) => json!({ "contentType": 1, "text": { "text": text } }),
            (None, Some(content)) if content["contentType"].is_u64() => content,
            _ => return Err("`text`, or `content` with `contentType`".to_owned()),
        };
        let cid = match (&say.cid, &say.to) {
            (Some(cid), _) => self.cid_of(cid, from)?,
            (None, Some(to)) => {
                let item = say.item.as_deref().unwrap_or("500000000005");
                self.conversation(from, bare(to), item)?
            }
            (None, None) => return Err("`cid` or `to`".to_owned()),
        };
        let mut kept = Vec::new();
        for n in 1..=say.times {
            let mut content = content.clone();
            if say.times > 1
                && let Some(text) = content["text"]["text"].as_str()
            {
                content["text"]["text"] = format!("{text} #{n}").into();
            }
            let spoken = Spoken {
                content,
                data: None,
                custom_type: 1,
                summary: say.summary.clone(),
                title: say.title.clone(),
                platform: say.platform.clone().unwrap_or_else(|| "ios".to_owned()),
                need_push: say.need_push,
            };
            let message = self.keep(cid, from, spoken).ok_or("no such conversation")?;
            self.tell_sent(&message, "control", None);
            kept.push(message);
        }
        let peer = self.conversations[&cid].other(from).to_owned();
        let size = if say.together { PUSH_ITEMS_MAX } else { 1 };
        if !say.forget {
            for messages in kept.chunks(size) {
                for to in [peer.clone(), from.to_owned()] {
                    let effect = self.deliver_messages(messages, to);
                    self.happen(effect.into_iter().collect());
                }
            }
        }
        let ids: Vec<_> = kept.iter().map(|message| pnm(message.number)).collect();
        Ok(json!({ "cid": cid.to_string(), "message_ids": ids }))
    }

    fn has_read(&mut self, read: &Read) -> Outcome {
        let ids: Vec<&str> = read.message_ids.iter().map(String::as_str).collect();
        let effects = self.seen(bare(&read.by), &ids, read.batch)?;
        self.happen(effects);
        Ok(json!({ "read": ids.len() }))
    }

    fn take_back(&mut self, recall: Recall) -> Outcome {
        let number = from_pnm(&recall.message_id);
        let message = number
            .and_then(|number| self.messages.get(&number))
            .cloned();
        let message = message.ok_or_else(|| format!("no message {}", recall.message_id))?;
        let item = recall.item.map(RawItem::item).transpose()?.map(Arc::new);
        let conversation = self
            .conversations
            .get(&message.cid)
            .ok_or("no such conversation")?;
        let both = [conversation.first.clone(), conversation.second.clone()];
        self.forget(message.number);
        let (cid, id) = (message.cid.to_string(), &recall.message_id);
        self.tell(
            "recalled",
            json!({ "by": message.from, "cid": cid, "id": id }),
        );
        for to in both {
            if let Some(item) = &item {
                self.deliver(&to, "/s/sync", std::slice::from_ref(item), true);
            }
        }
        Ok(json!({ "cid": cid }))
    }

    fn push_raw(&mut self, raw: RawPush) -> Outcome {
        let to = bare(&raw.to);
        let lwp = raw.lwp.as_deref().unwrap_or("/s/sync");
        let sessions = self
            .people
            .get(to)
            .map(|it| it.sessions.clone())
            .unwrap_or_default();
        match (raw.items, raw.frame, raw.text) {
            (Some(items), None, None) => {
                let items: Result<Vec<_>, _> = items
                    .into_iter()
                    .map(|item| item.item().map(Arc::new))
                    .collect();
                let items = items?;
                let told = self.deliver_with(to, lwp, &items, raw.logged, raw.extra);
                return Ok(json!({ "sessions": told }));
            }
            (None, Some(frame), None) if frame.is_object() => {
                self.last_push += 1;
                let number = self.last_push;
                for conn in &sessions {
                    if let Some(session) = self.sessions.get_mut(conn) {
                        session.queue_frame(frame.clone(), number);
                    }
                }
            }
            (None, None, Some(text)) => {
                for conn in &sessions {
                    if let Some(session) = self.sessions.get_mut(conn) {
                        let text = text.clone();
                        session.enqueue(if raw.binary {
                            Out::Binary(text)
                        } else {
                            Out::Text(text)
                        });
                    }
                }
            }
            _ => return Err("one of `items`, `frame` (an object), `text`".to_owned()),
        }
        Ok(json!({ "sessions": sessions.len() }))
    }

    fn kick(&mut self, kick: &Kick) -> Value {
        let uid = kick.uid.as_deref().map(bare);
        let mut hit = 0;
        for session in self.sessions.values_mut() {
            let Some(registered) = &session.registered else {
                continue;
            };
            let fits = uid.is_none_or(|uid| registered.uid == uid)
                && kick
                    .device
                    .as_ref()
                    .is_none_or(|device| registered.device == *device);
            if fits {
                hit += 1;
                let reason = kick.reason.as_deref().unwrap_or_default();
                session.end(kick.how, kick.code.unwrap_or(1001), reason);
            }
        }
        json!({ "sessions": hit })
    }

    fn expire(&mut self, expire: &Expire) -> Outcome {
        let uid = expire.uid.as_deref().map(bare);
        let mut expired = 0;
        match expire.what {
            Expiring::Access => {
                for grant in self.grants.all_mut() {
                    if uid.is_none_or(|uid| grant.uid == uid) {
                        grant.expires_ms = 0;
                        expired += 1;
                    }
                }
            }
            Expiring::Signing => {
                for signing in self.signing.all_mut() {
                    if uid.is_none_or(|uid| signing.uid.as_deref() == Some(uid)) {
                        signing.expires_ms = 0;
                        expired += 1;
                    }
                }
            }
            Expiring::Login => {
                let uid = uid.ok_or("`login` is of one `uid`")?;
                let person = self
                    .person(uid)
                    .ok_or_else(|| format!("nobody can be {uid}"))?;
                person.logged_in = false;
                expired = 1;
            }
        }
        Ok(json!({ "expired": expired }))
    }
}
