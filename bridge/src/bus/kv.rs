//! Keys and values: reads at the leader, writes that the server compares.
//!
//! A write carries its TTL every time: one without would make the key permanent, and that is what the usual library calls
//! do. Whoever acts, acts on the result of a write, never on a read alone.
//!
//! Not here: hearing of changes (`watch`), and what the keys mean.

use super::api::{Api, ApiError, Which, header, number};
use super::connect::Connection;
use super::replies::{AskError, Replies};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const TTL: &str = "Nats-TTL";
const OPERATION: &str = "KV-Operation";
const MARKER_REASON: &str = "Nats-Marker-Reason";
const DELETED: &str = "DEL";
const PAUSE: Duration = Duration::from_millis(50);

/// One bucket, over one connection.
#[derive(Clone, Debug)]
pub struct Bucket {
    api: Api,
    stream: Arc<str>,
    prefix: Arc<str>,
}

/// A key as it is now: a value, or the marker of one that was deleted or expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// `None`: a marker. Until it goes, a write has to expect its revision.
    pub value: Option<Bytes>,
    /// Sequence of the write in the bucket's stream.
    pub revision: u64,
}

/// What a write expects and leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Write<'w> {
    /// The key's revision; 0: there is none. `None`: any.
    pub expects: Option<u64>,
    /// The revision of another key instead: a fence.
    pub expects_of: Option<(&'w str, u64)>,
    /// The key goes by itself. At least a second.
    pub ttl: Option<Duration>,
    /// How long to try while nobody leads.
    pub within: Duration,
}

/// Why nothing was written, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Surely not written: the revision is another one.
    #[error("somebody else wrote it first")]
    Conflict,
    #[error("the bucket is full; raise its max_bytes")]
    Full,
    /// Perhaps written: read it at the leader.
    #[error("nobody knows whether it was written: {0}")]
    Unknown(AskError),
    /// Surely not written.
    #[error(transparent)]
    Refused(ApiError),
}

impl WriteError {
    /// Refused in a way that waiting does not mend.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Refused(error) if !error.is_transient())
    }
}

impl Bucket {
    /// `name` as of `objects::Names`.
    pub fn new(connection: &Connection, name: &str) -> Self {
        Self {
            api: connection.api().clone(),
            stream: format!("KV_{name}").into(),
            prefix: format!("$KV.{name}.").into(),
        }
    }

    pub fn stream(&self) -> &str {
        &self.stream
    }

    fn replies(&self) -> &Replies {
        self.api.replies()
    }

    /// Subject of a key; of several with wildcards.
    pub fn subject(&self, key: &str) -> Subject {
        [&*self.prefix, key].concat().into()
    }

