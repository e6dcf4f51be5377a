//! One session after another: fetch a token, connect, log in, fetch what was missed, read, acknowledge, drain.
//!
//! The server is acknowledged, and a cursor moved, only after an event is stored; whatever ends a session before that, the
//! message is fetched by the next one. Without credit nothing is read, except while a command waits for its answer on the
//! same connection: then at most [`HELD_MAX`] messages are held. Heartbeats and acknowledgements are written all the time.
//!
//! Displaced by another login, the session acknowledges what it has, leaves by itself, and does not come back: the server
//! would not close, and two that come back displace each other for ever.
//!
//! Not here: what a message means (`inbound.rs`), what commands ask (`outbound.rs`), reconnecting with back-off, which is
//! the SDK's: a session that ends with a fault to retry is begun again.

mod confirm;
mod conn;
mod control;
mod cursors;
pub mod health;
mod heart;
mod login;
mod pull;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use im_bridge_sdk::model::{Delivery, ErrorCode, ErrorObject, Event, RawDirection};
use im_bridge_sdk::{Context, Fault, State};
use tokio::select;

use crate::book::{Item, Message, Offered};
use crate::config::{OnKick, Receive};
use crate::native::channel::ChannelId;
use crate::native::packet::{Disconnect, Packet, Recv};
use crate::native::reason;
use crate::{WukongIm, describe, inbound, locked};

#[allow(unused_imports, reason = "the page above names it")]
use crate::book::HELD_MAX;
use conn::Conn;
use heart::Heart;
use login::{Failed, Ready};
use pull::Pulls;

pub use confirm::Confirms;
pub use control::{Control, Ending};
pub use login::Login;
pub use pull::{message as record_message, read as read_history};

/// Packets that are there already are taken together, so that what is owed to the server is written together, too.
const BURST: usize = 64;

/// Raw frames are for people who debug; beyond, the oldest are dropped.
const RAW_MAX: usize = 64;

/// How long to leave after a displacement: the server drops the session 2 s after it said so.
const LEAVE_WITHIN: Duration = Duration::from_millis(1_500);

/// Connections in a row that are closed at once before waiting between them.
const UNSERVED_MAX: u32 = 3;

/// Logins refused in silence before the token is suspected.
const SILENT_MAX: u32 = 2;

/// At least so long between two of them.
const SILENT_WAIT: Duration = Duration::from_secs(5);

/// How a session ended when nothing went wrong.
enum Ended {
    Drained,
    /// Begin the next one at once.
    Again,
    /// As somebody asked.
    Asked(Ending),
}

/// Why reading has stopped.
enum Stopping {
    Draining,
    /// The server wants us to leave.
    Told {
        end: Disconnect,
        until: Duration,
    },
}

pub async fn run(wukongim: &WukongIm, cx: &Context) -> Result<(), Fault> {
    let _run = wukongim.control.run();
    if wukongim.control.loaded().is_none() {
        let since_ms = cursors::load(wukongim, cx).await?;
        wukongim.control.set_loaded(since_ms);
    }
    let mut unserved = 0;
    loop {
        if let Some(ending) = wukongim.control.take_ending() {
            obey(wukongim, cx, ending).await?;
        }
        let ended = match wukongim.config.receive {
            Receive::Connection => session(wukongim, cx, &mut unserved).await?,
            Receive::Webhook => without_connection(wukongim, cx).await?,
        };
        match ended {
            Ended::Drained => return Ok(()),
            Ended::Again => {}
            Ended::Asked(ending) => obey(wukongim, cx, ending).await?,
        }
    }
}

async fn obey(wukongim: &WukongIm, cx: &Context, ending: Ending) -> Result<(), Fault> {
    match ending {
        Ending::Reconnect => Ok(()),
        Ending::Login => {
            login::start_anew(wukongim, cx).await;
            Ok(())
        }
        Ending::LogOut => Err(Fault::stopped(State::logged_out(), "logged out as asked")),
    }
}

/// With HTTP pushes there is nothing to connect to: events come by `webhook.rs`.
async fn without_connection(wukongim: &WukongIm, cx: &Context) -> Result<Ended, Fault> {
    let me = match wukongim.uid() {
        Some(uid) => uid,
        None => login::prepare(wukongim, cx).await?.uid,
    };
    let mut watching = pin!(health::watch(wukongim, cx));
    let mut confirming = pin!(confirm::watch(wukongim, cx));
    loop {
        let is_unhealthy = wukongim.control.is_unhealthy();
        cx.state(working(wukongim, &me, is_unhealthy, false));
        select! {
            biased;
            () = cx.draining() => return Ok(Ended::Drained),
            ending = wukongim.control.ending() => return Ok(Ended::Asked(ending)),
            () = wukongim.control.health_other_than(is_unhealthy) => {}
            () = &mut watching => {}
            () = &mut confirming => {}
        }
    }
}

