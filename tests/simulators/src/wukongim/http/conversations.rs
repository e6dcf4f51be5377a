//! Conversations over the server's own API: who has written where, and how much of it is unread.

use super::native::{bad, body, ok};
use super::{Reply, Request};
use crate::wukongim::channel::{Channel, Key};
use crate::wukongim::ids::SYSTEM;
use crate::wukongim::message::{PERSON, shown_page};
use crate::wukongim::world::{Conversation, Sim};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Messages shown of one conversation.
const RECENTS_MAX: usize = 1_000;
const NS_PER_S: i64 = 1_000_000_000;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ask {
    uid: String,
    channel_id: String,
    channel_type: u8,
    version: i64,
    last_msg_seqs: String,
    msg_count: usize,
    only_unread: u8,
    exclude_channel_types: Vec<u8>,
    page: usize,
    page_size: usize,
    unread: u64,
    message_seq: u64,
    channels: Vec<Wanted>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    channel_id: String,
    channel_type: u8,
    last_msg_seq: u64,
}

pub fn handle(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    if request.method != "POST" {
        return Err(Reply::text(404, "404 page not found"));
    }
    let ask: Ask = body(request)?;
    match request.path.as_str() {
        // The real server falls over it.
        "/conversation/sync" if ask.uid.is_empty() => Err(Reply::text(500, "")),
        "/conversation/sync" => Ok(sync(sim, &ask)),
        "/conversation/syncMessages" => Ok(messages(sim, &ask)),
        "/conversations/clearUnread" => change(sim, &ask, |it, last| it.read_to = last),
        // Forward only; more than there is leaves one.
        "/conversations/setUnread" => change(sim, &ask, |it, last| {
            let unread = if ask.unread > last { 1 } else { ask.unread };
            it.read_to = it.read_to.max(last.saturating_sub(unread));
        }),
        "/conversations/delete" => change(sim, &ask, |it, last| {
            (it.read_to, it.deleted_to) = (last, last);
        }),
        _ => Err(Reply::text(404, "404 page not found")),
    }
}

/// The other one in a stored person channel.
fn peer(key: &Key, uid: &str) -> String {
    if key.channel_type != PERSON {
        return key.id.to_string();
    }
    match key.id.split_once('@') {
        Some((one, other)) if one == uid => other.to_owned(),
        Some((one, _)) => one.to_owned(),
        None => key.id.to_string(),
    }
}

fn sync(sim: &Sim, ask: &Ask) -> Reply {
    let mut known: HashMap<(String, u8), u64> = HashMap::new();
    for part in ask.last_msg_seqs.split('|') {
        let mut fields = part.rsplitn(3, ':');
        let seq = fields.next().and_then(|seq| seq.parse().ok());
        let channel_type = fields.next().and_then(|number| number.parse().ok());
        if let (Some(seq), Some(channel_type), Some(id)) = (seq, channel_type, fields.next()) {
            known.insert((id.to_owned(), channel_type), seq);
        }
    }
    let world = sim.world();
    let mut shown = Vec::new();
    let conversations = world.users.get(&*ask.uid).map(|user| &user.conversations);
    for (key, conversation) in conversations.into_iter().flatten() {
        let Some(channel) = world.channels.get(key) else {
            continue;
        };
        let Some(last) = channel.log.back() else {
            continue;
        };
        let version = i64::from(last.timestamp_s) * NS_PER_S;
        let unread = unread(channel, conversation, &ask.uid);
        let id = peer(key, &ask.uid);
        // What the system says in person is never listed.
        let is_passed_over = key.channel_type == PERSON && id == SYSTEM
            || ask.exclude_channel_types.contains(&key.channel_type)
            || conversation.deleted_to >= channel.last_seq
            || (ask.only_unread == 1 && unread == 0)
            || (ask.version > 0 && version <= ask.version)
            || ask.msg_count == 0;
        if is_passed_over {
            continue;
        }
        let after = known.get(&(id.clone(), key.channel_type));
        let after = (*after.unwrap_or(&0)).max(conversation.deleted_to);
        let mut recents = channel.downward(0, after, ask.msg_count.min(RECENTS_MAX));
        recents.reverse();
        shown.push(json!({
            "channel_id": id, "channel_type": key.channel_type, "unread": unread,
            "timestamp": last.timestamp_s, "last_msg_seq": last.seq,
            "last_client_msg_no": *last.client_msg_no, "offset_msg_seq": conversation.deleted_to,
            "readed_to_msg_seq": conversation.read_to, "version": version,
            "recents": shown_page(&recents, world.settings.zeroed_header),
        }));
    }
    if ask.page_size > 0 {
        let skip = ask.page.saturating_sub(1).saturating_mul(ask.page_size);
        shown = shown.into_iter().skip(skip).take(ask.page_size).collect();
    }
    Reply::json(200, &Value::Array(shown))
}

/// Numbers above what was read and above the own last message, whether they have a red dot or not.
fn unread(channel: &Channel, conversation: &Conversation, uid: &str) -> u64 {
    let own = channel.log.iter().rev().find(|it| *it.from == *uid);
    let read_to = conversation.read_to.max(own.map_or(0, |own| own.seq));
    channel.last_seq.saturating_sub(read_to)
}

fn messages(sim: &Sim, ask: &Ask) -> Reply {
    let limit = if ask.msg_count == 0 {
        15
    } else {
        ask.msg_count
    };
    let world = sim.world();
    let shown = ask.channels.iter().map(|wanted| {
        let key = Key::between(&ask.uid, &wanted.channel_id, wanted.channel_type);
        let channel = world.channels.get(&key);
        let new = channel
            .map(|channel| channel.upward(wanted.last_msg_seq + 1, 0, limit.min(RECENTS_MAX)));
        let new = new.unwrap_or_default();
        json!({
            "channel_id": wanted.channel_id, "channel_type": wanted.channel_type,
            "messages": shown_page(&new, world.settings.zeroed_header),
        })
    });
    Reply::json(200, &Value::Array(shown.collect()))
}

fn change(
    sim: &Sim,
    ask: &Ask,
    change: impl FnOnce(&mut Conversation, u64),
) -> Result<Reply, Reply> {
    if ask.uid.is_empty() || ask.channel_id.is_empty() || ask.channel_type == 0 {
        return Err(bad("uid、channel_id和channel_type不能为空！"));
    }
    let key = Key::between(&ask.uid, &ask.channel_id, ask.channel_type);
    let mut world = sim.world();
    let last = world
        .channels
        .get(&key)
        .map_or(0, |channel| channel.last_seq);
    let last = if ask.message_seq > 0 {
        ask.message_seq.min(last)
    } else {
        last
    };
    let user = world.users.get_mut(&*ask.uid);
    if let Some(it) = user.and_then(|user| user.conversations.get_mut(&key)) {
        change(it, last);
    }
    Ok(ok())
}
