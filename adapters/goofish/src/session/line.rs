//! The socket, and what was read from it and is not emitted yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use im_bridge_sdk::model::{Delivery, Event, RawDirection};
use im_bridge_sdk::websocket::{Message, Options, Reader, Writer};
use im_bridge_sdk::{Context, Emission, Noise};
use tokio::select;

use super::{HELD_MAX, Trouble};
use crate::inbound;
use crate::link::Link;
use crate::native::frame::Push;
use crate::native::item::{self, Item};
use crate::native::message;
use crate::progress::{Acknowledgement, Known, Pushed};
use crate::{Goofish, locked};

/// Raw frames are for people who debug; beyond, the oldest are dropped.
const RAW_MAX: usize = 64;

/// A peer that takes nothing for so long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// An own message is held back so long while a send is unanswered: only the answer tells whose it is.
const ECHO_WAIT: Duration = Duration::from_secs(2);

/// Real frames have some kilobytes, a page of the history some hundred.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

pub struct Line {
    pub reader: Reader,
    writer: Writer,
    pub held: VecDeque<Held>,
    pub raw: VecDeque<Event>,
}

/// What was read and is not emitted yet.
pub struct Held {
    item: Item,
    push: Arc<Pushed>,
    since: Duration,
}

pub async fn connect(goofish: &Goofish, cx: &Context) -> Result<Line, Trouble> {
    let config = &goofish.config;
    let mut options = Options::new(config.ws_url.as_str())
        .template("/")
        .message_max(FRAME_BYTES_MAX)
        .header("origin", "https://www.goofish.com")
        .header("user-agent", &config.user_agent)
        .header("cache-control", "no-cache")
        .header("pragma", "no-cache");
    if config.handshake_cookies {
        options = options.header("cookie", goofish.cookie_header());
    }
    let (reader, writer) = cx.websocket("connect", options).await?;
    Ok(Line {
        reader,
        writer,
        held: VecDeque::new(),
        raw: VecDeque::new(),
    })
}

/// The next frame, when it may be read: there is credit for what it may hold, or somebody waits for an answer.
pub async fn read(
    cx: &Context,
    link: &Link,
    reader: &mut Reader,
    answers_only: bool,
) -> Result<String, Trouble> {
    select! {
        biased;
        () = cx.ready(), if !answers_only => {}
        () = link.is_awaited() => {}
    }
    Ok(match reader.next().await? {
        Message::Text(text) => text.to_string(),
        // The provider's own client takes JSON in a binary message, too.
        Message::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    })
}

impl Line {
    pub async fn write(&self, cx: &Context, frames: Vec<String>) -> Result<(), Trouble> {
        match cx.timeout(WRITE_WITHIN, self.writer.texts(frames)).await {
            Some(written) => Ok(written?),
            None => Err(Trouble::lost(
                "timeout",
                "the provider takes nothing any more",
            )),
        }
    }

    pub async fn close(self) {
        self.reader.close(1000, "").await;
    }

    /// Takes what a push holds. One that holds nothing is acknowledged at once.
    pub fn hold(&mut self, goofish: &Goofish, cx: &Context, push: Push) {
        if push.is_malformed {
            goofish.metrics.odd_frame();
        }
        // The provider skipped something.
        if matches!(push.extra_type, Some(1 | 2)) {
            goofish.wants_resync();
        }
        let items: Vec<Item> = push.items.iter().flat_map(item::read).collect();
        for item in &items {
            goofish.metrics.item(item);
            if let Item::Undecodable { object_type, bytes } = item {
                tracing::warn!(
                    object_type,
                    bytes,
                    "an item that cannot be decoded was passed over; the history is asked"
                );
                goofish.wants_resync();
            }
        }
        let items: Vec<Item> = items
            .into_iter()
            .filter(|item| !matches!(item, Item::Undecodable { .. }))
            .collect();
        let acknowledgement = Acknowledgement {
            connection: goofish.link.connection(),
            text: push.acknowledgement,
            max_pts: push.max_pts,
        };
        if items.is_empty() {
            acknowledge(goofish, [acknowledgement]);
            return;
        }
        let push = Pushed::new(acknowledgement, items.len());
        let since = cx.elapsed();
        let held = |item| Held {
            item,
            push: Arc::clone(&push),
            since,
        };
        self.held.extend(items.into_iter().map(held));
    }

