//! Everything that can break, on both transports: nothing lost, nothing twice, each channel in order.

use crate::world::{Way, World, account, count, is, publish, say, stored};
use im_bridge_test_harness::{Bridge, eventually, eventually_within, seeded};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const WAYS: [Way; 3] = [Way::WebSocket, Way::Tcp, Way::JsonRpc];
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// Compares the server's record with the stream: every message that others sent is stored once, in order.
async fn assert_all_stored(world: &World, alias: &str, own: &str) {
    let sends = world.server.record(&["send"]).await;
    let wanted: Vec<&Value> = sends
        .iter()
        .filter(|it| it["reason"] == 1 && it["from"] != own && it["message_seq"].as_u64() > Some(0))
        .collect();
    let mine = |event: &Value| {
        is(event, "message.created") && event["account"] == alias && event["origin"] == "remote"
    };
    let all = eventually_within(2 * DONE_WITHIN, "everything is stored", || async {
        let events = world.events().await;
        (events.iter().filter(|it| mine(it)).count() >= wanted.len()).then_some(())
    });
    if tokio::time::timeout(DONE_WITHIN, all).await.is_err() {
        println!(
            "account: {:?}",
            world.bridge.account(&format!("wukongim/{alias}"))
        );
        println!("connections: {}", world.server.get("connections").await);
    }
    let events = world.events().await;
    let mut seen: HashSet<&str> = HashSet::new();
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for event in events.iter().filter(|it| mine(it)) {
        let id = event["data"]["message"]["id"].as_str().unwrap();
        assert!(seen.insert(id), "{id} is stored twice");
        let (channel, key) = (
            event["subject"].as_str().unwrap(),
            event["orderkey"].as_str().unwrap(),
        );
        if let Some(before) = last.insert(channel, key) {
            assert!(before < key, "{channel}: {key} after {before}");
        }
    }
    let missing: Vec<_> = wanted
        .iter()
        .filter(|it| !seen.contains(it["message_id"].as_str().unwrap()))
        .collect();
    assert!(
        missing.is_empty(),
        "{} of {} are missing: {:?} to {:?}",
        missing.len(),
        wanted.len(),
        missing.first(),
        missing.last()
    );
    assert!(
        !events.iter().any(|it| is(it, "sync.gap")),
        "nothing was told as lost"
    );
}

/// Each command was carried out exactly once.
async fn assert_sent_once(world: &World, keys: &[String]) {
    let sends = world.server.record(&["send"]).await;
    for key in keys {
        let times = sends
            .iter()
            .filter(|it| it["client_msg_no"] == **key && it["reason"] == 1)
            .count();
        assert_eq!(times, 1, "{key}");
    }
}

async fn group(way: Way) -> World {
    let world = World::new(json!({ "resend_ms": 2000 }), |simulator| {
        let mut account = account(simulator, "bot-1", way);
        account["heartbeat_ms"] = 500.into();
        json!({ "bot1": account })
    })
    .await;
    world
        .group("bot1", "team", &["bot-1", "alice", "carol"])
        .await;
    world
}

fn flood(count: u32, rate: u32) -> Value {
    json!({ "from": ["alice", "carol"], "count": count, "rate_per_s": rate,
        "channels": [{ "channel_id": "team", "channel_type": 2 }] })
}

