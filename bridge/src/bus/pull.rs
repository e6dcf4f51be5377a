//! Messages of a pull consumer, one pull at a time.
//!
//! Bounded: at most [`BATCH`] messages are asked for, so the client's subscription never drops one. A pull that the server
//! forgot is noticed by its missing heartbeats and made again; a consumer that is gone ends the stream of messages.
//!
//! Not here: which consumer (`consumer`, `watch`), and whether what arrives may be acted upon.

use super::connect::Connection;
use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

pub(super) const BATCH: usize = 256;
const EXPIRES: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Two heartbeats and a busy moment.
const SILENT: Duration = Duration::from_secs(7);
/// Between pulls that end at once: a server that refuses them is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(100);
const SEND_WITHIN: Duration = Duration::from_secs(2);

pub(super) enum Pulled {
    Message(Message),
    /// The consumer is gone, or nobody leads it; which, the server does not say.
    Ended,
}

pub(super) struct Pull {
    client: Client,
    subject: Subject,
    inbox: String,
    arriving: Subscriber,
    connects: watch::Receiver<u64>,
    request: Bytes,
    /// Messages that the open pull may still bring; 0: none is open.
    outstanding: usize,
    heard: Instant,
    not_before: Instant,
}

impl Pull {
    pub(super) async fn start(
        connection: &Connection,
        stream: &str,
        consumer: &str,
    ) -> Result<Self, async_nats::SubscribeError> {
        let client = connection.client().clone();
        let inbox = client.new_inbox();
        let arriving = client.subscribe(inbox.clone()).await?;
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let request = json!({
            "batch": BATCH,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        Ok(Self {
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}").into(),
            client,
            inbox,
            arriving,
            connects: connection.connects(),
            request: request.to_string().into(),
            outstanding: 0,
            heard: Instant::now(),
            not_before: Instant::now(),
        })
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Pulled {
        loop {
            if self.outstanding == 0 && Instant::now() >= self.not_before {
                self.ask().await;
            }
            let wake = if self.outstanding == 0 {
                self.not_before
            } else {
                self.heard + SILENT
            };
            tokio::select! {
                biased;
                arrived = self.arriving.next() => match arrived {
                    None => return Pulled::Ended,
                    Some(message) => if let Some(pulled) = self.arrived(message) { return pulled },
                },
                // Pulls of the former connection are gone with it.
                Ok(()) = self.connects.changed() => self.outstanding = 0,
                () = sleep_until(wake) => self.outstanding = 0,
            }
        }
    }

    async fn ask(&mut self) {
        self.heard = Instant::now();
        let asked = self.client.publish_with_reply(
            self.subject.clone(),
            self.inbox.clone(),
            self.request.clone(),
        );
        // Not sent, it stays silent, and is asked again.
        let _ = timeout(SEND_WITHIN, asked).await;
        // Not before: dropped while it waits for room, nothing was asked.
        self.outstanding = BATCH;
    }

    fn arrived(&mut self, message: Message) -> Option<Pulled> {
        self.heard = Instant::now();
        let Some(status) = message.status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            return Some(Pulled::Message(message));
        };
        match status.as_u16() {
            100 => None,
            503 => Some(Pulled::Ended),
            409 if is_gone(&message) => Some(Pulled::Ended),
            // It expired, or its leader changed.
            _ => {
                self.outstanding = 0;
                self.not_before = match status.as_u16() {
                    404 | 408 => Instant::now(),
                    _ => Instant::now() + PAUSE,
                };
                None
            }
        }
    }
}

fn is_gone(message: &Message) -> bool {
    message
        .description
        .as_deref()
        .is_some_and(|text| text.eq_ignore_ascii_case("consumer deleted"))
}

/// What the reply subject of a delivered message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// How often it was delivered, this time included.
    pub(super) count: u64,
    pub(super) stream_sequence: u64,
    pub(super) consumer_sequence: u64,
    /// When the stream stored it, in Unix milliseconds.
    pub(super) stored_ms: i64,
    /// Messages that the consumer has after this one.
    pub(super) pending: u64,
}

impl Delivery {
    /// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<count>.<sequence>.<own sequence>.<time>.<pending>[.<random>]`
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let first = match reply.split('.').count() {
            9 => 4,
            11.. => 6,
            _ => return None,
        };
        let mut tokens = [""; 5];
        for (token, text) in tokens.iter_mut().zip(reply.split('.').skip(first)) {
            *token = text;
        }
        let number = |offset: usize| tokens[offset].parse().ok();
        Some(Self {
            count: number(0)?,
            stream_sequence: number(1)?,
            consumer_sequence: number(2)?,
            stored_ms: i64::try_from(number(3)? / 1_000_000).ok()?,
            pending: number(4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_are_read() {
        let wanted = Delivery {
            count: 2,
            stream_sequence: 100,
            consumer_sequence: 7,
            stored_ms: 1_700_000_000_000,
            pending: 3,
        };
        for reply in [
            "$JS.ACK.S.C.2.100.7.1700000000000000000.3",
            "$JS.ACK.hub.ACC.S.C.2.100.7.1700000000000000000.3",
            "$JS.ACK._.ACC.S.C.2.100.7.1700000000000000000.3.xyz",
        ] {
            assert_eq!(Delivery::parse(reply), Some(wanted), "{reply}");
        }
        assert_eq!(Delivery::parse("$JS.ACK.S.C"), None);
        assert_eq!(Delivery::parse("$JS.ACK.S.C.a.100.7.1.3"), None);
    }
}
