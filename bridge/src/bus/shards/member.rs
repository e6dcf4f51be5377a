//! That this replica is there, in writing.

use super::TICK;
use crate::bus::kv::Bucket;
use crate::bus::lease::{Lease, Timing};
use crate::bus::lease_figures::LeaseFigures;
use crate::bus::members::{Owner, member_key};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// Writes that this replica is there, again if it was lost.
pub(super) async fn keep_member(
    bucket: Bucket,
    owner: Owner,
    timing: Timing,
    record: watch::Receiver<Bytes>,
    mut end: oneshot::Receiver<()>,
) {
    let key = member_key(&owner);
    // Of no interest: what a member's lease guards is its place in a list.
    let figures: Arc<LeaseFigures> = Arc::default();
    loop {
        let value = record.borrow().clone();
        let seen = tokio::select! {
            biased;
            _ = &mut end => return,
            seen = bucket.get(&key) => seen,
        };
        let expects = seen.ok().flatten().map_or(0, |entry| entry.revision);
        let won = Lease::win(&bucket, &key, &owner, value, expects, timing, &figures).await;
        if let Ok(lease) = won {
            let (give_back, asked) = oneshot::channel();
            let kept = lease.keep(record.clone(), asked);
            tokio::pin!(kept);
            tokio::select! {
                biased;
                _ = &mut end => {
                    // It is listening: it ends with this.
                    let _ = give_back.send(());
                    kept.await;
                    return;
                }
                _ = &mut kept => {}
            }
        }
        tokio::select! {
            biased;
            _ = &mut end => return,
            () = sleep(TICK) => {}
        }
    }
}
