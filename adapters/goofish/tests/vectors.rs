//! Every vector of the protocol, both ways: what is read of it, and what is written byte for byte.
//!
//! Where the provider's own client was recorded, requests are compared as text; where only the shape is public, as JSON.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use im_bridge_adapter_goofish::native::answers::{Conversation, Page, Sent};
use im_bridge_adapter_goofish::native::calls::{self, Sending};
use im_bridge_adapter_goofish::native::content::{Content, Picture};
use im_bridge_adapter_goofish::native::frame::{self, Answer, Down, Push, Registration};
use im_bridge_adapter_goofish::native::item::{self, Item};
use im_bridge_adapter_goofish::native::message::Message;
use im_bridge_adapter_goofish::native::mtop::{self, LOGIN_TOKEN, Signed, Token};
use im_bridge_adapter_goofish::native::refusal::Refusal;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../../tests/vectors/goofish/frames.json");

/// The own user of the vectors.
const ME: &str = "1000000001";
const PEER: &str = "2000000002";
const CHAT: &str = "30000000001";

fn frames() -> Vec<Value> {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    all["frames"].as_array().unwrap().clone()
}

fn named(name: &str) -> Value {
    frames()
        .into_iter()
        .find(|frame| frame["name"] == name)
        .unwrap_or_else(|| panic!("{name}"))
}

fn text(frame: &Value) -> &str {
    frame["text"].as_str().unwrap()
}

fn answer(name: &str) -> Answer {
    match frame::read(text(&named(name))).unwrap() {
        Down::Answer(answer) => answer,
        other => panic!("{name}: {other:?}"),
    }
}

fn push(frame: &Value) -> Push {
    match frame::read(text(frame)).unwrap() {
        Down::Push(push) => push,
        other => panic!("{}: {other:?}", frame["name"]),
    }
}

/// An item in the words of the vectors.
fn event(item: &Item) -> Value {
    match item {
        Item::Message(message) => json!({
            "kind": "message", "conversation_id": message.conversation, "message_id": message.id,
            "sender_id": message.sender, "is_self": message.sender.as_deref() == Some(ME), "sent_at_ms": message.at_ms,
            "sender_name": message.sender_name, "item_id": message.item, "content": content(message),
        }),
        Item::Read {
            conversation,
            messages,
            at_ms,
        } => json!({
            "kind": "read", "conversation_id": conversation, "message_ids": messages, "at_ms": at_ms,
        }),
        Item::Typing { conversation, user } => {
            json!({ "kind": "typing", "conversation_id": conversation, "user_id": user })
        }
        Item::Order {
            subject, reminder, ..
        } => json!({ "kind": "order", "subject": subject, "reminder": reminder }),
        Item::SessionHint { conversation, .. } => {
            json!({ "kind": "session_hint", "conversation_id": conversation })
        }
        Item::Unknown { .. } => json!({ "kind": "unknown" }),
        Item::Undecodable { .. } => json!({ "kind": "undecodable" }),
    }
}

fn content(message: &Message) -> Value {
    let summary = &message.summary;
    match &message.content {
        Content::Text(text) => json!({ "type": "text", "text": text }),
        Content::Images(all) => {
            let image =
                |one: &Picture| json!({ "url": one.url, "width": one.width, "height": one.height });
            json!({ "type": "image", "images": all.iter().map(image).collect::<Vec<_>>(), "summary": summary })
        }
        Content::Voice { url, duration } => {
            json!({ "type": "voice", "url": url, "duration": duration, "summary": summary })
        }
        Content::ItemCard { .. } => {
            json!({ "type": "item_card", "content_type": message.content_type, "summary": summary })
        }
        Content::Other => {
            json!({ "type": "other", "content_type": message.content_type, "summary": summary })
        }
    }
}

