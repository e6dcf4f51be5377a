//! Gives texts from variables and flags the type that the schema wants at their place.
//!
//! Never by looking at the text: `00123` is a password where a text is wanted and a number where a number is.

use super::tree::{Table, Value};
use serde_json::Value as Json;

/// Types every text of the table; one that does not fit, or whose place no schema knows
/// yet, stays as it is.
pub fn apply(table: &mut Table, schema: &Json) {
    table_at(table, schema, schema);
}

fn table_at(table: &mut Table, schema: &Json, root: &Json) {
    for (key, entry) in &mut table.0 {
        let below = below(schema, key, root);
        match &mut entry.node.value {
            Value::Table(table) => {
                if let Some(schema) = below {
                    table_at(table, schema, root);
                }
            }
            Value::Untyped(text) => {
                if let Some(typed) = below.and_then(|schema| typed(text, schema, root)) {
                    entry.node.value = Value::Typed(typed);
                }
            }
            Value::Typed(_) | Value::Null => {}
        }
    }
}

/// Follows a local reference.
fn resolved<'a>(schema: &'a Json, root: &'a Json) -> &'a Json {
    let mut schema = schema;
    // As many hops as anyone writes; a reference to itself ends here.
    for _ in 0..16 {
        let Some(pointer) = schema["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix('#'))
        else {
            break;
        };
        match root.pointer(pointer) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// The alternatives that a schema leaves open, itself included.
fn choices<'a>(schema: &'a Json, root: &'a Json) -> Vec<&'a Json> {
    let own = resolved(schema, root);
    let mut all = vec![own];
    for word in ["anyOf", "oneOf", "allOf"] {
        let inner = own[word].as_array().into_iter().flatten();
        all.extend(inner.map(|choice| resolved(choice, root)));
    }
    all
}

fn below<'a>(schema: &'a Json, key: &str, root: &'a Json) -> Option<&'a Json> {
    choices(schema, root).into_iter().find_map(|choice| {
        let named = choice["properties"].get(key);
        named.or_else(|| {
            choice
                .get("additionalProperties")
                .filter(|rest| rest.is_object())
        })
    })
}

fn typed(text: &str, schema: &Json, root: &Json) -> Option<Json> {
    let mut types = Vec::new();
    for choice in choices(schema, root) {
        match &choice["type"] {
            Json::String(one) => types.push(one.as_str()),
            Json::Array(several) => types.extend(several.iter().filter_map(Json::as_str)),
            _ => {}
        }
    }
    if types.contains(&"string") {
        return Some(Json::String(text.to_owned()));
    }
    let fits = |json: &Json| match json {
        Json::Number(number) => {
            types.contains(&"number") || types.contains(&"integer") && !number.is_f64()
        }
        Json::Bool(_) => types.contains(&"boolean"),
        Json::Array(_) => types.contains(&"array"),
        Json::Object(_) => types.contains(&"object"),
        Json::Null => types.contains(&"null"),
        Json::String(_) => false,
    };
    serde_json::from_str(text).ok().filter(fits)
}
