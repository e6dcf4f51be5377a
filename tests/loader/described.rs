//! Refused by what `describe` answers.

use super::Workshop;
use im_bridge::loader::Loader;
use serde_json::{Value, json};

/// What an adapter says that it can: all that every account's document has to have.
pub fn capabilities(ack: &str) -> Value {
    json!({
        "transport": { "inbound": "push", "outbound": "http", "ack": "response", "poll_fallback": false },
        "events": { "message.created": 2 },
        "limits": {
            "max_in_flight": 4, "max_reads_in_flight": 1, "max_payload_bytes": null, "idempotency_key_chars": 64,
            "recall_max_age_s": null, "media_by": [], "rate": null,
        },
        "guarantees": {
            "ordering": "channel", "inbound_ack": ack, "catch_up": "none", "sender_in_event": true,
            "provider_dedup": false, "verify_after_timeout": false, "message_time": "bridge", "self_echo": false,
        },
    })
}

fn good() -> Value {
    json!({
        "describe": 1, "provider": "zoo", "adapter": { "name": "zoo", "version": "1.0.0" },
        "model": { "major": 1, "minor": 0 },
        "capabilities": capabilities("each"),
        "operations": { "poll_messages": "poll_empty" },
        "session": { "overlap": true, "ack": "each", "window_events": 16 },
        "extensions": { "required": ["imb.kv/1"], "optional": [] },
        "config_schema": {
            "type": "object", "additionalProperties": false, "required": ["rate"],
            "properties": { "rate": { "type": "integer", "minimum": 1 } },
        },
        "config_examples": [{ "rate": 2 }],
        "state_version": 3, "keeps_secrets": true, "from_the_future": [],
    })
}

fn refused(text: &str) -> String {
    let shop = Workshop::new();
    let literal: String = text.chars().flat_map(char::escape_default).collect();
    let file = shop.plugin("p", &[format!("-DDESCRIBE=\"{literal}\"")]);
    let text = shop.refusal(&file);
    text.replace("cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): ", "")
        .replace("; run im-bridge plugin check <dir>/p.so", "")
}

fn changed(pointer: &str, value: Value) -> String {
    let mut document = good();
    *document.pointer_mut(pointer).unwrap() = value;
    refused(&document.to_string())
}

#[test]
fn a_good_description_is_read_whole() {
    let shop = Workshop::new();
    let literal: String = good()
        .to_string()
        .chars()
        .flat_map(char::escape_default)
        .collect();
    let file = shop.plugin("p", &[format!("-DDESCRIBE=\"{literal}\"")]);
    let description = &shop.load(&file).unwrap().description;
    assert_eq!(description.capabilities.max_in_flight, 4);
    assert_eq!(description.session.window_events, Some(16));
    assert_eq!(description.operations["poll_messages"], "poll_empty");
    assert_eq!(description.state_version, 3);
    assert!(description.keeps_secrets);
    assert_eq!(description.document["from_the_future"], json!([]));
}

#[test]
fn a_description_that_is_no_document_is_refused() {
    assert_eq!(
        refused("{\"describe\":1,"),
        "plugin_describe: describe /: is not JSON: EOF while parsing a value at line 1 column 14"
    );
    assert_eq!(
        refused("[]"),
        "plugin_describe: describe /: is not an object"
    );
    assert_eq!(
        refused(""),
        "plugin_describe: describe /: the call answered nothing"
    );
}

#[test]
fn the_remedy_names_the_check() {
    let shop = Workshop::new();
    let file = shop.plugin("p", &["-DDESCRIBE=\"7\""]);
    assert_eq!(
        shop.refusal(&file),
        "plugin_describe: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): describe /: is not an object; \
         run im-bridge plugin check <dir>/p.so"
    );
}