    /// Key of a subject of this bucket.
    pub fn key<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(&*self.prefix)
    }

    /// As the leader has it; a marker is an entry without value.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, ApiError> {
        let subject = self.subject(key);
        let stored = self
            .api
            .message(&self.stream, Which::LastOf(&subject))
            .await?;
        Ok(stored.map(|stored| Entry {
            key: key.to_owned(),
            value: (!is_marker(&stored.headers)).then_some(stored.payload),
            revision: stored.sequence,
        }))
    }

    /// Writes; the new revision.
    ///
    /// No async function: one has room for its arguments twice.
    pub fn put(
        &self,
        key: &str,
        value: Bytes,
        write: Write<'_>,
    ) -> impl Future<Output = Result<u64, WriteError>> + Send {
        self.write(key, value, None, write)
    }

    /// Leaves a marker; its revision. The marker goes after the TTL, if the write has one.
    pub fn delete(
        &self,
        key: &str,
        write: Write<'_>,
    ) -> impl Future<Output = Result<u64, WriteError>> + Send {
        self.write(key, Bytes::new(), Some(DELETED), write)
    }

    /// Writes only if there is no value; over the marker of a former one, too.
    pub async fn create(
        &self,
        key: &str,
        value: Bytes,
        write: Write<'_>,
    ) -> Result<u64, WriteError> {
        let fresh = Write {
            expects: Some(0),
            ..write
        };
        match self.put(key, value.clone(), fresh).await {
            // In a box: nearly every key is new, and whoever waits for this would keep room for the rest.
            Err(WriteError::Conflict) => Box::pin(self.create_over(key, value, write)).await,
            done => done,
        }
    }

    /// Over the marker of a former value.
    async fn create_over(
        &self,
        key: &str,
        value: Bytes,
        write: Write<'_>,
    ) -> Result<u64, WriteError> {
        match self.get(key).await {
            Ok(Some(Entry {
                value: None,
                revision,
                ..
            })) => {
                let over = Write {
                    expects: Some(revision),
                    ..write
                };
                self.put(key, value, over).await
            }
            // A value; or a marker that went meanwhile, which the next try will find out.
            Ok(_) => Err(WriteError::Conflict),
            Err(error) => Err(WriteError::Refused(error)),
        }
    }

    async fn write(
        &self,
        key: &str,
        value: Bytes,
        operation: Option<&'static str>,
        write: Write<'_>,
    ) -> Result<u64, WriteError> {
        let until = Instant::now() + write.within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self
                .replies()
                .ask(
                    self.subject(key),
                    Some(self.headers(operation, &write)),
                    value.clone(),
                    left,
                )
                .await;
            let error = match answer {
                Ok(answer) => match outcome(&answer.payload) {
                    Ok(revision) => return Ok(revision),
                    Err(error) => error,
                },
                Err(error) if error.is_certain() => WriteError::Refused(error.into()),
                Err(error) => return Err(WriteError::Unknown(error)),
            };
            if !is_passing(&error) || Instant::now() + PAUSE >= until {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }

    fn headers(&self, operation: Option<&'static str>, write: &Write<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(operation) = operation {
            headers.insert(OPERATION, operation);
        }
        if let Some(revision) = write.expects {
            headers.insert(EXPECTED, revision.to_string());
        }
        if let Some((key, revision)) = write.expects_of {
            headers.insert(EXPECTED, revision.to_string());
            headers.insert(EXPECTED_SUBJECT, self.subject(key).to_string());
        }
        if let Some(ttl) = write.ttl {
            // The server counts whole seconds.
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            headers.insert(TTL, format!("{}s", seconds.max(1)));
        }
        headers
    }
}

pub(super) fn is_marker(headers: &HeaderMap) -> bool {
    header(headers, OPERATION).is_some() || header(headers, MARKER_REASON).is_some()
}

fn outcome(ack: &[u8]) -> Result<u64, WriteError> {
    #[derive(Deserialize)]
    struct PubAck {
        #[serde(default)]
        seq: u64,
        error: Option<super::api::ServerError>,
    }
    const CALL: &str = "KV";
    let ack: PubAck = serde_json::from_slice(ack).map_err(|error| {
        WriteError::Refused(ApiError::Answer {
            call: CALL.to_owned(),
            why: error.to_string(),
        })
    })?;
    let Some(error) = ack.error else {
        return Ok(ack.seq);
    };
    Err(match error.err_code {
        number::WRONG_LAST_SEQUENCE => WriteError::Conflict,
        number::STREAM_FULL => WriteError::Full,
        err_code => WriteError::Refused(ApiError::Server {
            call: CALL.to_owned(),
            code: error.code,
            err_code,
            description: error.description,
        }),
    })
}

/// Refused for the moment: an election, or another write of the same key that is not decided yet.
fn is_passing(error: &WriteError) -> bool {
    match error {
        WriteError::Refused(error) => {
            error.is_transient()
                || error.is(number::WRONG_LAST_SEQUENCE_CONSTANT)
                || error.is(number::EXPECTED_NOT_READY)
        }
        _ => false,
    }
}
