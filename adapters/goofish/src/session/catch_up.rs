//! What was missed: the conversations that changed since the cursor, and of each the history back to it.
//!
//! The provider's own replay is not relied on, because nobody knows what it does. What can't be fetched is announced as a
//! gap. The cursor is kept with the account at most once a second and at the end; an older one costs only a look.

use std::time::Duration;

use im_bridge_sdk::model::{Delivery, GapReason};
use im_bridge_sdk::{Context, Emission, KvError, Noise, Trace};
use serde::Serialize;

use super::line::emit;
use crate::link::{AskError, Asker};
use crate::native::calls::{self, Conversation, FIRST_CURSOR, HISTORY, LIST, Page};
use crate::native::frame::Reply;
use crate::native::message::Message;
use crate::progress::{Cursor, Known};
use crate::{Goofish, inbound, locked};

const CURSOR: &str = "cursor/inbox";
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_WITHIN: Duration = Duration::from_secs(2);

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

/// Goes on from the cursor that is kept; false when the account was never here: it has nothing to miss and begins now.
pub async fn begin(goofish: &Goofish, cx: &Context) -> Result<bool, SyncError> {
    if goofish.progress().is_begun() {
        return Ok(true);
    }
    let kept = match cx.kv().get::<Cursor>(CURSOR).await {
        Ok(kept) => kept,
        Err(KvError::Unsupported) => None,
        Err(KvError::Malformed(error)) => {
            tracing::warn!(%error, "the cursor cannot be read; what was missed is not fetched");
            None
        }
        Err(error) => return Err(error.into()),
    };
    let was_here = kept.is_some();
    match kept {
        Some(kept) => goofish.progress().resume(kept.value),
        None => {
            let now_ms = goofish.provider_ms(cx);
            goofish.progress().begin(now_ms);
            save_cursor(goofish, cx).await;
        }
    }
    Ok(was_here)
}

/// Fetches and emits.
pub async fn sync(goofish: &Goofish, cx: &Context, wanted: &Wanted) -> Result<Synced, SyncError> {
    let (until_ms, me) = (goofish.provider_ms(cx), goofish.me());
    let (cursor_ms, since_ms) = {
        let progress = goofish.progress();
        (progress.at_ms(), progress.since_ms())
    };
    let since_ms = wanted.since_ms.unwrap_or(since_ms);
    let mut synced = Synced::default();
    let conversations = match &wanted.conversation {
        Some(one) => vec![one.clone()],
        None => changed(goofish, cx, wanted, since_ms).await?,
    };
    for id in &conversations {
        history(goofish, cx, wanted, id, since_ms, &mut synced).await?;
    }
    if synced.count > 0 {
        let from_ms = wanted.since_ms.unwrap_or(cursor_ms);
        let scope = wanted.conversation.as_deref();
        cx.send(inbound::completed(
            &me,
            scope,
            from_ms,
            until_ms,
            synced.count,
        ))
        .await;
    }
    Ok(synced)
}

/// Conversations in which something happened since, the longest quiet first.
async fn changed(
    goofish: &Goofish,
    cx: &Context,
    wanted: &Wanted,
    since_ms: i64,
) -> Result<Vec<String>, SyncError> {
    let me = goofish.me();
    let (mut all, mut cursor) = (Vec::new(), FIRST_CURSOR);
    for page_number in 1.. {
        let (reply, _) = match ask(goofish, cx, LIST, &calls::list(cursor, LIST_PAGE)).await {
            Ok(found) => found,
            Err(error) => match refused(error) {
                Ok(()) => {
                    announce(goofish, cx, wanted, None, since_ms, GapReason::NoHistory).await;
                    break;
                }
                Err(error) => return Err(error),
            },
        };
        let page = Page::conversations(&reply.body);
        let is_recent = |one: &&Conversation| one.modified_ms.is_none_or(|at_ms| at_ms >= since_ms);
        let recent = page.all.iter().filter(is_recent).count();
        for one in page.all.iter().filter(is_recent) {
            locked(&goofish.peers).learn(&me, one);
            all.push(one.id.clone());
        }
        let next = page
            .next
            .filter(|next| *next < cursor && recent == page.all.len());
        match next {
            Some(_) if page_number >= LIST_PAGES_MAX => {
                announce(goofish, cx, wanted, None, since_ms, GapReason::Overflow).await;
                break;
            }
            Some(next) => cursor = next,
            None => break,
        }
    }
    all.reverse();
    Ok(all)
}