async fn flood_ends(world: &World) {
    eventually_within(DONE_WITHIN, "the flood is over", || async {
        let floods = world.server.get("flood").await;
        let all = floods
            .as_array()
            .or_else(|| floods["floods"].as_array())
            .unwrap();
        all.iter().all(|one| one["is_done"] == true).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_any_way_lose_nothing() {
    let mut random = seeded("connections_that_break_in_any_way_lose_nothing");
    for way in WAYS {
        let world = group(way).await;
        world.server.act("flood", flood(1500, 300)).await;
        let mut acts = vec!["drop", "reset", "end", "mute", "half_open"];
        random.shuffle(&mut acts);
        for act in acts {
            world.is("bot1", "online").await;
            let before = count(&world.client, "IM_EVT").await.unwrap_or(0);
            world
                .server
                .act("connections", json!({ "do": act, "uid": "bot-1" }))
                .await;
            eventually_within(
                DONE_WITHIN,
                &format!("more is stored after {act}"),
                || async { (count(&world.client, "IM_EVT").await? > before + 20).then_some(()) },
            )
            .await;
        }
        flood_ends(&world).await;
        assert_all_stored(&world, "bot1", "bot-1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_the_middle_of_a_push_a_send_and_a_login_loses_nothing() {
    for way in WAYS {
        let world = group(way).await;
        let transport = way.transport();
        for fault in [
            json!({ "on": "recv", "do": "drop", "after": 5 }),
            json!({ "on": "recv", "do": "reset", "after": 30 }),
            json!({ "on": "connect", "do": "drop", "transport": transport }),
            json!({ "on": "connect", "do": "reset", "after": 1, "transport": transport }),
            json!({ "on": "recvack", "do": "drop", "after": 20 }),
            json!({ "on": "send", "do": "drop", "uid": "bot-1" }),
            json!({ "on": "send", "do": "reset", "uid": "bot-1", "after": 2, "effect": false }),
            json!({ "on": "send", "do": "withhold", "uid": "bot-1", "after": 4 }),
        ] {
            world.server.act("fault", fault).await;
        }
        world.server.act("flood", flood(300, 60)).await;
        let mut keys = Vec::new();
        for number in 0..10 {
            let key = format!("cut-{number}");
            publish(
                &world.client,
                "bot1",
                "message.send",
                &say(&key, "2-team", &key),
            )
            .await;
            keys.push(key);
        }
        eventually_within(DONE_WITHIN, "every command is answered", || async {
            let results = stored(&world.client, "IM_RES").await;
            let sent = results.iter().filter(|it| {
                it["data"]["command"] == "message.send" && it["data"]["status"] == "ok"
            });
            (sent.count() == keys.len()).then_some(())
        })
        .await;
        assert_sent_once(&world, &keys).await;
        flood_ends(&world).await;
        assert_all_stored(&world, "bot1", "bot-1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_bridges_and_servers_lose_nothing_and_send_nothing_twice() {
    for way in [Way::WebSocket, Way::Tcp] {
        let mut world = group(way).await;
        world.server.act("flood", flood(1200, 120)).await;
        let mut keys = Vec::new();
        for round in 0..2 {
            for number in 0..5 {
                let key = format!("kill-{round}-{number}");
                publish(
                    &world.client,
                    "bot1",
                    "message.send",
                    &say(&key, "2-team", &key),
                )
                .await;
                keys.push(key);
            }
            world.bridge.kill();
            let files = Arc::clone(world.bridge.files());
            world.bridge = Bridge::start(&files, "a");
            eventually_within(DONE_WITHIN, "online again", || async {
                world
                    .bridge
                    .state("wukongim/bot1")
                    .filter(|state| state == "online")
            })
            .await;
            world.nats.kill();
            world.nats.restart();
            world.client = eventually("the server is back", || async {
                async_nats::connect(world.nats.url()).await.ok()
            })
            .await;
        }
        world.server.act("crash", json!({ "down_ms": 500 })).await;
        flood_ends(&world).await;
        eventually_within(DONE_WITHIN, "every command is answered", || async {
            let results = stored(&world.client, "IM_RES").await;
            let sent = results.iter().filter(|it| {
                it["data"]["command"] == "message.send" && it["data"]["status"] == "ok"
            });
            (sent.count() >= keys.len()).then_some(())
        })
        .await;
        assert_sent_once(&world, &keys).await;
        assert_all_stored(&world, "bot1", "bot-1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_stream_is_away_nothing_is_acknowledged_and_nothing_is_lost() {
    for way in WAYS {
        let mut world = group(way).await;
        world.say("alice", 2, "team", "before").await;
        world.hears("bot1", &["before"]).await;
        world.is_acknowledged().await;
        world.nats.kill();
        let acked = world.server.get("summary").await["recvacks"].clone();
        for number in 0..20 {
            world
                .say("alice", 2, "team", &format!("during {number}"))
                .await;
        }
        assert_eq!(world.server.get("summary").await["recvacks"], acked);
        world.nats.restart();
        world.client = eventually("the server is back", || async {
            async_nats::connect(world.nats.url()).await.ok()
        })
        .await;
        assert_all_stored(&world, "bot1", "bot-1").await;
        world.is_acknowledged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_keys_are_renewed_and_an_unknown_outcome_is_settled() {
    for way in [Way::WebSocket, Way::Tcp] {
        let world = group(way).await;
        let bad_key = json!({ "on": "send", "do": "refuse", "reason": 9, "uid": "bot-1" });
        world.server.act("fault", bad_key).await;
        let sent = world
            .request("bot1", "message.send", say("key-1", "2-team", "x"))
            .await;
        assert_eq!(sent["status"], "ok", "{sent}");
        assert_sent_once(&world, &["key-1".to_owned()]).await;
        world.is("bot1", "online").await;
        // Stored, and the answer lost: a durable command is asked about and has its true result.
        world
            .server
            .act(
                "fault",
                json!({ "on": "send", "do": "withhold", "uid": "bot-1" }),
            )
            .await;
        publish(
            &world.client,
            "bot1",
            "message.send",
            &say("key-2", "2-team", "y"),
        )
        .await;
        let result = eventually_within(DONE_WITHIN, "its result", || async {
            let results = stored(&world.client, "IM_RES").await;
            results
                .into_iter()
                .find(|it| it["data"]["idempotency_key"] == "key-2")
        })
        .await;
        assert_eq!(result["data"]["status"], "ok", "{result}");
        assert_sent_once(&world, &["key-2".to_owned()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_fails_costs_time_and_no_message() {
    let world = group(Way::WebSocket).await;
    world.say("alice", 2, "team", "one").await;
    world.hears("bot1", &["one"]).await;
    for fault in [
        json!({ "on": "http", "do": "refuse", "status": 503, "path": "/channel/messagesync", "port": "native" }),
        json!({ "on": "http", "do": "drop", "path": "/channel/messagesync", "port": "native", "after": 1 }),
        json!({ "on": "http", "do": "truncate", "path": "/channel/messagesync", "port": "native", "after": 2 }),
        json!({ "on": "recv", "do": "withhold", "uid": "bot-1" }),
    ] {
        world.server.act("fault", fault).await;
    }
    world.say("alice", 2, "team", "two").await;
    world.say("alice", 2, "team", "three").await;
    world.hears("bot1", &["one", "two", "three"]).await;
    world.is("bot1", "online").await;
}
