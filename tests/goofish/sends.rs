//! Sending, and what becomes of a message whose answer is lost.

use crate::mock::{
    CHAT, ME, PEER, SOON, World, key, online, run, send, send_segments, texts, truth, wait_kind,
    wait_texts,
};
use im_bridge_sdk::test::{Command, CompletionRecord, KvStore, Origin, Status};
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

#[test]
fn a_restart_forgets_no_send() {
    for (fault, effects) in [("withhold", 1), ("ignore", 0)] {
        let (world, kept) = (World::new(), KvStore::default());
        let account = || {
            world
                .account(ME, json!({ "request_timeout_ms": 300 }))
                .kv(&kept)
        };
        let host = online(account());
        world.fault("request", fault, SEND, json!({}));
        let (key, sending) = (key(), send("before the restart"));
        let id = host.execute(sending.clone().key(&key));
        let done = host.wait_completion(id, SOON);
        assert_eq!(code(&done), ("timeout_after_send", false));
        host.finish();
        let host = online(account());
        // As the core does with what it does not know: it asks, and does it again only if it surely did not happen.
        assert_eq!(truth(&host, &sending, &key), effects, "{fault}");
        let id = host.execute(sending.key(&key).redelivered());
        ok(&host.wait_completion(id, SOON));
        assert_eq!(world.record(&["sent"]).len(), 1, "{fault}");
        // A key that nobody has heard of is no reason to guess.
        let id = host.verify(send("never sent").key("unheard-of"));
        let unknown = host.wait_completion(id, SOON);
        assert_eq!(code(&unknown), ("lost_ack", false));
        // That the account's state cannot be read says nothing about it.
        host.fail_kv(&[Status::E_UNAVAILABLE]);
        let id = host.verify(send("never sent").key("unheard-of"));
        let later = host.wait_completion(id, SOON);
        assert_eq!(later.status, Status::E_UNAVAILABLE);
        host.finish();
    }
}
