//! What every job needs: a server, a provider, and the columns as processes of their own.

use crate::process::Process;
use async_nats::jetstream;
use im_bridge_test_harness::otlp::{Collector, nobody};
use im_bridge_test_harness::{Bridge, Files, Nats, Simulator, eventually_within};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For whatever must happen; far above what it takes.
pub const WITHIN: Duration = Duration::from_secs(120);

/// Who does the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Column {
    /// The same libraries and nothing else
    Floor,
    /// im-bridge, with everything on but traces: nobody collects them
    Bridge,
    /// The same with a collector, and no trace recorded
    Unsampled,
    /// One trace of a hundred
    Hundredth,
    /// One of ten
    Tenth,
    /// All traces
    Whole,
    /// All traces, and nobody listens where the collector should be
    Dead,
}

impl Column {
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Bridge => "bridge",
            Self::Unsampled => "unsampled",
            Self::Hundredth => "hundredth",
            Self::Tenth => "tenth",
            Self::Whole => "whole",
            Self::Dead => "dead",
        }
    }

    /// Begins every subject of it: columns share nothing.
    pub fn root(self) -> &'static str {
        match self {
            Self::Bridge => "im",
            other => other.name(),
        }
    }

    /// Which part of its traces is recorded, if there are any.
    fn share(self) -> Option<f64> {
        match self {
            Self::Floor | Self::Bridge => None,
            Self::Unsampled => Some(0.0),
            Self::Hundredth => Some(0.01),
            Self::Tenth => Some(0.1),
            Self::Whole | Self::Dead => Some(1.0),
        }
    }

    /// The stream with what the provider says, or with results.
    pub fn stream(self, what: What) -> String {
        let what = match what {
            What::Events => "EVT",
            What::Commands => "CMD",
            What::Results => "RES",
        };
        format!("{}_{what}", self.root().to_uppercase())
    }
}

/// What a stream holds.
#[derive(Clone, Copy)]
pub enum What {
    Events,
    Commands,
    Results,
}

/// Programs that are measured or needed for it.
pub struct Programs {
    pub bridge: PathBuf,
    /// None: the adapter that is built with it.
    pub plugin: Option<PathBuf>,
    /// None: built when it is needed.
    pub simulator: Option<PathBuf>,
    /// Plays the floor when it is run as `floor …`.
    pub own: PathBuf,
}

/// One server and one provider, for all columns.
pub struct World {
    pub nats: Nats,
    pub simulator: Simulator,
    /// For columns with traces; it decodes and keeps them until it is told to forget.
    pub collector: Collector,
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
    programs: Programs,
}

/// A column that runs. It ends with this value.
pub struct Started {
    pub column: Column,
    /// Right before its `exec`.
    pub began: Instant,
    pub process: Process,
    running: Running,
    counts: Option<tempfile::NamedTempFile>,
}

enum Running {
    Bridge(Bridge),
    Child(Child),
}

impl World {
    pub async fn new(programs: Programs) -> Self {
        let nats = Nats::start();
        let client = async_nats::connect(nats.url())
            .await
            .expect("the server runs");
        Self {
            jetstream: jetstream::new(client.clone()),
            simulator: match &programs.simulator {
                Some(program) => Simulator::start_program(program),
                None => Simulator::start(),
            },
            collector: Collector::start(),
            client,
            nats,
            programs,
        }
    }

    /// The bridge's configuration with these accounts.
    pub fn config(&self, column: Column, accounts: &BTreeMap<String, Value>) -> Value {
        // What may be stored is set aside at once, and six bridges share a server.
        let max_mib = if column.share().is_some() { 96 } else { 512 };
        let room = json!({ "max_mib": max_mib });
        json!({
            "nats": {
                "url": self.nats.url(), "root": column.root(), "events": room, "results": room, "dead_letters": room, "ledger": room, "kv": room,
                "commands": { "max_mib": max_mib, "max_waiting": 1_000_000 },
            },
            "admin": { "listen": "127.0.0.1:0" },
            "telemetry": self.telemetry(column),
            // A thousand accounts log in at once here, and their provider does not mind.
            "plugins": { "providers": { "sim": { "start_per_s": 1000, "logins_per_minute": 10_000 } } },
            "accounts": { "sim": accounts },
        })
    }

