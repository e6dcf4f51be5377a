//! The services behind `/r/`: sends, conversations, history, read state, recalls.
//!
//! Each checks the whole form of its body before it does anything; what the page does not allow is refused with 400.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use super::items::{receipt, receipts};
use super::requests::{Done, Effect, No, done, done_with, no};
use super::settings::Receipts;
use super::wire::{Item, digits, from_pnm, full, now_ms, pnm};
use super::world::{Conversation, Message, Spoken, World, inner};

/// The largest page of a list or a history.
const LIMIT_MAX: u64 = 100;
/// Of what was said, as much as the record keeps.
const SUMMARY_CHARS_MAX: usize = 200;
/// Ids in one read report.
const READ_MAX: usize = 1_000;

impl World {
    pub fn service(&mut self, uid: &str, lwp: &str, body: &Value) -> Result<Done, No> {
        match lwp {
            "/r/MessageSend/sendByReceiverScope" => self.send(uid, body),
            "/r/Conversation/listNewestPagination" => self.list(uid, body),
            "/r/Conversation/clearRedPoint" => self.clear(uid, body),
            "/r/SingleChatConversation/create" => self.create(uid, body),
            "/r/MessageManager/listUserMessages" => self.history(uid, body),
            "/r/MessageManager/recallMessage" => match body.as_array().map(Vec::as_slice) {
                Some([Value::String(id)]) => self.recall(uid, id),
                _ => no(400, "the body is [\"<message id>\"]"),
            },
            "/r/MessageManager/recallMessageByFeature" => {
                match body.as_array().map(Vec::as_slice) {
                    Some([Value::String(_), Value::String(id), Value::Object(_)]) => {
                        self.recall(uid, id)
                    }
                    _ => no(400, "the body is [\"<cid>\", \"<message id>\", {...}]"),
                }
            }
            "/r/MessageStatus/read" => self.read(uid, body),
            _ => no(404, format!("no such service: {lwp}")),
        }
    }

    /// A conversation of this person, by its id on the wire.
    fn own(&self, uid: &str, cid: &Value) -> Result<&Conversation, No> {
        let number = cid
            .as_str()
            .and_then(digits)
            .and_then(|cid| cid.parse().ok());
        let Some(number) = number else {
            return no(
                400,
                format!("{cid} is no conversation id: <digits>@goofish"),
            );
        };
        let conversation: Option<&Conversation> = self.conversations.get(&number);
        conversation
            .filter(|it| it.has(uid))
            .ok_or_else(|| No(400, format!("no conversation {cid} of yours")))
    }

