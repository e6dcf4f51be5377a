//! C adapters, built and loaded, and an account in one.

use bytes::Bytes;
use im_bridge::loader::host::{
    Command, Completed, Fault, HostEvent, InboundEvent, Inbox, Instance, Options, Patience, Plugin,
    Pool, Window,
};
use im_bridge::loader::{Loaded, Loader, PluginsConfig};
use im_bridge_plugin_api::abi;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Longest wait for anything: far above what a busy machine takes.
pub const WITHIN: Duration = Duration::from_secs(20);

/// As the contract's, but a call that does not return is noticed soon.
pub const IMPATIENT: Patience = Patience {
    control: Duration::from_millis(400),
    quick: Duration::from_millis(400),
    slow: Duration::from_millis(10),
    busy: Duration::from_millis(50),
};

/// The plain C adapter.
pub static ECHO: LazyLock<&'static Loaded> = LazyLock::new(|| load("adapter", &[]));
/// The same with faults on demand.
pub static FAULTY: LazyLock<&'static Loaded> = LazyLock::new(|| load("faulty", &[]));

/// Builds a C adapter of the zoo and loads it.
pub fn load(source: &str, flags: &[&str]) -> &'static Loaded {
    let loader = Loader::new(PluginsConfig::default()).unwrap();
    loader.load(&build(source, flags)).unwrap()
}

fn build(source: &str, flags: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let name = format!(
        "lib{source}{}.so",
        flags.concat().replace(['/', '"', '='], "_")
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Process::new("cc")
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            "-shared",
            "-fPIC",
        ])
        .args(["-fvisibility=hidden", "-pthread"])
        .args(flags)
        .arg("-I")
        .arg(root.join("plugin-api/include"))
        .arg("-o")
        .arg(&file)
        .arg(root.join("tests/zoo/c").join(source).with_extension("c"))
        .output()
        .expect("a C compiler is there: Rust links with it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    file
}

/// An account in a plugin.
pub struct Rig {
    pub instance: Instance,
    pub inbox: Inbox,
}

pub fn options() -> Options {
    Options {
        window: Window::default(),
        pool: Pool::new(256 * 1024 * 1024),
        hooks: Arc::new(()),
        webhooks_max: 0,
    }
}

impl Rig {
    /// Created, not started.
    pub async fn created(plugin: &Arc<Plugin>, config: &str) -> Self {
        let config = config.as_bytes().to_vec();
        let (instance, inbox) = Instance::create(plugin, "shop", config, options())
            .await
            .unwrap();
        Self { instance, inbox }
    }

    pub async fn started(plugin: &Arc<Plugin>, config: &str) -> Self {
        let rig = Self::created(plugin, config).await;
        rig.instance.start().await.unwrap();
        rig
    }

    pub async fn next(&mut self) -> HostEvent {
        let next = tokio::time::timeout(WITHIN, self.inbox.recv()).await;
        next.expect("the adapter says something in time")
    }

    /// The next event; completions and the like before it are dropped.
    pub async fn event(&mut self) -> InboundEvent {
        loop {
            if let HostEvent::Event(event) = self.next().await {
                return event;
            }
        }
    }

    pub async fn fault(&mut self) -> Fault {
        loop {
            if let HostEvent::Fault(fault) = self.next().await {
                return fault;
            }
        }
    }

    /// Executes a command and waits for its end; events meanwhile are stored.
    pub async fn run(&mut self, name: &str, body: &str) -> Completed {
        let id = self
            .instance
            .execute(command(name, body))
            .expect("it takes commands");
        loop {
            match self.next().await {
                HostEvent::Completed(completed) if completed.id == id => return completed,
                HostEvent::Event(event) => event.ticket.settle(abi::Outcome::STORED),
                _ => {}
            }
        }
    }

    /// Echoes once: proves that events, settles and commands get through.
    pub async fn assert_works(&mut self) {
        let completed = self.run("message.send", r#"{"n":1}"#).await;
        assert_eq!(completed.status, abi::Status::OK);
    }

    pub async fn end(self) {
        self.instance.stop(WITHIN).await.unwrap();
        self.instance.destroy().await.unwrap();
    }
}

pub fn command(name: &str, body: &str) -> Command {
    Command {
        name: name.into(),
        channel: Some("c1".into()),
        idempotency_key: "key-1".into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        deadline_ms: 4_000_000_000_000, // in the year 2096
        is_redelivered: false,
        trace: abi::Trace::NONE,
    }
}
