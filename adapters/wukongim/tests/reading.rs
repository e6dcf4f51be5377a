//! Reading messages and conversations, and control of the account.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::http::{Api, json as answer};
use common::{Server, account, code, online, record, run, say, with_api};
use im_bridge_sdk::test::Command;
use serde_json::{Value, json};

#[test]
fn history_is_paged_both_ways() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/channel/messagesync" => {
            let body = &request.body;
            let limit = body["limit"].as_u64().unwrap();
            let start = body["start_message_seq"].as_u64().unwrap();
            let numbers: Vec<u64> = match (body["pull_mode"].as_u64().unwrap(), start) {
                (1, start) => (start..=9).take(usize::try_from(limit).unwrap()).collect(),
                (_, 0) => (10 - limit..=9).collect(),
                (_, start) => (start.saturating_sub(limit - 1).max(1)..=start).collect(),
            };
            let messages: Vec<Value> = numbers
                .iter()
                .map(|seq| record(*seq, &format!("m{seq}")))
                .collect();
            answer(
                200,
                json!({ "more": u8::from(numbers.len() as u64 == limit), "messages": messages }),
            )
        }
        _ => answer(200, json!([])),
    });
    let (host, _conn) = online(&server, account(with_api(&server, &api)));
    let list = |more: Value| {
        let mut params = json!({ "channel_id": "2-team", "limit": 4 });
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let done = run(
            &host,
            Command::new("message.list")
                .channel("2-team")
                .params(params),
        );
        let json = done.json();
        let all = json["messages"]
            .as_array()
            .unwrap_or_else(|| panic!("{json}"));
        let texts: Vec<String> = all
            .iter()
            .map(|one| one["alt_text"].as_str().unwrap().to_owned())
            .collect();
        (texts.join(" "), json["next_cursor"].clone())
    };
    let (page, cursor) = list(json!({}));
    assert_eq!(page, "m6 m7 m8 m9");
    let (page, cursor) = list(json!({ "cursor": cursor }));
    assert_eq!(page, "m2 m3 m4 m5");
    let (page, cursor) = list(json!({ "cursor": cursor }));
    assert_eq!((page.as_str(), cursor), ("m1", Value::Null));
    let (page, cursor) = list(json!({ "after": "00000000000000000004" }));
    assert_eq!(page, "m5 m6 m7 m8");
    let (page, cursor) = list(json!({ "cursor": cursor }));
    assert_eq!((page.as_str(), cursor), ("m9", Value::Null));
    host.finish();
}

#[test]
fn one_message_conversations_and_unread_counts_are_read() {
    let server = Server::new();
    let is_down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = std::sync::Arc::clone(&is_down);
    let api = Api::new(move |request| match request.path.as_str() {
        _ if switch.load(std::sync::atomic::Ordering::SeqCst) => answer(500, json!({})),
        "/conversation/sync" => answer(
            200,
            json!([
                { "channel_id": "team", "channel_type": 2, "unread": 2, "timestamp": 1_760_000_000, "last_msg_seq": 2 },
                { "channel_id": "bob", "channel_type": 1, "unread": 1, "timestamp": 1_760_000_001, "last_msg_seq": 9 },
                { "channel_id": "quiet", "channel_type": 2, "unread": -1, "timestamp": 1, "last_msg_seq": 1 },
                { "channel_id": "x____cmd", "channel_type": 2, "unread": 5, "timestamp": 1, "last_msg_seq": 1 },
            ]),
        ),
        "/messages" if request.body["message_ids"] == json!([9_000_000_000_000_000_002_i64]) => {
            answer(200, json!({ "messages": [record(2, "two")] }))
        }
        "/messages" => answer(200, json!({ "messages": [] })),
        "/message" => answer(200, json!({ "status": 404 })),
        _ => answer(200, json!({ "more": 0, "messages": [] })),
    });
    let (host, _conn) = online(&server, account(with_api(&server, &api)));
    let get = |params| run(&host, Command::new("message.get").params(params));
    let found = get(json!({ "channel_id": "2-team", "message_id": "9000000000000000002" })).json();
    assert_eq!(found["message"]["alt_text"], "two");
    assert_eq!(found["message"]["sender"]["id"], "alice");
    let missing = get(json!({ "channel_id": "2-team", "message_id": "5" }));
    assert_eq!(code(&missing), "message_not_found");
    assert_eq!(
        code(&get(json!({ "message_id": "5" }))),
        "message_not_found"
    );
    let list = run(
        &host,
        Command::new("channel.list").params(json!({ "limit": 1 })),
    )
    .json();
    assert_eq!(list["channels"][0]["id"], "1-bob");
    assert_eq!(list["next_cursor"], "1");
    let unread = |params| run(&host, Command::new("unread.get").params(params)).json();
    let all = json!({ "total": 3, "channels": { "1-bob": 1, "2-team": 2 }, "stale": false });
    assert_eq!(unread(json!({})), all);
    assert_eq!(
        unread(json!({ "channel_id": "2-team" })),
        json!({ "total": 2, "stale": false })
    );
    is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(unread(json!({}))["stale"], true);
    assert_eq!(unread(json!({}))["total"], 3);
    host.finish();
}

