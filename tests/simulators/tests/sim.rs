//! The provider in a process of its own behaves as the one inside the plugin, and outlives whoever talks to it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::time::{Duration, Instant};

use im_bridge_adapter_sim::Sim;
use im_bridge_sdk::test::{
    Command, Delivery, EventRecord, KvStore, MockHost, Outcome, Settling, State, Status, entry,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

/// Ends with the test: its standard input is closed when this is dropped.
struct Simulator {
    process: Child,
    input: Option<ChildStdin>,
    url: String,
}

impl Simulator {
    fn start() -> Self {
        let mut process = Process::new(env!("CARGO_BIN_EXE_im-bridge-test-simulators"))
            .args(["sim", "--ws", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addresses: Value = serde_json::from_str(&line).unwrap();
        Self {
            process,
            input,
            url: addresses["ws"].as_str().unwrap().to_owned(),
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        drop(self.input.take());
        self.process.wait().unwrap();
    }
}

fn online(name: &str, config: Value, state: &KvStore) -> MockHost {
    let host = MockHost::builder(entry::<Sim>())
        .account(name)
        .config(config)
        .kv(state)
        .auto_grant(64, 2 * 1024 * 1024)
        .auto_settle(Settling::Always(Outcome::STORED))
        .create()
        .unwrap();
    host.start();
    host.wait_state(State::ONLINE, SOON);
    host
}

fn order(host: &MockHost, order: &str, body: Value) -> Value {
    let params = json!({ "method": format!("sim.{order}"), "body": body });
    let id = host.execute(Command::new("native.call").key(order).params(params));
    let done = host.wait_completion(id, SOON);
    assert_eq!(done.status, Status::OK, "{order}: {}", done.json());
    done.json()["native"].clone()
}

/// What an event says, without what no two worlds share: ids and times.
fn gist(event: &EventRecord) -> Value {
    json!([
        event.kind,
        event.channel,
        event.client_ref,
        event.json()["actor"],
        event.json()["message"]["segments"]
    ])
}

/// Something of everything: chatter of one seed, an own message, a member, a person who is typing.
fn play(url: Option<&str>) -> Vec<Value> {
    let mut config = json!({ "user": "bot", "seed": 7, "world": "same", "heartbeat_ms": 200 });
    if let Some(url) = url {
        config["url"] = url.into();
    }
    let host = online("same", config, &KvStore::default());
    order(
        &host,
        "say",
        json!({ "chat": "lobby", "by": "alice", "text": "hi", "times": 3 }),
    );
    let message = json!({ "segments": [{ "type": "text", "data": { "text": "answer" } }] });
    let params = json!({ "to": { "channel_id": "lobby" }, "message": message });
    let id = host.execute(
        Command::new("message.send")
            .channel("lobby")
            .key("ref-1")
            .params(params),
    );
    assert_eq!(host.wait_completion(id, SOON).status, Status::OK);
    order(
        &host,
        "type",
        json!({ "chat": "lobby", "by": "bob", "on": true }),
    );
    order(
        &host,
        "leave",
        json!({ "chat": "lobby", "person": "bob", "by": "bob", "reason": "leave" }),
    );
    let events = host.wait_events(6, SOON);
    host.wait_ops("heartbeat", 2, SOON);
    host.finish();
    events.iter().map(gist).collect()
}

#[test]
fn the_process_says_what_the_plugin_says() {
    let simulator = Simulator::start();
    assert_eq!(play(Some(&simulator.url)), play(None));
}

#[test]
fn the_process_outlives_its_clients_and_sees_two_at_once() {
    let simulator = Simulator::start();
    let state = KvStore::default();
    let config = json!({ "url": simulator.url, "rate_per_s": 50.0 });
    let one = online("twin", config.clone(), &state);
    one.wait_events(3, SOON);
    let two = online("twin", config.clone(), &KvStore::default());
    assert_eq!(
        order(&two, "summary", json!({}))["most_sessions"]["twin"],
        2
    );
    two.finish();
    one.finish();
    let three = online("twin", config, &state);
    three.wait("what was missed", SOON, |seen| {
        seen.events
            .iter()
            .any(|event| event.delivery == Delivery::BACKFILL)
            .then_some(())
    });
    three.finish();
}

#[test]
fn a_client_that_vanishes_gets_everything_in_its_next_session() {
    let simulator = Simulator::start();
    let state = KvStore::default();
    let config = json!({ "url": simulator.url });
    let host = MockHost::builder(entry::<Sim>())
        .account("gone")
        .config(config.clone())
        .kv(&state)
        .auto_grant(64, 2 * 1024 * 1024)
        .create()
        .unwrap();
    host.start();
    host.wait_state(State::ONLINE, SOON);
    order(
        &host,
        "say",
        json!({ "chat": "lobby", "by": "alice", "text": "unsettled", "times": 2 }),
    );
    host.wait_events(2, SOON);
    host.finish();
    let host = online("gone", config, &state);
    host.wait("both again", SOON, |seen| {
        let said = seen
            .events
            .iter()
            .filter(|event| event.kind == "message.created");
        let ids: BTreeSet<_> = said.filter_map(|event| event.native_id.clone()).collect();
        (ids.len() == 2).then_some(())
    });
    host.finish();
}

#[test]
fn it_ends_with_its_standard_input() {
    let mut simulator = Simulator::start();
    drop(simulator.input.take());
    let deadline = Instant::now() + SOON;
    while simulator.process.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "still running");
        std::thread::yield_now();
    }
}
