//! The items of pushes: chat messages, receipts, typing, order states, session hints.

use serde_json::{Value, json};

use super::pack::Packer;
use super::wire::{Item, base64, full};

const CUSTOM: u64 = 101;
const READ: u64 = 2;

/// A chat message as one member of the conversation is told it.
pub struct Chat<'a> {
    pub id: &'a str,
    pub cid: u64,
    pub sender: &'a str,
    /// The other member, as seen by who is told.
    pub peer: &'a str,
    pub item_id: &'a str,
    pub at_ms: u64,
    pub nick: &'a str,
    pub notice: &'a str,
    pub related_id: &'a str,
    pub platform: &'a str,
    pub is_echo: bool,
    pub need_push: bool,
    /// The inner content, as JSON, with its number.
    pub content: &'a str,
    pub content_type: u64,
    pub summary: &'a str,
}

impl Chat<'_> {
    pub fn item(&self) -> Item {
        let mut packer = Packer::default();
        let m = packer.map(2).int(1).map(11);
        m.int(1).map(1).entry(1, &full(self.sender));
        m.entry(2, &full(self.cid)).entry(3, self.id);
        m.number(4, 0).number(5, self.at_ms);
        m.int(6).map(2).number(1, CUSTOM).int(3).map(5);
        m.entry(1, "").entry(2, self.summary).entry(3, "");
        m.number(4, self.content_type).entry(5, self.content);
        m.number(7, 2).number(8, 1).number(9, 0);
        let extras = self.extras();
        m.int(10).map(extras.len());
        for (key, value) in &extras {
            m.text(key).text(value);
        }
        let need_push = if self.need_push { "true" } else { "false" };
        m.number(12, 1)
            .int(3)
            .map(1)
            .text("needPush")
            .text(need_push);
        Item {
            biz_type: 40,
            object_type: 40_000,
            data: base64(&packer.bytes()),
            id: Some(self.id.to_owned()),
            at_ms: self.at_ms,
        }
    }

    /// Display extras, in the order of the alphabet. A peer's message has its address, and from the web more of its device:
    /// sixteen entries, which MessagePack writes in another form than thirteen.
    fn extras(&self) -> Vec<(&'static str, String)> {
        let Self {
            item_id,
            peer,
            cid,
            related_id,
            ..
        } = self;
        let text = str::to_owned;
        let mut extras = vec![
            ("_platform", text(self.platform)),
            (
                "bizTag",
                format!(r#"{{"sourceId":"S:1","messageId":"{related_id}"}}"#),
            ),
            ("detailNotice", text(self.summary)),
            (
                "extJson",
                format!(r#"{{"quickReply":"1","messageId":"{related_id}","tag":"u"}}"#),
            ),
            ("reminderContent", text(self.summary)),
            ("reminderNotice", text(self.notice)),
            ("reminderTitle", text(self.nick)),
            (
                "reminderUrl",
                format!(
                    "fleamarket://message_chat?itemId={item_id}&peerUserId={peer}&sid={cid}&messageId={related_id}&adv=no"
                ),
            ),
            ("senderUserId", text(self.sender)),
            ("senderUserType", text("0")),
            ("sessionType", text("1")),
        ];
        if !self.is_echo {
            // An address of the range for documentation.
            extras.extend([("clientIp", text("192.0.2.10")), ("port", text("40000"))]);
            if self.platform == "web" {
                let device = ["utdid", "umid", "umidToken"];
                extras.extend(device.map(|key| (key, text("synthetic"))));
            }
        }
        extras.sort_unstable_by_key(|(key, _)| *key);
        extras
    }
}

fn packed(object_type: u32, at_ms: u64, packer: Packer) -> Item {
    Item {
        biz_type: 40,
        object_type,
        data: base64(&packer.bytes()),
        id: None,
        at_ms,
    }
}

/// The peer has read this message.
pub fn receipt(id: &str, cid: u64, at_ms: u64) -> Item {
    let mut packer = Packer::default();
    let receipt = packer.map(6).entry(1, id).number(2, READ).number(3, 0);
    receipt.entry(4, &full(cid)).number(5, 1).number(6, at_ms);
    packed(40_103, at_ms, packer)
}

/// The peer has read all these.
pub fn receipts(ids: &[String], cid: u64, at_ms: u64) -> Item {
    let mut packer = Packer::default();
    let receipt = packer.map(4).int(1).list(ids.len());
    for id in ids {
        receipt.text(id);
    }
    receipt.number(2, READ).entry(3, &full(cid)).number(4, 1);
    packed(40_103, at_ms, packer)
}

pub fn typing(cid: u64, uid: &str, at_ms: u64) -> Item {
    let mut packer = Packer::default();
    let typing = packer.map(1).int(1).list(1).map(4);
    typing.entry(1, &full(cid)).number(2, 1).number(3, 1);
    typing.entry(4, &full(uid));
    packed(40_006, at_ms, packer)
}

pub fn order_state(cid: u64, reminder: &str, at_ms: u64) -> Item {
    let mut packer = Packer::default();
    let order = packer.map(4).entry(1, &full(cid)).number(2, 1).int(3);
    order.map(2).text("redReminder").text(reminder);
    order.text("needPush").text("true").number(4, at_ms);
    packed(40_000, at_ms, packer)
}

/// Suggestions for the seller: no chat message.
pub fn session_hint(
    cid: u64,
    to: &str,
    owner: &str,
    other: &str,
    item_id: &str,
    at_ms: u64,
) -> Item {
    let content = json!({
        "contentType": 8,
        "sessionArouse": {
            "memberFlags": 0,
            "needKeyBoard": true,
            "sessionArouseInfo": {
                "residentFunctions": [], "arouseTimeStamp": at_ms, "arouseChatScriptInfo": [],
            },
        },
    });
    let session = json!({
        "createTime": at_ms,
        "extensions": {
            "itemId": item_id, "itemTitle": "合成商品", "ownerUserId": owner, "extUserId": other,
        },
        "groupOwnerId": owner,
        "sessionId": cid.to_string(),
        "sessionType": 1,
        "type": 1,
    });
    json_item(
        &json!({
            "chatType": 1,
            "incrementType": 1,
            "operation": { "content": content, "receiverIds": [to], "sessionInfo": session },
            "sessionId": cid.to_string(),
        }),
        at_ms,
    )
}

pub fn json_item(json: &Value, at_ms: u64) -> Item {
    Item {
        biz_type: 370,
        object_type: 370_000,
        data: base64(json.to_string().as_bytes()),
        id: None,
        at_ms,
    }
}

/// MessagePack of any content.
pub fn pack_item(value: &Value, at_ms: u64) -> Item {
    let mut packer = Packer::default();
    packer.value(value);
    packed(40_000, at_ms, packer)
}
