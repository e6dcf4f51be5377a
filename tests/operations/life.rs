//! Start and end.

use crate::world::{World, config, files, open, state, stored, text};
use im_bridge_test_harness::{Bridge, Nats, Simulator, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_nats_that_is_away_and_says_so_once() {
    let mut nats = Nats::start();
    nats.stop();
    let bridge = Bridge::start(&files(&config(&nats, &json!({ "demo": {} }))), "a");
    eventually("two tries", || async {
        (bridge.said("nats_unreachable") > 0).then_some(())
    })
    .await;
    assert_eq!(bridge.get("/livez").0, 200);
    assert_eq!(bridge.get("/readyz"), (503, "nats\n".to_owned()));
    nats.restart();
    state(&bridge, "demo", "online").await;
    assert_eq!(bridge.get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(bridge.said("nats_unreachable"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_adapter_fails_its_accounts_only() {
    let nats = Nats::start();
    let mut config = config(&nats, &json!({ "demo": {} }));
    config["accounts"]["acme"] = json!({ "shop": {} });
    let bridge = Bridge::start(&files(&config), "a");
    state(&bridge, "demo", "online").await;
    let shop = eventually("the other one is failed", || async {
        let shop = bridge.account("acme/shop")?;
        (shop["state"]["state"] == "failed").then_some(shop)
    })
    .await;
    assert_eq!(shop["state"]["reason"], "no_adapter");
    assert_eq!(bridge.get("/readyz").0, 200);
    eventually("the warning", || async {
        bridge
            .get("/readyz?verbose")
            .1
            .contains("acme/shop is failed")
            .then_some(())
    })
    .await;
}

/// Events that the provider said although they were stored.
const DUPLICATES: &str =
    r#"im_bridge_events_total{provider="sim",kind="message.created",outcome="duplicate"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_end_under_load_loses_nothing_and_repeats_nothing() {
    let simulator = Simulator::start();
    let account = json!({ "url": simulator.url(), "rate_per_s": 200.0, "world": "load" });
    let mut world = World::new(json!({ "demo": open(account) })).await;
    for round in 0..3 {
        let stored_before = world.events().await.len();
        eventually("events are stored", || async {
            (world.events().await.len() > stored_before + 50).then_some(())
        })
        .await;
        // The one before told the provider of everything that it stored.
        assert_eq!(world.bridge.metric(DUPLICATES), Some(0.0), "round {round}");
        world.bridge.terminate();
        let ended = world.bridge.ended(Duration::from_secs(10));
        assert_eq!(
            ended.and_then(|it| it.code()),
            Some(0),
            "round {round}: {:?}",
            world.bridge.log()
        );
        let files = std::sync::Arc::clone(world.bridge.files());
        world.bridge = Bridge::start(&files, "a");
        world.online("demo").await;
    }
    world.order("demo", "rate", json!({ "per_s": 0 })).await;
    let said = world.record("demo", "said").await;
    let said: BTreeSet<String> = said
        .iter()
        .filter_map(|entry| entry["post"].as_str().map(str::to_owned))
        .collect();
    assert!(said.len() > 150, "the provider said {}", said.len());
    let all = eventually("everything is stored", || async {
        let events = stored(&world.client, "IM_EVT").await;
        let kinds = events
            .iter()
            .filter(|event| event["type"] == "im-bridge.evt.message.created.v1");
        let posts: Vec<String> = kinds
            .filter_map(|event| event["data"]["message"]["id"].as_str().map(str::to_owned))
            .collect();
        let distinct: BTreeSet<String> = posts.iter().cloned().collect();
        said.is_subset(&distinct).then_some((posts, distinct))
    })
    .await;
    assert_eq!(all.0.len(), all.1.len(), "stored twice");
    assert_eq!(world.bridge.metric(DUPLICATES), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_one_account_leaves_the_other_alone() {
    let world = World::new(json!({ "one": open(json!({})), "two": open(json!({})) })).await;
    let since =
        world.bridge.account("sim/two").unwrap()["state"]["connection"]["connected_at"].clone();
    let panic = json!({ "at": "read", "panic": { "after": 0, "times": 1 } });
    world.order("one", "panic", panic).await;
    world
        .order_at_risk(
            "one",
            "say",
            json!({ "chat": "lobby", "by": "alice", "text": "into the panic" }),
        )
        .await;
    let faults = r#"im_bridge_plugin_faults_total{provider="sim",kind="panic"}"#;
    eventually("the panic is counted", || async {
        world.bridge.metric(faults)
    })
    .await;
    world.online("one").await;
    eventually("the message came all the same", || async {
        world
            .events()
            .await
            .iter()
            .any(|event| text(event) == "into the panic")
            .then_some(())
    })
    .await;
    assert_eq!(
        world.bridge.account("sim/two").unwrap()["state"]["connection"]["connected_at"],
        since
    );
}