    /// The first of what is held may be emitted. What was missed goes before it, or a conversation's messages would be
    /// stored out of order; only when no more can be held, and an answer may lie behind it, is one let through.
    pub fn may_emit(&self, goofish: &Goofish, cx: &Context, is_catching_up: bool) -> bool {
        let is_its_turn = !is_catching_up || self.held.len() >= HELD_MAX;
        !self.held.is_empty() && is_its_turn && self.echo_wait(goofish, cx).is_none()
    }

    /// How long the first of what is held, an own message, waits for the answer to a send.
    pub fn echo_wait(&self, goofish: &Goofish, cx: &Context) -> Option<Duration> {
        let Held {
            item: Item::Message(message),
            since,
            ..
        } = self.held.front()?
        else {
            return None;
        };
        let is_own = message.sender.as_deref() == Some(&*goofish.me());
        let waits = is_own && locked(&goofish.sends).is_unsettled(message);
        let left = (*since + ECHO_WAIT).saturating_sub(cx.elapsed());
        (waits && !left.is_zero()).then_some(left)
    }

    /// Emits the first of what is held.
    pub async fn bring(&mut self, goofish: &Goofish, cx: &Context) {
        let Some(Held { item, push, .. }) = self.held.pop_front() else {
            return;
        };
        let me = goofish.me();
        if let Item::Message(message) = &item {
            bring_message(goofish, cx, &me, message, push).await;
            return;
        }
        let conversation = match &item {
            Item::Read { conversation, .. } => conversation.as_deref(),
            _ => None,
        };
        let peer = conversation.and_then(|id| locked(&goofish.peers).of(id).map(str::to_owned));
        let noise = if matches!(item, Item::Typing { .. }) {
            Noise::Aux
        } else {
            Noise::Event
        };
        match inbound::other(&me, &item, peer.as_deref()) {
            Some(event) => {
                emit(
                    goofish,
                    cx,
                    Emission::from(event).noise(noise),
                    None,
                    Some(push),
                )
                .await
            }
            None => acknowledge(goofish, push.settled(true)),
        }
    }

    /// Keeps a frame for people who debug, if they want it.
    pub fn note(&mut self, goofish: &Goofish, direction: RawDirection, text: &str) {
        if !goofish.config.raw_frames {
            return;
        }
        if self.raw.len() >= RAW_MAX {
            self.raw.pop_front();
        }
        self.raw
            .push_back(inbound::raw::frame(&goofish.me(), direction, text));
    }

    pub async fn emit_raw(&mut self, cx: &Context) {
        if let Some(event) = self.raw.pop_front() {
            cx.send(event).await;
        }
    }
}

async fn bring_message(
    goofish: &Goofish,
    cx: &Context,
    me: &str,
    message: &message::Message,
    push: Arc<Pushed>,
) {
    locked(&goofish.peers).learn_from(me, message);
    let known = goofish.progress().know(&message.id);
    match known {
        Known::Safe => acknowledge(goofish, push.settled(true)),
        Known::UnderWay => goofish.progress().wait_for(&message.id, push),
        Known::No => {
            let event = goofish.message_event(me, message, Delivery::Live);
            let known = Some((message.id.clone(), goofish.stored_ms(cx, message)));
            emit(goofish, cx, Emission::from(event), known, Some(push)).await;
        }
    }
}

/// Emits an event; once it is stored, the cursor moves and the provider is told.
pub async fn emit(
    goofish: &Goofish,
    cx: &Context,
    emission: Emission,
    message: Option<(String, i64)>,
    push: Option<Arc<Pushed>>,
) {
    let sent = cx.send(emission).await;
    let known = message.as_ref().map(|(id, at_ms)| (id.as_str(), *at_ms));
    goofish.progress().sent(known);
    let after = goofish.after_settle();
    sent.on_settled(move |outcome| {
        let is_safe = outcome.is_final();
        let own = push.and_then(|push| push.settled(is_safe));
        let id = message.as_ref().map(|(id, _)| id.as_str());
        let others = locked(&after.progress).settled(id, is_safe);
        for acknowledgement in own.into_iter().chain(others) {
            after.acknowledge(acknowledgement);
        }
        if !is_safe {
            after.wants_resync();
        }
        after.settled.notify_waiters();
    });
}

/// Tells the provider.
fn acknowledge(goofish: &Goofish, all: impl IntoIterator<Item = Acknowledgement>) {
    let after = goofish.after_settle();
    for acknowledgement in all {
        after.acknowledge(acknowledgement);
    }
}
