//! Sending, and changing channels: what the server gets, and what its answers become.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::http::{Answer, Api, json as answer};
use common::{
    Conn, SOON, Server, account, code, key, online, record, run, say, started, team, with_api,
};
use im_bridge_adapter_wukongim::native::packet::Flags;
use im_bridge_sdk::test::{Command, CompletionRecord, Extension, MockHost, State, Status};
use serde_json::{Value, json};

/// Sends and lets the test play the server.
fn send(host: &MockHost, command: Command, play: impl FnOnce()) -> CompletionRecord {
    let id = host.execute(command);
    play();
    host.wait_completion(id, SOON)
}

#[test]
fn a_message_is_sent_sealed_and_its_place_is_told() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let command = say("2-team", "hello").key("order-1");
    let done = send(&host, command, || {
        let sent = conn.sent();
        assert_eq!(sent.payload, br#"{"content":"hello","type":1}"#);
        assert_eq!(
            (&*sent.client_msg_no, &*sent.channel_id, sent.channel_type),
            ("order-1", "team", 2)
        );
        assert_eq!(sent.flags, Flags::RED_DOT);
        conn.answer(&sent, 1_983_340_123_456_789_012, 7, 1);
    });
    assert_eq!(done.status, Status::OK);
    assert_eq!(
        done.json(),
        json!({ "message": { "id": "1983340123456789012", "channel_id": "2-team",
            "parts": ["1983340123456789012"], "orderkey": "00000000000000000007" }, "degradations": [] })
    );
    host.finish();
}

#[test]
fn options_become_flags_and_an_expiry() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let command = say("1-bob", "psst")
        .key("k")
        .options(json!({ "notify": false, "expires_in_s": 60 }));
    let done = send(&host, command, || {
        let sent = conn.sent();
        assert_eq!((sent.flags.0, sent.expire_s, sent.channel_type), (0, 60, 1));
        conn.answer(&sent, 5, 1, 1);
    });
    assert_eq!(done.status, Status::OK);
    host.finish();
}

#[test]
fn every_refusal_has_its_code() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let cases = [
        (3, "not_member"),
        (4, "blocked"),
        (5, "channel_not_found"),
        (11, "permission_denied"),
        (13, "blocked"),
        (17, "provider_unavailable"),
        (16, "bad_param"),
        (19, "muted"),
        (22, "rate_limited"),
        (23, "unsupported_command"),
        (24, "gone"),
        (25, "muted"),
        (28, "already_exists"),
        (29, "quota_exceeded"),
        (99, "provider_error"),
    ];
    for (reason, wanted) in cases {
        let done = send(&host, say("2-team", "x").key(&key()), || {
            let sent = conn.sent();
            conn.answer(&sent, 1, 0, reason);
        });
        assert_eq!(code(&done), wanted, "reason {reason}");
        assert!(done.certain, "reason {reason}");
        assert_eq!(done.json()["native"]["code"], reason.to_string());
    }
    host.finish();
}

#[test]
fn a_refusal_behind_which_the_message_may_be_stored_is_unknown() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    // 15 also comes when the storing took too long, 10 when the forwarding did.
    for reason in [0, 10, 15] {
        let done = send(&host, say("2-team", "x").key(&key()), || {
            let sent = conn.sent();
            conn.answer(&sent, 1, 0, reason);
        });
        assert_eq!(code(&done), "lost_ack", "reason {reason}");
        assert!(!done.certain, "reason {reason}");
        assert_eq!(done.json()["native"]["code"], reason.to_string());
    }
    host.finish();
}

#[test]
fn wrong_keys_are_repaired_by_one_new_connection() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let id = host.execute(say("2-team", "x").key("k"));
    let sent = conn.sent();
    conn.answer(&sent, 1, 0, 9);
    let mut conn = server.login();
    let again = conn.sent();
    assert_eq!(again.client_msg_no, sent.client_msg_no);
    conn.answer(&again, 2, 1, 1);
    assert_eq!(host.wait_completion(id, SOON).status, Status::OK);
    host.finish();
}

#[test]
fn a_lost_answer_is_unknown_and_not_handed_over_is_certain() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let id = host.execute(say("2-team", "x").key("k"));
    conn.sent();
    drop(conn);
    let done = host.wait_completion(id, SOON);
    assert_eq!((code(&done).as_str(), done.certain), ("lost_ack", false));
    host.wait_state(State::BACKOFF, SOON);
    let done = run(&host, say("2-team", "y"));
    assert_eq!(
        (code(&done).as_str(), done.certain),
        ("not_connected", true)
    );
    host.finish();
}

