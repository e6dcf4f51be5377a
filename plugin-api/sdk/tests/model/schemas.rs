//! The committed schemas are those of the types, and say what the examples are.

use crate::{example, file};
use im_bridge_sdk::model::{
    CapabilityDocument, Command, ErrorCode, ErrorObject, Event, EventKind, Feature, Level, Levels,
    State, schema,
};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn committed_schemas_are_those_of_the_types() {
    let folder = file("docs/schema/v1");
    let is_update = std::env::var_os("IM_BRIDGE_UPDATE").is_some_and(|value| value == "1");
    let mut expected = BTreeSet::new();
    let mut drifted = Vec::new();
    for (name, schema) in schema::all() {
        let path = folder.join(format!("{name}.schema.json"));
        let text = format!("{schema:#}\n");
        if is_update {
            std::fs::write(&path, &text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            drifted.push(name.clone());
        }
        expected.insert(format!("{name}.schema.json"));
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !expected.contains(&name) {
            if is_update {
                std::fs::remove_file(entry.path()).unwrap();
            } else {
                drifted.push(name);
            }
        }
    }
    assert!(
        drifted.is_empty(),
        "IM_BRIDGE_UPDATE=1 cargo test rewrites them: {drifted:?}"
    );
    assert_eq!(expected.len(), 123);
}

/// All schemas under their names; nothing is ever fetched.
fn registry() -> Registry<'static> {
    let mut registry = Registry::new();
    for (name, schema) in schema::all() {
        registry = registry.add(schema::urn(&name), schema).unwrap();
    }
    registry.prepare().unwrap()
}

