//! What the provider says: every kind, every path, several at once, and none twice.

use crate::mock::{
    CHAT, ME, PEER, World, online, run, send, until, wait_beats, wait_kind, wait_texts,
};
use im_bridge_sdk::test::{Command, Noise, Origin, Outcome, Settling};
use serde_json::{Value, json};

#[test]
fn two_accounts_talk_to_each_other() {
    let world = World::new();
    let (ours, theirs) = (
        world.online(json!({})),
        online(world.account(PEER, json!({}))),
    );
    let sent = run(&ours, send("hello there"));
    let heard = wait_texts(&theirs, &["hello there"]);
    assert_eq!(sent.native_id, heard[0].native_id);
    assert_eq!(heard[0].origin, Origin::REMOTE);
    assert_eq!(heard[0].json()["actor"]["id"], ME);
    run(&theirs, send("hello back"));
    let seen = wait_texts(&ours, &["hello there", "hello back"]);
    assert_eq!(seen[0].origin, Origin::BRIDGE);
    assert!(
        seen[0]
            .client_ref
            .as_deref()
            .is_some_and(|key| key.starts_with("k-"))
    );
    // Each is shown as read to the other.
    let read = Command::new("receipt.read").channel(CHAT);
    let id = heard[0].native_id.clone().unwrap();
    run(
        &theirs,
        read.params(json!({ "channel_id": CHAT, "message_ids": [id] })),
    );
    let receipt = &wait_kind(&ours, "receipt.read", 1)[0];
    assert_eq!(receipt.json()["receipt"]["message_ids"], json!([id]));
    assert_eq!(receipt.json()["actor"]["id"], PEER);
    ours.finish();
    theirs.finish();
    world.all_acknowledged();
}

#[test]
fn every_kind_of_content_becomes_its_segment() {
    let world = World::new();
    let host = world.online(json!({}));
    let say = |content: Value, summary: &str| {
        world.act(
            "say",
            json!({ "from": PEER, "cid": CHAT, "content": content, "summary": summary }),
        );
    };
    say(
        json!({ "contentType": 2, "image": { "pics": [
        { "url": "https://img.example.invalid/a.png", "width": 640, "height": 480, "type": 0 },
        { "url": "https://img.example.invalid/b.png", "width": 1, "height": 2, "type": 0 } ] } }),
        "[图片]",
    );
    say(
        json!({ "contentType": 3, "audio": { "url": "https://audio.example.invalid/a.amr", "duration": 2100 } }),
        "[语音]",
    );
    say(
        json!({ "contentType": 7, "itemCard": { "itemTip": "tip", "item": {
        "itemId": "5", "mainPic": "https://img.example.invalid/p.png", "price": "¥1", "title": "a thing" } } }),
        "[商品]",
    );
    say(
        json!({ "contentType": 26, "dxCard": { "item": { "main": {} } } }),
        "[我已付款，等待你发货]",
    );
    say(json!({ "contentType": 99, "new": [1, 2] }), "[new]");
    let events = wait_kind(&host, "message.created", 5);
    let kinds: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let kind = |segment: &Value| segment["type"].as_str().unwrap().to_owned();
            event.json()["message"]["segments"]
                .as_array()
                .unwrap()
                .iter()
                .map(kind)
                .collect()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            vec!["image", "image"],
            vec!["voice"],
            vec!["card"],
            vec!["opaque"],
            vec!["opaque"]
        ]
    );
    let trade = events[3].json();
    assert_eq!(trade["message"]["alt_text"], "[我已付款，等待你发货]");
    assert_eq!(
        events[4].json()["message"]["segments"][0]["data"]["native"]["new"],
        json!([1, 2])
    );
    host.finish();
}

