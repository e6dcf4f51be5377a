//! Every command of the model is answered, with the result the model says.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;

use common::{SOON, account, hands, online, order, run, say, send};
use im_bridge_sdk::model::{self, ControlVerb, params, results};
use im_bridge_sdk::test::{Command, Delivery, MockHost, Origin, Status};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Runs a command and reads its result as what the model says it is.
struct Caller<'a> {
    host: &'a MockHost,
    done: BTreeSet<String>,
}

impl Caller<'_> {
    fn call<P: model::Params>(&mut self, params: Value) -> Value {
        self.done.insert(P::NAME.to_owned());
        let channel = params["channel_id"]
            .as_str()
            .or(params["to"]["channel_id"].as_str())
            .unwrap_or_default();
        let done = run(
            self.host,
            Command::new(P::NAME)
                .channel(channel)
                .params(params.clone()),
        );
        assert_eq!(
            done.status,
            Status::OK,
            "{} {params}: {}",
            P::NAME,
            done.json()
        );
        read::<P::Result>(P::NAME, &done.body);
        done.json()
    }
}

fn read<R: DeserializeOwned>(name: &str, body: &[u8]) {
    let body = if body.is_empty() { b"{}" } else { body };
    if let Err(error) = serde_json::from_slice::<R>(body) {
        panic!("{name}: {error} in {}", String::from_utf8_lossy(body));
    }
}

#[test]
fn every_command_is_answered_with_its_result() {
    let hands = hands("commands");
    let host = online(account("commands", json!({})));
    let mut caller = Caller {
        host: &host,
        done: BTreeSet::new(),
    };
    let c = &mut caller;
    let text = |text: &str| json!({ "segments": [{ "type": "text", "data": { "text": text } }] });

    let sent = c.call::<params::MessageSend>(
        json!({ "to": { "channel_id": "lobby" }, "message": text("hi") }),
    );
    let id = sent["message"]["id"].as_str().unwrap().to_owned();
    let message = json!({ "channel_id": "lobby", "message_id": id });
    let with = |more: Value| {
        let mut params = message.clone();
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        params
    };
    c.call::<params::MessageUpdate>(with(json!({ "message": text("hello") })));
    let got = c.call::<params::MessageGet>(message.clone());
    assert_eq!(
        (&got["message"]["alt_text"], &got["message"]["origin"]),
        (&json!("hello"), &json!("bridge"))
    );
    c.call::<params::ReactionAdd>(with(json!({ "key": "👍" })));
    c.call::<params::ReactionRemove>(with(json!({ "key": "👍" })));
    c.call::<params::MessageRecall>(message.clone());
    say(&hands, "unread");
    let unread = c.call::<params::UnreadGet>(json!({}));
    assert_eq!(
        (&unread["total"], &unread["channels"]["lobby"]),
        (&json!(1), &json!(1))
    );
    let read = c.call::<params::ReceiptRead>(json!({ "channel_id": "lobby" }));
    assert_eq!(read["updated"], 1);
    let marks =
        c.call::<params::ReceiptList>(json!({ "channel_id": "lobby", "user_ids": ["commands"] }));
    assert_eq!(marks["receipts"].as_array().unwrap().len(), 1);
    c.call::<params::TypingSet>(json!({ "channel_id": "lobby", "on": true }));

    let dm = json!({ "kind": "dm", "member_ids": ["alice"] });
    assert_eq!(c.call::<params::ChannelCreate>(dm.clone())["created"], true);
    assert_eq!(c.call::<params::ChannelCreate>(dm)["created"], false);
    let group = c.call::<params::ChannelCreate>(
        json!({ "kind": "group", "name": "G", "member_ids": ["alice"] }),
    );
    let group = group["channel"]["id"].as_str().unwrap().to_owned();
    let changed = c.call::<params::ChannelUpdate>(json!({ "channel_id": group, "name": "H" }));
    assert_eq!(changed["channel"]["name"], "H");
    c.call::<params::ChannelGet>(json!({ "channel_id": group }));
    let added =
        c.call::<params::MemberAdd>(json!({ "channel_id": group, "user_ids": ["bob", "nobody"] }));
    assert_eq!(added["added"], json!(["bob"]));
    assert_eq!(added["failed"][0]["error"]["code"], "user_not_found");
    c.call::<params::MemberUpdate>(
        json!({ "channel_id": group, "user_id": "bob", "role": "admin" }),
    );
    let members = c.call::<params::MemberList>(json!({ "channel_id": group, "limit": 2 }));
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
    assert!(members["next_cursor"].is_string());
    c.call::<params::MemberRemove>(json!({ "channel_id": group, "user_ids": ["bob"] }));
    c.call::<params::ChannelLeave>(json!({ "channel_id": group }));
    let other = c.call::<params::ChannelCreate>(json!({ "kind": "group", "member_ids": [] }));
    c.call::<params::ChannelDelete>(json!({ "channel_id": other["channel"]["id"] }));
    c.call::<params::ChannelList>(json!({}));

    c.call::<params::UserGet>(json!({ "user_id": "alice" }));
    let asked = order(
        &hands,
        "ask_contact",
        json!({ "by": "carol", "account": "commands" }),
    );
    c.call::<params::ContactApprove>(json!({ "request_id": asked["request"], "accept": true }));
    let contacts = c.call::<params::ContactList>(json!({}));
    assert_eq!(contacts["contacts"][0]["id"], "carol");
    let media = c.call::<params::MediaUpload>(json!({ "ref": "blob-1", "mime": "image/png" }));
    assert!(media["media"]["native_id"].is_string());
    c.call::<params::MessageList>(json!({ "channel_id": "lobby" }));
    c.call::<params::NativeCall>(json!({ "method": "sim.summary" }));

    let missing: Vec<&str> = model::Command::NAMES
        .iter()
        .copied()
        .filter(|name| !caller.done.contains(*name) && *name != "message.send_batch")
        .collect();
    assert!(missing.is_empty(), "never called: {missing:?}");
    host.finish();
}

