//! Sessions as the provider sees them: what is queued for a socket, what it is answered, and what can be done to it while it
//! lives. Pushes are in `pushes.rs`.
//!
//! Nothing here waits. What is queued is written by the connection's own task (`socket.rs`), in order.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::faults::{Do, Fault};
use super::pushes::OpenPushes;
use super::wire::{Answer, AnswerHeaders, RegistrationHeaders, fresh_hex};
use super::world::World;

/// A client that reads nothing for this many frames is cut off; what it missed a replay brings.
pub const QUEUE_FRAMES: usize = 8_192;
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
    pub next_seq: u64,
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

/// A connection, registered or not.
pub struct Session {
    queue: mpsc::Sender<Out>,
    /// Ends the connection at once, without a look at the queue.
    pub kill: Arc<Notify>,
    pub registered: Option<Registered>,
    /// Still open, and told nothing but 401.
    pub is_valid: bool,
    /// Open, and nothing is read or written.
    pub is_frozen: bool,
    /// Why the provider ended it.
    pub why: Option<&'static str>,
    pub open: OpenPushes,
    held_answer: Option<Out>,
    pub held_push: Option<Out>,
    pub next_mid: u32,
    pub last_request_mid: String,
}

impl Session {
    pub fn new(conn: u64, queue: mpsc::Sender<Out>) -> Self {
        Self {
            queue,
            kill: Arc::new(Notify::new()),
            registered: None,
            is_valid: true,
            is_frozen: false,
            why: None,
            open: OpenPushes::default(),
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

    pub fn gets_pushes(&self) -> bool {
        self.is_valid && self.registered.as_ref().is_some_and(|it| it.synced)
    }

    pub fn enqueue(&mut self, out: Out) {
        if self.queue.try_send(out).is_err() && self.why.is_none() {
            self.why = Some("overflow");
            self.kill.notify_one();
        }
    }

    pub fn enqueue_late(&mut self, out: Out, ms: u64) {
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
                // A client that reads nothing would keep it waiting behind what it does not read.
                if self.queue.capacity() < QUEUE_FRAMES / 2 {
                    self.kill.notify_one();
                }
            }
            How::Cut => {
                self.why = Some("cut");
                self.enqueue(Out::Cut(said(200, reason)));
            }
            How::HalfOpen => {
                self.is_frozen = true;
                self.enqueue(Out::HalfOpen);
            }
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
            "state": match (self.is_frozen, self.is_valid) {
                (true, _) => "half_open",
                (false, true) => "valid",
                (false, false) => "invalid",
            },
            "unacknowledged": self.open.count(),
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

impl Session {
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

impl World {
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
        let open = session.open.count();
        self.tell(
            "ended",
            json!({ "conn": conn, "uid": uid, "why": why, "open_pushes": open }),
        );
    }
}
