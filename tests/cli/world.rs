//! A NATS as a bridge left it, with somebody who answers as an owner does.

use super::{Place, Ran};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use im_bridge::bus::objects::Limits;
use im_bridge::bus::shard::{SHARDS, Shard};
use im_bridge::bus::{Account, Bus, Settings, connect, provision};
use im_bridge_test_harness::Nats;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinHandle;

pub struct World {
    pub nats: Nats,
    pub bus: Bus,
    pub place: Arc<Place>,
    /// Options that say where this NATS is.
    pub options: Vec<String>,
}

impl World {
    /// All objects are there, and nothing in them.
    pub async fn new() -> Self {
        let nats = Nats::start();
        let options = vec!["--set".to_owned(), format!("nats.url={}", nats.url())];
        Self::on(nats, connect::Auth::None, options).await
    }

    pub async fn on(nats: Nats, auth: connect::Auth, options: Vec<String>) -> Self {
        let settings = Settings {
            urls: vec![nats.url().to_owned()],
            name: "test".to_owned(),
            root: "im".parse().unwrap(),
            auth,
            tls: connect::Tls::default(),
            inbox_prefix: None,
        };
        let bus = Bus::connect(&settings).await.unwrap();
        let limits = Limits::default().at_most_each(16 * 1024 * 1024);
        provision::provision(&bus, &limits, true).await.unwrap();
        Self {
            nats,
            bus,
            place: Arc::new(Place::new()),
            options,
        }
    }

    pub fn client(&self) -> &Client {
        self.bus.data.client()
    }

    /// Runs the command beside whatever this test does.
    pub fn spawn(&self, args: &[&str]) -> JoinHandle<Ran> {
        let (place, options) = (Arc::clone(&self.place), self.options.clone());
        let args: Vec<String> = args
            .iter()
            .map(|&arg| arg.to_owned())
            .chain(options)
            .collect();
        tokio::task::spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            place.run(&args)
        })
    }

    pub async fn run(&self, args: &[&str]) -> Ran {
        self.spawn(args).await.unwrap()
    }

    /// Stored by the server before it returns.
    pub async fn store(&self, subject: &str, headers: HeaderMap, body: &str) -> u64 {
        let request = async_nats::Request::new()
            .headers(headers)
            .payload(body.to_owned().into());
        let answer = self
            .client()
            .send_request(subject.to_owned(), request)
            .await
            .unwrap();
        let ack: Value = serde_json::from_slice(&answer.payload).unwrap();
        ack["seq"]
            .as_u64()
            .unwrap_or_else(|| panic!("{subject}: {ack}"))
    }

    async fn put(&self, bucket: &str, key: &str, value: &Value) {
        self.store(
            &format!("$KV.{bucket}.{key}"),
            HeaderMap::new(),
            &value.to_string(),
        )
        .await;
    }

    /// As the owner of the account publishes it.
    pub async fn state(&self, account: &Account, mut state: Value) {
        state["since"] = "2026-01-02T03:04:05.678Z".into();
        let kind = "im-bridge.state.v1";
        self.put(
            "IM_STATE",
            &account.key(),
            &json!({ "specversion": "1.0", "type": kind, "data": state }),
        )
        .await;
    }

    pub async fn capabilities(&self, account: &Account, document: Value) {
        self.put(
            "IM_CAP",
            &account.key(),
            &json!({ "specversion": "1.0", "data": document }),
        )
        .await;
    }

    /// A replica that holds the shard of this account.
    pub async fn replica(&self, owner: &str, account: &Account) {
        let member = json!({ "version": "0.1.0", "started": 1, "weight": 1, "draining": false, "providers": ["sim"] });
        self.put("IM_LEASE", &format!("member.{owner}"), &member)
            .await;
        let lease = json!({ "owner": owner, "started": 1, "epoch": 2, "since": 3 });
        self.put(
            "IM_LEASE",
            &format!("shard.{}", Shard::of(account, SHARDS)),
            &lease,
        )
        .await;
    }

    /// `sim/demo`, online, owned by a replica.
    pub async fn demo(&self) -> Account {
        let account = account("sim", "demo");
        self.state(
            &account,
            json!({ "state": "online", "action": "none", "self": { "user_id": "u1" } }),
        )
        .await;
        self.replica("host-00000001", &account).await;
        account
    }

    /// Answers every message on a subject with what this makes of it: on its reply subject, or where that says.
    pub async fn answer<F>(&self, subject: &str, make: F) -> JoinHandle<()>
    where
        F: Fn(&str, &Value) -> (Option<String>, Value) + Send + 'static,
    {
        let client = self.client().clone();
        let mut arriving = client.subscribe(subject.to_owned()).await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(message) = arriving.next().await {
                let body: Value = serde_json::from_slice(&message.payload).unwrap();
                let (to, answer) = make(&message.subject, &body);
                let to = to.map_or_else(|| message.reply.clone().unwrap(), Into::into);
                client.publish(to, answer.to_string().into()).await.unwrap();
            }
        })
    }
}

pub fn account(provider: &str, alias: &str) -> Account {
    Account::new(provider.parse().unwrap(), alias.parse().unwrap())
}

/// A result document for this command.
pub fn result(command: &Value, mut data: Value) -> Value {
    data["command_id"] = command["id"].clone();
    data["timing"] = json!({ "queued_ms": 1, "provider_ms": 7, "attempts": 1 });
    json!({
        "specversion": "1.0", "id": "r1", "source": "/im/sim/demo", "type": "im-bridge.res.message.send.v1",
        "time": "2026-01-02T03:04:06.000Z", "subject": "lobby", "provider": "sim", "account": "demo",
        "causationid": command["id"], "data": data,
    })
}
