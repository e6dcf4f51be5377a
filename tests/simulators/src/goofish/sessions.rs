//! Sessions as the provider sees them: what is queued for a socket, what was pushed and not acknowledged, what can be done to
//! it while it lives.
//!
//! Nothing here waits. What is queued is written by the connection's own task (`socket.rs`), in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::faults::{At, Do, Fault, On};
use super::wire::{
    Answer, AnswerHeaders, Item, Push, PushHeaders, RegistrationHeaders, fresh_hex, now_ms, now_us,
    push_body,
};
use super::world::{Settings, World};

/// A client that reads nothing for this many frames is cut off; what it missed a replay brings.
pub const QUEUE_FRAMES: usize = 8_192;
/// Pushes of a session that are remembered until they are acknowledged.
const OPEN_PUSHES_MAX: usize = 10_000;
/// Pushes of an account that can be delivered again.
const UNACKNOWLEDGED_MAX: usize = 2_000;
/// Items of an account that ackDiff can ask for again.
const LOG_ITEMS: usize = 5_000;
/// Items in one push when there is a backlog.
pub const PUSH_ITEMS_MAX: usize = 20;
/// Frames that wait for a delay, of all sessions.
static DELAYED: Semaphore = Semaphore::const_new(10_000);

/// What a connection's task is told to do, in order.
pub enum Out {
    Text(String),
    Binary(String),
    /// Half a message, then the end of the TCP connection.
    Cut(String),
    Close(u16, String),
    Drop,
    /// From here on nothing is read or written.
    HalfOpen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Close,
    Drop,
    Cut,
    HalfOpen,
    Invalidate,
    Unauthorized,
}

/// What an answer says.
pub struct Said {
    pub code: u16,
    pub body: Option<Value>,
    pub registration: Option<RegistrationHeaders>,
}

impl Said {
    pub fn code(code: u16, body: Option<Value>) -> Self {
        Self {
            code,
            body,
            registration: None,
        }
    }
}

/// What `/reg` made of a connection.
pub struct Registered {
    pub uid: String,
    pub device: String,
    pub app_key: String,
    pub ua: String,
    pub sid: String,
    /// Pushes flow: ackDiff was done.
    pub synced: bool,
    next_seq: u64,
}

impl Registered {
    pub fn new(uid: &str, device: &str, app_key: &str, ua: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            device: device.to_owned(),
            app_key: app_key.to_owned(),
            ua: ua.to_owned(),
            sid: format!("{}{}", fresh_hex(), &fresh_hex()[..12]),
            synced: false,
            next_seq: 1,
        }
    }
}

struct OpenPush {
    number: u64,
    ids: Vec<String>,
    header_count: usize,
}

/// A connection, registered or not.
pub struct Session {
    queue: mpsc::Sender<Out>,
    /// Ends the connection at once, without a look at the queue.
    pub kill: Arc<Notify>,
    pub registered: Option<Registered>,
    /// Still open, and told nothing but 401.
    pub is_valid: bool,
    /// Why the provider ended it.
    pub why: Option<&'static str>,
    open: HashMap<String, OpenPush>,
    open_by_age: VecDeque<String>,
    held_answer: Option<Out>,
    held_push: Option<Out>,
    next_mid: u32,
    pub last_request_mid: String,
}

impl Session {
    pub fn new(conn: u64, queue: mpsc::Sender<Out>) -> Self {
        Self {
            queue,
            kill: Arc::new(Notify::new()),
            registered: None,
            is_valid: true,
            why: None,
            open: HashMap::new(),
            open_by_age: VecDeque::new(),
            held_answer: None,
            held_push: None,
            // Apart from those of other connections, as far as eight digits allow.
            next_mid: u32::try_from(conn % 0xffff).unwrap_or_default() << 16,
            last_request_mid: String::new(),
        }
    }

    pub fn uid(&self) -> Option<&str> {
        self.registered.as_ref().map(|it| it.uid.as_str())
    }

    fn gets_pushes(&self) -> bool {
        self.is_valid && self.registered.as_ref().is_some_and(|it| it.synced)
    }

    pub fn enqueue(&mut self, out: Out) {
        if self.queue.try_send(out).is_err() && self.why.is_none() {
            self.why = Some("overflow");
            self.kill.notify_one();
        }
    }

