//! The place to begin at after an absence, kept with the account at most once a second and at the end; an older one costs
//! only a longer look.

use std::time::Duration;

use im_bridge_sdk::{Context, KvError};

use crate::Goofish;
use crate::progress::Cursor;

const CURSOR: &str = "cursor/inbox";
const SAVE_EVERY: Duration = Duration::from_secs(1);
const SAVE_WITHIN: Duration = Duration::from_secs(2);

/// Goes on from the cursor that is kept; false when the account was never here: it has nothing to miss and begins now.
pub async fn begin(goofish: &Goofish, cx: &Context) -> Result<bool, KvError> {
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
        Err(error) => return Err(error),
    };
    let was_here = kept.is_some();
    match kept {
        Some(kept) => goofish.progress().resume(kept.value),
        None => {
            let now_ms = goofish.provider_ms(cx);
            goofish.progress().begin(now_ms);
            save(goofish, cx).await;
        }
    }
    Ok(was_here)
}

/// Keeps the cursor while the session lasts.
pub async fn keep(goofish: &Goofish, cx: &Context) {
    let mut kept = goofish.progress().version;
    loop {
        // Before the look: a settle between look and wait must not be missed.
        let settled = goofish.settled.notified();
        let version = goofish.progress().version;
        if version == kept {
            settled.await;
            continue;
        }
        Box::pin(save(goofish, cx)).await;
        kept = version;
        cx.sleep(SAVE_EVERY).await;
    }
}

/// A cursor that cannot be kept costs a longer look after the next start, nothing else.
pub async fn save(goofish: &Goofish, cx: &Context) {
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
