//! What every test of the service needs: a server, a configuration, what is stored, and ways to ask.

use async_nats::jetstream::{self, stream::Stream};
use im_bridge_test_harness::{Bridge, Files, Nats, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// For a request; far above what one takes.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A configuration of these accounts, small enough for many servers on one disk.
pub fn config(nats: &Nats, accounts: &Value) -> Value {
    let room = json!({ "max_mib": 16 });
    json!({
        "nats": {
            "url": nats.url(),
            "events": room, "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
            "lease": { "ttl_s": 7, "renew_s": 1, "stop_s": 4 },
        },
        "admin": { "listen": "127.0.0.1:0" },
        "accounts": { "sim": accounts },
    })
}

/// An account that may be told everything.
pub fn open(account: Value) -> Value {
    let mut account = account;
    account["bridge"] = json!({ "native_calls": { "sim.*": true } });
    account
}

pub fn files(config: &Value) -> Arc<Files> {
    Files::new(env!("CARGO_BIN_EXE_im-bridge"), config)
}

/// One server, one replica, and a client.
pub struct World {
    pub nats: Nats,
    pub bridge: Bridge,
    pub client: async_nats::Client,
}

impl World {
    /// With these accounts of the sim provider, none of which is waited for.
    pub async fn starting(accounts: &Value) -> Self {
        Self::configured(|nats| config(nats, accounts)).await
    }

    /// With a configuration that names the server.
    pub async fn configured(config: impl FnOnce(&Nats) -> Value) -> Self {
        let nats = Nats::start();
        let bridge = Bridge::start(&files(&config(&nats)), "a");
        let client = async_nats::connect(nats.url()).await.unwrap();
        Self {
            nats,
            bridge,
            client,
        }
    }

    /// With these accounts of the sim provider, each of which is waited for.
    pub async fn new(accounts: Value) -> Self {
        let world = Self::starting(&accounts).await;
        for alias in accounts.as_object().unwrap().keys() {
            world.online(alias).await;
        }
        world
    }

    pub async fn online(&self, alias: &str) {
        state(&self.bridge, alias, "online").await;
    }

    /// What a control verb answers.
    pub async fn control(&self, alias: &str, verb: &str, params: Value) -> Value {
        control(&self.client, alias, verb, params).await
    }

    /// What a request is answered.
    pub async fn request(&self, alias: &str, command: &str, data: Value) -> Value {
        ask(
            &self.client,
            format!("im.v1.req.sim.{alias}.{command}"),
            &data,
        )
        .await
    }

    /// Tells the provider to do something.
    pub async fn order(&self, alias: &str, order: &str, body: Value) -> Value {
        order_by(&self.client, alias, order, body).await
    }

    /// The same where what it does may cost the answer: nobody waits for it.
    pub async fn order_at_risk(&self, alias: &str, order: &str, body: Value) {
        let subject = format!("im.v1.req.sim.{alias}.native.call");
        let data = order_data(order, body).to_string();
        let inbox = self.client.new_inbox();
        let asked = self.client.publish_with_reply(subject, inbox, data.into());
        asked.await.unwrap();
    }

    pub async fn events(&self) -> Vec<Value> {
        stored(&self.client, "IM_EVT").await
    }

    /// The value of a key in a bucket.
    pub async fn document(&self, bucket: &str, key: &str) -> Option<Value> {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream(format!("KV_{bucket}")).await.ok()?;
        let subject = format!("$KV.{bucket}.{key}");
        let message = stream
            .get_last_raw_message_by_subject(&subject)
            .await
            .ok()?;
        serde_json::from_slice(&message.payload).ok()
    }

    /// Publishes a durable command; what the stream says to it.
    pub async fn send(
        &self,
        alias: &str,
        data: &Value,
        headers: &[(&str, &str)],
    ) -> jetstream::publish::PublishAck {
        let subject = format!("im.v1.cmd.sim.{alias}.message.send");
        let mut lines = async_nats::HeaderMap::new();
        for &(name, value) in headers {
            lines.append(name, value);
        }
        let context = jetstream::new(self.client.clone());
        let published = context.publish_with_headers(subject, lines, data.to_string().into());
        published.await.unwrap().await.unwrap()
    }

    /// Entries of this kind in the provider's record, in order. Fails if some are no longer kept.
    pub async fn record(&self, alias: &str, kind: &str) -> Vec<Value> {
        // A result above 256 KiB would lie beside its message.
        const PAGE: usize = 1_000;
        let (mut all, mut after) = (Vec::new(), json!(0));
        loop {
            let ask = json!({ "kinds": [kind], "after": after, "limit": PAGE });
            let truth = self.order(alias, "truth", ask).await;
            assert_eq!(truth["dropped"], 0, "the record is too short");
            let entries = truth["entries"].as_array().unwrap();
            all.extend(entries.iter().cloned());
            if entries.len() < PAGE {
                return all;
            }
            after = truth["next"].clone();
        }
    }

    /// References of what the provider has sent for this account, by its own record, in order. What it knew already and did
    /// not do again is not among them.
    pub async fn sent_by_provider(&self, alias: &str, of: &str) -> Vec<String> {
        let sent = self.record(alias, "sent").await;
        let is_meant = |it: &&Value| it["account"] == of && it["done"] == true;
        let done = sent.iter().filter(is_meant);
        done.filter_map(|it| it["client_ref"].as_str().map(str::to_owned))
            .collect()
    }

    /// Waits for so many results of commands with this key, in the order in which they were stored.
    pub async fn results(&self, key: &str, wanted: usize) -> Vec<Value> {
        eventually(&format!("{wanted} results of {key} are stored"), || async {
            let results = stored(&self.client, "IM_RES").await;
            let mut of_key = results;
            of_key.retain(|result| result["data"]["idempotency_key"] == key);
            (of_key.len() >= wanted).then_some(of_key)
        })
        .await
    }

    /// Waits until the last result is of the command with this key.
    pub async fn is_last_result(&self, key: &str) {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream("IM_RES").await.unwrap();
        eventually(&format!("the last result is of {key}"), || async {
            let last = stream.get_info().await.ok()?.state.last_sequence;
            let result = stream.get_raw_message(last).await.ok()?;
            let result: Value = serde_json::from_slice(&result.payload).unwrap();
            (result["data"]["idempotency_key"] == key).then_some(())
        })
        .await;
    }

    /// Waits for a result of the command with this key.
    pub async fn result(&self, key: &str) -> Value {
        eventually("the result is stored", || async {
            let results = stored(&self.client, "IM_RES").await;
            results
                .into_iter()
                .find(|result| result["data"]["idempotency_key"] == key)
        })
        .await
    }
}

/// Waits for an account's state on this replica.
pub async fn state(bridge: &Bridge, alias: &str, wanted: &str) {
    let name = format!("sim/{alias}");
    eventually(&format!("{name} is {wanted}"), || async {
        bridge.state(&name).filter(|state| state == wanted)
    })
    .await;
}

pub async fn control(client: &async_nats::Client, alias: &str, verb: &str, params: Value) -> Value {
    ask(
        client,
        format!("im.v1.ctl.sim.{alias}.{verb}"),
        &json!({ "params": params }),
    )
    .await
}

/// What the one replica answers about the sim plugin.
pub async fn control_plugin(client: &async_nats::Client, verb: &str, params: Value) -> Value {
    ask(
        client,
        format!("im.v1.ctl.sim._adapter.{verb}"),
        &json!({ "params": params }),
    )
    .await
}

pub async fn order_by(client: &async_nats::Client, alias: &str, order: &str, body: Value) -> Value {
    let data = order_data(order, body);
    let answer = ask(client, format!("im.v1.req.sim.{alias}.native.call"), &data).await;
    assert_eq!(answer["data"]["status"], "ok", "{order}: {answer}");
    answer["data"]["result"]["native"].clone()
}

/// The same of an account that may be on its way to another replica: asked until it is served.
pub async fn order_by_its_owner(
    client: &async_nats::Client,
    alias: &str,
    order: &str,
    body: Value,
) -> Value {
    let subject = format!("im.v1.req.sim.{alias}.native.call");
    let data = order_data(order, body);
    eventually("the order is carried out", || async {
        let asked = client.request(subject.clone(), data.to_string().into());
        let answer: Value = serde_json::from_slice(&asked.await.ok()?.payload).ok()?;
        let is_done = answer["data"]["status"] == "ok";
        is_done.then(|| answer["data"]["result"]["native"].clone())
    })
    .await
}

fn order_data(order: &str, body: Value) -> Value {
    let key = format!("order-{:016x}", fastrand::u64(..));
    let params = json!({ "method": format!("sim.{order}"), "body": body });
    json!({ "idempotency_key": key, "params": params })
}

pub async fn ask(client: &async_nats::Client, subject: String, data: &Value) -> Value {
    let asked = client.request(subject.clone(), data.to_string().into());
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    let answer = answer.unwrap_or_else(|_| panic!("{subject}: no answer in time"));
    let answer = answer.unwrap_or_else(|error| panic!("{subject}: {error}"));
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Everything in a stream, in order.
pub async fn stored(client: &async_nats::Client, name: &str) -> Vec<Value> {
    let context = jetstream::new(client.clone());
    let Ok(mut stream) = context.get_stream(name).await else {
        return Vec::new();
    };
    let last = last(&mut stream).await;
    let mut all = Vec::new();
    for sequence in 1..=last {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            all.push(serde_json::from_slice(&message.payload).unwrap());
        }
    }
    all
}

async fn last(stream: &mut Stream) -> u64 {
    stream
        .info()
        .await
        .map_or(0, |info| info.state.last_sequence)
}

/// Text of a message event.
pub fn text(event: &Value) -> &str {
    event["data"]["message"]["segments"][0]["data"]["text"]
        .as_str()
        .unwrap_or_default()
}

pub fn message(key: &str, text: &str) -> Value {
    let segments = json!([{ "type": "text", "data": { "text": text } }]);
    let params = json!({ "to": { "channel_id": "lobby" }, "message": { "segments": segments } });
    json!({ "idempotency_key": key, "params": params })
}
