//! What the demo asks: the provider for what it said and did, the streams for what they have.
//!
//! Whoever asks over a server that is killed asks again, under the same key: that is what keys are for.

use super::audit::{Event, Said, Stored, Truth};
use super::echo::{self, Echo, Heard};
use crate::bus::{Account, Kind};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use im_bridge_sdk::model::Time;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// The provider and the server are on this machine, perhaps busy, perhaps away for the demo's own reasons.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// One try of these.
const ONE_TRY: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Entries of the provider's record at a time: far below what one message may have.
const PAGE: usize = 1_000;

/// Asks on one connection; clones share it.
#[derive(Clone)]
pub(super) struct Asking {
    pub client: Arc<Client>,
    /// When the demo began.
    pub since: Time,
}

impl Asking {
    /// Hears everything from the demo's beginning on.
    pub(super) async fn echo(&self) -> Result<Echo, Failure> {
        let about = (&self.client.names, &self.client.subjects);
        let echo = Echo::start(&self.client.connection, about, self.since).await;
        echo.map_err(|error| unanswered(&error))
    }

    /// Publishes until it is stored. The same id is stored once.
    pub(super) async fn store(
        self,
        account: Account,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), Failure> {
        let subject = self.client.subjects.command(&account, &echo::command());
        self.ask(
            subject,
            Some(headers),
            body,
            |stored| match stored["error"]["description"].as_str() {
                Some(words) => Err(words.to_owned()),
                None => Ok(()),
            },
        )
        .await
    }

    /// Tells the provider to do something, or asks it.
    pub(super) async fn order(
        &self,
        account: &Account,
        order: &str,
        body: Value,
    ) -> Result<Value, Failure> {
        let params = json!({ "method": format!("sim.{order}"), "body": body });
        let mut result = self.request(account, "native.call", params).await?;
        Ok(result["native"].take())
    }

    /// A command that is answered at once: its result.
    pub(super) async fn request(
        &self,
        account: &Account,
        command: &str,
        params: Value,
    ) -> Result<Value, Failure> {
        let kind: Kind = command.parse().expect("it is a kind");
        let subject = self.client.subjects.request(account, &kind);
        let key = format!("demo-{:016x}", fastrand::u64(..));
        let data = json!({ "idempotency_key": key, "params": params }).to_string();
        self.ask(subject, None, data.into(), |answer| {
            let data = &answer["data"];
            if data["status"] == "ok" {
                return Ok(data["result"].clone());
            }
            Err(format!("{command}: {}", data["error"]["message"]))
        })
        .await
    }

    async fn ask<T>(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        body: Bytes,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let until = Instant::now() + ANSWERED_WITHIN;
        loop {
            let asked = self
                .client
                .ask(subject.clone(), headers.clone(), body.clone(), ONE_TRY);
            let why = match asked.await? {
                Ok(answer) => {
                    let answer = serde_json::from_slice(&answer.payload).unwrap_or_default();
                    match read(&answer) {
                        Ok(read) => return Ok(read),
                        Err(words) => words,
                    }
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() > until {
                return Err(unanswered(&why));
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// What the provider was told and did, in the world of this account.
    pub(super) async fn truth(&self, account: &Account) -> Result<Truth, Failure> {
        let mut truth = Truth::default();
        let mut after = json!(0);
        // Until the first login nobody misses anything.
        let (mut is_away, mut said_since) = (false, 0);
        loop {
            let kinds = ["said", "login", "session_ended"];
            let page = json!({ "after": after, "limit": PAGE, "kinds": kinds });
            let page = self.order(account, "truth", page).await?;
            truth.is_trimmed |= page["dropped"].as_u64().is_some_and(|dropped| dropped > 0);
            let entries = page["entries"].as_array().cloned().unwrap_or_default();
            for entry in &entries {
                let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                match entry["deed"].as_str() {
                    Some("session_ended") => (is_away, said_since) = (true, 0),
                    Some("login") => {
                        truth.said_while_away += said_since;
                        (is_away, said_since) = (false, 0);
                    }
                    // The account itself is called by its alias.
                    _ if text("by") == account.alias.as_str() => {}
                    _ => {
                        said_since += usize::from(is_away);
                        truth.said.push(Said {
                            account: account.to_string(),
                            channel: text("chat"),
                            message: text("post"),
                        });
                    }
                }
            }
            if entries.is_empty() || page["next"] == after {
                break;
            }
            after = page["next"].clone();
        }
        truth.sends = self.sends(account).await?.collect();
        Ok(truth)
    }

    /// How often the provider carried out each message, by its reference.
    pub(super) async fn sends(
        &self,
        account: &Account,
    ) -> Result<impl Iterator<Item = (String, u64)>, Failure> {
        let mut summary = self.order(account, "summary", json!({})).await?;
        let sends: Value = summary["sends"].take();
        let sends = sends.as_object().cloned().unwrap_or_default();
        let count = |value: Value| value.as_u64().unwrap_or_default();
        Ok(sends.into_iter().map(move |(of, times)| (of, count(times))))
    }

    /// What stands in the streams, read anew.
    pub(super) async fn stored(&self) -> Result<Stored, Failure> {
        let mut echo = self.echo().await?;
        let mut stored = Stored::default();
        while echo.is_behind() {
            let heard = timeout(ANSWERED_WITHIN, echo.next()).await;
            match heard.map_err(|_| unanswered(&"a stream tells less than it has"))? {
                Heard::Event { body, .. } => stored.events.extend(Event::of(&body)),
                Heard::Result { body } => {
                    let text = |name: &str| body["data"][name].as_str().unwrap_or("?").to_owned();
                    stored.results.push((text("command_id"), text("status")));
                }
                Heard::Nothing => return Err(ended()),
            }
        }
        Ok(stored)
    }
}

pub(super) fn ended() -> Failure {
    unanswered(&"the server ended a subscription")
}

pub(super) fn unanswered(error: &dyn std::fmt::Display) -> Failure {
    let text = format!("NATS gives no answer to the demo: {error}; run it again");
    Failure::new(Exit::No, "nats_unreachable", text)
}