#[test]
fn every_push_decodes_to_exactly_its_events() {
    let mut pushes = 0;
    for frame in frames().iter().filter(|frame| frame["events"].is_array()) {
        let push = push(frame);
        let events: Vec<Value> = push
            .items
            .iter()
            .flat_map(item::read)
            .map(|item| event(&item))
            .collect();
        assert_eq!(json!(events), frame["events"], "{}", frame["name"]);
        pushes += 1;
    }
    assert_eq!(pushes, 24);
}

#[test]
fn every_push_is_acknowledged_with_the_recorded_bytes() {
    let mut compared = 0;
    for frame in frames()
        .iter()
        .filter(|frame| frame["acknowledgement"].is_string())
    {
        assert_eq!(
            push(frame).acknowledgement,
            frame["acknowledgement"].as_str().unwrap(),
            "{}",
            frame["name"]
        );
        compared += 1;
    }
    assert_eq!(compared, 22);
    assert_eq!(push(&named("push text")).max_pts, 1_700_000_000_123_000);
    // What a recorded acknowledgement acknowledges has its headers.
    let recorded = named("push acknowledgement");
    let headers = &recorded["json"]["headers"];
    let said = json!({ "lwp": "/s/sync", "headers": headers, "body": {} }).to_string();
    let Down::Push(push) = frame::read(&said).unwrap() else {
        panic!()
    };
    assert_eq!(
        serde_json::from_str::<Value>(&push.acknowledgement).unwrap(),
        recorded["json"]
    );
}

fn mid(frame: &Value) -> &str {
    frame["json"]["headers"]["mid"].as_str().unwrap()
}

#[test]
fn requests_are_written_with_the_recorded_bytes() {
    let written = |name: &str, lwp: &str, write: &dyn Fn(&str, &str) -> String| {
        let vector = named(name);
        assert_eq!(write(lwp, mid(&vector)), text(&vector), "{name}");
    };
    written("/! request", "/!", &|_, mid| frame::heartbeat(mid));
    written(
        "/r/SyncStatus/getState request",
        calls::GET_STATE,
        &|lwp, mid| frame::request(lwp, mid, Some(&calls::get_state())),
    );
    written(
        "/r/SyncStatus/ackDiff request",
        calls::ACK_DIFF,
        &|lwp, mid| {
            let state = answer("/r/SyncStatus/getState answer")
                .outcome()
                .unwrap()
                .text;
            let state: Box<RawValue> = serde_json::from_str(&state).unwrap();
            frame::request(lwp, mid, Some(&calls::ack_diff(&state)))
        },
    );
    written(
        "/r/Conversation/listNewestPagination request",
        calls::LIST,
        &|lwp, mid| frame::request(lwp, mid, Some(&calls::list(calls::FIRST_CURSOR, 20))),
    );
    written(
        "/r/SingleChatConversation/create request",
        calls::CREATE,
        &|lwp, mid| frame::request(lwp, mid, Some(&calls::create(PEER, ME, "500000000005"))),
    );
    let register = named("/reg request");
    let headers = &register["json"]["headers"];
    let registration = Registration {
        app_key: headers["app-key"].as_str().unwrap(),
        token: headers["token"].as_str().unwrap(),
        user_agent: headers["ua"].as_str().unwrap(),
        device_id: headers["did"].as_str().unwrap(),
    };
    assert_eq!(registration.request(mid(&register)), text(&register));
}

#[test]
fn sends_are_written_with_the_recorded_bytes() {
    let picture = Picture {
        url: "https://img.example.invalid/a.png".into(),
        width: Some(800),
        height: Some(600),
    };
    let (ours, theirs) = (ME.to_owned(), PEER.to_owned());
    for (name, uuid, content, receivers) in [
        (
            "/r/MessageSend/sendByReceiverScope text request",
            "-17951779716630",
            calls::text_content("你好, synthetic"),
            [ours.clone(), theirs.clone()],
        ),
        (
            "/r/MessageSend/sendByReceiverScope image request",
            "-17000000000001",
            calls::image_content(&picture),
            [theirs, ours],
        ),
    ] {
        let vector = named(name);
        let sending = Sending {
            uuid,
            conversation: CHAT,
            content: &content,
            custom_type: 1,
            receivers: &receivers,
        };
        assert_eq!(
            frame::request(calls::SEND, mid(&vector), Some(&sending.body())),
            text(&vector),
            "{name}"
        );
    }
}

