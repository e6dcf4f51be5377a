//! Messages in and out.

use crate::world::{World, message, open, text};
use im_bridge_test_harness::{Simulator, eventually};
use serde_json::{Value, json};

async fn flows_both_ways(world: &World) {
    world
        .order(
            "demo",
            "say",
            json!({ "chat": "lobby", "by": "alice", "text": "hi" }),
        )
        .await;
    let event = eventually("the message is stored", || async {
        world
            .events()
            .await
            .into_iter()
            .find(|event| text(event) == "hi")
    })
    .await;
    assert_eq!(event["type"], "im-bridge.evt.message.created.v1");
    assert_eq!(event["subject"], "lobby");

    let answer = world
        .request("demo", "message.send", message("k1", "asked"))
        .await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");

    let data = message("k2", "stored").to_string();
    let context = async_nats::jetstream::new(world.client.clone());
    let published = context.publish("im.v1.cmd.sim.demo.message.send", data.into());
    published.await.unwrap().await.unwrap();
    let result = world.result("k2").await;
    assert_eq!(result["data"]["status"], "ok", "{result}");

    // What was sent comes back as an event that names its command.
    let echo = eventually("the echo is stored", || async {
        world
            .events()
            .await
            .into_iter()
            .find(|event| text(event) == "stored")
    })
    .await;
    assert_eq!(echo["origin"], "bridge");
    assert_eq!(echo["clientref"], result["data"]["client_ref"]);
    assert_eq!(echo["causationid"], result["data"]["command_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_flow_both_ways_with_the_provider_in_the_plugin() {
    let world = World::new(json!({ "demo": open(json!({})) })).await;
    flows_both_ways(&world).await;
    let metric = r#"im_bridge_commands_total{provider="sim",command="message.send",outcome="ok",class="none"}"#;
    assert_eq!(world.bridge.metric(metric), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_flow_both_ways_with_the_provider_outside() {
    let simulator = Simulator::start();
    let world = World::new(json!({ "demo": open(json!({ "url": simulator.url() })) })).await;
    flows_both_ways(&world).await;
    let summary: Value = world.order("demo", "summary", json!({})).await;
    assert!(
        summary["sends"]
            .as_object()
            .is_none_or(|sends| sends.values().all(|times| times == 1)),
        "{summary}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_capabilities_are_published() {
    let world = World::new(json!({ "demo": {} })).await;
    let state = eventually("online is published", || async {
        let state = world.document("IM_STATE", "sim.demo").await?;
        (state["data"]["state"] == "online").then_some(state)
    })
    .await;
    assert_eq!(state["type"], "im-bridge.state.v1");
    assert_eq!(state["data"]["self"]["user_id"], "demo");
    let owner = state["data"]["owner"]["instance"].as_str().unwrap();
    assert!(owner.starts_with("a-"), "{owner}");
    let can = eventually("capabilities are published", || async {
        world.document("IM_CAP", "sim.demo").await
    })
    .await;
    assert_eq!(can["data"]["commands"]["message.send"], 2);
    assert_eq!(can["data"]["revision"].as_str().unwrap().len(), 8);
}
