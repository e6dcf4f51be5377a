//! What was missed: the conversations that changed since the cursor, and of each the history back to it.
//!
//! The provider's own replay is not relied on, because nobody knows what it does. What can't be fetched is announced as a
//! gap. Where to begin is `cursor.rs`.

use std::time::Duration;

use im_bridge_sdk::model::{Delivery, GapReason};
use im_bridge_sdk::{Context, Emission, KvError, Noise, Trace};
use serde::Serialize;

use super::line::emit;
use crate::link::{AskError, Asker};
use crate::native::answers::{Conversation, Page};
use crate::native::calls::{self, FIRST_CURSOR, HISTORY, LIST};
use crate::native::frame::Reply;
use crate::native::message::Message;
use crate::progress::Known;
use crate::{Goofish, inbound, locked};

const LIST_PAGE: u32 = 50;
const HISTORY_PAGE: u32 = 50;
/// Pages of the list, and of one conversation's history; beyond, a gap is announced.
const LIST_PAGES_MAX: usize = 40;
const HISTORY_PAGES_MAX: usize = 40;

/// Waits before asking again when the provider asks to slow down.
const SLOWER: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(6),
];

/// What to fetch.
pub struct Wanted {
    /// Since this time; none: since the cursor, and only what was not seen.
    pub since_ms: Option<i64>,
    /// Of this conversation only.
    pub conversation: Option<String>,
    pub delivery: Delivery,
}

/// What was fetched.
#[derive(Debug, Default)]
pub struct Synced {
    pub count: u64,
    pub first: Option<String>,
    pub last: Option<String>,
}

