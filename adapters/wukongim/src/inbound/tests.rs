#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use im_bridge_sdk::Emission;

use super::*;

fn message(payload: &str) -> Message {
    Message {
        channel: Arc::new(ChannelId::new(2, "g-1001")),
        seq: 42,
        message_id: 1_983_340_123_456_789_012,
        from_uid: "u-2002".to_owned(),
        client_msg_no: "5f0c2a8e-cmn-31".to_owned(),
        time_ms: 1_760_003_600_000,
        flags: Flags::RED_DOT,
        setting: 0,
        topic: String::new(),
        expire_s: 0,
        payload: payload.as_bytes().to_vec(),
        delivery: Delivery::Live,
        ack: None,
    }
}

fn data(message: Message) -> Value {
    let event = event("bot-1", message, &mut SentRefs::default());
    serde_json::to_value(&event).unwrap()
}

fn segments(payload: &str) -> Value {
    data(message(payload))["message"]["segments"].clone()
}

#[test]
fn the_event_of_the_model_page_is_made_byte_for_byte() {
    let payload = json!({
        "type": 1, "content": "@bot-1 where is my parcel?", "mention": { "uids": ["bot-1"] },
        "reply": {
            "message_id": "1983340123456789004", "from_uid": "bot-1",
            "payload": { "type": 1, "content": "shipped" },
        },
    });
    let event = event(
        "bot-1",
        message(&payload.to_string()),
        &mut SentRefs::default(),
    );
    let mut written = Vec::new();
    event.write_payload(&mut written);
    let wanted = concat!(
        r#"{"self":{"user_id":"bot-1"},"channel":{"id":"2-g-1001","kind":"group","native_kind":"2"},"#,
        r#""actor":{"id":"u-2002","kind":"unknown"},"actor_resolved":true,"message":{"id":"1983340123456789012","#,
        r#""segments":[{"type":"mention","data":{"user_id":"bot-1"}},"#,
        r#"{"type":"text","data":{"text":" where is my parcel?"}}],"alt_text":"@bot-1 where is my parcel?","#,
        r#""reply_to":{"message_id":"1983340123456789004","sender_id":"bot-1","excerpt":"shipped"},"#,
        r#""mentions":{"all":false,"user_ids":["bot-1"]},"created_at":"2025-10-09T09:53:20.000Z","status":"normal"},"#,
        r#""ext":{"wukongim":{"client_msg_no":"5f0c2a8e-cmn-31","message_seq":"42","body_type":1}}}"#,
    );
    assert_eq!(String::from_utf8(written).unwrap(), wanted);
    assert_eq!(event.order_key, "00000000000000000042");
    let _: Emission = event.into();
}

