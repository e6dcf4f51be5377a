//! Events of the vectors' items.

use super::*;
use im_bridge_sdk::model::EventKind;

const ME: &str = "1000000001";

fn text_item() -> Value {
    json!({
        "1": {
            "1": { "1": "2000000002@goofish" }, "2": "30000000001@goofish", "3": "4000000000001.PNM", "5": 1_700_000_000_123_i64,
            "6": { "1": 101, "3": { "2": "你好 synthetic", "4": 1,
                "5": "{\"atUsers\":[],\"contentType\":1,\"text\":{\"text\":\"你好 synthetic\"}}" } },
            "10": {
                "_platform": "web", "clientIp": "192.0.2.10", "utdid": "u", "senderUserId": "2000000002", "senderUserType": "0",
                "reminderTitle": "synthetic-nick", "sessionType": "1",
                "reminderUrl": "fleamarket://message_chat?itemId=500000000005&peerUserId=2000000002",
            },
        },
    })
}

fn said(tree: &Value) -> message::Message {
    message::Message::pushed(tree).unwrap()
}

fn data(event: &Event) -> Value {
    serde_json::to_value(event).unwrap()
}

#[test]
fn a_message_is_the_example_of_the_event_model() {
    let event = message(ME, &said(&text_item()), None, Delivery::Live);
    let mut payload = Vec::new();
    event.write_payload(&mut payload);
    let wanted = r#"{"self":{"user_id":"1000000001"},"channel":{"id":"30000000001","kind":"dm","native_kind":"1"},"actor":{"id":"2000000002","name":"synthetic-nick","kind":"human"},"actor_resolved":true,"message":{"id":"4000000000001.PNM","segments":[{"type":"text","data":{"text":"你好 synthetic"}}],"alt_text":"你好 synthetic","reply_to":null,"mentions":{"all":false,"user_ids":[]},"created_at":"2023-11-14T22:13:20.123Z","status":"normal"},"ext":{"goofish":{"content_type":1,"item_id":"500000000005","platform":"web"}}}"#;
    assert_eq!(str::from_utf8(&payload).unwrap(), wanted);
    assert_eq!(event.order_key, "1700000000123.4000000000001.PNM");
    let id = im_bridge_sdk::model::ids::event_id(&im_bridge_sdk::model::ids::EventIdentity {
        provider: "goofish",
        account: "shop1",
        kind: event.kind().as_str(),
        channel: event.channel_id().unwrap(),
        native_id: &event.native_id(),
        native_rev: &event.native_rev(),
        payload: &payload,
        time_ms: 0,
    });
    assert_eq!(id.as_str(), "6hwbqlbp5cpww5nfqjmntoxewc");
}

#[test]
fn nothing_private_of_a_peer_is_published() {
    let mut unknown = text_item();
    unknown["1"]["3"] = json!(7);
    let native = crate::native::item::read(&crate::native::frame::RawItem {
        object_type: Some(1),
        data: unknown.to_string(),
    });
    let [unknown @ Item::Unknown { .. }] = &native[..] else {
        panic!("{native:?}")
    };
    for event in [
        message(ME, &said(&text_item()), None, Delivery::Live),
        other(ME, unknown, None).unwrap(),
    ] {
        let data = data(&event).to_string();
        assert!(
            !data.contains("192.0.2.10") && !data.contains("utdid"),
            "{data}"
        );
        assert!(data.contains("synthetic-nick"), "{data}");
    }
}

#[test]
fn an_echo_names_its_command_and_another_device_does_not() {
    let said = said(&text_item());
    let ours = message(
        ME,
        &said,
        Some(&Author::Command("k1".into())),
        Delivery::Live,
    );
    assert_eq!(
        (ours.origin, ours.client_ref.as_deref()),
        (Origin::Bridge, Some("k1"))
    );
    let others = message(ME, &said, Some(&Author::Elsewhere), Delivery::Backfill);
    assert_eq!(
        (others.origin, others.client_ref),
        (Origin::SelfOtherDevice, None)
    );
    assert_eq!(others.delivery, Delivery::Backfill);
}

#[test]
fn contents_without_a_word_are_kept_whole() {
    let mut card = text_item();
    card["1"]["6"]["3"] =
        json!({ "2": "[paid]", "4": 26, "5": "{\"contentType\":26,\"dxCard\":{\"a\":[1]}}" });
    let event = data(&message(ME, &said(&card), None, Delivery::Live));
    let wanted = json!([{ "type": "opaque", "fallback": "[paid]", "data": {
        "native_type": "26", "encoding": "json", "native": { "contentType": 26, "dxCard": { "a": [1] } },
    } }]);
    assert_eq!(event["message"]["segments"], wanted);
    assert_eq!(event["message"]["alt_text"], "[paid]");
}

#[test]
fn what_is_no_message_becomes_its_kind() {
    let read = Item::Read {
        conversation: Some("7".into()),
        messages: vec!["1.PNM".into()],
        at_ms: Some(5),
    };
    let typing = Item::Typing {
        conversation: "7".into(),
        user: Some("8".into()),
    };
    let order = Item::Order {
        subject: "7".into(),
        reminder: "paid".into(),
        at_ms: None,
        native: json!({ "a": 1 }),
    };
    let hint = Item::SessionHint {
        conversation: "7".into(),
        native: json!({ "sessionId": "7" }),
    };
    let unknown = Item::Unknown {
        object_type: Some(9),
        native: json!({ "z": 1 }),
    };
    let kinds = [
        EventKind::ReceiptRead,
        EventKind::TypingStarted,
        EventKind::NoticeReceived,
    ];
    for (item, kind) in [
        (&read, kinds[0]),
        (&typing, kinds[1]),
        (&order, kinds[2]),
        (&hint, kinds[2]),
        (&unknown, kinds[2]),
    ] {
        let (event, again) = (
            other(ME, item, None).unwrap(),
            other(ME, item, Some("8")).unwrap(),
        );
        assert_eq!(event.kind(), kind);
        // What is known meanwhile does not make it another event.
        if kind != EventKind::TypingStarted {
            assert!(!event.native_id().is_empty());
            assert_eq!(
                (event.native_id(), event.native_rev()),
                (again.native_id(), again.native_rev())
            );
        }
    }
    let receipt = data(&other(ME, &read, Some("8")).unwrap());
    assert_eq!(receipt["actor"]["id"], "8");
    assert_eq!(
        receipt["receipt"],
        json!({ "user_id": null, "message_ids": ["1.PNM"], "at": "1970-01-01T00:00:00.005Z" })
    );
    assert_eq!(
        data(&other(ME, &unknown, None).unwrap())["notice"]["native_type"],
        "item_9"
    );
    assert!(
        other(
            ME,
            &Item::Undecodable {
                object_type: None,
                bytes: 1
            },
            None
        )
        .is_none()
    );
}

#[test]
fn order_keys_are_read_back() {
    let key = order_key(&said(&text_item())).unwrap();
    assert_eq!(order_ms(&key), Some(1_700_000_000_123));
    assert_eq!(order_ms("1700000000123"), None);
    assert_eq!(order_ms("x.PNM"), None);
}