    fn enqueue_late(&mut self, out: Out, ms: u64) {
        let Ok(place) = DELAYED.try_acquire() else {
            return self.enqueue(out);
        };
        let queue = self.queue.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let _ = queue.try_send(out);
            drop(place);
        });
    }

    pub fn end(&mut self, how: How, code: u16, reason: &str) {
        let said = |code, reason| {
            json!({ "headers": {}, "code": code, "body": { "reason": reason } }).to_string()
        };
        match how {
            How::Close => {
                self.why = Some("close");
                self.enqueue(Out::Close(code, reason.to_owned()));
            }
            How::Drop => {
                self.why = Some("drop");
                self.enqueue(Out::Drop);
            }
            How::Cut => {
                self.why = Some("cut");
                self.enqueue(Out::Cut(said(200, reason)));
            }
            How::HalfOpen => self.enqueue(Out::HalfOpen),
            How::Invalidate => self.is_valid = false,
            How::Unauthorized => {
                self.enqueue(Out::Text(said(401, "token is not found")));
                self.is_valid = false;
            }
        }
    }

    pub fn told(&self) -> Value {
        json!({
            "uid": self.uid(),
            "device": self.registered.as_ref().map(|it| it.device.as_str()),
            "sid": self.registered.as_ref().map(|it| it.sid.as_str()),
            "synced": self.registered.as_ref().is_some_and(|it| it.synced),
            "state": if self.is_valid { "valid" } else { "invalid" },
            "unacknowledged": self.open.len(),
        })
    }
}

/// What a fault does to the connection itself.
pub fn ending(what: Do) -> Option<How> {
    Some(match what {
        Do::Close => How::Close,
        Do::Drop => How::Drop,
        Do::Cut => How::Cut,
        Do::HalfOpen => How::HalfOpen,
        Do::Invalidate => How::Invalidate,
        _ => return None,
    })
}

impl World {
    /// Tells an account; with `keep` also those of its sessions that are still to come, when they ask for what is new.
    pub fn deliver(&mut self, uid: &str, lwp: &str, items: &[Arc<Item>], keep: bool) -> usize {
        let Some(person) = self.people.get_mut(uid) else {
            return 0;
        };
        if keep {
            for item in items {
                person.last_pts = now_us().max(person.last_pts + 1);
                person.log.push_back((person.last_pts, item.clone()));
                if person.log.len() > LOG_ITEMS
                    && let Some((pts, _)) = person.log.pop_front()
                {
                    person.forgotten_pts = pts;
                }
            }
        }
        let sessions = person.sessions.clone();
        let mut told = 0;
        for conn in sessions {
            let gets = self.sessions.get(&conn).is_some_and(Session::gets_pushes);
            if gets {
                self.push(conn, lwp, items, None);
                told += 1;
            }
        }
        told
    }

    /// One push to one session, and what is armed against it.
    pub fn push(&mut self, conn: u64, lwp: &str, items: &[Arc<Item>], extra: Option<u8>) {
        let Some(session) = self.sessions.get(&conn) else {
            return;
        };
        let Some(uid) = session.uid().map(str::to_owned) else {
            return;
        };
        let fault = self.hit(On::Push, Some(&uid), lwp).map(|(_, fault)| fault);
        let what = fault.as_ref().map(|fault| fault.what);
        let fields = |number: u64, mid: &str| {
            let ids: Vec<_> = items.iter().filter_map(|item| item.id.as_deref()).collect();
            let types: Vec<_> = items.iter().map(|item| item.object_type).collect();
            json!({
                "conn": conn, "uid": uid, "push": number, "mid": mid, "lwp": lwp, "ids": ids,
                "items": types, "fault": what,
            })
        };
        self.last_push += 1;
        let number = self.last_push;
        if what == Some(Do::Withhold) {
            return self.tell("push", fields(number, ""));
        }
        if let Some(person) = self.people.get_mut(&uid) {
            person.unacknowledged.insert(number, items.to_vec());
            if person.unacknowledged.len() > UNACKNOWLEDGED_MAX {
                person.unacknowledged.pop_first();
            }
        }
        let last_pts = self.people.get(&uid).map_or(0, |person| person.last_pts);
        let Some(session) = self.sessions.get_mut(&conn) else {
            return;
        };
        if let Some(fault) = &fault
            && fault.at == At::Before
            && let Some(how) = ending(fault.what)
        {
            let reason = fault.reason.clone().unwrap_or_default();
            session.end(how, fault.code_u16().unwrap_or(1001), &reason);
            return self.tell("push", fields(number, ""));
        }
        let mid = session.queue_push(number, lwp, items, extra, last_pts, fault.as_ref());
        self.tell("push", fields(number, &mid));
    }

