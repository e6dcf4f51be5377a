//! Effective values with their origin: what `im-bridge config show` prints.
//!
//! The text is TOML again. Secrets stand there as the references they are; nothing resolves them.

use super::Loaded;
use super::tree::{Table, Value as Node};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// TOML with the origin of every value as a comment.
pub fn show(loaded: &Loaded) -> String {
    let effective = serde_json::to_value(&loaded.config).expect("plain types have a JSON form");
    let mut out = String::new();
    if let Value::Object(members) = &effective {
        table(&mut out, members, Some(&loaded.tree), &mut Vec::new());
    }
    out
}

/// A value in effect.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Effective {
    /// A secret is the reference that it was written as.
    pub value: Value,
    /// Where it was written; `default`: nowhere.
    pub origin: String,
}

/// The same as one document, by key: `{"nats.url": {"value": …, "origin": …}}`.
pub fn show_json(loaded: &Loaded) -> BTreeMap<String, Effective> {
    let effective = serde_json::to_value(&loaded.config).expect("plain types have a JSON form");
    let mut all = BTreeMap::new();
    flatten(&mut all, &effective, Some(&loaded.tree), &mut Vec::new());
    all
}

fn origin(written: Option<&Table>, key: &str) -> String {
    written
        .and_then(|table| table.0.get(key))
        .map_or_else(|| "default".to_owned(), |entry| entry.node.at.to_string())
}

fn below<'a>(written: Option<&'a Table>, key: &str) -> Option<&'a Table> {
    match &written?.0.get(key)?.node.value {
        Node::Table(table) => Some(table),
        _ => None,
    }
}

/// A reference is one value for people, though it is a table for the parser.
fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.len() == 1 && members.keys().all(|key| key == "file" || key == "env")
                || members.keys().map(String::as_str).eq(["burst", "per_s"])
        }
        _ => true,
    }
}

fn table(
    out: &mut String,
    members: &Map<String, Value>,
    written: Option<&Table>,
    path: &mut Vec<String>,
) {
    let (leaves, tables): (Vec<_>, Vec<_>) = members
        .iter()
        .filter(|(_, value)| !value.is_null())
        .partition(|(_, value)| is_leaf(value));
    if !path.is_empty() && !leaves.is_empty() {
        let header: Vec<String> = path.iter().map(|key| bare_or_quoted(key)).collect();
        let _ = writeln!(out, "[{}]", header.join("."));
    }
    for (key, value) in &leaves {
        let _ = writeln!(
            out,
            "{} = {}  # {}",
            bare_or_quoted(key),
            literal(value),
            origin(written, key)
        );
    }
    if !leaves.is_empty() {
        out.push('\n');
    }
    for (key, value) in tables {
        if let Value::Object(members) = value {
            path.push(key.clone());
            table(out, members, below(written, key), path);
            path.pop();
        }
    }
}

fn flatten(
    all: &mut BTreeMap<String, Effective>,
    value: &Value,
    written: Option<&Table>,
    path: &mut Vec<String>,
) {
    let Value::Object(members) = value else {
        return;
    };
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        path.push(key.clone());
        if is_leaf(value) {
            all.insert(
                path.join("."),
                Effective {
                    value: value.clone(),
                    origin: origin(written, key),
                },
            );
        } else {
            flatten(all, value, below(written, key), path);
        }
        path.pop();
    }
}

fn bare_or_quoted(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare {
        key.to_owned()
    } else {
        literal(&Value::String(key.to_owned()))
    }
}

/// JSON's literals are TOML's, but for objects.
fn literal(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let inner: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{} = {}", bare_or_quoted(key), literal(value)))
                .collect();
            format!("{{ {} }}", inner.join(", "))
        }
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", inner.join(", "))
        }
        // TOML has no \/ and knows \u like JSON; a text with DEL is the one that both write differently.
        Value::String(text) => Value::String(text.clone())
            .to_string()
            .replace('\u{7f}', "\\u007f"),
        other => other.to_string(),
    }
}
