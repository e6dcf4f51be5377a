//! A server, a bridge with the plugin, and ways to ask all of them.

use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use im_bridge_test_harness::{
    Bridge, Control, Files, Nats, Simulator, WITHIN, eventually, eventually_within,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For a request; far above what one takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    WebSocket,
    Tcp,
    JsonRpc,
    JsonRpcTcp,
}

impl Way {
    pub fn put(self, account: &mut Value, simulator: &Simulator) {
        let of = match self {
            Self::WebSocket | Self::JsonRpc => "ws",
            Self::Tcp | Self::JsonRpcTcp => "tcp",
        };
        account["url"] = simulator.address(of).into();
        if matches!(self, Self::JsonRpc | Self::JsonRpcTcp) {
            account["codec"] = "jsonrpc".into();
        }
    }

    /// As the simulator's filters call it.
    pub fn transport(self) -> &'static str {
        match self {
            Self::WebSocket | Self::JsonRpc => "ws",
            Self::Tcp | Self::JsonRpcTcp => "tcp",
        }
    }
}

/// Starts the server on free ports, with these settings.
pub fn simulator(settings: &Value) -> Simulator {
    let settings = settings.to_string();
    let free = "127.0.0.1:0";
    Simulator::of(
        "wukongim",
        &[
            "--openchat",
            free,
            "--http",
            free,
            "--ws",
            free,
            "--tcp",
            free,
            "--settings",
            &settings,
        ],
    )
}

/// An account of this uid with the server's own API.
pub fn account(simulator: &Simulator, uid: &str, way: Way) -> Value {
    let mut account = json!({
        "uid": uid, "health_s": 0, "native": { "api_url": simulator.address("http") },
    });
    way.put(&mut account, simulator);
    account
}

/// A configuration of these accounts, small enough for many servers on one disk.
pub fn config(nats_url: &str, accounts: &Value) -> Value {
    let room = json!({ "max_mib": 32 });
    json!({
        "nats": {
            "url": nats_url, "events": { "max_mib": 512 },
            "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
            "lease": { "ttl_s": 7, "renew_s": 1, "stop_s": 4 },
        },
        "admin": { "listen": "127.0.0.1:0" },
        "plugins": { "providers": { "wukongim": { "start_per_s": 1_000, "logins_per_minute": 10_000 } } },
        "accounts": { "wukongim": accounts },
    })
}

/// Files of a replica that has the plugin.
pub fn files(config: &Value) -> Arc<Files> {
    let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), config);
    let own = std::env::current_exe().unwrap();
    let plugin = own.with_file_name("libim_bridge_adapter_wukongim.so");
    let content = std::fs::read(&plugin).unwrap_or_else(|error| {
        panic!("{}: {error}; it is built with this test", plugin.display())
    });
    files.drop_plugin("libwukongim.so", &content);
    files
}

pub struct World {
    pub nats: Nats,
    pub _simulator: Simulator,
    pub server: Control,
    pub bridge: Bridge,
    pub client: async_nats::Client,
}

impl World {
    /// With accounts that are waited for.
    pub async fn new(settings: Value, accounts: impl FnOnce(&Simulator) -> Value) -> Self {
        let world = Self::starting(settings, accounts).await;
        let status = world.bridge.files();
        let written = std::fs::read_to_string(status.path().join("bridge.json")).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        for alias in written["accounts"]["wukongim"].as_object().unwrap().keys() {
            world.is(alias, "online").await;
        }
        world
    }

    /// With accounts that are not.
    pub async fn starting(settings: Value, accounts: impl FnOnce(&Simulator) -> Value) -> Self {
        let (nats, simulator) = (Nats::start(), simulator(&settings));
        let files = files(&config(nats.url(), &accounts(&simulator)));
        let bridge = Bridge::start(&files, "a");
        let client = async_nats::connect(nats.url()).await.unwrap();
        Self {
            server: simulator.control(),
            nats,
            _simulator: simulator,
            bridge,
            client,
        }
    }

    /// One account `bot1` of the uid `bot-1`.
    pub async fn one(settings: Value, way: Way) -> Self {
        Self::new(
            settings,
            |simulator| json!({ "bot1": account(simulator, "bot-1", way) }),
        )
        .await
    }

    pub async fn is(&self, alias: &str, wanted: &str) {
        let name = format!("wukongim/{alias}");
        eventually(&format!("{name} is {wanted}"), || async {
            self.bridge.state(&name).filter(|state| state == wanted)
        })
        .await;
    }

    /// What a request is answered: the result document's `data`.
    pub async fn request(&self, alias: &str, command: &str, data: Value) -> Value {
        let subject = format!("im.v1.req.wukongim.{alias}.{command}");
        ask(&self.client, subject, &data).await["data"].clone()
    }

    /// The same with a key of its own; the parameters alone.
    pub async fn command(&self, alias: &str, command: &str, params: Value) -> Value {
        let key = format!("k-{:016x}", fastrand::u64(..));
        self.request(
            alias,
            command,
            json!({ "idempotency_key": key, "params": params }),
        )
        .await
    }

    pub async fn read(&self, alias: &str, command: &str, params: Value) -> Value {
        self.request(alias, command, json!({ "params": params }))
            .await
    }