    /// An acknowledgement came in.
    pub fn acknowledged(&mut self, conn: u64, frame: &Value) {
        let Some(session) = self.sessions.get_mut(&conn) else {
            return;
        };
        let mid = frame["headers"]["mid"].as_str().unwrap_or_default();
        let uid = session.uid().map(str::to_owned);
        let open = session.open.remove(mid);
        let headers = frame["headers"].as_object().map_or(0, serde_json::Map::len);
        let is_all = open
            .as_ref()
            .is_some_and(|open| open.header_count == headers);
        let number = open.as_ref().map(|open| open.number);
        if let Some(person) = uid.as_ref().and_then(|uid| self.people.get_mut(uid))
            && let Some(number) = number
        {
            person.unacknowledged.remove(&number);
        }
        self.tell(
            "ack",
            json!({
                "conn": conn, "uid": uid, "mid": mid, "push": number, "known": open.is_some(),
                "ids": open.map(|open| open.ids).unwrap_or_default(),
                "headers": if is_all { "all" } else { "some" },
            }),
        );
    }

    /// The connection is gone.
    pub fn ended(&mut self, conn: u64, why: &str) {
        let Some(session) = self.sessions.remove(&conn) else {
            return;
        };
        let uid = session.uid().map(str::to_owned);
        if let Some(person) = uid.as_ref().and_then(|uid| self.people.get_mut(uid)) {
            person.sessions.retain(|other| *other != conn);
        }
        let why = session.why.unwrap_or(why);
        let open = session.open.len();
        self.tell(
            "ended",
            json!({ "conn": conn, "uid": uid, "why": why, "open_pushes": open }),
        );
    }

    /// Pushes once more what an account did not acknowledge, to one session or to all.
    pub fn redeliver(&mut self, uid: &str, only: Option<u64>) -> usize {
        let Some(person) = self.people.get_mut(uid) else {
            return 0;
        };
        let sessions = only.map_or_else(|| person.sessions.clone(), |conn| vec![conn]);
        let pushes = std::mem::take(&mut person.unacknowledged);
        for items in pushes.values() {
            for conn in &sessions {
                let gets = self.sessions.get(conn).is_some_and(Session::gets_pushes);
                if gets {
                    self.push(*conn, "/s/sync", items, None);
                }
            }
        }
        pushes.len()
    }

    pub fn set(&mut self, changes: Value) -> Result<Value, String> {
        let as_json = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
        let mut all = as_json(&self.settings);
        let Value::Object(changes) = changes else {
            return Err("settings are an object".to_owned());
        };
        for (key, value) in changes {
            all[key] = value;
        }
        self.settings = serde_json::from_value(all).map_err(|error| error.to_string())?;
        Ok(as_json(&self.settings))
    }
}

impl Session {
    /// The push's `mid`.
    fn queue_push(
        &mut self,
        number: u64,
        lwp: &str,
        items: &[Arc<Item>],
        extra: Option<u8>,
        last_pts: u64,
        fault: Option<&Fault>,
    ) -> String {
        let what = fault.map(|fault| fault.what);
        let mut items = items.to_vec();
        if what == Some(Do::Spoil) {
            let at_ms = now_ms();
            let data = "gYGB/w==".to_owned();
            let spoilt = Item {
                biz_type: 40,
                object_type: 40_000,
                data,
                id: None,
                at_ms,
            };
            items.insert(0, Arc::new(spoilt));
        }
        let on_lwp = match fault {
            Some(Fault {
                what: Do::Lwp,
                lwp: Some(other),
                ..
            }) => other,
            _ => lwp,
        };
        let extra = match fault {
            Some(Fault {
                what: Do::Extra,
                extra,
                ..
            }) => *extra,
            _ => extra,
        };
        let mut mid = self.fresh_mid();
        if what == Some(Do::MidOfRequest) {
            mid.clone_from(&self.last_request_mid);
        }
        let text = self.push_text(&mid, number, on_lwp, &items, extra, last_pts);
        let again = (what == Some(Do::Again)).then(|| {
            let mid = self.fresh_mid();
            self.push_text(&mid, number, on_lwp, &items, extra, last_pts)
        });
        if let Some(registered) = &mut self.registered {
            registered.next_seq += items.len() as u64;
        }
        let held = if what == Some(Do::Swap) {
            None
        } else {
            self.held_push.take()
        };
        match what {
            Some(Do::Delay) => {
                let ms = fault.and_then(|fault| fault.ms).unwrap_or_default();
                self.enqueue_late(Out::Text(text), ms);
            }
            Some(Do::Duplicate) => {
                self.enqueue(Out::Text(text.clone()));
                self.enqueue(Out::Text(text));
            }
            Some(Do::Swap) => {
                if let Some(before) = self.held_push.replace(Out::Text(text)) {
                    self.enqueue(before);
                }
            }
            Some(Do::Binary) => self.enqueue(Out::Binary(text)),
            Some(Do::Cut) => {
                self.why = Some("cut");
                self.enqueue(Out::Cut(text));
            }
            _ => self.enqueue(Out::Text(text)),
        }
        if let Some(again) = again {
            self.enqueue(Out::Text(again));
        }
        if let Some(held) = held {
            self.enqueue(held);
        }
        if let Some(how) = what.and_then(ending)
            && how != How::Cut
        {
            let code = fault.and_then(Fault::code_u16).unwrap_or(1001);
            let reason = fault.and_then(|fault| fault.reason.as_deref());
            self.end(how, code, reason.unwrap_or_default());
        }
        mid
    }

