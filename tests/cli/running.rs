//! Client commands against a bridge that runs, with the provider in its plugin.

use super::{Place, Ran};
use async_nats::Client;
use im_bridge_test_harness::{Bridge, Files, Nats, eventually};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) struct Running {
    pub(crate) nats: Nats,
    pub(crate) files: Arc<Files>,
    pub(crate) bridge: Bridge,
    pub(crate) place: Place,
}

impl Running {
    /// With `sim/demo`, which is online.
    async fn new(account: Value) -> Self {
        Self::with(account, true).await
    }

    /// Newer plugin files take over by themselves, or wait for a person.
    pub(crate) async fn with(account: Value, is_auto: bool) -> Self {
        let nats = Nats::start();
        let room = json!({ "max_mib": 16 });
        let mut account = account;
        account["bridge"] = json!({ "native_calls": { "sim.*": true } });
        let config = json!({
            "nats": {
                "url": nats.url(),
                "events": room, "results": room, "commands": room, "dead_letters": room, "ledger": room, "kv": room,
                "lease": { "ttl_s": 7, "renew_s": 1, "stop_s": 4 },
            },
            "admin": { "listen": "127.0.0.1:0" },
            "plugins": { "upgrade": { "auto": is_auto } },
            "accounts": { "sim": { "demo": account } },
        });
        let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), &config);
        let bridge = Bridge::start(&files, "a");
        let running = Self {
            nats,
            files,
            bridge,
            place: Place::new(),
        };
        running.becomes("online");
        running
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let url = format!("nats.url={}", self.nats.url());
        self.place.run(&[args, &["--set", &url]].concat())
    }

    #[track_caller]
    fn becomes(&self, state: &str) {
        self.run(&["status", "--wait", state, "--timeout", "60s"])
            .done();
    }

    /// Any command of the model, as a request; its result.
    #[track_caller]
    fn request(&self, command: Value) -> Value {
        self.place.file("command.json", &command.to_string());
        let args = ["send", "sim/demo", "--file", "command.json", "--request"];
        self.run(&[&args[..], &["--json"]].concat()).done().json()["data"]["result"].clone()
    }

    /// Tells the provider to do something.
    #[track_caller]
    fn order(&self, order: &str, body: Value) {
        let method = format!("sim.{order}");
        let params = json!({ "method": method, "body": body });
        self.request(json!({ "command": "native.call", "params": params }));
    }

    async fn client(&self) -> Client {
        async_nats::connect(self.nats.url()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_looked_at_and_told_what_to_do() {
    let running = Running::new(json!({})).await;
    let list = running.run(&["account", "list"]).done().data;
    assert!(list.starts_with("sim/demo  online "), "{list}");
    let shown = running.run(&["account", "show", "sim/demo"]).done().data;
    for line in [
        "holds for events     stored before acknowledged; the provider repeats what was not",
        "holds for commands   executed once; after a lost answer the provider is asked",
        "holds on NATS        IM_EVT, IM_CMD, IM_RES, IM_DEDUP, IM_KV R1 file: ",
        "adapter              im-bridge-adapter-sim 0.1.0  abi 1.0  sha256 ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }

    running.run(&["account", "logout", "sim/demo"]).done();
    running.becomes("logged_out");
    let health = running.run(&["account", "health", "sim/demo"]).done();
    assert!(health.data.contains("healthy  false"), "{health:?}");
    let login = running.run(&["account", "login", "sim/demo"]).done();
    assert!(login.data.starts_with("ok  account.login"), "{login:?}");
    running.becomes("online");
    running.run(&["account", "reconnect", "sim/demo"]).done();
    running.becomes("online");
    let token = running
        .run(&["account", "refresh-token", "sim/demo"])
        .done();
    assert!(
        token.data.starts_with("ok  account.refresh_token"),
        "{token:?}"
    );
    let info = running.run(&["account", "info", "sim/demo"]).done();
    assert!(info.data.contains("im-bridge-adapter-sim"), "{info:?}");
    let synced = running.run(&[
        "account",
        "sync",
        "sim/demo",
        "--channel",
        "lobby",
        "--json",
    ]);
    assert!(synced.done().json()["data"]["result"]["count"].is_u64());
    let drained = running.run(&["account", "drain", "sim/demo"]).done();
    assert!(drained.data.contains("sim/demo"), "{drained:?}");
    running.becomes("online");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_seen_and_answered() {
    let running = Running::new(json!({})).await;
    running
        .run(&["account", "answer", "sim/demo"])
        .failed(2, "account_no_challenge");
    let once = json!({ "kind": "challenge", "fault": { "times": 1 } });
    running.order("fault", once);
    running.run(&["account", "reconnect", "sim/demo"]);
    running.becomes("challenge_required");
    let list = running.run(&["account", "list"]).done().data;
    assert!(list.contains("im-bridge account answer"), "{list}");
    let answer = ["account", "answer", "sim/demo", "--answer", "42"];
    running.run(&answer).done();
    running.becomes("online");
}

const HELLO: [&str; 5] = ["send", "sim/demo", "--channel", "lobby", "hello"];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_done_once_and_seen() {
    let running = Running::new(json!({ "raw_frames": true })).await;
    let first = running.run(&[&HELLO[..], &["--key", "k"]].concat()).done();
    assert!(first.data.starts_with("ok  message.send  "), "{first:?}");
    let again = running.run(&[&HELLO[..], &["--key", "k"]].concat()).done();
    assert!(again.data.contains("(the first result again)"), "{again:?}");
    let dry = running.run(&[&HELLO[..], &["--dry-run"]].concat()).done();
    assert!(dry.data.contains("(nothing was done)"), "{dry:?}");
    let asked = [&HELLO[..], &["--request"]].concat();
    running.run(&asked).done();
    running
        .run(&["send", "sim/demo", "--user", "alice", "psst", "--request"])
        .done();
    let nowhere = ["send", "sim/demo", "--channel", "nowhere", "hello"];
    running.run(&nowhere).failed(1, "channel_not_found");

    let tap = |args: &[&str]| {
        let items = running.run(&[&["tap", "sim/demo", "--since", "1h", "--json"], args].concat());
        items.done().items()
    };
    let kind = ["--kind", "message.created", "--max", "3"];
    let said: Vec<Value> = tap(&kind);
    let own = |item: &&Value| item["body"]["data"]["message"]["alt_text"] == "hello";
    assert_eq!(
        said.iter().filter(own).count(),
        2,
        "once and as a request: {said:?}"
    );
    let channel = [
        "--kind",
        "message.created",
        "--channel",
        "lobby",
        "--max",
        "2",
    ];
    let in_lobby = tap(&channel);
    assert!(
        in_lobby.iter().all(|it| it["body"]["subject"] == "lobby"),
        "{in_lobby:?}"
    );
    let results = tap(&["--kind", "message.send", "--max", "1"]);
    assert_eq!(results[0]["what"], "result");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_listed_sent_again_and_dropped() {
    let running = Running::new(json!({})).await;
    let client = running.client().await;
    let subject = "im.v1.cmd.sim.demo.message.send";
    for number in 0..2 {
        let asked = client.request(subject, format!("no command {number}").into());
        asked.await.unwrap();
    }
    let listed = eventually("both are dead", || async {
        let listed = running.run(&["dlq", "list"]).done().data;
        (listed.lines().count() == 2).then_some(listed)
    })
    .await;
    assert!(
        listed.contains("command  sim/demo  message.send"),
        "{listed}"
    );
    let shown = running.run(&["dlq", "show", "1"]).done().data;
    assert!(shown.contains("\n\nno command "), "{shown}");
    let sent = running.run(&["dlq", "resend", "1"]).done().data;
    assert_eq!(sent, format!("1  sent  {subject}\n"));
    let back = eventually("it is dead again", || async {
        let listed = running.run(&["dlq", "list", "--json"]).done().items();
        let numbers: Vec<u64> = listed
            .iter()
            .filter_map(|it| it["number"].as_u64())
            .collect();
        (numbers == [2, 3]).then_some(numbers)
    });
    back.await;
    running.run(&["dlq", "drop", "--all", "--yes"]).done();
    let none = running.run(&["dlq", "list"]).done();
    assert_eq!(none.aside, "no dead letters\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_goes_the_whole_way() {
    let running = Running::new(json!({})).await;
    let admin = format!("admin.listen={}", running.bridge.admin());
    let probe = |args: &[&str]| running.run(&[&["probe", "--set", &admin], args].concat());
    for way in ["--live", "--ready"] {
        let ran = probe(&[way]).done();
        assert!(ran.data.ends_with("ok\n"), "{ran:?}");
    }
    let steps = |ran: Ran| -> Vec<Value> {
        let items = ran.done().items();
        items.iter().map(|it| it["step"].clone()).collect()
    };
    let short = steps(probe(&["--roundtrip", "--json"]));
    assert_eq!(short, ["ready", "nats", "status"]);
    let whole = ["--roundtrip", "--account", "sim/demo"];
    let long = steps(probe(&[&whole[..], &["--json"]].concat()));
    assert_eq!(long, ["ready", "nats", "status", "message"]);
    probe(&[&whole[..], &["--channel", "nowhere"]].concat()).failed(1, "channel_not_found");
    probe(&["--roundtrip", "--account", "sim/ghost"]).failed(2, "account_unknown");
    let nothing = probe(&[]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_asks_every_replica() {
    let running = Running::new(json!({})).await;
    let folder = running.files.write("plugins/bad.so", "no library");
    let other = Bridge::start(&running.files, "b");
    let client = running.client().await;
    let asked = client.request("im.v1.cmd.sim.ghost.message.send", "{}".into());
    asked.await.unwrap();
    let status = eventually("both answer", || async {
        let status = running.run(&["status", "--json"]).done().json();
        let replicas = status["replicas"].as_array().unwrap();
        let is_ready = |replica: &Value| replica["readiness"] == "ok";
        (replicas.len() == 2 && replicas.iter().all(is_ready)).then_some(status)
    })
    .await;
    for replica in status["replicas"].as_array().unwrap() {
        assert_eq!(replica["plugins"][0]["provider"], "sim", "{replica}");
    }
    let refused: Vec<&Value> = status["replicas"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|replica| replica["refused"].as_array().unwrap())
        .collect();
    assert_eq!(refused.len(), 1, "the later one has searched it: {status}");
    assert_eq!(refused[0]["file"], folder.to_str().unwrap());
    assert_eq!(
        status["without_owner"],
        json!([{ "account": "sim/ghost", "waiting": 1, "is_known": false }])
    );
    let row = &status["accounts"][0];
    assert_eq!(row["state"]["state"], "online", "{row}");
    assert!(row["lag"]["events_unsettled"].is_u64(), "{row}");
    assert!(row["holds"]["bus"].is_string(), "{row}");

    let text = running.run(&["status"]).done().data;
    assert!(
        text.contains("nobody   sim/ghost  1  there is no such account"),
        "{text}"
    );
    assert_eq!(text.matches("refused  ").count(), 1, "{text}");
    assert_eq!(text.matches("  ok  ").count(), 2, "{text}");
    drop(other);

    let stats = client.request("$SRV.STATS.im-bridge", "".into());
    let stats: Value = serde_json::from_slice(&stats.await.unwrap().payload).unwrap();
    let endpoint = |name: &str| {
        let all = stats["endpoints"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    for name in ["status", "accounts"] {
        let endpoint = endpoint(name);
        assert!(endpoint["num_requests"].as_u64() > Some(0), "{endpoint}");
        assert_eq!(endpoint["num_errors"], 0, "{endpoint}");
    }
    assert_eq!(running.bridge.said("cannot be offered"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_print_fits_their_schemas() {
    use super::generated::fits;
    let running = Running::new(json!({})).await;
    let admin = format!("admin.listen={}", running.bridge.admin());
    let client = running.client().await;
    for _ in 0..3 {
        let subject = "im.v1.cmd.sim.demo.message.send";
        client.request(subject, "no command".into()).await.unwrap();
    }
    eventually("all are dead", || async {
        (running.run(&["dlq", "list"]).data.lines().count() == 3).then_some(())
    })
    .await;
    running
        .place
        .file("other.toml", "[nats.events]\nmax_mib = 8\n");
    running
        .place
        .file("bridge.toml", "[nats.events]\nmax_mib = 9\n");
    for (args, name) in [
        (&["account", "list"][..], "account-list"),
        (&["account", "show", "sim/demo"], "account-show"),
        (&["status"], "status"),
        (&["check"], "check"),
        (&["config", "diff", "other.toml"], "config-diff"),
        (&["config", "explain", "nats.lease.ttl_s"], "config-explain"),
        (&["config", "explain", "nats.creds"], "config-explain"),
        (&["explain", "nats_auth"], "explain"),
        (&["probe", "--ready", "--set", &admin], "probe"),
        (
            &[
                "probe",
                "--roundtrip",
                "--account",
                "sim/demo",
                "--set",
                &admin,
            ],
            "probe-roundtrip",
        ),
        (
            &[
                "send",
                "sim/demo",
                "--channel",
                "lobby",
                "hi",
                "--wait",
                "0",
            ],
            "send-stored",
        ),
        (&["streams", "plan"], "streams"),
        (
            &[
                "streams",
                "permissions",
                "--role",
                "app",
                "--account",
                "sim/demo",
            ],
            "streams-permissions",
        ),
        (
            &["streams", "permissions", "--role", "runtime"],
            "streams-permissions",
        ),
        (&["tap", "--since", "1h", "--max", "2"], "tap"),
        (&["dlq", "list"], "dlq-list"),
        (&["dlq", "show", "1"], "dlq-show"),
        (
            &["dlq", "resend", "1", "--to", "im.v1.nobody"],
            "dlq-resend",
        ),
        (&["dlq", "resend", "2"], "dlq-resend"),
        (&["dlq", "drop", "3", "--yes"], "dlq-drop"),
    ] {
        let ran = running.run(&[args, &["--json"]].concat());
        let documents: Vec<Value> = serde_json::Deserializer::from_str(&ran.data)
            .into_iter()
            .map(|document| document.unwrap_or_else(|error| panic!("{args:?} {error}: {ran:?}")))
            .collect();
        assert!(!documents.is_empty(), "{args:?}: {ran:?}");
        documents.iter().for_each(|document| fits(name, document));
    }
    let empty = Place::new();
    fits("init", &empty.run(&["init", "--json"]).done().json());
    let folder = empty.with_plugin();
    let file = folder.join("sim.so").display().to_string();
    let (folder, script) = (
        folder.display().to_string(),
        empty.file("plugins/bad.so", "#!/bin/sh\n"),
    );
    let script = script.display().to_string();
    for (args, name) in [
        (
            &["config", "show", "--config", "bridge.toml"][..],
            "config-show",
        ),
        (&["plugin", "list", "--plugin-dir", &folder], "plugin-list"),
        (&["plugin", "inspect", &file], "plugin-inspect"),
        (&["plugin", "inspect", &script], "plugin-inspect"),
        (&["plugin", "pin", &file], "plugin-pin"),
    ] {
        let ran = empty.run(&[args, &["--json"]].concat());
        fits(name, &ran.json());
    }
    let refused = running.run(&["account", "show", "sim/ghost", "--json"]);
    let told: Value = serde_json::from_str(&refused.aside).unwrap();
    fits("error", &told);
    let mistakes = empty.run(&["config", "show", "--json", "--set", "natss.url=x"]);
    let mistake = mistakes.aside.lines().next().unwrap();
    fits("error", &serde_json::from_str(mistake).unwrap());
}
