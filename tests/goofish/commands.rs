//! What services ask for, and what each answer of the provider means.

use crate::mock::{
    CHAT, ME, PEER, SOON, World, key, online, run, send, send_segments, texts, wait_kind,
    wait_texts,
};
use im_bridge_sdk::test::{Command, CompletionRecord, Origin, Status};
use serde_json::{Value, json};
use std::time::Duration;

const SEND: &str = "/r/MessageSend/sendByReceiverScope";

fn ok(done: &CompletionRecord) -> Value {
    assert_eq!(done.status, Status::OK, "{:?} {}", done.code, done.json());
    done.json()
}

fn code(done: &CompletionRecord) -> (&str, bool) {
    (done.code.as_deref().unwrap_or_default(), done.certain)
}

#[test]
fn text_picture_and_custom_content_are_sent() {
    let world = World::new();
    let (ours, theirs) = (
        world.online(json!({})),
        online(world.account(PEER, json!({}))),
    );
    let sent = ok(&run(&ours, send("words")));
    let message = &sent["message"];
    assert_eq!(
        (message["channel_id"].as_str(), message["parts"][0].as_str()),
        (Some(CHAT), message["id"].as_str())
    );
    assert!(message["created_at"].is_string());
    let media = json!({ "url": "https://img.example.invalid/a.png", "width": 800, "height": 600 });
    ok(&run(
        &ours,
        send_segments(json!([{ "type": "image", "data": { "media": media } }])),
    ));
    let native =
        json!({ "contentType": 7, "itemCard": { "item": { "itemId": "5", "title": "a thing" } } });
    let opaque = json!({ "native_type": "custom", "encoding": "json", "native": native });
    ok(&run(
        &ours,
        send_segments(json!([{ "type": "opaque", "data": opaque }])),
    ));
    let heard = wait_kind(&theirs, "message.created", 3);
    assert_eq!(
        heard[1].json()["message"]["segments"][0]["data"]["media"],
        media
    );
    assert_eq!(heard[2].json()["message"]["segments"][0]["type"], "card");
    // All three come back as our own.
    let echoes = wait_kind(&ours, "message.created", 3);
    assert!(
        echoes
            .iter()
            .all(|echo| echo.origin == Origin::BRIDGE && echo.client_ref.is_some()),
        "{echoes:?}"
    );
    ours.finish();
    theirs.finish();
}

#[test]
fn an_echo_before_the_answer_waits_for_it() {
    let world = World::new();
    world.act("settings", json!({ "echo": "before" }));
    let host = world.online(json!({}));
    ok(&run(&host, send("mine")));
    let echo = &wait_texts(&host, &["mine"])[0];
    assert_eq!(
        (echo.origin, echo.client_ref.is_some()),
        (Origin::BRIDGE, true)
    );
    world.act(
        "say",
        json!({ "from": ME, "cid": CHAT, "text": "by phone" }),
    );
    assert_eq!(
        wait_texts(&host, &["mine", "by phone"])[1].origin,
        Origin::SELF_OTHER_DEVICE
    );
    host.finish();
}

#[test]
fn refusals_of_a_send_are_told_apart() {
    let world = World::new();
    let host = world.online(json!({}));
    for (answer, wanted) in [
        (
            json!({ "code": 200, "body": { "reason": "blocked", "moreInfo": "CSI_FORBID||blocked" } }),
            ("content_rejected", true),
        ),
        (
            json!({ "code": 200, "body": { "reason": "x", "code": "400600001" } }),
            ("rate_limited", true),
        ),
        (
            json!({ "code": 200, "body": { "reason": "something new" } }),
            ("provider_error", true),
        ),
        (
            json!({ "code": 403, "body": { "reason": "no" } }),
            ("provider_error", true),
        ),
        (
            json!({ "code": 500, "body": {} }),
            ("timeout_after_send", false),
        ),
    ] {
        world.fault("request", "refuse", SEND, answer.clone());
        let done = run(&host, send("refused"));
        assert_eq!(code(&done), wanted, "{answer}: {}", done.json());
    }
    assert_eq!(world.record(&["sent"]), Vec::<Value>::new());
    let slow = json!({ "code": 200, "body": { "code": "400600001" } });
    world.fault("request", "refuse", SEND, slow);
    assert_eq!(
        run(&host, send("slower")).retry_after,
        Some(Duration::from_secs(2))
    );
    host.finish();
}

