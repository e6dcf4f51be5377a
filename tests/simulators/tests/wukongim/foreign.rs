//! Public clients that know nothing of us: the JavaScript SDK (binary protocol) and the Rust EasySDK (JSON-RPC) talk through the
//! simulator to each other's servers and to a user of the test.
//!
//! Not tried with them: frames cut or joined. Version 1.0.4 of the JavaScript SDK loses its place in frames that are cut, and tells
//! messages several times that are joined in one WebSocket message.
//!
//! Both are installed once, below `target/`, by the ordinary clients; where that cannot be done the test is skipped, loudly.

use crate::peer::{logins, native, recorded, started};
use im_bridge_test_harness::{Simulator, eventually, skip};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// As published, pinned.
const NODE_PACKAGES: [&str; 2] = ["wukongimjssdk@1.0.4", "ws@8.23.0"];
/// A process of its own and what it links must have started by then.
const SAYS_WITHIN: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn scripts() -> PathBuf {
    root().join("tests/foreign/wukongim")
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("it fails").to_owned())
}

/// One test at a time installs.
fn alone(folder: &Path) -> Result<File, String> {
    let lock = || {
        std::fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    };
    lock().map_err(|error: std::io::Error| error.to_string())
}

/// A folder with the JavaScript packages; else why there is none.
fn javascript() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wukongim-javascript");
    let _lock = alone(&folder)?;
    run(Command::new("node").arg("--version"))?;
    if folder.join("node_modules/ws/package.json").exists() {
        return Ok(folder);
    }
    let npm = [
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--omit=dev",
    ];
    run(Command::new("npm")
        .args(npm)
        .arg("--prefix")
        .arg(&folder)
        .args(NODE_PACKAGES))?;
    Ok(folder)
}

/// The program with the EasySDK; else why there is none.
fn easy() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wukongim-easy");
    let _lock = alone(&folder)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(scripts().join("easy/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder))?;
    Ok(folder.join("debug/wukongim-easy-peer"))
}

/// A client as a process; it ends with this value.
struct Foreigner {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<Value>,
}

impl Drop for Foreigner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Foreigner {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(64);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else {
                    continue;
                };
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let orders = child.stdin.take().unwrap();
        Self {
            child,
            orders,
            lines,
        }
    }

    fn javascript(folder: &Path, simulator: &Simulator, uid: &str) -> Self {
        let mut command = Command::new("node");
        command
            .arg(scripts().join("peer.mjs"))
            .arg(folder)
            .arg(simulator.address("ws"));
        Self::start(command.args([uid, &format!("tok-{uid}")]))
    }

    fn easy(program: &Path, simulator: &Simulator, uid: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(simulator.address("ws"));
        Self::start(command.args([uid, &format!("tok-{uid}")]))
    }

    /// The next line that has this key; what it says.
    fn says(&self, key: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(SAYS_WITHIN);
            let mut line = line.unwrap_or_else(|_| panic!("it says {key} in time"));
            if line.get(key).is_some() {
                return line[key].take();
            }
            println!("{line}");
        }
    }

    fn send(&mut self, to: &str, channel_type: u8, text: &str) {
        let order = json!({ "send": { "to": to, "type": channel_type, "text": text } });
        writeln!(self.orders, "{order}").unwrap();
    }
}