/// The history of a conversation since a time, emitted from the oldest on.
async fn history(
    goofish: &Goofish,
    cx: &Context,
    wanted: &Wanted,
    conversation: &str,
    since_ms: i64,
    synced: &mut Synced,
) -> Result<(), SyncError> {
    let (mut all, mut cursor, mut trace) = (Vec::new(), FIRST_CURSOR, Trace::NONE);
    for page_number in 1.. {
        let (reply, found_by) = match ask(
            goofish,
            cx,
            HISTORY,
            &calls::history(conversation, cursor, HISTORY_PAGE),
        )
        .await
        {
            Ok(found) => found,
            Err(error) => match refused(error) {
                Ok(()) => {
                    announce(
                        goofish,
                        cx,
                        wanted,
                        Some(conversation),
                        since_ms,
                        GapReason::NoHistory,
                    )
                    .await;
                    break;
                }
                Err(error) => return Err(error),
            },
        };
        trace = found_by;
        let page = Page::messages(&reply.body);
        let before = all.len();
        let is_recent = |one: &Message| one.at_ms.is_none_or(|at_ms| at_ms >= since_ms);
        let got = page.all.len();
        all.extend(page.all.into_iter().filter(is_recent));
        let next = page
            .next
            .filter(|next| *next < cursor && all.len() - before == got);
        match next {
            Some(next) if page_number >= HISTORY_PAGES_MAX => {
                let oldest_ms = all.last().and_then(|oldest| oldest.at_ms).unwrap_or(next);
                announce_until(
                    goofish,
                    cx,
                    wanted,
                    Some(conversation),
                    (since_ms, oldest_ms),
                    GapReason::Overflow,
                )
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
    let me = goofish.me();
    for message in &all {
        locked(&goofish.peers).learn_from(&me, message);
        let is_known = goofish.progress().know(&message.id) != Known::No;
        if is_known && wanted.delivery == Delivery::Backfill {
            continue;
        }
        synced.add(message);
        let event = goofish.message_event(&me, message, wanted.delivery);
        let emission = Emission::from(event).noise(Noise::Poll).trace(trace);
        // What is told again on purpose moves nothing.
        let counted = (!is_known).then(|| (message.id.clone(), goofish.stored_ms(cx, message)));
        emit(goofish, cx, emission, counted, None).await;
    }
    Ok(())
}

/// A request of the catch-up; slower when the provider asks for it.
async fn ask(
    goofish: &Goofish,
    cx: &Context,
    lwp: &str,
    body: &impl Serialize,
) -> Result<(Reply, Trace), AskError> {
    let limit = goofish.config.request_timeout();
    let mut slower = SLOWER.iter();
    loop {
        let mut op = cx.op("catch_up", Noise::Poll);
        op.detail(lwp.to_owned());
        match goofish
            .link
            .ask(cx, Asker::Session, limit, lwp, body, || {})
            .await
        {
            Ok(reply) => {
                let trace = op.hit(1);
                return Ok((reply, trace));
            }
            Err(AskError::Refused(refusal)) if refusal.is_flow_control() => {
                op.empty();
                match slower.next() {
                    Some(wait) => cx.sleep(*wait).await,
                    None => return Err(AskError::Refused(refusal)),
                }
            }
            Err(error) => {
                op.fail(&error);
                return Err(error);
            }
        }
    }
}

/// The provider says no for good: there is nothing to fetch. Anything else ends the catch-up.
fn refused(error: AskError) -> Result<(), SyncError> {
    match error {
        AskError::Refused(refusal)
            if refusal.is_certain() && !refusal.is_unauthorized() && !refusal.is_flow_control() =>
        {
            Ok(())
        }
        error => Err(error.into()),
    }
}

async fn announce(
    goofish: &Goofish,
    cx: &Context,
    wanted: &Wanted,
    conversation: Option<&str>,
    since_ms: i64,
    reason: GapReason,
) {
    let until_ms = goofish.provider_ms(cx);
    announce_until(
        goofish,
        cx,
        wanted,
        conversation,
        (since_ms, until_ms),
        reason,
    )
    .await;
}

/// A replay takes what there is.
async fn announce_until(
    goofish: &Goofish,
    cx: &Context,
    wanted: &Wanted,
    conversation: Option<&str>,
    (from_ms, to_ms): (i64, i64),
    reason: GapReason,
) {
    if wanted.delivery == Delivery::Backfill {
        cx.send(inbound::gap(
            &goofish.me(),
            conversation,
            from_ms,
            to_ms,
            reason,
        ))
        .await;
    }
}

/// Keeps the cursor while the session lasts.
pub async fn keep_cursor(goofish: &Goofish, cx: &Context) {
    let mut kept = goofish.progress().version;
    loop {
        // Before the look: a settle between look and wait must not be missed.
        let settled = goofish.settled.notified();
        let version = goofish.progress().version;
        if version == kept {
            settled.await;
            continue;
        }
        save_cursor(goofish, cx).await;
        kept = version;
        cx.sleep(SAVE_EVERY).await;
    }
}

/// A cursor that cannot be kept costs a longer look after the next start, nothing else.
pub async fn save_cursor(goofish: &Goofish, cx: &Context) {
    if !goofish.progress().is_begun() {
        return;
    }
    let cursor = goofish.progress().cursor();
    let kv = cx.kv();
    match cx.timeout(SAVE_WITHIN, kv.put(CURSOR, &cursor)).await {
        Some(Ok(_)) => {}
        Some(Err(error)) => tracing::warn!(%error, "the cursor was not kept"),
        None => tracing::warn!("the cursor was not kept in time"),
    }
}
