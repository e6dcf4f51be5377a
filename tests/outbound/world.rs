//! An owner of one shard on a real bus, its accounts, and what it answered.

use super::provider::Provider;
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use im_bridge::bus::api::Which;
use im_bridge::bus::consumer::ShardConsumer;
use im_bridge::bus::objects::Limits;
use im_bridge::bus::{Account, AckTable, Bus, Hold, Settings, Shard, connect, provision};
use im_bridge::envelope::ModelMinor;
use im_bridge::outbound::{
    Accounts, Commands, Core, Gateway, InHand, Options, Outbound, Requests, Terms,
};
use im_bridge::telemetry::Telemetry;
use im_bridge_sdk::model::results::AccountInfo;
use im_bridge_sdk::model::{ErrorCode, ErrorObject};
use im_bridge_test_harness::{Nats, eventually};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

pub fn limits() -> Limits {
    let limits = Limits::default().at_most_each(64 * 1024 * 1024);
    Limits {
        shards: 1,
        ..limits
    }
}

pub fn account() -> Account {
    named("shop1")
}

pub fn named(alias: &str) -> Account {
    Account::new("acme".parse().unwrap(), alias.parse().unwrap())
}

/// Connected and provisioned.
pub async fn bus(nats: &Nats) -> Bus {
    let settings = Settings {
        urls: vec![nats.url().to_owned()],
        name: "a".to_owned(),
        root: "im".parse().unwrap(),
        auth: connect::Auth::None,
        tls: connect::Tls::default(),
        inbox_prefix: None,
    };
    let bus = Bus::connect(&settings).await.unwrap();
    let differences = provision::provision(&bus, &limits(), true).await.unwrap();
    assert_eq!(differences, []);
    bus
}

/// What the core would answer.
pub struct Scripted;

impl Core for Scripted {
    fn info(&self) -> BoxFuture<'_, Result<AccountInfo, ErrorObject>> {
        Box::pin(async { Err(ErrorObject::new(ErrorCode::CoreError, true, "no info here")) })
    }

    fn drain(&self) -> BoxFuture<'_, Result<Vec<String>, ErrorObject>> {
        Box::pin(async { Ok(vec!["sim/shop1".to_owned()]) })
    }

    fn revive(&self) -> BoxFuture<'_, Result<(), ErrorObject>> {
        Box::pin(async { Ok(()) })
    }
}

/// One owner. Dropping it is its crash: nothing is finished, nothing given back.
pub struct Owner {
    pub gateway: Arc<Gateway>,
    pub accounts: Arc<Accounts>,
    pub in_hand: Arc<InHand>,
    pub epoch: u64,
    pump: JoinHandle<()>,
    requests: Mutex<Vec<Requests>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Owner {
    pub async fn new(bus: &Bus, epoch: u64) -> Self {
        let acks = AckTable::start(&bus.data).await.unwrap();
        let gateway = Gateway::new(bus, &acks, &limits(), &Telemetry::off());
        let consumer = ShardConsumer::take_over(bus, Shard::new(0), epoch)
            .await
            .unwrap();
        let in_hand = Arc::new(InHand::new(consumer.acks()));
        let accounts = Arc::new(Accounts::default());
        let commands = Commands::new(
            &gateway,
            consumer,
            Arc::clone(&accounts),
            Arc::clone(&in_hand),
            Hold::forever(),
        );
        let commands = commands.unknown_within(Duration::from_millis(500));
        let pump = tokio::spawn(async move { commands.run().await.unwrap() });
        Self {
            gateway,
            accounts,
            in_hand,
            epoch,
            pump,
            requests: Mutex::default(),
        }
    }

    pub fn options(&self, account: &Account, provider: &Provider) -> Options {
        Options {
            account: account.clone(),
            hold: Hold::forever(),
            epoch: self.epoch,
            hands: Arc::clone(&provider.hands),
            in_hand: Arc::clone(&self.in_hand),
            core: Arc::new(Scripted),
            terms: Terms {
                model: ModelMinor(0),
                attempts_max: 3,
                native_calls: vec!["/r/*".into()],
                rate: None,
                rates: Vec::new(),
            },
        }
    }

    pub async fn serve(&self, account: &Account, provider: &Provider) -> Arc<Outbound> {
        self.serve_with(self.options(account, provider)).await
    }

    /// Takes no further requests, as before the lease is given back.
    pub async fn end_requests(&self) {
        let all = std::mem::take(&mut *self.requests.lock().unwrap());
        for requests in all {
            requests.end().await;
        }
    }

    pub async fn serve_with(&self, options: Options) -> Arc<Outbound> {
        let outbound = Arc::new(Outbound::start(&self.gateway, options));
        let requests = Requests::subscribe(&outbound).await.unwrap();
        self.requests.lock().unwrap().push(requests);
        self.accounts.add(Arc::clone(&outbound));
        outbound
    }
}

/// A caller.
pub struct Caller {
    bus: Bus,
}

impl Caller {
    pub async fn new(nats: &Nats) -> Self {
        Self {
            bus: bus(nats).await,
        }
    }

