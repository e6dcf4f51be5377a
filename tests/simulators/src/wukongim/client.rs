//! What a client's bytes mean, in either form, and what the server does about them.
//!
//! Strict: whatever is out of turn or does not decode ends the connection as the real server ends it. The JSON form keeps the
//! real server's wedge: after a line that cannot be carried out, every later one gets that line's error.

use super::channel::BAD_PAYLOAD;
use super::codec::frames::Splitter;
use super::codec::packets::{self, Connack, Connect, Flags, Packet, Recv, Send, Sendack};
use super::codec::seal::Keys;
use super::faults::{Do, Fault, On, Site};
use super::login::{self, Form, Login};
use super::record::Entry;
use super::rpc::{self, Request, Wrong};
use super::session::{Out, Session};
use super::settings::{Refusal, Settings};
use super::submit::{Draft, Outcome, Via, misbehave, submit};
use super::world::{AWAY_AFTER_A_CRASH, Counters, Sim};
use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A payload above this stops the real server, where no frame limits it.
pub const PAYLOAD_BYTES_MAX: usize = 1_048_576;

/// What becomes of the connection.
pub enum Fate {
    Goes,
    /// With this before anything else.
    Answers(Out),
    AnswersLater(Out, Duration),
    Closes(String),
}

enum Phase {
    /// Nothing said yet.
    New,
    /// Refused in silence: closed then.
    Refused(Instant, &'static str),
    /// Neither answered nor closed.
    Ignored,
    Live,
}

pub struct Client {
    sim: Arc<Sim>,
    session: Arc<Session>,
    phase: Phase,
    form: Option<Form>,
    version: u8,
    keys: Option<Keys>,
    splitter: Splitter,
    input: BytesMut,
    wedge: Option<String>,
    is_doomed: bool,
    silent_until: Instant,
}

/// How to answer.
enum To {
    /// In binary, by the packet's own number.
    Packet,
    Json(String),
}

impl Client {
    pub fn new(sim: Arc<Sim>, session: Arc<Session>) -> Self {
        let silent_ms = sim.settings().silent_ms;
        let silent_until = session.opened + Duration::from_millis(silent_ms);
        Self {
            sim,
            session,
            phase: Phase::New,
            form: None,
            version: 0,
            keys: None,
            splitter: Splitter::default(),
            input: BytesMut::new(),
            wedge: None,
            is_doomed: false,
            silent_until,
        }
    }

    pub fn form(&self) -> Option<Form> {
        self.form
    }

    pub fn version(&self) -> u8 {
        self.version
    }

