//! One entry per idempotency key: who works on it, and how it ended. It is what makes a command be executed once.
//!
//! ```text
//!  absent ── create ──► in_progress ── answer ──► done          same key: the stored result again
//!  released ── CAS ──────┘  │    └── uncertain ──► unknown       verified, or said to be unknown
//!     └── certain error ────┘
//! ```
//!
//! Every step is a write that the server compares with the revision read before; nobody writes over `done`. An entry in
//! progress that another try made may have reached the provider: it is never simply executed again.
//!
//! Not here: asking the provider (`flow`), and which commands have a key at all.

use crate::bus::Hold;
use crate::bus::api::ApiError;
use crate::bus::kv::{Bucket, Write, WriteError};
use crate::bus::patience::Patience;
use crate::telemetry::context::hex_of;
use bytes::Bytes;
use im_bridge_sdk::model::{ErrorObject, Json, ResultStatus};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;

/// A command that kills its owner must not kill every owner.
pub const CLAIMS_MAX: u32 = 3;
/// A bucket without a leader has one again after 5–9 s; beyond that the command is tried again as a whole.
const WITHIN: Duration = Duration::from_secs(10);
/// What became of a command must be kept: it is written until it is, the lease is lost, or it is refused for good.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Room for an ordinary entry, beside its result.
const ENTRY_BYTES: usize = 256;

/// Where a key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    InProgress,
    Done,
    Unknown,
    Released,
}

/// How a command ended, as far as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    pub status: ResultStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
    /// The adapter's words, unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Instead of a large one: where it lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataref: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    phase: Phase,
    epoch: u64,
    claims: u32,
    /// Of the one try that claimed: an entry in progress with another number may have reached the provider.
    claimant: u64,
    /// Stream sequence of the command that a final error released.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    command: String,
    hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Stored>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_id: Option<String>,
}

/// Who wants a key, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// Key of the bucket: account and client reference.
    pub key: &'a str,
    pub epoch: u64,
    /// Drawn for this command in hand; the same for all its tries.
    pub claimant: u64,
    /// Durable commands: their place in the stream.
    pub seq: Option<u64>,
    pub command: &'a str,
    /// Of the parameters.
    pub hash: &'a str,
}

/// A claim that holds: the right to write what becomes of the key.
#[derive(Clone, Debug)]
pub struct Held {
    key: String,
    revision: u64,
    /// Boxed: it is handed from step to step, and each keeps room for it.
    entry: Box<Entry>,
}

impl Held {
    fn is_for(&self, who: &Claimant<'_>) -> bool {
        self.entry.command == who.command && self.entry.hash == who.hash
    }

    /// The final error of this very message.
    fn released_by(&self, who: &Claimant<'_>) -> Option<Stored> {
        let is_same = who.seq.is_some() && self.entry.seq == who.seq;
        self.entry.result.clone().filter(|_| is_same)
    }

    fn stored(&self) -> Stored {
        self.entry.result.clone().unwrap_or(Stored {
            // A full bucket takes the fact without its words.
            status: ResultStatus::Ok,
            error: None,
            result: None,
            dataref: None,
        })
    }

    /// How it stands with a key whose outcome nobody knew before: absent for one that somebody was still working on.
    pub fn earlier(&self) -> Option<Stored> {
        let is_unknown = self.entry.phase == Phase::Unknown;
        self.entry.result.clone().filter(|_| is_unknown)
    }

    /// Whether it may be claimed once more.
    pub fn may_be_taken_over(&self) -> bool {
        self.entry.claims < CLAIMS_MAX
    }
}

impl Entry {
    fn fresh(who: &Claimant<'_>, claims: u32) -> Box<Self> {
        Box::new(Self {
            phase: Phase::InProgress,
            epoch: who.epoch,
            claims,
            claimant: who.claimant,
            seq: None,
            command: who.command.to_owned(),
            hash: who.hash.to_owned(),
            result: None,
            native_id: None,
        })
    }
}