    /// Publishes a durable command; returns when it is stored.
    pub async fn send(&self, to: &Account, command: &str, data: &Value) {
        self.send_with(to, command, data, HeaderMap::new()).await;
    }

    pub async fn send_with(&self, to: &Account, command: &str, data: &Value, headers: HeaderMap) {
        let subject = self
            .bus
            .subjects
            .command(to, &command.parse().unwrap())
            .to_string();
        self.publish(&subject, data.to_string().into(), headers)
            .await;
    }

    pub async fn publish(&self, subject: &str, body: Bytes, headers: HeaderMap) {
        eventually("the command is stored", || async {
            let client = self.bus.data.client();
            let ack = client
                .request_with_headers(subject.to_owned(), headers.clone(), body.clone())
                .await
                .ok()?;
            let ack: Value = serde_json::from_slice(&ack.payload).ok()?;
            ack["seq"].is_u64().then_some(())
        })
        .await;
    }

    /// A message of text to a channel.
    pub async fn say(&self, to: &Account, channel: &str, key: &str, text: &str) {
        self.send(to, "message.send", &saying(channel, key, text))
            .await;
    }

    pub async fn ask(&self, to: &Account, command: &str, data: &Value) -> (Message, Value) {
        let subject = self.bus.subjects.request(to, &command.parse().unwrap());
        self.request(&subject, data).await
    }

    pub async fn control(&self, to: &Account, verb: &str, data: &Value) -> (Message, Value) {
        let subject = self.bus.subjects.control(to, &verb.parse().unwrap());
        self.request(&subject, data).await
    }

    async fn request(&self, subject: &str, data: &Value) -> (Message, Value) {
        let client = self.bus.control.client();
        // A subscription that was made a moment ago is not at the server yet.
        let answer = eventually("an answer", || async {
            let asked = client.request(subject.to_owned(), data.to_string().into());
            asked.await.ok()
        })
        .await;
        let document: Value = serde_json::from_slice(&answer.payload).unwrap();
        (answer, document)
    }

    async fn stored(&self, stream: &str) -> Vec<(String, HeaderMap, Value)> {
        let mut all = Vec::new();
        loop {
            let next = Which::Sequence(all.len() as u64 + 1);
            let Ok(Some(stored)) = self.bus.data.api().message(stream, next).await else {
                return all;
            };
            let body = serde_json::from_slice(&stored.payload).unwrap_or_default();
            all.push((stored.subject, stored.headers, body));
        }
    }

    /// `data` of all results, in order.
    pub async fn results(&self) -> Vec<Value> {
        let all = self.stored("IM_RES").await;
        all.into_iter()
            .map(|(_, _, mut body)| body["data"].take())
            .collect()
    }

    pub async fn dead_letters(&self) -> Vec<(String, HeaderMap, Value)> {
        self.stored("IM_DLQ").await
    }

    /// Waits for so many results.
    pub async fn hears(&self, count: usize) -> Vec<Value> {
        eventually("results", || async {
            let results = self.results().await;
            (results.len() >= count).then_some(results)
        })
        .await
    }

    /// From now on the stream takes no larger messages; -1: any.
    pub async fn limit_messages(&self, stream: &str, bytes: i64) {
        let api = self.bus.data.api();
        let info: Value = api
            .call(&format!("STREAM.INFO.{stream}"), &Value::Null)
            .await
            .unwrap();
        let mut config = info["config"].clone();
        config["max_msg_size"] = bytes.into();
        let update = format!("STREAM.UPDATE.{stream}");
        let updated: Value = api.call(&update, &config).await.unwrap();
        assert_eq!(updated["config"]["max_msg_size"], bytes);
    }

    /// Waits until nothing is left in the stream of commands.
    pub async fn all_acknowledged(&self) {
        eventually("every command is acknowledged", || async {
            let info: Value = self
                .bus
                .data
                .api()
                .call("STREAM.INFO.IM_CMD", &Value::Null)
                .await
                .ok()?;
            (info["state"]["messages"] == 0).then_some(())
        })
        .await;
    }
}

pub fn saying(channel: &str, key: &str, text: &str) -> Value {
    json!({"idempotency_key": key, "params": {
        "to": {"channel_id": channel},
        "message": {"segments": [{"type": "text", "data": {"text": text}}]},
    }})
}
