//! A bridge with the plugin loaded from its file, a real NATS server, and the simulated provider.

use async_nats::jetstream;
use im_bridge_test_harness::{Bridge, Control, Files, Nats, Simulator, WITHIN, eventually};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

pub const ME: &str = "1000000001";
pub const PEER: &str = "2000000002";
pub const CHAT: &str = "30000000001";

/// A key that seals, 32 bytes.
pub const SEAL: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The adapter's file, beside the test's own program.
pub fn plugin() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.with_file_name("libim_bridge_adapter_goofish.so")
}

pub fn simulator() -> Simulator {
    Simulator::of("goofish", &["--http", "127.0.0.1:0", "--ws", "127.0.0.1:0"])
}

/// An account of the simulated provider.
pub fn account(simulator: &Simulator, uid: &str) -> Value {
    json!({
        "cookies": { "env": format!("COOKIES_{uid}") },
        "mtop_url": simulator.address("http"), "ws_url": simulator.address("ws"),
        "heartbeat_interval_ms": 500, "reconnect_interval_ms": 100, "request_timeout_ms": 3_000, "send_per_s": 100.0,
        "send_burst": 100, "bridge": { "native_calls": { "/r/Conversation/*": true } },
    })
}

/// A configuration of these accounts, small enough for many servers on one disk.
pub fn config(nats: &Nats, accounts: &Value) -> Value {
    let room = json!({ "max_mib": 16 });
    json!({
        "nats": {
            "url": nats.url(), "seal": { "use": "k1", "keys": { "k1": { "env": "SEAL" } } },
            "events": { "max_mib": 64 }, "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
            "lease": { "ttl_s": 7, "renew_s": 1, "stop_s": 4 },
        },
        "admin": { "listen": "127.0.0.1:0" },
        "plugins": { "providers": { "goofish": { "start_per_s": 1_000, "logins_per_minute": 10_000 } } },
        "accounts": { "goofish": accounts },
    })
}

/// One server, one provider, one bridge with two accounts that can talk, and a client.
pub struct Whole {
    pub nats: Nats,
    /// Ends with this value.
    _simulator: Simulator,
    pub control: Control,
    pub files: Arc<Files>,
    pub bridge: Bridge,
    pub client: async_nats::Client,
}

impl Whole {
    pub async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// With this for the own account.
    pub async fn with(patch: Value) -> Self {
        let whole = Self::starting(patch, &[("ours", ME), ("theirs", PEER)]).await;
        whole.state("ours", "online").await;
        whole.state("theirs", "online").await;
        whole
    }

