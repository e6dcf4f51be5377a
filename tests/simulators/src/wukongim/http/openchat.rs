//! OpenChat: eleven endpoints in front of the server, as its page promises them (`seed`) or as its source behaves (`observed`).
//!
//! `observed` calls the server's own API as the source does, so that what cannot work there does not work here either.

use super::query::Query;
use super::{Reply, Request, addresses, native, tokens};
use crate::wukongim::channel::{Key, SUCCESS};
use crate::wukongim::codec::packets::Flags;
use crate::wukongim::codec::seal::hex;
use crate::wukongim::ids::now_ms;
use crate::wukongim::message::Message;
use crate::wukongim::settings::{OpenChat, Profile};
use crate::wukongim::submit::{Draft, Via, submit};
use crate::wukongim::world::Sim;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const NEEDS_CHANNEL: &str = "channelId and channelType are required";
const HISTORY: usize = 50;
const MINUTE_S: i64 = 60;
/// The long connection's device flag of a token that OpenChat makes.
const WEB: u8 = 1;

/// What its framework answers before a handler is reached.
pub fn envelope(status: u16, message: &str, path: &str) -> Value {
    let code = match status {
        400 => 1001,
        404 => 1002,
        403 => 1003,
        409 => 1005,
        429 => 1006,
        502..=504 => 1007,
        401 => 2005,
        _ => 1000,
    };
    let mut bytes = [0; 8];
    fastrand::fill(&mut bytes);
    json!({
        "code": code, "message": message, "timestamp": iso(now_ms()), "path": path,
        "requestId": hex(&bytes),
    })
}

/// ISO 8601 in UTC, with milliseconds.
fn iso(unix_ms: i64) -> String {
    let (days, ms) = (
        unix_ms.div_euclid(86_400_000),
        unix_ms.rem_euclid(86_400_000),
    );
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1_000
    )
}

pub fn handle(sim: &Arc<Sim>, request: &Request) -> Reply {
    let settings = sim.settings();
    let openchat = &settings.openchat;
    let refused = |status, why| Reply::json(status, &envelope(status, why, &request.path));
    let api = openchat.prefix.rsplit_once('/').map_or("", |(api, _)| api);
    if let Some(act) = request.path.strip_prefix(api)
        && act.starts_with("/auth/")
    {
        return login(sim, openchat, request, act);
    }
    let admin = openchat.admin_prefix.as_deref();
    let route = |prefix: &str| request.path.strip_prefix(prefix);
    let app = route(&openchat.prefix)
        .filter(|act| admin.is_none() || ["/config", "/token"].contains(act));
    let control = admin
        .and_then(route)
        .filter(|act| !["/config", "/token"].contains(act));
    let Some(act) = app.or(control).filter(|act| is_route(&request.method, act)) else {
        return refused(404, "Cannot find this route");
    };
    let uid = subject(sim, openchat, request);
    let is_public = act == "/health" && openchat.profile == Profile::Seed;
    if uid.is_none() && !is_public {
        return refused(401, "Unauthorized");
    }
    if let Some(wait_s) = limited(sim, openchat, act) {
        let mut reply = refused(429, "ThrottlerException: Too Many Requests");
        let name = "Retry-After-login".to_owned();
        reply.headers.push((name, wait_s.to_string()));
        return reply;
    }
    let desk = Desk {
        sim,
        openchat,
        request,
        uid: uid.clone().unwrap_or_default(),
        manager_token: settings.manager_token.clone().unwrap_or_default(),
    };
    let done = desk.done(act);
    let status = if request.method == "POST" { 201 } else { 200 };
    let body = match done {
        Ok(data) => json!({ "success": true, "data": data }),
        Err(message) => json!({ "success": false, "message": message }),
    };
    let mut reply = Reply::json(status, &body);
    reply.uid = uid;
    reply
}

fn is_route(method: &str, act: &str) -> bool {
    match method {
        "GET" => ["/config", "/message/sync", "/health", "/system/info"].contains(&act),
        "POST" => [
            "/token",
            "/message/send",
            "/message/sendbatch",
            "/channel/create",
            "/channel/delete",
            "/channel/subscriber/add",
            "/channel/subscriber/remove",
        ]
        .contains(&act),
        _ => false,
    }
}