/// What became of the attempt to write an end down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Kept {
    Yes,
    /// The lease was lost first: nothing may be written any more, and the next owner finds out.
    Lost,
    /// It will not be taken. The entry stays as it was, in progress: the key is never simply executed again.
    Refused,
}

/// After a write that failed: how it ends, or once more after a pause.
async fn failed(
    entry: &mut Entry,
    error: &LedgerError,
    patience: &mut Patience,
    hold: &Hold,
) -> Option<Kept> {
    let is_lasting = match error {
        LedgerError::Write(WriteError::Full) => {
            // The fact without its words is small enough for the room that expiry makes.
            entry.result = None;
            false
        }
        LedgerError::Write(error) => error.is_lasting(),
        LedgerError::Read(error) => !error.is_transient(),
        LedgerError::Entry { .. } => true,
    };
    if is_lasting && !patience.refused() {
        tracing::error!(%error, "what became of a command is not kept; its key is not executed again");
        return Some(Kept::Refused);
    }
    tokio::select! {
        biased;
        () = hold.lost() => Some(Kept::Lost),
        () = sleep(AGAIN_AFTER) => None,
    }
}

/// What a key is good for.
#[derive(Debug)]
pub enum Claim {
    /// Ours: act.
    Execute(Held),
    /// Somebody before us may have acted: ask the provider before anything else.
    Verify(Held),
    /// It ended; this is how.
    Ended(Stored),
    /// The key stands for another command.
    Reused,
    /// It was claimed too often without an outcome.
    Exhausted(Held),
}

/// Why the ledger could not say anything.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ApiError),
    #[error("entry {key} is not readable: {why}")]
    Entry { key: String, why: String },
}

/// The ledger of all accounts.
#[derive(Clone, Debug)]
pub struct Ledger {
    bucket: Bucket,
    ttl: Duration,
}

impl Ledger {
    /// `ttl` is at least as long as a command may wait.
    pub fn new(bucket: Bucket, ttl: Duration) -> Self {
        Self { bucket, ttl }
    }