#[test]
fn a_lost_answer_is_unknown_and_then_found() {
    let world = World::new();
    world.act("settings", json!({ "echo": "none" }));
    let host = world.online(json!({}));
    world.fault("request", "withhold", SEND, json!({}));
    let (key, sending) = (key(), send("withheld answer"));
    let id = host.execute(sending.clone().key(&key));
    let done = host.wait_completion(id, SOON);
    assert_eq!(code(&done), ("timeout_after_send", false));
    let verified = crate::mock::until("the truth", || {
        let id = host.verify(sending.clone().key(&key));
        let verdict = host.wait_completion(id, SOON);
        if verdict.status == Status::OK {
            Ok(verdict)
        } else {
            Err(format!("{verdict:?}"))
        }
    });
    let sent = world.record(&["sent"]);
    assert_eq!(verified.json()["message"]["id"], sent[0]["id"]);
    // Handed over once more it is not done again.
    let id = host.execute(sending.key(&key).redelivered());
    assert_eq!(
        ok(&host.wait_completion(id, SOON))["message"]["id"],
        sent[0]["id"]
    );
    assert_eq!(world.record(&["sent"]).len(), 1);
    host.finish();
}

#[test]
fn a_lost_answer_is_told_by_the_echo() {
    let world = World::new();
    let host = world.online(json!({ "request_timeout_ms": 300 }));
    world.fault("request", "withhold", SEND, json!({}));
    let done = run(&host, send("told by its echo"));
    assert_eq!(code(&done), ("timeout_after_send", false));
    let echo = &wait_texts(&host, &["told by its echo"])[0];
    assert_eq!(
        (echo.origin, echo.client_ref.is_some()),
        (Origin::BRIDGE, true)
    );
    host.finish();
}

#[test]
fn what_did_not_happen_is_known_and_may_be_done_again() {
    let world = World::new();
    let host = world.online(json!({ "request_timeout_ms": 300 }));
    world.fault("request", "ignore", SEND, json!({}));
    let (key, sending) = (key(), send("ignored"));
    let id = host.execute(sending.clone().key(&key));
    assert_eq!(
        code(&host.wait_completion(id, SOON)),
        ("timeout_after_send", false)
    );
    crate::mock::until("the truth", || {
        let id = host.verify(sending.clone().key(&key));
        let verdict = host.wait_completion(id, SOON);
        if verdict.code.as_deref() == Some("message_not_found") {
            Ok(())
        } else {
            Err(format!("{verdict:?}"))
        }
    });
    let id = host.execute(sending.key(&key).redelivered());
    ok(&host.wait_completion(id, SOON));
    assert_eq!(world.record(&["sent"]).len(), 1);
    host.finish();
}

#[test]
fn answers_in_any_order_reach_who_asked() {
    let world = World::new();
    let host = world.online(json!({}));
    world.fault("request", "swap", SEND, json!({}));
    world.fault("request", "duplicate", SEND, json!({ "after": 1 }));
    let ids: Vec<u64> = ["first", "second", "third"]
        .iter()
        .map(|text| host.execute(send(text).key(&key())))
        .collect();
    for (id, text) in ids.into_iter().zip(["first", "second", "third"]) {
        let native = ok(&host.wait_completion(id, SOON))["message"]["id"].clone();
        let sent = world.record(&["sent"]);
        let of = sent.iter().find(|sent| sent["summary"] == text).unwrap();
        assert_eq!(native, of["id"], "{text}");
    }
    host.finish();
}

#[test]
fn several_messages_of_one_command_name_their_parts() {
    let world = World::new();
    let host = world.online(json!({}));
    let media = json!({ "url": "https://img.example.invalid/a.png" });
    let segments = json!([{ "type": "text", "data": { "text": "a" } }, { "type": "image", "data": { "media": media } }]);
    let refused = run(&host, send_segments(segments.clone()));
    assert_eq!(code(&refused), ("bad_segment", true));
    let sent = ok(&run(
        &host,
        send_segments(segments.clone()).options(json!({ "split": true })),
    ));
    assert_eq!(sent["message"]["parts"].as_array().unwrap().len(), 2);
    assert_eq!(sent["degradations"][0]["action"], "split");
    world.fault(
        "request",
        "refuse",
        SEND,
        json!({ "code": 403, "body": {}, "after": 1 }),
    );
    let partly = run(
        &host,
        send_segments(segments).options(json!({ "split": true })),
    );
    assert_eq!(code(&partly), ("provider_error", true));
    assert_eq!(
        partly.json()["result"]["parts"].as_array().unwrap().len(),
        1,
        "{}",
        partly.json()
    );
    host.finish();
}

