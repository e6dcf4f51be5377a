//! Following a stream from a moment on, for people who look: it acknowledges nothing and leaves nothing behind.
//!
//! Not here: reading for work (`consumer`).

use super::api::ApiError;
use super::connect::Connection;
use super::pull::{Delivery, Pull, Pulled};
use async_nats::{Message, Subject};
use im_bridge_sdk::model::Time;
use serde_json::{Value, json};
use std::time::Duration;

/// A consumer that nobody pulls from goes by itself.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// One stream, followed.
pub struct Tail {
    pull: Pull,
    pending: u64,
    sequence: u64,
}

impl Tail {
    /// Everything on these subjects that was stored since then, and what comes.
    pub async fn start(
        connection: &Connection,
        stream: &str,
        filter: &Subject,
        since: Time,
    ) -> Result<Self, ApiError> {
        let name = format!("tail-{:016x}", fastrand::u64(..));
        let request = json!({
            "stream_name": stream,
            "config": {
                "name": name,
                "deliver_policy": "by_start_time",
                "opt_start_time": since.to_string(),
                "ack_policy": "none",
                "filter_subject": filter,
                "inactive_threshold": u64::try_from(FORGOTTEN_AFTER.as_nanos()).unwrap_or(u64::MAX),
                "mem_storage": true,
                "num_replicas": 1,
            },
            "action": "create",
        });
        let call = format!("CONSUMER.CREATE.{stream}.{name}.{filter}");
        let created: Value = connection.api().call(&call, &request).await?;
        let pull = Pull::start(connection, stream, &name)
            .await
            .map_err(|error| ApiError::Answer {
                call: name,
                why: error.to_string(),
            })?;
        Ok(Self {
            pull,
            pending: created["num_pending"].as_u64().unwrap_or_default(),
            sequence: 0,
        })
    }

    /// Whether more is stored than was told.
    pub fn is_behind(&self) -> bool {
        self.pending > 0
    }

    /// Where in the stream the message stands that was told last.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next message; `None`: the server ended it. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        match self.pull.next().await {
            Pulled::Message(message) => {
                let delivery = message.reply.as_deref().and_then(Delivery::parse);
                self.pending = delivery.map_or(0, |delivery| delivery.pending);
                self.sequence = delivery.map_or(0, |delivery| delivery.stream_sequence);
                Some(message)
            }
            Pulled::Ended => None,
        }
    }
}
