//! Hearing of changes in a bucket: everything as it is, then every change, in order.
//!
//! Whatever goes wrong at the server or on the way, the watch begins anew and says so; nothing is missed in between. Only
//! the last value of a key is sure to be told.
//!
//! Not here: acting on what was heard. It may be old by now; only a write's result is not.

use super::api::ApiError;
use super::connect::Connection;
use super::kv::{Bucket, Entry, is_marker};
use super::pull::{Delivery, Pull, Pulled};
use async_nats::Message;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::SendError};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A consumer that nobody pulls from goes by itself.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything is told again from here.
    Reset,
    Entry(Entry),
    /// What was there when the watch began has been told.
    Complete,
}

/// Changes that wait for their reader. When full, the pull waits, and the server keeps the rest.
const QUEUE: usize = 256;

/// Follows some keys of a bucket; ends with this value.
pub struct Watch {
    changes: mpsc::Receiver<Change>,
    follower: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Watch {
    /// Of the keys that match, `>` for all. Called in a runtime.
    pub fn new(connection: &Connection, bucket: &Bucket, keys: &str) -> Self {
        let (told, changes) = mpsc::channel(QUEUE);
        let follower = Follower {
            connection: connection.clone(),
            bucket: bucket.clone(),
            filter: bucket.subject(keys).to_string(),
            told,
        };
        Self {
            changes,
            follower: tokio::spawn(follower.run()),
        }
    }

    /// The next change; waits for one. The first is `Reset`. Cancel safe.
    pub async fn next(&mut self) -> Change {
        self.changes
            .recv()
            .await
            .expect("the follower ends with this value only")
    }
}

/// A task of its own: what it has begun is not undone by a reader that waits for something else, too.
struct Follower {
    connection: Connection,
    bucket: Bucket,
    filter: String,
    told: mpsc::Sender<Change>,
}

struct Running {
    pull: Pull,
    /// Nothing was there when it began.
    is_empty: bool,
}

impl Follower {
    async fn run(self) {
        let mut pause = PAUSE_FIRST;
        loop {
            // An error is one of the server's moods; the pause grows until it is over.
            if let Ok(running) = self.start().await {
                let Ok(heard) = self.follow(running).await else {
                    return;
                };
                if heard > 0 {
                    pause = PAUSE_FIRST;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// Tells until something goes wrong; how much it told. An error: nobody listens any more.
    async fn follow(&self, mut running: Running) -> Result<u64, SendError<Change>> {
        let mut heard = 0;
        let mut is_complete = running.is_empty;
        self.told.send(Change::Reset).await?;
        if is_complete {
            self.told.send(Change::Complete).await?;
        }
        while let Pulled::Message(message) = running.pull.next().await {
            let delivery = message.reply.as_deref().and_then(Delivery::parse);
            // A gap: one was lost on the way.
            let Some(delivery) = delivery.filter(|one| one.consumer_sequence == heard + 1) else {
                break;
            };
            heard += 1;
            if let Some(entry) = entry(&self.bucket, &message, delivery) {
                self.told.send(Change::Entry(entry)).await?;
            }
            if !is_complete && delivery.pending == 0 {
                is_complete = true;
                self.told.send(Change::Complete).await?;
            }
        }
        Ok(heard)
    }

    async fn start(&self) -> Result<Running, ApiError> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(default)]
            num_pending: u64,
        }
        let nanos = u64::try_from(FORGOTTEN_AFTER.as_nanos()).unwrap_or(u64::MAX);
        let stream = self.bucket.stream();
        let name = format!("watch-{:016x}", fastrand::u64(..));
        let request = json!({
            "stream_name": stream,
            "config": {
                "name": name,
                "deliver_policy": "last_per_subject",
                "ack_policy": "none",
                "filter_subject": self.filter,
                "inactive_threshold": nanos,
                "mem_storage": true,
                "num_replicas": 1,
            },
            "action": "create",
        });
        let api = self.connection.api();
        let call = format!("CONSUMER.CREATE.{stream}.{name}.{}", self.filter);
        let created: Created = api.call(&call, &request).await?;
        let pull = Pull::start(&self.connection, stream, &name)
            .await
            .map_err(|error| ApiError::Answer {
                call: name,
                why: error.to_string(),
            })?;
        Ok(Running {
            pull,
            is_empty: created.num_pending == 0,
        })
    }
}

fn entry(bucket: &Bucket, message: &Message, delivery: Delivery) -> Option<Entry> {
    let key = bucket.key(&message.subject)?.to_owned();
    let is_marker = message.headers.as_ref().is_some_and(is_marker);
    Some(Entry {
        key,
        value: (!is_marker).then(|| message.payload.clone()),
        revision: delivery.stream_sequence,
    })
}
