//! Frames of clients: which kind each is, whether it is allowed, and in which order its effects and its answer leave.
//!
//! What a request does is in `services.rs`, registration and sync are here.

use std::sync::Arc;

use serde_json::{Value, json};

use super::faults::{At, Do, Fault, On};
use super::items::session_hint;
use super::pushes::PUSH_ITEMS_MAX;
use super::sessions::{How, Registered, Said, ending};
use super::settings::{Echo, SameDevice};
use super::wire::{FINGERPRINT, Item, RegistrationHeaders, full, md5_hex, now_ms};
use super::world::World;

/// Hints in the first package of a session.
const HINTS_MAX: usize = 5;
/// What `/reg` has on the page; of these only the first three are needed.
const REG_HEADERS: [&str; 8] = [
    "token",
    "app-key",
    "did",
    "cache-header",
    "ua",
    "dt",
    "wv",
    "sync",
];

/// Why a request is not carried out: code and reason.
pub struct No(pub u16, pub String);

pub fn no<T>(code: u16, reason: impl Into<String>) -> Result<T, No> {
    Err(No(code, reason.into()))
}

/// What happens besides the answer.
pub enum Effect {
    /// Kept for replay as well.
    Deliver {
        to: String,
        items: Vec<Arc<Item>>,
        is_echo: bool,
    },
    Synced {
        conn: u64,
        pts: u64,
    },
    Replaced {
        conn: u64,
    },
}

pub struct Done {
    pub said: Said,
    pub effects: Vec<Effect>,
}

pub fn done(body: Value) -> Result<Done, No> {
    done_with(body, Vec::new())
}

pub fn done_with(body: Value, effects: Vec<Effect>) -> Result<Done, No> {
    Ok(Done {
        said: Said::code(200, Some(body)),
        effects,
    })
}

impl World {
    /// A text message came in.
    pub fn heard(&mut self, conn: u64, text: &str, peer_ip: &str) {
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        let lwp = frame["lwp"].as_str();
        let mid = frame["headers"]["mid"].as_str();
        match lwp {
            _ if !frame.is_object() => self.refuse(conn, "", mid, 400, "a frame is a JSON object"),
            Some(lwp) => self.request(conn, lwp, mid, &frame, peer_ip),
            None if frame["code"].is_u64() => self.acknowledged(conn, &frame),
            None => self.refuse(conn, "", mid, 400, "a frame has `lwp` or `code`"),
        }
    }

    pub fn refuse(&mut self, conn: u64, lwp: &str, mid: Option<&str>, code: u16, reason: &str) {
        let fields =
            json!({ "conn": conn, "lwp": lwp, "mid": mid, "code": code, "reason": reason });
        self.tell("refused", fields);
        if let Some(session) = self.sessions.get_mut(&conn) {
            let said = Said::code(code, Some(json!({ "reason": reason })));
            session.answer(mid, said, None);
        }
    }

    fn request(&mut self, conn: u64, lwp: &str, mid: Option<&str>, frame: &Value, peer_ip: &str) {
        let Some(session) = self.sessions.get_mut(&conn) else {
            return;
        };
        let uid = session.uid().map(str::to_owned);
        if !session.is_valid && lwp != "/reg" {
            return self.refuse(conn, lwp, mid, 401, "token is not found");
        }
        if uid.is_none() && lwp != "/reg" && lwp != "/!" {
            return self.refuse(conn, lwp, mid, 401, "not registered");
        }
        let Some(mid) = mid else {
            return self.refuse(conn, lwp, mid, 400, "a request has `headers.mid`");
        };
        mid.clone_into(&mut session.last_request_mid);
        let of = frame["headers"]["token"]
            .as_str()
            .and_then(|token| self.grants.get(token));
        let uid = uid.or_else(|| of.map(|grant| grant.uid.clone()));
        let fault = self
            .hit(On::Request, uid.as_deref(), lwp)
            .map(|(_, fault)| fault);
        let fault = fault.as_ref();
        if self.is_stopped(conn, lwp, mid, uid.as_deref(), fault) {
            return;
        }
        let outcome = match lwp {
            "/!" => Ok(Done {
                said: Said::code(200, None),
                effects: Vec::new(),
            }),
            "/reg" => self.register(conn, &frame["headers"], peer_ip),
            "/r/SyncStatus/getState" => self.sync_state(conn, &frame["body"]),
            "/r/SyncStatus/ackDiff" => Self::ack_diff(conn, &frame["body"]),
            _ => self.service(uid.as_deref().unwrap_or_default(), lwp, &frame["body"]),
        };
        let uid = uid.as_deref();
        let Done { said, effects } = outcome.unwrap_or_else(|No(code, reason)| {
            let fields =
                json!({ "conn": conn, "lwp": lwp, "mid": mid, "code": code, "reason": reason });
            self.tell("refused", fields);
            let said = Said::code(code, Some(json!({ "reason": reason })));
            Done {
                said,
                effects: Vec::new(),
            }
        });
        let is_early = |effect: &Effect| matches!(effect, Effect::Deliver { .. });
        let is_early = self.settings.echo == Echo::Before && effects.iter().all(is_early);
        let (before, after) = if is_early {
            (effects, vec![])
        } else {
            (vec![], effects)
        };
        self.happen(before);
        self.conclude(conn, lwp, mid, uid, said, fault);
        self.happen(after);
    }