async fn session(wukongim: &WukongIm, cx: &Context, unserved: &mut u32) -> Result<Ended, Fault> {
    let (ready, mut conn) = select! {
        biased;
        () = cx.draining() => return Ok(Ended::Drained),
        ending = wukongim.control.ending() => return Ok(Ended::Asked(ending)),
        opened = open(wukongim, cx) => opened?,
    };
    let logged_in = select! {
        biased;
        () = cx.draining() => return Ok(Ended::Drained),
        ending = wukongim.control.ending() => return Ok(Ended::Asked(ending)),
        logged_in = login::login(wukongim, cx, &mut conn, &ready) => logged_in,
    };
    if let Err(failed) = logged_in {
        conn.close().await;
        return refused(wukongim, cx, failed, unserved).await;
    }
    *unserved = 0;
    let ended = serve(wukongim, cx, &mut conn, &ready).await;
    conn.close().await;
    wukongim.book().end_fetching(cx.elapsed());
    match ended? {
        Left::Ended(ended) => Ok(ended),
        Left::Told(end) => told(wukongim, cx, &end).await,
    }
}

async fn open<'a>(wukongim: &'a WukongIm, cx: &'a Context) -> Result<(Ready, Conn<'a>), Fault> {
    let ready = login::prepare(wukongim, cx).await?;
    cx.state(
        State::connecting()
            .self_id(ready.uid.as_str())
            .transport(wukongim.config.transport_name()),
    );
    match Conn::open(wukongim, cx, &ready.address).await {
        Ok(conn) => Ok((ready, conn)),
        Err(fault) => {
            locked(&wukongim.login).failed_connects += 1;
            Err(fault)
        }
    }
}

async fn refused(
    wukongim: &WukongIm,
    cx: &Context,
    failed: Failed,
    unserved: &mut u32,
) -> Result<Ended, Fault> {
    match failed {
        Failed::Fault(fault) => Err(fault),
        Failed::Unserved => {
            *unserved += 1;
            if *unserved < UNSERVED_MAX {
                return Ok(Ended::Again);
            }
            *unserved = 0;
            Err(Fault::retry(
                "network",
                "the server closes connections at once",
            ))
        }
        Failed::Silent => {
            let silent_logins = {
                let mut login = locked(&wukongim.login);
                login.silent_logins += 1;
                login.silent_logins
            };
            if silent_logins < SILENT_MAX {
                return Err(Fault::retry(
                    "login_unanswered",
                    "the server does not answer CONNECT: it refused, or it is unwell",
                )
                .not_before(SILENT_WAIT));
            }
            locked(&wukongim.login).silent_logins = 0;
            if login::forget_token(wukongim, cx).await {
                return Ok(Ended::Again);
            }
            let text = "the server closed two connections without an answer to CONNECT: the token is refused, or it is \
                registered for another device_flag; or the server is unwell";
            wait_refused(wukongim, cx, text).await
        }
        Failed::Refused(reason::KICKED) => {
            told(
                wukongim,
                cx,
                &Disconnect {
                    reason: reason::KICKED,
                    text: String::new(),
                },
            )
            .await
        }
        Failed::Refused(code) if reason::is_identity(code) => {
            if login::forget_token(wukongim, cx).await {
                return Ok(Ended::Again);
            }
            let text = format!("login refused: {} (reason {code})", reason::name(code));
            Err(Fault::stopped(bad_credentials(&text), text))
        }
        Failed::Refused(code) => Err(Fault::retry(
            "provider_unavailable",
            format_args!("login refused: {} (reason {code})", reason::name(code)),
        )),
    }
}

fn bad_credentials(text: &str) -> State {
    let error = ErrorObject::new(ErrorCode::BadCredentials, true, text);
    State::bad_credentials().error(&error)
}

