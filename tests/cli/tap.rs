//! `tap` against a NATS as a bridge left it.

use super::Ran;
use super::commands::{HELLO, own_results, sent};
use super::world::{World, result};
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use tokio::task::JoinHandle;

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
async fn frames_are_shown_whatever_the_channel() {
    let world = World::new().await;
    world.demo().await;
    let args = ["tap", "--raw", "--channel", "lobby", "--max", "2"];
    let tapping = listening(&world, &args).await;
    let frame = json!({ "data": { "raw": { "direction": "in", "body": "a frame" } } }).to_string();
    let client = world.client();
    client
        .publish("im.v1.raw.sim.demo", frame.into())
        .await
        .unwrap();
    let none = async_nats::HeaderMap::new;
    for channel in ["hall", "lobby"] {
        let one = event(channel, "2026-01-02T03:04:05.678Z")
            .replace("\"lobby\"", &format!("\"{channel}\""));
        let subject = format!("im.v1.evt.sim.demo.message.created.{channel}");
        world.store(&subject, none(), &one).await;
    }
    let ran = tapping.await.unwrap().done();
    assert!(ran.data.contains("in \"a frame\"   raw.frame\n"), "{ran:?}");
    assert!(
        ran.data.contains("alice: lobby   message.created\n"),
        "{ran:?}"
    );
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