#[test]
fn requests_of_public_shape_are_written_in_that_shape() {
    let message = || "4000000000001.PNM".to_owned();
    let written = |name: &str, text: &str| {
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap(),
            named(name)["json"],
            "{name}"
        );
    };
    let request = |name: &str, lwp: &str, body: &dyn Fn() -> Value| {
        written(name, &frame::request(lwp, mid(&named(name)), Some(&body())));
    };
    let value = |body: &dyn Fn() -> Result<Value, serde_json::Error>| body().unwrap();
    request(
        "/r/MessageManager/listUserMessages request",
        calls::HISTORY,
        &|| value(&|| serde_json::to_value(calls::history(CHAT, calls::FIRST_CURSOR, 20))),
    );
    request("/r/MessageStatus/read request", calls::READ, &|| {
        value(&|| serde_json::to_value(calls::read(&[message()])))
    });
    request(
        "/r/Conversation/clearRedPoint request",
        calls::CLEAR_RED_POINT,
        &|| value(&|| serde_json::to_value(calls::clear_red_point(CHAT, &message()))),
    );
    request(
        "/r/MessageManager/recallMessage request",
        calls::RECALL,
        &|| value(&|| serde_json::to_value(calls::recall(&message()))),
    );
    // The client's flush of its queue, without a mid, is not to be copied; a request that lacks one is no answer.
    let flushed = named("request flushed from the offline queue (no mid)");
    assert!(matches!(frame::read(text(&flushed)).unwrap(), Down::Other));
}

#[test]
fn answers_are_read() {
    for name in [
        "/! answer",
        "/r/SyncStatus/ackDiff answer",
        "/r/MessageStatus/read answer",
        "/r/Conversation/clearRedPoint answer",
        "/r/MessageManager/recallMessage answer",
    ] {
        assert!(answer(name).outcome().is_ok(), "{name}");
    }
    let registered = answer("/reg answer");
    assert_eq!(
        registered.outcome().unwrap().headers["reg-uid"],
        "1000000001@goofish"
    );

    let sent = answer("/r/MessageSend/sendByReceiverScope text answer")
        .outcome()
        .unwrap()
        .body;
    let wanted = Sent {
        id: Some("4000000000001.PNM".into()),
        at_ms: Some(1_795_177_971_666),
    };
    assert_eq!(Sent::read(&sent), wanted);

    let refused = answer("/r/MessageSend/sendByReceiverScope refused with code 200")
        .outcome()
        .unwrap_err();
    assert!(refused.is_content() && refused.is_certain());
    let refused: Refusal = answer("/reg refused").outcome().unwrap_err();
    assert!(refused.is_unauthorized());
}

#[test]
fn conversations_and_history_are_read() {
    let list = answer("/r/Conversation/listNewestPagination answer")
        .outcome()
        .unwrap()
        .body;
    let page = Page::conversations(&list);
    assert_eq!(page.next, None);
    let [one] = &page.all[..] else {
        panic!("{page:?}")
    };
    assert_eq!(
        (one.id.as_str(), one.peer(ME), one.kind),
        (CHAT, Some(PEER), 1)
    );
    assert_eq!(
        (one.item.as_deref(), one.item_title.as_deref()),
        (Some("500000000005"), Some("合成商品"))
    );
    assert_eq!(
        (one.unread, one.modified_ms),
        (Some(0), Some(1_795_177_970_583))
    );
    assert_eq!(
        one.last_message.as_ref().unwrap().content,
        Content::Text("hello".into())
    );

    let created = answer("/r/SingleChatConversation/create answer")
        .outcome()
        .unwrap()
        .body;
    assert_eq!(Conversation::read(&created).unwrap().id, CHAT);

    let history = answer("/r/MessageManager/listUserMessages answer")
        .outcome()
        .unwrap()
        .body;
    let page = Page::messages(&history);
    let [one] = &page.all[..] else {
        panic!("{page:?}")
    };
    assert_eq!(
        (one.id.as_str(), one.sender.as_deref()),
        ("4000000000001.PNM", Some(ME))
    );
    assert_eq!(
        (one.at_ms, one.item.as_deref()),
        (Some(1_795_177_974_983), Some("500000000005"))
    );
    assert_eq!(one.content, Content::Text("history".into()));
}