/// Nobody knows whether it was the token: a person is told, and it is tried again after a long time.
async fn wait_refused(wukongim: &WukongIm, cx: &Context, text: &str) -> Result<Ended, Fault> {
    let wait = Duration::from_secs(wukongim.config.auth_retry_s.into());
    tracing::error!(wait_s = wait.as_secs(), "{text}");
    cx.state(bad_credentials(text));
    pause(wukongim, cx, wait).await
}

async fn pause(wukongim: &WukongIm, cx: &Context, wait: Duration) -> Result<Ended, Fault> {
    select! {
        biased;
        () = cx.draining() => Ok(Ended::Drained),
        ending = wukongim.control.ending() => Ok(Ended::Asked(ending)),
        () = cx.sleep(wait) => Ok(Ended::Again),
    }
}

/// The server sent us away.
async fn told(wukongim: &WukongIm, cx: &Context, end: &Disconnect) -> Result<Ended, Fault> {
    let why = reason::name(end.reason);
    let text = if end.text.is_empty() {
        format!("the server sent this login away: {why}")
    } else {
        format!("the server sent this login away: {why}: {}", end.text)
    };
    match (end.reason, wukongim.config.on_kick) {
        (reason::KICKED, OnKick::Stop) => Err(Fault::stopped(State::conflicted(), text)),
        (reason::KICKED, OnKick::Pause) => {
            tracing::warn!("{text}");
            cx.state(State::conflicted());
            login::start_anew(wukongim, cx).await;
            let wait = Duration::from_secs(wukongim.config.kick_pause_s.into());
            pause(wukongim, cx, wait).await
        }
        (code, _) if reason::is_identity(code) => Err(Fault::stopped(bad_credentials(&text), text)),
        _ => Err(Fault::retry("provider_unavailable", text)),
    }
}

/// A state in which commands run.
fn working(wukongim: &WukongIm, me: &str, is_degraded: bool, is_catching_up: bool) -> State {
    let state = if is_catching_up {
        State::catching_up()
    } else if is_degraded {
        State::degraded("api_unavailable")
    } else {
        State::online()
    };
    let server_version = locked(&wukongim.login).server_version;
    state
        .self_id(me)
        .transport(wukongim.config.transport_name())
        .capabilities(describe::patch(&wukongim.config, server_version))
}

/// How reading ended.
enum Left {
    Ended(Ended),
    Told(Disconnect),
}

/// Everything that one session holds beside its connection.
struct Serving<'a> {
    wukongim: &'a WukongIm,
    cx: &'a Context,
    me: &'a str,
    session: u64,
    raw: VecDeque<Event>,
    heart: Heart,
    stopping: Option<Stopping>,
}

