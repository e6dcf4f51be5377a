//! The durable state of one account: few small keys, written by its owner only.
//!
//! The **server** refuses a former owner, whatever that one believes: each write expects the revision of the account's epoch
//! key, which the owner writes first. One write is in flight per account; on a replicated bucket a second one would be
//! refused. The owner's own copy of the keys is right, because nobody else writes.
//!
//! Not here: sealing secrets, and answering the adapter (`account`).

use super::api::ApiError;
use super::connect::Connection;
use super::hold::Hold;
use super::kv::{Bucket, Entry, Write, WriteError};
use super::token::{Account, escaped, unescaped};
use super::watch::{Change, Watch};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// Keys and bytes of one account; a cursor per channel fits, a message store does not.
pub const KEYS_MAX: usize = 4_096;
pub const BYTES_MAX: usize = 4 * 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(5);
const LOAD_WITHIN: Duration = Duration::from_secs(30);
/// Two owners at once may raise the fence against each other this often; then one of them has lost its lease.
const RAISE_TRIES: u32 = 5;

/// A value and what the next write of it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub bytes: Bytes,
    pub revision: u64,
}

/// Why a key was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The lease is lost, or the server says that another owner came: look at the lease, then load again or stop.
    #[error("another owner writes the keys of this account")]
    Fenced,
    /// Not the revision that the adapter expected.
    #[error("the key has revision {actual}, expected {expected}")]
    Revision { expected: u64, actual: u64 },
    #[error("the account has {KEYS_MAX} keys or {BYTES_MAX} bytes already")]
    TooMuch,
    #[error("the bucket is full; raise nats.kv.max_mib")]
    Full,
    /// Surely not written, and waiting does not mend it.
    #[error("the bucket refuses the key: {0}")]
    Refused(String),
    /// It may have been written; loading again tells.
    #[error("the bucket cannot be reached: {0}")]
    Unavailable(String),
}

