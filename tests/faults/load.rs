//! Load in both directions: the provider's people write, and a service publishes commands.

use crate::audit::{Published, Said};
use crate::world::{count, messages_by_account, stored};
use async_nats::HeaderMap;
use async_nats::jetstream;
use im_bridge_test_harness::{Director, Simulator, eventually_within, pause};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Said and not yet stored, beyond which the people of the provider pause: a machine that is too slow is no fault, and a
/// backlog says less than a flow.
const BACKLOG_MAX: u64 = 4_000;
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A publish that is not confirmed by then is made again, under the same id.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);
const PUBLISH_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What is left when the faults end.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);

/// Worlds of one account each, named alike.
pub struct Worlds {
    directors: BTreeMap<String, Director>,
}

impl Worlds {
    pub async fn new(simulator: &Simulator, accounts: &[String], settings: &Value) -> Self {
        let mut directors = BTreeMap::new();
        for account in accounts {
            let director = Director::new(simulator, account, settings).await;
            directors.insert(account.clone(), director);
        }
        Self { directors }
    }

    pub fn director(&self, account: &str) -> &Director {
        self.directors.get(account).unwrap()
    }

    /// Messages a second, of all worlds together.
    pub async fn rate(&self, per_s: f64) {
        let worlds = self.directors.len() as f64;
        for director in self.directors.values() {
            director
                .order("rate", json!({ "per_s": per_s / worlds }))
                .await;
        }
    }

    /// Posts of all worlds so far.
    pub async fn said(&self) -> u64 {
        let mut said = 0;
        for director in self.directors.values() {
            let summary = director.summary().await;
            let posts = summary["posts"].as_object().unwrap();
            said += posts.values().filter_map(Value::as_u64).sum::<u64>();
        }
        said
    }

    /// Waits until everything is stored, then compares.
    pub async fn assert_stored(&self, client: &async_nats::Client) {
        let mut all = BTreeMap::new();
        for (account, director) in &self.directors {
            let said = Said::new(&director.record(&["said"]).await);
            all.insert(account.clone(), said);
        }
        let said: usize = all.values().map(Said::len).sum();
        let start = Instant::now();
        // The stream holds other events too, so this is only when it is worth a look.
        loop {
            let by_account = messages_by_account(client).await;
            let stored: usize = by_account.values().map(Vec::len).sum();
            if stored >= said || start.elapsed() > DRAINED_WITHIN {
                for (account, said) in &all {
                    said.assert_stored(account, by_account.get(account).map_or(&[], Vec::as_slice));
                }
                return;
            }
            pause(Duration::from_secs(1)).await;
        }
    }

    /// What was sent, of all worlds.
    pub async fn sent(&self) -> Vec<Value> {
        let mut sent = Vec::new();
        for director in self.directors.values() {
            sent.extend(director.record(&["sent"]).await);
        }
        sent
    }
}

/// People write until this ends, as fast as they are heard.
pub struct Chatter {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Worlds>,
}

impl Chatter {
    pub fn start(worlds: Worlds, client: async_nats::Client, per_s: f64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let task = tokio::spawn(async move {
            let (mut stored, mut is_paused) = (0, true);
            while !over.load(Ordering::Relaxed) {
                stored = count(&client, "IM_EVT").await.unwrap_or(stored);
                let backlog = worlds.said().await.saturating_sub(stored);
                let pauses = backlog
                    > if is_paused {
                        BACKLOG_MAX / 2
                    } else {
                        BACKLOG_MAX
                    };
                if pauses != is_paused {
                    is_paused = pauses;
                    worlds.rate(if pauses { 0.0 } else { per_s }).await;
                }
                pause(LOOK_EVERY).await;
            }
            worlds.rate(0.0).await;
            worlds
        });
        Self { is_over, task }
    }

    /// Nobody says any more.
    pub async fn end(self) -> Worlds {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// A service that gives commands, one after the other, each once it is confirmed.
pub struct Service {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Vec<Published>>,
}

impl Service {
    /// `places`: accounts and channels in turn.
    pub fn start(client: async_nats::Client, places: Vec<(String, String)>, per_s: f64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let task = tokio::spawn(async move {
            let start = Instant::now();
            let mut all = Vec::new();
            for (number, (account, channel)) in places.iter().cycle().enumerate() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let command = Published {
                    key: format!("key-{number}"),
                    account: account.clone(),
                    channel: channel.clone(),
                };
                publish(&client, &command).await;
                all.push(command);
                let due = start + Duration::from_secs_f64((number + 1) as f64 / per_s);
                tokio::time::sleep_until(due).await;
            }
            all
        });
        Self { is_over, task }
    }

    /// Gives none any more; those it gave.
    pub async fn end(self) -> Vec<Published> {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Publishes until the server has it.
pub async fn publish(client: &async_nats::Client, command: &Published) {
    let context = jetstream::new(client.clone());
    let subject = format!("im.v1.cmd.sim.{}.message.send", command.account);
    let segments = json!([{ "type": "text", "data": { "text": command.key } }]);
    let params =
        json!({ "to": { "channel_id": command.channel }, "message": { "segments": segments } });
    let body = json!({ "idempotency_key": command.key, "params": params }).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", command.key.as_str());
    loop {
        let published = async {
            let sent =
                context.publish_with_headers(subject.clone(), headers.clone(), body.clone().into());
            sent.await.ok()?.await.ok()
        };
        if let Ok(Some(_)) = timeout(CONFIRMED_WITHIN, published).await {
            return;
        }
        pause(PUBLISH_AGAIN_AFTER).await;
    }
}

/// Waits until every command has a result; all results.
pub async fn all_answered(
    client: &async_nats::Client,
    commands: &[Published],
) -> Vec<crate::world::Stored> {
    eventually_within(DRAINED_WITHIN, "every command is answered", || async {
        let enough = count(client, "IM_RES").await? >= commands.len() as u64;
        enough.then_some(())
    })
    .await;
    // Whoever answers twice has a moment to do so.
    stored(client, "IM_RES").await
}