async fn serve(
    wukongim: &WukongIm,
    cx: &Context,
    conn: &mut Conn<'_>,
    ready: &Ready,
) -> Result<Left, Fault> {
    let me = ready.uid.as_str();
    let open = wukongim.link.open();
    let mut serving = Serving {
        wukongim,
        cx,
        me,
        session: open.session,
        raw: VecDeque::new(),
        heart: Heart::new(cx, wukongim.config.heartbeat()),
        stopping: None,
    };
    let since_ms = wukongim.control.loaded().flatten();
    let mut pulls = Pulls::new(wukongim, cx, me, since_ms);
    wukongim.control.set_behind(true);
    serving.begin(&mut pulls, since_ms);
    let mut keeping = pin!(cursors::keep(wukongim, cx));
    let mut watching = pin!(health::watch(wukongim, cx));
    let mut confirming = pin!(confirm::watch(wukongim, cx));
    let mut is_behind = true;
    loop {
        serving.emit_ready().await;
        if let Some(left) = serving.is_done() {
            let is_up_to_date = !is_behind && matches!(left, Left::Ended(Ended::Drained));
            cursors::save(wukongim, cx, is_up_to_date).await;
            return Ok(left);
        }
        if is_behind && !pulls.is_catching_up() {
            is_behind = false;
            wukongim.control.set_behind(false);
            wukongim.control.set_loaded(Some(cx.now_ms()));
            cursors::save(wukongim, cx, true).await;
        }
        if let Some(since_ms) = pulls.take_given_up() {
            serving
                .raw
                .push_back(inbound::account_gap(me, since_ms, cx.now_ms()));
        }
        let is_unhealthy = wukongim.control.is_unhealthy();
        if serving.stopping.is_none() {
            let is_degraded = is_unhealthy || pulls.is_failing;
            cx.state(working(wukongim, me, is_degraded, pulls.is_catching_up()));
        }
        let (is_reading, has_next, next_due) = {
            let book = wukongim.book();
            (!book.is_full(), book.has_next(), book.next_due())
        };
        let is_stopping = serving.stopping.is_some();
        let wait = serving.wait(next_due);
        select! {
            biased;
            () = cx.draining(), if !is_stopping => serving.stop(Stopping::Draining, &mut pulls),
            ending = wukongim.control.ending(), if !is_stopping => {
                return Ok(Left::Ended(Ended::Asked(ending)));
            }
            // What is owed to the server: acknowledgements, messages, heartbeats.
            batch = wukongim.link.next_batch() => {
                let acks = batch.acks.into_iter().map(Packet::RecvAck);
                let packets: Vec<Packet> = acks.chain(batch.sends.into_iter().map(Packet::Send)).collect();
                for packet in &packets {
                    serving.note(RawDirection::Out, packet);
                }
                conn.write(packets).await?;
            }
            () = serving.heart.beats() => {
                serving.heart.beat(cx)?;
                conn.write([Packet::Ping]).await?;
            }
            () = &mut keeping => {}
            () = &mut watching => {}
            () = &mut confirming => {}
            () = wukongim.control.health_other_than(is_unhealthy) => {}
            () = wukongim.settled.notified(), if is_stopping => {}
            orders = wukongim.link.next_syncs(), if !is_stopping => {
                for order in orders {
                    pulls.order(order);
                }
            }
            () = pulls.next(), if !is_stopping && !has_next => {}
            () = cx.sleep(wait.unwrap_or_default()), if wait.is_some() => {
                if !is_stopping {
                    let holes = wukongim.book().overdue(cx.elapsed());
                    for hole in holes {
                        pulls.hole(hole);
                    }
                }
            }
            // New work last, and only with credit.
            () = cx.ready(), if has_next || !serving.raw.is_empty() => serving.emit_raw().await,
            packet = read(cx, wukongim, conn, is_stopping), if is_reading => {
                serving.packet(packet?, &mut pulls);
                for _ in 0..BURST {
                    if serving.stopping.is_some() || wukongim.book().is_full() {
                        break;
                    }
                    match conn.next_now()? {
                        Some(packet) => serving.packet(packet, &mut pulls),
                        None => break,
                    }
                }
            }
        }
    }
}

/// The next packet, when it may be read: there is credit for what it may hold, or somebody waits for an answer.
async fn read(
    cx: &Context,
    wukongim: &WukongIm,
    conn: &mut Conn<'_>,
    answers_only: bool,
) -> Result<Packet, Fault> {
    select! {
        biased;
        () = cx.ready(), if !answers_only => {}
        () = wukongim.link.is_awaited() => {}
    }
    conn.next().await
}