    /// When the server loses its patience, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        match self.phase {
            Phase::New => Some((self.silent_until, "no login in time")),
            Phase::Refused(at, why) => Some((at, why)),
            Phase::Ignored | Phase::Live => None,
        }
    }

    /// With its payload sealed and its key, as this connection needs it.
    pub fn sealed(&self, mut recv: Recv, is_key_bad: bool) -> Recv {
        if let Some(keys) = &self.keys {
            recv.payload = Bytes::from(keys.seal(&recv.payload));
            recv.msg_key = keys.sign(&recv.sign_text());
            if is_key_bad {
                recv.msg_key = "0".repeat(recv.msg_key.len());
            }
        }
        recv
    }

    /// What came in one read.
    pub fn chunk(&mut self, chunk: BytesMut, settings: &Settings) -> Fate {
        if matches!(self.phase, Phase::Refused(..) | Phase::Ignored) {
            return Fate::Goes;
        }
        let first = chunk.iter().find(|byte| !byte.is_ascii_whitespace());
        let is_object = first == Some(&b'{');
        let form = *self.form.get_or_insert(if is_object && settings.jsonrpc {
            Form::Json
        } else {
            Form::Binary
        });
        match form {
            Form::Binary => {
                self.input.extend_from_slice(&chunk);
                self.frames(settings)
            }
            Form::Json => {
                // The real server hands this to its binary decoder, which waits for more and gives up then.
                if self.is_doomed {
                    return Fate::Closes("a line that is no object".to_owned());
                }
                if self.input.is_empty() && !is_object && first.is_some() {
                    self.is_doomed = true;
                    return Fate::Goes;
                }
                self.input.extend_from_slice(&chunk);
                self.objects(settings)
            }
        }
    }

    fn frames(&mut self, settings: &Settings) -> Fate {
        loop {
            let frame = match self.splitter.next(&mut self.input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Fate::Goes,
                Err(error) => return Fate::Closes(format!("{error:?}")),
            };
            let packet = match packets::decode(frame, self.version) {
                Ok(packet) => packet,
                Err(error) => return Fate::Closes(format!("{error:?}")),
            };
            match (&self.phase, packet) {
                (Phase::New, Packet::Connect(connect)) => {
                    if !self.input.is_empty() {
                        return Fate::Closes("bytes behind CONNECT".to_owned());
                    }
                    return self.login(&connect, Form::Binary, None, settings);
                }
                (Phase::New, _) => return Fate::Closes("no CONNECT".to_owned()),
                (_, Packet::Send(send)) => self.send(send, &To::Packet),
                (
                    _,
                    Packet::Recvack {
                        flags,
                        message_id,
                        message_seq,
                    },
                ) => self.acked(message_id, message_seq, flags.no_persist),
                (_, Packet::Ping) => self.pinged(Out::Packet(Packet::Pong)),
                // Nobody reads it.
                (_, Packet::Event(event)) => return Fate::Closes(format!("{event:?}")),
                // The real server reads and ignores the rest, its own packets too.
                _ => {}
            }
        }
    }

    fn objects(&mut self, settings: &Settings) -> Fate {
        if let Some(error) = &self.wedge {
            self.session.tell(Out::Json(error.clone()));
            self.input.clear();
            return Fate::Goes;
        }
        // Everything that is there is read before anything of it is carried out.
        let mut requests = Vec::new();
        let mut at = 0;
        loop {
            let mut objects = serde_json::Deserializer::from_slice(&self.input[at..]).into_iter();
            let next: Option<Result<IgnoredAny, _>> = objects.next();
            let end = at + objects.byte_offset();
            match next {
                None => break,
                Some(Err(error)) if error.is_eof() => {
                    if matches!(self.phase, Phase::New) {
                        return Fate::Closes("a connect that is cut".to_owned());
                    }
                    let (id, message) = (None, "unexpected EOF".to_owned());
                    self.session
                        .tell(Out::Json(rpc::error(&Wrong { id, message })));
                    return Fate::Goes;
                }
                Some(Err(error)) => {
                    let (id, message) = (None, error.to_string());
                    return self.wedged(&Wrong { id, message });
                }
                Some(Ok(_)) => {}
            }
            match rpc::parse(&self.input[at..end]) {
                Ok(parsed) => requests.push(parsed),
                Err(wrong) => return self.wedged(&wrong),
            }
            at = end;
            if matches!(self.phase, Phase::New) {
                break;
            }
        }
        self.input.clear();
        for (id, request) in requests {
            let fate = self.request(id.unwrap_or_default(), request, settings);
            if !matches!(fate, Fate::Goes) {
                return fate;
            }
        }
        Fate::Goes
    }

    fn request(&mut self, id: String, request: Request, settings: &Settings) -> Fate {
        match (&self.phase, request) {
            (Phase::New, Request::Connect(connect)) => {
                return self.login(&connect, Form::Json, Some(id), settings);
            }
            (Phase::New, _) => return Fate::Closes("no connect".to_owned()),
            (_, Request::Send(send)) if send.payload.len() > PAYLOAD_BYTES_MAX => {
                self.sim.crash("a payload above 1 MiB", AWAY_AFTER_A_CRASH);
            }
            (_, Request::Send(send)) => self.send(send, &To::Json(id)),
            (
                _,
                Request::Recvack {
                    message_id,
                    no_persist,
                },
            ) => self.acked(message_id, 0, no_persist),
            (_, Request::Ping) => self.pinged(Out::Json(rpc::pong(&id))),
            (_, Request::Connect(_) | Request::Ignored) => {}
        }
        Fate::Goes
    }

    /// Kept at the head of the real server's buffer for ever.
    fn wedged(&mut self, wrong: &Wrong) -> Fate {
        let (conn, what) = (self.session.conn, wrong.message.clone());
        self.sim.note(Entry::Error { conn, what });
        if matches!(self.phase, Phase::New) {
            return Fate::Closes("no connect".to_owned());
        }
        let error = rpc::error(wrong);
        self.input.clear();
        self.wedge = Some(error.clone());
        self.session.tell(Out::Json(error));
        Fate::Goes
    }

    fn struck(&self, on: On, channel_id: Option<&str>, uid: Option<&str>) -> Option<Fault> {
        let site = Site {
            uid: uid.or(self.session.uid().map(|uid| &**uid)),
            transport: Some(self.session.transport),
            channel_id,
            ..Site::default()
        };
        let fault = self.sim.faults.strike(on, &site)?;
        let at = format!("{on:?} on {}", self.session.conn).to_lowercase();
        self.sim.note(Entry::Fault {
            fault: fault.id,
            at,
        });
        Some(fault)
    }

    fn login(
        &mut self,
        connect: &Connect,
        form: Form,
        id: Option<String>,
        settings: &Settings,
    ) -> Fate {
        let fault = self.struck(On::Connect, None, Some(&connect.uid));
        let ms = |fault: &Fault, default| Duration::from_millis(fault.ms.unwrap_or(default));
        let mut later = None;
        let verdict = match &fault {
            Some(fault) => match fault.act {
                Do::Withhold => {
                    self.phase = Phase::Ignored;
                    return Fate::Goes;
                }
                Do::Unserved => {
                    self.phase = Phase::Refused(Instant::now() + ms(fault, 3_000), "never served");
                    return Fate::Goes;
                }
                Do::Refuse => Login::Refused(fault.reason.unwrap_or(0), "fault"),
                Do::Delay => {
                    later = Some(ms(fault, 1_000));
                    login::login(&self.sim, &self.session, connect, form)
                }
                act if fault.effect => {
                    let verdict = login::login(&self.sim, &self.session, connect, form);
                    misbehave(&self.session, &act, fault.code);
                    verdict
                }
                act => {
                    misbehave(&self.session, &act, fault.code);
                    return Fate::Goes;
                }
            },
            None => login::login(&self.sim, &self.session, connect, form),
        };
        let is_told = settings.refusal == Refusal::Answered
            || fault.is_some_and(|fault| fault.act == Do::Refuse && fault.reason.is_some());
        let out = match verdict {
            Login::Welcome(welcome) => {
                (self.keys, self.version) = (welcome.keys, welcome.version);
                self.phase = Phase::Live;
                match id {
                    Some(id) => Out::Json(rpc::connack(&id, &welcome.connack)),
                    None => Out::Packet(Packet::Connack(welcome.connack)),
                }
            }
            Login::Close(why) => return Fate::Closes(why.to_owned()),
            Login::Refused(reason, why) => {
                self.sim.note(Entry::Refused {
                    conn: self.session.conn,
                    uid: connect.uid.clone(),
                    why,
                });
                let after = if is_told { 0 } else { settings.refusal_ms };
                self.phase = Phase::Refused(Instant::now() + Duration::from_millis(after), why);
                if !is_told {
                    return Fate::Goes;
                }
                self.version = connect.version.min(settings.max_version);
                let connack = Connack {
                    reason,
                    ..Connack::default()
                };
                match id {
                    Some(id) => Out::Json(rpc::connack(&id, &connack)),
                    None => Out::Packet(Packet::Connack(connack)),
                }
            }
        };
        match later {
            Some(after) => Fate::AnswersLater(out, after),
            None => Fate::Answers(out),
        }
    }

    fn send(&self, send: Send, to: &To) {
        let client_seq = send.client_seq;
        let fault = self.struck(On::Send, Some(&send.channel_id), None);
        let payload = match (&self.keys, to) {
            (Some(keys), To::Packet) => (keys.sign(&send.sign_text()) == send.msg_key)
                .then(|| keys.unseal(&send.payload))
                .flatten()
                .map(Bytes::from),
            _ => Some(send.payload),
        };
        let mut refused = payload.is_none().then_some(BAD_PAYLOAD);
        if let Some(fault) = &fault
            && fault.act == Do::Refuse
        {
            refused = Some(fault.reason.unwrap_or(3));
        }
        let flags = send.flags;
        let draft = Draft {
            from: self.session.uid().cloned().unwrap_or_default(),
            channel_id: send.channel_id.into(),
            channel_type: send.channel_type,
            client_msg_no: send.client_msg_no.into(),
            flags: Flags {
                dup: false,
                ..flags
            },
            setting: send.setting,
            stream_no: send.stream_no,
            topic: send.topic,
            expire_s: send.expire_s,
            payload: payload.unwrap_or_default(),
        };
        if fault.as_ref().is_some_and(|fault| !fault.effect) {
            return self.answer_badly(fault.as_ref(), None);
        }
        let Outcome {
            message_id,
            message_seq,
            reason,
        } = submit(&self.sim, Via::Connection(&self.session), draft, refused);
        let is_trailing = matches!(&fault, Some(fault) if fault.act == Do::Trailing);
        let answer = match to {
            To::Json(id) => Out::Json(rpc::sendack(id, flags, message_id, message_seq, reason)),
            To::Packet => Out::Packet(Packet::Sendack(Sendack {
                flags,
                message_id,
                client_seq,
                message_seq,
                reason,
                trailing: if is_trailing {
                    Bytes::from_static(b"\x00\x08trailing")
                } else {
                    Bytes::new()
                },
            })),
        };
        self.answer_badly(fault.as_ref(), Some(answer));
    }

    /// The answer, as the fault wants it.
    fn answer_badly(&self, fault: Option<&Fault>, answer: Option<Out>) {
        let Some(fault) = fault else {
            return answer.into_iter().for_each(|out| self.session.tell(out));
        };
        match (fault.act, answer) {
            (Do::Withhold, _) => {}
            (Do::Delay, Some(out)) => {
                let after = Duration::from_millis(fault.ms.unwrap_or(1_000));
                self.session.tell_later(out, after);
            }
            (Do::Duplicate, Some(out)) => {
                self.session.tell(out.clone());
                self.session.tell(out);
            }
            (Do::Refuse | Do::Trailing, Some(out)) => self.session.tell(out),
            (act, _) => misbehave(&self.session, &act, fault.code),
        }
    }

    fn acked(&self, message_id: i64, message_seq: u64, no_persist: bool) {
        if let Some(fault) = self.struck(On::Recvack, None, None) {
            return misbehave(&self.session, &fault.act, fault.code);
        }
        let is_effective = self.session.acked(message_id, no_persist);
        Counters::one(if is_effective {
            &self.sim.counters.recvacks
        } else {
            &self.sim.counters.useless_recvacks
        });
        self.sim.note(Entry::Recvack {
            conn: self.session.conn,
            message_id,
            message_seq,
            is_effective,
        });
    }

    fn pinged(&self, pong: Out) {
        self.sim.note(Entry::Ping {
            conn: self.session.conn,
        });
        let fault = self.struck(On::Ping, None, None);
        self.answer_badly(fault.as_ref(), Some(pong));
    }
}