    fn send(&mut self, uid: &str, body: &Value) -> Result<Done, No> {
        let Some([message, scope]) = body.as_array().map(Vec::as_slice) else {
            return no(400, "the body is two objects: message, receivers");
        };
        let conversation = self.own(uid, &message["cid"])?;
        let (cid, peer) = (conversation.cid, conversation.other(uid).to_owned());
        let receivers: Option<Vec<&str>> = scope["actualReceivers"]
            .as_array()
            .and_then(|all| all.iter().map(|it| digits(it.as_str()?)).collect());
        let Some(receivers) = receivers.filter(|all| !all.is_empty()) else {
            return no(400, "`actualReceivers` is a list of <uid>@goofish");
        };
        if let Some(stranger) = receivers.iter().find(|it| !conversation.has(it)) {
            return no(400, format!("{stranger} is no member of the conversation"));
        }
        let content = &message["content"];
        let custom = &content["custom"];
        let Some(uuid) = message["uuid"].as_str().filter(|uuid| !uuid.is_empty()) else {
            return no(400, "`uuid` is missing");
        };
        if message["conversationType"] != 1 || content["contentType"] != 101 {
            return no(
                400,
                "`conversationType` is 1 and `content.contentType` is 101",
            );
        }
        let Some(custom_type) = custom["type"].as_u64().filter(|it| (1..=2).contains(it)) else {
            return no(400, "`custom.type` is 1 or 2");
        };
        let data = custom["data"].as_str().unwrap_or_default();
        let Some(inner) = inner(data) else {
            return no(
                400,
                "`custom.data` is padded base64 of JSON with `contentType`",
            );
        };
        let is_empty = |text: &Value| text.as_str().is_none_or(str::is_empty);
        if inner["contentType"] == 1 && is_empty(&inner["text"]["text"]) {
            return no(400, "a text has `text.text`");
        }
        if inner["contentType"] == 2 && is_empty(&inner["image"]["pics"][0]["url"]) {
            return no(400, "an image has `image.pics` with `url`");
        }
        if self.settings.dedupe_uuid
            && let Some(first) = self.uuids.get(uid, uuid)
        {
            return done(first.clone());
        }
        let said = Spoken {
            content: inner,
            data: Some(data.to_owned()),
            custom_type,
            summary: None,
            title: None,
            platform: "web".to_owned(),
            need_push: None,
        };
        let Some(kept) = self.keep(cid, uid, said) else {
            return no(500, "the message could not be kept");
        };
        self.tell_sent(&kept, "session", Some(uuid));
        let body = json!({
            "messageId": pnm(kept.number), "uuid": uuid, "createAt": kept.at_ms,
            "extension": { "senderUserId": uid, "reminderContent": kept.summary },
        });
        self.uuids.add(uid, uuid, body.clone());
        let to_peer = receivers.contains(&peer.as_str()).then_some(peer);
        let both = to_peer.into_iter().chain([uid.to_owned()]);
        let effects = both.filter_map(|to| self.deliver_messages(std::slice::from_ref(&kept), to));
        done_with(body, effects.collect())
    }

    pub fn tell_sent(&mut self, message: &Message, by: &str, uuid: Option<&str>) {
        let summary: String = message.summary.chars().take(SUMMARY_CHARS_MAX).collect();
        let fields = json!({
            "id": pnm(message.number), "cid": message.cid.to_string(), "from": message.from,
            "by": by, "uuid": uuid, "content_type": message.content_type,
            "summary": summary,
        });
        self.tell("sent", fields);
    }

    /// The push of these messages to one of the members.
    pub fn deliver_messages(&self, messages: &[Arc<Message>], to: String) -> Option<Effect> {
        let items: Option<Vec<_>> = messages
            .iter()
            .map(|message| self.told(message, &to).map(Arc::new))
            .collect();
        let is_echo = messages.iter().all(|message| message.from == to);
        Some(Effect::Deliver {
            to,
            items: items?,
            is_echo,
        })
    }

    fn list(&mut self, uid: &str, body: &Value) -> Result<Done, No> {
        let (start, limit) = match body.as_array().map(Vec::as_slice) {
            Some([start, limit]) => (start.as_u64(), limit.as_u64()),
            _ => (None, None),
        };
        let (Some(start), Some(limit)) = (start, limit.filter(|limit| *limit > 0)) else {
            return no(400, "the body is two numbers: start and limit");
        };
        let own = self
            .people
            .get(uid)
            .map(|person| person.conversations.as_slice());
        let mut all: Vec<&Conversation> = own
            .unwrap_or_default()
            .iter()
            .filter_map(|cid| self.conversations.get(cid))
            .filter(|conversation| conversation.modified_ms < start)
            .collect();
        // Within a millisecond messages have an order, too.
        all.sort_unstable_by_key(|it| Reverse((it.modified_ms, it.messages.back(), it.cid)));
        let end = page_end(&all, limit, |it| it.modified_ms);
        let entries: Vec<_> = all[..end]
            .iter()
            .map(|it| json!({ "type": 1, "singleChatUserConversation": self.as_listed(it, uid) }))
            .collect();
        done(json!({
            "hasMore": u8::from(end < all.len()),
            "nextCursor": all[..end].last().map_or(0, |it| it.modified_ms),
            "userConvs": entries,
        }))
    }

