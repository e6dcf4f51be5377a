//! A NATS that cannot be used, and what the bridge says then: once, with the reason and what to do, and the same from
//! `run` as from `check --online`.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod access;
mod objects;
mod server;
mod tls;

use im_bridge_test_harness::{Bridge, Files, Nats, eventually};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Far above what a refusal takes, and below what waiting for ever takes.
const WITHIN: Duration = Duration::from_secs(60);

/// A configuration with these keys of `nats`, small enough for many servers on one disk.
fn config(url: &str, nats: Value) -> Value {
    let room = json!({ "max_mib": 8 });
    let mut all = json!({
        "url": url,
        "events": room, "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
    });
    let Value::Object(keys) = nats else {
        panic!("keys of nats are an object")
    };
    all.as_object_mut().unwrap().extend(keys);
    json!({ "nats": all, "admin": { "listen": "127.0.0.1:0" } })
}

fn files(url: &str, nats: Value) -> Arc<Files> {
    Files::new(env!("CARGO_BIN_EXE_im-bridge"), &config(url, nats))
}

/// `run` ends with this error, and so says `check`.
#[track_caller]
fn refused(files: &Files, code: &str, text: &str) {
    check_finds(files, code, text);
    run_refuses(files, code, text);
}

#[track_caller]
fn run_refuses(files: &Files, code: &str, text: &str) {
    let ran = files.run_to_end(&["run"], WITHIN);
    let error = format!("error[{code}]: {text}");
    assert!(
        ran.code == Some(3) && ran.err.contains(&error),
        "wanted `{error}`: {ran:?}"
    );
}

#[track_caller]
fn check_finds(files: &Files, code: &str, text: &str) {
    let ran = files.run_to_end(&["check", "--online"], WITHIN);
    let is_found =
        |line: &&str| line.starts_with('×') && line.contains(text) && line.ends_with(code);
    assert!(
        ran.code == Some(1) && ran.out.lines().any(|line| is_found(&line)),
        "wanted `{text}` {code}: {ran:?}"
    );
}

/// `run` becomes ready, and `check` has nothing to say about NATS.
async fn welcomed(files: &Arc<Files>) -> Bridge {
    let bridge = Bridge::start(files, "a");
    eventually("it is ready", || async {
        (bridge.get("/readyz").0 == 200).then_some(())
    })
    .await;
    let ran = files.run_to_end(&["check", "--online"], WITHIN);
    assert!(ran.code == Some(0) && ran.out.contains("√ nats"), "{ran:?}");
    bridge
}

/// A folder with files that a server is configured with.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A server with this configuration.
    fn server(&self, config: &str) -> Nats {
        let path = self.file("server.conf", config);
        let config = ["-c", path.to_str().unwrap()];
        Nats::start_with(im_bridge_test_harness::Jetstream::On, &config)
    }
}