    fn telemetry(&self, column: Column) -> Value {
        let Some(share) = column.share() else {
            return json!({});
        };
        let endpoint = match column {
            Column::Dead => nobody(),
            _ => self.collector.url(),
        };
        json!({ "otlp": { "endpoint": endpoint }, "traces": { "sampler_arg": share } })
    }

    pub fn files(&self, accounts: &BTreeMap<String, Value>) -> std::sync::Arc<Files> {
        self.files_of(Column::Bridge, accounts)
    }

    fn files_of(
        &self,
        column: Column,
        accounts: &BTreeMap<String, Value>,
    ) -> std::sync::Arc<Files> {
        let bridge = &self.programs.bridge;
        let files = Files::new(
            bridge.to_str().expect("a path of ours"),
            &self.config(column, accounts),
        );
        if let Some(plugin) = &self.programs.plugin {
            let plugin = std::fs::read(plugin).expect("an adapter lies beside another bridge");
            files.drop_plugin("libsim.so", &plugin);
        }
        files
    }

    /// An account of the bridge at this provider.
    pub fn account(&self, world: &str) -> Value {
        let heartbeat_ms = crate::floor::HEARTBEAT_MS;
        json!({ "url": self.simulator.url(), "world": world, "heartbeat_ms": heartbeat_ms })
    }

    /// Starts a column with one account in the world of its name; returns when it is online. `is_counted`: its
    /// allocations are, which costs time.
    pub async fn start(&self, column: Column, job: &str, is_counted: bool) -> Started {
        self.start_many(column, job, 1, is_counted).await
    }

    /// The same with several accounts, each in a world of its own (`<column>-<number>`) if they are more than one.
    pub async fn start_many(
        &self,
        column: Column,
        job: &str,
        accounts: u64,
        is_counted: bool,
    ) -> Started {
        let counts = is_counted.then(crate::allocations::counted);
        let environment = counts.iter().flat_map(crate::allocations::environment);
        let environment: Vec<(String, String)> = environment.collect();
        if column == Column::Floor {
            self.streams(column).await;
            let mut command = Command::new(&self.programs.own);
            command
                .args(["floor", job, "--nats", self.nats.url()])
                .args(["--provider", self.simulator.url()])
                .args(["--world", column.name(), "--accounts"])
                .arg(accounts.to_string())
                .envs(environment.iter().cloned());
            let began = Instant::now();
            let child = ready(&mut command);
            return Started {
                column,
                began,
                process: Process(child.id()),
                running: Running::Child(child),
                counts,
            };
        }
        let aliases = worlds(column, accounts);
        let configured = aliases
            .iter()
            .map(|alias| (alias.clone(), self.account(alias)));
        let files = self.files_of(column, &configured.collect());
        let variables: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let began = Instant::now();
        let bridge = Bridge::start_with(&files, "bench", &variables);
        eventually_within(WITHIN, "all accounts are online", || async {
            (online(&bridge) >= accounts).then_some(())
        })
        .await;
        Started {
            column,
            began,
            process: Process(bridge.id()),
            running: Running::Bridge(bridge),
            counts,
        }
    }

    /// As the bridge makes them for itself.
    async fn streams(&self, column: Column) {
        for (what, subject) in [
            (What::Events, "evt"),
            (What::Commands, "cmd"),
            (What::Results, "res"),
        ] {
            let is_queue = matches!(what, What::Commands);
            let name = column.stream(what);
            // Written out, because the library's type has no compression.
            let config = json!({
                "name": name, "subjects": [format!("{}.{subject}.>", column.root())], "storage": "file",
                "num_replicas": 1, "max_bytes": 512 << 20, "duplicate_window": 900_000_000_000_u64, "allow_direct": true,
                "compression": if is_queue { "none" } else { "s2" },
                "retention": if is_queue { "workqueue" } else { "limits" },
            });
            let asked = format!("$JS.API.STREAM.CREATE.{name}");
            let made = self.client.request(asked, config.to_string().into()).await;
            let made: Value = serde_json::from_slice(&made.expect("the server runs").payload)
                .expect("it answers in JSON");
            assert!(made["error"].is_null(), "{made}");
        }
    }

