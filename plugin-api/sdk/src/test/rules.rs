//! What the adapter declared in `describe`, and whether an event keeps to it.
//!
//! Not here: credits and tokens, which depend on what happened before; `host.rs` has those.

use crate::test::record::EventRecord;
use crate::test::violation::{Function, Violation};
use im_bridge_plugin_api::abi::PAYLOAD_MAX;
use serde_json::Value;
use std::collections::BTreeSet;

const KIND_BYTES_MAX: usize = 64;
const ID_BYTES_MAX: usize = 512;
const SHORT_BYTES_MAX: usize = 64;
const META_KEY_BYTES_MAX: usize = 32;
const META_VALUE_BYTES_MAX: usize = 128;

/// What `describe` promised.
pub(super) struct Rules {
    pub describe: Value,
    kinds: BTreeSet<String>,
    operations: BTreeSet<String>,
    meta: BTreeSet<String>,
    /// Commands that may be in hand at the same time; none declared: no limit.
    pub commands_max: Option<u64>,
}

impl Rules {
    /// Reads what `describe` answered; the error says which member is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let describe: Value =
            serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
        if describe["describe"] != 1 {
            return Err(format!("/describe is {}, expected 1", describe["describe"]));
        }
        let keys = |pointer: &str| match describe.pointer(pointer) {
            Some(Value::Object(members)) => Ok(members.keys().cloned().collect()),
            other => Err(format!("{pointer} is {other:?}, expected an object")),
        };
        let kinds = keys("/capabilities/events")?;
        let operations = keys("/operations")?;
        let meta = match &describe["meta"] {
            Value::Null => BTreeSet::new(),
            Value::Array(keys) => keys
                .iter()
                .filter_map(|key| key.as_str().map(str::to_owned))
                .collect(),
            other => return Err(format!("/meta is {other}, expected an array")),
        };
        let limit = |name| describe["capabilities"]["limits"][name].as_u64();
        let commands_max =
            limit("max_in_flight").map(|most| most + limit("max_reads_in_flight").unwrap_or(0));
        Ok(Self {
            kinds,
            operations,
            meta,
            commands_max,
            describe,
        })
    }

    /// Whether `describe` lists the extension, required or optional.
    pub fn lists_extension(&self, name: &str) -> bool {
        ["required", "optional"].iter().any(|member| {
            self.describe["extensions"][member]
                .as_array()
                .is_some_and(|names| names.iter().any(|listed| listed == name))
        })
    }

    pub fn declares_operation(&self, name: &str) -> bool {
        self.operations.contains(name)
    }

    /// Every rule that an event breaks by itself. A host puts such an event aside and settles it as rejected.
    pub fn check_event(&self, event: &EventRecord) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut text = |field, value: Option<&str>, most: usize| {
            let length = value.map_or(0, str::len);
            if length > most {
                found.push(bad(
                    Function::Emit,
                    field,
                    format!("has {length} bytes, the limit is {most}"),
                ));
            }
        };
        text("kind", Some(&event.kind), KIND_BYTES_MAX);
        text("channel", event.channel.as_deref(), ID_BYTES_MAX);
        text("native_id", event.native_id.as_deref(), ID_BYTES_MAX);
        text("native_rev", event.native_rev.as_deref(), SHORT_BYTES_MAX);
        text("order_key", event.order_key.as_deref(), SHORT_BYTES_MAX);
        text("client_ref", event.client_ref.as_deref(), SHORT_BYTES_MAX);
        for (key, value) in &event.meta {
            text("meta key", Some(key), META_KEY_BYTES_MAX);
            text("meta value", Some(value), META_VALUE_BYTES_MAX);
        }
        if !self.kinds.contains(&event.kind) {
            found.push(Violation::KindNotDeclared {
                kind: event.kind.clone(),
            });
        }
        for (key, _) in &event.meta {
            if !self.meta.contains(key) {
                found.push(Violation::MetaNotDeclared { key: key.clone() });
            }
        }
        let limit = PAYLOAD_MAX as usize;
        if event.payload.len() > limit {
            found.push(Violation::PayloadTooLarge {
                token: event.token,
                bytes: event.payload.len(),
                limit,
            });
        }
        check_payload(event, &mut found);
        found
    }
}

/// The payload and the routing fields are two tellings of the same event: where both name something, they agree.
fn check_payload(event: &EventRecord, found: &mut Vec<Violation>) {
    let token = event.token;
    let payload: Value = match serde_json::from_slice(&event.payload) {
        Ok(value @ Value::Object(_)) => value,
        Ok(_) => {
            let problem = "it is JSON of another type".to_owned();
            found.push(Violation::PayloadNotJson { token, problem });
            return;
        }
        Err(error) => {
            let problem = error.to_string();
            found.push(Violation::PayloadNotJson { token, problem });
            return;
        }
    };
    let mut same = |member: &'static str, routing: &Option<String>| {
        let told = payload
            .pointer(member)
            .and_then(Value::as_str)
            .map(str::to_owned);
        if told != *routing {
            found.push(Violation::PayloadDisagrees {
                token,
                member,
                payload: told,
                routing: routing.clone(),
            });
        }
    };
    // A raw frame is the provider's own bytes and names nothing.
    if event.kind != "raw.frame" {
        same("/channel/id", &event.channel);
    }
    match event.kind.as_str() {
        "message.created" | "message.updated" => same("/message/id", &event.native_id),
        "message.recalled" => same("/target/message_id", &event.native_id),
        _ => {}
    }
}

/// A field that breaks its rule.
pub(super) fn bad(function: Function, field: &'static str, problem: String) -> Violation {
    Violation::BadField {
        function,
        field,
        problem,
    }
}