async fn registered(simulator: &Simulator, uid: &str, device_flag: u8) {
    let token = format!("tok-{uid}");
    let body = json!({ "uid": uid, "token": token, "device_flag": device_flag, "device_level": 0 });
    native(simulator, "/user/token", &body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_talks_and_listens() {
    let folder = match javascript() {
        Ok(folder) => folder,
        Err(reason) => return skip(&["node", "npm"], &reason),
    };
    let simulator = started(&json!({ "token_auth": true, "kick_ms": 200 }));
    let control = simulator.control();
    registered(&simulator, "alice", 1).await;
    crate::peer::group(&simulator, "team", &["alice", "bob"]).await;
    let mut alice = Foreigner::javascript(&folder, &simulator, "alice");
    assert_eq!(alice.says("version"), 2);
    assert_eq!(alice.says("status"), 1, "connected");
    alice.send("bob", 1, "hi 你好");
    let sent = alice.says("sent");
    assert_eq!((&sent["seq"], &sent["reason"]), (&json!(1), &json!(1)));
    let kept = recorded(&control, "send", |it| it["from"] == "alice").await;
    assert_eq!(kept["message_id"], sent["id"]);
    alice.send("nobody's", 2, "refused");
    assert_eq!(alice.says("sent")["reason"], 3);
    let body =
        json!({ "from": "bob", "channel_id": "team", "channel_type": 2, "text": "a", "times": 20 });
    let answer = control.act("send", body).await;
    for wanted in answer["messages"].as_array().unwrap() {
        let heard = alice.says("message");
        assert_eq!(heard["id"], wanted["message_id"]);
        assert_eq!(heard["seq"], wanted["message_seq"]);
        assert_eq!(heard["number"], wanted["client_msg_no"]);
        assert_eq!(
            (&heard["from"], &heard["channel"]),
            (&json!("bob"), &json!("team"))
        );
        assert_eq!(heard["text"], "a");
    }
    eventually("all acknowledged", || async {
        let summary = control.get("summary").await;
        (summary["recvacks"] == 20 && summary["unacked"] == 0).then_some(())
    })
    .await;
    let typing = json!({ "type": 99, "cmd": "typing", "param": {} });
    let typing =
        json!({ "from": "bob", "channel_id": "alice", "channel_type": 1, "payload": typing });
    control.act("send", typing).await;
    assert_eq!(alice.says("command"), "typing");
    native(
        &simulator,
        "/user/device_quit",
        &json!({ "uid": "alice", "device_flag": 1 }),
    )
    .await;
    while alice.says("status") != 4 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_comes_back_after_a_loss() {
    let folder = match javascript() {
        Ok(folder) => folder,
        Err(reason) => return skip(&["node", "npm"], &reason),
    };
    let simulator = started(&json!({}));
    let control = simulator.control();
    let alice = Foreigner::javascript(&folder, &simulator, "alice");
    assert_eq!(alice.says("status"), 1);
    control
        .act("connections", json!({ "do": "reset", "uid": "alice" }))
        .await;
    eventually("a second login", || async {
        (logins(&control, "alice").await == 2).then_some(())
    })
    .await;
    control
        .act(
            "send",
            json!({ "from": "bob", "channel_id": "alice", "channel_type": 1, "text": "again" }),
        )
        .await;
    assert_eq!(alice.says("message")["text"], "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_easy_sdk_talks_and_listens() {
    let program = match easy() {
        Ok(program) => program,
        Err(reason) => return skip(&["wukong-easy-sdk", "cargo"], &reason),
    };
    // A refusal in silence is closed sooner than the SDK gives up.
    let simulator = started(&json!({ "token_auth": true, "refusal_ms": 500 }));
    let control = simulator.control();
    // It announces the device flag of a desktop.
    for uid in ["dora", "emil"] {
        registered(&simulator, uid, 2).await;
    }
    crate::peer::group(&simulator, "team", &["dora", "emil"]).await;
    let mut dora = Foreigner::easy(&program, &simulator, "dora");
    let emil = Foreigner::easy(&program, &simulator, "emil");
    for one in [&dora, &emil] {
        let connected = one.says("connected");
        assert_eq!(connected, json!({ "version": 5, "reason": 1 }));
    }
    dora.send("emil", 1, "hi 你好");
    let sent = dora.says("sent");
    assert_eq!((&sent["seq"], &sent["reason"]), (&json!(1), &json!(1)));
    let heard = emil.says("message");
    assert_eq!(heard["id"], sent["id"]);
    assert_eq!(
        (&heard["from"], &heard["channel"]),
        (&json!("dora"), &json!("dora"))
    );
    assert_eq!(
        (&heard["text"], &heard["red_dot"]),
        (&json!("hi 你好"), &json!(true))
    );
    dora.send("team", 2, "to all");
    let sent = dora.says("sent");
    assert_eq!(emil.says("message")["id"], sent["id"]);
    recorded(&control, "recvack", |it| {
        it["message_id"] == sent["id"] && it["is_effective"] == true
    })
    .await;
    let event = json!({
        "event_id": "e1", "event_type": "stream.delta", "occurred_at": 5, "client_msg_no": "n",
        "channel_id": "team", "channel_type": 2, "from_uid": "dora", "payload": { "delta": "x" },
    });
    native(&simulator, "/message/event", &event).await;
    let told = emil.says("event");
    assert_eq!(
        (&told["id"], &told["data"]["payload"]["delta"]),
        (&json!("e1"), &json!("x"))
    );
    let stranger = Foreigner::easy(&program, &simulator, "stranger");
    assert!(stranger.says("refused").is_string());
}