#[test]
fn no_answer_in_time_is_unknown() {
    let server = Server::new();
    let host = started(account(server.config()).offer(Extension::Clock));
    let mut conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    let id = host.execute(say("2-team", "x").key("k").within(Duration::from_secs(60)));
    conn.sent();
    host.advance(Duration::from_secs(11));
    assert_eq!(code(&host.wait_completion(id, SOON)), "timeout_after_send");
    host.finish();
}

/// The server's API, with one message that has this client number.
fn look_up(client_msg_no: &'static str) -> Api {
    Api::new(move |request| match request.path.as_str() {
        "/messages" => {
            let asked = request.body["client_msg_nos"].as_array().unwrap();
            let mut found = record(7, "hello");
            found["client_msg_no"] = client_msg_no.into();
            let found: Vec<Value> = asked
                .iter()
                .filter(|no| **no == client_msg_no)
                .map(|_| found.clone())
                .collect();
            answer(200, json!({ "messages": found }))
        }
        "/conversation/sync" => answer(200, json!([])),
        _ => answer(200, json!({ "status": 200 })),
    })
}

#[test]
fn what_became_of_a_message_is_asked_by_its_number() {
    let (server, api) = (Server::new(), look_up("known"));
    let (host, _conn) = online(&server, account(with_api(&server, &api)));
    let done = host.wait_completion(host.verify(say("2-team", "hello").key("known")), SOON);
    assert_eq!(done.status, Status::OK);
    assert_eq!(done.json()["message"]["id"], "9000000000000000007");
    assert_eq!(done.json()["message"]["orderkey"], "00000000000000000007");
    let done = host.wait_completion(host.verify(say("2-team", "hello").key("other")), SOON);
    assert_eq!(
        (code(&done).as_str(), done.certain),
        ("message_not_found", true)
    );
    // Looked for twice: it may have been on its way.
    assert_eq!(api.calls("/messages").len(), 3);
    // A repeated command looks before it acts.
    let done = host.wait_completion(
        host.execute(say("2-team", "hello").key("known").redelivered()),
        SOON,
    );
    assert_eq!(done.json()["message"]["id"], "9000000000000000007");
    host.finish();
}

#[test]
fn several_parts_are_sent_in_order_up_to_the_first_failure() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    let message = json!({ "segments": [
        { "type": "text", "data": { "text": "look" } },
        { "type": "image", "data": { "media": { "url": "https://x/a" } } },
        { "type": "text", "data": { "text": "end" } },
    ] });
    let command = Command::new("message.send")
        .channel("2-team")
        .params(json!({ "to": { "channel_id": "2-team" }, "message": message }))
        .options(json!({ "split": true }));
    let done = send(&host, command.key("k"), || {
        let first = conn.sent();
        assert_eq!(first.client_msg_no, "k");
        conn.answer(&first, 11, 1, 1);
        let second = conn.sent();
        assert_eq!(second.client_msg_no, "k-p1");
        conn.answer(&second, 12, 0, 24);
    });
    assert_eq!(code(&done), "gone");
    assert_eq!(done.json()["result"]["parts"], json!(["11"]));
    host.finish();
}

#[test]
fn an_own_message_leaves_no_gap_and_its_echo_is_known() {
    let (server, api) = (Server::new(), look_up("none"));
    let (host, mut conn) = online(&server, account(with_api(&server, &api)));
    conn.push(team(1, "one"));
    conn.ack();
    send(&host, say("2-team", "two").key("k"), || {
        let sent = conn.sent();
        conn.push(team(3, "three"));
        conn.answer(&sent, 2, 2, 1);
    });
    common::wait_told(&host, &["one", "three"]);
    assert!(
        api.calls("/channel/messagesync").is_empty(),
        "nothing was missing"
    );
    host.finish();
}

#[test]
fn by_http_a_message_is_accepted_and_fails_later_if_it_is_nowhere() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/message/send" => {
            assert_eq!(request.body["from_uid"], "bot-1");
            assert_eq!(request.body["header"]["red_dot"], 1);
            answer(
                200,
                json!({ "status": 200, "data": { "message_id": 2_124_082_873_517_379_584_i64,
                "client_msg_no": request.body["client_msg_no"] } }),
            )
        }
        "/messages" => answer(200, json!({ "messages": [] })),
        _ => answer(200, json!([])),
    });
    let mut config = with_api(&server, &api);
    config["send_via"] = "http".into();
    let host = started(account(config).offer(Extension::Clock));
    let mut conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    let done = run(&host, say("2-team", "a").key("seen"));
    assert_eq!(done.status, Status::ACCEPTED);
    assert_eq!(done.json()["message"]["id"], "2124082873517379584");
    let seen = api.calls("/message/send").pop().unwrap().body["client_msg_no"].clone();
    let mut echo = team(1, "a");
    echo.from_uid = "bot-1".to_owned();
    echo.client_msg_no = seen.as_str().unwrap().to_owned();
    conn.push(echo);
    let event = host.wait_events(1, SOON).pop().unwrap();
    assert_eq!(event.client_ref.as_deref(), seen.as_str());
    run(&host, say("2-team", "b"));
    host.advance(Duration::from_secs(11));
    let failed = host.wait_events(1, SOON).pop().unwrap();
    assert_eq!(failed.kind, "message.failed");
    assert_eq!(
        api.calls("/messages").len(),
        1,
        "the other's echo was enough"
    );
    host.finish();
}

