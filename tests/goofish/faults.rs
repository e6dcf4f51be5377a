//! Frames that are none, too long or too many, and accounts that stop.

use crate::mock::{
    CHAT, ME, PEER, SOON, World, online, run, texts, until, wait_beats, wait_kind, wait_texts,
};
use im_bridge_sdk::test::{Command, KvStore, State, Status};
use serde_json::json;

#[test]
fn an_account_that_hears_only_heartbeats_stays() {
    let world = World::new();
    world.act("settings", json!({ "hints": false }));
    let host = world.online(json!({}));
    wait_beats(&host, 8);
    assert_eq!(world.record(&["session"]).len(), 1);
    host.finish();
}

#[test]
fn frames_that_are_none_are_passed_over() {
    let world = World::new();
    let host = world.online(json!({}));
    for text in [
        "",
        "{",
        "hello",
        "[]",
        "null",
        "{\"lwp\":\"/s/sync\"}",
        "{\"lwp\":\"/s/sync\",\"headers\":7,\"body\":[]}",
        "{\"code\":200}",
    ] {
        world.act("push", json!({ "to": ME, "text": text }));
    }
    for frame in [
        json!({ "lwp": "/s/sync", "body": null }),
        json!({ "lwp": "/s/sync", "body": { "syncPushPackage": { "data": 7 } } }),
        json!({ "lwp": "/s/sync", "body": { "syncPushPackage": { "data": [null, 7, "x", {}, { "data": 7 }] } } }),
        json!({ "lwp": "/s/new", "body": {} }),
    ] {
        world.act("push", json!({ "to": ME, "frame": frame }));
    }
    for data in [
        "",
        "%%%%",
        "wQ==",
        "gQ==",
        "AQ==",
        "W10=",
        "e30=",
        "eyI=",
        "kZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGR",
    ] {
        world.act(
            "push",
            json!({ "to": ME, "items": [{ "data": data, "object_type": 40_000 }] }),
        );
    }
    world.act(
        "push",
        json!({ "to": ME, "items": [{ "data": "%" }], "binary": true }),
    );
    world.say("still here");
    wait_texts(&host, &["still here"]);
    assert_eq!(
        world.record(&["session"]).len(),
        1,
        "nothing of it ended the session"
    );
    host.finish();
}

#[test]
fn a_frame_of_a_mebibyte_is_heard() {
    let world = World::new();
    let host = world.online(json!({}));
    let long = "长".repeat(349_000);
    world.act(
        "say",
        json!({ "from": PEER, "cid": CHAT, "text": long, "summary": "long" }),
    );
    world.say("behind it");
    let event = wait_kind(&host, "message.created", 2)[0].clone();
    let segments = event.json()["message"]["segments"]
        .as_array()
        .unwrap()
        .clone();
    let bytes: usize = segments
        .iter()
        .map(|segment| segment["data"]["text"].as_str().unwrap().len())
        .sum();
    assert!(event.payload.len() < 1024 * 1024);
    assert_eq!(event.json()["ext"]["goofish"]["truncated"], true);
    assert!(bytes > 850 * 1024, "{bytes}");
    host.finish();
}

#[test]
fn without_credit_nothing_is_read_and_nothing_is_lost() {
    let world = World::new();
    let builder = im_bridge_sdk::test::MockHost::builder(im_bridge_sdk::test::entry::<
        im_bridge_adapter_goofish::Goofish,
    >());
    let host = builder
        .account("starved")
        .config(world.config(ME, json!({})))
        .auto_settle(im_bridge_sdk::test::Settling::Always(
            im_bridge_sdk::test::Outcome::STORED,
        ))
        .create()
        .unwrap();
    host.start();
    host.wait_state(State::ONLINE, SOON);
    for n in 0..20 {
        world.say(&format!("m{n}"));
    }
    // A command is answered though, because its answer is read past what is held.
    assert_eq!(run(&host, Command::new("channel.list")).status, Status::OK);
    assert_eq!(texts(&host.recording().events), Vec::<String>::new());
    host.grant_plenty();
    let wanted: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    wait_texts(
        &host,
        &wanted.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    world.all_acknowledged();
    host.finish();
}

#[test]
fn a_drain_acknowledges_what_was_read_and_the_next_one_goes_on() {
    let (world, kept) = (World::new(), KvStore::default());
    world.act("settings", json!({ "replay": false }));
    let mut all = Vec::new();
    for round in 0..4 {
        let host = online(world.account(ME, json!({})).kv(&kept));
        world.act(
            "say",
            json!({ "from": PEER, "cid": CHAT, "text": format!("r{round}"), "times": 30 }),
        );
        host.drain(u32::try_from(SOON.as_millis()).unwrap());
        all.extend(texts(&host.finish().events));
    }
    let host = online(world.account(ME, json!({})).kv(&kept));
    world.say("end");
    until("the end", || {
        let mut seen = all.clone();
        seen.extend(texts(&host.recording().events));
        if seen.last().is_some_and(|last| last == "end") {
            Ok(seen)
        } else {
            Err(format!("{}", seen.len()))
        }
    });
    all.extend(texts(&host.finish().events));
    let wanted: Vec<String> = (0..4)
        .flat_map(|round| (1..=30).map(move |n| format!("r{round} #{n}")))
        .chain(["end".to_owned()])
        .collect();
    assert_eq!(all, wanted);
}
