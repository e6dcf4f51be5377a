//! The server's own HTTP API: channels and who may write, history in pages, look-ups, conversations, commands.

use crate::peer::{Peer, connect, group, http, native, started};
use im_bridge_test_harness::Simulator;
use serde_json::{Value, json};

/// {"content":"hello","type":1}
const HELLO: &str = "eyJjb250ZW50IjoiaGVsbG8iLCJ0eXBlIjoxfQ==";

async fn status(simulator: &Simulator, path: &str, body: &Value) -> u16 {
    let address = simulator.address("http");
    http(address, "POST", path, "", Some(body)).await.0
}

fn seqs(answer: &Value) -> Vec<u64> {
    let messages = answer["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|it| it["message_seq"].as_u64().unwrap())
        .collect()
}

async fn page(
    simulator: &Simulator,
    start: u64,
    end: u64,
    limit: u64,
    mode: u8,
) -> (Vec<u64>, Value) {
    let body = json!({
        "login_uid": "alice", "channel_id": "bob", "channel_type": 1, "start_message_seq": start,
        "end_message_seq": end, "limit": limit, "pull_mode": mode,
    });
    let answer = native(simulator, "/channel/messagesync", &body).await;
    (seqs(&answer), answer["more"].clone())
}

#[tokio::test]
async fn history_comes_in_pages_with_gaps_where_they_are() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    let said =
        json!({ "from": "alice", "channel_id": "bob", "channel_type": 1, "text": "a", "times": 3 });
    control.act("send", said.clone()).await;
    let gap = json!({ "uid": "alice", "channel_id": "bob", "channel_type": 1, "count": 2 });
    assert_eq!(control.act("gap", gap).await["last_seq"], 5);
    control.act("send", said).await;
    let (all, more) = page(&simulator, 0, 0, 10, 1).await;
    assert_eq!((all, more), (vec![1, 2, 3, 6, 7, 8], json!(0)));
    for (start, end, limit, mode, wanted, more) in [
        (0, 0, 2, 0, vec![7, 8], 1),
        (1, 0, 2, 1, vec![1, 2], 1),
        (3, 0, 4, 1, vec![3, 6, 7, 8], 1),
        (9, 0, 4, 1, vec![], 0),
        (2, 7, 9, 1, vec![2, 3, 6], 0),
        (7, 2, 9, 0, vec![3, 6, 7], 0),
        (7, 0, 2, 0, vec![6, 7], 1),
        (2, 7, 9, 0, vec![], 0),
        (1, 0, 0, 1, vec![], 1),
    ] {
        let got = page(&simulator, start, end, limit, mode).await;
        assert_eq!(got, (wanted, json!(more)), "{start} {end} {limit} {mode}");
    }
    // The other party sees the same, and each names the one that did not send.
    let body = json!({
        "login_uid": "bob", "channel_id": "alice", "channel_type": 1, "limit": 1, "pull_mode": 0,
    });
    let answer = native(&simulator, "/channel/messagesync", &body).await;
    assert_eq!(answer["messages"][0]["channel_id"], "bob");
    assert_eq!(
        answer["messages"][0]["header"]["red_dot"], 0,
        "the lowest has no flags"
    );
    assert_eq!(
        status(
            &simulator,
            "/channel/messagesync",
            &json!({ "channel_id": "x" })
        )
        .await,
        400
    );
}