#[test]
fn the_history_is_listed_both_ways() {
    let world = World::new();
    let host = world.online(json!({}));
    world.act(
        "say",
        json!({ "from": PEER, "cid": CHAT, "text": "m", "times": 7 }),
    );
    wait_kind(&host, "message.created", 7);
    let list = |params: Value| {
        let mut all = json!({ "channel_id": CHAT });
        all.as_object_mut()
            .unwrap()
            .extend(params.as_object().unwrap().clone());
        ok(&run(
            &host,
            Command::new("message.list").channel(CHAT).params(all),
        ))
    };
    let words = |page: &Value| -> Vec<String> {
        let text = |message: &Value| message["alt_text"].as_str().unwrap().to_owned();
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect()
    };
    let first = list(json!({ "limit": 3 }));
    assert_eq!(words(&first), ["m #5", "m #6", "m #7"]);
    let second = list(json!({ "limit": 3, "cursor": first["next_cursor"] }));
    assert_eq!(words(&second), ["m #2", "m #3", "m #4"]);
    let key = second["messages"][0]["orderkey"].clone();
    let after = list(json!({ "after": key, "limit": 2 }));
    assert_eq!(words(&after), ["m #3", "m #4"]);
    let after = list(json!({ "cursor": after["next_cursor"], "limit": 50 }));
    assert_eq!(words(&after), ["m #5", "m #6", "m #7"]);
    assert_eq!(after["next_cursor"], Value::Null);
    assert_eq!(words(&list(json!({ "before": key }))), ["m #1"]);
    let message = &after["messages"][0];
    assert_eq!(
        (
            message["sender"]["id"].as_str(),
            message["channel_id"].as_str()
        ),
        (Some(PEER), Some(CHAT))
    );
    let bad = run(
        &host,
        Command::new("message.list").params(json!({ "channel_id": CHAT, "after": "x" })),
    );
    assert_eq!(code(&bad), ("bad_param", true));
    host.finish();
}

