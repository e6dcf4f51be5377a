//! What operators tell an account.

use crate::world::{World, open, state};
use im_bridge_test_harness::eventually;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_logged_out_and_in_again() {
    let world = World::new(json!({ "demo": open(json!({})) })).await;
    let answer = world.control("demo", "logout", json!({})).await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
    state(&world.bridge, "demo", "logged_out").await;
    let health = world.control("demo", "health", json!({})).await;
    assert_eq!(health["data"]["result"]["healthy"], false, "{health}");
    let answer = world.control("demo", "login", json!({})).await;
    assert_eq!(
        answer["data"]["result"]["self"]["user_id"], "demo",
        "{answer}"
    );
    world.online("demo").await;
    let answer = world.control("demo", "reconnect", json!({})).await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
    world.online("demo").await;
    let reconnects = r#"im_bridge_account_reconnects_total{provider="sim",account="demo"}"#;
    eventually("the sessions are counted", || async {
        world
            .bridge
            .metric(reconnects)
            .filter(|count| *count >= 2.0)
    })
    .await;
    let health = world.control("demo", "health", json!({})).await;
    assert_eq!(health["data"]["result"]["healthy"], true, "{health}");
    let info = world.control("demo", "info", json!({})).await;
    assert_eq!(
        info["data"]["result"]["adapter"]["name"], "im-bridge-adapter-sim",
        "{info}"
    );
    assert_eq!(
        info["data"]["result"]["capabilities"]["commands"]["message.send"],
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_waits_for_its_answer() {
    let world = World::new(json!({ "demo": open(json!({})) })).await;
    world
        .order(
            "demo",
            "fault",
            json!({ "kind": "challenge", "fault": { "times": 1 } }),
        )
        .await;
    let _ = world.control("demo", "reconnect", json!({})).await;
    state(&world.bridge, "demo", "challenge_required").await;
    let account = world.bridge.account("sim/demo").unwrap();
    let kind = account["state"]["challenge"]["kind"].clone();
    assert!(kind.is_string(), "{account}");
    assert_eq!(account["state"]["action"], "answer_challenge");
    let answer = world
        .control(
            "demo",
            "answer_challenge",
            json!({ "kind": kind, "answer": "42" }),
        )
        .await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
    world.online("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_given_up_begins_again_when_asked() {
    let world = World::new(json!({ "demo": open(json!({})), "other": {} })).await;
    let faults = r#"im_bridge_plugin_faults_total{provider="sim",kind="panic"}"#;
    for times in 1..=3 {
        let panic = json!({ "at": "read", "panic": { "after": 0, "times": 1 } });
        world.order("demo", "panic", panic).await;
        let words = json!({ "chat": "lobby", "by": "alice", "text": "hi" });
        world.order_at_risk("demo", "say", words).await;
        eventually("the panic is counted", || async {
            world
                .bridge
                .metric(faults)
                .filter(|count| *count == f64::from(times))
        })
        .await;
        if times < 3 {
            world.online("demo").await;
        }
    }
    state(&world.bridge, "demo", "failed").await;
    let account = world.bridge.account("sim/demo").unwrap();
    assert_eq!(account["state"]["reason"], "adapter_faulty");
    let answer = world.control("demo", "reconnect", json!({})).await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
    world.online("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_tells_its_status_and_its_accounts() {
    let world = World::new(json!({ "demo": {} })).await;
    let status = crate::world::ask(&world.client, "im.v1.svc.status".to_owned(), &json!({})).await;
    assert_eq!(status["readiness"], "ok", "{status}");
    let accounts =
        crate::world::ask(&world.client, "im.v1.svc.accounts".to_owned(), &json!({})).await;
    assert_eq!(accounts["accounts"][0]["account"], "demo", "{accounts}");
}
