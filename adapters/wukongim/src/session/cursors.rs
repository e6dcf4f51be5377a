//! The cursors of channels in the account's state: where to begin fetching after a restart.
//!
//! In [`SHARDS`] values, because an account may have more channels than keys. Kept at most once a second and at the end; an
//! older one costs only duplicates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use im_bridge_sdk::{Context, KvError};
use serde::{Deserialize, Serialize};

use crate::native::channel::ChannelId;
use crate::{WukongIm, locked};

/// Values the cursors are spread over. With [`crate::book::CHANNELS_MAX`] channels some 256 in each.
const SHARDS: u32 = 64;

/// Most bytes of a value; what does not fit is left out.
const SHARD_BYTES_MAX: usize = 60 * 1024;

/// A number with its quotes, colon and comma.
const CURSOR_BYTES: usize = 24;

const SINCE: &str = "cursor/since";
const SENT: &str = "seen/sent";
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_WITHIN: Duration = Duration::from_secs(2);

/// When the account was last known to be up to date.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Since {
    at_ms: i64,
}

fn shard_of(id: &ChannelId) -> u32 {
    crc32fast::hash(id.to_string().as_bytes()) % SHARDS
}

fn key(shard: u32) -> String {
    format!("cursor/ch-{shard:02}")
}

/// Reads everything back, once per instance; the time up to which nothing is missing, none at the very first start.
pub async fn load(wukongim: &WukongIm, cx: &Context) -> Result<Option<i64>, KvError> {
    let keys = match cx.kv().list("cursor").await {
        Ok(keys) => keys,
        // Without durable state every start is the first.
        Err(KvError::Unsupported) => return Ok(None),
        Err(error) => return Err(error),
    };
    for key in keys.keys().filter(|key| key.starts_with("cursor/ch-")) {
        let Some(kept) = cx.kv().get::<BTreeMap<String, u64>>(key).await? else {
            continue;
        };
        let mut book = wukongim.book();
        for (name, cursor) in kept.value {
            if let Ok(id) = name.parse::<ChannelId>() {
                let id = book.id(id);
                book.start(&id, cursor);
            }
        }
        // Nothing moved: that is what was kept.
        book.take_moved();
    }
    if let Some(kept) = cx.kv().get::<Vec<String>>(SENT).await? {
        locked(&wukongim.sent).restore(kept.value);
    }
    let since = cx.kv().get::<Since>(SINCE).await?;
    Ok(since.map(|since| since.value.at_ms))
}

/// Keeps what moves while the session lasts. The time only once what was missed is fetched: it says that nothing is
/// missing before.
pub async fn keep(wukongim: &WukongIm, cx: &Context) {
    loop {
        let settled = wukongim.settled.notified();
        save(wukongim, cx, false).await;
        settled.await;
        cx.sleep(SAVE_EVERY).await;
    }
}

/// What could not be kept costs duplicates after the next start, nothing else.
pub async fn save(wukongim: &WukongIm, cx: &Context, is_up_to_date: bool) {
    let saved = cx
        .timeout(SAVE_WITHIN, Box::pin(try_save(wukongim, cx, is_up_to_date)))
        .await;
    match saved {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::warn!(%error, "cursors were not kept"),
        None => tracing::warn!("cursors were not kept in time"),
    }
}

async fn try_save(wukongim: &WukongIm, cx: &Context, is_up_to_date: bool) -> Result<(), KvError> {
    let moved = wukongim.book().take_moved();
    let has_moved = !moved.is_empty();
    if let Err(error) = save_shards(wukongim, cx, &moved).await {
        wukongim.book().put_back(moved);
        return Err(error);
    }
    let sent = locked(&wukongim.sent).take_changed();
    if let Some(sent) = sent
        && let Err(error) = cx.kv().put(SENT, &sent).await
    {
        locked(&wukongim.sent).not_kept();
        return Err(error);
    }
    if has_moved && !wukongim.control.is_behind() || is_up_to_date {
        let at_ms = cx.now_ms();
        cx.kv().put(SINCE, &Since { at_ms }).await?;
    }
    Ok(())
}

async fn save_shards(
    wukongim: &WukongIm,
    cx: &Context,
    moved: &BTreeSet<Arc<ChannelId>>,
) -> Result<(), KvError> {
    let mut shards: BTreeMap<u32, BTreeMap<String, u64>> = moved
        .iter()
        .map(|id| (shard_of(id), BTreeMap::new()))
        .collect();
    if shards.is_empty() {
        return Ok(());
    }
    for (id, cursor) in wukongim.book().cursors() {
        if let Some(shard) = shards.get_mut(&shard_of(id)) {
            shard.insert(id.to_string(), cursor);
        }
    }
    for (shard, mut cursors) in shards {
        let mut bytes = 0;
        cursors.retain(|name, _| {
            bytes += name.len() + CURSOR_BYTES;
            bytes <= SHARD_BYTES_MAX
        });
        cx.kv().put(&key(shard), &cursors).await?;
    }
    Ok(())
}