    /// Messages in a stream, and the number of its last one.
    pub async fn state(&self, stream: &str) -> (u64, u64) {
        let stream = self.jetstream.get_stream(stream).await;
        stream.map_or((0, 0), |stream| {
            let state = &stream.cached_info().state;
            (state.messages, state.last_sequence)
        })
    }

    /// Bodies of a stream after this number, in order.
    pub async fn after(&self, stream: &str, sequence: u64) -> Vec<bytes::Bytes> {
        use async_nats::jetstream::consumer::{DeliverPolicy, pull};
        use futures_util::StreamExt;
        let (_, last) = self.state(stream).await;
        if last <= sequence {
            return Vec::new();
        }
        let stream = self
            .jetstream
            .get_stream(stream)
            .await
            .expect("it is there");
        let consumer = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: sequence + 1,
            },
            ..pull::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(consumer).await;
        let messages = consumer.expect("the stream is there").messages().await;
        let mut messages = messages.expect("the stream is there");
        let mut bodies = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.expect("the server stays");
            bodies.push(message.payload.clone());
            if message
                .info()
                .is_ok_and(|info| info.stream_sequence >= last)
            {
                break;
            }
        }
        bodies
    }
}

/// Worlds of a column's accounts; also their aliases.
pub fn worlds(column: Column, accounts: u64) -> Vec<String> {
    if accounts == 1 {
        return vec![column.name().to_owned()];
    }
    (0..accounts)
        .map(|number| format!("{}-{number}", column.name()))
        .collect()
}

fn online(bridge: &Bridge) -> u64 {
    let status = bridge.status();
    let accounts = status["accounts"].as_array().cloned().unwrap_or_default();
    let online = accounts
        .iter()
        .filter(|account| account["state"]["state"] == "online");
    online.count() as u64
}

/// Starts it and waits for the line `ready`.
fn ready(command: &mut Command) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let mut line = String::new();
    let told = BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line);
    told.expect("it says that it is ready");
    assert_eq!(line.trim(), "ready", "{command:?}");
    child
}

impl Started {
    /// Allocations so far, where they are counted.
    pub fn allocations(&self) -> Option<u64> {
        let counts = self.counts.as_ref()?;
        Some(crate::allocations::read(counts.path()))
    }

    /// Ends it as an operator would, so that the next one need not wait for a lease.
    pub fn stop(mut self) {
        if let Running::Bridge(bridge) = &mut self.running {
            bridge.terminate();
            let ended = bridge.ended(WITHIN);
            assert!(ended.is_some(), "the bridge does not end");
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Running::Child(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Programs as they lie beside the bench, built now with the bench's own profile; or another bridge, to compare the two.
pub fn built(bridge: Option<&Path>) -> Programs {
    let own = std::env::current_exe().expect("a program has a file");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // All in one go: apart, each would have its own selection of features, and everything be compiled again.
    build.args(["build", "-q"]).args(PACKAGES);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let built = built.status().expect("cargo can be run");
    assert!(built.success(), "the programs are built");
    Programs {
        bridge: bridge.map_or_else(|| own.with_file_name("im-bridge"), Path::to_owned),
        plugin: bridge.map(|bridge| bridge.with_file_name("libim_bridge_adapter_sim.so")),
        simulator: Some(own.with_file_name("im-bridge-test-simulators")),
        own,
    }
}

const PACKAGES: [&str; 8] = [
    "-p",
    "im-bridge",
    "-p",
    "im-bridge-adapter-sim",
    "-p",
    "im-bridge-test-simulators",
    "-p",
    "im-bridge-test-bench",
];