    /// Takes a key, or says what became of it.
    pub async fn claim(&self, who: &Claimant<'_>) -> Result<Claim, LedgerError> {
        let fresh = Entry::fresh(who, 1);
        // Optimistic: almost every key is new, and then this is the only round trip.
        match self
            .bucket
            .create(who.key, json(&fresh), self.write(None))
            .await
        {
            Ok(revision) => Ok(Claim::Execute(Held {
                key: who.key.to_owned(),
                revision,
                entry: fresh,
            })),
            // Perhaps written: what stands there tells. In a box, as it is rare and large.
            Err(WriteError::Conflict | WriteError::Unknown(_)) => {
                Box::pin(self.claim_known(who)).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn claim_known(&self, who: &Claimant<'_>) -> Result<Claim, LedgerError> {
        // Gone: it expired in between, and the caller tries the command again.
        let held = self.read(who.key).await?.ok_or(WriteError::Conflict)?;
        self.judge(who, held).await
    }

    /// What became of a key, without taking it: for a command that will not be carried out anyway.
    pub async fn look(&self, who: &Claimant<'_>) -> Result<Option<Claim>, LedgerError> {
        let Some(held) = self.read(who.key).await? else {
            return Ok(None);
        };
        Ok(match held.entry.phase {
            Phase::Released => held.released_by(who).map(Claim::Ended),
            _ if !held.is_for(who) => Some(Claim::Reused),
            Phase::Done => Some(Claim::Ended(held.stored())),
            Phase::InProgress | Phase::Unknown => Some(Claim::Verify(held)),
        })
    }

    async fn read(&self, key: &str) -> Result<Option<Held>, LedgerError> {
        let Some(found) = self.bucket.get(key).await? else {
            return Ok(None);
        };
        let Some(value) = found.value else {
            return Ok(None);
        };
        let entry = serde_json::from_slice(&value).map_err(|error| LedgerError::Entry {
            key: key.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Some(Held {
            key: key.to_owned(),
            revision: found.revision,
            entry,
        }))
    }

    async fn judge(&self, who: &Claimant<'_>, held: Held) -> Result<Claim, LedgerError> {
        if held.entry.phase == Phase::Released {
            return match held.released_by(who) {
                Some(stored) => Ok(Claim::Ended(stored)),
                None => {
                    let entry = Entry::fresh(who, 1);
                    self.claim_over(held, entry).await.map(Claim::Execute)
                }
            };
        }
        if !held.is_for(who) {
            return Ok(Claim::Reused);
        }
        let entry = &held.entry;
        Ok(match entry.phase {
            Phase::Done => Claim::Ended(held.stored()),
            Phase::InProgress if entry.claimant == who.claimant => Claim::Execute(held),
            _ if entry.claims >= CLAIMS_MAX => Claim::Exhausted(held),
            _ => Claim::Verify(held),
        })
    }

    /// The decision to execute again: of several that decide so, one wins.
    pub async fn take_over(&self, who: &Claimant<'_>, held: Held) -> Result<Held, LedgerError> {
        let entry = Entry::fresh(who, held.entry.claims + 1);
        self.claim_over(held, entry).await
    }

    /// It happened, or surely will not: this is the answer from now on. Written over whatever does not say so already.
    pub fn done(
        &self,
        held: &mut Held,
        stored: Stored,
        native_id: Option<String>,
        hold: &Hold,
    ) -> impl Future<Output = Kept> + Send {
        held.entry.phase = Phase::Done;
        held.entry.result = Some(stored);
        held.entry.native_id = native_id;
        self.write_done(held, hold)
    }

    async fn write_done(&self, held: &mut Held, hold: &Hold) -> Kept {
        match self.rewrite(&held.key, held.revision, &held.entry).await {
            Ok(_) => Kept::Yes,
            Err(error) => Box::pin(self.done_at_last(held, error, hold)).await,
        }
    }

    async fn done_at_last(&self, held: &mut Held, mut error: LedgerError, hold: &Hold) -> Kept {
        let mut patience = Patience::default();
        loop {
            let lasting = match error {
                LedgerError::Write(WriteError::Conflict) => match self.read(&held.key).await {
                    Ok(Some(found)) if found.entry.phase != Phase::Done => {
                        held.revision = found.revision;
                        None
                    }
                    // It says so already; or it expired, and nobody will ask any more.
                    Ok(_) => return Kept::Yes,
                    Err(error) => Some(error),
                },
                error => Some(error),
            };
            if let Some(error) = lasting
                && let Some(end) = failed(&mut held.entry, &error, &mut patience, hold).await
            {
                return end;
            }
            match self.rewrite(&held.key, held.revision, &held.entry).await {
                Ok(_) => return Kept::Yes,
                Err(again) => error = again,
            }
        }
    }

    /// Nobody knows whether it happened.
    pub async fn unknown(&self, held: &Held, stored: Stored, hold: &Hold) -> Kept {
        let mut entry = held.entry.clone();
        entry.phase = Phase::Unknown;
        entry.result = Some(stored);
        self.insist(held, entry, hold).await
    }

    /// It surely did not happen: the key is free again. A final error stays for the same message of the stream, so that
    /// after a crash it is answered once.
    pub async fn release(&self, held: &Held, last: Option<(u64, Stored)>, hold: &Hold) -> Kept {
        let mut entry = held.entry.clone();
        entry.phase = Phase::Released;
        (entry.seq, entry.result) = last.unzip();
        self.insist(held, entry, hold).await
    }

    /// The truth came late, and it did not happen: the key is free, unless somebody else has it by now.
    pub async fn forget_unknown(&self, held: Held, hold: &Hold) -> Kept {
        match self.read(&held.key).await {
            Ok(Some(found))
                if found.entry.phase == Phase::Unknown
                    && found.entry.claimant == held.entry.claimant =>
            {
                self.release(&found, None, hold).await
            }
            _ => Kept::Refused,
        }
    }

    async fn insist(&self, held: &Held, mut entry: Box<Entry>, hold: &Hold) -> Kept {
        let mut patience = Patience::default();
        loop {
            let error = match self.rewrite(&held.key, held.revision, &entry).await {
                // A conflict: a later owner has its own knowledge of it.
                Ok(_) | Err(LedgerError::Write(WriteError::Conflict)) => return Kept::Yes,
                Err(error) => error,
            };
            if let Some(end) = failed(&mut entry, &error, &mut patience, hold).await {
                return end;
            }
        }
    }

    /// Claims over what stands there.
    async fn claim_over(&self, held: Held, entry: Box<Entry>) -> Result<Held, LedgerError> {
        let revision = self.rewrite(&held.key, held.revision, &entry).await?;
        Ok(Held {
            revision,
            entry,
            ..held
        })
    }

    /// Writes over the entry of this revision; its new one.
    async fn rewrite(&self, key: &str, revision: u64, entry: &Entry) -> Result<u64, LedgerError> {
        let written = json(entry);
        let write = self.write(Some(revision));
        match self.bucket.put(key, written.clone(), write).await {
            Ok(revision) => Ok(revision),
            Err(error @ (WriteError::Unknown(_) | WriteError::Conflict)) => {
                Box::pin(self.perhaps(key, written, error)).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A write whose answer was lost may have been ours: then what stands there is what we wrote.
    async fn perhaps(
        &self,
        key: &str,
        written: Bytes,
        error: WriteError,
    ) -> Result<u64, LedgerError> {
        match self.bucket.get(key).await? {
            Some(found) if found.value.as_ref() == Some(&written) => Ok(found.revision),
            _ => Err(error.into()),
        }
    }

    fn write(&self, expects: Option<u64>) -> Write<'static> {
        Write {
            expects,
            expects_of: None,
            ttl: Some(self.ttl),
            within: WITHIN,
        }
    }
}

fn json(entry: &Entry) -> Bytes {
    let result = entry.result.as_ref().and_then(|it| it.result.as_ref());
    let result_bytes = result.map_or(0, |it| it.as_str().len());
    let mut json = Vec::with_capacity(ENTRY_BYTES + result_bytes);
    serde_json::to_writer(&mut json, entry).expect("an entry has a JSON form");
    json.into()
}

/// Hash of the parameters with members sorted, so that the same parameters written differently are the same.
pub fn hash(params: &Value) -> String {
    let mut text = Vec::with_capacity(256);
    sorted(params, &mut text);
    let digest = digest::digest(&digest::SHA256, &text);
    // 128 bits tell apart what one caller uses one key for.
    hex_of(&digest.as_ref()[..16])
}

fn sorted(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            out.push(b'{');
            let mut member = |(name, value): (&String, &Value)| {
                plain(name, out);
                out.push(b':');
                sorted(value, out);
                out.push(b',');
            };
            // The JSON library keeps them sorted, unless somebody asks it for their order.
            if members.keys().is_sorted() {
                members.iter().for_each(&mut member);
            } else {
                let mut all: Vec<_> = members.iter().collect();
                all.sort_by_key(|(name, _)| *name);
                all.into_iter().for_each(&mut member);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                sorted(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        value => plain(value, out),
    }
}

fn plain(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("texts and numbers have a JSON form");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_members_does_not_change_the_hash() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":{"d":"x","c":[1,2]},"a":1}"#).unwrap();
        assert_eq!(hash(&one), hash(&two));
        assert_ne!(
            hash(&one),
            hash(&json!({"a": 1, "b": {"c": [2, 1], "d": "x"}}))
        );
        assert_ne!(hash(&json!({"a": "1"})), hash(&json!({"a": 1})));
    }
}
