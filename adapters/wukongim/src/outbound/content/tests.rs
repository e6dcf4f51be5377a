#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn made(segments: Value, options: Value) -> Result<(Vec<Value>, Vec<Degradation>), Value> {
    let draft = serde_json::from_value(json!({ "segments": segments })).unwrap();
    let options = serde_json::from_value(options).unwrap();
    match bodies(&draft, &options) {
        Ok(made) => {
            let read = |payload: &Vec<u8>| serde_json::from_slice(payload).unwrap();
            Ok((made.payloads.iter().map(read).collect(), made.degradations))
        }
        Err(outcome) => Err(format!("{outcome:?}").into()),
    }
}

fn one(segment: Value) -> Value {
    let (mut all, _) = made(json!([segment]), json!({})).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn text_and_mentions_are_one_body() {
    let segments = json!([
        { "type": "text", "data": { "text": "👋 " } },
        { "type": "mention", "data": { "user_id": "bob", "name": "Bob" } },
        { "type": "text", "data": { "text": " and " } },
        { "type": "mention_all", "data": {} },
    ]);
    let (all, degradations) = made(segments, json!({})).unwrap();
    let wanted = json!({
        "type": 1, "content": "👋 @Bob and @all", "mention": { "all": 1, "uids": ["bob"] },
        "entities": [{ "offset": 3, "length": 4, "type": "mention", "value": "bob" }],
    });
    assert_eq!((all, degradations.len()), (vec![wanted], 0));
}

#[test]
fn plain_text_is_written_as_every_client_writes_it() {
    let draft = serde_json::from_value(
        json!({ "segments": [{ "type": "text", "data": { "text": "hello" } }] }),
    )
    .unwrap();
    let made = bodies(&draft, &Options::default()).unwrap();
    assert_eq!(made.payloads, [br#"{"content":"hello","type":1}"#.to_vec()]);
}

#[test]
fn media_goes_by_address() {
    let image = json!({ "type": "image", "data": { "media": { "url": "https://x/a", "width": 1, "height": 2 } } });
    assert_eq!(
        one(image),
        json!({ "type": 2, "url": "https://x/a", "width": 1, "height": 2 })
    );
    let voice = json!({ "type": "voice", "data": { "media": { "url": "https://x/a" }, "duration_ms": 1500 } });
    assert_eq!(
        one(voice),
        json!({ "type": 4, "url": "https://x/a", "timeTrad": 2 })
    );
    let blob = json!({ "type": "image", "data": { "media": { "ref": "blob" } } });
    assert!(made(json!([blob]), json!({})).is_err());
}

#[test]
fn any_body_can_be_given_as_it_is() {
    let own = json!({ "type": "opaque", "data": { "native_type": "1234", "encoding": "json",
        "native": { "type": 1234, "x": 1 } } });
    assert_eq!(one(own), json!({ "type": 1234, "x": 1 }));
    let none = json!({ "type": "opaque", "data": { "native_type": "1234", "encoding": "json", "native": {} } });
    assert!(made(json!([none]), json!({})).is_err());
}

#[test]
fn what_cannot_be_carried_is_replaced_only_when_allowed() {
    let link = json!([{ "type": "link", "data": { "url": "https://x", "title": "X" } }]);
    assert!(made(link.clone(), json!({})).is_err());
    let (all, degradations) = made(link, json!({ "on_unsupported": "fallback" })).unwrap();
    assert_eq!(all, [json!({ "type": 1, "content": "X" })]);
    assert_eq!(degradations[0].action, DegradationAction::Fallback);
    let sticker = json!([
        { "type": "sticker", "data": { "media": { "url": "https://x" } } },
        { "type": "text", "data": { "text": "hi" } },
    ]);
    assert!(made(sticker.clone(), json!({ "on_unsupported": "fallback" })).is_err());
    let (all, degradations) = made(sticker, json!({ "on_unsupported": "drop" })).unwrap();
    assert_eq!((all.len(), degradations.len()), (1, 1));
}

#[test]
fn several_messages_need_leave() {
    let segments = json!([
        { "type": "text", "data": { "text": "look" } },
        { "type": "image", "data": { "media": { "url": "https://x/a" } } },
    ]);
    assert!(made(segments.clone(), json!({})).is_err());
    let (all, degradations) = made(segments, json!({ "split": true })).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(degradations[0].action, DegradationAction::Split);
}

#[test]
fn what_no_client_could_read_is_refused() {
    let text = "x".repeat(PAYLOAD_BYTES_MAX);
    let segments = json!([{ "type": "text", "data": { "text": text } }]);
    let refused = made(segments, json!({})).unwrap_err();
    assert!(refused.to_string().contains("PayloadTooLarge"), "{refused}");
}