#[test]
fn a_server_that_finds_messages_inside_a_channel_only_is_told_apart() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/message" => answer(400, json!({ "msg": "channel_id", "status": 400 })),
        _ => answer(200, json!([])),
    });
    let (host, _conn) = online(&server, account(with_api(&server, &api)));
    let done = run(
        &host,
        Command::new("message.get").params(json!({ "message_id": "5" })),
    );
    assert_eq!(code(&done), "bad_param");
    assert_eq!(done.json()["path"], "/params/channel_id");
    host.finish();
}

#[test]
fn health_and_info_are_the_providers() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/health" => answer(200, json!({ "status": "ok" })),
        "/varz" => answer(
            200,
            json!({ "version": "v2.2.5", "uptime": "1h2m3s", "connections": 4, "mem": 1 }),
        ),
        _ => answer(200, json!([])),
    });
    let (host, _conn) = online(&server, account(with_api(&server, &api)));
    let health = run(&host, Command::new("account.health")).json();
    assert_eq!(
        health,
        json!({ "healthy": true, "state": "online", "detail": { "native": { "status": "ok" } } })
    );
    let info = run(&host, Command::new("account.info")).json();
    assert_eq!(info["provider"]["version"], "v2.2.5");
    assert_eq!(
        (
            &info["provider"]["uptime_s"],
            &info["provider"]["connections"]
        ),
        (&json!(3723), &json!(4))
    );
    assert_eq!(info["provider"]["native"]["mem"], 1);
    host.finish();
}

#[test]
fn a_sync_brings_what_was_missed_and_a_replay_what_is_asked() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/conversation/sync" => answer(
            200,
            json!([{ "channel_id": "team", "channel_type": 2, "timestamp": 1_760_003_600, "last_msg_seq": 3 }]),
        ),
        _ if request.body["channel_id"] == "____system" => answer(200, json!([])),
        _ => {
            let start = request.body["start_message_seq"].as_u64().unwrap();
            let messages: Vec<Value> = (start..=3)
                .map(|seq| record(seq, &format!("m{seq}")))
                .collect();
            answer(200, json!({ "more": 0, "messages": messages }))
        }
    });
    let store = im_bridge_sdk::test::KvStore::default();
    store.put("cursor/since", br#"{"at_ms":1760000000000}"#);
    store.put("cursor/ch-00", br#"{"2-team":3}"#);
    let (host, _conn) = online(&server, account(with_api(&server, &api)).kv(&store));
    let synced = run(&host, Command::new("account.sync")).json();
    assert_eq!(synced["count"], 0);
    let replayed = run(
        &host,
        Command::new("account.sync")
            .params(json!({ "channel_id": "2-team", "from": "00000000000000000002" })),
    );
    assert_eq!(
        replayed.json(),
        json!({ "count": 2, "from": "00000000000000000002", "to": "00000000000000000003" })
    );
    let events = common::wait_told(&host, &["m2", "m3"]);
    assert!(
        events
            .iter()
            .all(|event| event.delivery == im_bridge_sdk::test::Delivery::REPLAY)
    );
    host.finish();
}

#[test]
fn unknown_channels_and_verbs_are_refused_before_anything_is_asked() {
    let server = Server::new();
    let (host, _conn) = online(&server, account(server.config()));
    assert_eq!(code(&run(&host, say("team", "x"))), "channel_not_found");
    assert_eq!(
        code(&run(&host, Command::new("account.refresh_token"))),
        "not_implemented"
    );
    let group = Command::new("channel.create").params(json!({ "kind": "group", "member_ids": [] }));
    assert_eq!(code(&run(&host, group)), "bad_param");
    host.finish();
}