#[test]
fn every_shape_of_an_answer_to_a_sent_message_is_read() {
    let cases = [
        (
            json!({ "status": 200, "data": { "message_id": 7, "client_msg_no": "x", "message_seq": 3 } }),
            "ok",
        ),
        (
            json!({ "status": 200, "data": { "message_id": 7, "client_msg_no": "x" } }),
            "accepted",
        ),
        (
            json!({ "message_id": 7, "message_seq": 3, "reason": 1 }),
            "ok",
        ),
        (
            json!({ "message_id": 7, "message_seq": 0, "reason": 3 }),
            "not_member",
        ),
        (json!({ "status": 400, "msg": "text" }), "provider_error"),
    ];
    for (body, wanted) in cases {
        let server = Server::new();
        let shown = body.to_string();
        let api = Api::new(move |request| match request.path.as_str() {
            "/message/send" => answer(200, body.clone()),
            _ => answer(200, json!([])),
        });
        let mut config = with_api(&server, &api);
        config["send_via"] = "http".into();
        let (host, _conn) = online(&server, account(config));
        let done = run(&host, say("2-team", "x"));
        let got = match done.status {
            Status::OK => "ok".to_owned(),
            Status::ACCEPTED => "accepted".to_owned(),
            _ => code(&done),
        };
        assert_eq!(got, wanted, "{shown}");
        host.finish();
    }
}

/// An account with OpenChat only, whose sends go by HTTP.
fn openchat(
    route: impl Fn(&common::http::Request) -> Answer + Send + Sync + 'static,
) -> (MockHost, Api, Conn) {
    let server = Server::new();
    let api = Api::new(route);
    let config = json!({
        "uid": "bot-1", "token": "t", "url": server.url(), "health_s": 0, "send_via": "http",
        "openchat": { "base_url": format!("{}/im", api.url), "access_token": "jwt" },
    });
    let (host, conn) = online(&server, account(config));
    (host, api, conn)
}

#[test]
fn openchat_as_its_page_says_and_as_it_is() {
    let (host, api, _conn) = openchat(|request| match request.path.as_str() {
        "/im/message/send" if request.body["channelId"] == "seed" => answer(
            201,
            json!({ "success": true, "data": { "messageId": "7", "messageSeq": 3 } }),
        ),
        "/im/message/send" if request.body["channelId"] == "rounded" => answer(
            201,
            json!({ "success": true, "data": { "status": 200,
                "data": { "message_id": 2_124_082_873_517_379_600_i64, "client_msg_no": "x" } } }),
        ),
        "/im/message/send" if request.body["channelId"] == "busy" => Answer(
            429,
            vec!["Retry-After: 12".to_owned()],
            json!({ "code": 1006, "message": "too many" }).to_string(),
        ),
        _ => answer(
            201,
            json!({ "success": false, "message": "timeout of 10000ms exceeded" }),
        ),
    });
    let done = run(&host, say("2-seed", "x"));
    assert_eq!(
        (done.status, &done.json()["message"]["orderkey"]),
        (Status::OK, &json!("00000000000000000003"))
    );
    // Rounded on the way: accepted, and its id is not told wrongly.
    let done = run(&host, say("2-rounded", "x"));
    assert_eq!(
        (done.status, done.native_id.clone().unwrap_or_default()),
        (Status::ACCEPTED, String::new())
    );
    let done = run(&host, say("2-busy", "x"));
    assert_eq!(
        (code(&done).as_str(), done.retry_after),
        ("rate_limited", Some(Duration::from_secs(12)))
    );
    // OpenChat says so too when its server took too long: nobody knows.
    let done = run(&host, say("2-refused", "x"));
    assert_eq!(
        (code(&done).as_str(), done.certain),
        ("provider_error", false)
    );
    assert_eq!(done.json()["native"]["text"], "timeout of 10000ms exceeded");
    let body = &api.calls("/im/message/send")[0].body;
    assert_eq!(body["payload"], "eyJjb250ZW50IjoieCIsInR5cGUiOjF9");
    assert!(body["clientMsgNo"].is_string());
    host.finish();
}