#[test]
fn conversations_are_listed_found_and_made() {
    let world = World::new();
    let host = world.online(json!({}));
    let listed = ok(&run(&host, Command::new("channel.list")));
    assert_eq!(listed["channels"][0]["id"], CHAT);
    assert_eq!(
        (
            listed["channels"][0]["kind"].as_str(),
            listed["channels"][0]["native_kind"].as_str()
        ),
        (Some("dm"), Some("1"))
    );
    let got = ok(&run(
        &host,
        Command::new("channel.get")
            .channel(CHAT)
            .params(json!({ "channel_id": CHAT })),
    ));
    assert_eq!(got["channel"]["id"], CHAT);
    let missing = run(
        &host,
        Command::new("channel.get")
            .channel("7")
            .params(json!({ "channel_id": "7" })),
    );
    assert_eq!(code(&missing), ("channel_not_found", true));
    let members = ok(&run(
        &host,
        Command::new("member.list")
            .channel(CHAT)
            .params(json!({ "channel_id": CHAT })),
    ));
    let ids: Vec<&str> = members["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["user"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [ME, PEER]);

    let create = |peer: &str, ext: Value| {
        let params = json!({ "kind": "dm", "member_ids": [peer], "ext": ext });
        run(&host, Command::new("channel.create").params(params))
    };
    let known = ok(&create(PEER, json!({})));
    assert_eq!(
        (known["channel"]["id"].as_str(), known["created"].as_bool()),
        (Some(CHAT), Some(false))
    );
    let unknown = create("3000000003", json!({}));
    assert_eq!(code(&unknown), ("channel_not_found", true));
    assert!(unknown.json()["hint"].as_str().unwrap().contains("item_id"));
    let item = json!({ "goofish": { "item_id": "500000000009" } });
    let made = ok(&create("3000000003", item.clone()));
    assert_eq!(made["created"], true);
    assert_eq!(
        ok(&create("3000000003", item))["channel"]["id"],
        made["channel"]["id"]
    );
    // Both are named right, though nobody has written there yet.
    let chat = made["channel"]["id"].as_str().unwrap();
    let params = json!({ "to": { "channel_id": chat }, "message": { "segments": [{ "type": "text", "data": { "text": "hi" } }] } });
    ok(&run(
        &host,
        Command::new("message.send").channel(chat).params(params),
    ));
    for bad in [
        json!({ "kind": "group", "member_ids": [PEER] }),
        json!({ "kind": "dm", "member_ids": [ME] }),
        json!({ "kind": "dm", "member_ids": [] }),
    ] {
        assert_eq!(
            code(&run(&host, Command::new("channel.create").params(bad))),
            ("bad_param", true)
        );
    }
    host.finish();
}

#[test]
fn a_send_into_an_unknown_conversation_says_so() {
    let world = World::new();
    let host = world.online(json!({}));
    let params = json!({ "to": { "channel_id": "7" }, "message": { "segments": [{ "type": "text", "data": { "text": "hi" } }] } });
    let done = run(
        &host,
        Command::new("message.send").channel("7").params(params),
    );
    assert_eq!(code(&done), ("channel_not_found", true));
    host.finish();
}

#[test]
fn messages_are_recalled() {
    let world = World::new();
    let host = world.online(json!({}));
    let sent = ok(&run(&host, send("oops")));
    let recall = |id: &Value, scope: &str| {
        let params = json!({ "channel_id": CHAT, "message_id": id, "scope": scope });
        run(
            &host,
            Command::new("message.recall").channel(CHAT).params(params),
        )
    };
    assert_eq!(
        code(&recall(&sent["message"]["id"], "me")),
        ("bad_param", true)
    );
    ok(&recall(&sent["message"]["id"], "everyone"));
    assert_eq!(
        world.recorded("recalled", 1)[0]["id"],
        sent["message"]["id"]
    );
    let theirs = json!(world.say("not ours"));
    let refused = recall(&theirs, "everyone");
    assert_eq!(
        code(&refused),
        ("provider_error", true),
        "{}",
        refused.json()
    );
    host.finish();
}

#[test]
fn reading_marks_and_unread_counts_agree() {
    let world = World::new();
    let host = world.online(json!({}));
    let (one, two) = (world.say("one"), world.say("two"));
    wait_texts(&host, &["one", "two"]);
    let unread = |params: Value| ok(&run(&host, Command::new("unread.get").params(params)));
    let counted = unread(json!({}));
    assert_eq!(
        (
            &counted["total"],
            &counted["channels"][CHAT],
            &counted["stale"]
        ),
        (&json!(2), &json!(2), &json!(false))
    );
    let read = json!({ "channel_id": CHAT, "message_ids": [one], "up_to_message_id": two });
    ok(&run(
        &host,
        Command::new("receipt.read").channel(CHAT).params(read),
    ));
    assert_eq!(
        world.recorded("read", 1)[0]["ids"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(unread(json!({ "channel_id": CHAT }))["total"], 0);
    world.fault(
        "request",
        "refuse",
        "/r/Conversation/listNewestPagination",
        json!({ "code": 500 }),
    );
    assert_eq!(unread(json!({}))["stale"], true);
    let nothing = run(
        &host,
        Command::new("receipt.read")
            .channel(CHAT)
            .params(json!({ "channel_id": CHAT })),
    );
    assert_eq!(code(&nothing), ("bad_param", true));
    host.finish();
}

#[test]
fn users_are_told_within_a_conversation() {
    let world = World::new();
    let host = world.online(json!({}));
    let get = |user: &str, channel: Option<&str>| {
        run(
            &host,
            Command::new("user.get").params(json!({ "user_id": user, "channel_id": channel })),
        )
    };
    assert_eq!(ok(&get(ME, Some(CHAT)))["user"]["id"], ME);
    assert_eq!(code(&get(PEER, None)), ("bad_param", true));
    assert_eq!(code(&get("7", Some(CHAT))), ("user_not_found", true));
    let peer = get(PEER, Some(CHAT));
    assert_eq!(ok(&peer)["user"]["name"], format!("nick-{PEER}"));
    host.finish();
}

#[test]
fn any_request_can_be_made_natively() {
    let world = World::new();
    let host = world.online(json!({}));
    let call = |method: &str, body: Value| {
        run(
            &host,
            Command::new("native.call").params(json!({ "method": method, "body": body })),
        )
    };
    let listed = ok(&call(
        "/r/Conversation/listNewestPagination",
        json!([9_007_199_254_740_991_i64, 20]),
    ));
    assert_eq!(
        listed["native"]["userConvs"][0]["singleChatUserConversation"]["singleChatConversation"]["cid"],
        format!("{CHAT}@goofish")
    );
    for (method, body) in [
        ("/reg", json!([])),
        ("/!", json!([])),
        ("/r/x/y", json!({})),
    ] {
        assert_eq!(code(&call(method, body)), ("bad_param", true), "{method}");
    }
    host.finish();
}

#[test]
fn explicit_receivers_are_taken() {
    let world = World::new();
    let host = world.online(json!({}));
    let mut params = json!({ "to": { "channel_id": CHAT }, "message": { "segments": [{ "type": "text", "data": { "text": "x" } }] } });
    params["ext"] = json!({ "goofish": { "receivers": [PEER, ME] } });
    ok(&run(
        &host,
        Command::new("message.send").channel(CHAT).params(params),
    ));
    assert_eq!(texts(&wait_texts(&host, &["x"])), ["x"]);
    host.finish();
}