    fn tell_request(
        &mut self,
        (conn, lwp, mid): (u64, &str, &str),
        uid: Option<&str>,
        code: Option<u16>,
        fault: Option<&Fault>,
    ) {
        let fault = fault.map(|fault| fault.what);
        let fields = json!({
            "conn": conn, "uid": uid, "lwp": lwp, "mid": mid, "code": code, "fault": fault,
        });
        self.tell("request", fields);
    }

    /// Whether a fault keeps the request from taking effect.
    fn is_stopped(
        &mut self,
        conn: u64,
        lwp: &str,
        mid: &str,
        uid: Option<&str>,
        fault: Option<&Fault>,
    ) -> bool {
        let Some(fault) = fault else {
            return false;
        };
        let ending = ending(fault.what).filter(|_| fault.at == At::Before);
        if ending.is_none() && !matches!(fault.what, Do::Ignore | Do::Refuse) {
            return false;
        }
        let code = fault.code_u16().filter(|_| fault.what == Do::Refuse);
        if let Some(session) = self.sessions.get_mut(&conn) {
            if let Some(code) = code {
                session.answer(Some(mid), Said::code(code, fault.body.clone()), None);
            } else if let Some(how) = ending {
                let reason = fault.reason.as_deref().unwrap_or_default();
                session.end(how, fault.code_u16().unwrap_or(1001), reason);
            }
        }
        self.tell_request((conn, lwp, mid), uid, code, Some(fault));
        true
    }

    /// The answer of a request that was carried out or refused, or what a fault makes of it.
    fn conclude(
        &mut self,
        conn: u64,
        lwp: &str,
        mid: &str,
        uid: Option<&str>,
        said: Said,
        fault: Option<&Fault>,
    ) {
        let what = fault.map(|fault| fault.what);
        let Some(session) = self.sessions.get_mut(&conn) else {
            return;
        };
        let told = match (what, fault) {
            (Some(Do::Withhold), _) => None,
            (Some(Do::Answer), Some(fault)) => {
                let code = fault.code_u16().unwrap_or(500);
                session.answer(Some(mid), Said::code(code, fault.body.clone()), None);
                Some(code)
            }
            (Some(Do::Close | Do::Drop | Do::HalfOpen | Do::Invalidate), Some(fault)) => {
                let how = ending(fault.what).unwrap_or(How::Drop);
                let reason = fault.reason.as_deref().unwrap_or_default();
                session.end(how, fault.code_u16().unwrap_or(1001), reason);
                None
            }
            _ => {
                let code = said.code;
                session.answer(Some(mid), said, fault);
                (!matches!(what, Some(Do::Cut | Do::Text))).then_some(code)
            }
        };
        // A heartbeat is worth a line only when something was done to it.
        if lwp != "/!" || fault.is_some() {
            self.tell_request((conn, lwp, mid), uid, told, fault);
        }
    }

