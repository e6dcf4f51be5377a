//! What was missed, and how it is fetched or announced.

use crate::mock::{CHAT, ME, PEER, SOON, World, online, run, texts, until, wait_kind, wait_texts};
use im_bridge_sdk::test::{Command, Delivery, KvStore, Outcome, Settling, State};
use serde_json::json;

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
