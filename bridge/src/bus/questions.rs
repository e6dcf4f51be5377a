//! What is asked of an account's owner: requests, control, webhooks that reached another replica.
//!
//! The subscription is the routing table: it is made when the shard is won and removed before it is given back, and an
//! account without owner answers "no responders" at once. A question has one answer or none.
//!
//! Not here: what is answered. The client drops what it cannot queue, so whoever reads must not wait for an account.

use super::connect::Bus;
use super::subjects::QUEUE_GROUP;
use super::token::Account;
use async_nats::{Client, HeaderMap, Message, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

/// An answer that cannot be sent within this time reaches nobody who still waits.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// Number of the error, as the service framework names it.
const ERROR_CODE: &str = "Nats-Service-Error-Code";
const ERROR: &str = "Nats-Service-Error";

/// What kind of question it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// A command, to be answered at once.
    Request,
    Control,
    Webhook,
}

/// A question and where its answer goes.
#[derive(Debug)]
pub struct Question {
    pub asking: Asking,
    pub message: Message,
    client: Client,
}

impl Question {
    /// Whether somebody waits for an answer.
    pub fn wants_answer(&self) -> bool {
        self.message.reply.is_some()
    }

    pub async fn answer(self, body: Bytes) {
        self.answer_with(HeaderMap::new(), body).await;
    }

    /// An error with a document as body; the headers are the framework's.
    pub async fn answer_error(self, code: &str, number: u16, body: Bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(ERROR, code);
        headers.insert(ERROR_CODE, number.to_string());
        self.answer_with(headers, body).await;
    }

    pub async fn answer_with(self, headers: HeaderMap, body: Bytes) {
        let Some(reply) = self.message.reply else {
            return;
        };
        let sent = self.client.publish_with_headers(reply, headers, body);
        // The asker has a deadline of its own and asks again.
        let _ = timeout(SEND_WITHIN, sent).await;
    }
}

/// The subscriptions of one account's owner; dropped, they end.
#[derive(Debug)]
pub struct Questions {
    client: Client,
    requests: Subscriber,
    controls: Subscriber,
    webhooks: Subscriber,
}

impl Questions {
    /// Returns when the server knows: from then on nobody hears "no responders".
    pub async fn subscribe(bus: &Bus, account: &Account) -> Result<Self, SubscribeError> {
        let client = bus.control.client().clone();
        let subscribe = |subject| client.queue_subscribe(subject, QUEUE_GROUP.to_owned());
        let questions = Self {
            requests: subscribe(bus.subjects.requests(account)).await?,
            controls: subscribe(bus.subjects.controls(account)).await?,
            webhooks: subscribe(bus.subjects.webhook(account)).await?,
            client: client.clone(),
        };
        // While disconnected there is no server to tell; it is told on the way back.
        let _ = bus.control.replies().caught_up(SEND_WITHIN).await;
        Ok(questions)
    }

    /// The next question; control first. `None` when the connection is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Question> {
        let (asking, message) = tokio::select! {
            biased;
            // Each ends by itself; what the others still have is told first.
            Some(message) = self.controls.next() => (Asking::Control, message),
            Some(message) = self.webhooks.next() => (Asking::Webhook, message),
            Some(message) = self.requests.next() => (Asking::Request, message),
            else => return None,
        };
        Some(Question {
            asking,
            message,
            client: self.client.clone(),
        })
    }

    /// Takes no further questions; [`Self::next`] tells what arrived before, then `None`.
    pub async fn stop(&mut self) {
        for subscription in [&mut self.requests, &mut self.controls, &mut self.webhooks] {
            let _ = timeout(SEND_WITHIN, subscription.drain()).await;
        }
    }
}
