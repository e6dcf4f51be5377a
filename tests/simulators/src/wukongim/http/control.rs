//! `/_sim/`: how tests steer the simulator and learn what happened. The table of it is in `tests/simulators/README.md`.

use super::{Reply, Request, addresses, tokens};
use crate::wukongim::channel::Key;
use crate::wukongim::codec::packets::{Connack, Event, Flags, Packet, Recv, Sendack, encode};
use crate::wukongim::flood;
use crate::wukongim::login::kicked;
use crate::wukongim::session::{How, Out, Session};
use crate::wukongim::submit::{Draft, Via, submit};
use crate::wukongim::world::Sim;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LIMIT: usize = 1_000;
/// Messages of one order to send.
const TIMES_MAX: u32 = 10_000;

type Done = Result<Value, String>;

pub fn handle(sim: &Arc<Sim>, request: &Request) -> Reply {
    let act = request.path.strip_prefix("/_sim/").unwrap_or_default();
    let done = match (request.method.as_str(), act) {
        ("GET", "") => Ok(addresses(sim)),
        ("GET", "settings") => Ok(json!(*sim.settings())),
        ("POST", "settings") => read(request).and_then(|changes: Value| {
            sim.change(&changes)?;
            Ok(json!(*sim.settings()))
        }),
        ("GET", "record") => Ok(record(sim, request)),
        ("GET", "summary") => Ok(summary(sim)),
        ("GET", "fault") => Ok(json!({ "faults": sim.faults.list() })),
        ("POST", "fault") => {
            read(request).and_then(|fault: Value| Ok(json!({ "id": sim.faults.arm(&fault)? })))
        }
        ("POST", "disarm") => read(request).map(|it: Value| {
            sim.faults.disarm(it["id"].as_u64());
            json!({ "faults": sim.faults.list() })
        }),
        ("GET", "connections") => Ok(connections(sim)),
        ("POST", "connections") => read(request).and_then(|order| treat(sim, &order)),
        ("POST", "push") => read(request).and_then(|order| push(sim, &order)),
        ("POST", "send") => read(request).and_then(|order| send(sim, &order)),
        ("POST", "gap") => read(request).and_then(|order| gap(sim, &order)),
        ("GET", "flood") => Ok(sim.floods.show()),
        ("POST", "flood") => {
            read(request).and_then(|plan: Value| Ok(json!({ "id": flood::start(sim, &plan)? })))
        }
        ("POST", "flood/stop") => {
            sim.floods.stop();
            Ok(sim.floods.show())
        }
        ("POST", "openchat/token") => read(request).map(|order| issue(sim, &order)),
        ("POST", "openchat/expire") => Ok(expire(sim)),
        ("POST", "crash") => read(request).map(|order: Crash| {
            sim.crash("a test", Duration::from_millis(order.down_ms));
            json!({})
        }),
        _ => {
            let unknown = json!({
                "error": format!("{} /_sim/{act} does not exist; see tests/simulators/README.md", request.method)
            });
            return Reply::json(404, &unknown);
        }
    };
    match done {
        Ok(answer) => Reply::json(200, &answer),
        Err(error) => Reply::json(400, &json!({ "error": error })),
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    let body: &[u8] = if request.body.is_empty() {
        b"{}"
    } else {
        &request.body
    };
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn record(sim: &Sim, request: &Request) -> Value {
    let query = &request.query;
    let kinds: Vec<&str> = query
        .get("kinds")
        .split(',')
        .filter(|kind| !kind.is_empty())
        .collect();
    let limit = query
        .number("limit")
        .and_then(|it| usize::try_from(it).ok());
    let after = query.number("after").unwrap_or(0);
    sim.records().page(after, &kinds, limit.unwrap_or(LIMIT))
}

fn summary(sim: &Sim) -> Value {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let it = &sim.counters;
    let world = sim.world();
    let loads = world.connections.values().map(|session| session.load());
    let (unwritten, unacked) = loads.fold((0, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1));
    let sessions = world.users.values().map(|user| user.sessions.len());
    json!({
        "accepted": count(&it.accepted), "connections": world.connections.len(),
        "sessions": sessions.sum::<usize>(), "users": world.users.len(),
        "channels": world.channels.len(), "sends": count(&it.sends), "recvs": count(&it.recvs),
        "resends": count(&it.resends), "recvacks": count(&it.recvacks),
        "useless_recvacks": count(&it.useless_recvacks), "unwritten": unwritten,
        "unacked": unacked, "in_bytes": count(&it.in_bytes), "out_bytes": count(&it.out_bytes),
    })
}

fn connections(sim: &Sim) -> Value {
    let world = sim.world();
    let shown = world.connections.values().map(|session| {
        let identity = session.identity.get();
        let (unwritten, unacked) = session.load();
        json!({
            "conn": session.conn, "transport": session.transport,
            "uid": identity.map(|it| &*it.uid), "device_flag": identity.map(|it| it.device_flag),
            "device_id": identity.map(|it| &*it.device_id), "level": identity.map(|it| it.level),
            "is_over": session.is_over(), "unwritten": unwritten, "unacked": unacked,
        })
    });
    json!({ "connections": shown.collect::<Vec<_>>() })
}

/// Which connections an order means: one, all of a user, all.
#[derive(Deserialize)]
struct Whom {
    conn: Option<u64>,
    uid: Option<String>,
    transport: Option<String>,
}

impl Whom {
    fn sessions(&self, sim: &Sim) -> Vec<Arc<Session>> {
        let world = sim.world();
        let is_meant = |session: &&Arc<Session>| {
            let uid = session.uid().map(|uid| &**uid);
            self.conn.is_none_or(|conn| session.conn == conn)
                && self.uid.as_deref().is_none_or(|wanted| uid == Some(wanted))
                && self
                    .transport
                    .as_deref()
                    .is_none_or(|wanted| session.transport == wanted)
        };
        let sessions = world.connections.values().filter(is_meant);
        sessions.cloned().collect()
    }
}

#[derive(Deserialize)]
struct Treat {
    #[serde(flatten)]
    whom: Whom,
    #[serde(rename = "do")]
    act: String,
    code: Option<u16>,
    text: Option<String>,
    ms: Option<u64>,
}

fn treat(sim: &Sim, order: &Treat) -> Done {
    let sessions = order.whom.sessions(sim);
    let after = sim.settings().kick_ms;
    let after = Duration::from_millis(order.ms.unwrap_or(after));
    for session in &sessions {
        match order.act.as_str() {
            "drop" => session.close(How::Drop, "a test"),
            "reset" => session.close(How::Reset, "a test"),
            "end" => session.close(How::End, "a test"),
            "close" => session.close(How::Code(order.code.unwrap_or(1001)), "a test"),
            "half_open" => session.halt(true),
            "resume" => session.halt(false),
            "mute" => sim.end_session(session, "a test"),
            "kick" => {
                let text = order.text.as_deref().unwrap_or_default();
                kicked(sim, session, "a test", Some(text), after);
            }
            other => {
                return Err(format!(
                    "{other:?} is nothing that is done to connections: drop, reset, end, close, \
                     half_open, resume, mute, kick"
                ));
            }
        }
    }
    Ok(json!({ "count": sessions.len() }))
}

#[derive(Deserialize)]
struct Push {
    #[serde(flatten)]
    whom: Whom,
    hex: Option<String>,
    text: Option<String>,
    #[serde(default)]
    packets: Vec<Value>,
    /// Layout of `packets`; 5 if not said.
    version: Option<u8>,
}

fn push(sim: &Sim, order: &Push) -> Done {
    let mut raw = BytesMut::new();
    let mut structured = Vec::new();
    if let Some(hex) = &order.hex {
        raw.extend_from_slice(&unhex(hex).ok_or("hex has two digits for each byte")?);
    }
    if let Some(text) = &order.text {
        raw.extend_from_slice(text.as_bytes());
    }
    for packet in &order.packets {
        let packet = packet_of(packet)?;
        if order.version.is_some() {
            encode(&packet, order.version.unwrap_or(5), &mut raw);
        } else {
            structured.push(packet);
        }
    }
    let sessions = order.whom.sessions(sim);
    for session in &sessions {
        if !raw.is_empty() {
            session.tell(Out::Raw(raw.clone().freeze()));
        }
        for packet in &structured {
            session.tell(Out::Packet(packet.clone()));
        }
    }
    Ok(json!({ "count": sessions.len() }))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?
    });
    pairs.collect()
}