    /// What a control verb answers.
    pub async fn control(&self, alias: &str, verb: &str, params: Value) -> Value {
        let subject = format!("im.v1.ctl.wukongim.{alias}.{verb}");
        ask(&self.client, subject, &json!({ "params": params })).await["data"].clone()
    }

    /// Somebody says something from a device of their own.
    pub async fn say(&self, from: &str, kind: u8, channel: &str, text: &str) -> Value {
        let body =
            json!({ "from": from, "channel_id": channel, "channel_type": kind, "text": text });
        self.server.act("send", body).await["messages"][0].clone()
    }

    /// Makes a group of these at the server.
    pub async fn group(&self, alias: &str, id: &str, members: &[&str]) {
        let params = json!({ "kind": "group", "id": format!("2-{id}"), "member_ids": members });
        let made = self.command(alias, "channel.create", params).await;
        assert_eq!(made["status"], "ok", "{made}");
    }

    pub async fn events(&self) -> Vec<Value> {
        stored(&self.client, "IM_EVT").await
    }

    /// Texts of stored messages of an account, in the order of the stream.
    pub async fn texts(&self, alias: &str) -> Vec<String> {
        texts(&self.events().await, alias)
    }

    /// Waits until exactly these are stored, in this order.
    pub async fn hears(&self, alias: &str, wanted: &[&str]) {
        let last = Mutex::new(Vec::new());
        let heard = eventually_within(2 * WITHIN, "heard", || async {
            let seen = self.texts(alias).await;
            let is_it = seen == wanted;
            *last.lock().unwrap() = seen;
            is_it.then_some(())
        });
        let heard = tokio::time::timeout(WITHIN, heard).await;
        assert!(
            heard.is_ok(),
            "{alias} heard {:?}, wanted {wanted:?}",
            last.lock().unwrap()
        );
    }

    /// Waits for an event of this kind.
    pub async fn event(&self, kind: &str) -> Value {
        eventually(&format!("a {kind}"), || async {
            let events = self.events().await;
            events.into_iter().find(|event| is(event, kind))
        })
        .await
    }

    /// Every message that the server pushed and wants acknowledged is.
    pub async fn is_acknowledged(&self) {
        eventually("nothing is unacknowledged", || async {
            let summary = self.server.get("summary").await;
            (summary["unacked"] == 0 && summary["unwritten"] == 0).then_some(())
        })
        .await;
    }

    /// Waits for an entry of the server's record.
    pub async fn recorded(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the server records {kind}"), || async {
            let all = self.server.record(&[kind]).await;
            all.into_iter().find(|entry| fits(entry))
        })
        .await
    }
}

pub fn is(event: &Value, kind: &str) -> bool {
    event["type"] == format!("im-bridge.evt.{kind}.v1")
}

pub fn texts(events: &[Value], alias: &str) -> Vec<String> {
    let own = events
        .iter()
        .filter(|event| is(event, "message.created") && event["account"] == alias);
    own.map(|event| {
        event["data"]["message"]["alt_text"]
            .as_str()
            .unwrap()
            .to_owned()
    })
    .collect()
}

pub fn say(key: &str, to: &str, text: &str) -> Value {
    let segments = json!([{ "type": "text", "data": { "text": text } }]);
    let params = json!({ "to": { "channel_id": to }, "message": { "segments": segments } });
    json!({ "idempotency_key": key, "params": params })
}

pub async fn ask(client: &async_nats::Client, subject: String, data: &Value) -> Value {
    let asked = client.request(subject.clone(), data.to_string().into());
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    let answer = answer.unwrap_or_else(|_| panic!("{subject}: no answer in time"));
    let answer = answer.unwrap_or_else(|error| panic!("{subject}: {error}"));
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Publishes a durable command.
pub async fn publish(client: &async_nats::Client, alias: &str, command: &str, data: &Value) {
    let subject = format!("im.v1.cmd.wukongim.{alias}.{command}");
    let context = jetstream::new(client.clone());
    let published = context.publish(subject, data.to_string().into()).await;
    published.unwrap().await.unwrap();
}

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
pub async fn stored(client: &async_nats::Client, name: &str) -> Vec<Value> {
    let context = jetstream::new(client.clone());
    let Ok(stream) = context.get_stream(name).await else {
        return Vec::new();
    };
    let expected = stream.cached_info().state.messages;
    if expected == 0 {
        return Vec::new();
    }
    let config = consumer::pull::Config {
        ack_policy: consumer::AckPolicy::None,
        ..consumer::pull::Config::default()
    };
    let Ok(consumer) = stream.create_consumer(config).await else {
        return Vec::new();
    };
    let wanted = usize::try_from(expected).unwrap();
    let mut messages = consumer
        .fetch()
        .max_messages(wanted)
        .messages()
        .await
        .unwrap();
    let mut all = Vec::with_capacity(wanted);
    while let Some(Ok(message)) = messages.next().await {
        all.push(serde_json::from_slice(&message.payload).unwrap());
    }
    // A stream has few consumers, and tests look often.
    let name = consumer.cached_info().name.clone();
    stream.delete_consumer(&name).await.unwrap();
    all
}