    fn fresh_mid(&mut self) -> String {
        self.next_mid = self.next_mid.wrapping_add(1);
        format!("{:08x} 0", self.next_mid)
    }

    fn push_text(
        &mut self,
        mid: &str,
        number: u64,
        lwp: &str,
        items: &[Arc<Item>],
        extra: Option<u8>,
        last_pts: u64,
    ) -> String {
        let Some(registered) = &self.registered else {
            return String::new();
        };
        let push = Push {
            headers: PushHeaders {
                app_key: &registered.app_key,
                mid,
                ua: &registered.ua,
                sid: &registered.sid,
            },
            lwp,
            body: push_body(lwp, items, registered.next_seq, last_pts, extra),
        };
        let text = serde_json::to_string(&push).unwrap_or_default();
        self.expect_ack(
            mid,
            number,
            items.iter().filter_map(|item| item.id.clone()).collect(),
            4,
        );
        text
    }

    /// From now on an acknowledgement of this `mid` is known.
    fn expect_ack(&mut self, mid: &str, number: u64, ids: Vec<String>, header_count: usize) {
        if self.open_by_age.len() == OPEN_PUSHES_MAX
            && let Some(oldest) = self.open_by_age.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.open_by_age.push_back(mid.to_owned());
        self.open.insert(
            mid.to_owned(),
            OpenPush {
                number,
                ids,
                header_count,
            },
        );
    }

    /// Any frame that control makes up: headers and `mid` are filled in where there are none.
    pub fn queue_frame(&mut self, mut frame: Value, number: u64) {
        let mid = match frame["headers"]["mid"].as_str() {
            Some(mid) => mid.to_owned(),
            None => self.fresh_mid(),
        };
        if let (Some(registered), Some(frame)) = (&self.registered, frame.as_object_mut()) {
            let headers = frame.entry("headers").or_insert_with(|| json!({}));
            let known = [
                ("app-key", &registered.app_key),
                ("ua", &registered.ua),
                ("sid", &registered.sid),
                ("mid", &mid),
            ];
            for (key, value) in known {
                if headers.is_object() && headers[key].is_null() {
                    headers[key] = value.as_str().into();
                }
            }
        }
        let header_count = frame["headers"].as_object().map_or(0, serde_json::Map::len);
        self.expect_ack(&mid, number, vec![], header_count);
        self.enqueue(Out::Text(frame.to_string()));
    }

    /// An answer, and what is armed against it.
    pub fn answer(&mut self, mid: Option<&str>, said: Said, fault: Option<&Fault>) {
        let Said {
            code,
            body,
            registration,
        } = said;
        let sid = self.registered.as_ref().map(|it| it.sid.clone());
        let headers = AnswerHeaders {
            mid: mid.map(str::to_owned),
            sid,
            registration,
        };
        let mut answer = Answer {
            headers,
            code,
            body,
        };
        if fault.is_some_and(|fault| fault.what == Do::WrongMid) {
            answer.headers.mid = Some("9991700000000000 0".to_owned());
        }
        let text = serde_json::to_string(&answer).unwrap_or_default();
        let what = fault.map(|fault| fault.what);
        match (what, fault) {
            (Some(Do::Delay), Some(fault)) => {
                self.enqueue_late(Out::Text(text), fault.ms.unwrap_or_default());
            }
            (Some(Do::Duplicate), _) => {
                self.enqueue(Out::Text(text.clone()));
                self.enqueue(Out::Text(text));
            }
            (Some(Do::Text), Some(fault)) => {
                self.enqueue(Out::Text(fault.text.clone().unwrap_or_default()));
            }
            (Some(Do::Swap), _) => {
                if let Some(before) = self.held_answer.replace(Out::Text(text)) {
                    self.enqueue(before);
                }
                return;
            }
            (Some(Do::Cut), _) => {
                self.why = Some("cut");
                self.enqueue(Out::Cut(text));
            }
            _ => self.enqueue(Out::Text(text)),
        }
        if let Some(held) = self.held_answer.take() {
            self.enqueue(held);
        }
    }
}
