//! The NATS service `im-bridge`: what a replica tells about itself to whoever asks.
//!
//! One instance per replica, found by `$SRV.PING`. Each has a queue group of its own, so that all of them answer.
//!
//! Not here: what the answers say. Not one endpoint per account: the list of endpoints would outgrow a message.

use super::connect::Bus;
use super::token::Action;
use async_nats::service::{self, ServiceExt};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const NAME: &str = "im-bridge";
/// Questions that wait; more are refused, so that a curious tool costs nobody anything.
const WAITING: usize = 64;
const SEND_WITHIN: Duration = Duration::from_secs(5);
const OVERLOADED: usize = 503;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Readiness, shards, versions, objects.
    Status,
    /// The accounts that this replica owns.
    Accounts,
}

impl Endpoint {
    const ALL: [Self; 2] = [Self::Status, Self::Accounts];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Accounts => "accounts",
        }
    }

    /// The last token of its subject.
    pub fn action(self) -> Action {
        self.as_str().parse().expect("both names are tokens")
    }
}

/// A question to this replica.
pub struct Asked {
    pub endpoint: Endpoint,
    request: service::Request,
}

impl Asked {
    pub fn payload(&self) -> &Bytes {
        &self.request.message.payload
    }

    pub async fn answer(self, body: Bytes) {
        // The asker has a deadline of its own and asks again.
        let _ = timeout(SEND_WITHIN, self.request.respond(Ok(body))).await;
    }
}

/// Why the service cannot be offered.
#[derive(Debug, thiserror::Error)]
#[error("the service im-bridge cannot be offered: {0}")]
pub struct ServiceError(String);

/// Offered until it is dropped.
pub struct Service {
    _service: service::Service,
    _endpoints: JoinSet<()>,
}

impl Service {
    /// `version` is this program's. Questions come out of the receiver.
    pub async fn start(
        bus: &Bus,
        version: &str,
    ) -> Result<(Self, mpsc::Receiver<Asked>), ServiceError> {
        let failed = |error: async_nats::Error| ServiceError(error.to_string());
        let instance = format!("{:016x}", fastrand::u64(..));
        let metadata = HashMap::from([
            ("instance".to_owned(), bus.name.to_string()),
            ("version".to_owned(), version.to_owned()),
        ]);
        let service = bus
            .control
            .client()
            .service_builder()
            .description("Joins instant-messaging providers to NATS")
            .metadata(metadata)
            .queue_group(&instance)
            .start(NAME, version)
            .await
            .map_err(failed)?;
        let (asked, questions) = mpsc::channel(WAITING);
        let mut endpoints = JoinSet::new();
        for endpoint in Endpoint::ALL {
            let requests = service
                .endpoint_builder()
                .name(endpoint.as_str())
                .queue_group(&instance)
                .add(bus.subjects.service(&endpoint.action()).to_string())
                .await
                .map_err(failed)?;
            endpoints.spawn(pump(endpoint, requests, asked.clone()));
        }
        // While disconnected there is no server to tell; it is told on the way back.
        let _ = bus.control.replies().caught_up(SEND_WITHIN).await;
        let service = Self {
            _service: service,
            _endpoints: endpoints,
        };
        Ok((service, questions))
    }
}

async fn pump(
    endpoint: Endpoint,
    mut requests: service::endpoint::Endpoint,
    asked: mpsc::Sender<Asked>,
) {
    while let Some(request) = requests.next().await {
        let refused = match asked.try_send(Asked { endpoint, request }) {
            Ok(()) => continue,
            Err(
                mpsc::error::TrySendError::Full(refused)
                | mpsc::error::TrySendError::Closed(refused),
            ) => refused,
        };
        let error = service::error::Error {
            status: "overloaded".to_owned(),
            code: OVERLOADED,
        };
        let _ = timeout(SEND_WITHIN, refused.request.respond(Err(error))).await;
    }
}
