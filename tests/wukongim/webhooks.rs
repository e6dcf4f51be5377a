//! HTTP pushes of the server in place of a connection.

use crate::world::{World, config, files, simulator};
use im_bridge_test_harness::{Bridge, Nats, eventually};
use serde_json::json;

async fn world() -> World {
    let (nats, simulator) = (Nats::start(), simulator(&json!({})));
    let account = json!({
        "uid": "bot-1", "receive": "webhook", "health_s": 0, "native": { "api_url": simulator.address("http") },
        "webhook": { "secret": { "env": "WEBHOOK_SECRET" } },
    });
    let mut config = config(nats.url(), &json!({ "bot1": account }));
    config["plugins"]["webhook"] = json!({ "listen": "127.0.0.1:0" });
    let files = files(&config);
    let bridge = Bridge::start_with(&files, "a", &[("WEBHOOK_SECRET", "s3cret")]);
    let client = async_nats::connect(nats.url()).await.unwrap();
    let world = World {
        server: simulator.control(),
        nats,
        _simulator: simulator,
        bridge,
        client,
    };
    world.is("bot1", "online").await;
    let address = eventually("it says where it listens", || async {
        let lines = world.bridge.log();
        let mut told = lines.iter().filter_map(|line| line["webhooks"].as_str());
        told.next().map(str::to_owned)
    })
    .await;
    let url = format!("http://{address}/hooks/wukongim/bot1/s3cret");
    let events = json!(["msg.notify", "msg.offline", "user.onlinestatus"]);
    let settings = json!({ "webhook_url": url, "webhook_events": events });
    world.server.act("settings", settings).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_stored_once_and_then_answered() {
    let world = world().await;
    world.group("bot1", "team", &["bot-1", "alice"]).await;
    world.say("alice", 2, "team", "in the group").await;
    world.say("alice", 1, "bot-1", "to the bot").await;
    world.say("alice", 1, "carol", "not ours").await;
    eventually("both are stored", || async {
        let mut texts = world.texts("bot1").await;
        texts.sort();
        (texts == ["in the group", "to the bot"]).then_some(())
    })
    .await;
    world
        .recorded("webhook", |it| {
            it["event"] == "msg.notify" && it["status"] == 200
        })
        .await;
    let sent = world
        .request(
            "bot1",
            "message.send",
            crate::world::say("hook-1", "2-team", "answer"),
        )
        .await;
    assert_eq!(sent["status"], "accepted", "{sent}");
    let echo = eventually("its echo", || async {
        let events = world.events().await;
        events.into_iter().find(|it| it["clientref"] == "hook-1")
    })
    .await;
    assert_eq!(echo["origin"], "bridge");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_stored_the_server_keeps_its_messages() {
    let mut world = world().await;
    world.nats.kill();
    world.say("alice", 1, "bot-1", "kept").await;
    // It is not answered 200 before it is stored, so the server says it again.
    world
        .recorded("webhook", |it| {
            it["event"] == "msg.notify" && it["status"] != 200
        })
        .await;
    world.nats.restart();
    world.client = async_nats::connect(world.nats.url()).await.unwrap();
    eventually("it is stored", || async {
        let texts = world.texts("bot1").await;
        (texts == ["kept"]).then_some(())
    })
    .await;
}
