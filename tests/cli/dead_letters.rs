//! `dlq`: letters as the bridge writes them.

use super::world::World;
use async_nats::HeaderMap;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const COMMAND: &str = "im.v1.cmd.sim.demo.message.send";
const EVENT: &str = "im.v1.evt.sim.demo.message.created.lobby";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

/// One of each: a command, an event, an adapter's bytes.
async fn letters(world: &World) {
    let error = json!({ "code": "provider_unavailable", "message": "it is closed", "class": "unavailable" }).to_string();
    let about = [
        ("Im-Dlq-Code", "provider_unavailable"),
        ("Im-Dlq-Error", error.as_str()),
        ("Im-Dlq-Attempts", "20"),
        ("Im-Dlq-First", "2026-01-02T03:04:05.000Z"),
        ("Im-Dlq-Last", "2026-01-02T03:09:05.000Z"),
        ("Content-Type", "application/cloudevents+json"),
    ];
    let with = |more: &[(&str, &str)]| headers(&[&about[..], more].concat());
    let command = json!({ "specversion": "1.0", "id": "c1", "data": {} }).to_string();
    let own = [("Im-Dlq-Subject", COMMAND), ("Nats-Msg-Id", "c1")];
    world
        .store("im.v1.dlq.cmd.sim.demo", with(&own), &command)
        .await;
    let own = [
        ("Im-Dlq-Subject", EVENT),
        ("Nats-Msg-Id", "e1"),
        ("Im-Redrive", "1"),
    ];
    world
        .store("im.v1.dlq.evt.sim.demo", with(&own), "{}")
        .await;
    let own = [
        ("Im-Dlq-Body", "payload"),
        ("Nats-Msg-Id", "e2"),
        ("Im-Dlq-Subject", EVENT),
    ];
    world
        .store("im.v1.dlq.evt.sim.other", with(&own), "not an envelope")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_by_filter_and_shown_whole() {
    let world = World::new().await;
    let none = world.run(&["dlq", "list"]).await.done();
    assert_eq!(none.aside, "no dead letters\n");
    letters(&world).await;
    let list = world.run(&["dlq", "list"]).await.done().data;
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(
        list.starts_with("1  ")
            && list.contains("command  sim/demo  message.send  it is closed (20 tries)"),
        "{list}"
    );
    for (filter, wanted) in [
        (&["--account", "sim/other"][..], &[3][..]),
        (&["--kind", "event"], &[2, 3]),
        (&["--code", "core_error"], &[]),
        (&["--max", "1"], &[1]),
    ] {
        let items = world
            .run(&[&["dlq", "list", "--json"], filter].concat())
            .await
            .done()
            .items();
        let numbers: Vec<u64> = items
            .iter()
            .map(|item| item["number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, wanted, "{filter:?}");
    }
    let shown = world
        .run(&["dlq", "show", "3", "--json"])
        .await
        .done()
        .json();
    assert_eq!(
        (&shown["body"], &shown["headers"]["Im-Dlq-Body"]),
        (&"not an envelope".into(), &"payload".into())
    );
    let absent = world.run(&["dlq", "show", "9"]).await;
    assert!(
        absent.code == 2 && absent.aside.contains("IM_DLQ has no letter 9"),
        "{absent:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_goes_to_where_it_was_for_with_a_number_of_its_own() {
    let world = World::new().await;
    letters(&world).await;
    let ran = world
        .run(&["dlq", "resend", "--all", "--rate", "100"])
        .await;
    assert_eq!(ran.code, 1, "the adapter's bytes cannot be sent: {ran:?}");
    assert!(
        ran.data.contains(&format!(
            "1  sent  {COMMAND}\n2  sent  {EVENT}\n3  not sent: "
        )),
        "{ran:?}"
    );
    assert_eq!(ran.aside, "2 sent, 1 not\n");
    let stream = |name: &'static str| {
        world
            .bus
            .data
            .api()
            .message(name, im_bridge::bus::api::Which::Sequence(1))
    };
    let command = stream("IM_CMD").await.unwrap().unwrap();
    let header =
        |name: &str| im_bridge::bus::api::header(&command.headers, name).map(str::to_owned);
    assert_eq!(header("Im-Redrive").as_deref(), Some("1"));
    assert_eq!(header("Nats-Msg-Id").as_deref(), Some("c1.r1"));
    assert_eq!(
        header("Content-Type").as_deref(),
        Some("application/cloudevents+json")
    );
    assert_eq!(header("Im-Dlq-Code"), None);
    let event = stream("IM_EVT").await.unwrap().unwrap();
    let header = |name: &str| im_bridge::bus::api::header(&event.headers, name).map(str::to_owned);
    assert_eq!(
        header("Im-Redrive").as_deref(),
        Some("2"),
        "it was sent again before"
    );
    assert_eq!(header("Nats-Msg-Id").as_deref(), Some("e1.r2"));
    let left = world.run(&["dlq", "list", "--json"]).await.done().items();
    assert_eq!(left.len(), 1, "what was stored again is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_can_be_kept_and_sent_elsewhere() {
    let world = World::new().await;
    letters(&world).await;
    let to = "im.v1.cmd.sim.other.message.send";
    world
        .run(&["dlq", "resend", "1", "--to", to, "--keep"])
        .await
        .done();
    let again = world.run(&["dlq", "resend", "1", "--to", to]).await.done();
    assert!(
        again.data.contains("was sent before"),
        "the stream knows it: {again:?}"
    );
    let letter = world
        .store(
            "im.v1.dlq.cmd.sim.demo",
            headers(&[("Im-Dlq-Subject", COMMAND), ("Nats-Msg-Id", "c2")]),
            "{}",
        )
        .await
        .to_string();
    world
        .run(&["dlq", "resend", &letter, "--to", to, "--keep"])
        .await
        .done();
    let home = world.run(&["dlq", "resend", &letter]).await.done();
    assert_eq!(
        home.data,
        format!("{letter}  sent  {COMMAND}\n"),
        "the copy sent elsewhere does not count"
    );
    for to in ["", "im.v1 cmd", "im.v1.*.x"] {
        let wrong = world.run(&["dlq", "resend", "2", "--to", to]).await;
        assert!(wrong.code == 2 && wrong.data.is_empty(), "{to}: {wrong:?}");
    }
    let nobody = world.run(&["dlq", "resend", "2", "--to", "nowhere"]).await;
    assert!(
        nobody.code == 1 && nobody.data.contains("no stream takes nowhere"),
        "{nobody:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_while_all_are_sent_is_not_sent_once_more() {
    let world = World::new().await;
    letters(&world).await;
    let back = "im.v1.dlq.cmd.sim.demo";
    let ran = world
        .run(&["dlq", "resend", "--all", "--to", back, "--rate", "1000"])
        .await;
    assert_eq!(ran.aside, "2 sent, 1 not\n", "{ran:?}");
    let left = world.run(&["dlq", "list", "--json"]).await.done().items();
    assert_eq!(left.len(), 3, "the two are there again, as new letters");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_a_slow_resend_has_seen_what_was_done() {
    let world = World::new().await;
    for number in 0..60 {
        let id = format!("c{number}");
        let own = [("Im-Dlq-Subject", COMMAND), ("Nats-Msg-Id", id.as_str())];
        world
            .store("im.v1.dlq.cmd.sim.demo", headers(&own), "{}")
            .await;
    }
    let options: Vec<&str> = world.options.iter().map(String::as_str).collect();
    let slow = ["dlq", "resend", "--all", "--rate", "1"];
    let mut command = world.place.command(&[&slow[..], &options].concat());
    command.stdout(Stdio::piped());
    let first = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line
    });
    assert_eq!(first.await.unwrap(), format!("1  sent  {COMMAND}\n"));
    let left = world.run(&["dlq", "list", "--json"]).await.done().items();
    assert!(
        left.len() > 1,
        "it was told while it was done: {}",
        left.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_comes_out_of_the_object_store() {
    let world = World::new().await;
    let body = json!({ "specversion": "1.0", "data": { "text": "x".repeat(500_000) } }).to_string();
    let context = async_nats::jetstream::new(world.client().clone());
    let store = context.get_object_store("IM_BLOB").await.unwrap();
    store.put("dlq.e9", &mut body.as_bytes()).await.unwrap();
    let own = [
        ("Im-Dlq-Subject", EVENT),
        ("Im-Dlq-Code", "core_error"),
        ("Nats-Msg-Id", "e9"),
        ("Im-Dlq-Ref", "urn:im-bridge:blob:dlq.e9"),
    ];
    world
        .store("im.v1.dlq.evt.sim.demo", headers(&own), "")
        .await;
    world.run(&["dlq", "resend", "1"]).await.done();
    let event = world
        .bus
        .data
        .api()
        .message("IM_EVT", im_bridge::bus::api::Which::Sequence(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(event.payload.len(), body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_asks_or_is_told_to() {
    let world = World::new().await;
    letters(&world).await;
    let nobody = world.run(&["dlq", "drop", "--all"]).await;
    assert!(
        nobody.code == 2 && nobody.aside.contains("--yes"),
        "{nobody:?}"
    );
    world.run(&["dlq", "drop", "1", "--yes"]).await.done();
    let dropped = world
        .run(&["dlq", "drop", "--all", "--kind", "event", "--yes", "--json"])
        .await
        .done()
        .json();
    assert_eq!(dropped["dropped"], json!([2, 3]));
    assert_eq!(
        world.run(&["dlq", "list"]).await.done().aside,
        "no dead letters\n"
    );
}
