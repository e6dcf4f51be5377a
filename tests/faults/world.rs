//! What every test here needs: configurations, and what is stored.

use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use im_bridge_test_harness::{Bridge, Simulator, eventually};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, MutexGuard};

/// Tests that need the machine for themselves: loads of a thousand messages a second, and times that are measured.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// One heavy test at a time.
pub async fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().await
}

/// Unix milliseconds, by the clock that the provider and the server have too.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Short leases, so that tests take seconds. The server's TTLs are whole seconds.
pub fn short_lease() -> Value {
    json!({ "ttl_s": 7, "renew_s": 1, "stop_s": 4 })
}

/// A configuration of these accounts of the sim provider. Its streams hold all that a test makes.
pub fn config(nats_url: &str, lease: &Value, accounts: &Value) -> Value {
    let room = json!({ "max_mib": 64 });
    json!({
        "nats": {
            "url": nats_url, "lease": lease, "events": { "max_mib": 512 },
            "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
        },
        "admin": { "listen": "127.0.0.1:0" },
        // What is measured is the hand-over, not the pause between two logins.
        "plugins": { "providers": { "sim": { "start_per_s": 1_000, "logins_per_minute": 10_000 } } },
        "accounts": { "sim": accounts },
    })
}

/// An account of this world.
pub fn account(simulator: &Simulator, world: &str) -> Value {
    json!({ "url": simulator.url(), "world": world })
}

/// Names of the sim provider's first chats; later ones are numbered.
pub fn chats(count: usize) -> Vec<String> {
    const NAMED: [&str; 6] = ["lobby", "kitchen", "garden", "attic", "harbour", "library"];
    (0..count)
        .map(|n| {
            NAMED
                .get(n)
                .map_or_else(|| format!("room-{}", n + 1), |name| (*name).to_owned())
        })
        .collect()
}

/// A message of a stream.
pub struct Stored {
    pub sequence: u64,
    /// When the server stored it, Unix milliseconds.
    pub at_ms: i64,
    pub document: Document,
}

/// What is looked at of an event or a result.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub account: String,
    /// The channel.
    pub subject: String,
    pub data: Data,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Data {
    pub message: Message,
    pub command_id: String,
    pub idempotency_key: String,
    pub status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    pub id: String,
}

pub const MESSAGE_CREATED: &str = "im-bridge.evt.message.created.v1";

/// Messages in a stream now; none while nobody answers.
pub async fn count(client: &async_nats::Client, name: &str) -> Option<u64> {
    let asked = async {
        let context = jetstream::new(client.clone());
        let stream = context.get_stream(name).await.ok()?;
        Some(stream.cached_info().state.messages)
    };
    tokio::time::timeout(Duration::from_secs(1), asked)
        .await
        .ok()?
}

/// Everything in a stream, in order.
pub async fn stored(client: &async_nats::Client, name: &str) -> Vec<Stored> {
    let context = jetstream::new(client.clone());
    let stream = context.get_stream(name).await.unwrap();
    let expected = stream.cached_info().state.messages;
    if expected == 0 {
        return Vec::new();
    }
    let consumer = stream
        .create_consumer(consumer::pull::OrderedConfig::default())
        .await
        .unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let mut all = Vec::new();
    loop {
        let message = messages.next().await.unwrap().unwrap();
        let info = message.info().unwrap();
        let at_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap();
        all.push(Stored {
            sequence: info.stream_sequence,
            at_ms,
            document: serde_json::from_slice(&message.payload).unwrap(),
        });
        if info.pending == 0 {
            return all;
        }
    }
}

/// Message events by account.
pub async fn messages_by_account(client: &async_nats::Client) -> BTreeMap<String, Vec<Stored>> {
    let mut by_account: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
    for event in stored(client, "IM_EVT").await {
        if event.document.kind == MESSAGE_CREATED {
            let account = event.document.account.clone();
            by_account.entry(account).or_default().push(event);
        }
    }
    by_account
}

/// Waits until this replica has the account, and it is online.
pub async fn online(bridge: &Bridge, alias: &str) {
    let name = format!("sim/{alias}");
    eventually(&format!("{name} is online"), || async {
        bridge.state(&name).filter(|state| state == "online")
    })
    .await;
}
