//! From what the server says to events of the model.
//!
//! The same message becomes the same event, whether it was pushed, pushed again, fetched, or came by HTTP: ids, order and
//! times are taken from the message only. What the model has no word for travels in `ext.wukongim` and in opaque segments.
//!
//! Not here: when a message is emitted and acknowledged (`session.rs`), which content is what segment (`inbound/body.rs`).

mod body;
mod mentions;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use im_bridge_sdk::model::body::{
    MessageCreated, MessageFailed, NoticeReceived, RawFrame, SyncCompleted, SyncGap,
};
use im_bridge_sdk::model::{
    self, Delivery, ErrorCode, ErrorObject, Event, Frame, Gap, GapReason, GapScope, Json, Notice,
    OpaqueEncoding, OrderScope, Origin, RawDirection, Severity, Sync, Time, User, UserKind, ids,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::PROVIDER;
use crate::book::Message;
use crate::native::channel::{ChannelId, SYSTEM};
use crate::native::packet::{self, Flags, Packet};
use crate::sent::SentRefs;
use body::{Content, Read};

/// Longest body of a raw frame.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// What the model has no word for.
#[derive(Serialize)]
struct Ext<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    client_msg_no: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_seq: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_type: Option<&'a Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    expire_s: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a Json>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The event of a message, as the own user `me` sees it.
pub fn event(me: &str, message: Message, sent: &mut SentRefs) -> Event {
    let read = body::read(
        &message.payload,
        message.delivery == Delivery::Live && message.flags.has(Flags::SYNC_ONCE),
    );
    let number = message.number();
    let ext = ext(&message, &read);
    let is_own = message.from_uid == me && !me.is_empty();
    let is_echo = is_own && !message.client_msg_no.is_empty() && sent.has(&message.client_msg_no);
    if is_echo {
        sent.seen(&message.client_msg_no);
    }
    let id = message.message_id.to_string();
    let time = (message.time_ms > 0).then(|| Time::from_ms(message.time_ms));
    let is_message = matches!(read.content, Content::Message { .. });
    let mut event = Event::new(me, event_body(read, id, time))
        .delivery(message.delivery)
        .channel(message.channel.model())
        .actor(actor(&message.from_uid))
        .ext(PROVIDER, ext);
    if !is_message && message.time_ms > 0 {
        event = event.time_ms(message.time_ms);
    }
    if is_message && number > 0 {
        event = event.order(OrderScope::Channel, ids::order_key(number));
    }
    if is_echo {
        event.client_ref(message.client_msg_no)
    } else if is_own {
        event.origin(Origin::SelfOtherDevice)
    } else {
        event
    }
}

fn event_body(read: Read, id: String, time: Option<Time>) -> model::Body {
    match read.content {
        Content::Message {
            segments,
            mentions,
            reply_to,
        } => {
            let mut message = model::Message::new(id, segments, time);
            message.mentions.all |= mentions.all;
            for uid in mentions.user_ids {
                if !message.mentions.user_ids.contains(&uid) {
                    message.mentions.user_ids.push(uid);
                }
            }
            message.reply_to = reply_to;
            MessageCreated { message }.into()
        }
        Content::Notice(notice) => NoticeReceived {
            notice,
            notice_id: Some(id),
        }
        .into(),
    }
}

/// A message in a result, where nothing else says who wrote it and where.
pub fn stored(me: &str, message: Message, sent: &SentRefs) -> model::Message {
    let read = body::read(&message.payload, false);
    let is_own = message.from_uid == me;
    let origin = match (is_own, sent.has(&message.client_msg_no)) {
        (true, true) => Some(Origin::Bridge),
        (true, false) => Some(Origin::SelfOtherDevice),
        (false, _) => Some(Origin::Remote),
    };
    let time = (message.time_ms > 0).then(|| Time::from_ms(message.time_ms));
    let id = message.message_id.to_string();
    let base = match event_body(read, id.clone(), time) {
        model::Body::MessageCreated(created) => created.message,
        // A command or a system notice has its place in the history, too.
        _ => model::Message::new(id, vec![body::opaque(&message.payload)], time),
    };
    model::Message {
        sender: Some(actor(&message.from_uid)),
        channel_id: Some(message.channel.to_string()),
        orderkey: (message.seq > 0).then(|| ids::order_key(message.seq)),
        origin,
        ..base
    }
}

fn actor(uid: &str) -> User {
    if uid.is_empty() || uid == SYSTEM {
        User::new(SYSTEM, UserKind::System)
    } else {
        User::new(uid, UserKind::Unknown)
    }
}

fn ext(message: &Message, read: &Read) -> Json {
    let ext = Ext {
        client_msg_no: &message.client_msg_no,
        message_seq: (message.seq > 0).then(|| message.seq.to_string()),
        body_type: read.body_type.as_ref(),
        topic: &message.topic,
        expire_s: message.expire_s,
        is_stream: message.setting & packet::setting::STREAM != 0,
        reply: read.reply.as_ref(),
        body: read.rest.as_ref(),
    };
    Json::new(&ext).unwrap_or_else(|_| json!({}).into())
}

/// Messages of a channel that can no longer be had.
pub fn gap(me: &str, id: &ChannelId, numbers: RangeInclusive<u64>, reason: GapReason) -> Event {
    let gap = Gap {
        scope: GapScope::Channel,
        channel_id: Some(id.to_string()),
        from: Some(ids::order_key(*numbers.start())),
        to: Some(ids::order_key(*numbers.end())),
        reason,
        lost_estimate: Some(numbers.end() - numbers.start() + 1),
    };
    Event::new(me, SyncGap { gap }).channel(id.model())
}

/// Whatever came meanwhile cannot be had: nobody gives history.
pub fn account_gap(me: &str, from_ms: i64, to_ms: i64) -> Event {
    let gap = Gap {
        scope: GapScope::Account,
        channel_id: None,
        from: Some(Time::from_ms(from_ms).to_string()),
        to: Some(Time::from_ms(to_ms).to_string()),
        reason: GapReason::NoHistory,
        lost_estimate: None,
    };
    Event::new(me, SyncGap { gap })
}

/// What was missed of a channel has been fetched.
pub fn completed(me: &str, id: &ChannelId, numbers: RangeInclusive<u64>, count: u64) -> Event {
    let sync = Sync {
        scope: GapScope::Channel,
        channel_id: Some(id.to_string()),
        from: Some(ids::order_key(*numbers.start())),
        to: Some(ids::order_key(*numbers.end())),
        count,
    };
    Event::new(me, SyncCompleted { sync }).channel(id.model())
}

/// A message that was accepted by HTTP was not stored.
pub fn failed(me: &str, id: &ChannelId, client_ref: &str) -> Event {
    let error = ErrorObject::new(
        ErrorCode::ProviderError,
        true,
        "the server accepted the message and did not store it: the channel may be banned, disbanded or absent",
    );
    let target = None;
    Event::new(me, MessageFailed { error, target })
        .channel(id.model())
        .client_ref(client_ref)
}

/// Progress of a streamed message: no message itself, and neither stored nor acknowledged by the server.
pub fn stream_event(me: &str, event: &packet::Event) -> Event {
    let native = match str::from_utf8(&event.data) {
        Ok(text) => Json::from_text(text.to_owned()).unwrap_or_else(|_| text.into()),
        Err(_) => Json::from(""),
    };
    let notice = Notice {
        native: Some(native),
        ..Notice::new(format!("event.{}", event.kind), Severity::Debug)
    };
    let event_ms = event.timestamp_ms;
    let made = Event::new(
        me,
        NoticeReceived {
            notice,
            notice_id: None,
        },
    );
    if event_ms > 0 {
        made.time_ms(event_ms)
    } else {
        made
    }
}

/// A record of a push that cannot be read, whole.
pub fn unreadable(me: &str, native: Json) -> Event {
    let notice = Notice {
        text: Some("a message of the server cannot be read".to_owned()),
        native: Some(native),
        ..Notice::new("undecodable", Severity::Warning)
    };
    Event::new(
        me,
        NoticeReceived {
            notice,
            notice_id: None,
        },
    )
}

/// A packet as it was read or will be written, for people who debug. CONNECT, which carries the token, is never noted.
pub fn raw_frame(me: &str, direction: RawDirection, packet: &Packet) -> Event {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let body = match packet {
        Packet::Send(send) => json!({
            "flags": send.flags.0, "setting": send.setting, "client_seq": send.client_seq,
            "client_msg_no": send.client_msg_no, "channel_id": send.channel_id,
            "channel_type": send.channel_type, "expire": send.expire_s, "topic": send.topic,
            "payload": text(&send.payload),
        }),
        Packet::SendAck(ack) => json!({
            "message_id": ack.message_id.to_string(), "client_seq": ack.client_seq,
            "message_seq": ack.message_seq, "reason": ack.reason,
        }),
        Packet::Recv(recv) => json!({
            "flags": recv.flags.0, "setting": recv.setting, "from_uid": recv.from_uid,
            "channel_id": recv.channel_id, "channel_type": recv.channel_type,
            "client_msg_no": recv.client_msg_no, "message_id": recv.message_id.to_string(),
            "message_seq": recv.message_seq, "timestamp": recv.timestamp_s, "expire": recv.expire_s,
            "topic": recv.topic, "payload": text(&recv.payload),
        }),
        Packet::RecvAck(ack) => json!({
            "flags": ack.flags.0, "message_id": ack.message_id.to_string(), "message_seq": ack.message_seq,
        }),
        Packet::Disconnect(end) => json!({ "reason": end.reason, "text": end.text }),
        Packet::Event(event) => json!({
            "id": event.id, "type": event.kind, "timestamp": event.timestamp_ms, "data": text(&event.data),
        }),
        _ => json!({}),
    };
    let is_too_long = body.to_string().len() > RAW_BYTES_MAX;
    let body = if is_too_long { Value::Null } else { body };
    let raw = Frame {
        direction,
        native_type: packet.name().to_owned(),
        encoding: OpaqueEncoding::Json,
        body: body.into(),
        truncated: is_too_long,
    };
    Event::new(me, RawFrame { raw })
}
