//! Sends as they are written down, so that the account's next owner knows their echoes, and what to look for.

use std::time::Duration;

use im_bridge_sdk::{Context, KvError, KvPut};

use super::Send;
use crate::{Goofish, locked};

const KEPT: &str = "sent";
/// A send whose answer is out, and at the usual pace one that is answered. An account has 4 096 keys: at a higher pace each
/// answered one is kept for less.
const KEPT_FOR_S: f64 = 1_800.0;
const KEPT_MAX: f64 = 2_000.0;
const KEEP_WITHIN: Duration = Duration::from_secs(2);

/// Read back after a start.
const READ_BACK_MAX: usize = 128;

/// The send of this reference, from memory or from the account's state.
pub async fn recall(
    goofish: &Goofish,
    cx: &Context,
    client_ref: &str,
    part: usize,
) -> Result<Option<Send>, KvError> {
    if let Some(send) = locked(&goofish.sends).find(client_ref, part) {
        return Ok(Some(send.clone()));
    }
    let kept = cx.kv().get::<Send>(&key(client_ref, part)).await?;
    Ok(kept.map(|entry| {
        locked(&goofish.sends).remember(entry.value.clone());
        entry.value
    }))
}

/// Found out later what it became.
pub async fn resolved(goofish: &Goofish, cx: &Context, send: &Send, message: &str) {
    let send = locked(&goofish.sends).taken(&send.client_ref, send.part, Some(message));
    if let Some(send) = send {
        keep(cx, &send, goofish.config.send_per_s).await;
    }
}

/// Reads back what the last process sent, once: its echoes may still come.
pub async fn read_back(goofish: &Goofish, cx: &Context) {
    if std::mem::replace(&mut locked(&goofish.sends).is_read_back, true) {
        return;
    }
    let Ok(kept) = cx.kv().list(&format!("{KEPT}/")).await else {
        return;
    };
    let mut newest: Vec<(u64, String)> = kept
        .into_iter()
        .map(|(key, revision)| (revision, key))
        .collect();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    for (_, key) in newest.into_iter().take(READ_BACK_MAX) {
        let Ok(Some(entry)) = cx.kv().get::<Send>(&key).await else {
            continue;
        };
        locked(&goofish.sends).remember(entry.value);
    }
}

/// What became of an unanswered send may be asked after the next owner's start, so its pace does not matter.
pub(super) fn kept_for(send: &Send, send_per_s: f64) -> Duration {
    let at_this_pace = (KEPT_MAX / send_per_s).clamp(1.0, KEPT_FOR_S);
    let kept_s = if send.is_taken {
        at_this_pace
    } else {
        KEPT_FOR_S
    };
    Duration::from_secs_f64(kept_s)
}

pub(super) async fn keep(cx: &Context, send: &Send, send_per_s: f64) {
    let for_a_while = KvPut {
        ttl: Some(kept_for(send, send_per_s)),
        ..KvPut::default()
    };
    let (kv, key) = (cx.kv(), key(&send.client_ref, send.part));
    let put = kv.put_with(&key, send, for_a_while);
    if !matches!(cx.timeout(KEEP_WITHIN, put).await, Some(Ok(_))) {
        tracing::debug!("a send was not written down; after a restart its echo is not known");
    }
}

/// It surely did not happen. A leftover is forgotten in time.
pub(super) fn forget(cx: &Context, client_ref: &str, part: usize) {
    let (own, key) = (cx.clone(), key(client_ref, part));
    cx.spawn(async move {
        let _ = own.timeout(KEEP_WITHIN, own.kv().delete(&key)).await;
    });
}

fn key(client_ref: &str, part: usize) -> String {
    match part {
        0 => format!("{KEPT}/{client_ref}"),
        part => format!("{KEPT}/{client_ref}/{part}"),
    }
}
