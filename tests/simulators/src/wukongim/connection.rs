//! One client's socket, WebSocket or TCP: bytes in, bytes out, and the times at which the server acts by itself.
//!
//! Reads and writes side by side, so that a client that does not read is still heard. Small: what it reads is bounded by a
//! frame, what it has to say by the session.
//!
//! Not here: what a frame does (`client.rs`), who gets what (`submit.rs`).

use super::client::{Client, Fate};
use super::codec::packets::{Packet, encode};
use super::faults::{Do, On, Site};
use super::login::Form;
use super::output::Output;
use super::record::Entry;
use super::rpc;
use super::session::{How, Next, Out, Session};
use super::settings::Settings;
use super::websocket::{self, Read};
use super::world::{Counters, Sim};
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

/// What the server reads at once.
const READ_BYTES: usize = 64 * 1024;
/// A connection that says little costs little.
const FIRST_READ_BYTES: usize = 4 * 1024;
/// Packets turned into bytes at a time.
const AT_ONCE: usize = 256;
/// When nothing is due.
const LOOK_AGAIN: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Ws,
    Tcp,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Tcp => "tcp",
        }
    }
}

/// From the first byte to the last.
pub async fn serve(sim: Arc<Sim>, mut stream: TcpStream, transport: Transport) {
    if sim.is_down() {
        return reset(&stream);
    }
    let session = {
        let mut world = sim.world();
        world.last_conn += 1;
        let session = Arc::new(Session::new(world.last_conn, transport.name()));
        world.connections.insert(session.conn, session.clone());
        session
    };
    let conn = session.conn;
    Counters::one(&sim.counters.accepted);
    sim.note(Entry::Opened {
        conn,
        transport: transport.name(),
    });
    let ended = run(&sim, &mut stream, transport, &session).await;
    let (by, why, is_reset) = match ended {
        Ok(Ended::Client(why)) => ("client", why, false),
        Ok(Ended::Server(how, why)) => ("server", why, how == How::Reset),
        Err(error) => ("client", error.to_string(), false),
    };
    if is_reset {
        reset(&stream);
    }
    sim.world().connections.remove(&conn);
    sim.webhooks.online(&sim, &session, false);
    if !session.is_over() {
        sim.end_session(&session, "the connection closed");
    }
    let uid = session.uid().map(|uid| uid.to_string());
    sim.note(Entry::Closed { conn, uid, by, why });
}

fn reset(stream: &TcpStream) {
    // The peer may be gone already; then there is nothing to reset.
    let _ = stream.set_zero_linger();
}

enum Ended {
    Client(String),
    Server(How, String),
}

struct Connection<'a> {
    sim: &'a Arc<Sim>,
    session: &'a Arc<Session>,
    transport: Transport,
    settings: Arc<Settings>,
    client: Client,
    is_open: bool,
    /// As they came from the socket.
    raw: BytesMut,
    output: Output,
    last_input: Instant,
    /// Neither served nor closed before.
    unserved_until: Option<Instant>,
    not_before: Option<Instant>,
    /// Said first then.
    greeting: Option<Out>,
}

