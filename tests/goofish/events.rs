//! What the provider says: every kind, every path, several at once, and none twice.

use crate::mock::{
    CHAT, ME, PEER, SOON, World, online, run, send, texts, until, wait_beats, wait_kind, wait_texts,
};
use im_bridge_sdk::test::{Command, Delivery, KvStore, Noise, Origin, Outcome, Settling, State};
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
fn what_could_not_be_stored_is_fetched_again() {
    let world = World::new();
    let mut failures = 1;
    let decide = move |event: &im_bridge_sdk::test::EventRecord| {
        let is_hit = event.kind == "message.created" && failures > 0;
        failures -= i32::from(is_hit);
        Some(if is_hit {
            Outcome::RETRY
        } else {
            Outcome::STORED
        })
    };
    let host = online(
        world
            .account(ME, json!({}))
            .auto_settle(Settling::Decide(Box::new(decide))),
    );
    let id = world.say("once more");
    let events = wait_texts(&host, &["once more", "once more"]);
    assert!(
        events
            .iter()
            .all(|event| event.native_id.as_deref() == Some(&id))
    );
    assert_eq!(events[1].delivery, Delivery::BACKFILL);
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
fn what_was_missed_is_fetched_after_a_restart_in_order_and_once() {
    let (world, kept) = (World::new(), KvStore::default());
    world.act("settings", json!({ "replay": false }));
    let host = online(world.account(ME, json!({})).kv(&kept));
    world.say("live");
    wait_texts(&host, &["live"]);
    world.all_acknowledged();
    host.drain(10_000);
    host.finish();
    for n in 0..130 {
        world.say(&format!("missed {n}"));
    }
    let host = online(world.account(ME, json!({})).kv(&kept));
    world.say("after");
    let wanted: Vec<String> = (0..130)
        .map(|n| format!("missed {n}"))
        .chain(["after".to_owned()])
        .collect();
    let events = wait_texts(
        &host,
        &wanted.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert!(
        events[..130]
            .iter()
            .all(|event| event.delivery == Delivery::BACKFILL)
    );
    assert_eq!(events[130].delivery, Delivery::LIVE);
    let synced = wait_kind(&host, "sync.completed", 1);
    assert_eq!(synced[0].json()["sync"]["count"], 130);
    host.drain(10_000);
    host.finish();
    // And nothing of it a third time.
    let host = online(world.account(ME, json!({})).kv(&kept));
    world.say("end");
    wait_texts(&host, &["end"]);
    host.finish();
}

#[test]
fn what_the_provider_replays_is_told_once() {
    let (world, kept) = (World::new(), KvStore::default());
    world.act("settings", json!({ "redeliver": true }));
    let host = online(world.account(ME, json!({})).kv(&kept));
    world.say("one");
    wait_texts(&host, &["one"]);
    world.act("kick", json!({ "how": "drop" }));
    world.say("two");
    host.wait("online again", SOON, |seen| {
        let online = seen
            .reports
            .iter()
            .filter(|report| report.state == State::ONLINE)
            .count();
        (online >= 2).then_some(())
    });
    world.act("redeliver", json!({ "uid": ME }));
    world.say("three");
    wait_texts(&host, &["one", "two", "three"]);
    world.all_acknowledged();
    host.finish();
}

#[test]
fn history_that_cannot_be_read_is_announced_as_a_gap() {
    let (world, kept) = (World::new(), KvStore::default());
    world.act("settings", json!({ "replay": false }));
    online(world.account(ME, json!({})).kv(&kept)).finish();
    world.say("unreachable");
    let refused = json!({ "code": 403, "body": { "reason": "no history" } });
    world.fault(
        "request",
        "refuse",
        "/r/MessageManager/listUserMessages",
        refused,
    );
    let host = online(world.account(ME, json!({})).kv(&kept));
    let gap = wait_kind(&host, "sync.gap", 1)[0].json();
    assert_eq!(
        (
            gap["gap"]["reason"].as_str(),
            gap["gap"]["channel_id"].as_str()
        ),
        (Some("no_history"), Some(CHAT))
    );
    host.finish();
}

#[test]
fn a_request_to_slow_down_delays_the_catch_up() {
    let (world, kept) = (World::new(), KvStore::default());
    world.act("settings", json!({ "replay": false }));
    online(world.account(ME, json!({})).kv(&kept)).finish();
    world.say("slowly");
    let slow = json!({ "code": 200, "body": { "code": "400600001" } });
    world.fault(
        "request",
        "refuse",
        "/r/Conversation/listNewestPagination",
        slow,
    );
    let host = online(world.account(ME, json!({})).kv(&kept));
    wait_texts(&host, &["slowly"]);
    host.finish();
}

#[test]
fn a_gap_that_the_provider_tells_is_filled() {
    let world = World::new();
    let host = world.online(json!({}));
    world.fault("push", "withhold", "/s/sync", json!({}));
    world.say("withheld");
    world.fault("push", "extra", "/s/sync", json!({ "type": 1 }));
    world.say("with a hint");
    until("both", || {
        let mut seen = texts(&host.recording().events);
        seen.sort();
        if seen == ["with a hint", "withheld"] {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    host.finish();
}

#[test]
fn what_cannot_be_decoded_costs_nothing_that_the_history_has() {
    let world = World::new();
    let host = world.online(json!({}));
    world.act(
        "say",
        json!({ "from": PEER, "cid": CHAT, "text": "only in the history", "forget": true }),
    );
    world.fault("push", "spoil", "/s/sync", json!({}));
    world.say("beside the spoilt one");
    until("both", || {
        let mut seen = texts(&host.recording().events);
        seen.sort();
        if seen == ["beside the spoilt one", "only in the history"] {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    assert_eq!(host.metric("items_total", &["undecodable"]), Some(1.0));
    world.all_acknowledged();
    host.finish();
}

#[test]
fn a_sync_from_a_time_is_a_replay() {
    let world = World::new();
    let host = world.online(json!({}));
    world.say("one");
    let event = wait_texts(&host, &["one"])[0].clone();
    let from = event.json()["message"]["created_at"].clone();
    let synced = run(
        &host,
        Command::new("account.sync").params(json!({ "from": from, "channel_id": CHAT })),
    );
    assert_eq!(synced.json()["count"], 1, "{}", synced.json());
    let again = &wait_texts(&host, &["one", "one"])[1];
    assert_eq!(
        (again.delivery, &again.native_id),
        (Delivery::REPLAY, &event.native_id)
    );
    let nothing = run(&host, Command::new("account.sync"));
    assert_eq!(nothing.json()["count"], 0);
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
