use super::incoming::{Fallback, expiry_of, read};
use super::{Fail, check};
use async_nats::HeaderMap;
use im_bridge_sdk::model::{Capabilities, Command, ErrorCode};
use serde_json::{Value, json};

const NOBODY: Fallback = Fallback::Sequence(7);

fn fail(result: Result<super::incoming::Data, Fail>) -> (String, Option<String>, String) {
    let Fail(error) = result.expect_err("it is wrong");
    (error.code.to_string(), error.path, error.message)
}

fn send(
    body: &Value,
) -> (
    super::incoming::Attributes,
    Result<super::incoming::Data, Fail>,
) {
    read(
        Command::MessageSend.as_str(),
        None,
        body.to_string().as_bytes(),
        NOBODY,
    )
}

fn text_message() -> Value {
    json!({"to": {"channel_id": "lobby"}, "message": {"segments": [{"type": "text", "data": {"text": "hello"}}]}})
}

#[test]
fn a_command_typed_by_hand_is_read() {
    let (attributes, data) = send(&json!({"idempotency_key": "hello-1", "params": text_message()}));
    let mut data = data.unwrap();
    assert_eq!(attributes.id, "hello-1", "its key names it");
    assert_eq!(data.key.as_deref(), Some("hello-1"));
    check::params(Command::MessageSend, &mut data).unwrap();
    assert_eq!(
        check::target(&data.params),
        check::Target::Channel("lobby".to_owned())
    );
    let body: Value = serde_json::from_slice(&data.body).unwrap();
    assert_eq!(body["params"], text_message());
    assert_eq!(body["options"], json!({}));
}

#[test]
fn a_structured_event_brings_its_attributes() {
    let (attributes, data) = send(&json!({
        "specversion": "1.0", "id": "c1", "source": "/app/desk", "type": "im-bridge.cmd.message.send.v1",
        "expirytime": "2025-10-09T09:53:20.000Z", "correlationid": "order-1", "traceparent": "00-aa",
        "surplus": true, "data": {"params": text_message()},
    }));
    data.unwrap();
    assert_eq!(attributes.id, "c1");
    assert_eq!(attributes.source.as_deref(), Some("/app/desk"));
    assert_eq!(attributes.correlation_id.as_deref(), Some("order-1"));
    assert_eq!(
        attributes.expiry.unwrap().to_string(),
        "2025-10-09T09:53:20.000Z"
    );
}

#[test]
fn binary_mode_takes_attributes_from_headers_of_any_case() {
    let mut headers = HeaderMap::new();
    headers.insert("CE-Source", "/app/desk");
    headers.insert("ce-id", "c2");
    headers.insert("Traceparent", "00-bb");
    let body = json!({"idempotency_key": "k", "params": text_message()}).to_string();
    let (attributes, data) = read(
        Command::MessageSend.as_str(),
        Some(&headers),
        body.as_bytes(),
        NOBODY,
    );
    data.unwrap();
    assert_eq!(
        (attributes.id.as_str(), attributes.source.as_deref()),
        ("c2", Some("/app/desk"))
    );
    assert_eq!(attributes.traceparent.as_deref(), Some("00-bb"));
}

#[test]
fn without_any_name_a_durable_command_has_its_place_in_the_stream() {
    let (attributes, data) = read(
        Command::ChannelList.as_str(),
        None,
        br#"{"params":{}}"#,
        NOBODY,
    );
    data.unwrap();
    assert_eq!(attributes.id, "seq-7");
}

#[test]
fn what_cannot_be_a_command_is_a_bad_request() {
    let structured = |name: &str, value: Value| {
        let mut event = json!({
            "specversion": "1.0", "id": "c1", "source": "/a", "type": "im-bridge.cmd.message.send.v1",
            "data": {"params": text_message()},
        });
        event[name] = value;
        event
    };
    for (body, expected) in [
        ("not json".to_owned(), "not JSON"),
        ("[]".to_owned(), "not an object"),
        (
            structured("type", json!("im-bridge.cmd.message.recall.v1")).to_string(),
            "does not fit the subject",
        ),
        (
            structured("specversion", json!("0.3")).to_string(),
            "not 1.0",
        ),
        (
            structured("expirytime", json!("soon")).to_string(),
            "is no time",
        ),
        (
            structured("id", json!("x".repeat(129))).to_string(),
            "the id has 129 bytes",
        ),
        (
            structured("source", Value::Null).to_string(),
            "`source` is missing",
        ),
    ] {
        let (_, data) = read(Command::MessageSend.as_str(), None, body.as_bytes(), NOBODY);
        let (code, _, message) = fail(data);
        assert_eq!(code, "bad_request", "{body}");
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[test]
fn what_waits_unread_is_late_when_it_would_be_late_if_it_was_read() {
    let time = "2025-10-09T09:53:20.000Z";
    let structured = |expiry: Value| {
        json!({
            "specversion": "1.0", "id": "c1", "source": "/app/desk", "type": "im-bridge.cmd.message.send.v1",
            "expirytime": expiry, "data": {"params": text_message()},
        })
    };
    let mut inside = text_message();
    inside["expirytime"] = json!(time);
    for (body, ce_header, is_late) in [
        (structured(json!(time)), None, true),
        (structured(json!(null)), None, false),
        (structured(json!("soon")), None, false),
        (json!({"params": text_message()}), Some(time), true),
        (json!({"params": text_message()}), Some("soon"), false),
        (json!({"params": text_message()}), None, false),
        (json!({"expirytime": time, "params": inside}), None, false),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(time) = ce_header {
            headers.insert("CE-ExpiryTime", time);
        }
        let body = body.to_string();
        let command = Command::MessageSend.as_str();
        let (read, _) = read(command, Some(&headers), body.as_bytes(), NOBODY);
        let unread = expiry_of(&headers, body.as_bytes());
        assert_eq!(unread, read.expiry, "{body}");
        assert_eq!(unread.is_some(), is_late, "{body}");
    }
}

#[test]
fn unknown_members_are_refused_with_their_place_and_the_nearest_name() {
    let (_, data) = send(&json!({"idempotency_key": "k", "params": text_message(), "option": {}}));
    let Fail(error) = data.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.path.as_deref()),
        ("bad_param", Some("/option"))
    );
    assert_eq!(error.hint.as_deref(), Some("did you mean `options`?"));

    let mut params = text_message();
    params["message"]["segmnets"] = json!([]);
    let (_, data) = send(&json!({"params": params}));
    let Fail(error) = check::params(Command::MessageSend, &mut data.unwrap()).unwrap_err();
    assert_eq!(error.path.as_deref(), Some("/params/message/segmnets"));
}

