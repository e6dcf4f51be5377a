//! The commands of one shard: a durable consumer that belongs to one epoch of the shard's lease.
//!
//! The epoch in the name is the fence: whoever takes over deletes the former owner's consumer, so the former owner's pulls
//! end and its late acks do nothing. What was not acked comes again, in order. Nobody ever naks: a nak comes back after
//! newer commands.
//!
//! Not here: what a command means, when it is acked (`outbound`), and whether the lease is still held (`hold`).

use super::api::{ApiError, Stored, Which, number};
use super::connect::{Bus, Connection};
use super::objects::Names;
use super::pull::{Delivery, Pull, Pulled};
use super::shard::Shard;
use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longer than anything keeps a command in hand without a sign of life.
const ACK_WAIT: Duration = Duration::from_secs(600);
/// All commands that one owner may have in hand; beyond it the shard waits.
const IN_HAND_MAX: u32 = 65_536;
const SEND_WITHIN: Duration = Duration::from_secs(2);
/// A consumer that is being deleted still blocks its filter for a moment.
const AGAIN: u32 = 20;
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A command as it was stored.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// As the stream keeps it: `Subjects::parse_stored_command` reads it.
    pub subject: Subject,
    /// Its sequence in the stream: its identity, also when it comes again.
    pub sequence: u64,
    /// When the stream stored it, in Unix milliseconds.
    pub stored_ms: i64,
    /// How often it was delivered by this consumer.
    pub count: u64,
    pub headers: HeaderMap,
    pub payload: Bytes,
    pub ack: AckSubject,
}

/// Where a delivered command is acknowledged.
#[derive(Clone, Debug)]
pub struct AckSubject(Subject);

/// Acknowledges commands.
#[derive(Clone, Debug)]
pub struct Acks {
    client: Client,
}

impl Acks {
    /// Of whatever consumers there are on this connection.
    pub fn of(bus: &Bus) -> Self {
        Self {
            client: bus.data.client().clone(),
        }
    }

    /// Done: it is never delivered again. Not confirmed: a lost one leads to a redelivery, which the ledger answers.
    pub async fn done(&self, ack: &AckSubject) {
        self.send(ack, "+ACK").await;
    }

    /// Still in hand: another ten minutes.
    pub async fn progress(&self, ack: &AckSubject) {
        self.send(ack, "+WPI").await;
    }

    async fn send(&self, ack: &AckSubject, what: &'static str) {
        let sent = self.client.publish(ack.0.clone(), what.into());
        let _ = timeout(SEND_WITHIN, sent).await;
    }
}

/// Why a shard's commands cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Look at the lease: somebody with a later epoch has it.
    #[error("shard {shard} has a consumer of epoch {theirs}, ours is {ours}")]
    Newer {
        shard: Shard,
        ours: u64,
        theirs: u64,
    },
    #[error("the consumer of shard {shard} cannot be made: {why}")]
    Api { shard: Shard, why: ApiError },
}

/// Delivers the commands of one shard.
pub struct ShardConsumer {
    connection: Connection,
    stream: String,
    shard: Shard,
    epoch: u64,
    filter: Subject,
    pull: Pull,
}

impl ShardConsumer {
    /// Deletes what former owners left and makes the own one; everything not acked comes again, in order.
    pub async fn take_over(bus: &Bus, shard: Shard, epoch: u64) -> Result<Self, TakeError> {
        let stream = Names::new(bus.subjects.root()).commands();
        let filter = bus.subjects.stored_commands(shard);
        let place = Place {
            connection: &bus.data,
            stream: &stream,
            shard,
            epoch,
            filter: &filter,
        };
        let pull = place.take().await?;
        Ok(Self {
            connection: bus.data.clone(),
            stream,
            shard,
            epoch,
            filter,
            pull,
        })
    }

    /// Once more, under the same name: after a reconnect, when deliveries may have been lost on the way. What is still in
    /// hand comes again, too, and is known by its sequence.
    pub async fn again(&mut self) -> Result<(), TakeError> {
        let place = Place {
            connection: &self.connection,
            stream: &self.stream,
            shard: self.shard,
            epoch: self.epoch,
            filter: &self.filter,
        };
        place.delete(&place.name(self.epoch)).await?;
        self.pull = place.take().await?;
        Ok(())
    }

