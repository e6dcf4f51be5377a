//! Pushes: who is told what on which path, what armed faults make of it, what is acknowledged and what comes again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::faults::{At, Do, Fault, On};
use super::sessions::{How, Out, Session, ending};
use super::wire::{Item, Push, PushHeaders, now_ms, push_body};
use super::world::World;

/// Pushes of a session that are remembered until they are acknowledged.
const OPEN_PUSHES_MAX: usize = 10_000;
/// Items in one push when there is a backlog.
pub const PUSH_ITEMS_MAX: usize = 20;
/// MessagePack that ends in the middle.
const SPOILT: &str = "gYGB/w==";

struct OpenPush {
    number: u64,
    ids: Vec<String>,
    header_count: usize,
}

/// A session's pushes by their `mid`, until they are acknowledged.
#[derive(Default)]
pub struct OpenPushes {
    by_mid: HashMap<String, OpenPush>,
    by_age: VecDeque<String>,
}

impl OpenPushes {
    fn add(&mut self, mid: &str, push: OpenPush) {
        if self.by_age.len() == OPEN_PUSHES_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.by_mid.remove(&oldest);
        }
        self.by_age.push_back(mid.to_owned());
        self.by_mid.insert(mid.to_owned(), push);
    }

    pub fn count(&self) -> usize {
        self.by_mid.len()
    }
}

impl World {
    /// Tells an account; with `keep` also those of its sessions that are still to come, when they ask for what is new.
    pub fn deliver(&mut self, uid: &str, lwp: &str, items: &[Arc<Item>], keep: bool) -> usize {
        self.deliver_with(uid, lwp, items, keep, None)
    }

    /// The same, with a value of `syncExtraType.type`.
    pub fn deliver_with(
        &mut self,
        uid: &str,
        lwp: &str,
        items: &[Arc<Item>],
        keep: bool,
        extra: Option<u8>,
    ) -> usize {
        let Some(person) = self.people.get_mut(uid) else {
            return 0;
        };
        if keep {
            for item in items {
                person.log.add(item.clone());
            }
        }
        let (sessions, pts) = (person.sessions.clone(), person.log.pts());
        let mut told = 0;
        for conn in sessions {
            let gets = self.sessions.get(&conn).is_some_and(Session::gets_pushes);
            if gets {
                self.push(conn, (lwp, pts), items, extra);
                told += 1;
            }
        }
        told
    }

    /// One push to one session on this path and of this place in time, and what is armed against it.
    pub fn push(
        &mut self,
        conn: u64,
        (lwp, pts): (&str, u64),
        items: &[Arc<Item>],
        extra: Option<u8>,
    ) {
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
        // Clients acknowledge no other path.
        if lwp == "/s/sync"
            && let Some(person) = self.people.get_mut(&uid)
        {
            person.unacknowledged.add(number, pts, items);
        }
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
        let mid = session.queue_push(number, (lwp, pts), items, extra, fault.as_ref());
        self.tell("push", fields(number, &mid));
    }

    /// An acknowledgement came in.
    pub fn acknowledged(&mut self, conn: u64, frame: &Value) {
        let Some(session) = self.sessions.get_mut(&conn) else {
            return;
        };
        let mid = frame["headers"]["mid"].as_str().unwrap_or_default();
        let uid = session.uid().map(str::to_owned);
        let open = session.open.by_mid.remove(mid);
        let headers = frame["headers"].as_object().map_or(0, serde_json::Map::len);
        let is_all = open
            .as_ref()
            .is_some_and(|open| open.header_count == headers);
        let number = open.as_ref().map(|open| open.number);
        if let Some(person) = uid.as_ref().and_then(|uid| self.people.get_mut(uid))
            && let Some(number) = number
        {
            person.unacknowledged.remove(number);
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

    /// Pushes once more what an account did not acknowledge, to one session or to all.
    pub fn redeliver(&mut self, uid: &str, only: Option<u64>) -> usize {
        let Some(person) = self.people.get_mut(uid) else {
            return 0;
        };
        let sessions = only.map_or_else(|| person.sessions.clone(), |conn| vec![conn]);
        let pushes = person.unacknowledged.take();
        for (pts, items) in pushes.values() {
            for conn in &sessions {
                let gets = self.sessions.get(conn).is_some_and(Session::gets_pushes);
                if gets {
                    self.push(*conn, ("/s/sync", *pts), items, None);
                }
            }
        }
        pushes.len()
    }
}

impl Session {
    /// The push's `mid`.
    fn queue_push(
        &mut self,
        number: u64,
        (lwp, pts): (&str, u64),
        items: &[Arc<Item>],
        extra: Option<u8>,
        fault: Option<&Fault>,
    ) -> String {
        let what = fault.map(|fault| fault.what);
        let mut items = items.to_vec();
        if what == Some(Do::Spoil) {
            let at_ms = now_ms();
            let data = SPOILT.to_owned();
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
        let text = self.push_text(&mid, number, (on_lwp, pts), &items, extra);
        let again = (what == Some(Do::Again)).then(|| {
            let mid = self.fresh_mid();
            self.push_text(&mid, number, (on_lwp, pts), &items, extra)
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
        (lwp, pts): (&str, u64),
        items: &[Arc<Item>],
        extra: Option<u8>,
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
            body: push_body(lwp, items, registered.next_seq, pts, extra),
        };
        let text = serde_json::to_string(&push).unwrap_or_default();
        let ids = items.iter().filter_map(|item| item.id.clone()).collect();
        self.open.add(
            mid,
            OpenPush {
                number,
                ids,
                header_count: 4,
            },
        );
        text
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
        let ids = Vec::new();
        self.open.add(
            &mid,
            OpenPush {
                number,
                ids,
                header_count,
            },
        );
        self.enqueue(Out::Text(frame.to_string()));
    }
}