#[test]
fn pages_of_messages_go_both_ways() {
    let hands = hands("pages");
    let host = online(account("pages", json!({})));
    order(
        &hands,
        "say",
        json!({ "chat": "lobby", "by": "alice", "text": "x", "times": 5 }),
    );
    let list = |more: Value| {
        let mut params = json!({ "channel_id": "lobby", "limit": 2 });
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        run(
            &host,
            Command::new("message.list").channel("lobby").params(params),
        )
        .json()
    };
    let keys = |page: &Value| -> Vec<String> {
        let messages = page["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| message["orderkey"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut newest_first = Vec::new();
    let mut page = list(json!({}));
    loop {
        newest_first.splice(0..0, keys(&page));
        match page["next_cursor"].as_str() {
            Some(cursor) => page = list(json!({ "cursor": cursor })),
            None => break,
        }
    }
    assert_eq!(newest_first.len(), 5);
    assert!(newest_first.is_sorted());
    let after = list(json!({ "after": newest_first[1] }));
    assert_eq!(keys(&after), newest_first[2..4]);
    assert_eq!(
        keys(&list(json!({ "cursor": after["next_cursor"] }))),
        newest_first[4..]
    );
    host.finish();
}

#[test]
fn control_verbs_are_answered() {
    let hands = hands("control");
    let host = online(account("control", json!({})));
    let verb = |name: &str, params: Value| {
        let done = run(
            &host,
            Command::new(&format!("account.{name}")).params(params),
        );
        assert_eq!(done.status, Status::OK, "{name}: {}", done.json());
        done
    };
    let refreshed = verb("refresh_token", json!({}));
    read::<results::RefreshToken>("refresh_token", &refreshed.body);
    assert_eq!(verb("health", json!({})).json()["healthy"], true);
    assert!(verb("info", json!({})).json()["provider"]["people"].is_number());
    say(&hands, "one");
    say(&hands, "two");
    host.wait_events(2, SOON);
    let synced = verb("sync", json!({ "from": "1" }));
    assert_eq!(synced.json()["count"], 2);
    let replayed = host.wait_events(2, SOON);
    assert!(
        replayed
            .iter()
            .all(|event| event.delivery == Delivery::REPLAY)
    );
    assert_eq!(
        verb("login", json!({})).json()["self"]["user_id"],
        "control"
    );
    verb("logout", json!({}));
    host.wait_state(im_bridge_sdk::test::State::LOGGED_OUT, SOON);
    let refused = run(&host, send("nobody hears"));
    assert_eq!(
        (refused.code.as_deref(), refused.certain),
        (Some("not_connected"), true)
    );
    verb("reconnect", json!({}));
    host.wait_state(im_bridge_sdk::test::State::ONLINE, SOON);
    assert_eq!(ControlVerb::NAMES.len(), 9, "a new verb is tested here");
    host.finish();
}

#[test]
fn an_own_message_comes_back_with_its_reference() {
    let host = online(account("echo", json!({})));
    let id = host.execute(send("hello").key("my-key"));
    let done = host.wait_completion(id, SOON);
    let echo = host.wait_events(1, SOON).pop().unwrap();
    assert_eq!(
        (echo.client_ref.as_deref(), echo.origin),
        (Some("my-key"), Origin::BRIDGE)
    );
    assert_eq!(echo.native_id, done.native_id);
    order(
        &host,
        "say",
        json!({ "chat": "lobby", "by": "echo", "text": "from my phone" }),
    );
    let other = host.wait_events(1, SOON).pop().unwrap();
    assert_eq!(
        (other.client_ref, other.origin),
        (None, Origin::SELF_OTHER_DEVICE)
    );
    host.finish();
}

#[test]
fn every_type_of_segment_survives_the_way_out_and_back() {
    let host = online(account("segments", json!({})));
    let media = json!({ "url": "https://sim.invalid/1", "mime": "image/png" });
    let inner = json!({
        "id": "m", "segments": [{ "type": "text", "data": { "text": "old" } }], "alt_text": "old", "reply_to": null,
        "mentions": { "all": false, "user_ids": [] }, "created_at": null, "status": "normal",
    });
    let segments = json!([
        { "type": "text", "data": { "text": "*hi*", "format": "markdown" } },
        { "type": "mention", "data": { "user_id": "alice", "name": "Alice" } },
        { "type": "mention_all", "data": { "scope": "online" } },
        { "type": "emoji", "data": { "unicode": "👍" } },
        { "type": "link", "data": { "url": "https://sim.invalid", "title": "t", "description": "d" } },
        { "type": "image", "data": { "media": media, "animated": true } },
        { "type": "sticker", "data": { "media": { "native_id": "s-1" } } },
        { "type": "voice", "data": { "media": media, "duration_ms": 5 } },
        { "type": "audio", "data": { "media": media, "duration_ms": 5, "title": "song" } },
        { "type": "video", "data": { "media": media, "duration_ms": 5, "thumbnail": media } },
        { "type": "file", "data": { "media": { "url": "https://sim.invalid/f", "name": "f.txt", "size": 7 } } },
        { "type": "location", "data": { "latitude": 1.5, "longitude": 2.5, "title": "here" } },
        { "type": "contact", "data": { "user_id": "bob", "name": "Bob" } },
        { "type": "card", "data": { "title": "t", "fields": { "a": "b" }, "actions": [{ "title": "x", "url": "u" }] } },
        { "type": "forward", "data": { "messages": [inner], "title": "f" } },
        { "type": "opaque", "data": { "native_type": "dance", "encoding": "json", "native": { "steps": 3 } } },
    ]);
    let types: BTreeSet<&str> = segments
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["type"].as_str().unwrap())
        .collect();
    assert_eq!(types.len(), model::SegmentType::NAMES.len());
    let params = json!({
        "to": { "channel_id": "lobby" }, "message": { "segments": segments, "reply_to": { "message_id": "p1" } },
    });
    let done = run(
        &host,
        Command::new("message.send").channel("lobby").params(params),
    );
    assert_eq!(done.status, Status::OK, "{}", done.json());
    let echo = host.wait_events(1, SOON).pop().unwrap().json();
    let mut wanted = segments;
    // Passed on, a message also says who wrote it and where; nobody knows here.
    let shown = &echo["message"]["segments"][14]["data"]["messages"][0]["segments"];
    assert_eq!(*shown, wanted[14]["data"]["messages"][0]["segments"]);
    wanted[14] = echo["message"]["segments"][14].clone();
    assert_eq!(echo["message"]["segments"], wanted);
    assert_eq!(echo["message"]["reply_to"]["message_id"], "p1");
    host.finish();
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_place() {
    let host = online(account("unsendable", json!({})));
    let segments = json!([
        { "type": "text", "data": { "text": "x" } },
        { "type": "image", "data": { "media": { "ref": "blob-1" } } },
    ]);
    let params = json!({ "to": { "channel_id": "lobby" }, "message": { "segments": segments } });
    let done = run(
        &host,
        Command::new("message.send").channel("lobby").params(params),
    );
    assert_eq!(
        (done.code.as_deref(), done.certain),
        (Some("unsupported_segment"), true)
    );
    assert_eq!(done.json()["path"], "/params/message/segments/1");
    host.finish();
}
