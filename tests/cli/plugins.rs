//! What people want done about plugin files, asked of replicas that run.

use super::generated::fits;
use super::running::Running;
use im_bridge_test_harness::{Bridge, eventually, sim_with};
use serde_json::{Value, json};

const OWN: &str = env!("CARGO_PKG_VERSION");

async fn waits(bridge: &Bridge) {
    eventually("a newer version waits", || async {
        let held = bridge.status()["plugins"]["held"][0].clone();
        (held["code"] == "upgrade_waits").then_some(())
    })
    .await;
}

/// What each replica that was asked says, which fits its schema.
#[track_caller]
fn replicas(told: &Value) -> Vec<Value> {
    fits("plugin-order", told);
    told["replicas"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_upgrades_rolls_back_and_clears() {
    let running = Running::with(json!({}), false).await;
    let mut other = Bridge::start(&running.files, "b");
    let used = |bridge: &Bridge| bridge.status()["plugins"]["used"][0]["version"].clone();
    let newer = sim_with(&[(OWN, "0.1.1")]);
    running.files.drop_plugin("libsim.so", &newer);
    for bridge in [&running.bridge, &other] {
        waits(bridge).await;
    }

    let upgraded = running.run(&["plugin", "upgrade", "sim", "--json"]).done();
    let upgraded = replicas(&upgraded.json());
    assert_eq!(upgraded.len(), 2, "{upgraded:?}");
    assert_ne!(upgraded[0]["instance"], upgraded[1]["instance"]);
    for replica in &upgraded {
        assert_eq!(replica["state"], "loaded", "{replica}");
        assert_eq!(replica["version"], "0.1.1", "{replica}");
    }
    for bridge in [&running.bridge, &other] {
        assert_eq!(used(bridge), "0.1.1");
    }
    let again = running.run(&["plugin", "upgrade", "sim"]);
    again.failed(1, "bad_param");
    let why = ": no file of sim waits for an upgrade";
    assert_eq!(again.aside.matches(why).count(), 2, "{again:?}");
    let again = running.run(&["plugin", "upgrade", "sim", "--one-way", "--json"]);
    assert_eq!(again.code, 1, "{again:?}");
    for replica in replicas(&again.json()) {
        assert_eq!(replica["error"]["code"], "bad_param", "{replica}");
        assert!(replica["instance"].as_str().unwrap().len() > 1, "{replica}");
    }

    let back = running.run(&["plugin", "rollback", "sim"]).done();
    assert_eq!(
        back.data.matches("ok  adapter.rollback  ").count(),
        2,
        "{back:?}"
    );
    for bridge in [&running.bridge, &other] {
        assert_eq!(used(bridge), OWN);
    }

    running
        .run(&["plugin", "clear", "sim", "--sha256", "no"])
        .failed(1, "bad_param");
    let out = running.bridge.status()["plugins"]["out_of_use"][0].clone();
    let hash = out["sha256"].as_str().unwrap();
    running
        .run(&["plugin", "clear", "sim", "--sha256", hash])
        .done();
    assert_eq!(used(&running.bridge), "0.1.1");
    running.run(&["plugin", "rollback", "sim"]).done();
    running.run(&["plugin", "clear", "sim"]).done();
    running
        .run(&["plugin", "clear", "sim"])
        .failed(1, "bad_param");

    // Killed, it is listed for as long as its lease lasts.
    other.kill();
    let alone = running.run(&["plugin", "rollback", "sim", "--timeout", "2s"]);
    alone.failed(3, "bridge_silent");
    assert_eq!(alone.data.lines().count(), 1, "{alone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_replica_there_is_nobody_to_ask() {
    let mut running = Running::with(json!({}), false).await;
    running.bridge.kill();
    running
        .run(&["plugin", "rollback", "sim", "--timeout", "1s"])
        .failed(3, "bridge_silent");
}
