//! A configuration that changes while the bridge runs.

use crate::world::{World, config, message, open, state};
use im_bridge_test_harness::eventually;
use serde_json::{Value, json};

fn connected_at(world: &World, alias: &str) -> Value {
    let account = world.bridge.account(&format!("sim/{alias}")).unwrap();
    account["state"]["connection"]["connected_at"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_untouched_connections() {
    let world = World::new(json!({ "one": {}, "two": {}, "three": {} })).await;
    let before = connected_at(&world, "one");
    let two_before = connected_at(&world, "two");
    let accounts = json!({ "one": {}, "two": { "device": "other" }, "four": {} });
    world
        .bridge
        .files()
        .configure(&config(&world.nats, &accounts));
    world.bridge.hang_up();
    world.online("four").await;
    eventually("two is connected anew", || async {
        let now = connected_at(&world, "two");
        (now.is_string() && now != two_before).then_some(())
    })
    .await;
    world.online("two").await;
    eventually("three is gone", || async {
        world.bridge.account("sim/three").is_none().then_some(())
    })
    .await;
    assert_eq!(connected_at(&world, "one"), before);
    let applied = r#"im_bridge_config_reloads_total{outcome="applied"}"#;
    eventually("the reload is counted", || async {
        world.bridge.metric(applied).filter(|count| *count >= 1.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reload_changes_nothing() {
    let world = World::new(json!({ "one": {} })).await;
    let before = connected_at(&world, "one");
    world.bridge.files().configure(&config(
        &world.nats,
        &json!({ "one": { "devise": "x" }, "two": {} }),
    ));
    // Nobody asks for it: the change is seen.
    let refused = r#"im_bridge_config_reloads_total{outcome="refused"}"#;
    eventually("it is refused", || async {
        world.bridge.metric(refused).filter(|count| *count >= 1.0)
    })
    .await;
    eventually("the warning", || async {
        world
            .bridge
            .get("/readyz?verbose")
            .1
            .contains("config_unknown_key")
            .then_some(())
    })
    .await;
    assert_eq!(world.bridge.get("/readyz").0, 200);
    assert_eq!(connected_at(&world, "one"), before);
    assert!(world.bridge.account("sim/two").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_begins_its_account_anew() {
    let world = World::new(json!({ "demo": {} })).await;
    let token = world.bridge.files().write("token", "wrong\n");
    let accounts = json!({ "demo": { "token": { "file": token } } });
    world
        .bridge
        .files()
        .configure(&config(&world.nats, &accounts));
    world.bridge.hang_up();
    state(&world.bridge, "demo", "bad_credentials").await;
    // Seen by content, without a signal.
    world.bridge.files().write("token", "good\n");
    world.online("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_switched_off_and_on() {
    let world = World::new(json!({ "demo": open(json!({})), "other": {} })).await;
    let mut off = open(json!({}));
    off["bridge"]["enabled"] = json!(false);
    let switch = |account: &Value| {
        let accounts = json!({ "demo": account, "other": {} });
        world
            .bridge
            .files()
            .configure(&config(&world.nats, &accounts));
        world.bridge.hang_up();
    };
    switch(&off);
    eventually("it is stopped", || async {
        let state = world.bridge.state("sim/demo");
        state.is_none_or(|state| state == "stopped").then_some(())
    })
    .await;
    switch(&open(json!({})));
    world.online("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pace_and_other_permissions_hold_at_once_and_cost_no_connection() {
    let slow = json!({ "bridge": { "rate": { "per_s": 0.001, "burst": 2 } } });
    let world = World::new(json!({ "demo": slow })).await;
    let before = connected_at(&world, "demo");
    let ask = async |key: &str| {
        world
            .request("demo", "message.send", message(key, key))
            .await
    };
    let native = json!({ "idempotency_key": "n", "params": { "method": "sim.truth", "body": {} } });
    let refused = world.request("demo", "native.call", native.clone()).await;
    assert_eq!(refused["data"]["error"]["code"], "permission_denied");
    assert_eq!(ask("k1").await["data"]["status"], "ok");
    assert_eq!(ask("k2").await["data"]["error"]["code"], "rate_limited");
    // What waits for the former pace does not go on waiting for it.
    world.send("demo", &message("k3", "k3"), &[]).await;

    let accounts = json!({ "demo": open(json!({})) });
    world
        .bridge
        .files()
        .configure(&config(&world.nats, &accounts));
    world.bridge.hang_up();
    assert_eq!(world.result("k3").await["data"]["status"], "ok");
    assert_eq!(ask("k4").await["data"]["status"], "ok");
    let allowed = world.request("demo", "native.call", native).await;
    assert_ne!(allowed["data"]["error"]["code"], "permission_denied");
    assert_eq!(connected_at(&world, "demo"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_taken_out_and_put_back_goes_on_at_once() {
    let world = World::new(json!({ "demo": {}, "other": {} })).await;
    let configure = |accounts: Value| {
        let config = config(&world.nats, &accounts);
        world.bridge.files().configure(&config);
        world.bridge.hang_up();
    };
    for round in 0..3 {
        configure(json!({ "other": {} }));
        eventually("it is gone", || async {
            world.bridge.account("sim/demo").is_none().then_some(())
        })
        .await;
        let key = format!("k{round}");
        world.send("demo", &message(&key, &key), &[]).await;
        configure(json!({ "demo": {}, "other": {} }));
        world.online("demo").await;
        let began = std::time::Instant::now();
        assert_eq!(world.result(&key).await["data"]["status"], "ok");
        println!(
            "round {round}: answered {:?} after it was online",
            began.elapsed()
        );
        let asked = world
            .request("demo", "message.send", message(&format!("r{round}"), "x"))
            .await;
        assert_eq!(asked["data"]["status"], "ok", "{asked}");
    }
}