impl Synced {
    fn add(&mut self, message: &Message) {
        self.count += 1;
        let Some(key) = inbound::order_key(message) else {
            return;
        };
        if self.first.as_ref().is_none_or(|first| key < *first) {
            self.first = Some(key.clone());
        }
        if self.last.as_ref().is_none_or(|last| key > *last) {
            self.last = Some(key);
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// Fetches and emits.
pub async fn sync(goofish: &Goofish, cx: &Context, wanted: &Wanted) -> Result<Synced, SyncError> {
    let (cursor_ms, since_ms) = {
        let progress = goofish.progress();
        (progress.at_ms(), progress.since_ms())
    };
    let mut look = Look {
        goofish,
        cx,
        wanted,
        since_ms: wanted.since_ms.unwrap_or(since_ms),
        until_ms: goofish.provider_ms(cx),
        synced: Synced::default(),
    };
    let conversations = match &wanted.conversation {
        Some(one) => vec![one.clone()],
        None => look.changed().await?,
    };
    for id in &conversations {
        look.history(id).await?;
    }
    let Look {
        until_ms, synced, ..
    } = look;
    if synced.count > 0 {
        let from_ms = wanted.since_ms.unwrap_or(cursor_ms);
        let scope = wanted.conversation.as_deref();
        cx.send(inbound::completed(
            &goofish.me(),
            scope,
            from_ms,
            until_ms,
            synced.count,
        ))
        .await;
    }
    Ok(synced)
}

/// One look for what was missed.
struct Look<'a> {
    goofish: &'a Goofish,
    cx: &'a Context,
    wanted: &'a Wanted,
    since_ms: i64,
    until_ms: i64,
    synced: Synced,
}

impl Look<'_> {
    /// Conversations in which something happened since, the longest quiet first.
    async fn changed(&self) -> Result<Vec<String>, SyncError> {
        let me = self.goofish.me();
        let (mut all, mut cursor) = (Vec::new(), FIRST_CURSOR);
        for page_number in 1.. {
            let body = calls::list(cursor, LIST_PAGE);
            let Some((reply, _)) = self.ask(LIST, &body, None).await? else {
                break;
            };
            let page = Page::conversations(&reply.body);
            let since_ms = self.since_ms;
            let is_recent =
                |one: &&Conversation| one.modified_ms.is_none_or(|at_ms| at_ms >= since_ms);
            let before = all.len();
            for one in page.all.iter().filter(is_recent) {
                locked(&self.goofish.peers).learn(&me, one);
                all.push(one.id.clone());
            }
            let is_all_recent = all.len() - before == page.all.len();
            match page.next.filter(|next| *next < cursor && is_all_recent) {
                Some(_) if page_number >= LIST_PAGES_MAX => {
                    self.announce(None, self.until_ms, GapReason::Overflow)
                        .await;
                    break;
                }
                Some(next) => cursor = next,
                None => break,
            }
        }
        all.reverse();
        Ok(all)
    }

    /// The history of a conversation, emitted from the oldest on.
    async fn history(&mut self, conversation: &str) -> Result<(), SyncError> {
        let (mut all, mut cursor, mut trace) = (Vec::new(), FIRST_CURSOR, Trace::NONE);
        for page_number in 1.. {
            let body = calls::history(conversation, cursor, HISTORY_PAGE);
            let Some((reply, found_by)) = self.ask(HISTORY, &body, Some(conversation)).await?
            else {
                break;
            };
            trace = found_by;
            let page = Page::messages(&reply.body);
            let since_ms = self.since_ms;
            let is_recent = |one: &Message| one.at_ms.is_none_or(|at_ms| at_ms >= since_ms);
            let (before, got) = (all.len(), page.all.len());
            all.extend(page.all.into_iter().filter(is_recent));
            let is_all_recent = all.len() - before == got;
            match page.next.filter(|next| *next < cursor && is_all_recent) {
                Some(next) if page_number >= HISTORY_PAGES_MAX => {
                    let oldest_ms = all.last().and_then(|oldest| oldest.at_ms).unwrap_or(next);
                    self.announce(Some(conversation), oldest_ms, GapReason::Overflow)
                        .await;
                    break;
                }
                Some(next) => cursor = next,
                None => break,
            }
        }
        // Newest first, and one may stand at the end of a page and at the beginning of the next.
        all.reverse();
        all.dedup_by(|a, b| a.id == b.id);
        for message in &all {
            self.bring(message, trace).await;
        }
        Ok(())
    }

    async fn bring(&mut self, message: &Message, trace: Trace) {
        let Self {
            goofish,
            cx,
            wanted,
            ..
        } = *self;
        let me = goofish.me();
        locked(&goofish.peers).learn_from(&me, message);
        let is_known = goofish.progress().know(&message.id) != Known::No;
        if is_known && wanted.delivery == Delivery::Backfill {
            return;
        }
        self.synced.add(message);
        let event = goofish.message_event(&me, message, wanted.delivery);
        let emission = Emission::from(event).noise(Noise::Poll).trace(trace);
        // What is told again on purpose moves nothing.
        let counted = (!is_known).then(|| (message.id.clone(), goofish.stored_ms(cx, message)));
        emit(goofish, cx, emission, counted, None).await;
    }

    /// A request; slower when the provider asks for it. None when it says no for good, which is announced.
    async fn ask(
        &self,
        lwp: &str,
        body: &impl Serialize,
        conversation: Option<&str>,
    ) -> Result<Option<(Reply, Trace)>, SyncError> {
        let limit = self.goofish.config.request_timeout();
        let mut slower = SLOWER.iter();
        loop {
            let mut op = self.cx.op("catch_up", Noise::Poll);
            op.detail(lwp.to_owned());
            let asked = self
                .goofish
                .link
                .ask(self.cx, Asker::Session, limit, lwp, body, || {});
            let error = match asked.await {
                Ok(reply) => return Ok(Some((reply, op.hit(1)))),
                Err(error) => error,
            };
            let AskError::Refused(refusal) = &error else {
                op.fail(&error);
                return Err(error.into());
            };
            if refusal.is_flow_control()
                && let Some(wait) = slower.next()
            {
                op.empty();
                self.cx.sleep(*wait).await;
                continue;
            }
            op.fail(&error);
            if refusal.is_flow_control() || refusal.is_unauthorized() || !refusal.is_certain() {
                return Err(error.into());
            }
            self.announce(conversation, self.until_ms, GapReason::NoHistory)
                .await;
            return Ok(None);
        }
    }

    /// What can't be had. A replay takes what there is.
    async fn announce(&self, conversation: Option<&str>, until_ms: i64, reason: GapReason) {
        if self.wanted.delivery == Delivery::Backfill {
            let me = self.goofish.me();
            let gap = inbound::gap(&me, conversation, self.since_ms, until_ms, reason);
            self.cx.send(gap).await;
        }
    }
}
