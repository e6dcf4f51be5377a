//! The server's own API, port 5001 of a real one: the table of its calls, health, addresses, users and connections.

use super::{Reply, Request, channels, conversations, messages};
use crate::wukongim::channel::Key;
use crate::wukongim::ids::{SYSTEM, is_name};
use crate::wukongim::login::{NODE_ID, kicked};
use crate::wukongim::message::PERSON;
use crate::wukongim::session::Session;
use crate::wukongim::world::{NAMES_MAX, Sim};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Device flags that `-1` stands for.
const ALL_FLAGS: [u8; 3] = [0, 1, 2];
const BANNED: u16 = 19;
const MASTER: u8 = 1;

pub fn ok() -> Reply {
    Reply::json(200, &json!({ "status": 200 }))
}

pub fn bad(message: &str) -> Reply {
    Reply::json(400, &json!({ "msg": message, "status": 400 }))
}

/// The body of a request, or the answer to one that cannot be read.
pub fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Reply> {
    serde_json::from_slice(&request.body).map_err(|error| bad(&format!("数据格式有误: {error}")))
}

pub fn handle(sim: &Arc<Sim>, request: &Request) -> Reply {
    let settings = sim.settings();
    if settings
        .manager_token
        .as_ref()
        .is_some_and(|token| *token != request.token)
    {
        return Reply::text(401, "");
    }
    let path = request.path.as_str();
    let done = match (request.method.as_str(), path) {
        ("GET", "/health") => Ok(Reply::json(200, &json!({ "status": "ok" }))),
        ("GET", "/route") => Ok(Reply::json(200, &route(sim, request))),
        ("POST", "/route/batch") => route_batch(sim, request),
        ("GET", "/varz") => Ok(varz(sim)),
        ("GET", "/connz") => Ok(connz(sim, request)),
        ("POST", "/user/token") => token(sim, request),
        ("POST", "/user/device_quit") => device_quit(sim, request),
        ("POST", "/user/onlinestatus") => online(sim, request),
        ("POST", "/user/systemuids_add" | "/user/systemuids_remove") => system_uids(sim, request),
        ("GET", "/user/systemuids") => Ok(list_system_uids(sim)),
        ("POST", "/conn/kick" | "/conn/remove") => kick(sim, request),
        (_, path) if path.starts_with("/channel") && !is_history(path) => {
            channels::handle(sim, request)
        }
        (_, path) if path.starts_with("/conversation") => conversations::handle(sim, request),
        _ => messages::handle(sim, request),
    };
    done.unwrap_or_else(|refused| refused)
}

fn is_history(path: &str) -> bool {
    ["messagesync", "max_message_seq", "last_message"]
        .iter()
        .any(|end| path.ends_with(end))
}

fn route(sim: &Sim, request: &Request) -> Value {
    let it = sim.addresses;
    if request.query.get("intranet") == "1" {
        return json!({ "tcp_addr": it.tcp.to_string(), "ws_addr": "", "wss_addr": "" });
    }
    let ws = format!("ws://{}", it.ws);
    let mut route = json!({ "tcp_addr": it.tcp.to_string(), "ws_addr": ws, "wss_addr": "" });
    for (key, value) in &sim.settings().route {
        route[key] = value.clone();
    }
    route
}

fn route_batch(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let uids: Vec<String> = body(request)?;
    let mut all = route(sim, request);
    all["uids"] = json!(uids);
    Ok(Reply::json(200, &json!([all])))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Device {
    uid: String,
    token: String,
    device_flag: i16,
    device_level: u8,
}

impl Device {
    fn flags(&self) -> Vec<u8> {
        match u8::try_from(self.device_flag) {
            Ok(flag) => vec![flag],
            Err(_) => ALL_FLAGS.to_vec(),
        }
    }
}

fn token(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let device: Device = body(request)?;
    if device.token.is_empty() {
        return Err(bad("token不能为空！"));
    }
    if device.uid == SYSTEM {
        return Err(bad("系统账号不允许更新token！"));
    }
    if !is_name(&device.uid) {
        return Err(bad("uid不能为空！或者包含特殊字符！"));
    }
    let flag = u8::try_from(device.device_flag).map_err(|_| bad("device_flag有误！"))?;
    let mut world = sim.world();
    let profile = world.channels.get(&Key::of(&device.uid, PERSON));
    if profile.is_some_and(|profile| profile.ban) {
        return Ok(Reply::json(200, &json!({ "status": BANNED })));
    }
    let after = Duration::from_millis(world.settings.token_kick_ms);
    let Some(user) = world.user(&device.uid) else {
        return Err(bad("too many users"));
    };
    user.tokens
        .insert(flag, (device.token.clone(), device.device_level));
    if device.device_level == MASTER {
        let text = Some("账号在其他设备上登录");
        for session in with_flags(&user.sessions, &[flag]) {
            kicked(sim, session, "a new token", text, after);
        }
    }
    Ok(ok())
}

fn with_flags<'a>(
    sessions: &'a [Arc<Session>],
    flags: &'a [u8],
) -> impl Iterator<Item = &'a Arc<Session>> {
    sessions.iter().filter(move |session| {
        let identity = session.identity.get();
        identity.is_some_and(|identity| flags.contains(&identity.device_flag))
    })
}