fn subject(sim: &Sim, openchat: &OpenChat, request: &Request) -> Option<String> {
    let bearer = request.authorization.strip_prefix("Bearer ");
    let query = Some(request.query.get("token")).filter(|token| !token.is_empty());
    let cookies = request.cookie.split(';');
    let cookie = cookies
        .filter_map(|cookie| cookie.trim().strip_prefix("token="))
        .next();
    let token = bearer.or(query).or(cookie)?;
    let generation = sim.world().generation;
    tokens::subject(&openchat.jwt_secret, token.trim(), generation)
}

/// Seconds to wait, if the route was called too often in this minute.
fn limited(sim: &Sim, openchat: &OpenChat, act: &str) -> Option<i64> {
    if openchat.rate_limit == 0 {
        return None;
    }
    let now_s = now_ms() / 1_000;
    let mut world = sim.world();
    let (since, count) = world.rates.entry(act.to_owned()).or_insert((now_s, 0));
    if now_s - *since >= MINUTE_S {
        (*since, *count) = (now_s, 0);
    }
    *count += 1;
    (*count > openchat.rate_limit).then(|| MINUTE_S - (now_s - *since))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Credentials {
    username: String,
    password: String,
    refresh_token: String,
}

fn login(sim: &Sim, openchat: &OpenChat, request: &Request, act: &str) -> Reply {
    let refused = |status, why| Reply::json(status, &envelope(status, why, &request.path));
    let Ok(it) = serde_json::from_slice::<Credentials>(&request.body) else {
        return refused(400, "Bad Request");
    };
    let mut world = sim.world();
    let uid = match act {
        "/auth/login" => {
            let is_right = openchat.users.get(&it.username) == Some(&it.password);
            is_right.then_some(it.username)
        }
        "/auth/refresh" => world.refresh_tokens.remove(&it.refresh_token),
        _ => return refused(404, "Cannot find this route"),
    };
    let Some(uid) = uid else {
        return refused(401, "Unauthorized");
    };
    let refresh = world.refresh_token(&uid);
    let token = tokens::access(
        &openchat.jwt_secret,
        &uid,
        openchat.token_ttl_s,
        world.generation,
    );
    let ws = format!("ws://{}", sim.addresses.ws);
    drop(world);
    let mut reply = Reply::json(
        201,
        &json!({
            "user": { "id": uid, "username": uid }, "token": token, "refreshToken": refresh,
            "expiresIn": openchat.token_ttl_s, "imConfig": { "wsUrl": ws, "uid": uid, "token": "" },
        }),
    );
    reply.uid = Some(uid);
    reply
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ask {
    channel_id: String,
    channel_type: u8,
    payload: String,
    client_msg_no: String,
    subscribers: Vec<String>,
}

/// One request of somebody who is known.
struct Desk<'a> {
    sim: &'a Arc<Sim>,
    openchat: &'a OpenChat,
    request: &'a Request,
    uid: String,
    manager_token: String,
}

/// The data of a success, or the message of a failure.
type Done = Result<Value, String>;

impl Desk<'_> {
    fn done(&self, act: &str) -> Done {
        let is_seed = self.openchat.profile == Profile::Seed;
        match act {
            "/config" => Ok(self.config()),
            "/token" => self.token(),
            "/message/send" => self.send(&self.ask()?),
            "/message/sendbatch" => self.send_batch(),
            "/message/sync" => self.history(),
            "/channel/create" if is_seed => {
                self.native("POST", "/channel", &self.channel(&[]).1?)?;
                self.body()
            }
            "/channel/create" => self.native("POST", "/channel/create", &self.channel(&[]).1?),
            "/channel/delete" => {
                let (id, body) = self.channel(&[]);
                let answer = self.native("POST", "/channel/delete", &body?)?;
                Ok(if is_seed {
                    json!({ "channelId": id })
                } else {
                    answer
                })
            }
            "/channel/subscriber/add" => self.members("add", "added"),
            "/channel/subscriber/remove" => self.members("remove", "removed"),
            "/health" => self.health(),
            _ => self.system(),
        }
    }

    fn body(&self) -> Done {
        serde_json::from_slice(&self.request.body).map_err(|error| error.to_string())
    }

    fn ask(&self) -> Result<Ask, String> {
        serde_json::from_slice(&self.request.body).map_err(|error| error.to_string())
    }

    /// Asks the server, as OpenChat does: a client of another kind, with other words for what went wrong.
    fn native(&self, method: &str, path: &str, body: &Value) -> Done {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let reply = native::handle(
            self.sim,
            &Request {
                method: method.to_owned(),
                path: path.to_owned(),
                query: Query::of(query),
                authorization: String::new(),
                token: self.manager_token.clone(),
                cookie: String::new(),
                body: body.to_string().into(),
            },
        );
        if !(200..300).contains(&reply.status) {
            return Err(format!("Request failed with status code {}", reply.status));
        }
        let mut answer = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        as_javascript(&mut answer);
        Ok(answer)
    }

    fn config(&self) -> Value {
        let it = self.sim.addresses;
        let mut config = json!({
            "wsUrl": addresses(self.sim)["ws"], "tcpAddr": it.tcp.to_string(),
            "apiUrl": format!("http://{}", it.http), "managerUrl": "http://localhost:5300",
        });
        if self.openchat.profile == Profile::Observed {
            config["uid"] = json!(self.uid);
        }
        for (key, value) in &self.openchat.config {
            config[key] = value.clone();
        }
        config
    }

    fn token(&self) -> Done {
        let is_observed = self.openchat.profile == Profile::Observed;
        if is_observed && self.openchat.token_fails {
            return self.native("POST", "/user/token", &json!({ "uid": self.uid }));
        }
        let nonce = fastrand::u64(..);
        let token = tokens::connection(&self.openchat.jwt_secret, &self.uid, nonce);
        let level = 1;
        self.native(
            "POST",
            "/user/token",
            &json!({
                "uid": self.uid, "token": token, "device_flag": WEB, "device_level": level,
            }),
        )?;
        Ok(json!({ "token": token }))
    }

    fn send(&self, ask: &Ask) -> Done {
        if self.openchat.profile == Profile::Observed {
            return self.native(
                "POST",
                "/message/send",
                &json!({
                    "header": { "no_persist": 0, "red_dot": 1, "sync_once": 0 },
                    "from_uid": self.uid, "channel_id": ask.channel_id,
                    "channel_type": ask.channel_type, "payload": ask.payload,
                    "client_msg_no": ask.client_msg_no,
                }),
            );
        }
        if ask.channel_id.is_empty() || ask.channel_type == 0 {
            return Err(NEEDS_CHANNEL.to_owned());
        }
        let payload = STANDARD.decode(&ask.payload);
        let payload = payload.map_err(|error| error.to_string())?;
        if payload.is_empty() {
            return Err("payload is required".to_owned());
        }
        let outcome = submit(
            self.sim,
            Via::Http("openchat"),
            Draft {
                from: self.uid.as_str().into(),
                channel_id: ask.channel_id.as_str().into(),
                channel_type: ask.channel_type,
                client_msg_no: ask.client_msg_no.as_str().into(),
                flags: Flags {
                    red_dot: true,
                    ..Flags::default()
                },
                payload: payload.into(),
                ..Draft::default()
            },
            None,
        );
        if outcome.reason != SUCCESS {
            return Err("发送消息失败".to_owned());
        }
        Ok(json!({
            "messageId": outcome.message_id.to_string(), "messageSeq": outcome.message_seq,
        }))
    }

    fn send_batch(&self) -> Done {
        let body = self.body()?;
        if self.openchat.profile == Profile::Observed {
            return self.native("POST", "/message/sendbatch", &body);
        }
        let all: Vec<Ask> = serde_json::from_value(body).map_err(|error| error.to_string())?;
        all.iter().map(|ask| self.send(ask)).collect()
    }

    fn history(&self) -> Done {
        let query = &self.request.query;
        let channel_id = query.get("channelId");
        let channel_type = query.number("channelType").unwrap_or(0);
        let channel_type = u8::try_from(channel_type).unwrap_or(0);
        if channel_id.is_empty() || channel_type == 0 {
            return Err(NEEDS_CHANNEL.to_owned());
        }
        let after = query.number("lastMessageSeq").unwrap_or(0);
        let limit = query
            .number("limit")
            .and_then(|it| usize::try_from(it).ok());
        let limit = limit.unwrap_or(HISTORY);
        if self.openchat.profile == Profile::Observed {
            let path = format!("/message/sync?channel_id={channel_id}&channel_type={channel_type}");
            return self.native("GET", &path, &Value::Null);
        }
        let world = self.sim.world();
        let key = Key::between(&self.uid, channel_id, channel_type);
        let channel = world.channels.get(&key);
        let new = channel.map(|channel| channel.upward(after + 1, 0, limit));
        Ok(new.unwrap_or_default().iter().map(shown).collect())
    }

    /// The channel's id, and the body of a call about it.
    fn channel(&self, more: &[(&str, Value)]) -> (String, Done) {
        let ask = match self.ask() {
            Ok(ask) => ask,
            Err(error) => return (String::new(), Err(error)),
        };
        if ask.channel_id.is_empty() || ask.channel_type == 0 {
            return (String::new(), Err(NEEDS_CHANNEL.to_owned()));
        }
        let mut body = json!({ "channel_id": ask.channel_id, "channel_type": ask.channel_type });
        for (key, value) in more {
            body[*key] = value.clone();
        }
        (ask.channel_id, Ok(body))
    }

    fn members(&self, act: &str, done: &str) -> Done {
        let subscribers = self.ask()?.subscribers;
        if self.openchat.profile == Profile::Observed {
            let as_objects: Vec<_> = subscribers
                .iter()
                .map(|uid| json!({ "uid": uid }))
                .collect();
            let (_, body) = self.channel(&[("subscribers", json!(as_objects))]);
            return self.native("POST", &format!("/channel/subscriber/{act}"), &body?);
        }
        let (_, body) = self.channel(&[("subscribers", json!(subscribers))]);
        self.native("POST", &format!("/channel/subscriber_{act}"), &body?)?;
        Ok(json!({ done: subscribers.len() }))
    }

    fn health(&self) -> Done {
        self.native("GET", "/health", &Value::Null)?;
        Ok(json!({ "status": "healthy", "timestamp": iso(now_ms()) }))
    }

    fn system(&self) -> Done {
        let all = self.native("GET", "/varz", &Value::Null)?;
        if self.openchat.profile == Profile::Observed {
            return Ok(all);
        }
        Ok(json!({
            "version": "2.2.5", "uptime": self.sim.started.elapsed().as_secs(),
            "connections": all["connections"],
        }))
    }
}

