//! An adapter whose session is a function of the test.

use im_bridge_sdk::test::{self, Builder, Extension, MockHost, Recording, State as Told};
use im_bridge_sdk::{
    Adapter, Command, ConfigError, Context, Description, Fault, Host, Noise, Outcome, State,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

pub const SOON: Duration = Duration::from_secs(15);

/// What a session does with the address of the test's server.
pub type Script = fn(Context, String) -> Pin<Box<dyn Future<Output = ()>>>;

static SCRIPTS: Mutex<Vec<Script>> = Mutex::new(Vec::new());

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    script: usize,
    address: String,
}

struct Scripted(Config);

im_bridge_sdk::declare_adapter!(Scripted);

impl Adapter for Scripted {
    const PROVIDER: &'static str = "scripted";
    type Config = Config;

    fn describe() -> Description {
        let capabilities = json!({
            "transport": { "inbound": "push", "outbound": "socket", "ack": "response", "poll_fallback": false },
            "limits": { "max_in_flight": 1, "max_reads_in_flight": 1, "max_payload_bytes": null,
                "idempotency_key_chars": 64, "recall_max_age_s": null, "media_by": [], "rate": null },
            "guarantees": { "ordering": "none", "inbound_ack": "none", "catch_up": "none",
                "sender_in_event": true, "provider_dedup": false, "verify_after_timeout": false,
                "message_time": "bridge", "self_echo": false },
        });
        Description::new(serde_json::from_value(capabilities).unwrap())
            .operation("ask", Noise::Command)
            .operation("poll", Noise::Poll)
            .operation("connect", Noise::Session)
            .operation("heartbeat", Noise::Heartbeat)
            .example(json!({ "script": 0, "address": "127.0.0.1:1" }))
    }

    fn create(config: Config, _: &Host) -> Result<Self, ConfigError> {
        Ok(Self(config))
    }

    async fn run(&self, cx: &Context) -> Result<(), Fault> {
        let script = SCRIPTS.lock().unwrap()[self.0.script];
        script(cx.clone(), self.0.address.clone()).await;
        cx.state(State::online());
        cx.draining().await;
        Ok(())
    }

    async fn execute(&self, _: &Context, _: Command) -> Outcome {
        unreachable!("no test sends a command")
    }
}

/// The same, with all its accounts on one thread.
struct Sharing(Scripted);

im_bridge_sdk::declare_adapter!(Sharing, runtime = Shared(1));

impl Adapter for Sharing {
    const PROVIDER: &'static str = Scripted::PROVIDER;
    type Config = Config;

    fn describe() -> Description {
        Scripted::describe()
    }

    fn create(config: Config, host: &Host) -> Result<Self, ConfigError> {
        Scripted::create(config, host).map(Self)
    }

    async fn run(&self, cx: &Context) -> Result<(), Fault> {
        self.0.run(cx).await
    }

    async fn execute(&self, cx: &Context, command: Command) -> Outcome {
        self.0.execute(cx, command).await
    }
}

/// Starts the script and leaves it running.
pub fn start(builder: fn(Builder) -> Builder, address: &str, script: Script) -> MockHost {
    started(test::entry::<Scripted>(), builder, address, script)
}

/// Starts the script of one more account on the thread that all of them share.
pub fn start_sharing(address: &str, script: Script) -> MockHost {
    started(test::entry::<Sharing>(), |builder| builder, address, script)
}

fn started(
    entry: test::Entry,
    builder: fn(Builder) -> Builder,
    address: &str,
    script: Script,
) -> MockHost {
    let index = {
        let mut scripts = SCRIPTS.lock().unwrap();
        scripts.push(script);
        scripts.len() - 1
    };
    let config = json!({ "script": index, "address": address });
    let mock = builder(MockHost::builder(entry).config(config)).create();
    let mock = mock.expect("created");
    mock.start();
    mock
}

/// Runs the script to its end; what the host saw.
pub fn run(address: &str, script: Script) -> Recording {
    let mock = start(|builder| builder, address, script);
    mock.wait_state(Told::ONLINE, SOON);
    mock.finish()
}

/// With time that the test moves.
pub fn simulated(builder: Builder) -> Builder {
    builder.offer(Extension::Clock)
}

/// The text of an error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
