//! Logging in, being refused, being sent away, and what is spoken.

use crate::world::{Way, World, account};
use im_bridge_test_harness::{eventually, stays};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_checks_tokens_is_given_the_one_registered() {
    for way in [Way::WebSocket, Way::Tcp, Way::JsonRpc] {
        let world = World::one(json!({ "token_auth": true }), way).await;
        let begun = world
            .recorded("session.begun", |it| it["uid"] == "bot-1")
            .await;
        assert_eq!(
            (&begun["device_flag"], &begun["device_id"]),
            (&json!(1), &json!("im-bridge-bot1"))
        );
        let encrypted = way != Way::JsonRpc;
        assert_eq!(begun["encrypted"], encrypted, "{begun}");
        let requests = world.server.record(&["request"]).await;
        let registered = requests
            .iter()
            .filter(|it| it["path"] == "/user/token")
            .count();
        assert_eq!(registered, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_that_both_speak_is_used() {
    for (max, announced, spoken) in [(4, 5, 4), (5, 5, 5), (6, 5, 5), (6, 6, 6), (5, 6, 5)] {
        for way in [Way::WebSocket, Way::Tcp] {
            let world = World::new(json!({ "max_version": max }), |simulator| {
                let mut account = account(simulator, "bot-1", way);
                account["protocol_version"] = announced.into();
                json!({ "bot1": account })
            })
            .await;
            let begun = world.recorded("session.begun", |_| true).await;
            assert_eq!(begun["version"], spoken, "{begun}");
            world.say("alice", 1, "bot-1", "hi").await;
            world.hears("bot1", &["hi"]).await;
            world.is_acknowledged().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_encryption_messages_are_plain() {
    let world = World::one(json!({ "encryption": false }), Way::WebSocket).await;
    world.say("alice", 1, "bot-1", "hi").await;
    world.hears("bot1", &["hi"]).await;
    let begun = world.recorded("session.begun", |_| true).await;
    assert_eq!(begun["encrypted"], false);
}

/// An account with a token that the server never heard of, and no API to register one.
fn with_wrong_token(simulator: &im_bridge_test_harness::Simulator, way: Way) -> serde_json::Value {
    let mut account =
        json!({ "uid": "bot-1", "token": { "env": "WUKONGIM_TOKEN" }, "health_s": 0 });
    way.put(&mut account, simulator);
    json!({ "bot1": account })
}

async fn refused(settings: serde_json::Value, way: Way) -> World {
    use crate::world::{config, files, simulator};
    use im_bridge_test_harness::{Bridge, Nats};
    let (nats, simulator) = (Nats::start(), simulator(&settings));
    let files = files(&config(nats.url(), &with_wrong_token(&simulator, way)));
    let bridge = Bridge::start_with(&files, "a", &[("WUKONGIM_TOKEN", "s3cret-token")]);
    let client = async_nats::connect(nats.url()).await.unwrap();
    World {
        server: simulator.control(),
        nats,
        _simulator: simulator,
        bridge,
        client,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_with_an_answer_is_told_at_once() {
    let world = refused(
        json!({ "token_auth": true, "refusal": "answered" }),
        Way::WebSocket,
    )
    .await;
    world.is("bot1", "bad_credentials").await;
    assert_eq!(world.bridge.said("s3cret-token"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_in_silence_is_suspected_after_two() {
    for way in [Way::WebSocket, Way::Tcp] {
        let settings = json!({ "token_auth": true, "refusal_ms": 4000 });
        let world = refused(settings, way).await;
        let name = "wukongim/bot1";
        im_bridge_test_harness::eventually_within(
            Duration::from_secs(40),
            "the token is suspected",
            || async {
                world
                    .bridge
                    .state(name)
                    .filter(|state| state == "bad_credentials")
            },
        )
        .await;
        let refused = world.server.record(&["session.refused"]).await;
        assert_eq!(refused.len(), 2, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_is_acknowledged_left_and_not_answered_by_another_login() {
    for way in [Way::WebSocket, Way::Tcp, Way::JsonRpc] {
        let world = World::one(json!({}), way).await;
        world.say("alice", 1, "bot-1", "before").await;
        world.hears("bot1", &["before"]).await;
        let kick = json!({ "do": "kick", "uid": "bot-1", "text": "login in other device" });
        world.server.act("connections", kick).await;
        world.is("bot1", "conflicted").await;
        let closed = world
            .recorded("connection.closed", |it| it["uid"] == "bot-1")
            .await;
        let why = closed["why"].as_str().unwrap();
        let by_us = ["the client closed", "end of input"];
        assert!(by_us.contains(&why), "the server never closes: {closed}");
        world.is_acknowledged().await;
        stays("it stays away", 1, Duration::from_millis(500), || async {
            world.server.record(&["session.begun"]).await.len()
        })
        .await;
        let answer = world.control("bot1", "reconnect", json!({})).await;
        assert_eq!(answer["status"], "ok", "{answer}");
        world.is("bot1", "online").await;
        world.say("alice", 1, "bot-1", "after").await;
        world.hears("bot1", &["before", "after"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_connection_is_left_and_what_was_missed_is_fetched() {
    for way in [Way::WebSocket, Way::Tcp, Way::JsonRpc] {
        let world = World::new(json!({}), |simulator| {
            let mut account = account(simulator, "bot-1", way);
            account["heartbeat_ms"] = 300.into();
            json!({ "bot1": account })
        })
        .await;
        world.say("alice", 1, "bot-1", "one").await;
        world.hears("bot1", &["one"]).await;
        world
            .server
            .act("connections", json!({ "do": "mute", "uid": "bot-1" }))
            .await;
        world.say("alice", 1, "bot-1", "two").await;
        world.hears("bot1", &["one", "two"]).await;
        let fetched = world.events().await.pop().unwrap();
        let events = world.events().await;
        let two = events
            .iter()
            .find(|it| it["data"]["message"]["alt_text"] == "two")
            .unwrap();
        assert_eq!(two["delivery"], "backfill", "{fetched}");
        world.is("bot1", "online").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unserved_connection_is_tried_again_at_once() {
    let world = World::starting(
        json!({}),
        |simulator| json!({ "bot1": account(simulator, "bot-1", Way::Tcp) }),
    )
    .await;
    world.is("bot1", "online").await;
    let fault = json!({ "on": "connect", "do": "unserved", "ms": 500, "transport": "tcp" });
    world.server.act("fault", fault).await;
    world
        .server
        .act("connections", json!({ "do": "drop" }))
        .await;
    eventually("it is served", || async {
        let begun = world.server.record(&["session.begun"]).await;
        (begun.len() == 2).then_some(())
    })
    .await;
    world.is("bot1", "online").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_out_and_in_again_with_a_token_of_its_own() {
    let world = World::one(json!({ "token_auth": true }), Way::WebSocket).await;
    let out = world.control("bot1", "logout", json!({})).await;
    assert_eq!(out["status"], "ok", "{out}");
    world.is("bot1", "logged_out").await;
    let login = world.control("bot1", "login", json!({})).await;
    assert_eq!(login["result"]["self"]["user_id"], "bot-1", "{login}");
    world.is("bot1", "online").await;
    let requests = world.server.record(&["request"]).await;
    assert_eq!(
        requests
            .iter()
            .filter(|it| it["path"] == "/user/token")
            .count(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn oddities_of_newer_servers_are_taken() {
    for way in [Way::WebSocket, Way::Tcp] {
        let world = World::one(json!({ "chunk_bytes": 7 }), way).await;
        world
            .server
            .act("fault", json!({ "on": "send", "do": "trailing" }))
            .await;
        world
            .server
            .act("fault", json!({ "on": "recv", "do": "unknown" }))
            .await;
        world
            .server
            .act(
                "fault",
                json!({ "on": "recv", "do": "bad_key", "after": 1 }),
            )
            .await;
        let sent = world
            .request(
                "bot1",
                "message.send",
                crate::world::say("k", "1-alice", "x"),
            )
            .await;
        assert_eq!(sent["status"], "ok", "{sent}");
        // One has a wrong key: dropped, never acknowledged, and fetched when the next one shows that it is missing.
        for text in ["a", "b", "c", "d"] {
            world.say("alice", 1, "bot-1", text).await;
        }
        world.hears("bot1", &["a", "b", "c", "d"]).await;
        let push = json!({ "uid": "bot-1", "packets": [{ "packet": "event", "id": "e", "type": "stream.delta",
            "timestamp_ms": 0, "data": "{\"client_msg_no\":\"x\"}" }] });
        world.server.act("push", push).await;
        let notice = world.event("notice.received").await;
        assert_eq!(
            notice["data"]["notice"]["native_type"],
            "event.stream.delta"
        );
    }
}