    pub fn happen(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Deliver { is_echo: true, .. } if self.settings.echo == Echo::None => {}
                Effect::Deliver { to, items, .. } => {
                    self.deliver(&to, "/s/sync", &items, true);
                }
                Effect::Synced { conn, pts } => self.synced(conn, pts),
                Effect::Replaced { conn } => {
                    if let Some(session) = self.sessions.get_mut(&conn) {
                        session.end(How::Close, 1000, "session remove");
                        session.why = Some("replaced");
                    }
                }
            }
        }
    }

    fn register(&mut self, conn: u64, headers: &Value, peer_ip: &str) -> Result<Done, No> {
        let [token, app_key, device] =
            ["token", "app-key", "did"].map(|key| headers[key].as_str().unwrap_or_default());
        if headers["dt"].as_str().is_some_and(|dt| dt != "j") {
            return no(400, "`dt` is `j`: JSON");
        }
        let Some(grant) = self.grants.get(token) else {
            return no(401, "invalid token");
        };
        if grant.expires_ms <= now_ms() {
            return no(401, "token is expired");
        }
        if grant.app_key != app_key || grant.device != device {
            return no(401, "device id or appkey is not equal");
        }
        let uid = grant.uid.clone();
        let (max, same_device) = (
            self.settings.connections_per_account,
            self.settings.same_device,
        );
        let Some(person) = self.person(&uid) else {
            return no(401, "invalid token");
        };
        if !person.logged_in {
            return no(401, "invalid token");
        }
        let others: Vec<u64> = person
            .sessions
            .iter()
            .copied()
            .filter(|it| *it != conn)
            .collect();
        let older: Vec<u64> = others
            .iter()
            .copied()
            .filter(|other| {
                let session = self
                    .sessions
                    .get(other)
                    .and_then(|it| it.registered.as_ref());
                same_device == SameDevice::Replace && session.is_some_and(|it| it.device == device)
            })
            .collect();
        if others.len() - older.len() >= max {
            return no(401, format!("connect limit: {max} for an account"));
        }
        let ua = headers["ua"].as_str().unwrap_or_default();
        let registered = Registered::new(&uid, device, app_key, ua);
        let sid = registered.sid.clone();
        if let Some(person) = self.person(&uid)
            && !person.sessions.contains(&conn)
        {
            person.sessions.push(conn);
        }
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.registered = Some(registered);
            session.is_valid = true;
        }
        let missing: Vec<_> = REG_HEADERS
            .into_iter()
            .filter(|key| !headers[*key].is_string())
            .collect();
        self.tell(
            "session",
            json!({ "conn": conn, "uid": uid, "device": device, "sid": sid, "missing": missing }),
        );
        let effects = older
            .into_iter()
            .map(|conn| Effect::Replaced { conn })
            .collect();
        let registration = RegistrationHeaders {
            ip_digest: md5_hex(peer_ip.as_bytes()),
            dt: "j",
            reg_sid: sid,
            ip_region_digest: md5_hex(b"region"),
            reg_uid: full(&uid),
            real_ip: peer_ip.to_owned(),
        };
        let body = json!({
            "unitName": "PNM", "cookie": "", "timestamp": now_ms(), "isFromChina": true,
        });
        let said = Said {
            code: 200,
            body: Some(body),
            registration: Some(registration),
        };
        Ok(Done { said, effects })
    }

    fn sync_state(&mut self, conn: u64, body: &Value) -> Result<Done, No> {
        if body[0]["topic"] != "sync" {
            return no(400, "the body is [{\"topic\":\"sync\"}]");
        }
        let uid = self
            .sessions
            .get(&conn)
            .and_then(|it| it.uid())
            .map(str::to_owned);
        let Some(person) = uid.and_then(|uid| self.people.get_mut(&uid)) else {
            return no(401, "not registered");
        };
        let pts = person.log.now();
        done(json!({
            "pipeline": "sync", "tooLong2Tag": "PNM,1", "channel": "sync", "topic": "sync",
            "highPts": 0, "pts": pts, "seq": 0, "timestamp": pts / 1000,
        }))
    }

    fn ack_diff(conn: u64, body: &Value) -> Result<Done, No> {
        let Some(pts) = body[0]["pts"]
            .as_u64()
            .filter(|_| body[0]["topic"] == "sync")
        else {
            return no(
                400,
                "the body is [{\"topic\":\"sync\",\"pts\":<microseconds>,...}]",
            );
        };
        let body = json!({
            "syncExtensionModel": { "fingerprint": FINGERPRINT }, "syncExtraType": { "type": 0 },
        });
        done_with(body, vec![Effect::Synced { conn, pts }])
    }

    /// Pushes flow from here on: first the hints, then what the account was told after `pts`.
    fn synced(&mut self, conn: u64, pts: u64) {
        let session = self.sessions.get_mut(&conn);
        let Some(registered) = session.and_then(|it| it.registered.as_mut()) else {
            return;
        };
        let is_first = !std::mem::replace(&mut registered.synced, true);
        let uid = registered.uid.clone();
        if is_first && self.settings.hints {
            let hints = self.hints(&uid);
            if !hints.is_empty() {
                let place = self.people.get(&uid).map_or(pts, |it| it.log.begin(pts));
                self.push(conn, ("/s/vulcan", place), &hints, Some(3));
            }
        }
        let Some(person) = self.people.get(&uid) else {
            return;
        };
        let missed = if self.settings.replay {
            person.log.after(pts)
        } else {
            Vec::new()
        };
        // Zero asks for everything that there is, not for everything that there ever was.
        let mut extra = (pts > 0 && pts < person.log.forgotten_pts).then_some(1);
        let fields = json!({ "conn": conn, "uid": uid, "pts": pts, "replayed": missed.len() });
        self.tell("synced", fields);
        for items in missed.chunks(PUSH_ITEMS_MAX) {
            let pts = items.last().map_or(0, |(pts, _)| *pts);
            let items: Vec<_> = items.iter().map(|(_, item)| item.clone()).collect();
            self.push(conn, ("/s/sync", pts), &items, extra.take());
        }
        if is_first && self.settings.redeliver {
            self.redeliver(&uid, Some(conn));
        }
    }

    fn hints(&self, uid: &str) -> Vec<Arc<Item>> {
        let Some(person) = self.people.get(uid) else {
            return Vec::new();
        };
        let newest = person.conversations.iter().rev().take(HINTS_MAX);
        newest
            .filter_map(|cid| self.hint(*cid, uid))
            .map(Arc::new)
            .collect()
    }

    pub fn hint(&self, cid: u64, to: &str) -> Option<Item> {
        let conversation = self.conversations.get(&cid).filter(|it| it.has(to))?;
        let owner = conversation.owner();
        let other = conversation.other(owner);
        Some(session_hint(
            cid,
            to,
            owner,
            other,
            &conversation.item_id,
            now_ms(),
        ))
    }
}