    pub async fn starting(patch: Value, accounts: &[(&str, &str)]) -> Self {
        let (nats, simulator) = (Nats::start(), simulator());
        let mut all = json!({});
        for (alias, uid) in accounts {
            all[alias] = account(&simulator, uid);
        }
        for (key, value) in patch.as_object().unwrap() {
            all["ours"][key] = value.clone();
        }
        let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), &config(&nats, &all));
        std::fs::copy(plugin(), files.plugins().join("libgoofish.so")).unwrap();
        let bridge = start(&files, "a");
        let client = async_nats::connect(nats.url()).await.unwrap();
        let control = simulator.control();
        Self {
            nats,
            _simulator: simulator,
            control,
            files,
            bridge,
            client,
        }
    }

    pub async fn state(&self, alias: &str, wanted: &str) {
        let name = format!("goofish/{alias}");
        eventually(&format!("{name} is {wanted}"), || async {
            self.bridge.state(&name).filter(|state| state == wanted)
        })
        .await;
    }

    pub async fn say(&self, text: &str) {
        let said = json!({ "from": PEER, "cid": CHAT, "text": text });
        self.control.act("say", said).await;
    }

    pub async fn request(&self, alias: &str, command: &str, data: Value) -> Value {
        let subject = format!("im.v1.req.goofish.{alias}.{command}");
        ask(&self.client, subject, &data).await
    }

    /// The result of a request that must go well.
    pub async fn done(&self, alias: &str, command: &str, data: Value) -> Value {
        let answer = self.request(alias, command, data).await;
        assert_eq!(answer["data"]["status"], "ok", "{command}: {answer}");
        answer["data"]["result"].clone()
    }

    pub async fn control_verb(&self, alias: &str, verb: &str, params: Value) -> Value {
        let subject = format!("im.v1.ctl.goofish.{alias}.{verb}");
        ask(&self.client, subject, &json!({ "params": params })).await
    }

    /// Publishes a durable command.
    pub async fn command(&self, alias: &str, command: &str, data: &Value) {
        let subject = format!("im.v1.cmd.goofish.{alias}.{command}");
        let context = jetstream::new(self.client.clone());
        context
            .publish(subject, data.to_string().into())
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// Waits for the stored result of a key.
    pub async fn result(&self, key: &str) -> Value {
        eventually(&format!("the result of {key}"), || async {
            let results = self.stored("IM_RES").await;
            results
                .into_iter()
                .map(|(_, it)| it)
                .find(|it| it["data"]["idempotency_key"] == key)
        })
        .await
    }

    /// Everything in a stream, with subjects, in order.
    pub async fn stored(&self, name: &str) -> Vec<(String, Value)> {
        let context = jetstream::new(self.client.clone());
        let Ok(mut stream) = context.get_stream(name).await else {
            return Vec::new();
        };
        let last = stream
            .info()
            .await
            .map_or(0, |info| info.state.last_sequence);
        let mut all = Vec::new();
        for sequence in 1..=last {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                let body = serde_json::from_slice(&message.payload).unwrap();
                all.push((message.subject.to_string(), body));
            }
        }
        all
    }

    /// Stored events of a kind and an account.
    pub async fn events(&self, alias: &str, kind: &str) -> Vec<Value> {
        let begin = format!("im.v1.evt.goofish.{alias}.{kind}.");
        let all = self.stored("IM_EVT").await;
        all.into_iter()
            .filter(|(subject, _)| subject.starts_with(&begin))
            .map(|(_, event)| event)
            .collect()
    }

    pub async fn wait_events(&self, alias: &str, kind: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} of {kind}"), || async {
            let events = self.events(alias, kind).await;
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// Waits until the own account's messages are these, in this order, each once.
    pub async fn wait_texts(&self, wanted: &[String]) {
        eventually(&format!("{} messages", wanted.len()), || async {
            let texts = texts(&self.events("ours", "message.created").await);
            (texts.len() >= wanted.len()).then_some(())
        })
        .await;
        assert_eq!(texts(&self.events("ours", "message.created").await), wanted);
    }
}

/// A replica, with everybody's cookies.
pub fn start(files: &Arc<Files>, name: &str) -> Bridge {
    let cookies: Vec<(String, String)> = [ME, PEER]
        .iter()
        .map(|uid| {
            (
                format!("COOKIES_{uid}"),
                format!("unb={uid}; cookie2=a-secret-cookie"),
            )
        })
        .chain([("SEAL".to_owned(), SEAL.to_owned())])
        .collect();
    let variables: Vec<(&str, &str)> = cookies
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Bridge::start_with(files, name, &variables)
}

pub fn texts(events: &[Value]) -> Vec<String> {
    let text = |event: &Value| {
        event["data"]["message"]["alt_text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    events.iter().map(text).collect()
}

pub fn message(key: &str, text: &str) -> Value {
    to(key, json!({ "channel_id": CHAT }), text)
}

pub fn to(key: &str, to: Value, text: &str) -> Value {
    let segments = json!([{ "type": "text", "data": { "text": text } }]);
    json!({ "idempotency_key": key, "params": { "to": to, "message": { "segments": segments } } })
}

pub async fn ask(client: &async_nats::Client, subject: String, data: &Value) -> Value {
    let asked = client.request(subject.clone(), data.to_string().into());
    let answer = tokio::time::timeout(WITHIN, asked).await;
    let answer = answer.unwrap_or_else(|_| panic!("{subject}: no answer in time"));
    let answer = answer.unwrap_or_else(|error| panic!("{subject}: {error}"));
    serde_json::from_slice(&answer.payload).unwrap()
}