fn validator(registry: &Registry<'_>, name: &str) -> Validator {
    jsonschema::options()
        .with_registry(registry)
        .offline()
        .should_validate_formats(true)
        .build(&json!({ "$ref": schema::urn(name) }))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
fn assert_valid(registry: &Registry<'_>, name: &str, value: &Value) {
    let errors: Vec<String> = validator(registry, name)
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{value:#}");
}

#[track_caller]
fn assert_invalid(registry: &Registry<'_>, name: &str, value: &Value) {
    assert!(
        !validator(registry, name).is_valid(value),
        "{name} takes {value}"
    );
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&example(name)).unwrap()
}

#[test]
fn every_schema_is_valid_and_finds_its_parts() {
    let registry = registry();
    for (name, schema) in schema::all() {
        assert_eq!(schema["$id"], schema::urn(&name));
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        validator(&registry, &name);
    }
}

#[test]
fn examples_are_valid() {
    let registry = registry();
    for (provider, command) in [
        ("goofish", "message.send"),
        ("wukongim", "channel.create"),
        ("volcengine", "message.recall"),
        ("dromara", "message.send"),
    ] {
        let event = read(&format!("{provider}.event"));
        assert_valid(&registry, "envelope.event", &event);
        assert_valid(&registry, "evt.message.created", &event["data"]);
        assert_valid(&registry, "message", &event["data"]["message"]);
        let result = read(&format!("{provider}.result"));
        assert_valid(&registry, "envelope.result", &result);
        assert_valid(&registry, &format!("res.{command}"), &result["data"]);
        let sent = read(&format!("{provider}.command"));
        let data = if sent.get("data").is_some() {
            assert_valid(&registry, "envelope.command", &sent);
            &sent["data"]
        } else {
            &sent
        };
        assert_valid(&registry, &format!("cmd.{command}"), data);
    }
}

#[test]
fn events_let_unknown_members_pass_and_commands_refuse_them_at_every_depth() {
    let registry = registry();
    let mut event = read("goofish.event")["data"].clone();
    event["later"] = json!(1);
    event["message"]["later"] = json!(1);
    event["message"]["segments"][0]["data"]["later"] = json!(1);
    assert_valid(&registry, "evt.message.created", &event);
    let command = read("goofish.command")["data"].clone();
    for place in [
        "",
        "/params",
        "/params/message",
        "/params/message/segments/0",
        "/params/message/segments/0/data",
    ] {
        let mut wrong = command.clone();
        wrong.pointer_mut(place).unwrap()["typo"] = json!(1);
        assert_invalid(&registry, "cmd.message.send", &wrong);
    }
    let mut wrong = command.clone();
    wrong["params"]["to"]["user_id"] = json!("both");
    assert_invalid(&registry, "cmd.message.send", &wrong);
    let mut extended = command;
    extended["params"]["ext"] = json!({ "goofish": { "receivers": ["1"] } });
    assert_valid(&registry, "cmd.message.send", &extended);
}

#[test]
fn required_members_may_be_null_and_optional_ones_may_not() {
    let registry = registry();
    let mut event = read("goofish.event")["data"].clone();
    event["actor"] = Value::Null;
    event["message"]["created_at"] = Value::Null;
    assert_valid(&registry, "evt.message.created", &event);
    event["message"]["thread_id"] = Value::Null;
    assert_invalid(&registry, "evt.message.created", &event);
    event["message"]
        .as_object_mut()
        .unwrap()
        .remove("thread_id");
    event["message"].as_object_mut().unwrap().remove("reply_to");
    assert_invalid(&registry, "evt.message.created", &event);
}

#[test]
fn control_verbs_without_parameters_need_no_body() {
    let registry = registry();
    assert_valid(&registry, "cmd.account.login", &json!({}));
    assert_valid(
        &registry,
        "cmd.account.sync",
        &json!({ "params": { "from": "2025-10-09T09:53:20.000Z" } }),
    );
    assert_invalid(
        &registry,
        "cmd.account.login",
        &json!({ "params": { "from": "x" } }),
    );
    assert_invalid(&registry, "cmd.account.answer_challenge", &json!({}));
}

#[test]
fn every_kind_of_event_is_valid_by_its_schema_and_read_back() {
    let registry = registry();
    for event in super::events::one_of_each_kind() {
        let name = format!("evt.{}", event.kind());
        let mut payload = Vec::new();
        event.write_payload(&mut payload);
        assert_valid(&registry, &name, &serde_json::from_slice(&payload).unwrap());
        let read = Event::read(event.kind(), &payload).unwrap();
        let mut again = Vec::new();
        read.write_payload(&mut again);
        assert_eq!(again, payload, "{name}");
        assert_eq!(
            (read.channel, read.actor),
            (event.channel, event.actor),
            "{name}"
        );
    }
    assert_eq!(
        super::events::one_of_each_kind().len(),
        EventKind::ALL.len()
    );
}

#[test]
fn a_capability_document_is_read_and_written_without_loss() {
    let written = read("dromara.capability");
    assert_valid(&registry(), "capability", &written);
    let document: CapabilityDocument = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), written);
    let can = document.capabilities;
    assert_eq!(
        (
            can.commands.get(Command::MessageSend),
            can.events.get(EventKind::MessageUpdated)
        ),
        (Level::Full, Level::Rejected)
    );
    let built = Levels::new()
        .with(Level::Full, &[Feature::Reply])
        .with(Level::Partial, &[Feature::Thread]);
    assert_eq!(
        serde_json::to_value(&built).unwrap(),
        json!({ "reply": 2, "thread": 1 })
    );
    let mut later = written;
    later["events"]["poll.closed"] = json!(1);
    let later: CapabilityDocument = serde_json::from_value(later).unwrap();
    assert_eq!(
        later.capabilities.events.get_name("poll.closed"),
        Level::Partial
    );
}

#[test]
fn states_are_valid_with_everything_and_with_little() {
    let registry = registry();
    let little =
        json!({ "state": "starting", "since": "2025-10-09T09:53:20.000Z", "action": "none" });
    let mut all = little.clone();
    all["self"] = json!({ "user_id": "me" });
    all["connection"] = json!({ "transport": "websocket", "attempt": 1 });
    all["challenge"] = json!({ "kind": "qr", "url": "https://a.example" });
    all["reason"] = json!("silent");
    all["error"] =
        serde_json::to_value(ErrorObject::new(ErrorCode::Network, true, "refused")).unwrap();
    all["adapter"] = json!({ "name": "a", "version": "0.1.0", "abi": "1.0", "sha256": "01234567" });
    all["owner"] = json!({ "instance": "r1", "epoch": 7 });
    for state in [little, all] {
        assert_valid(&registry, "state", &state);
        let read: State = serde_json::from_value(state.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), state);
    }
}