    /// A conversation as its lists have it; nothing was said: without a last message.
    fn as_listed(&self, conversation: &Conversation, uid: &str) -> Value {
        let last = conversation
            .messages
            .back()
            .and_then(|number| self.messages.get(number));
        let cleared = conversation.cleared[conversation.side(uid)];
        let unread = conversation
            .messages
            .iter()
            .rev()
            .take_while(|number| **number > cleared)
            .filter_map(|number| self.messages.get(number))
            .filter(|message| message.from != uid)
            .count();
        let mut listed = json!({
            "visible": 1,
            "modifyTime": conversation.modified_ms,
            "redPoint": unread,
            "joinTime": conversation.created_ms,
            "singleChatConversation": described(conversation),
            "topRank": 0,
            "muteNotification": 0,
            "userExtension": {},
        });
        if let Some(message) = last {
            listed["lastMessage"] = json!({
                "readStatus": 0, "userExtension": {}, "msgStatus": 0,
                "recallFeature": { "showRecallStatusSetting": 0 },
                "message": self.in_history(message, uid),
            });
        }
        listed
    }

    fn create(&mut self, uid: &str, body: &Value) -> Result<Done, No> {
        let Some([wanted]) = body.as_array().map(Vec::as_slice) else {
            return no(400, "the body is one object");
        };
        let member = |key: &str| wanted[key].as_str().and_then(digits).map(str::to_owned);
        let (Some(first), Some(second)) = (member("pairFirst"), member("pairSecond")) else {
            return no(400, "`pairFirst` and `pairSecond` are <uid>@goofish");
        };
        if first != uid && second != uid {
            return no(400, "one of the pair is who asks");
        }
        let item_id = wanted["extension"]["itemId"].as_str().unwrap_or_default();
        if item_id.is_empty() || !item_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return no(400, "`extension.itemId` is the item's number, as text");
        }
        let made = self.conversation(&first, &second, item_id);
        let cid = made.map_err(|reason| No(400, reason))?;
        let Some(conversation) = self.conversations.get(&cid) else {
            return no(500, "the conversation is gone");
        };
        let mut listed = self.as_listed(conversation, uid);
        if let Some(listed) = listed.as_object_mut() {
            listed.remove("lastMessage");
        }
        done(listed)
    }

    fn history(&mut self, uid: &str, body: &Value) -> Result<Done, No> {
        let form = "the body is [\"<cid>@goofish\", false, <cursor>, <limit>, false]";
        let Some([cid, Value::Bool(_), cursor, limit, Value::Bool(_)]) =
            body.as_array().map(Vec::as_slice)
        else {
            return no(400, form);
        };
        let limit = limit.as_u64().filter(|limit| *limit > 0);
        let (Some(cursor), Some(limit)) = (cursor.as_u64(), limit) else {
            return no(400, form);
        };
        let conversation = self.own(uid, cid)?;
        let all: Vec<&Arc<Message>> = conversation
            .messages
            .iter()
            .rev()
            .filter_map(|number| self.messages.get(number))
            .skip_while(|message| message.at_ms >= cursor)
            .collect();
        let end = page_end(&all, limit, |it| it.at_ms);
        let models: Vec<_> = all[..end]
            .iter()
            .map(|message| json!({ "readStatus": 0, "message": self.in_history(message, uid) }))
            .collect();
        done(json!({
            "hasMore": u8::from(end < all.len()),
            "nextCursor": all[..end].last().map_or(0, |it| it.at_ms),
            "userMessageModels": models,
        }))
    }

    fn recall(&mut self, uid: &str, id: &str) -> Result<Done, No> {
        let message = from_pnm(id)
            .and_then(|number| self.messages.get(&number))
            .cloned();
        let Some(message) = message else {
            return no(400, format!("no message {id}"));
        };
        if message.from != uid {
            return no(400, "only who said it can take it back");
        }
        if now_ms().saturating_sub(message.at_ms) > self.settings.recall_within_ms {
            return no(400, "it is too late to take it back");
        }
        self.forget(message.number);
        let fields = json!({ "by": uid, "cid": message.cid.to_string(), "id": id });
        self.tell("recalled", fields);
        done(json!({}))
    }

    fn read(&mut self, uid: &str, body: &Value) -> Result<Done, No> {
        let ids: Option<Vec<&str>> = match body.as_array().map(Vec::as_slice) {
            Some([Value::Array(ids)]) => ids.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let Some(ids) = ids.filter(|ids| (1..=READ_MAX).contains(&ids.len())) else {
            return no(400, "the body is [[\"<message id>\", ...]]");
        };
        let is_batch = self.settings.receipts == Receipts::Batch;
        let effects = self
            .seen(uid, &ids, is_batch)
            .map_err(|reason| No(400, reason))?;
        done_with(json!({}), effects)
    }

    /// This person has seen these, which others said: receipts for them.
    pub fn seen(&mut self, uid: &str, ids: &[&str], is_batch: bool) -> Result<Vec<Effect>, String> {
        let mut by_conversation: Vec<(u64, String, Vec<String>)> = Vec::new();
        for id in ids {
            let number = from_pnm(id).ok_or_else(|| format!("{id} is no message id"))?;
            let message = self
                .messages
                .get(&number)
                .ok_or_else(|| format!("no message {id}"))?;
            let conversation = self.conversations.get(&message.cid);
            if message.from == uid || !conversation.is_some_and(|it| it.has(uid)) {
                return Err(format!("{id} was not said to {uid}"));
            }
            let cid = message.cid;
            match by_conversation.iter_mut().find(|(other, ..)| *other == cid) {
                Some((.., ids)) => ids.push((*id).to_owned()),
                None => by_conversation.push((cid, message.from.clone(), vec![(*id).to_owned()])),
            }
        }
        let mut effects = Vec::new();
        for (cid, to, ids) in by_conversation {
            let at_ms = now_ms();
            let items: Vec<Item> = if is_batch {
                vec![receipts(&ids, cid, at_ms)]
            } else {
                ids.iter().map(|id| receipt(id, cid, at_ms)).collect()
            };
            self.tell(
                "read",
                json!({ "by": uid, "cid": cid.to_string(), "ids": ids }),
            );
            let items = items.into_iter().map(Arc::new).collect();
            effects.push(Effect::Deliver {
                to,
                items,
                is_echo: false,
            });
        }
        Ok(effects)
    }

    fn clear(&mut self, uid: &str, body: &Value) -> Result<Done, No> {
        let Some([Value::Array(marks)]) = body.as_array().map(Vec::as_slice) else {
            return no(400, "the body is [[{\"cid\",\"messageId\"}, ...]]");
        };
        let mut cleared = Vec::new();
        for mark in marks {
            let conversation = self.own(uid, &mark["cid"])?;
            let Some(number) = mark["messageId"].as_str().and_then(from_pnm) else {
                return no(400, "a mark has `messageId`");
            };
            cleared.push((conversation.cid, number));
        }
        for (cid, number) in cleared {
            if let Some(conversation) = self.conversations.get_mut(&cid) {
                let side = conversation.side(uid);
                conversation.cleared[side] = conversation.cleared[side].max(number);
            }
            self.tell(
                "cleared",
                json!({ "by": uid, "cid": cid.to_string(), "id": pnm(number) }),
            );
        }
        done(json!({}))
    }
}

/// Where a page ends: not between two of the same time, because the next page begins below the time of the last.
fn page_end<T>(all: &[T], limit: u64, at: impl Fn(&T) -> u64) -> usize {
    let mut end = usize::try_from(limit.min(LIMIT_MAX))
        .unwrap_or(0)
        .min(all.len());
    while end > 0 && end < all.len() && at(&all[end]) == at(&all[end - 1]) {
        end += 1;
    }
    end
}

fn described(conversation: &Conversation) -> Value {
    let owner = conversation.owner();
    json!({
        "extension": {
            "itemId": conversation.item_id, "itemTitle": "合成商品", "ownerUserId": owner,
            "extUserId": conversation.other(owner), "ownerUserType": "0", "extUserType": "0",
            "itemSellerId": owner,
        },
        "pairFirst": full(&conversation.first),
        "bizType": "1",
        "msgReadStatusSetting": 1,
        "createAt": conversation.created_ms,
        "cid": full(conversation.cid),
        "pairSecond": full(&conversation.second),
    })
}
