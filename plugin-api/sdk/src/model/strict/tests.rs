use super::super::{ChannelKind, Command, CommandData, Json, OnUnsupported, params};
use super::{Refused, read};
use serde_json::{Value, json};

fn send(message: Value) -> Result<CommandData<params::MessageSend>, Refused> {
    read(&json!({ "params": { "to": { "channel_id": "c" }, "message": message } }))
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(
    result: Result<T, Refused>,
    pointer: &str,
    problem: &str,
    nearest: Option<&str>,
) {
    let refused = result.unwrap_err();
    assert_eq!(
        (
            refused.pointer().as_str(),
            refused.problem(),
            refused.nearest()
        ),
        (pointer, problem, nearest)
    );
}

#[test]
fn unknown_members_are_refused_at_every_depth_with_their_place() {
    assert_refused(
        send(json!({ "segments": [], "reply": null })),
        "/params/message/reply",
        "unknown member `reply`",
        Some("reply_to"),
    );
    let text = |data| json!({ "segments": [{ "type": "text", "data": { "text": "x" } }, { "type": "text", "data": data }] });
    assert_refused(
        send(text(json!({ "text": "x", "fromat": "html" }))),
        "/params/message/segments/1/data/fromat",
        "unknown member `fromat`",
        Some("format"),
    );
    assert_refused(
        send(text(json!({ "text": "x", "completely": "else" }))),
        "/params/message/segments/1/data/completely",
        "unknown member `completely`",
        None,
    );
    assert_refused(
        Command::ChannelGet.check(&json!({ "channel_id": "c", "a/b~c": 1 })),
        "/a~1b~0c",
        "unknown member `a/b~c`",
        None,
    );
}

#[test]
fn words_with_a_stand_in_for_readers_are_refused_all_the_same() {
    let text =
        json!({ "segments": [{ "type": "text", "data": { "text": "x", "format": "markdwn" } }] });
    let place = "/params/message/segments/0/data/format";
    assert_refused(
        send(text),
        place,
        "unknown value `markdwn`",
        Some("markdown"),
    );
    let segment = json!({ "segments": [{ "data": {}, "type": "txt" }] });
    assert_refused(
        send(segment),
        "/params/message/segments/0/type",
        "unknown value `txt`",
        Some("text"),
    );
    let kind = json!({ "kind": "grp", "member_ids": [] });
    assert_refused(
        Command::ChannelCreate.check(&kind),
        "/kind",
        "unknown value `grp`",
        Some("group"),
    );
}

#[test]
fn missing_and_ill_typed_members_are_named() {
    assert_refused(
        send(json!({})),
        "/params/message",
        "member `segments` is missing",
        None,
    );
    let typed = Command::MemberAdd.check(&json!({ "channel_id": "c", "user_ids": ["u", 7] }));
    assert_refused(
        typed,
        "/user_ids/1",
        "invalid type: integer `7`, expected a string",
        None,
    );
    let flag = Command::ContactApprove.check(&json!({ "request_id": "r", "accept": "yes" }));
    assert_refused(
        flag,
        "/accept",
        "invalid type: string \"yes\", expected a boolean",
        None,
    );
    assert_refused(
        Command::ChannelGet.check(&json!([])),
        "",
        "an object is needed",
        None,
    );
}

#[test]
fn exactly_one_form_of_address_is_taken() {
    let to = |to| Command::MessageSend.check(&json!({ "to": to, "message": { "segments": [] } }));
    assert_eq!(to(json!({ "user_id": "u" })), Ok(()));
    let problem = "exactly one of channel_id, user_id is needed";
    assert_refused(
        to(json!({ "user_id": "u", "channel_id": "c" })),
        "/to",
        problem,
        None,
    );
    assert_refused(to(json!({})), "/to", problem, None);
    assert_refused(
        to(json!({ "userid": "u" })),
        "/to/userid",
        "unknown member `userid`",
        Some("user_id"),
    );
}

#[test]
fn carried_json_and_provider_options_pass_unlooked_at() {
    let params = json!({ "method": "m", "body": { "any": [1, null] }, "ext": { "sim": { "x": { "y": 1 } } } });
    let call: params::NativeCall = read(&params).unwrap();
    assert_eq!(call.body, Some(Json::from(json!({ "any": [1, null] }))));
    assert_eq!(call.ext["sim"].as_str(), r#"{"x":{"y":1}}"#);
}

#[test]
fn what_is_right_is_read_like_serde_reads_it() {
    let value = json!({
        "idempotency_key": "k",
        "params": {
            "to": { "user_id": "u" },
            "message": {
                "segments": [
                    { "type": "image", "data": { "media": { "url": "https://a.example", "size": 7 } }, "fallback": "pic" },
                    { "type": "location", "data": { "latitude": 1, "longitude": -2.5 } },
                    { "type": "forward", "data": { "messages": [] } },
                ],
                "thread_id": null,
            },
        },
        "options": { "on_unsupported": "drop", "notify": false },
    });
    let strictly: CommandData<params::MessageSend> = read(&value).unwrap();
    assert_eq!(
        serde_json::from_value::<CommandData<params::MessageSend>>(value).unwrap(),
        strictly
    );
    let options = strictly.options.unwrap();
    assert_eq!(
        (options.on_unsupported, options.notify, options.split),
        (OnUnsupported::Drop, false, false)
    );
    assert_eq!(read(&json!("room")), Ok(ChannelKind::Room));
}

#[test]
fn a_refusal_reads_as_a_sentence() {
    let refused = send(json!({ "segments": [], "reply": null })).unwrap_err();
    let expected = "unknown member `reply` at /params/message/reply; did you mean `reply_to`?";
    assert_eq!(refused.to_string(), expected);
}