#[derive(Deserialize)]
#[serde(tag = "packet", rename_all = "snake_case")]
enum Pushed {
    Pong,
    Disconnect {
        #[serde(default)]
        reason: u8,
        #[serde(default)]
        text: String,
    },
    Event {
        #[serde(default)]
        id: String,
        #[serde(default, rename = "type")]
        kind: String,
        #[serde(default)]
        timestamp_ms: i64,
        #[serde(default)]
        data: String,
    },
    Connack {
        reason: u8,
    },
    Sendack {
        message_id: i64,
        client_seq: u32,
        message_seq: u64,
        reason: u8,
    },
    /// Not sealed: with the message key and the payload as given.
    Recv {
        #[serde(default)]
        flags: u8,
        #[serde(default)]
        msg_key: String,
        from_uid: String,
        channel_id: String,
        channel_type: u8,
        #[serde(default)]
        client_msg_no: String,
        message_id: i64,
        message_seq: u64,
        #[serde(default)]
        timestamp_s: i32,
        payload: String,
    },
}

fn packet_of(value: &Value) -> Result<Packet, String> {
    let pushed = Pushed::deserialize(value).map_err(|error| error.to_string())?;
    Ok(match pushed {
        Pushed::Pong => Packet::Pong,
        Pushed::Disconnect { reason, text } => Packet::Disconnect { reason, text },
        Pushed::Event {
            id,
            kind,
            timestamp_ms,
            data,
        } => Packet::Event(Event {
            id,
            kind,
            timestamp_ms,
            data: data.into(),
        }),
        Pushed::Connack { reason } => Packet::Connack(Connack {
            reason,
            ..Connack::default()
        }),
        Pushed::Sendack {
            message_id,
            client_seq,
            message_seq,
            reason,
        } => Packet::Sendack(Sendack {
            message_id,
            client_seq,
            message_seq,
            reason,
            ..Sendack::default()
        }),
        Pushed::Recv {
            flags,
            msg_key,
            from_uid,
            channel_id,
            channel_type,
            client_msg_no,
            message_id,
            message_seq,
            timestamp_s,
            payload,
        } => Packet::Recv(Recv {
            flags: Flags::of(flags),
            msg_key,
            from_uid,
            channel_id,
            channel_type,
            client_msg_no,
            message_id,
            message_seq,
            timestamp_s,
            payload: payload.into(),
            ..Recv::default()
        }),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    from: String,
    channel_id: String,
    channel_type: u8,
    /// The body as JSON; `text` is the body of a text message; `payload_base64` any bytes.
    payload: Option<Value>,
    text: Option<String>,
    payload_base64: Option<String>,
    client_msg_no: Option<String>,
    #[serde(default = "yes")]
    red_dot: bool,
    #[serde(default)]
    no_persist: bool,
    #[serde(default)]
    sync_once: bool,
    #[serde(default)]
    setting: u8,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    expire: u32,
    #[serde(default = "once")]
    times: u32,
    /// As the HTTP API does it, without looking who may.
    #[serde(default)]
    by_http: bool,
}

fn yes() -> bool {
    true
}

fn once() -> u32 {
    1
}

fn send(sim: &Sim, order: &Say) -> Done {
    if order.times > TIMES_MAX {
        return Err(format!(
            "at most {TIMES_MAX} times; a flood has no such limit"
        ));
    }
    let bytes = match (&order.payload, &order.text, &order.payload_base64) {
        (Some(body), None, None) => body.to_string().into_bytes(),
        (None, Some(text), None) => json!({ "content": text, "type": 1 })
            .to_string()
            .into_bytes(),
        (None, None, Some(base64)) => STANDARD.decode(base64).map_err(|error| error.to_string())?,
        _ => return Err("one of payload, text, payload_base64".to_owned()),
    };
    let payload = bytes::Bytes::from(bytes);
    let via = if order.by_http {
        Via::Http("control")
    } else {
        Via::Control
    };
    let mut messages = Vec::new();
    for turn in 0..order.times {
        let number = match &order.client_msg_no {
            Some(number) if order.times == 1 => number.clone(),
            Some(number) => format!("{number}-{turn}"),
            None => format!("sim-{:016x}", sim.world().chance.u64(..)),
        };
        let outcome = submit(
            sim,
            via,
            Draft {
                from: order.from.as_str().into(),
                channel_id: order.channel_id.as_str().into(),
                channel_type: order.channel_type,
                client_msg_no: number.as_str().into(),
                flags: Flags {
                    no_persist: order.no_persist,
                    red_dot: order.red_dot,
                    sync_once: order.sync_once,
                    dup: false,
                },
                setting: order.setting,
                topic: order.topic.clone(),
                expire_s: order.expire,
                payload: payload.clone(),
                ..Draft::default()
            },
            None,
        );
        messages.push(json!({
            "message_id": outcome.message_id.to_string(), "message_seq": outcome.message_seq,
            "reason": outcome.reason, "client_msg_no": number,
        }));
    }
    Ok(json!({ "messages": messages }))
}

#[derive(Deserialize)]
struct Gap {
    /// For a person channel one of the two.
    #[serde(default)]
    uid: String,
    channel_id: String,
    channel_type: u8,
    count: u64,
}

/// Numbers that no message will have.
fn gap(sim: &Sim, order: &Gap) -> Done {
    let key = Key::between(&order.uid, &order.channel_id, order.channel_type);
    let mut world = sim.world();
    let channel = world.channel(&key).ok_or("too many channels")?;
    channel.last_seq += order.count;
    Ok(json!({ "last_seq": channel.last_seq }))
}

#[derive(Deserialize)]
struct Issue {
    uid: String,
    ttl_s: Option<i64>,
}

fn issue(sim: &Sim, order: &Issue) -> Value {
    let mut world = sim.world();
    let openchat = &world.settings.openchat;
    let ttl_s = order.ttl_s.unwrap_or(openchat.token_ttl_s);
    let secret = &openchat.jwt_secret;
    let token = tokens::access(secret, &order.uid, ttl_s, world.generation);
    let refresh = world.refresh_token(&order.uid);
    json!({ "token": token, "refresh_token": refresh })
}

/// Every access token that there is now is no good any more.
fn expire(sim: &Sim) -> Value {
    let mut world = sim.world();
    world.generation += 1;
    json!({ "generation": world.generation })
}

#[derive(Deserialize)]
struct Crash {
    #[serde(default)]
    down_ms: u64,
}