#[test]
fn ranges_are_checked_with_their_place() {
    for (command, params, place) in [
        (
            Command::MessageList,
            json!({"channel_id": "c", "limit": 0}),
            "/params/limit",
        ),
        (
            Command::MessageList,
            json!({"channel_id": "c", "limit": 201}),
            "/params/limit",
        ),
        (
            Command::MessageList,
            json!({"channel_id": "c", "after": "1", "before": "2"}),
            "/params/before",
        ),
        (
            Command::MemberAdd,
            json!({"channel_id": "c", "user_ids": []}),
            "/params/user_ids",
        ),
        (
            Command::MessageSendBatch,
            json!({"items": []}),
            "/params/items",
        ),
        (
            Command::MessageSend,
            json!({"to": {"channel_id": "c"}, "message": {"segments": []}}),
            "/params/message/segments",
        ),
    ] {
        let body = json!({"params": params}).to_string();
        let (_, data) = read(command.as_str(), None, body.as_bytes(), NOBODY);
        let Fail(error) = check::params(command, &mut data.unwrap()).expect_err(&body);
        assert_eq!(
            (error.code.as_str(), error.path.as_deref()),
            ("bad_param", Some(place)),
            "{body}"
        );
    }
}

fn abilities() -> Capabilities {
    serde_json::from_value(json!({
        "transport": {"inbound": "push", "outbound": "socket", "ack": "response", "poll_fallback": false},
        "commands": {"message.send": 2},
        "segments": {"send": {"text": 2, "link": 0, "image": 2, "voice": -2}, "receive": {}},
        "features": {"mixed_segments": -2},
        "limits": {"max_in_flight": 1, "max_reads_in_flight": 1, "max_payload_bytes": 20, "idempotency_key_chars": 64,
            "recall_max_age_s": null, "media_by": ["url"], "rate": null},
        "guarantees": {"ordering": "channel", "inbound_ack": "each", "catch_up": "full", "sender_in_event": true,
            "provider_dedup": false, "verify_after_timeout": true, "message_time": "provider", "self_echo": true},
    }))
    .unwrap()
}

#[test]
fn what_the_provider_cannot_carry_is_refused_before_it_is_asked() {
    let text = |text: &str| json!({"type": "text", "data": {"text": text}});
    let voice = json!({"type": "voice", "data": {"media": {"url": "https://a/b"}}});
    let mut said = voice.clone();
    said["fallback"] = json!("listen");
    let link = json!({"type": "link", "data": {"url": "https://a"}});
    let image = json!({"type": "image", "data": {"media": {"url": "https://a/b"}}});
    for (segments, options, expected) in [
        (json!([text("hi")]), json!({}), None),
        (json!([voice]), json!({}), Some("unsupported_segment")),
        (json!([voice]), json!({"on_unsupported": "drop"}), None),
        (
            json!([voice]),
            json!({"on_unsupported": "fallback"}),
            Some("unsupported_segment"),
        ),
        (json!([said]), json!({"on_unsupported": "fallback"}), None),
        (json!([link]), json!({}), Some("unsupported_segment")),
        (json!([link]), json!({"on_unsupported": "fallback"}), None),
        (json!([text("hi"), image]), json!({}), Some("bad_segment")),
        (json!([text("hi"), image]), json!({"split": true}), None),
        (
            json!([text("more than twenty bytes of text")]),
            json!({}),
            Some("payload_too_large"),
        ),
    ] {
        let params = json!({"to": {"channel_id": "c"}, "message": {"segments": segments}});
        let (_, data) = send(&json!({"params": params, "options": options}));
        let mut data = data.unwrap();
        check::params(Command::MessageSend, &mut data).unwrap();
        let found = check::abilities(Command::MessageSend, &data, &abilities());
        let code = found.err().map(|Fail(error)| error.code.to_string());
        assert_eq!(code.as_deref(), expected, "{segments} {options}");
    }
    let (_, data) = read(
        Command::MessageRecall.as_str(),
        None,
        br#"{"params":{"channel_id":"c","message_id":"m"}}"#,
        NOBODY,
    );
    let Fail(error) =
        check::abilities(Command::MessageRecall, &data.unwrap(), &abilities()).unwrap_err();
    assert_eq!(error.code, ErrorCode::UnsupportedCommand.as_str());
}
