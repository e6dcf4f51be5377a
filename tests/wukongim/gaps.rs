//! What was not pushed, pushed twice, or out of order.

use crate::world::{Way, World, is};
use im_bridge_test_harness::eventually;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_pushed_is_fetched() {
    for way in [Way::WebSocket, Way::Tcp, Way::JsonRpc] {
        let world = World::one(json!({}), way).await;
        world
            .server
            .act(
                "fault",
                json!({ "on": "recv", "do": "withhold", "after": 1, "times": 2 }),
            )
            .await;
        for text in ["a", "b", "c", "d"] {
            world.say("alice", 1, "bot-1", text).await;
        }
        world.hears("bot1", &["a", "b", "c", "d"]).await;
        let events = world.events().await;
        let delivery = |text: &str| -> Value {
            let found = events
                .iter()
                .find(|it| it["data"]["message"]["alt_text"] == text);
            found.unwrap()["delivery"].clone()
        };
        assert_eq!(
            (delivery("a"), delivery("b")),
            (json!("live"), json!("backfill"))
        );
        let done = world.event("sync.completed").await;
        assert_eq!(done["subject"], "1-alice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_belong_to_no_message_are_told() {
    let world = World::one(json!({}), Way::WebSocket).await;
    world.say("alice", 1, "bot-1", "a").await;
    world.hears("bot1", &["a"]).await;
    let gap = json!({ "uid": "alice", "channel_id": "bot-1", "channel_type": 1, "count": 3 });
    world.server.act("gap", gap).await;
    world.say("alice", 1, "bot-1", "b").await;
    world.hears("bot1", &["a", "b"]).await;
    let gap = world.event("sync.gap").await;
    assert_eq!(gap["data"]["gap"]["from"], "00000000000000000002");
    assert_eq!(gap["data"]["gap"]["to"], "00000000000000000004");
    assert_eq!(gap["data"]["gap"]["lost_estimate"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_overtake_each_other_are_stored_in_order() {
    for way in [Way::WebSocket, Way::Tcp, Way::JsonRpc] {
        let settings = json!({ "disorder_percent": 20, "disorder_places": 30 });
        let world = World::one(settings, way).await;
        world
            .group("bot1", "team", &["bot-1", "alice", "carol"])
            .await;
        let flood = json!({ "from": ["alice", "carol"], "count": 2000, "rate_per_s": 2000,
            "channels": [{ "channel_id": "team", "channel_type": 2 }] });
        world.server.act("flood", flood).await;
        let events = eventually("all are stored", || async {
            let events = world.events().await;
            (events.iter().filter(|it| is(it, "message.created")).count() >= 2000).then_some(events)
        })
        .await;
        let keys: Vec<&str> = events
            .iter()
            .filter(|it| is(it, "message.created"))
            .map(|it| it["orderkey"].as_str().unwrap())
            .collect();
        assert!(keys.is_sorted(), "{way:?}: out of order");
        assert_eq!(keys.len(), 2000);
        assert!(
            !events.iter().any(|it| is(it, "sync.gap")),
            "nothing was missing"
        );
        world.is_acknowledged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_is_pushed_again_and_stored_once() {
    for way in [Way::WebSocket, Way::Tcp, Way::JsonRpc] {
        let world = World::one(json!({ "resend_ms": 500 }), way).await;
        // The acknowledgement is lost, so the server says it again.
        world
            .server
            .act("fault", json!({ "on": "recvack", "do": "withhold" }))
            .await;
        world
            .server
            .act(
                "fault",
                json!({ "on": "recv", "do": "duplicate", "after": 1 }),
            )
            .await;
        world.say("alice", 1, "bot-1", "a").await;
        world.say("alice", 1, "bot-1", "b").await;
        world.hears("bot1", &["a", "b"]).await;
        eventually("it was pushed again", || async {
            let summary = world.server.get("summary").await;
            (summary["resends"].as_u64() >= Some(1)).then_some(())
        })
        .await;
        world.is_acknowledged().await;
        assert_eq!(world.texts("bot1").await, ["a", "b"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_was_away_fetches_everything_once() {
    let mut world = World::one(json!({}), Way::WebSocket).await;
    world.group("bot1", "team", &["bot-1", "alice"]).await;
    world.say("alice", 2, "team", "before").await;
    world.hears("bot1", &["before"]).await;
    world.bridge.terminate();
    world
        .bridge
        .ended(std::time::Duration::from_secs(20))
        .unwrap();
    for number in 0..250 {
        world
            .say("alice", 2, "team", &format!("away {number}"))
            .await;
    }
    // Nobody knew these conversations, and the server lists the first one only.
    world.say("dora", 1, "bot-1", "new here").await;
    world.say("", 1, "bot-1", "maintenance").await;
    let files = std::sync::Arc::clone(world.bridge.files());
    world.bridge = im_bridge_test_harness::Bridge::start(&files, "a");
    let wanted = 253;
    eventually("all are stored", || async {
        (world.texts("bot1").await.len() >= wanted).then_some(())
    })
    .await;
    let events = world.events().await;
    let mut of_team: Vec<&str> = Vec::new();
    for event in events.iter().filter(|it| is(it, "message.created")) {
        if event["subject"] == "2-team" {
            of_team.push(event["orderkey"].as_str().unwrap());
        }
    }
    assert_eq!(of_team.len(), 251);
    assert!(of_team.is_sorted());
    for text in ["new here", "maintenance"] {
        assert!(
            world.texts("bot1").await.contains(&text.to_owned()),
            "{text}"
        );
    }
    world.is("bot1", "online").await;
    let synced = world.control("bot1", "sync", json!({})).await;
    assert_eq!(synced["result"]["count"], 0, "{synced}");
    let replayed = world
        .control(
            "bot1",
            "sync",
            json!({ "channel_id": "2-team", "from": "00000000000000000250" }),
        )
        .await;
    assert_eq!(replayed["result"]["count"], 2, "{replayed}");
}
