//! One key that one owner holds: won by compare-and-set, kept by renewing, given up by itself.
//!
//! The owner stops `stop` after the **send** of the last renewal that succeeded. The server counts the TTL from its own time
//! of storing, which is later; so there is never a moment with two holders, and clock offsets do not matter.
//!
//! Not here: which keys, and when (`shards`).

use super::clock::Moment;
use super::hold::Hold;
use super::kv::{Bucket, Entry, Write, WriteError};
use super::lease_figures::LeaseFigures;
use super::members::{LeaseRecord, Owner, member_key};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// A marker lives no longer than anybody needs to see it.
const MARKER: Duration = Duration::from_secs(60);
/// Between tries while the server does not answer, and there is time left.
const PAUSE: Duration = Duration::from_millis(250);

/// `nats.lease`. Invariant: three renewals fit before the stop, and the stop is before the TTL; the configuration checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub ttl: Duration,
    pub renew: Duration,
    pub stop: Duration,
}

impl Default for Timing {
    /// A crashed leader of NATS is replaced within 5 to 9 s, and during that nothing can be renewed.
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(20),
            renew: Duration::from_secs(4),
            stop: Duration::from_secs(17),
        }
    }
}

/// A key that was won.
#[derive(Debug)]
pub(super) struct Lease {
    bucket: Bucket,
    key: String,
    owner: Owner,
    timing: Timing,
    /// The sequence of the write that won: larger than that of any former holder.
    pub(super) epoch: u64,
    revision: u64,
    pub(super) hold: Hold,
    figures: Arc<LeaseFigures>,
}

/// Why a lease is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Somebody else has it, or it could not be renewed in time.
    Lost,
    GivenBack,
}

impl Lease {
    /// Writes over what was seen: `expects` is the revision of a marker or of a value that is known to be dead, 0 for none.
    pub(super) async fn win(
        bucket: &Bucket,
        key: &str,
        owner: &Owner,
        value: Bytes,
        expects: u64,
        timing: Timing,
        figures: &Arc<LeaseFigures>,
    ) -> Result<Self, WriteError> {
        let sent = Moment::now();
        let write = Write {
            expects: Some(expects),
            ttl: Some(timing.ttl),
            within: timing.renew,
            ..Write::default()
        };
        let revision = bucket.put(key, value, write).await?;
        Ok(Self {
            bucket: bucket.clone(),
            key: key.to_owned(),
            owner: owner.clone(),
            timing,
            epoch: revision,
            revision,
            hold: Hold::until(sent.after(timing.stop)),
            figures: Arc::clone(figures),
        })
    }

    /// Renews until it is lost, or given back on request. A changed value is written at once.
    pub(super) async fn keep(
        mut self,
        mut value: watch::Receiver<Bytes>,
        mut give_back: oneshot::Receiver<()>,
    ) -> Ended {
        let hold = self.hold.clone();
        // Of the last renewal: the write that won it is one.
        let mut next = Instant::now() + self.timing.renew;
        value.mark_changed();
        let ended = loop {
            tokio::select! {
                biased;
                () = hold.lost() => {
                    self.figures.lost(false);
                    break Ended::Lost;
                }
                // A holder that dropped its end wants it back, too.
                _ = &mut give_back => {
                    self.give_back().await;
                    break Ended::GivenBack;
                }
                Ok(()) = value.changed() => {}
                () = sleep_until(next) => {}
            }
            let now = value.borrow_and_update().clone();
            let renewal = tokio::select! {
                biased;
                () = hold.lost() => Renewal::Late,
                renewal = self.renew(now) => renewal,
            };
            match renewal {
                Renewal::Done => next = Instant::now() + self.timing.renew,
                Renewal::Undecided => next = Instant::now() + PAUSE,
                Renewal::Late | Renewal::Lost => {
                    self.figures.lost(matches!(renewal, Renewal::Lost));
                    break Ended::Lost;
                }
            }
        };
        hold.end();
        ended
    }

    async fn renew(&mut self, value: Bytes) -> Renewal {
        let sent = Moment::now();
        let write = Write {
            expects: Some(self.revision),
            ttl: Some(self.timing.ttl),
            within: self.timing.renew,
            ..Write::default()
        };
        match self.bucket.put(&self.key, value, write).await {
            Ok(revision) => {
                self.revision = revision;
                let left = self.hold.ends_at().until();
                self.figures.renewed(sent.elapsed(), left);
                self.hold.renewed_until(sent.after(self.timing.stop));
                Renewal::Done
            }
            Err(WriteError::Conflict | WriteError::Unknown(_)) => self.look().await,
            // Surely not written: nobody leads, or the connection is away.
            Err(WriteError::Refused(_) | WriteError::Full) => Renewal::Undecided,
        }
    }

    /// Is it ours still? The value tells, since no two starts have the same owner.
    async fn look(&mut self) -> Renewal {
        match self.bucket.get(&self.key).await {
            Ok(Some(Entry {
                value: Some(there),
                revision,
                ..
            })) if self.is_ours(&there) => {
                // Adopted, not counted as a renewal: nobody knows when it was sent.
                self.revision = revision;
                Renewal::Undecided
            }
            Ok(_) => Renewal::Lost,
            Err(_) => {
                sleep(PAUSE).await;
                Renewal::Undecided
            }
        }
    }

    fn is_ours(&self, value: &Bytes) -> bool {
        // Nobody else writes a member's own key.
        self.key == member_key(&self.owner)
            || serde_json::from_slice(value)
                .is_ok_and(|record: LeaseRecord| record.owner == self.owner)
    }

    /// Break before make: by now the holder does nothing any more. Failing is harmless, the key expires.
    async fn give_back(&mut self) {
        self.hold.end();
        let write = Write {
            expects: Some(self.revision),
            ttl: Some(MARKER),
            within: self.timing.renew,
            ..Write::default()
        };
        let _ = self.bucket.delete(&self.key, write).await;
    }
}

enum Renewal {
    Done,
    Undecided,
    /// There was no time left.
    Late,
    /// Somebody else has it.
    Lost,
}
