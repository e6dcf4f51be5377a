//! What happened while nobody was logged in, and the place to begin at.
//!
//! The cursor is the number of the last item before which everything is stored. It is kept in the account's state, at
//! most once a second and at the end; an older one costs only duplicates.

use std::time::Duration;

use im_bridge_sdk::model::{Delivery, GapReason, ids};
use im_bridge_sdk::{Context, Emission, Fault, Noise};

use super::{Fresh, seqs};
use crate::link::AskError;
use crate::native::{Call, Synced, Welcome};
use crate::transport::within;
use crate::{Sim, inbound};

const CURSOR: &str = "cursor/inbox";
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_WITHIN: Duration = Duration::from_secs(2);
const PAGE: usize = 100;

/// What to fetch from the inbox.
pub struct Wanted {
    pub after: u64,
    pub up_to: Option<u64>,
    /// Nothing that happened earlier.
    pub since_ms: Option<i64>,
    /// Of this channel only.
    pub channel: Option<String>,
    pub delivery: Delivery,
}

/// What was fetched.
#[derive(Default)]
pub struct Fetched {
    pub count: u64,
    first: Option<u64>,
    last: Option<u64>,
}

impl Fetched {
    pub fn from(&self) -> Option<String> {
        self.first.map(ids::order_key)
    }

    pub fn to(&self) -> Option<String> {
        self.last.map(ids::order_key)
    }
}

/// Fetches and emits everything after the cursor up to the newest item at the time of the login.
pub async fn catch_up(sim: &Sim, cx: &Context, welcome: &Welcome) -> Result<(), Fault> {
    let (me, last) = (welcome.person.id.as_str(), welcome.last_seq);
    let Some(cursor) = begin(sim, cx, last).await? else {
        return Ok(());
    };
    if cursor > last {
        // The provider began anew, or the state is another one's: nothing says what is between.
        cx.send(inbound::gap(me, last, cursor, GapReason::CursorRefused))
            .await;
        sim.progress().start_anew(last);
        return Ok(());
    }
    if cursor == last {
        return Ok(());
    }
    let wanted = Wanted {
        after: cursor,
        up_to: Some(last),
        since_ms: None,
        channel: None,
        delivery: Delivery::Backfill,
    };
    let fetched = sync(sim, cx, wanted)
        .await
        .map_err(|error| Fault::retry("catch_up", error))?;
    cx.send(inbound::completed(me, cursor, last, fetched.count))
        .await;
    Ok(())
}

/// The cursor; none when this account was never here, and there is nothing to miss.
async fn begin(sim: &Sim, cx: &Context, last: u64) -> Result<Option<u64>, Fault> {
    let known = sim.progress().cursor();
    if known > 0 {
        return Ok(Some(known));
    }
    let kept = cx.kv().get::<u64>(CURSOR).await?.map(|entry| entry.value);
    sim.progress().start(kept.unwrap_or(last));
    if kept.is_none() {
        save_cursor(sim, cx).await;
    }
    Ok(kept)
}

pub async fn sync(sim: &Sim, cx: &Context, wanted: Wanted) -> Result<Fetched, AskError> {
    let mut fetched = Fetched::default();
    let mut after = wanted.after;
    loop {
        let mut op = cx.op("sync", Noise::Poll);
        op.detail("sync");
        let page = match sim
            .link
            .ask::<Synced>(None, Call::Sync { after, limit: PAGE }, || {})
            .await
        {
            Ok(page) => page,
            Err(error) => {
                op.fail(&error);
                return Err(error);
            }
        };
        let trace = if page.items.is_empty() {
            op.empty()
        } else {
            op.hit(page.items.len() as u64)
        };
        // A replay takes what there is.
        if let Some((from, to)) = page
            .dropped
            .filter(|_| wanted.delivery == Delivery::Backfill)
        {
            cx.send(inbound::gap(sim.person(), from, to, GapReason::NoHistory))
                .await;
            sim.progress().skip(from..=to);
        }
        for item in page.items {
            after = item.seq;
            if wanted.up_to.is_some_and(|up_to| item.seq > up_to) {
                return Ok(fetched);
            }
            let is_early = wanted
                .since_ms
                .is_some_and(|since_ms| item.at_ms < since_ms);
            let chat = item.chat.as_ref().map(|chat| &chat.id);
            if is_early || wanted.channel.is_some() && wanted.channel.as_ref() != chat {
                continue;
            }
            fetched.count += 1;
            fetched.first.get_or_insert(item.seq);
            fetched.last = Some(item.seq);
            let seqs = seqs(&item);
            let event = inbound::event(sim.person(), item, wanted.delivery);
            let fresh = Fresh {
                emission: Emission::from(event).noise(Noise::Poll).trace(trace),
                seqs,
                push: None,
            };
            fresh.emit(sim, cx).await;
        }
        if !page.more {
            return Ok(fetched);
        }
    }
}

/// Keeps the cursor while the session lasts.
pub async fn keep_cursor(sim: &Sim, cx: &Context) {
    let mut kept = 0;
    loop {
        // Before the look: a settle between look and wait must not be missed.
        let settled = sim.settled.notified();
        let cursor = sim.progress().cursor();
        if cursor == kept {
            settled.await;
            continue;
        }
        Box::pin(save_cursor(sim, cx)).await;
        kept = cursor;
        cx.sleep(SAVE_EVERY).await;
    }
}

/// A cursor that cannot be kept costs duplicates after the next start, nothing else.
pub async fn save_cursor(sim: &Sim, cx: &Context) {
    let cursor = sim.progress().cursor();
    if cursor == 0 {
        return;
    }
    match within(cx, SAVE_WITHIN, async {
        Ok(cx.kv().put(CURSOR, &cursor).await?)
    })
    .await
    {
        Ok(_) => {}
        Err(fault) => tracing::warn!(%fault, "the cursor was not kept"),
    }
}