async fn run(
    sim: &Arc<Sim>,
    stream: &mut TcpStream,
    transport: Transport,
    session: &Arc<Session>,
) -> io::Result<Ended> {
    stream.set_nodelay(true)?;
    let mut connection = Connection {
        sim,
        session,
        transport,
        settings: sim.settings(),
        client: Client::new(sim.clone(), session.clone()),
        is_open: transport == Transport::Tcp,
        raw: BytesMut::new(),
        output: Output::new(transport == Transport::Ws),
        last_input: Instant::now(),
        unserved_until: None,
        not_before: None,
        greeting: None,
    };
    if let Some(ended) = connection.accepted() {
        return Ok(ended);
    }
    let (mut reader, mut writer) = stream.split();
    loop {
        let next = connection.step();
        let is_halted = next.is_halted;
        if let Some((How::Drop | How::Reset, why)) = next.close.clone() {
            return Ok(Ended::Server(
                next.close.map_or(How::Drop, |(how, _)| how),
                why,
            ));
        }
        if let Some((how, why)) = &next.close
            && connection.output.next().is_none()
            && !is_halted
        {
            writer.shutdown().await?;
            return Ok(Ended::Server(how.clone(), why.clone()));
        }
        let wait = connection.wait(&next);
        tokio::select! {
            () = session.wake.notified() => {}
            read = read(&mut reader, &mut connection.raw), if !is_halted => {
                if read? == 0 {
                    return Ok(Ended::Client("end of input".to_owned()));
                }
                connection.heard();
            }
            written = async {
                match connection.output.next() {
                    Some(piece) => writer.write_buf(piece).await,
                    None => std::future::pending().await,
                }
            }, if !is_halted => {
                let written = u64::try_from(written?).unwrap_or(0);
                sim.counters.out_bytes.fetch_add(written, Ordering::Relaxed);
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// What has come, up to what the server reads at once.
async fn read(reader: &mut ReadHalf<'_>, into: &mut BytesMut) -> io::Result<usize> {
    into.reserve(FIRST_READ_BYTES);
    let mut read = reader.read_buf(into).await?;
    while read > 0 && read < READ_BYTES && into.capacity() == into.len() {
        into.reserve(READ_BYTES - read);
        match reader.try_read_buf(into) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl Connection<'_> {
    /// Faults that strike before anything is said.
    fn accepted(&mut self) -> Option<Ended> {
        let site = Site {
            transport: Some(self.transport.name()),
            ..Site::default()
        };
        let fault = self.sim.faults.strike(On::Accept, &site)?;
        let at = format!("accept of {}", self.session.conn);
        self.sim.note(Entry::Fault {
            fault: fault.id,
            at,
        });
        let ms = |default| Duration::from_millis(fault.ms.unwrap_or(default));
        let why = "fault".to_owned();
        match fault.act {
            Do::HalfOpen => self.session.halt(true),
            Do::Unserved => self.unserved_until = Some(Instant::now() + ms(3_000)),
            Do::Delay => self.not_before = Some(Instant::now() + ms(1_000)),
            Do::Refuse if self.transport == Transport::Ws => {
                let status = fault.status.unwrap_or(503);
                let refusal = websocket::refusal(status, "Refused");
                self.output.raw(refusal.as_bytes());
                self.session.close(How::End, "fault");
            }
            Do::Reset => return Some(Ended::Server(How::Reset, why)),
            _ => return Some(Ended::Server(How::Drop, why)),
        }
        None
    }

    /// Everything that can be done now.
    fn step(&mut self) -> Next {
        let now = Instant::now();
        self.settings = self.sim.settings();
        if self.unserved_until.is_some_and(|until| until <= now) {
            self.session.close(How::End, "never served");
        }
        self.time(now);
        let (resend, max) = (self.settings.resend_ms, self.settings.resend_max);
        let waits = !self.is_open || self.not_before.is_some_and(|at| now < at);
        if !waits && let Some(greeting) = self.greeting.take() {
            self.write(vec![greeting]);
        }
        let room = if waits || self.output.is_full() {
            0
        } else {
            AT_ONCE
        };
        let mut next = self.session.next(room, Duration::from_millis(resend), max);
        if let Some((_, cause)) = next.drop_at {
            self.sim.end_session(self.session, cause);
            next.is_over = true;
        }
        let out = std::mem::take(&mut next.out);
        if !out.is_empty() {
            self.write(out);
        }
        if let Some((How::Code(code), why)) = &next.close {
            self.output.close(*code);
            next.close = Some((How::End, why.clone()));
            // Said once.
            self.session.closing();
        }
        next
    }

    /// What the clock demands.
    fn time(&mut self, now: Instant) {
        if self.unserved_until.is_some() {
            return;
        }
        let since = now.duration_since(self.last_input);
        let idle = Duration::from_millis(self.settings.idle_ms);
        if let Some((at, why)) = self.client.deadline()
            && at <= now
        {
            self.session.close(How::End, why);
        }
        if self.session.identity.get().is_some() && since >= idle {
            self.sim.end_session(self.session, "idle");
            if since >= idle + idle / 4 {
                self.session.close(How::End, "idle");
            }
        }
    }

    fn wait(&self, next: &Next) -> Duration {
        if next.is_halted {
            return LOOK_AGAIN;
        }
        let idle = Duration::from_millis(self.settings.idle_ms);
        let is_live = self.session.identity.get().is_some();
        let idle = if next.is_over { idle + idle / 4 } else { idle };
        let times = [
            next.at,
            self.client.deadline().map(|(at, _)| at),
            is_live.then(|| self.last_input + idle),
            self.unserved_until,
            self.not_before.filter(|at| Instant::now() < *at),
        ];
        let first = times.into_iter().flatten().min();
        first.map_or(LOOK_AGAIN, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    fn heard(&mut self) {
        self.last_input = Instant::now();
        if self.unserved_until.is_some() {
            self.raw.clear();
            return;
        }
        if self.transport == Transport::Tcp {
            let chunk = self.raw.split();
            return self.chunk(chunk);
        }
        if !self.is_open {
            match websocket::handshake(&mut self.raw) {
                Ok(None) => return,
                Ok(Some(answer)) => {
                    self.output.raw(answer.as_bytes());
                    self.is_open = true;
                }
                Err(refusal) => {
                    self.output.raw(refusal.as_bytes());
                    return self.session.close(How::End, "no WebSocket handshake");
                }
            }
        }
        while let Some(read) = websocket::read(&mut self.raw) {
            match read {
                Read::Message(chunk) => self.chunk(chunk),
                Read::Ping(payload) => {
                    let mut pong = BytesMut::new();
                    websocket::write_pong(&payload, &mut pong);
                    self.output.raw(&pong);
                }
                Read::Pong => {}
                Read::Close(code) => {
                    let code = code.unwrap_or(1000);
                    self.session.close(How::Code(code), "the client closed");
                    return;
                }
                Read::Fragment => {
                    let (conn, what) = (self.session.conn, "a fragmented message".to_owned());
                    self.sim.note(Entry::Error { conn, what });
                    self.sim.end_session(self.session, "a fragmented message");
                }
                Read::Wrong(why) => return self.session.close(How::End, why),
            }
        }
    }

    /// What the server got in one read.
    fn chunk(&mut self, chunk: BytesMut) {
        let bytes = u64::try_from(chunk.len()).unwrap_or(0);
        let counters = &self.sim.counters;
        counters.in_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.session.is_over() {
            return;
        }
        match self.client.chunk(chunk, &self.settings) {
            Fate::Goes => {}
            Fate::Answers(packet) => self.write(vec![packet]),
            Fate::AnswersLater(packet, after) => {
                self.greeting = Some(packet);
                self.not_before = Some(Instant::now() + after);
            }
            Fate::Closes(what) => {
                let conn = self.session.conn;
                self.sim.note(Entry::Error {
                    conn,
                    what: what.clone(),
                });
                self.session.close(How::End, &what);
            }
        }
    }

    fn write(&mut self, out: Vec<Out>) {
        let is_json = self.client.form() == Some(Form::Json);
        let mut packets = Vec::with_capacity(out.len());
        let mut recvs = Vec::new();
        for out in out {
            let mut frame = BytesMut::new();
            match &out {
                Out::Json(text) => frame.extend_from_slice(text.as_bytes()),
                Out::Raw(bytes) => frame.extend_from_slice(bytes),
                Out::Packet(packet) if is_json => {
                    frame.extend_from_slice(in_json(packet).as_bytes());
                }
                Out::Packet(packet) => encode(packet, self.client.version(), &mut frame),
                Out::Recv {
                    message,
                    seen,
                    attempt,
                    is_key_bad,
                } => {
                    let recv = message.recv(seen);
                    if is_json {
                        frame.extend_from_slice(rpc::recv(&recv).as_bytes());
                    } else {
                        let recv = self.client.sealed(recv, *is_key_bad);
                        encode(&Packet::Recv(recv), self.client.version(), &mut frame);
                    }
                    recvs.push(Entry::Recv {
                        conn: self.session.conn,
                        message_id: message.id,
                        message_seq: message.seq,
                        attempt: *attempt,
                    });
                    let counters = &self.sim.counters;
                    Counters::one(if *attempt > 1 {
                        &counters.resends
                    } else {
                        &counters.recvs
                    });
                }
            }
            packets.push(frame);
        }
        self.output.packets(&packets, is_json, &self.settings);
        if !recvs.is_empty() {
            let mut record = self.sim.records();
            recvs.into_iter().for_each(|entry| record.add(entry));
        }
    }
}

fn in_json(packet: &Packet) -> String {
    match packet {
        Packet::Disconnect { reason, text } => rpc::disconnect(*reason, text),
        Packet::Event(event) => rpc::event(event),
        Packet::Recv(recv) => rpc::recv(recv),
        // Nothing else is said without being asked.
        _ => String::new(),
    }
}