#[tokio::test]
async fn messages_are_found_by_number_and_sequence() {
    let simulator = started(&json!({}));
    let mut alice = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    let sent = alice.send("bob", 1, "number-1").await;
    // The same number again is another message.
    let again = alice.send("bob", 1, "number-1").await;
    assert_ne!(sent.message_id, again.message_id);
    alice.send("bob", 1, "number-2").await;
    let ask = |key: &str, wanted: Value| {
        let mut body = json!({ "login_uid": "alice", "channel_id": "bob", "channel_type": 1 });
        body[key] = wanted;
        body
    };
    for (key, wanted, found) in [
        ("client_msg_nos", json!(["number-1", "unknown"]), vec![1]),
        ("message_seqs", json!([3, 9]), vec![3]),
        ("message_ids", json!([again.message_id]), vec![2]),
    ] {
        let answer = native(&simulator, "/messages", &ask(key, wanted)).await;
        assert_eq!(seqs(&answer), found);
    }
    let by_id = native(
        &simulator,
        "/message",
        &ask("message_id", json!(sent.message_id)),
    )
    .await;
    assert_eq!(by_id["message_idstr"], sent.message_id.to_string());
    let by_number = native(
        &simulator,
        "/message",
        &ask("client_msg_no", json!("number-1")),
    )
    .await;
    assert_eq!(by_number["status"], 404);
    // Outside of its channel it is not looked for.
    let alone = json!({ "message_id": sent.message_id });
    assert_eq!(status(&simulator, "/message", &alone).await, 400);
    let stored = crate::vectors::vectors()["person_channels"][0].clone();
    assert_eq!(
        (&stored["from"], &stored["to"]),
        (&json!("alice"), &json!("bob"))
    );
    let stored = stored["stored_channel_id"].as_str().unwrap();
    let path =
        format!("/message/byclientmsgno?channel_id={stored}&channel_type=1&client_msg_no=number-2");
    let (_, _, found) = http(simulator.address("http"), "GET", &path, "", None).await;
    assert_eq!(
        serde_json::from_str::<Value>(&found).unwrap()["message_seq"],
        3
    );
}