impl From<ApiError> for KeysError {
    fn from(error: ApiError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The keys of an account that is owned. Takes `&mut self` to write: one write at a time.
#[derive(Debug)]
pub struct AccountKeys {
    bucket: Bucket,
    /// `<provider>.<account>`
    account: String,
    fence: u64,
    hold: Hold,
    keys: BTreeMap<String, Value>,
    bytes: usize,
}

impl AccountKeys {
    /// Raises the fence, then reads every key. After this no former owner can write.
    pub async fn take_over(
        connection: &Connection,
        bucket: &str,
        account: &Account,
        epoch: u64,
        hold: Hold,
    ) -> Result<Self, KeysError> {
        let mut keys = Self {
            bucket: Bucket::new(connection, bucket),
            account: account.key(),
            fence: 0,
            hold,
            keys: BTreeMap::new(),
            bytes: 0,
        };
        // Begun beside the fence, it tells of the fence, too.
        let watch = Watch::new(connection, &keys.bucket, &format!("{}.>", keys.account));
        keys.raise(epoch).await?;
        timeout(LOAD_WITHIN, keys.load(watch))
            .await
            .map_err(|_| KeysError::Unavailable("the keys were not told in time".to_owned()))?;
        Ok(keys)
    }

    fn fence_key(&self) -> String {
        format!("{}.epoch", self.account)
    }

    async fn raise(&mut self, epoch: u64) -> Result<(), KeysError> {
        let key = self.fence_key();
        for _ in 0..RAISE_TRIES {
            if !self.hold.is_held() {
                break;
            }
            let there = self.bucket.get(&key).await?;
            let former = there.as_ref().and_then(|entry| {
                let text = std::str::from_utf8(entry.value.as_ref()?).ok()?;
                text.parse::<u64>().ok()
            });
            if former.is_some_and(|former| former > epoch) {
                break;
            }
            let write = Write {
                expects: Some(there.map_or(0, |entry| entry.revision)),
                within: WITHIN,
                ..Write::default()
            };
            match self.bucket.put(&key, epoch.to_string().into(), write).await {
                Ok(revision) => {
                    self.fence = revision;
                    return Ok(());
                }
                // Whoever wrote: the next look tells.
                Err(WriteError::Conflict | WriteError::Unknown(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(KeysError::Fenced)
    }

    /// The watch ends at the own fence, not before: a follower may lag, and everything older comes first.
    async fn load(&mut self, mut watch: Watch) {
        let fence = self.fence_key();
        loop {
            match watch.next().await {
                Change::Reset => {
                    self.keys.clear();
                    self.bytes = 0;
                }
                Change::Entry(entry) if entry.key == fence => {
                    if entry.revision >= self.fence {
                        return;
                    }
                }
                Change::Entry(entry) => self.loaded(entry),
                Change::Complete => {}
            }
        }
    }

    fn loaded(&mut self, entry: Entry) {
        let Some(key) = self.key_of(&entry.key) else {
            return;
        };
        match entry.value {
            Some(bytes) => self.remember(
                key,
                Value {
                    bytes,
                    revision: entry.revision,
                },
            ),
            None => self.forget(&key),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    /// Keys that begin with this, in order.
    pub fn list(&self, prefix: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.keys
            .range(prefix.to_owned()..)
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Writes; the new revision. `expected`: 0 for a key that must not be there, `None` for any.
    pub async fn put(
        &mut self,
        key: &str,
        bytes: Bytes,
        expected: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<u64, KeysError> {
        self.check(key, expected)?;
        let before = self.keys.get(key).map_or(0, |value| value.bytes.len());
        let is_new = !self.keys.contains_key(key);
        if self.bytes - before + bytes.len() > BYTES_MAX || (is_new && self.keys.len() >= KEYS_MAX)
        {
            return Err(KeysError::TooMuch);
        }
        let (subject_key, fence) = (self.bucket_key(key), self.fence_key());
        let write = self.fenced(&fence, ttl);
        let put = self.bucket.put(&subject_key, bytes.clone(), write).await;
        let revision = match put {
            Ok(revision) => revision,
            Err(WriteError::Unknown(_)) => self.look(&subject_key, Some(&bytes)).await?,
            Err(error) => return Err(failed(error)),
        };
        self.remember(key.to_owned(), Value { bytes, revision });
        Ok(revision)
    }

    /// Deletes; deleting what is not there is done at once.
    pub async fn delete(&mut self, key: &str, expected: Option<u64>) -> Result<(), KeysError> {
        self.check(key, expected)?;
        if !self.keys.contains_key(key) {
            return Ok(());
        }
        let (subject_key, fence) = (self.bucket_key(key), self.fence_key());
        // The marker is for readers that watch; there are none.
        let write = self.fenced(&fence, Some(WITHIN));
        match self.bucket.delete(&subject_key, write).await {
            Ok(_) => {}
            Err(WriteError::Unknown(_)) => {
                self.look(&subject_key, None).await?;
            }
            Err(error) => return Err(failed(error)),
        }
        self.forget(key);
        Ok(())
    }

    /// Those whose TTL has passed are gone at the server; nobody tells, so whoever gave the TTL says so.
    pub fn forget_those(&mut self, is_gone: impl Fn(&Value) -> bool) {
        let gone = self.keys.extract_if(.., |_, value| is_gone(value));
        let freed: usize = gone.map(|(_, value)| value.bytes.len()).sum();
        self.bytes -= freed;
    }

    /// The same of one.
    pub fn forget(&mut self, key: &str) {
        if let Some(value) = self.keys.remove(key) {
            self.bytes -= value.bytes.len();
        }
    }

    fn remember(&mut self, key: String, value: Value) {
        self.forget(&key);
        self.bytes += value.bytes.len();
        self.keys.insert(key, value);
    }

    fn check(&self, key: &str, expected: Option<u64>) -> Result<(), KeysError> {
        if !self.hold.is_held() {
            return Err(KeysError::Fenced);
        }
        let actual = self.keys.get(key).map_or(0, |value| value.revision);
        match expected {
            Some(expected) if expected != actual => Err(KeysError::Revision { expected, actual }),
            _ => Ok(()),
        }
    }

    fn fenced<'f>(&self, fence: &'f str, ttl: Option<Duration>) -> Write<'f> {
        Write {
            expects_of: Some((fence, self.fence)),
            ttl,
            within: WITHIN,
            ..Write::default()
        }
    }

    /// After a write that nobody answered: is it there? Only this owner writes, so what is there is either this or older.
    async fn look(&self, key: &str, wanted: Option<&Bytes>) -> Result<u64, KeysError> {
        let there = self.bucket.get(key).await?;
        let (value, revision) = match there {
            Some(entry) => (entry.value, entry.revision),
            None => (None, 0),
        };
        if value.as_ref() == wanted {
            return Ok(revision);
        }
        Err(KeysError::Unavailable(
            "the write was not answered".to_owned(),
        ))
    }

    /// `/` becomes `.`, and each segment is escaped: `a//b` is a key, too, and `a.b` is another than `a/b`.
    fn bucket_key(&self, key: &str) -> String {
        let segments: Vec<String> = key
            .split('/')
            .map(|segment| {
                if segment.is_empty() {
                    EMPTY.to_owned()
                } else {
                    escaped(segment)
                }
            })
            .collect();
        format!("{}.k.{}", self.account, segments.join("."))
    }

    fn key_of(&self, bucket_key: &str) -> Option<String> {
        let rest = bucket_key
            .strip_prefix(&self.account)?
            .strip_prefix(".k.")?;
        let segments: Option<Vec<String>> = rest
            .split('.')
            .map(|token| {
                if token == EMPTY {
                    Some(String::new())
                } else {
                    unescaped(token)
                }
            })
            .collect();
        Some(segments?.join("/"))
    }
}

/// No text is escaped to this.
const EMPTY: &str = "=";

fn failed(error: WriteError) -> KeysError {
    match error {
        WriteError::Conflict => KeysError::Fenced,
        WriteError::Full => KeysError::Full,
        error if error.is_lasting() => KeysError::Refused(error.to_string()),
        WriteError::Unknown(error) => KeysError::Unavailable(error.to_string()),
        WriteError::Refused(error) => error.into(),
    }
}