#[test]
fn each_body_type_has_its_segment() {
    let cases = [
        (
            r#"{"type":2,"url":"https://x/a.png","width":10,"height":20}"#,
            json!({"type":"image","data":{"media":{"url":"https://x/a.png","width":10,"height":20}}}),
        ),
        (
            r#"{"type":3,"url":"file/a.gif"}"#,
            json!({"type":"image","data":{"media":{"native_id":"file/a.gif"},"animated":true}}),
        ),
        (
            r#"{"type":4,"url":"https://x/a.amr","timeTrad":3}"#,
            json!({"type":"voice","data":{"media":{"url":"https://x/a.amr"},"duration_ms":3000}}),
        ),
        (
            r#"{"type":5,"url":"https://x/a.mp4","cover":"https://x/a.jpg","size":7,"second":2,"width":1,"height":1}"#,
            json!({"type":"video","data":{"media":{"url":"https://x/a.mp4","size":7,"width":1,"height":1},
                "duration_ms":2000,"thumbnail":{"url":"https://x/a.jpg"}}}),
        ),
        (
            r#"{"type":6,"lng":121.5,"lat":"31.2","title":"Bund","address":"Shanghai"}"#,
            json!({"type":"location","data":{"latitude":31.2,"longitude":121.5,"title":"Bund","address":"Shanghai"}}),
        ),
        (
            r#"{"type":7,"uid":"carol","name":"Carol"}"#,
            json!({"type":"contact","data":{"user_id":"carol","name":"Carol"}}),
        ),
        (
            r#"{"type":8,"url":"https://x/a.pdf","name":"a.pdf","size":9}"#,
            json!({"type":"file","data":{"media":{"url":"https://x/a.pdf","name":"a.pdf","size":9}}}),
        ),
        (
            r#"{"type":12,"content":"[smile]","format":"lim"}"#,
            json!({"type":"opaque","data":{"native_type":"12","encoding":"json",
                "native":{"type":12,"content":"[smile]","format":"lim"}},"fallback":"[smile]"}),
        ),
        (
            r#"{"type":"text","content":{"text":"hi"}}"#,
            json!({"type":"text","data":{"text":"hi"}}),
        ),
        (
            "no JSON",
            json!({"type":"opaque","data":{"native_type":"raw","encoding":"utf8","native":"no JSON"}}),
        ),
        (
            r#"{"type":6,"lng":999}"#,
            json!({"type":"opaque","data":{"native_type":"6","encoding":"json","native":{"type":6,"lng":999}}}),
        ),
    ];
    for (payload, wanted) in cases {
        assert_eq!(segments(payload), json!([wanted]), "{payload}");
    }
    let bytes = Message {
        payload: vec![0xff, 0x00],
        ..message("")
    };
    assert_eq!(
        data(bytes)["message"]["segments"][0]["data"]["encoding"],
        "base64"
    );
}

#[test]
fn what_the_model_has_no_word_for_is_kept_beside() {
    let payload = r#"{"type":2,"url":"https://x/a","blurhash":"abc"}"#;
    assert_eq!(
        data(message(payload))["ext"]["wukongim"]["body"]["blurhash"],
        "abc"
    );
    let plain = r#"{"type":1,"content":"x"}"#;
    assert!(
        data(message(plain))["ext"]["wukongim"]
            .get("body")
            .is_none()
    );
}

#[test]
fn places_of_mentions_are_counted_in_utf16() {
    let payload = json!({
        "type": 1, "content": "👋 @Bob hi", "mention": { "uids": ["bob"] },
        "entities": [{ "offset": 3, "length": 4, "type": "mention", "value": "bob" }],
    });
    let wanted = json!([
        { "type": "text", "data": { "text": "👋 " } },
        { "type": "mention", "data": { "user_id": "bob", "name": "Bob" } },
        { "type": "text", "data": { "text": " hi" } },
    ]);
    assert_eq!(segments(&payload.to_string()), wanted);
}

#[test]
fn a_mention_without_a_place_is_in_the_list_only() {
    let payload = json!({
        "type": 1, "content": "hello all of you", "mention": { "all": 1, "uids": ["bob"] },
        "entities": [{ "offset": 2, "length": 400, "type": "mention", "value": "bob" }],
    });
    let data = data(message(&payload.to_string()));
    assert_eq!(data["message"]["segments"].as_array().unwrap().len(), 1);
    assert_eq!(
        data["message"]["mentions"],
        json!({ "all": true, "user_ids": ["bob"] })
    );
}

#[test]
fn everybody_is_a_segment_where_it_is_written() {
    let payload = json!({ "type": 1, "content": "@all lunch", "mention": { "all": 1 } });
    let wanted = json!([
        { "type": "mention_all", "data": {} },
        { "type": "text", "data": { "text": " lunch" } },
    ]);
    assert_eq!(segments(&payload.to_string()), wanted);
}

