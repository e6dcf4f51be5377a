//! `send`, `account`, `status`, `streams`, `probe` against a NATS as a bridge left it.

use super::world::{World, account, result};
use super::{Place, Ran};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

pub fn sent() -> Value {
    let message = json!({ "id": "m-17", "channel_id": "lobby", "parts": ["m-17"] });
    json!({ "command": "message.send", "status": "ok", "duplicate": false, "result": { "message": message } })
}

fn refused(status: &str, code: &str) -> Value {
    let error = json!({ "code": code, "message": "no such channel", "hint": "see channel.list" });
    json!({ "command": "message.send", "status": status, "duplicate": false, "error": error })
}

pub const HELLO: [&str; 5] = ["send", "sim/demo", "--channel", "lobby", "hello"];

/// Where the results of the command line's own commands go.
pub fn own_results(subject: &str) -> Option<String> {
    Some(subject.replacen("cmd", "res", 1) + ".im-bridge-cli")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_command_is_stored_and_its_result_told() {
    let world = World::new().await;
    world.demo().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    world
        .answer("im.v1.cmd.sim.demo.*.*", move |subject, command| {
            record.lock().unwrap().push(command.clone());
            (own_results(subject), result(command, sent()))
        })
        .await;
    let ran = world
        .run(&[&HELLO[..], &["--key", "k-1"]].concat())
        .await
        .done();
    assert_eq!(ran.data, "ok  message.send  m-17  in lobby  7 ms\n");
    let json = world
        .run(&[&HELLO[..], &["--json"]].concat())
        .await
        .done()
        .json();
    assert_eq!(json["data"]["result"]["message"]["id"], "m-17");
    let stored = world
        .run(&[&HELLO[..], &["--wait", "0", "--json"]].concat())
        .await
        .done()
        .json();
    assert_eq!(stored["stored"]["stream"], "IM_CMD");

    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0]["data"]["idempotency_key"], "k-1");
    assert_eq!(seen[0]["type"], "im-bridge.cmd.message.send.v1");
    assert_eq!(
        seen[0]["data"]["params"]["to"],
        json!({ "channel_id": "lobby" })
    );
    assert_ne!(seen[0]["id"], seen[1]["id"], "each is a command of its own");
    let stream = world
        .bus
        .data
        .api()
        .stream("IM_CMD")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stream.state.messages, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_command_ended_is_the_exit_code() {
    let world = World::new().await;
    world.demo().await;
    world
        .answer("im.v1.req.sim.demo.*.*", |_, command| {
            let text = &command["data"]["params"]["message"]["segments"][0]["data"]["text"];
            let data = match text.as_str() {
                Some("refuse") => refused("error", "channel_not_found"),
                Some("lose") => refused("unknown", "lost_ack"),
                _ => sent(),
            };
            (None, result(command, data))
        })
        .await;
    let say = |text: &'static str| ["send", "sim/demo", "--channel", "lobby", text, "--request"];
    world.run(&say("hello")).await.done();
    let error = world.run(&say("refuse")).await;
    error.failed(1, "channel_not_found");
    assert!(
        error.aside.contains("no such channel; see channel.list"),
        "{error:?}"
    );
    world.run(&say("lose")).await.failed(5, "lost_ack");
    let json = world.run(&[&say("lose")[..], &["--json"]].concat()).await;
    assert_eq!(
        (json.code, json.json()["data"]["status"].as_str()),
        (5, Some("unknown"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_result_is_late_and_says_what_happens_then() {
    let world = World::new().await;
    let demo = world.demo().await;
    world
        .state(&demo, json!({ "state": "backoff", "action": "wait" }))
        .await;
    let late = world
        .run(&[&HELLO[..], &["--wait", "300ms"]].concat())
        .await;
    late.failed(4, "deadline_exceeded");
    assert!(
        late.aside.contains("stays stored") && late.aside.contains("sim/demo is backoff"),
        "{late:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_ask_is_told_with_the_reason() {
    let world = World::new().await;
    world.demo().await;
    world
        .run(&[&HELLO[..], &["--request"]].concat())
        .await
        .failed(3, "account_no_owner");
    let gone = account("sim", "gone");
    world
        .state(&gone, json!({ "state": "stopped", "action": "none" }))
        .await;
    let ran = world.run(&["account", "health", "sim/gone"]).await;
    ran.failed(3, "account_no_owner");
    assert!(
        ran.aside.contains("no running replica has taken it"),
        "{ran:?}"
    );
    let wrong = world
        .run(&["send", "sim/dmo", "--channel", "lobby", "x"])
        .await;
    wrong.failed(2, "account_unknown");
    assert!(wrong.aside.contains("did you mean sim/demo?"), "{wrong:?}");
    let other = world.run(&["account", "show", "acme/shop"]).await;
    other.failed(2, "account_unknown");
    assert!(
        other.aside.contains("known: sim/demo, sim/gone"),
        "{other:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_command_comes_out_of_a_file_and_is_looked_at_first() {
    let world = World::new().await;
    world.demo().await;
    world.answer("im.v1.req.sim.demo.*.*", |_, command| (None, result(command, json!({
        "command": "channel.list", "status": "ok", "dry_run": command["data"]["options"]["dry_run"],
        "result": { "channels": [{ "id": "lobby", "kind": "room" }] },
    })))).await;
    world.place.file(
        "good.json",
        r#"{"command":"channel.list","params":{"limit":5}}"#,
    );
    let ran = world
        .run(&[
            "send",
            "sim/demo",
            "--file",
            "good.json",
            "--request",
            "--dry-run",
        ])
        .await
        .done();
    assert!(ran.data.starts_with("ok  channel.list"), "{ran:?}");
    assert!(
        ran.data.contains("(nothing was done)") && ran.data.contains("lobby"),
        "{ran:?}"
    );
    for (text, why) in [
        (r#"{"command":"channel.lst","params":{}}"#, "channel.list"),
        (r#"{"command":"channel.list","params":{"limt":5}}"#, "limit"),
        (r#"{"command":"channel.list","parms":{}}"#, "params"),
        ("{", "EOF"),
    ] {
        world.place.file("bad.json", text);
        let ran = world.run(&["send", "sim/demo", "--file", "bad.json"]).await;
        assert!(ran.code == 2 && ran.aside.contains(why), "{text}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_listed_and_shown() {
    let world = World::new().await;
    let demo = world.demo().await;
    let shop = account("sim", "shop");
    let error = json!({ "code": "bad_credentials", "message": "login refused", "class": "auth" });
    world
        .state(
            &shop,
            json!({ "state": "bad_credentials", "action": "relogin", "error": error }),
        )
        .await;
    let list = world.run(&["account", "list"]).await.done().data;
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[0].starts_with("sim/demo  online ") && lines[0].ends_with("host-00000001"),
        "{list}"
    );
    assert!(
        lines[1].contains("login refused   bad_credentials; renew the credentials"),
        "{list}"
    );
    assert!(lines[1].contains("no owner"), "{list}");
    world
        .capabilities(
            &demo,
            json!({ "events": { "message.created": 2 }, "commands": { "message.send": 1 } }),
        )
        .await;
    let shown = world
        .run(&["account", "show", "sim/demo"])
        .await
        .done()
        .data;
    assert!(
        shown.contains(&format!("{:<21}u1\n", "user"))
            && shown.contains(&format!("{:<21}1 wholly, 0 partly\n", "events")),
        "{shown}"
    );
    let json = world
        .run(&["account", "show", "sim/demo", "--json"])
        .await
        .done()
        .json();
    assert_eq!(json["lease"]["owner"], "host-00000001");
    assert_eq!(json["capabilities"]["commands"]["message.send"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_reaches_the_owner() {
    let world = World::new().await;
    world.demo().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    world
        .answer("im.v1.ctl.sim.demo.*", move |subject, body| {
            let verb = subject.rsplit('.').next().unwrap().to_owned();
            let data = json!({ "command": format!("account.{verb}"), "status": "ok", "result": { "done": verb } });
            record.lock().unwrap().push((verb, body["params"].clone()));
            (None, json!({ "data": data }))
        })
        .await;
    for verb in [
        "login",
        "logout",
        "reconnect",
        "refresh-token",
        "health",
        "info",
        "drain",
    ] {
        let ran = world.run(&["account", verb, "sim/demo"]).await.done();
        assert!(
            ran.data
                .starts_with(&format!("ok  account.{}", verb.replace('-', "_"))),
            "{ran:?}"
        );
    }
    world
        .run(&[
            "account",
            "sync",
            "sim/demo",
            "--channel",
            "c",
            "--from",
            "k",
        ])
        .await
        .done();
    world
        .run(&["account", "answer", "sim/demo"])
        .await
        .failed(2, "account_no_challenge");
    let demo = account("sim", "demo");
    let waits = json!({ "state": "challenge_required", "action": "answer_challenge", "challenge": { "kind": "sms" } });
    world.state(&demo, waits).await;
    world.place.file("code", "1234\n");
    world
        .run(&["account", "answer", "sim/demo", "--answer-file", "code"])
        .await
        .done();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 9);
    assert_eq!(
        seen[7],
        ("sync".to_owned(), json!({ "channel_id": "c", "from": "k" }))
    );
    assert_eq!(
        seen[8],
        (
            "answer_challenge".to_owned(),
            json!({ "kind": "sms", "answer": "1234" })
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_who_holds_what_and_what_waits() {
    let world = World::new().await;
    let silent = world.run(&["status"]).await;
    silent.failed(3, "bridge_silent");
    world.demo().await;
    world
        .run(&[&HELLO[..], &["--wait", "0"]].concat())
        .await
        .done();
    let status = world.run(&["status"]).await.done().data;
    assert!(
        status.contains("replica  host-00000001  0.1.0  does not answer  1 shards  sim\n"),
        "{status}"
    );
    assert!(status.contains("waiting  sim/demo  1\n"), "{status}");
    let json = world.run(&["status", "--json"]).await.done().json();
    assert_eq!(json["accounts"][0]["waiting"], 1);
    assert_eq!(json["replicas"][0]["shards"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_waits_for_a_state() {
    let world = World::new().await;
    let demo = world.demo().await;
    world
        .state(&demo, json!({ "state": "connecting", "action": "none" }))
        .await;
    let late = world
        .run(&["status", "--wait", "online", "--timeout", "300ms"])
        .await;
    late.failed(4, "deadline_exceeded");
    assert!(late.aside.contains("sim/demo is connecting"), "{late:?}");
    let waiting = world.spawn(&["status", "--wait", "online", "--timeout", "30s"]);
    world
        .state(&demo, json!({ "state": "online", "action": "none" }))
        .await;
    let done = waiting.await.unwrap().done();
    assert!(done.data.contains("sim/demo  online"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_planned_and_applied() {
    let nats = im_bridge_test_harness::Nats::start();
    let place = Place::new();
    let mut options: Vec<String> = vec!["--set".to_owned(), format!("nats.url={}", nats.url())];
    for table in [
        "events",
        "results",
        "commands",
        "dead_letters",
        "ledger",
        "kv",
    ] {
        options.extend(["--set".to_owned(), format!("nats.{table}.max_mib=8")]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let run = |args: &[&str]| place.run(&[args, &options].concat());
    let plan = run(&["streams", "plan"]);
    assert_eq!(
        (plan.code, plan.data.matches("to be made").count()),
        (1, 10),
        "{plan:?}"
    );
    run(&["streams", "apply"]).done();
    let plan = run(&["streams", "plan"]).done();
    assert_eq!(plan.data.matches('√').count(), 10, "{plan:?}");
    let wider = run(&[
        "streams",
        "plan",
        "--json",
        "--set",
        "nats.results.max_age_h=50",
    ]);
    let results = &wider.json()["objects"][1];
    assert_eq!(
        (wider.code, results["action"].as_str()),
        (1, Some("widen")),
        "{wider:?}"
    );
    assert_eq!(results["differences"][0]["field"], "max_age");
}

#[test]
fn a_probe_tells_what_the_admin_port_says() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("admin.listen={}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut paths = Vec::new();
        for (status, body) in [
            ("200 OK", "[+]nats ok\nok\n"),
            ("503 Service Unavailable", "[-]nats no\nnats\n"),
        ] {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = socket.read(&mut request).unwrap();
            paths.push(
                String::from_utf8_lossy(&request[..read])
                    .split(' ')
                    .nth(1)
                    .unwrap()
                    .to_owned(),
            );
            write!(socket, "HTTP/1.0 {status}\r\n\r\n{body}").unwrap();
        }
        paths
    });
    let place = Place::new();
    let live = place.run(&["probe", "--live", "--set", &listen]).done();
    assert_eq!(live.data, "[+]nats ok\nok\n");
    let ready = place.run(&["probe", "--ready", "--json", "--set", &listen]);
    assert_eq!(
        (ready.code, ready.json()["status"].as_u64()),
        (1, Some(503))
    );
    assert_eq!(
        server.join().unwrap(),
        ["/livez?verbose", "/readyz?verbose"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_the_running_demo_is_meant() {
    let world = World::new().await;
    world.demo().await;
    let binary = world.place.path().join("bin/im-bridge");
    std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_im-bridge"), &binary).unwrap();
    let text = format!("[nats]\nurl = {:?}\n", world.nats.url());
    world.place.file("bin/im-bridge-demo/bridge.toml", &text);
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        command
            .args(args)
            .current_dir(world.place.path())
            .env_clear();
        Ran::new(command.output().unwrap())
    };
    let found = run(&["account", "list"]).done();
    assert_eq!(
        found.aside,
        format!("using the demo at {}\n", world.nats.url())
    );
    assert!(found.data.starts_with("sim/demo"), "{found:?}");
    run(&["account", "list", "--set", "nats.url=nats://127.0.0.1:1"]).failed(3, "nats_unreachable");
}
