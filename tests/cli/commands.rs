//! `send`, `tap`, `account`, `status`, `streams`, `probe` against a NATS as a bridge left it.

use super::world::{World, account, result};
use super::{Place, Ran};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

fn sent() -> Value {
    let message = json!({ "id": "m-17", "channel_id": "lobby", "parts": ["m-17"] });
    json!({ "command": "message.send", "status": "ok", "duplicate": false, "result": { "message": message } })
}

fn refused(status: &str, code: &str) -> Value {
    let error = json!({ "code": code, "message": "no such channel", "hint": "see channel.list" });
    json!({ "command": "message.send", "status": status, "duplicate": false, "error": error })
}

const HELLO: [&str; 5] = ["send", "sim/demo", "--channel", "lobby", "hello"];

/// Where the results of the command line's own commands go.
fn own_results(subject: &str) -> Option<String> {
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
        status.contains("replica  host-00000001  0.1.0  1 shards  sim\n"),
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

fn event(text: &str, time: &str) -> String {
    json!({
        "specversion": "1.0", "id": text, "type": "im-bridge.evt.message.created.v1", "recordedtime": time,
        "subject": "lobby",
        "data": { "actor": { "id": "u2", "name": "alice" }, "message": { "id": text, "alt_text": text } },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_hears_events_commands_and_results() {
    let world = World::new().await;
    world.demo().await;
    let tapping = listening(&world, &["tap", "sim/demo", "--max", "3"]).await;
    world
        .answer("im.v1.cmd.sim.demo.*.*", |subject, command| {
            (own_results(subject), result(command, sent()))
        })
        .await;
    world.run(&HELLO).await.done();
    let one = event("hi\nthere", "2026-01-02T03:04:05.678Z");
    world
        .store(
            "im.v1.evt.sim.demo.message.created.lobby",
            async_nats::HeaderMap::new(),
            &one,
        )
        .await;
    world
        .store(
            "im.v1.evt.sim.other.message.created.lobby",
            async_nats::HeaderMap::new(),
            &one,
        )
        .await;
    let ran = tapping.await.unwrap().done();
    let lines: Vec<&str> = ran.data.lines().collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    let line = |way: &str| {
        lines
            .iter()
            .find(|line| line.contains(way))
            .unwrap_or_else(|| panic!("{way}: {ran:?}"))
    };
    assert_eq!(
        *line("  in   "),
        "03:04:05.678  in   sim/demo  lobby  alice: hi there   message.created"
    );
    assert!(line("  out  ").ends_with("sim/demo  lobby  hello   message.send"));
    assert!(line("  res  ").ends_with("sim/demo  lobby  ok m-17   message.send"));
}

/// Starts a tap and returns when it listens.
async fn listening(world: &World, args: &[&str]) -> JoinHandle<Ran> {
    let options: Vec<&str> = world.options.iter().map(String::as_str).collect();
    let mut command = world.place.command(&[args, &["-v"], &options].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut aside = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while line != "listening\n" {
            line.clear();
            assert_ne!(
                aside.read_line(&mut line).unwrap(),
                0,
                "it ended before it listened"
            );
        }
        (child, aside)
    });
    let (child, mut aside) = started.await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut ran = Ran::new(child.wait_with_output().unwrap());
        aside.read_to_string(&mut ran.aside).unwrap();
        ran
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_tells_the_last_minutes_in_order_first() {
    let world = World::new().await;
    world.demo().await;
    let none = async_nats::HeaderMap::new;
    let created = "im.v1.evt.sim.demo.message.created.lobby";
    world
        .store(created, none(), &event("first", "2026-01-02T03:04:05.000Z"))
        .await;
    let command = json!({ "id": "c1" });
    let told = result(&command, sent()).to_string();
    world
        .store("im.v1.res.sim.demo.message.send.desk", none(), &told)
        .await;
    world
        .store(created, none(), &event("last", "2026-01-02T03:04:07.000Z"))
        .await;
    let items = world
        .run(&["tap", "--since", "1h", "--max", "3", "--json"])
        .await
        .done()
        .items();
    let what: Vec<&str> = items
        .iter()
        .map(|item| item["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        what,
        ["event", "result", "event"],
        "by time, over both streams"
    );
    assert_eq!(items[2]["body"]["data"]["message"]["alt_text"], "last");
    let one = world
        .run(&[
            "tap",
            "--since",
            "1h",
            "--max",
            "1",
            "--kind",
            "message.send",
        ])
        .await
        .done();
    assert!(one.data.contains("  res  "), "{one:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_whose_reader_leaves_ends_quietly() {
    let world = World::new().await;
    world.demo().await;
    let created = "im.v1.evt.sim.demo.message.created.lobby";
    let none = async_nats::HeaderMap::new;
    for number in 0..3 {
        world
            .store(
                created,
                none(),
                &event(&format!("{number}"), "2026-01-02T03:04:05.000Z"),
            )
            .await;
    }
    let options: Vec<&str> = world.options.iter().map(String::as_str).collect();
    let mut command = world
        .place
        .command(&[&["tap", "--since", "1h"], &options[..]].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ran = tokio::task::spawn_blocking(move || Ran::new(child.wait_with_output().unwrap()))
        .await
        .unwrap();
    assert_eq!((ran.code, ran.aside.as_str()), (0, ""));
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