/// As the page shows a message; its times are milliseconds.
fn shown(message: &Arc<Message>) -> Value {
    json!({
        "messageId": message.id.to_string(), "messageSeq": message.seq, "fromUid": &*message.from,
        "channelId": &*message.channel_id, "channelType": message.channel_type,
        "clientMsgNo": &*message.client_msg_no, "payload": STANDARD.encode(&message.payload),
        "timestamp": i64::from(message.timestamp_s) * 1_000,
    })
}

/// What is left of whole numbers after JavaScript has read and written them.
fn as_javascript(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(as_javascript),
        Value::Object(all) => all.values_mut().for_each(as_javascript),
        Value::Number(number) if number.is_i64() => {
            let rounded = number.as_f64().map(|double| double.to_string());
            let rounded = rounded.and_then(|digits| digits.parse::<i64>().ok());
            if let Some(rounded) = rounded {
                *value = json!(rounded);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javascript_rounds_the_ids_of_messages() {
        let mut answer = json!({ "message_id": 2_124_082_873_517_379_584_i64, "small": 7 });
        as_javascript(&mut answer);
        assert_eq!(
            answer,
            json!({ "message_id": 2_124_082_873_517_379_600_i64, "small": 7 })
        );
    }

    #[test]
    fn times_are_iso() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_795_255_795_042), "2026-11-21T10:09:55.042Z");
        assert_eq!(iso(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
    }
}