#[test]
fn what_contradicts_the_descriptor_is_refused() {
    let mut document = good();
    document["provider"] = json!("oof");
    document["adapter"]["version"] = json!("2.0.0");
    assert_eq!(
        refused(&document.to_string()),
        "plugin_describe: describe /provider: is `oof`, the descriptor says `zoo`\n\
         plugin_describe: describe /adapter/version: is `2.0.0`, the descriptor says `1.0.0`"
    );
}

#[test]
fn every_missing_member_is_told() {
    assert_eq!(
        refused("{}"),
        "plugin_describe: describe /describe: is missing\n\
         plugin_describe: describe /provider: is missing\n\
         plugin_describe: describe /adapter: is missing\n\
         plugin_describe: describe /model: is missing\n\
         plugin_describe: describe /capabilities: is missing\n\
         plugin_describe: describe /config_examples: has no example\n\
         plugin_describe: describe /config_schema: is missing"
    );
}

#[test]
fn capabilities_that_no_account_could_publish_are_refused() {
    assert_eq!(
        changed(
            "/capabilities",
            json!({ "commands": { "message.send": 2 } })
        ),
        "plugin_describe: describe /capabilities/transport: is missing\n\
         plugin_describe: describe /capabilities/limits: is missing\n\
         plugin_describe: describe /capabilities/guarantees: is missing"
    );
    assert_eq!(
        changed("/capabilities/transport", json!({ "inbound": "push" })),
        "plugin_describe: describe /capabilities: fits no account: missing field `outbound`"
    );
}

#[test]
fn members_of_a_wrong_kind_are_told() {
    assert_eq!(
        changed(
            "/session",
            json!({ "overlap": 1, "ack": "all", "window_events": 0 })
        ),
        "plugin_describe: describe /session/overlap: is not a boolean\n\
         plugin_describe: describe /session/ack: is none of `none`, `cumulative`, `each`\n\
         plugin_describe: describe /session/window_events: is not from 1 to 1024\n\
         plugin_describe: describe /capabilities/guarantees/inbound_ack: differs from /session/ack, which is `none`"
    );
    assert_eq!(
        changed("/capabilities/events", json!({ "a/b": 3 })),
        "plugin_describe: describe /capabilities/events/a~1b: is not a level from -2 to 2"
    );
}

#[test]
fn another_event_model_is_refused() {
    assert_eq!(
        changed("/model/major", json!(2)),
        "plugin_model: writes event model 2, this bridge publishes 1; use an adapter for model 1"
    );
}

#[test]
fn a_required_extension_must_be_offered() {
    let mut document = good();
    document["extensions"]["required"] = json!(["imb.kv/1", "imb.media/1"]);
    let shop = Workshop::new();
    let literal: String = document
        .to_string()
        .chars()
        .flat_map(char::escape_default)
        .collect();
    let file = shop.plugin("p", &[format!("-DDESCRIBE=\"{literal}\"")]);
    assert_eq!(
        shop.refusal(&file),
        "plugin_extension: cannot load zoo 1.0.0 (<dir>/p.so, sha256 <sha>): requires imb.media/1, \
         this bridge offers imb.kv/1, imb.metrics/1, imb.verify/1; upgrade im-bridge"
    );
    let loader = Loader::new(shop.config()).unwrap().offering("imb.media/1");
    loader.load(&file).unwrap();
    assert!(shop.load(&file).is_err(), "also when it is loaded already");
}

#[test]
fn the_schema_must_be_one_for_an_account() {
    assert_eq!(
        changed("/config_schema/additionalProperties", json!(true)),
        "plugin_describe: describe /config_schema/additionalProperties: is not false"
    );
    assert_eq!(
        changed("/config_schema/properties", json!({ "bridge": {} })),
        "plugin_describe: describe /config_schema/properties/bridge: is the core's own key"
    );
    assert_eq!(
        changed("/config_examples", json!([{ "rate": 0 }, { "rat": 1 }])),
        "plugin_describe: describe /config_examples/0/rate: no example validates: rate must be at least 1"
    );
}