#[tokio::test]
async fn who_may_write_is_as_the_channel_says() {
    let simulator = started(&json!({}));
    group(&simulator, "team", &["alice", "bob"]).await;
    let mut alice = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    assert_eq!(alice.send("team", 2, "n").await.reason, 1);
    assert_eq!(alice.send("unknown", 2, "n").await.reason, 3);
    for open in [3, 6, 11] {
        assert_eq!(alice.send("unknown", open, "n").await.reason, 1);
    }
    // Stored where nobody reads it.
    for nobody in ["", "stranger", "x@y"] {
        assert_eq!(alice.send(nobody, 1, "n").await.reason, 1);
    }
    let team = |more: Value| {
        let mut body = json!({ "channel_id": "team", "channel_type": 2 });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    for (path, more, reason) in [
        ("/channel/blacklist_add", json!({ "uids": ["alice"] }), 4),
        ("/channel/blacklist_remove_all", json!({}), 1),
        ("/channel/whitelist_set", json!({ "uids": ["bob"] }), 13),
        ("/channel/whitelist_add", json!({ "uids": ["alice"] }), 1),
        ("/channel/whitelist_remove_all", json!({}), 1),
        ("/channel/info", json!({ "ban": 1 }), 19),
        ("/channel/info", json!({ "disband": 1 }), 24),
        ("/channel/info", json!({ "send_ban": 1 }), 1),
        (
            "/channel/subscriber_remove",
            json!({ "subscribers": ["alice"] }),
            3,
        ),
        (
            "/channel/subscriber_add",
            json!({ "subscribers": ["alice"] }),
            1,
        ),
        ("/channel/delete", json!({}), 24),
        ("/channel", json!({}), 1),
    ] {
        native(&simulator, path, &team(more)).await;
        assert_eq!(alice.send("team", 2, "n").await.reason, reason, "{path}");
    }
    let deny = json!({ "channel_id": "bob", "channel_type": 1, "uids": ["alice"] });
    native(&simulator, "/channel/blacklist_add", &deny).await;
    assert_eq!(alice.send("bob", 1, "n").await.reason, 4);
    let ban = json!({ "channel_id": "alice", "channel_type": 1, "send_ban": 1 });
    native(&simulator, "/channel/info", &ban).await;
    assert_eq!(alice.send("team", 2, "n").await.reason, 25);
    for (path, body) in [
        ("/channel", json!({ "channel_id": "", "channel_type": 2 })),
        (
            "/channel",
            json!({ "channel_id": "x", "channel_type": 1, "subscribers": ["a"] }),
        ),
        (
            "/channel/delete",
            json!({ "channel_id": "x", "channel_type": 1 }),
        ),
        (
            "/channel/subscriber_add",
            team(json!({ "subscribers": [] })),
        ),
        (
            "/channel/subscriber_add",
            team(json!({ "subscribers": [{ "uid": "a" }] })),
        ),
        (
            "/channel/subscriber_add",
            team(json!({ "subscribers": ["a"], "temp_subscriber": 1 })),
        ),
        ("/channel/blacklist_add", team(json!({ "uids": [] }))),
        ("/user/token", json!({ "uid": "a@b", "token": "t" })),
    ] {
        assert_eq!(status(&simulator, path, &body).await, 400, "{path} {body}");
    }
}

#[tokio::test]
async fn sending_over_http_answers_before_anything_is_checked() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    group(&simulator, "team", &["alice", "bob"]).await;
    let mut alice = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    let mut bob = Peer::login(&simulator, "ws", &connect("bob", 5)).await;
    let send = |more: Value| {
        let mut body = json!({
            "from_uid": "alice", "channel_id": "team", "channel_type": 2, "payload": HELLO,
            "header": { "red_dot": 1 },
        });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let answer = native(&simulator, "/message/send", &send(json!({}))).await;
    assert_eq!(answer["data"]["client_msg_no"].as_str().unwrap().len(), 33);
    assert_eq!(answer["data"].get("message_seq"), None);
    // The sender's own connections hear of it, too, without a red dot.
    assert!(!alice.recv().await.flags.red_dot);
    assert!(bob.recv().await.flags.red_dot);
    // Queued, and dropped.
    for lost in [
        json!({ "channel_id": "unknown" }),
        json!({ "channel_type": 0 }),
    ] {
        native(&simulator, "/message/send", &send(lost)).await;
    }
    // The system's messages come from nobody.
    let system = json!({ "from_uid": "", "channel_id": "bob", "channel_type": 1 });
    native(&simulator, "/message/send", &send(system)).await;
    let heard = bob.recv().await;
    assert_eq!((&*heard.from_uid, &*heard.channel_id), ("", ""));
    // To oneself it comes twice.
    native(
        &simulator,
        "/message/send",
        &send(json!({ "channel_id": "alice", "channel_type": 1 })),
    )
    .await;
    assert_eq!(alice.recv().await.message_id, alice.recv().await.message_id);
    // A list of people is a channel of its own.
    let list = json!({
        "channel_id": "", "subscribers": ["bob"], "header": { "sync_once": 1 },
    });
    let answer = native(&simulator, "/message/send", &send(list)).await;
    assert_eq!(answer, json!({ "status": 200 }));
    let heard = bob.recv().await;
    assert!(heard.channel_type == 8 && heard.channel_id.ends_with("____cmd"));
    for bad in [
        json!({ "payload": "" }),
        json!({ "payload": "***" }),
        json!({ "channel_id": "" }),
        json!({ "channel_id": "a@b" }),
        json!({ "subscribers": ["bob"] }),
    ] {
        assert_eq!(
            status(&simulator, "/message/send", &send(bad.clone())).await,
            400,
            "{bad}"
        );
    }
    control
        .act("settings", json!({ "send_answer": "v1" }))
        .await;
    let answer = native(&simulator, "/message/send", &send(json!({}))).await;
    assert_eq!(answer["data"]["message_seq"], 2);
    control
        .act("settings", json!({ "send_answer": "v3" }))
        .await;
    let answer = native(
        &simulator,
        "/message/send",
        &send(json!({ "channel_id": "unknown" })),
    )
    .await;
    assert_eq!((&answer["reason"], answer.get("data")), (&json!(3), None));
}

#[tokio::test]
async fn conversations_and_commands_wait_for_their_readers() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    let mut bob = Peer::login(&simulator, "tcp", &connect("bob", 5)).await;
    let said =
        json!({ "from": "alice", "channel_id": "bob", "channel_type": 1, "text": "a", "times": 3 });
    control.act("send", said).await;
    let sync = json!({ "uid": "bob", "msg_count": 2 });
    let shown = native(&simulator, "/conversation/sync", &sync).await;
    assert_eq!(
        (&shown[0]["channel_id"], &shown[0]["unread"]),
        (&json!("alice"), &json!(3))
    );
    let recents = shown[0]["recents"].as_array().unwrap();
    assert_eq!(
        recents
            .iter()
            .map(|it| it["message_seq"].clone())
            .collect::<Vec<_>>(),
        [3, 2]
    );
    let channel = json!({ "uid": "bob", "channel_id": "alice", "channel_type": 1 });
    native(&simulator, "/conversations/clearUnread", &channel).await;
    let unread = json!({ "uid": "bob", "msg_count": 1, "only_unread": 1 });
    assert_eq!(
        native(&simulator, "/conversation/sync", &unread).await,
        json!([])
    );
    let nobody = json!({ "uid": "nobody", "msg_count": 1 });
    assert_eq!(
        native(&simulator, "/conversation/sync", &nobody).await,
        json!([])
    );
    assert_eq!(
        status(&simulator, "/conversation/sync", &json!({})).await,
        500
    );
    native(&simulator, "/conversations/delete", &channel).await;
    assert_eq!(
        native(&simulator, "/conversation/sync", &sync).await,
        json!([])
    );
    // Commands have their own count, and are not history.
    let command = json!({
        "from_uid": "alice", "channel_id": "bob", "channel_type": 1, "payload": HELLO,
        "header": { "sync_once": 1 },
    });
    native(&simulator, "/message/send", &command).await;
    for _ in 0..3 {
        bob.recv().await;
    }
    let heard = bob.recv().await;
    assert_eq!(
        (heard.message_seq, &*heard.channel_id, heard.flags.sync_once),
        (1, "alice", true)
    );
    let waiting = native(&simulator, "/message/sync", &json!({ "uid": "bob" })).await;
    let id = waiting[0]["channel_id"].as_str().unwrap();
    assert!(id.ends_with("____cmd") && waiting.as_array().unwrap().len() == 1);
    native(
        &simulator,
        "/message/syncack",
        &json!({ "uid": "bob", "last_message_seq": 1 }),
    )
    .await;
    assert_eq!(
        native(&simulator, "/message/sync", &json!({ "uid": "bob" })).await,
        json!([])
    );
    let history =
        json!({ "login_uid": "bob", "channel_id": "alice", "channel_type": 1, "limit": 9 });
    let history = native(&simulator, "/channel/messagesync", &history).await;
    assert_eq!(seqs(&history), [1, 2, 3]);
}

