//! One session on one connection: emit, read, acknowledge, fetch, beat, drain.
//!
//! One loop does all of it, in this order: orders from outside, what is owed to the server, what was missed, and new work last
//! and only with credit.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use im_bridge_sdk::model::{Delivery, Event, RawDirection};
use im_bridge_sdk::{Context, Fault};
use tokio::select;

use super::conn::Conn;
use super::heart::Heart;
use super::login::Ready;
use super::pull::Pulls;
use super::{Ended, confirm, cursors, health, working};
use crate::book::{Item, Message, Offered};
use crate::native::channel::ChannelId;
use crate::native::packet::{Disconnect, Packet, Recv};
use crate::native::reason;
use crate::{WukongIm, inbound, locked};

/// Packets that are there already are taken together, so that what is owed to the server is written together, too.
const BURST: usize = 64;

/// Raw frames are for people who debug; beyond, the oldest are dropped.
const RAW_MAX: usize = 64;

/// How long to leave after a displacement: the server drops the session 2 s after it said so.
const LEAVE_WITHIN: Duration = Duration::from_millis(1_500);

/// Why reading has stopped.
enum Stopping {
    Draining,
    /// The server wants us to leave.
    Told {
        end: Disconnect,
        until: Duration,
    },
}

/// How reading ended.
pub enum Left {
    Ended(Ended),
    Told(Disconnect),
}

/// Everything that one session holds beside its connection.
struct Serving<'a> {
    wukongim: &'a WukongIm,
    cx: &'a Context,
    me: &'a str,
    session: u64,
    /// Told beside the messages; one a session, or two.
    gaps: VecDeque<Event>,
    raw: VecDeque<Event>,
    heart: Heart,
    stopping: Option<Stopping>,
    /// The state told last: degraded, catching up.
    told: Option<(bool, bool)>,
}

pub async fn serve(
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
        gaps: VecDeque::new(),
        raw: VecDeque::new(),
        heart: Heart::new(cx, wukongim.config.heartbeat()),
        stopping: None,
        told: None,
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
                .gaps
                .push_back(inbound::account_gap(me, since_ms, cx.now_ms()));
        }
        let is_unhealthy = wukongim.control.is_unhealthy();
        serving.report(is_unhealthy || pulls.is_failing, pulls.is_catching_up());
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
                Box::pin(conn.write([Packet::Ping])).await?;
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
            () = cx.ready(), if has_next || serving.has_aside() => Box::pin(serving.emit_aside()).await,
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
        self.report(false, true);
        pulls.catch_up(None);
        // OpenChat gives history of the configured channels at most, and nobody lists the others.
        if let Some(since_ms) = since_ms.filter(|_| !self.wukongim.config.has_native()) {
            self.gaps
                .push_back(inbound::account_gap(me, since_ms, cx.now_ms()));
        }
    }

    /// Tells the state when it changed: making it costs more than a message.
    fn report(&mut self, is_degraded: bool, is_catching_up: bool) {
        let now = Some((is_degraded, is_catching_up));
        if self.stopping.is_none() && self.told != now {
            self.told = now;
            self.cx
                .state(working(self.wukongim, self.me, is_degraded, is_catching_up));
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
                // In a box, as all that is rare: an idle session keeps room for the largest of what it may wait for.
                Some(item) => Box::pin(emit(self.wukongim, self.cx, self.me, item)).await,
                None => return,
            }
        }
    }

    /// Something waits that is no message.
    fn has_aside(&self) -> bool {
        !self.gaps.is_empty() || !self.raw.is_empty()
    }

    async fn emit_aside(&mut self) {
        if self.wukongim.book().has_next() {
            return;
        }
        if let Some(event) = self.gaps.pop_front().or_else(|| self.raw.pop_front()) {
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
                let owed = locked(&book).settled(&id, number, is_final);
                for (session, ack) in ack.filter(|_| is_final).into_iter().chain(owed) {
                    link.ack(session, ack);
                }
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