impl Serving<'_> {
    /// Fetches what was missed, or says that it cannot be.
    fn begin(&mut self, pulls: &mut Pulls<'_>, since_ms: Option<i64>) {
        let (cx, me) = (self.cx, self.me);
        cx.state(working(self.wukongim, me, false, true));
        pulls.catch_up(None);
        let is_impossible = !pulls.is_catching_up() && !self.wukongim.config.has_native();
        if let Some(since_ms) = since_ms.filter(|_| is_impossible) {
            self.raw
                .push_back(inbound::account_gap(me, since_ms, cx.now_ms()));
        }
    }

    fn stop(&mut self, stopping: Stopping, pulls: &mut Pulls<'_>) {
        pulls.stop();
        // What was read goes out; what is missing before it is fetched by the next session.
        self.wukongim.book().let_go();
        self.stopping = Some(stopping);
    }

    /// Settled before idle: the last one to be settled is acknowledged by then.
    fn is_done(&mut self) -> Option<Left> {
        let is_all_settled = self.wukongim.book().is_all_settled();
        let is_finished = is_all_settled && self.wukongim.link.is_idle();
        match self.stopping.take() {
            Some(Stopping::Draining) if is_finished => Some(Left::Ended(Ended::Drained)),
            Some(Stopping::Told { end, until }) if is_finished || self.cx.elapsed() >= until => {
                Some(Left::Told(end))
            }
            other => {
                self.stopping = other;
                None
            }
        }
    }

    /// Until something is overdue.
    fn wait(&self, next_due: Option<Duration>) -> Option<Duration> {
        let due = match &self.stopping {
            Some(Stopping::Told { until, .. }) => Some(*until),
            Some(Stopping::Draining) => None,
            None => next_due,
        };
        due.map(|due| due.saturating_sub(self.cx.elapsed()))
    }

    fn packet(&mut self, packet: Packet, pulls: &mut Pulls<'_>) {
        self.note(RawDirection::In, &packet);
        match packet {
            // While stopping only answers are waited for; what else comes is fetched by the next session.
            Packet::Recv(_) if self.stopping.is_some() => {}
            Packet::Recv(recv) => {
                self.heart.heard();
                self.recv(recv);
            }
            Packet::SendAck(answer) => {
                let seq = answer.message_seq;
                let is_stored = answer.reason == reason::SUCCESS;
                if let Some(channel) = self.wukongim.link.answered(answer)
                    && is_stored
                {
                    let now = self.cx.elapsed();
                    self.wukongim.book().own(&channel, seq, now);
                }
            }
            Packet::Pong => self.heart.answered(),
            Packet::Disconnect(end) => {
                let until = self.cx.elapsed() + LEAVE_WITHIN;
                self.stop(Stopping::Told { end, until }, pulls);
            }
            Packet::Event(event) if self.raw.len() < RAW_MAX => {
                self.raw.push_back(inbound::stream_event(self.me, &event));
            }
            _ => {}
        }
    }

    fn recv(&mut self, recv: Recv) {
        let (wukongim, now) = (self.wukongim, self.cx.elapsed());
        let ack = recv.ack();
        let mut book = wukongim.book();
        let id =
            ChannelId::of_message(self.me, recv.channel_type, &recv.channel_id, &recv.from_uid);
        let message = Message {
            channel: book.id(id),
            seq: recv.message_seq,
            message_id: recv.message_id,
            from_uid: recv.from_uid,
            client_msg_no: recv.client_msg_no,
            time_ms: i64::from(recv.timestamp_s) * 1000,
            flags: recv.flags,
            setting: recv.setting,
            topic: recv.topic,
            expire_s: recv.expire_s,
            payload: recv.payload,
            delivery: Delivery::Live,
            ack: Some((self.session, ack)),
        };
        let offered = book.offer(message, now, wukongim.config.reorder());
        drop(book);
        if offered == Offered::Safe {
            wukongim.link.ack(self.session, ack);
        }
    }

    /// Emits what is in order, as far as credit goes.
    async fn emit_ready(&mut self) {
        while self.cx.has_credit() {
            let next = self.wukongim.book().next();
            match next {
                Some(item) => emit(self.wukongim, self.cx, self.me, item).await,
                None => return,
            }
        }
    }

    async fn emit_raw(&mut self) {
        if !self.wukongim.book().has_next()
            && let Some(event) = self.raw.pop_front()
        {
            self.cx.send(event).await;
        }
    }

    fn note(&mut self, direction: RawDirection, packet: &Packet) {
        if self.wukongim.config.raw_frames {
            if self.raw.len() >= RAW_MAX {
                self.raw.pop_front();
            }
            self.raw
                .push_back(inbound::raw_frame(self.me, direction, packet));
        }
    }
}

/// Emits one item; once it is stored, the cursor moves and the server is told.
async fn emit(wukongim: &WukongIm, cx: &Context, me: &str, item: Item) {
    let book = Arc::clone(&wukongim.book);
    let settled = Arc::clone(&wukongim.settled);
    match item {
        Item::Message(message) => {
            let (id, number, ack) = (Arc::clone(&message.channel), message.number(), message.ack);
            let link = wukongim.link.clone();
            let event = {
                let mut sent = locked(&wukongim.sent);
                inbound::event(me, message, &mut sent)
            };
            cx.send(event).await.on_settled(move |outcome| {
                let is_final = outcome.is_final();
                // First: whoever sees that all is settled goes when nothing is left to write.
                if let Some((session, ack)) = ack.filter(|_| is_final) {
                    link.ack(session, ack);
                }
                locked(&book).settled(&id, number, is_final);
                settled.notify_waiters();
            });
        }
        Item::Gap {
            channel,
            numbers,
            reason,
        } => {
            let event = inbound::gap(me, &channel, numbers, reason);
            cx.send(event).await.on_settled(move |_| {
                locked(&book).told();
                settled.notify_waiters();
            });
        }
        Item::Fetched {
            channel,
            numbers,
            count,
        } => {
            let event = inbound::completed(me, &channel, numbers, count);
            cx.send(event).await.on_settled(move |_| {
                locked(&book).told();
                settled.notify_waiters();
            });
        }
    }
}
