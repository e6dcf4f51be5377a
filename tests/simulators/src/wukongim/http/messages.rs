//! Messages over the server's own API: sent, looked up, read back; commands; events of streams.

use super::native::{bad, body, ok};
use super::{Reply, Request};
use crate::wukongim::channel::Key;
use crate::wukongim::client::PAYLOAD_BYTES_MAX;
use crate::wukongim::codec::packets::{Event, Flags, Packet};
use crate::wukongim::codec::seal::hex;
use crate::wukongim::ids::is_name;
use crate::wukongim::message::{Message, PERSON, shown_page};
use crate::wukongim::session::Out;
use crate::wukongim::settings::SendAnswer;
use crate::wukongim::submit::{Draft, Via, submit};
use crate::wukongim::world::{AWAY_AFTER_A_CRASH, Sim};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Messages in one page of history.
const PAGE_MAX: usize = 10_000;
/// Type of the channel that a list of recipients becomes.
const TEMPORARY: u8 = 8;
const SOURCE: &str = "http";

pub fn handle(sim: &Arc<Sim>, request: &Request) -> Result<Reply, Reply> {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/message/send") => send(sim, request),
        ("POST", "/message/sendbatch") => send_batch(sim, request),
        ("POST", "/channel/messagesync") => history(sim, request),
        ("GET", "/channel/max_message_seq") => {
            newest(sim, request, |seq, _| json!({ "message_seq": seq }))
        }
        ("GET", "/channel/last_message") => newest(sim, request, |_, shown| shown),
        ("POST", "/messages") => look_up(sim, request),
        ("POST", "/message") => by_id(sim, request),
        ("GET", "/message/byclientmsgno") => by_client_number(sim, request),
        ("POST", "/message/sync") => commands(sim, request),
        ("POST", "/message/syncack") => commands_read(sim, request),
        ("POST", "/message/event") => event(sim, request),
        ("POST", "/message/eventsync") => events(request),
        _ => Err(Reply::text(404, "404 page not found")),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header {
    no_persist: u8,
    red_dot: u8,
    sync_once: u8,
}

impl Header {
    fn flags(&self) -> Flags {
        Flags {
            no_persist: self.no_persist == 1,
            red_dot: self.red_dot == 1,
            sync_once: self.sync_once == 1,
            dup: false,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sent {
    header: Header,
    client_msg_no: String,
    from_uid: String,
    channel_id: String,
    channel_type: u8,
    expire: u32,
    payload: String,
    subscribers: Vec<String>,
}

impl Sent {
    fn payload(&self, sim: &Sim) -> Result<Bytes, Reply> {
        if self.payload.is_empty() {
            return Err(bad("payload不能为空！"));
        }
        let payload = STANDARD.decode(&self.payload);
        let payload = payload.map_err(|error| bad(&error.to_string()))?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            sim.crash("a payload above 1 MiB", AWAY_AFTER_A_CRASH);
        }
        Ok(payload.into())
    }

    fn draft(&self, number: &str, payload: &Bytes) -> Draft {
        Draft {
            from: self.from_uid.as_str().into(),
            channel_id: self.channel_id.as_str().into(),
            channel_type: self.channel_type,
            client_msg_no: number.into(),
            flags: self.header.flags(),
            expire_s: self.expire,
            payload: payload.clone(),
            ..Draft::default()
        }
    }
}

/// What the server makes where the sender gave none.
fn client_number(sim: &Sim) -> String {
    let mut bytes = [0; 16];
    sim.world().chance.fill(&mut bytes);
    format!("{}0", hex(&bytes))
}

fn send(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let answer = sim.settings().send_answer;
    let sent: Sent = body(request)?;
    let refused = |why: &str| {
        if answer == SendAnswer::V3 {
            Reply::json(400, &json!({ "error": why }))
        } else {
            bad(why)
        }
    };
    let payload = sent.payload(sim)?;
    if answer == SendAnswer::V3 && sent.from_uid.is_empty() {
        return Err(refused("from_uid is mandatory"));
    }
    if !sent.subscribers.is_empty() {
        return send_to_list(sim, &sent, &payload);
    }
    if !is_name(&sent.channel_id) {
        return Err(refused("频道ID不能为空或者包含特殊字符！"));
    }
    let number = if sent.client_msg_no.is_empty() {
        client_number(sim)
    } else {
        sent.client_msg_no.clone()
    };
    let outcome = submit(sim, Via::Http(SOURCE), sent.draft(&number, &payload), None);
    let mut data = json!({ "message_id": outcome.message_id, "client_msg_no": number });
    Ok(match answer {
        SendAnswer::V2 => Reply::json(200, &json!({ "status": 200, "data": data })),
        SendAnswer::V1 => {
            data["message_seq"] = json!(outcome.message_seq);
            Reply::json(200, &json!({ "status": 200, "data": data }))
        }
        SendAnswer::V3 => Reply::json(
            200,
            &json!({
                "message_id": outcome.message_id, "message_seq": outcome.message_seq,
                "reason": outcome.reason,
            }),
        ),
    })
}

/// To these people and nobody else, in a channel that is gone afterwards.
fn send_to_list(sim: &Sim, sent: &Sent, payload: &Bytes) -> Result<Reply, Reply> {
    if !sent.channel_id.is_empty() {
        return Err(bad("channel_id和subscribers不能同时存在！"));
    }
    if sent.header.sync_once != 1 {
        return Err(bad("subscribers只支持sync_once=1！"));
    }
    let mut world = sim.world();
    let id = format!("{}____cmd", world.ids.next());
    let key = Key::of(&id, TEMPORARY);
    for uid in &sent.subscribers {
        world.user(uid);
    }
    if let Some(channel) = world.channel(&key) {
        channel.is_made = true;
        let members = sent.subscribers.iter();
        channel.members = members.map(|uid| uid.as_str().into()).collect();
    }
    drop(world);
    let number = client_number(sim);
    let mut draft = sent.draft(&number, payload);
    draft.channel_id = id.as_str().into();
    draft.channel_type = TEMPORARY;
    submit(sim, Via::Http(SOURCE), draft, None);
    let mut world = sim.world();
    world.channels.remove(&key);
    world
        .channels
        .remove(&Key::of(&format!("{id}____cmd"), TEMPORARY));
    Ok(ok())
}

/// The same to each of these people.
fn send_batch(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    if sim.settings().send_answer == SendAnswer::V3 {
        return Err(Reply::text(404, "404 page not found"));
    }
    let sent: Sent = body(request)?;
    if sent.from_uid.trim().is_empty() {
        return Err(bad("from_uid不能为空！"));
    }
    let payload = sent.payload(sim)?;
    if sent.subscribers.is_empty() {
        return Err(bad("subscribers不能为空！"));
    }
    let (mut failed, mut reasons) = (Vec::new(), Vec::new());
    for uid in &sent.subscribers {
        if !is_name(uid) {
            failed.push(uid);
            reasons.push("频道ID不能包含特殊字符！");
            continue;
        }
        let number = client_number(sim);
        let mut draft = sent.draft(&number, &payload);
        draft.channel_id = uid.as_str().into();
        draft.channel_type = PERSON;
        submit(sim, Via::Http(SOURCE), draft, None);
    }
    Ok(Reply::json(
        200,
        &json!({ "fail_uids": failed, "reason": reasons }),
    ))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ask {
    uid: String,
    login_uid: String,
    channel_id: String,
    channel_type: u8,
    start_message_seq: u64,
    end_message_seq: u64,
    limit: usize,
    pull_mode: u8,
    message_id: i64,
    message_seq: u64,
    last_message_seq: u64,
    message_seqs: Vec<u64>,
    message_ids: Vec<i64>,
    client_msg_nos: Vec<String>,
}

fn history(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let ask: Ask = body(request)?;
    if ask.login_uid.trim().is_empty() || ask.channel_id.trim().is_empty() {
        return Err(bad("login_uid和channel_id不能为空！"));
    }
    let (start, end) = (ask.start_message_seq, ask.end_message_seq);
    let world = sim.world();
    let channel = world.channels.get(&Key::between(
        &ask.login_uid,
        &ask.channel_id,
        ask.channel_type,
    ));
    // The real server's reading of a limit of 0 depends on the rest.
    let is_all = ask.limit == 0 && start == 0 && end == 0;
    let limit = if is_all {
        PAGE_MAX
    } else {
        ask.limit.min(PAGE_MAX)
    };
    let messages = match channel {
        None => Vec::new(),
        Some(channel) if start == 0 && end == 0 => channel.downward(0, 0, limit),
        Some(channel) if ask.pull_mode == 1 => channel.upward(start, end, limit),
        Some(_) if start > 0 && end > start => Vec::new(),
        Some(channel) => channel.downward(start, end, limit),
    };
    let is_full = !is_all && messages.len() >= limit;
    Ok(page(
        (start, end),
        is_full,
        shown_page(&messages, world.settings.zeroed_header),
    ))
}

fn page((start, end): (u64, u64), is_full: bool, messages: Vec<Value>) -> Reply {
    Reply::json(
        200,
        &json!({
            "start_message_seq": start, "end_message_seq": end, "more": u8::from(is_full),
            "messages": messages,
        }),
    )
}

fn newest(
    sim: &Sim,
    request: &Request,
    show: impl FnOnce(u64, Value) -> Value,
) -> Result<Reply, Reply> {
    let query = &request.query;
    let channel_type = query.number("channel_type").unwrap_or(0);
    let key = Key::between(
        query.get("login_uid"),
        query.get("channel_id"),
        u8::try_from(channel_type).unwrap_or(0),
    );
    let world = sim.world();
    let channel = world.channels.get(&key);
    let channel = channel.ok_or_else(|| bad("频道不存在！"))?;
    let last = channel.log.back().map(|last| last.shown(true));
    Ok(Reply::json(
        200,
        &show(channel.last_seq, last.unwrap_or_default()),
    ))
}

fn look_up(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let ask: Ask = body(request)?;
    if ask.channel_id.trim().is_empty() {
        return Err(bad("channel_id不能为空！"));
    }
    let world = sim.world();
    let key = Key::between(&ask.login_uid, &ask.channel_id, ask.channel_type);
    let Some(channel) = world.channels.get(&key) else {
        return Ok(page((0, 0), false, Vec::new()));
    };
    let first = |is: &dyn Fn(&Message) -> bool| channel.log.iter().find(|it| is(it));
    // In the order asked for, and of several with the same number one.
    let by_seq = ask.message_seqs.iter();
    let by_seq = by_seq.filter_map(|seq| first(&|it| it.seq == *seq));
    let by_id = ask.message_ids.iter();
    let by_id = by_id.filter_map(|id| first(&|it| it.id == *id));
    let by_number = ask.client_msg_nos.iter();
    let by_number = by_number.filter_map(|number| first(&|it| *it.client_msg_no == **number));
    let found = by_seq.chain(by_id).chain(by_number).take(PAGE_MAX);
    let shown = found.map(|message| message.shown(true)).collect();
    Ok(page((0, 0), false, shown))
}

fn not_found() -> Reply {
    Reply::json(200, &json!({ "status": 404 }))
}

/// Inside the channel that is named; by a client number never.
fn by_id(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let ask: Ask = body(request)?;
    if ask.channel_id.trim().is_empty() || ask.channel_type == 0 {
        return Err(bad("channel_id和channel_type不能为空！"));
    }
    if ask.channel_type == PERSON && ask.login_uid.trim().is_empty() {
        return Err(bad("login_uid不能为空！"));
    }
    let world = sim.world();
    let key = Key::between(&ask.login_uid, &ask.channel_id, ask.channel_type);
    let mut all = world
        .channels
        .get(&key)
        .into_iter()
        .flat_map(|channel| &channel.log);
    let found = all.find(|message| message.id == ask.message_id);
    Ok(found.map_or_else(not_found, |message| Reply::json(200, &message.shown(true))))
}

/// Persons' messages by the stored form of their channel only.
fn by_client_number(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let query = &request.query;
    let channel_type = query.number("channel_type").unwrap_or(0);
    let key = Key::of(
        query.get("channel_id"),
        u8::try_from(channel_type).unwrap_or(0),
    );
    let number = query.get("client_msg_no");
    let world = sim.world();
    let mut all = world
        .channels
        .get(&key)
        .into_iter()
        .flat_map(|channel| &channel.log);
    let found = all.find(|message| *message.client_msg_no == *number);
    Ok(found.map_or_else(not_found, |message| Reply::json(200, &message.shown(true))))
}

fn commands(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let ask: Ask = body(request)?;
    if ask.uid.is_empty() {
        return Err(bad("uid不能为空！"));
    }
    let limit = if ask.limit == 0 { 200 } else { ask.limit };
    let world = sim.world();
    let waiting = world.users.get(&*ask.uid);
    let waiting = waiting.into_iter().flat_map(|user| &user.commands);
    let mut shown = Vec::new();
    for message in waiting
        .filter(|message| message.seq > ask.message_seq)
        .take(limit)
    {
        let mut it = message.shown(true);
        let id = Key::between(&message.from, &message.channel_id, message.channel_type).id;
        it["channel_id"] = json!(format!("{id}____cmd"));
        shown.push(it);
    }
    Ok(Reply::json(200, &Value::Array(shown)))
}

fn commands_read(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let ask: Ask = body(request)?;
    let mut world = sim.world();
    if let Some(user) = world.users.get_mut(&*ask.uid) {
        user.commands
            .retain(|message| message.seq > ask.last_message_seq);
    }
    Ok(ok())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Posted {
    #[serde(alias = "id")]
    event_id: String,
    #[serde(rename = "event_type", alias = "type")]
    kind: String,
    client_msg_no: String,
    channel_id: String,
    channel_type: u8,
    from_uid: String,
    message_id: i64,
    event_key: String,
    occurred_at: i64,
    visibility: String,
    payload: Value,
}

/// Told to all connections of everybody in the channel, the poster's too, with the channel as posted.
fn event(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let it: Posted = body(request)?;
    if it.channel_id.is_empty() || it.client_msg_no.is_empty() {
        return Err(bad("channel_id和client_msg_no不能为空！"));
    }
    let is_end = it.kind == "stream.close" || it.kind == "stream.finish";
    let mut data = json!({
        "client_msg_no": it.client_msg_no, "channel_id": it.channel_id,
        "channel_type": it.channel_type, "from_uid": it.from_uid, "message_id": it.message_id,
        "event_key": if it.event_key.is_empty() { "main" } else { &it.event_key },
        "msg_event_seq": 0, "stream_status": if is_end { "closed" } else { "open" },
    });
    if !it.visibility.is_empty() {
        data["visibility"] = json!(it.visibility);
    }
    if !it.payload.is_null() {
        data["payload"] = it.payload;
    }
    let id = it.event_id;
    let packet = Packet::Event(Event {
        id: id.clone(),
        kind: it.kind,
        timestamp_ms: it.occurred_at,
        data: data.to_string().into(),
    });
    let world = sim.world();
    let members: Vec<Arc<str>> = if it.channel_type == PERSON {
        vec![it.from_uid.as_str().into(), it.channel_id.as_str().into()]
    } else {
        let channel = world
            .channels
            .get(&Key::of(&it.channel_id, it.channel_type));
        let members = channel.map(|channel| channel.members.iter().cloned());
        members.into_iter().flatten().collect()
    };
    for uid in members {
        for session in world.sessions_of(&uid) {
            session.tell(Out::Packet(packet.clone()));
        }
    }
    let told = [
        "client_msg_no",
        "event_key",
        "msg_event_seq",
        "stream_status",
        "channel_id",
        "channel_type",
        "from_uid",
    ];
    let mut answer: Value = told
        .iter()
        .map(|name| ((*name).to_owned(), data[*name].clone()))
        .collect();
    answer["event_id"] = json!(id);
    Ok(Reply::json(200, &json!({ "status": 200, "data": answer })))
}

/// None of them are kept.
fn events(request: &Request) -> Result<Reply, Reply> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Wanted {
        client_msg_no: String,
        from_msg_event_seq: u64,
        event_key: String,
    }
    let it: Wanted = body(request)?;
    let data = json!({
        "client_msg_no": it.client_msg_no, "from_msg_event_seq": it.from_msg_event_seq,
        "next_msg_event_seq": it.from_msg_event_seq, "more": 0, "events": [],
        "filtered_by_event_key": it.event_key,
    });
    Ok(Reply::json(200, &json!({ "status": 200, "data": data })))
}
