//! A service as anybody would write it: it hears messages, answers some, and hears what became of its answers.
//!
//! Not here: publishing until it is stored (`asking`).

use crate::bus::api::ApiError;
use crate::bus::connect::Connection;
use crate::bus::objects::Names;
use crate::bus::tail::Tail;
use crate::bus::{Kind, Subjects, clock};
use crate::envelope::ulid;
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use im_bridge_sdk::model::Time;
use serde_json::{Value, json};
use std::time::Duration;

/// Results for this come back under a name of its own.
const SOURCE: &str = "/app/demo-echo";
/// Every so manieth message is answered.
pub(super) const ANSWERS_EVERY: usize = 5;

/// What it hears.
pub(super) struct Echo {
    events: Tail,
    results: Tail,
}

/// One of both.
pub(super) enum Heard {
    Event {
        sequence: u64,
        body: Value,
    },
    Result {
        body: Value,
    },
    /// The server ended it.
    Nothing,
}

/// A command to publish.
pub(super) struct Answer {
    pub id: String,
    pub channel: String,
    pub text: String,
    pub body: Bytes,
    pub headers: HeaderMap,
}

impl Echo {
    /// From what was stored since then.
    pub(super) async fn start(
        connection: &Connection,
        (names, subjects): (&Names, &Subjects),
        since: Time,
    ) -> Result<Self, ApiError> {
        let events = subjects.events_of(None, Some(&messages()), None);
        let results = subjects.results_of(None, Some(&command()));
        let tail = async |stream: String, filter: &Subject| {
            Tail::start(connection, &stream, filter, since).await
        };
        Ok(Self {
            events: tail(names.events(), &events).await?,
            results: tail(names.results(), &results).await?,
        })
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            message = self.events.next() => match message {
                Some(message) => Heard::Event { sequence: self.events.sequence(), body: body(&message) },
                None => Heard::Nothing,
            },
            message = self.results.next() => match message {
                Some(message) => Heard::Result { body: body(&message) },
                None => Heard::Nothing,
            },
        }
    }

    /// More is stored than was heard.
    pub(super) fn is_behind(&self) -> bool {
        self.events.is_behind() || self.results.is_behind()
    }
}

pub(super) fn messages() -> Kind {
    "message.created".parse().expect("it is a kind")
}

pub(super) fn command() -> Kind {
    "message.send".parse().expect("it is a kind")
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap_or_default()
}

/// The answer to a message. The same message always has the same key, so that hearing it twice answers it once.
pub(super) fn answer(event: &Value) -> Option<Answer> {
    let message = &event["data"]["message"];
    let text = format!("echo: {}", message["alt_text"].as_str()?);
    let key = format!("echo-{}", message["id"].as_str()?);
    Some(send(event["subject"].as_str()?, text, &key, None))
}

/// A message to send. `within`: how long it may take.
pub(super) fn send(channel: &str, text: String, key: &str, within: Option<Duration>) -> Answer {
    let now = Time::from_ms(clock::unix_ms());
    let id = ulid(now);
    let mut envelope = json!({
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": format!("im-bridge.cmd.{}.v1", command()),
        "time": now.to_string(),
        "datacontenttype": "application/json",
        "data": {
            "idempotency_key": key,
            "params": {
                "to": { "channel_id": channel },
                "message": { "segments": [{ "type": "text", "data": { "text": text } }] },
            },
        },
    });
    if let Some(within) = within {
        let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        let until = Time::from_ms(now.ms().saturating_add(within_ms));
        envelope["expirytime"] = until.to_string().into();
    }
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/cloudevents+json");
    headers.insert("Nats-Msg-Id", id.as_str());
    Answer {
        id,
        channel: channel.to_owned(),
        text,
        body: envelope.to_string().into(),
        headers,
    }
}