#[test]
fn whatever_is_no_message_is_told_as_what_it_is() {
    let world = World::new();
    world.act("settings", json!({ "hints": false }));
    let host = world.online(json!({}));
    world.act("typing", json!({ "from": PEER, "cid": CHAT }));
    world.act(
        "order",
        json!({ "to": ME, "cid": CHAT, "reminder": "等待卖家发货" }),
    );
    world.act("hint", json!({ "to": ME, "cid": CHAT }));
    world.act(
        "push",
        json!({ "to": ME, "items": [{ "pack": { "77": "new" }, "object_type": 49_999 }] }),
    );
    let typing = &wait_kind(&host, "typing.started", 1)[0];
    assert_eq!(
        (typing.json()["actor"]["id"].as_str(), typing.noise),
        (Some(PEER), Noise::AUX)
    );
    let notices = wait_kind(&host, "notice.received", 3);
    let kind = |at: usize| {
        notices[at].json()["notice"]["native_type"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        [kind(0), kind(1), kind(2)],
        ["order_state", "session_hint", "item_49999"]
    );
    assert_eq!(notices[0].json()["notice"]["text"], "等待卖家发货");
    assert_eq!(
        notices[2].json()["notice"]["native"],
        json!({ "77": "new" })
    );
    world.all_acknowledged();
    host.finish();
}

#[test]
fn the_backlog_on_another_path_is_heard_and_acknowledged() {
    let world = World::new();
    let host = world.online(json!({}));
    let hint = &wait_kind(&host, "notice.received", 1)[0];
    assert_eq!(hint.json()["notice"]["native_type"], "session_hint");
    world.all_acknowledged();
    let paths: Vec<Value> = world
        .record(&["push"])
        .into_iter()
        .map(|push| push["lwp"].clone())
        .collect();
    assert_eq!(paths, ["/s/vulcan"]);
    host.finish();
}

#[test]
fn several_items_in_one_push_are_all_told_and_acknowledged_once() {
    let world = World::new();
    let host = world.online(json!({}));
    world.act(
        "say",
        json!({ "from": PEER, "cid": CHAT, "text": "many", "times": 5, "together": true }),
    );
    wait_texts(
        &host,
        &["many #1", "many #2", "many #3", "many #4", "many #5"],
    );
    world.all_acknowledged();
    let acks: Vec<Value> = world
        .record(&["ack"])
        .into_iter()
        .filter(|ack| ack["ids"] != json!([]))
        .collect();
    assert_eq!(acks.len(), 1, "{acks:?}");
    assert_eq!(
        (acks[0]["headers"].as_str(), acks[0]["known"].as_bool()),
        (Some("all"), Some(true))
    );
    host.finish();
}

#[test]
fn a_push_is_acknowledged_after_its_last_item_is_stored() {
    let world = World::new();
    world.act("settings", json!({ "hints": false }));
    let host = online(world.account(ME, json!({})).auto_settle(Settling::Manual));
    world.act(
        "say",
        json!({ "from": PEER, "cid": CHAT, "text": "two", "times": 2, "together": true }),
    );
    wait_texts(&host, &["two #1", "two #2"]);
    let tokens = host.open_tokens();
    host.settle(tokens[1], Outcome::STORED);
    // Beats later still nothing: what it waits for is the settle, not time.
    wait_beats(&host, 2);
    assert_eq!(world.record(&["ack"]), Vec::<Value>::new());
    host.settle(tokens[0], Outcome::DUPLICATE);
    world.recorded("ack", 1);
    host.finish();
}

#[test]
fn what_is_pushed_twice_is_told_once() {
    let world = World::new();
    let host = world.online(json!({}));
    world.fault("push", "duplicate", "/s/sync", json!({}));
    world.say("same mid");
    world.fault("push", "again", "/s/sync", json!({}));
    world.say("new mid");
    world.fault("push", "mid_of_request", "/s/sync", json!({}));
    world.say("mid of a request");
    world.fault("push", "lwp", "/s/sync", json!({ "lwp": "/s/para" }));
    world.say("another path");
    world.fault("push", "binary", "/s/sync", json!({}));
    world.say("binary");
    world.say("end");
    wait_texts(
        &host,
        &[
            "same mid",
            "new mid",
            "mid of a request",
            "another path",
            "binary",
            "end",
        ],
    );
    world.all_acknowledged();
    host.finish();
}

#[test]
fn raw_frames_are_told_without_what_is_private() {
    let world = World::new();
    let host = world.online(json!({ "raw_frames": true }));
    world.say("seen raw");
    wait_texts(&host, &["seen raw"]);
    let raw = until("the push in raw", || {
        let all = crate::mock::of_kind(&host.recording().events, "raw.frame");
        let push = all
            .iter()
            .map(|event| event.json()["raw"].clone())
            .find(|raw| raw["native_type"] == "/s/sync");
        push.ok_or_else(|| format!("{} raw frames", all.len()))
    });
    let body = raw["body"].to_string();
    assert!(
        body.contains("seen raw") && !body.contains("clientIp") && !body.contains("utdid"),
        "{body}"
    );
    let recording = host.finish();
    let register = crate::mock::of_kind(&recording.events, "raw.frame")
        .into_iter()
        .map(|event| event.json()["raw"].clone());
    let register: Vec<Value> = register
        .filter(|raw| raw["native_type"] == "/reg")
        .collect();
    assert_eq!(register.len(), 1);
    assert!(
        !register[0].to_string().contains("\"token\""),
        "{}",
        register[0]
    );
}
