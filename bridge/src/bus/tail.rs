//! Following a stream from a moment on, for people who look: it acknowledges nothing and leaves nothing behind.
//!
//! Not here: reading for work (`consumer`).

use super::api::{ApiError, number};
use super::connect::Connection;
use super::pull::{Delivery, Pull, Pulled};
use async_nats::{Message, Subject};
use im_bridge_sdk::model::Time;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// A consumer that nobody pulls from goes by itself.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Between attempts to go on where it was, while the server is away or its stream has no leader.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// One stream, followed, also over a restart of the server.
pub struct Tail {
    connection: Connection,
    stream: String,
    filter: Subject,
    since: Time,
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
        let (pull, pending) = pull(connection, stream, filter, (since, 0)).await?;
        Ok(Self {
            connection: connection.clone(),
            stream: stream.to_owned(),
            filter: filter.clone(),
            since,
            pull,
            pending,
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

    /// The next message; `None`: the stream is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match self.pull.next().await {
                Pulled::Message(message) => {
                    let delivery = message.reply.as_deref().and_then(Delivery::parse);
                    self.pending = delivery.map_or(0, |delivery| delivery.pending);
                    self.sequence = delivery.map_or(0, |delivery| delivery.stream_sequence);
                    return Some(message);
                }
                Pulled::Ended => self.go_on().await?,
            }
        }
    }

    /// The consumer lived in the server's memory: after a restart another one begins behind what was told.
    async fn go_on(&mut self) -> Option<()> {
        loop {
            let from = (self.since, self.sequence);
            match pull(&self.connection, &self.stream, &self.filter, from).await {
                Ok((pull, pending)) => {
                    (self.pull, self.pending) = (pull, pending);
                    return Some(());
                }
                Err(error) if error.is(number::STREAM_NOT_FOUND) => return None,
                Err(_) => sleep(AGAIN_AFTER).await,
            }
        }
    }
}

/// A consumer of everything behind this sequence or, if that is 0, since this time.
async fn pull(
    connection: &Connection,
    stream: &str,
    filter: &Subject,
    (since, sequence): (Time, u64),
) -> Result<(Pull, u64), ApiError> {
    let name = format!("tail-{:016x}", fastrand::u64(..));
    let mut request = json!({
        "stream_name": stream,
        "config": {
            "name": name,
            "ack_policy": "none",
            "filter_subject": filter,
            "inactive_threshold": u64::try_from(FORGOTTEN_AFTER.as_nanos()).unwrap_or(u64::MAX),
            "mem_storage": true,
            "num_replicas": 1,
        },
        "action": "create",
    });
    let config = &mut request["config"];
    if sequence > 0 {
        config["deliver_policy"] = "by_start_sequence".into();
        config["opt_start_seq"] = (sequence + 1).into();
    } else {
        config["deliver_policy"] = "by_start_time".into();
        config["opt_start_time"] = since.to_string().into();
    }
    let call = format!("CONSUMER.CREATE.{stream}.{name}.{filter}");
    let created: Value = connection.api().call(&call, &request).await?;
    let pull = Pull::start(connection, stream, &name)
        .await
        .map_err(|error| ApiError::Answer {
            call: name,
            why: error.to_string(),
        })?;
    Ok((pull, created["num_pending"].as_u64().unwrap_or_default()))
}
