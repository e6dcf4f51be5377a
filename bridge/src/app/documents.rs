//! Writes an account's state and capabilities to where everybody reads them.
//!
//! Only the owner writes, by compare-and-set, and a document of a later epoch ends it: whoever wrote that owns the account.
//! While the bus is away the newest document waits; those in between are left out.
//!
//! Not here: what the documents say (`face`).

use super::face::{Documents, Face};
use crate::bus::clock::unix_ms;
use crate::bus::kv::{Bucket, Write, WriteError};
use crate::bus::objects::Names;
use crate::bus::{Account, Bus, Hold};
use crate::envelope::{self, Attributes, Data, Document, ModelMinor};
use bytes::Bytes;
use im_bridge_plugin_api::abi::Trace;
use im_bridge_sdk::model::{CapabilityDocument, MODEL, State, Time};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a write looks for a leader before the newest document is looked at again.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Writes until the last document, or until the lease is lost.
pub struct Scribe(JoinHandle<()>);

impl Drop for Scribe {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Scribe {
    pub fn start(bus: &Bus, face: &Face, hold: &Hold) -> Self {
        let names = Names::new(bus.subjects.root());
        let place = |bucket: &str| Place {
            bucket: Bucket::new(&bus.control, bucket),
            key: face.account.key(),
            epoch: face.epoch,
            revision: None,
        };
        // Boxed: a task has room for what it is started with twice.
        let desk = Box::new(Desk {
            account: face.account.clone(),
            states: place(&names.states()),
            capabilities: place(&names.capabilities()),
            documents: face.documents(),
            written_state: None,
            written_capabilities: None,
        });
        let hold = hold.clone();
        Self(tokio::spawn(async move {
            tokio::select! {
                biased;
                () = hold.lost() => {}
                () = desk.run() => {}
            }
        }))
    }

    /// Returns when the last document is written; the time is for a bus that is away.
    pub async fn finish(mut self, within: Duration) {
        // Beyond it the task is aborted with this value.
        let _ = timeout(within, &mut self.0).await;
    }
}

struct Desk {
    account: Account,
    states: Place,
    capabilities: Place,
    documents: watch::Receiver<Documents>,
    written_state: Option<Arc<State>>,
    written_capabilities: Option<String>,
}

impl Desk {
    async fn run(mut self: Box<Self>) {
        loop {
            let documents = self.documents.borrow_and_update().clone();
            // Writing is rare; in a box it costs an idle account nothing.
            match Box::pin(self.write(&documents)).await {
                Ok(()) if documents.is_last => return,
                Ok(()) => {
                    if self.documents.changed().await.is_err() {
                        return;
                    }
                }
                Err(Failed::Superseded) => return,
                Err(Failed::Unwritten(error)) => {
                    tracing::debug!(account = %self.account, %error, "document not written yet");
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    async fn write(&mut self, documents: &Documents) -> Result<(), Failed> {
        let is_known = |written: &Arc<State>| Arc::ptr_eq(written, &documents.state);
        if !self.written_state.as_ref().is_some_and(is_known) {
            let body = render_state(&self.account, &documents.state);
            self.states.put(body).await?;
            self.written_state = Some(Arc::clone(&documents.state));
        }
        if let Some(capabilities) = &documents.capabilities
            && self.written_capabilities.as_ref() != Some(&capabilities.revision)
        {
            let is_there = self.written_capabilities.is_none()
                && self.capabilities.read().await?.is_some_and(|stored| {
                    stored["data"]["revision"] == capabilities.revision.as_str()
                });
            if !is_there {
                let body = render_capabilities(&self.account, capabilities);
                self.capabilities.put(body).await?;
            }
            self.written_capabilities = Some(capabilities.revision.clone());
        }
        Ok(())
    }
}

enum Failed {
    /// A later epoch wrote there.
    Superseded,
    Unwritten(WriteError),
}

impl From<WriteError> for Failed {
    fn from(error: WriteError) -> Self {
        Self::Unwritten(error)
    }
}

/// One key of one bucket.
struct Place {
    bucket: Bucket,
    key: String,
    epoch: u64,
    /// None: to be read at the leader first.
    revision: Option<u64>,
}

impl Place {
    /// What stands there; learns its revision.
    async fn read(&mut self) -> Result<Option<Value>, Failed> {
        let entry = self
            .bucket
            .get(&self.key)
            .await
            .map_err(WriteError::Refused)?;
        self.revision = Some(entry.as_ref().map_or(0, |entry| entry.revision));
        let stored: Option<Value> = entry
            .and_then(|entry| entry.value)
            .and_then(|value| serde_json::from_slice(&value).ok());
        let epoch = stored
            .as_ref()
            .and_then(|it| it["data"]["owner"]["epoch"].as_u64());
        if epoch.is_some_and(|epoch| epoch > self.epoch) {
            return Err(Failed::Superseded);
        }
        Ok(stored)
    }

    async fn put(&mut self, body: Bytes) -> Result<(), Failed> {
        loop {
            if self.revision.is_none() {
                self.read().await?;
            }
            let write = Write {
                expects: self.revision,
                within: WRITE_WITHIN,
                ..Write::default()
            };
            match self.bucket.put(&self.key, body.clone(), write).await {
                Ok(revision) => {
                    self.revision = Some(revision);
                    return Ok(());
                }
                // Our own write whose answer was lost, or a former owner's: reading tells.
                Err(WriteError::Conflict) => self.revision = None,
                Err(error) => {
                    self.revision = None;
                    return Err(error.into());
                }
            }
        }
    }
}

fn render_state(account: &Account, state: &State) -> Bytes {
    let data = serde_json::to_vec(state).expect("a document of the model becomes JSON");
    render(account, Document::State, state.since, &data)
}

fn render_capabilities(account: &Account, document: &CapabilityDocument) -> Bytes {
    let data = serde_json::to_vec(document).expect("a document of the model becomes JSON");
    let now = Time::from_ms(unix_ms());
    render(account, Document::Capability, now, &data)
}

fn render(account: &Account, document: Document, since: Time, data: &[u8]) -> Bytes {
    let attributes = Attributes {
        id: &envelope::ulid(Time::from_ms(unix_ms())),
        time: since,
        channel: None,
        correlation_id: None,
        causation_id: None,
        trace: Trace::NONE,
        model: ModelMinor(MODEL.minor),
    };
    envelope::document(account, document, &attributes, Data::Inline(data))
        .expect("a document is an object")
        .into()
}