#[test]
fn commands_and_system_bodies_are_notices() {
    let command = data(message(r#"{"type":99,"cmd":"typing","param":{}}"#));
    assert_eq!(command["notice"]["native_type"], "typing");
    assert_eq!(command["notice"]["severity"], "debug");
    let once = Message {
        flags: Flags::SYNC_ONCE,
        ..message(r#"{"type":1,"content":"x"}"#)
    };
    assert_eq!(data(once)["notice"]["severity"], "debug");
    let system = r#"{"type":1001,"content":"{0} added {1}","extra":[{"uid":"a","name":"Ann"},{"name":"Bo"}]}"#;
    let system = data(message(system));
    assert_eq!(system["notice"]["text"], "Ann added Bo");
    assert_eq!(system["notice"]["native_type"], "1001");
}

#[test]
fn own_messages_tell_who_sent_them() {
    let own = || Message {
        from_uid: "bot-1".to_owned(),
        ..message(r#"{"type":1,"content":"x"}"#)
    };
    let mut sent = SentRefs::default();
    let other = event("bot-1", own(), &mut sent);
    assert_eq!(
        (other.origin, other.client_ref),
        (Origin::SelfOtherDevice, None)
    );
    sent.add("5f0c2a8e-cmn-31");
    let echo = event("bot-1", own(), &mut sent);
    assert_eq!(echo.origin, Origin::Bridge);
    assert_eq!(echo.client_ref.as_deref(), Some("5f0c2a8e-cmn-31"));
}

#[test]
fn the_system_sender_has_a_name() {
    let system = Message {
        channel: Arc::new(ChannelId::of_message("bot-1", 1, "", "")),
        from_uid: String::new(),
        ..message(r#"{"type":1,"content":"x"}"#)
    };
    let data = data(system);
    assert_eq!(
        data["actor"],
        json!({ "id": "____system", "kind": "system" })
    );
    assert_eq!(data["channel"]["id"], "1-____system");
}

#[test]
fn history_names_the_other_party() {
    let of = |channel: &str, from: &str| ChannelId::of_message("me", 1, channel, from).to_string();
    assert_eq!(of("bob", "me"), "1-bob", "my own message");
    assert_eq!(of("bob", "bob"), "1-bob", "pushed to me");
    assert_eq!(of("me", "bob"), "1-bob", "read from history");
    assert_eq!(of("me", "me"), "1-me", "to myself");
}

#[test]
fn long_texts_become_several_segments() {
    let payload = json!({ "type": 1, "content": "ä".repeat(70_000) });
    let segments = segments(&payload.to_string());
    let texts = segments.as_array().unwrap().iter();
    let lengths: Vec<usize> = texts
        .map(|s| s["data"]["text"].as_str().unwrap().len())
        .collect();
    assert_eq!(lengths, [65_536, 65_536, 8_928]);
}

#[test]
fn no_body_makes_it_panic_and_every_event_can_be_read_again() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let words = [
        "type",
        "content",
        "mention",
        "uids",
        "all",
        "entities",
        "offset",
        "length",
        "value",
        "reply",
        "message_id",
        "url",
        "width",
        "second",
        "extra",
        "name",
        "cmd",
        "lng",
        "lat",
        "@bob",
        "👋 @all",
        "",
        "bob",
        "text",
    ];
    for _ in 0..3_000 {
        let body = any(&mut random, &words, 4).to_string();
        let event = event("bot-1", message(&body), &mut SentRefs::default());
        let mut written = Vec::new();
        event.write_payload(&mut written);
        Event::read(event.kind(), &written).unwrap_or_else(|error| panic!("{body}: {error}"));
    }
}

/// A JSON value of these words.
fn any(random: &mut fastrand::Rng, words: &[&str], depth: u32) -> Value {
    match random.u8(..if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => (*random.choice(words).unwrap()).into(),
        3 => random.i64(-3..2_100).into(),
        4 => (random.f64() * 400.0 - 200.0).into(),
        5 => (0..random.usize(..4))
            .map(|_| any(random, words, depth - 1))
            .collect(),
        _ => {
            let members = (0..random.usize(..6)).map(|_| {
                let name = (*random.choice(words).unwrap()).to_owned();
                let kinds = [1, 2, 3, 4, 5, 6, 7, 8, 11, 99, 1001];
                let value = match name.as_str() {
                    "type" => (*random.choice(&kinds).unwrap()).into(),
                    _ => any(random, words, depth - 1),
                };
                (name, value)
            });
            Value::Object(members.collect())
        }
    }
}