#[test]
fn the_tokens_call_is_signed_and_encoded_as_recorded() {
    let vector = named("mtop login token request");
    let line = vector["request_line"].as_str().unwrap();
    let target = line.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap();
    assert_eq!(LOGIN_TOKEN.path(), path);
    let data = mtop::login_data(
        "444e9908a51d1cb236a27862abc769c9",
        "9F6EF2AC-193E-4FA8-AF73-0566BA78EAFD-1795177960195",
    );
    let cookie = "556ca03de5ca25b9c4c2009603e04fb4_1795181559952";
    let ours = LOGIN_TOKEN.query(&Signed::new(cookie, 1_795_177_960_204, &data));
    let mut theirs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    for (name, value) in ours {
        let (their_name, their_value) = theirs.next().unwrap();
        assert_eq!(name, their_name);
        // Tracking only, and written differently by everybody.
        if !name.starts_with("spm_") {
            assert_eq!(value, their_value, "{name}");
        }
    }
    assert_eq!(theirs.next(), None);
}

#[test]
fn every_failure_of_the_token_is_told_apart() {
    let body =
        |name: &str| serde_json::from_str::<Value>(named(name)["body"].as_str().unwrap()).unwrap();
    let refusal = |name: &str| mtop::outcome(body(name)).unwrap_err().0;
    let token = Token::read(&mtop::outcome(body("mtop success")).unwrap()).unwrap();
    assert_eq!(
        (token.token.as_str(), token.valid_ms),
        ("oauth_k1:synthetic-b6e216117c6c72f6a56a5e5d", 86_400_000)
    );
    for name in [
        "mtop token empty",
        "mtop token expired",
        "mtop TOKEN_ILLEGAL with a new cookie",
        "mtop TOKEN_ILLEGAL without a cookie",
    ] {
        assert_eq!(refusal(name), mtop::Refusal::SigningToken, "{name}");
    }
    for name in [
        "mtop SESSION_EXPIRED with a new cookie",
        "mtop SESSION_EXPIRED without a cookie",
    ] {
        assert_eq!(refusal(name), mtop::Refusal::SessionExpired, "{name}");
    }
    assert_eq!(refusal("mtop ILLEGAL_ACCESS"), mtop::Refusal::IllegalAccess);
    let mtop::Refusal::Challenge(Some(url)) = refusal("mtop USER_VALIDATE + RGV587") else {
        panic!("a challenge with its address")
    };
    assert!(
        url.contains("_____tmd_____/punish") && url.contains("action=captcha"),
        "{url}"
    );
}

/// A vector that no test reads would prove nothing.
#[test]
fn no_vector_is_left_out() {
    let source = include_str!("vectors.rs");
    let names: BTreeSet<String> = frames()
        .iter()
        .map(|frame| frame["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 62);
    let left_out: Vec<&String> = names
        .iter()
        // Every push is read by its events; the handshake's headers are mandatory ones, which the SDK writes.
        .filter(|name| !name.starts_with("push ") && *name != "ws handshake headers")
        .filter(|name| !source.contains(&format!("\"{name}\"")))
        .collect();
    assert_eq!(left_out, Vec::<&String>::new());
}