#[tokio::test]
async fn odd_parties_are_shown_as_the_real_server_shows_them() {
    let simulator = started(&json!({}));
    let mut bob = Peer::login(&simulator, "tcp", &connect("bob", 5)).await;
    let send = |from: &str, to: &str, kind: u8| {
        json!({ "from_uid": from, "channel_id": to, "channel_type": kind, "payload": HELLO,
            "header": { "red_dot": 1 } })
    };
    let read = |channel_id: &str, kind: u8| {
        json!({ "login_uid": "bob", "channel_id": channel_id, "channel_type": kind, "limit": 9,
            "start_message_seq": 1, "pull_mode": 1 })
    };
    // The system has no name as a sender, and its conversation is in no list.
    native(&simulator, "/message/send", &send("", "bob", 1)).await;
    assert_eq!(&*bob.recv().await.channel_id, "");
    let shown = native(&simulator, "/channel/messagesync", &read("____system", 1)).await;
    assert_eq!(shown["messages"][0]["from_uid"], "");
    let sync = json!({ "uid": "bob", "msg_count": 1 });
    assert_eq!(
        native(&simulator, "/conversation/sync", &sync).await,
        json!([])
    );
    // To oneself, both parties are named.
    native(&simulator, "/message/send", &send("bob", "bob", 1)).await;
    assert_eq!(&*bob.recv().await.channel_id, "bob");
    let shown = native(&simulator, "/channel/messagesync", &read("bob", 1)).await;
    assert_eq!(shown["messages"][0]["channel_id"], "bob@bob");
    bob.recv().await;
    // An agent has a channel for each who writes to it.
    for from in ["alice", "erin"] {
        native(&simulator, "/message/send", &send(from, "bob", 11)).await;
        let heard = bob.recv().await;
        assert_eq!((&*heard.channel_id, heard.message_seq), ("bob", 1));
        let stored = format!("{from}@bob");
        let shown = native(&simulator, "/channel/messagesync", &read(&stored, 11)).await;
        assert_eq!(shown["messages"][0]["channel_id"], *stored);
    }
    for (path, body) in [
        (
            "/message/sendbatch",
            json!({ "subscribers": ["bob"], "payload": HELLO }),
        ),
        ("/user/token", json!({ "uid": "____system", "token": "t" })),
    ] {
        assert_eq!(status(&simulator, path, &body).await, 400, "{path}");
    }
}