fn device_quit(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let device: Device = body(request)?;
    let flags = device.flags();
    let mut world = sim.world();
    let after = Duration::from_millis(world.settings.kick_ms);
    if let Some(user) = world.users.get_mut(&*device.uid) {
        user.tokens.retain(|flag, _| !flags.contains(flag));
        for session in with_flags(&user.sessions, &flags) {
            kicked(sim, session, "device_quit", Some(""), after);
        }
    }
    Ok(ok())
}

fn online(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    let uids: Vec<String> = body(request)?;
    if uids.is_empty() {
        return Ok(ok());
    }
    let world = sim.world();
    let sessions = uids.iter().flat_map(|uid| world.sessions_of(uid));
    let identities = sessions.filter_map(|session| {
        let it = session.identity.get()?;
        Some(json!({ "uid": &*it.uid, "device_flag": it.device_flag, "online": 1 }))
    });
    Ok(Reply::json(200, &Value::Array(identities.collect())))
}

fn system_uids(sim: &Sim, request: &Request) -> Result<Reply, Reply> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Uids {
        uids: Vec<String>,
    }
    let Uids { uids } = body(request)?;
    let mut world = sim.world();
    for uid in uids {
        if request.path.ends_with("_add") && world.system_uids.len() < NAMES_MAX {
            world.system_uids.insert(uid);
        } else if request.path.ends_with("_remove") {
            world.system_uids.remove(&uid);
        }
    }
    Ok(ok())
}

fn list_system_uids(sim: &Sim) -> Reply {
    let world = sim.world();
    let uids = &world.system_uids;
    Reply::json(
        200,
        &if uids.is_empty() {
            Value::Null
        } else {
            json!(uids)
        },
    )
}

fn kick(sim: &Arc<Sim>, request: &Request) -> Result<Reply, Reply> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Conn {
        uid: String,
        conn_id: u64,
    }
    let Conn { uid, conn_id } = body(request)?;
    let world = sim.world();
    let sessions = world.sessions_of(&uid);
    let after = Duration::from_millis(world.settings.kick_ms);
    drop(world);
    let Some(session) = sessions.iter().find(|session| session.conn == conn_id) else {
        return Ok(ok());
    };
    if request.path.ends_with("/kick") {
        kicked(sim, session, "conn/kick", Some("server kick"), after);
    } else {
        sim.end_session(session, "conn/remove");
    }
    Ok(ok())
}

fn connz(sim: &Sim, request: &Request) -> Reply {
    let uid = request.query.get("uid");
    let world = sim.world();
    let live = world
        .connections
        .values()
        .filter(|session| !session.is_over())
        .filter_map(|session| session.identity.get().map(|identity| (session, identity)));
    let (mut shown, mut total) = (Vec::new(), 0);
    for (session, identity) in live {
        total += 1;
        if uid.is_empty() || *identity.uid == *uid {
            shown.push(json!({
                "id": session.conn, "uid": &*identity.uid, "device_id": identity.device_id,
                "device": device_name(identity.device_flag), "version": world.settings.max_version,
                "uptime": format!("{}s", session.opened.elapsed().as_secs()), "idle": "0s",
                "in_msgs": 0, "out_msgs": 0, "in_bytes": 0, "out_bytes": 0, "node_id": NODE_ID,
            }));
        }
    }
    Reply::json(
        200,
        &json!({ "connections": shown, "total": total, "offset": 0, "limit": 20 }),
    )
}

fn device_name(flag: u8) -> &'static str {
    match flag {
        0 => "app",
        1 => "web",
        2 => "pc",
        _ => "system",
    }
}

fn varz(sim: &Sim) -> Reply {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let world = sim.world();
    let live = world.users.values().map(|user| user.sessions.len());
    let connections = live.sum::<usize>();
    let seconds = sim.started.elapsed().as_secs();
    let uptime = format!(
        "{}h{}m{}s",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    let it = sim.addresses;
    Reply::json(
        200,
        &json!({
            "server_id": NODE_ID.to_string(), "server_name": "WuKongIM", "version": "",
            "connections": connections, "user_handler_count": world.users.len(),
            "user_handler_conn_count": connections, "uptime": uptime, "goroutine": 100, "mem": 0,
            "cpu": 0.0, "in_msgs": count(&sim.counters.sends), "out_msgs": count(&sim.counters.recvs),
            "in_bytes": count(&sim.counters.in_bytes), "out_bytes": count(&sim.counters.out_bytes),
            "slow_clients": 0, "retry_queue": 0, "tcp_addr": it.tcp.to_string(),
            "ws_addr": format!("ws://{}", it.ws), "wss_addr": "", "manager_addr": "",
            "manager_on": 0, "commit": "", "commit_date": "", "tree_state": "",
            "api_url": format!("http://{}", it.http), "manager_uid": "____manager",
            "manager_token_on": u8::from(world.settings.manager_token.is_some()),
        }),
    )
}
