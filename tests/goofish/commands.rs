//! What services ask for, and what each answer of the provider means.

use crate::mock::{CHAT, ME, PEER, World, run, send, wait_kind, wait_texts};
use im_bridge_sdk::test::{Command, CompletionRecord, Status};
use serde_json::{Value, json};

fn ok(done: &CompletionRecord) -> Value {
    assert_eq!(done.status, Status::OK, "{:?} {}", done.code, done.json());
    done.json()
}

fn code(done: &CompletionRecord) -> (&str, bool) {
    (done.code.as_deref().unwrap_or_default(), done.certain)
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
