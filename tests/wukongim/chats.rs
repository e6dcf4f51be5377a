//! People and groups, both ways, and every command.

use crate::world::{Way, World, account, say};
use im_bridge_test_harness::eventually;
use serde_json::{Value, json};

const WAYS: [Way; 4] = [Way::WebSocket, Way::Tcp, Way::JsonRpc, Way::JsonRpcTcp];

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_talk_to_each_other_in_every_form() {
    for way in WAYS {
        let world = World::new(json!({}), |simulator| {
            json!({
                "ann": account(simulator, "ann", way),
                "ben": account(simulator, "ben", way),
            })
        })
        .await;
        let sent = world
            .request("ann", "message.send", say("hi-1", "1-ben", "hello ben"))
            .await;
        assert_eq!(sent["status"], "ok", "{way:?}: {sent}");
        world.hears("ben", &["hello ben"]).await;
        let answer = world
            .request("ben", "message.send", say("hi-2", "1-ann", "hello ann"))
            .await;
        assert_eq!(answer["status"], "ok", "{way:?}: {answer}");
        world.hears("ann", &["hello ann"]).await;
        let events = world.events().await;
        let heard = events
            .iter()
            .find(|event| event["account"] == "ben")
            .unwrap();
        assert_eq!(heard["subject"], "1-ann");
        assert_eq!(heard["origin"], "remote");
        assert_eq!(heard["data"]["actor"]["id"], "ann");
        assert_eq!(
            heard["data"]["message"]["id"],
            sent["result"]["message"]["id"]
        );
        assert_eq!(heard["orderkey"], sent["result"]["message"]["orderkey"]);
        assert_eq!(heard["data"]["ext"]["wukongim"]["client_msg_no"], "hi-1");
        world.is_acknowledged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_made_filled_and_emptied() {
    let world = World::one(json!({}), Way::WebSocket).await;
    world.group("bot1", "team", &["bot-1", "alice"]).await;
    world.say("alice", 2, "team", "one").await;
    world.hears("bot1", &["one"]).await;
    let refused = world.say("carol", 2, "team", "not in").await;
    assert_eq!(refused["reason"], 3);
    let added = world
        .command(
            "bot1",
            "member.add",
            json!({ "channel_id": "2-team", "user_ids": ["carol", "dave"] }),
        )
        .await;
    assert_eq!(added["result"]["added"], json!(["carol", "dave"]));
    world.say("carol", 2, "team", "in").await;
    world.hears("bot1", &["one", "in"]).await;
    let removed = world
        .command(
            "bot1",
            "member.remove",
            json!({ "channel_id": "2-team", "user_ids": ["carol"] }),
        )
        .await;
    assert_eq!(removed["result"]["removed"], json!(["carol"]));
    assert_eq!(world.say("carol", 2, "team", "out").await["reason"], 3);
    let deleted = world
        .command("bot1", "channel.delete", json!({ "channel_id": "2-team" }))
        .await;
    assert_eq!(deleted["status"], "ok", "{deleted}");
    let gone = world
        .request("bot1", "message.send", say("k-gone", "2-team", "x"))
        .await;
    assert_eq!(gone["error"]["code"], "gone", "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_a_result_for_each_message() {
    let world = World::one(json!({}), Way::Tcp).await;
    world.group("bot1", "team", &["bot-1", "alice"]).await;
    let item = |to: &str, text: &str| {
        let segments = json!([{ "type": "text", "data": { "text": text } }]);
        json!({ "to": { "channel_id": to }, "message": { "segments": segments } })
    };
    let items = json!([
        item("2-team", "a"),
        item("2-nowhere", "b"),
        item("1-alice", "c")
    ]);
    let batch = json!({ "idempotency_key": "batch-1", "params": { "items": items } });
    let done = world.request("bot1", "message.send_batch", batch).await;
    assert_eq!(done["status"], "ok", "{done}");
    let items = done["result"]["items"].as_array().unwrap();
    let of = |index: usize| items[index]["status"].as_str().unwrap();
    assert_eq!([of(0), of(1), of(2)], ["ok", "error", "ok"], "{done}");
    assert_eq!(items[1]["error"]["code"], "not_member");
    let sends = world.server.record(&["send"]).await;
    let numbers: Vec<&str> = sends
        .iter()
        .map(|send| send["client_msg_no"].as_str().unwrap())
        .collect();
    assert_eq!(numbers.len(), 3);
    assert!(
        numbers.contains(&"batch-1-0") && numbers.contains(&"batch-1-2"),
        "{numbers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_addressed_without_a_channel() {
    let world = World::one(json!({}), Way::WebSocket).await;
    let segments = json!([{ "type": "text", "data": { "text": "hi" } }]);
    let data = json!({ "idempotency_key": "k", "params": { "to": { "user_id": "alice" }, "message": { "segments": segments } } });
    let sent = world.request("bot1", "message.send", data).await;
    assert_eq!(sent["result"]["message"]["channel_id"], "1-alice", "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_conversations_and_unread_counts_are_read() {
    let world = World::one(json!({}), Way::WebSocket).await;
    world.group("bot1", "team", &["bot-1", "alice"]).await;
    for text in ["one", "two", "three"] {
        world.say("alice", 2, "team", text).await;
    }
    // Two channels have no order between them.
    world.hears("bot1", &["one", "two", "three"]).await;
    world.say("alice", 1, "bot-1", "psst").await;
    world.hears("bot1", &["one", "two", "three", "psst"]).await;
    let list = |params| world.read("bot1", "message.list", params);
    let page = list(json!({ "channel_id": "2-team", "limit": 2 })).await;
    let texts = |page: &Value| -> Vec<String> {
        let all = page["result"]["messages"]
            .as_array()
            .unwrap_or_else(|| panic!("{page}"))
            .iter();
        all.map(|one| one["alt_text"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(texts(&page), ["two", "three"]);
    let before =
        list(json!({ "channel_id": "2-team", "cursor": page["result"]["next_cursor"] })).await;
    assert_eq!(texts(&before), ["one"]);
    let after = list(json!({ "channel_id": "2-team", "after": "00000000000000000001" })).await;
    assert_eq!(texts(&after), ["two", "three"]);
    let id = &page["result"]["messages"][0]["id"];
    let get = |params| world.read("bot1", "message.get", params);
    let one = get(json!({ "message_id": id, "channel_id": "2-team" })).await;
    assert_eq!(one["result"]["message"]["alt_text"], "two", "{one}");
    let nowhere = get(json!({ "message_id": id })).await;
    assert_eq!(nowhere["error"]["path"], "/params/channel_id", "{nowhere}");
    let person = list(json!({ "channel_id": "1-alice" })).await;
    assert_eq!(person["result"]["messages"][0]["channel_id"], "1-alice");
    let channels = world.read("bot1", "channel.list", json!({})).await;
    let ids: Vec<&Value> = channels["result"]["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert!(
        ids.contains(&&json!("2-team")) && ids.contains(&&json!("1-alice")),
        "{channels}"
    );
    let unread = world.read("bot1", "unread.get", json!({})).await;
    assert_eq!(
        (&unread["result"]["total"], &unread["result"]["stale"]),
        (&json!(4), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_kind_go_there_and_back() {
    let world = World::new(json!({}), |simulator| {
        json!({
            "ann": account(simulator, "ann", Way::WebSocket),
            "ben": account(simulator, "ben", Way::Tcp),
        })
    })
    .await;
    let messages = [
        json!([{ "type": "image", "data": { "media": { "url": "https://x/a.png", "width": 1, "height": 2 } } }]),
        json!([{ "type": "voice", "data": { "media": { "url": "https://x/a.amr" }, "duration_ms": 2000 } }]),
        json!([{ "type": "location", "data": { "latitude": 31.5, "longitude": 121.25, "title": "Bund" } }]),
        json!([{ "type": "contact", "data": { "user_id": "carol", "name": "Carol" } }]),
        json!([{ "type": "opaque", "data": { "native_type": "4711", "encoding": "json", "native": { "type": 4711, "x": 9007199254740993_i64 } } }]),
        json!([{ "type": "mention", "data": { "user_id": "ben" } }, { "type": "text", "data": { "text": " 你好 👋" } }]),
    ];
    for (index, segments) in messages.iter().enumerate() {
        let params =
            json!({ "to": { "channel_id": "1-ben" }, "message": { "segments": segments } });
        let data = json!({ "idempotency_key": format!("body-{index}"), "params": params });
        let sent = world.request("ann", "message.send", data).await;
        assert_eq!(sent["status"], "ok", "{sent}");
    }
    let events = eventually("all of them", || async {
        let mut events = world.events().await;
        events.retain(|event| event["account"] == "ben");
        (events.len() == messages.len()).then_some(events)
    })
    .await;
    for (event, sent) in events.iter().zip(&messages) {
        assert_eq!(&event["data"]["message"]["segments"], sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_an_application_are_notices_and_no_messages() {
    let world = World::one(json!({}), Way::WebSocket).await;
    let body = json!({ "from": "alice", "channel_id": "bot-1", "channel_type": 1, "no_persist": true,
        "sync_once": true, "payload": { "type": 99, "cmd": "typing", "param": {} } });
    world.server.act("send", body).await;
    let notice = world.event("notice.received").await;
    assert_eq!(notice["data"]["notice"]["native_type"], "typing");
    assert_eq!(notice["subject"], "1-alice");
    assert!(world.texts("bot1").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn by_http_the_echo_carries_the_reference_and_a_loss_is_told() {
    let world = World::new(json!({}), |simulator| {
        let mut account = account(simulator, "bot-1", Way::WebSocket);
        account["send_via"] = "http".into();
        json!({ "bot1": account })
    })
    .await;
    world.group("bot1", "team", &["bot-1", "alice"]).await;
    let sent = world
        .request("bot1", "message.send", say("by-http", "2-team", "x"))
        .await;
    assert_eq!(sent["status"], "accepted", "{sent}");
    let echo = world.event("message.created").await;
    assert_eq!(
        (&echo["origin"], &echo["clientref"]),
        (&json!("bridge"), &json!("by-http"))
    );
    assert_eq!(
        echo["data"]["message"]["id"],
        sent["result"]["message"]["id"]
    );
    // The server answers 200 for a channel that does not exist, and stores nothing.
    let lost = world
        .request("bot1", "message.send", say("lost", "2-nowhere", "x"))
        .await;
    assert_eq!(lost["status"], "accepted", "{lost}");
    let failed = world.event("message.failed").await;
    assert_eq!(
        (&failed["clientref"], &failed["subject"]),
        (&json!("lost"), &json!("2-nowhere"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_info_are_asked_of_the_server() {
    let world = World::one(json!({}), Way::WebSocket).await;
    let health = world.control("bot1", "health", json!({})).await;
    assert_eq!(health["result"]["healthy"], true, "{health}");
    let info = world.control("bot1", "info", json!({})).await;
    assert!(
        info["result"]["provider"]["native"]["uptime"].is_string(),
        "{info}"
    );
    assert!(info["result"]["provider"]["uptime_s"].is_u64(), "{info}");
    let capabilities = &info["result"]["capabilities"];
    assert_eq!(capabilities["guarantees"]["verify_after_timeout"], true);
    assert_eq!(capabilities["commands"]["message.get"], 2);
}