    /// The next command; `None`: the consumer is gone, so look at the lease and, if it is ours, call [`Self::again`].
    /// Cancel safe. Pulls only while it is polled.
    pub async fn next(&mut self) -> Option<Delivered> {
        loop {
            let Pulled::Message(message) = self.pull.next().await else {
                return None;
            };
            let Some(reply) = message.reply else { continue };
            let Some(delivery) = Delivery::parse(&reply) else {
                continue;
            };
            return Some(Delivered {
                subject: message.subject,
                sequence: delivery.stream_sequence,
                stored_ms: delivery.stored_ms,
                count: delivery.count,
                headers: message.headers.unwrap_or_default(),
                payload: message.payload,
                ack: AckSubject(reply),
            });
        }
    }

    pub fn acks(&self) -> Acks {
        Acks {
            client: self.connection.client().clone(),
        }
    }

    /// Reads a command again whose body was not kept in memory; `None` if it is gone.
    pub async fn read(&self, sequence: u64) -> Result<Option<Stored>, ApiError> {
        self.connection
            .api()
            .message(&self.stream, Which::Sequence(sequence))
            .await
    }

    /// Changes with every connect: then deliveries may have been lost.
    pub fn connects(&self) -> tokio::sync::watch::Receiver<u64> {
        self.connection.connects()
    }
}

/// Where a consumer belongs.
struct Place<'p> {
    connection: &'p Connection,
    stream: &'p str,
    shard: Shard,
    epoch: u64,
    filter: &'p Subject,
}

impl Place<'_> {
    fn name(&self, epoch: u64) -> String {
        format!("s{}-{epoch}", self.shard)
    }

    fn failed(&self, why: ApiError) -> TakeError {
        TakeError::Api {
            shard: self.shard,
            why,
        }
    }

    async fn take(&self) -> Result<Pull, TakeError> {
        let mut tries = 0;
        loop {
            self.delete_former().await?;
            match self.create().await {
                Ok(()) => break,
                // Another one was made since we looked, or a deleted one still stands in the way.
                Err(error) if error.is(number::FILTER_NOT_UNIQUE) || error.is_transient() => {
                    tries += 1;
                    if tries >= AGAIN {
                        return Err(self.failed(error));
                    }
                    sleep(AGAIN_AFTER).await;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        let name = self.name(self.epoch);
        Pull::start(self.connection, self.stream, &name)
            .await
            .map_err(|error| {
                self.failed(ApiError::Answer {
                    call: name,
                    why: error.to_string(),
                })
            })
    }

    async fn delete_former(&self) -> Result<(), TakeError> {
        for epoch in self.epochs().await.map_err(|error| self.failed(error))? {
            if epoch > self.epoch {
                return Err(TakeError::Newer {
                    shard: self.shard,
                    ours: self.epoch,
                    theirs: epoch,
                });
            }
            if epoch < self.epoch {
                self.delete(&self.name(epoch)).await?;
            }
        }
        Ok(())
    }

    /// Epochs of all consumers of this shard.
    async fn epochs(&self) -> Result<Vec<u64>, ApiError> {
        #[derive(Deserialize)]
        struct Names {
            #[serde(default)]
            total: usize,
            consumers: Option<Vec<String>>,
        }
        let call = format!("CONSUMER.NAMES.{}", self.stream);
        let prefix = format!("s{}-", self.shard);
        let mut epochs = Vec::new();
        let mut seen = 0;
        loop {
            let page: Names = self
                .connection
                .api()
                .call(&call, &json!({ "offset": seen }))
                .await?;
            let names = page.consumers.unwrap_or_default();
            seen += names.len();
            epochs.extend(
                names
                    .iter()
                    .filter_map(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok()),
            );
            if names.is_empty() || seen >= page.total {
                return Ok(epochs);
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<(), TakeError> {
        let call = format!("CONSUMER.DELETE.{}.{name}", self.stream);
        match self
            .connection
            .api()
            .call::<Value>(&call, &Value::Null)
            .await
        {
            Ok(_) => Ok(()),
            // Somebody else deleted it.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn create(&self) -> Result<(), ApiError> {
        let name = self.name(self.epoch);
        let ack_wait = u64::try_from(ACK_WAIT.as_nanos()).unwrap_or(u64::MAX);
        let request = json!({
            "stream_name": self.stream,
            "config": {
                "name": name,
                "durable_name": name,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": ack_wait,
                "max_ack_pending": IN_HAND_MAX,
                "max_deliver": -1,
                "filter_subject": self.filter,
            },
        });
        let call = format!("CONSUMER.CREATE.{}.{name}.{}", self.stream, self.filter);
        self.connection.api().call::<Value>(&call, &request).await?;
        Ok(())
    }
}
