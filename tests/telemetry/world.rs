//! A bridge with a collector, with accounts that poll by a script, and ways to ask.

use async_nats::HeaderMap;
use async_nats::jetstream;
use im_bridge_test_harness::otlp::{Collector, Span};
use im_bridge_test_harness::{Bridge, Files, Nats, eventually};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The end of a bridge: its drain, its own limits, and a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The polling adapter, built once.
static POLLER: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libpoller.so");
    let output = Command::new("cc")
        .args(["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"])
        .args(["-O1", "-shared", "-fPIC", "-fvisibility=hidden"])
        .arg("-I")
        .arg(root.join("plugin-api/include"))
        .arg("-o")
        .arg(&file)
        .arg(root.join("tests/zoo/c/poller.c"))
        .output()
        .expect("a C compiler is there: Rust links with it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    file
});

/// One server, one replica, one collector.
pub struct World {
    pub nats: Nats,
    pub bridge: Bridge,
    pub collector: Collector,
    pub client: async_nats::Client,
}

/// A configuration with these accounts, by provider.
pub fn config(nats: &Nats, endpoint: &str, accounts: &Value) -> Value {
    let room = json!({ "max_mib": 16 });
    json!({
        "nats": {
            "url": nats.url(),
            "events": room, "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
        },
        "admin": { "listen": "127.0.0.1:0" },
        "telemetry": { "otlp": { "endpoint": endpoint } },
        "accounts": accounts,
    })
}

pub fn files(config: &Value) -> Arc<Files> {
    let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), config);
    std::fs::copy(&*POLLER, files.plugins().join("libpoller.so")).expect("the folder has room");
    files
}

impl World {
    /// Accounts by provider; `change` has the last word on the configuration. Returns when all of them are online.
    pub async fn new(accounts: Value, change: impl FnOnce(&mut Value)) -> Self {
        Self::with(accounts, change, &[]).await
    }

    /// The same with variables.
    pub async fn with(
        accounts: Value,
        change: impl FnOnce(&mut Value),
        variables: &[(&str, &str)],
    ) -> Self {
        let nats = Nats::start();
        let collector = Collector::start();
        let mut config = config(&nats, &collector.url(), &accounts);
        change(&mut config);
        let bridge = Bridge::start_with(&files(&config), "a", variables);
        let client = async_nats::connect(nats.url()).await.unwrap();
        for (provider, accounts) in accounts.as_object().unwrap() {
            for alias in accounts.as_object().unwrap().keys() {
                let name = format!("{provider}/{alias}");
                eventually(&format!("{name} is online"), || async {
                    bridge.state(&name).filter(|state| state == "online")
                })
                .await;
            }
        }
        Self {
            nats,
            bridge,
            collector,
            client,
        }
    }

    /// One account that polls by this script.
    pub async fn polling(script: &str, change: impl FnOnce(&mut Value)) -> Self {
        let accounts = json!({ "c-poller": { "shop": { "script": script } } });
        Self::new(accounts, change).await
    }

    /// Publishes a durable command.
    pub async fn send(&self, account: &str, data: &Value, headers: &[(&str, &str)]) {
        let mut lines = HeaderMap::new();
        for &(name, value) in headers {
            lines.append(name, value);
        }
        let subject = format!("im.v1.cmd.{account}.message.send");
        let context = jetstream::new(self.client.clone());
        let published = context.publish_with_headers(subject, lines, data.to_string().into());
        published.await.unwrap().await.unwrap();
    }

    /// Messages of a stream, as soon as there are so many.
    pub async fn stored(&self, stream: &str, wanted: u64) -> Vec<async_nats::Message> {
        let context = jetstream::new(self.client.clone());
        eventually(&format!("{wanted} messages in {stream}"), || async {
            let stream = context.get_stream(stream).await.ok()?;
            let last = stream.get_info().await.ok()?.state.last_sequence;
            if last < wanted {
                return None;
            }
            let mut all = Vec::new();
            for sequence in 1..=last {
                let stored = stream.get_raw_message(sequence).await.ok()?;
                all.push(async_nats::Message {
                    subject: stored.subject,
                    reply: None,
                    length: stored.payload.len(),
                    payload: stored.payload,
                    headers: Some(stored.headers),
                    status: None,
                    description: None,
                });
            }
            Some(all)
        })
        .await
    }

    /// Ends the bridge, which sends what it still has; all spans that ever came.
    pub fn ended(&mut self) -> Vec<Span> {
        self.bridge.terminate();
        let status = self.bridge.ended(ENDS_WITHIN);
        assert!(status.is_some_and(|it| it.success()), "{status:?}");
        self.collector.check();
        self.collector.spans()
    }

    /// A metric's value; 0 if it is not there yet.
    pub fn metric(&self, series: &str) -> f64 {
        self.bridge.metric(series).unwrap_or_default()
    }
}

/// A command that the poller carries out as an instruction.
pub fn instruct(key: &str, instruction: &str) -> Value {
    message(key, instruction, "x")
}

pub fn message(key: &str, channel: &str, text: &str) -> Value {
    let segments = json!([{ "type": "text", "data": { "text": text } }]);
    let params = json!({ "to": { "channel_id": channel }, "message": { "segments": segments } });
    json!({ "idempotency_key": key, "params": params })
}

/// The spans of this name.
pub fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// The only span of this name.
pub fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    match &named(spans, name)[..] {
        [span] => span,
        other => panic!("{} spans are called {name}: {spans:#?}", other.len()),
    }
}
