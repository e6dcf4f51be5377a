//! Bodies that are too large for a message, as objects that every NATS tool can read.
//!
//! An object is there when its description is: the chunks come first, each stored before the next is sent. A put that is
//! cut short leaves chunks that nobody finds, and they go with their age. What is there is not put again: replacing it
//! would purge, which the bridge may not.
//!
//! Not here: reading. Readers use the object store of their client library, which checks the digest.

use super::ack::{AckTable, Acked, Headers, Outgoing, Refusal, Target};
use super::api::{Api, ApiError, Which};
use super::connect::Bus;
use super::hold::Hold;
use super::objects::{Names, ObjectKind};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use im_bridge_sdk::model::Time;
use ring::digest::{SHA256, digest};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The chunk size of the client libraries: far below any server's message limit.
const CHUNK_BYTES: usize = 128 * 1024;
/// The server's default for streams that say nothing.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// Why an object is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the object store cannot be read: {0}")]
    Read(ApiError),
    /// The lease is lost or the bridge ends.
    #[error("given up before it was stored")]
    Abandoned,
}

/// The installation's object store.
#[derive(Clone)]
pub struct Blobs {
    api: Api,
    acks: AckTable,
    bucket: Arc<str>,
    stream: Target,
}

impl Blobs {
    pub fn new(bus: &Bus, acks: &AckTable) -> Self {
        let bucket = Names::new(bus.subjects.root()).blobs();
        Self {
            api: bus.data.api().clone(),
            acks: acks.clone(),
            stream: Target {
                name: ObjectKind::ObjectStore.stream_of(&bucket).into(),
                duplicate_window: DUPLICATE_WINDOW,
                waits_for_permission: false,
            },
            bucket: bucket.into(),
        }
    }

    /// Returns when the object is stored, or has been before; tries while `hold` is held.
    pub async fn put(&self, name: &str, bytes: &Bytes, hold: &Hold) -> Result<(), BlobError> {
        let description = format!("$O.{}.M.{}", self.bucket, URL_SAFE.encode(name));
        if self.exists(&description, hold).await? {
            return Ok(());
        }
        // A number of its own for each put: what an earlier one left must not become part of this one.
        let number = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let chunks = format!("$O.{}.C.{number}", self.bucket);
        let mut count = 0;
        while count * CHUNK_BYTES < bytes.len() {
            let from = count * CHUNK_BYTES;
            let chunk = bytes.slice(from..bytes.len().min(from + CHUNK_BYTES));
            let id = format!("{number}.{count}");
            self.store(&chunks, id, Vec::new(), chunk, hold).await?;
            count += 1;
        }
        let about = json!({
            "name": name,
            "bucket": &*self.bucket,
            "nuid": number,
            "size": bytes.len(),
            "chunks": count,
            "mtime": Time::from_ms(super::clock::unix_ms()).to_string(),
            "digest": format!("SHA-256={}", URL_SAFE.encode(digest(&SHA256, bytes))),
            "options": { "max_chunk_size": CHUNK_BYTES },
        });
        let rollup = vec![("Nats-Rollup".into(), "sub".into())];
        self.store(&description, number, rollup, about.to_string().into(), hold)
            .await
    }

    async fn store(
        &self,
        subject: &str,
        id: String,
        headers: Headers,
        payload: Bytes,
        hold: &Hold,
    ) -> Result<(), BlobError> {
        let message = Outgoing {
            subject: subject.into(),
            message_id: id.into(),
            headers,
            payload,
            stream: self.stream.clone(),
            hold: hold.clone(),
        };
        match self.acks.publish(message).await.acked().await {
            Acked::Stored { .. } | Acked::Duplicate { .. } => Ok(()),
            Acked::Refused(refusal) => Err(refusal.into()),
            Acked::Abandoned => Err(BlobError::Abandoned),
        }
    }

    async fn exists(&self, description: &str, hold: &Hold) -> Result<bool, BlobError> {
        let mut pause = PAUSE_FIRST;
        loop {
            if !hold.is_held() {
                return Err(BlobError::Abandoned);
            }
            let found = self
                .api
                .message(&self.stream.name, Which::LastOf(description))
                .await;
            match found {
                Ok(None) => return Ok(false),
                Ok(Some(about)) => {
                    // Somebody deleted it on purpose: then its description says so and is put again.
                    let about: serde_json::Value =
                        serde_json::from_slice(&about.payload).unwrap_or_default();
                    return Ok(about["deleted"] != true);
                }
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(BlobError::Read(error)),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }
}
