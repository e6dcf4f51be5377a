//! One key of the configuration: its meaning out of the schema, its value and where it was written.

use crate::cli::failure::{Exit, Failure};
use crate::cli::globals::{Full, Globals};
use crate::cli::output::Output;
use crate::config::{Effective, show_json};
use crate::loader::nearest::hint;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// What the schema says of a place.
struct Place {
    schema: Value,
    /// The keys below it, if it is a table.
    keys: Vec<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Explained<'a> {
    path: &'a str,
    description: Option<&'a str>,
    /// What the schema says of it.
    schema: &'a Value,
    /// The keys below it, if it is a table.
    keys: &'a [String],
    /// In effect now.
    value: Option<&'a Value>,
    /// Where that was written.
    origin: Option<&'a str>,
}

pub(super) fn explain(path: &str, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    let mut origins = globals.origins();
    origins.may_be_empty = true;
    let loaded = Full::load(&origins).config()?;
    let place = find(&loaded.schema, path)?;
    let shown = show_json(&super::masked(loaded));
    let here = shown.get(path);
    if output.json {
        output.document(&Explained {
            path,
            description: text(&place.schema, "description"),
            schema: &place.schema,
            keys: &place.keys,
            value: here.map(|here| &here.value),
            origin: here.map(|here| here.origin.as_str()),
        })?;
        return Ok(Exit::Done);
    }
    match here {
        Some(here) => output.line(format!("{path} = {}", here.value))?,
        None => output.line(path)?,
    }
    if let Some(description) = text(&place.schema, "description") {
        for line in description.lines() {
            output.line(format!("  {line}"))?;
        }
    }
    for (name, value) in facts(&place, here) {
        output.line(format!("  {name:<9}{value}"))?;
    }
    Ok(Exit::Done)
}

fn facts(place: &Place, here: Option<&Effective>) -> Vec<(&'static str, String)> {
    let schema = &place.schema;
    let mut facts = Vec::new();
    if let Some(here) = here {
        facts.push(("from", here.origin.clone()));
    }
    if is_secret(schema) {
        facts.push((
            "takes",
            "{ file = \"…\" } or { env = \"…\" }: a secret".to_owned(),
        ));
    } else if let Some(kind) = kind(schema) {
        facts.push(("takes", kind));
    }
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => {}
        (least, Value::Null) => facts.push(("range", format!("at least {least}"))),
        (Value::Null, most) => facts.push(("range", format!("at most {most}"))),
        (least, most) => facts.push(("range", format!("{least} to {most}"))),
    }
    if let Some(pattern) = text(schema, "pattern") {
        facts.push(("pattern", pattern.to_owned()));
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        facts.push(("one of", choices.join(", ")));
    }
    if !schema["default"].is_null() && !schema["default"].is_object() {
        facts.push(("default", schema["default"].to_string()));
    }
    if !place.keys.is_empty() {
        facts.push(("keys", place.keys.join(", ")));
    }
    facts
}

/// By an adapter's word, or because it takes what refers to one.
fn is_secret(schema: &Value) -> bool {
    let ways = schema["oneOf"].as_array().into_iter().flatten();
    schema["x-imb-secret"] == true
        || ways
            .map(|way| &way["properties"])
            .any(|way| way.get("env").is_some())
}

fn text<'s>(schema: &'s Value, member: &str) -> Option<&'s str> {
    schema[member].as_str()
}

fn kind(schema: &Value) -> Option<String> {
    match &schema["type"] {
        Value::String(kind) => Some(kind.clone()),
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds
                .iter()
                .filter_map(Value::as_str)
                .filter(|kind| *kind != "null")
                .collect();
            Some(kinds.join(" or "))
        }
        _ => None,
    }
}

fn choices(schema: &Value) -> Vec<String> {
    let listed = schema["enum"].as_array().into_iter().flatten().cloned();
    let documented = schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["const"].clone());
    listed
        .chain(documented)
        .filter(|value| !value.is_null())
        .map(|value| value.to_string())
        .collect()
}

fn find(root: &Value, path: &str) -> Result<Place, Failure> {
    let mut here = resolved(root, root);
    let mut passed = String::new();
    for key in path.split('.') {
        let properties = here["properties"].as_object();
        let named = properties.and_then(|properties| properties.get(key));
        let any = here
            .get("additionalProperties")
            .filter(|any| any.is_object());
        let Some(below) = named.or(any) else {
            let known: Vec<&str> = properties
                .into_iter()
                .flat_map(Map::keys)
                .map(String::as_str)
                .collect();
            let hint = hint(key, &known, "keys here");
            let table = if passed.is_empty() {
                "the configuration"
            } else {
                &passed
            };
            let text = format!("{table} has no key `{key}`; {hint}");
            return Err(Failure::new(Exit::Refused, "config_unknown_key", text));
        };
        here = merged(root, below);
        if !passed.is_empty() {
            passed.push('.');
        }
        passed.push_str(key);
    }
    let keys = here["properties"]
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .cloned()
        .collect();
    Ok(Place { schema: here, keys })
}

fn resolved(root: &Value, schema: &Value) -> Value {
    let target = schema["$ref"]
        .as_str()
        .and_then(|name| root.pointer(name.strip_prefix('#')?));
    target.unwrap_or(schema).clone()
}

/// What a reference leads to, with what stands beside it; an optional one is what it is when it is there.
fn merged(root: &Value, schema: &Value) -> Value {
    let choice = schema["anyOf"]
        .as_array()
        .and_then(|choices| choices.iter().find(|one| one["type"] != "null"));
    let mut whole = match choice {
        Some(choice) => resolved(root, choice),
        None => resolved(root, schema),
    };
    for (name, value) in schema.as_object().into_iter().flatten() {
        if name != "$ref" && name != "anyOf" {
            whole[name] = value.clone();
        }
    }
    whole
}
