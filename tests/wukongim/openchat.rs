//! OpenChat in front of the server: as its page says, and as it is.

use crate::world::{World, config, files, say, simulator};
use im_bridge_test_harness::{Bridge, Nats, eventually};
use serde_json::{Value, json};

/// An account that knows OpenChat only; receiving goes over the connection that OpenChat names.
async fn world(openchat: Value, more: Value) -> World {
    let (nats, simulator) = (Nats::start(), simulator(&json!({ "openchat": openchat })));
    let server = simulator.control();
    let tokens = server.act("openchat/token", json!({ "uid": "bot" })).await;
    let mut account = json!({
        "health_s": 0, "send_via": "http", "channels": { "2-team": true },
        "openchat": {
            "base_url": format!("{}/api/v1/im", simulator.address("openchat")),
            "access_token": { "env": "OC_ACCESS" }, "refresh_token": { "env": "OC_REFRESH" },
        },
    });
    account
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let files = files(&config(nats.url(), &json!({ "bot1": account })));
    let text = |of: &str| tokens[of].as_str().unwrap().to_owned();
    let (access, refresh) = (text("token"), text("refresh_token"));
    let variables = [
        ("OC_ACCESS", access.as_str()),
        ("OC_REFRESH", refresh.as_str()),
    ];
    let bridge = Bridge::start_with(&files, "a", &variables);
    let client = async_nats::connect(nats.url()).await.unwrap();
    let world = World {
        server,
        nats,
        _simulator: simulator,
        bridge,
        client,
    };
    world.is("bot1", "online").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn as_its_page_says_everything_works() {
    let world = world(json!({ "profile": "seed" }), json!({})).await;
    let begun = world
        .recorded("session.begun", |it| it["uid"] == "bot")
        .await;
    assert_eq!(begun["device_flag"], 1);
    world.group("bot1", "team", &["bot", "alice"]).await;
    let sent = world
        .request("bot1", "message.send", say("oc-1", "2-team", "one"))
        .await;
    assert!(
        ["ok", "accepted"].contains(&sent["status"].as_str().unwrap()),
        "{sent}"
    );
    let echo = world.event("message.created").await;
    assert_eq!(
        (&echo["origin"], &echo["clientref"]),
        (&json!("bridge"), &json!("oc-1"))
    );
    world.say("alice", 2, "team", "two").await;
    world.hears("bot1", &["one", "two"]).await;
    let list = world
        .read(
            "bot1",
            "message.list",
            json!({ "channel_id": "2-team", "after": "00000000000000000000" }),
        )
        .await;
    let messages = list["result"]["messages"]
        .as_array()
        .unwrap_or_else(|| panic!("{list}"));
    assert_eq!(messages.len(), 2, "{list}");
    assert_eq!(messages[1]["alt_text"], "two");
    let added = world
        .command(
            "bot1",
            "member.add",
            json!({ "channel_id": "2-team", "user_ids": ["carol"] }),
        )
        .await;
    assert_eq!(added["result"]["added"], json!(["carol"]), "{added}");
    let removed = world
        .command(
            "bot1",
            "member.remove",
            json!({ "channel_id": "2-team", "user_ids": ["carol"] }),
        )
        .await;
    assert_eq!(removed["result"]["removed"], json!(["carol"]), "{removed}");
    let health = world.control("bot1", "health", json!({})).await;
    assert_eq!(health["result"]["healthy"], true, "{health}");
    let info = world.control("bot1", "info", json!({})).await;
    assert!(
        info["result"]["provider"]["config"]["wsUrl"].is_string(),
        "{info}"
    );
    assert!(info["result"]["provider"]["uptime_s"].is_u64(), "{info}");
    let capabilities = &info["result"]["capabilities"];
    assert_eq!(capabilities["guarantees"]["catch_up"], "none");
    assert_eq!(capabilities["commands"]["message.list"], 1);
    assert!(
        capabilities["commands"].get("message.get").is_none(),
        "{capabilities}"
    );
    let deleted = world
        .command("bot1", "channel.delete", json!({ "channel_id": "2-team" }))
        .await;
    assert_eq!(deleted["status"], "ok", "{deleted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_it_is_what_cannot_work_is_told() {
    let world = world(json!({ "profile": "observed" }), json!({})).await;
    let create = json!({ "kind": "group", "id": "2-team", "member_ids": ["bot"] });
    for (command, params) in [
        ("channel.create", create),
        (
            "member.add",
            json!({ "channel_id": "2-team", "user_ids": ["carol"] }),
        ),
        (
            "member.remove",
            json!({ "channel_id": "2-team", "user_ids": ["carol"] }),
        ),
    ] {
        let refused = world.command("bot1", command, params).await;
        assert_eq!(
            refused["error"]["code"], "provider_error",
            "{command}: {refused}"
        );
        assert!(
            refused["error"]["hint"]
                .as_str()
                .unwrap()
                .contains("native.api_url")
        );
    }
    let list = world
        .read("bot1", "message.list", json!({ "channel_id": "2-team" }))
        .await;
    assert_eq!(list["error"]["code"], "provider_error", "{list}");
    // Sending works; the number of the message is rounded, so it is not told.
    let sent = world
        .request("bot1", "message.send", say("oc-1", "1-alice", "one"))
        .await;
    assert_eq!(sent["status"], "accepted", "{sent}");
    let echo = world.event("message.created").await;
    assert_eq!(
        (&echo["origin"], &echo["clientref"]),
        (&json!("bridge"), &json!("oc-1"))
    );
    // A gap cannot be filled: it is told.
    let withhold = json!({ "on": "recv", "do": "withhold", "uid": "bot" });
    world.server.act("fault", withhold).await;
    world.say("alice", 1, "bot", "lost").await;
    world.say("alice", 1, "bot", "heard").await;
    world.hears("bot1", &["one", "heard"]).await;
    let gap = world.event("sync.gap").await;
    assert_eq!(gap["data"]["gap"]["lost_estimate"], 1, "{gap}");
    let health = world.control("bot1", "health", json!({})).await;
    assert_eq!(
        health["result"]["detail"]["catch_up"], "unavailable",
        "{health}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn as_it_is_the_servers_own_api_makes_up_for_it() {
    let simulator = simulator(
        &json!({ "openchat": { "profile": "observed", "token_fails": true }, "token_auth": true }),
    );
    let nats = Nats::start();
    let server = simulator.control();
    let tokens = server.act("openchat/token", json!({ "uid": "bot" })).await;
    let account = json!({
        "health_s": 0, "native": { "api_url": simulator.address("http") },
        "openchat": {
            "base_url": format!("{}/api/v1/im", simulator.address("openchat")),
            "access_token": { "env": "OC_ACCESS" },
        },
    });
    let files = files(&config(nats.url(), &json!({ "bot1": account })));
    let variables = [("OC_ACCESS", tokens["token"].as_str().unwrap())];
    let bridge = Bridge::start_with(&files, "a", &variables);
    let client = async_nats::connect(nats.url()).await.unwrap();
    let world = World {
        server,
        nats,
        _simulator: simulator,
        bridge,
        client,
    };
    world.is("bot1", "online").await;
    world.group("bot1", "team", &["bot", "alice"]).await;
    world.say("alice", 2, "team", "one").await;
    world.hears("bot1", &["one"]).await;
    let list = world
        .read("bot1", "message.list", json!({ "channel_id": "2-team" }))
        .await;
    assert_eq!(list["result"]["messages"][0]["alt_text"], "one", "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_ran_out_is_renewed_in_mid_session() {
    let world = world(json!({ "profile": "seed" }), json!({})).await;
    world.server.act("openchat/expire", json!({})).await;
    let sent = world
        .request("bot1", "message.send", say("oc-1", "1-alice", "one"))
        .await;
    assert!(
        ["ok", "accepted"].contains(&sent["status"].as_str().unwrap()),
        "{sent}"
    );
    let sends = world.server.record(&["send"]).await;
    assert_eq!(sends.len(), 1, "renewed and sent once: {sends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_delays_a_durable_command_and_loses_nothing() {
    let world = world(json!({ "profile": "seed" }), json!({})).await;
    let fault = json!({ "on": "http", "do": "refuse", "port": "openchat", "path": "/message/send", "status": 429,
        "headers": { "Retry-After-login": "1" }, "effect": false });
    world.server.act("fault", fault).await;
    crate::world::publish(
        &world.client,
        "bot1",
        "message.send",
        &say("oc-1", "1-alice", "one"),
    )
    .await;
    eventually("it was sent", || async {
        let sends = world.server.record(&["send"]).await;
        (sends.len() == 1).then_some(())
    })
    .await;
    world.hears("bot1", &["one"]).await;
}