#[test]
fn openchats_routes_that_lead_nowhere_are_clear_errors() {
    let (host, _api, _conn) = openchat(|_| {
        answer(
            201,
            json!({ "success": false, "message": "Request failed with status code 404" }),
        )
    });
    let create = Command::new("channel.create")
        .params(json!({ "kind": "group", "id": "2-team", "member_ids": ["a"] }));
    let add = Command::new("member.add")
        .channel("2-team")
        .params(json!({ "channel_id": "2-team", "user_ids": ["a"] }));
    let list = Command::new("message.list")
        .channel("2-team")
        .params(json!({ "channel_id": "2-team" }));
    for command in [create, add, list] {
        let done = run(&host, command);
        assert_eq!(code(&done), "provider_error");
        assert!(
            done.json()["hint"]
                .as_str()
                .unwrap()
                .contains("native.api_url")
        );
    }
    host.finish();
}

#[test]
fn openchat_history_is_cut_and_sorted_here() {
    let (host, api, _conn) = openchat(|_| {
        let records: Vec<Value> = [5, 4, 3, 2].iter().map(|seq| json!({
            "messageId": seq.to_string(), "messageSeq": seq, "fromUid": "alice", "channelId": "team",
            "channelType": 2, "payload": { "type": 1, "content": format!("m{seq}") }, "timestamp": 1_705_312_800_000_i64,
        })).collect();
        answer(200, json!({ "success": true, "data": records }))
    });
    let after = Command::new("message.list")
        .channel("2-team")
        .params(json!({ "channel_id": "2-team", "after": "00000000000000000003" }));
    let done = run(&host, after);
    let texts = |done: &CompletionRecord| -> Vec<String> {
        let all = done.json()["messages"].as_array().unwrap().clone();
        all.iter()
            .map(|one| one["alt_text"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(texts(&done), ["m4", "m5"]);
    assert!(api.seen()[0].query.contains("lastMessageSeq=3"));
    assert_eq!(
        done.json()["messages"][0]["created_at"],
        "2024-01-15T10:00:00.000Z"
    );
    let before = Command::new("message.list")
        .channel("2-team")
        .params(json!({ "channel_id": "2-team", "before": "00000000000000000005", "limit": 2 }));
    assert_eq!(texts(&run(&host, before)), ["m3", "m4"]);
    host.finish();
}

#[test]
fn channels_and_members_go_to_the_servers_own_routes() {
    let (server, api) = (Server::new(), look_up("none"));
    let (host, _conn) = online(&server, account(with_api(&server, &api)));
    let create = Command::new("channel.create").params(json!({
        "kind": "group", "id": "2-g-1002", "name": "parcel 77", "member_ids": ["bot-1", "u-2002"],
    }));
    let done = run(&host, create);
    assert_eq!(
        done.json(),
        json!({
            "channel": { "id": "2-g-1002", "kind": "group", "native_kind": "2", "member_count": 2 },
            "created": true,
            "degradations": [{ "path": "/name", "action": "dropped", "reason": "the provider stores no name" }],
        })
    );
    assert_eq!(
        api.calls("/channel")[0].body["subscribers"],
        json!(["bot-1", "u-2002"])
    );
    let dm = run(
        &host,
        Command::new("channel.create").params(json!({ "kind": "dm", "member_ids": ["bob"] })),
    );
    assert_eq!(
        (&dm.json()["channel"]["id"], &dm.json()["created"]),
        (&json!("1-bob"), &json!(false))
    );
    for (command, path, list) in [
        ("member.add", "/channel/subscriber_add", "added"),
        ("member.remove", "/channel/subscriber_remove", "removed"),
    ] {
        let command = Command::new(command)
            .channel("2-team")
            .params(json!({ "channel_id": "2-team", "user_ids": ["a", "b"] }));
        assert_eq!(run(&host, command).json()[list], json!(["a", "b"]));
        assert_eq!(api.calls(path)[0].body["subscribers"], json!(["a", "b"]));
    }
    let delete = Command::new("channel.delete")
        .channel("2-team")
        .params(json!({ "channel_id": "2-team" }));
    assert_eq!(run(&host, delete).status, Status::OK);
    let person = Command::new("channel.delete")
        .channel("1-bob")
        .params(json!({ "channel_id": "1-bob" }));
    assert_eq!(code(&run(&host, person)), "bad_param");
    host.finish();
}
