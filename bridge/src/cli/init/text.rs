//! The text of a first configuration: all keys of the core as comments, accounts as their adapters' examples have them.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// An account to begin with.
pub(super) struct Example {
    pub provider: String,
    pub title: Option<String>,
    pub schema: Value,
    pub example: Value,
}

/// Whatever its adapter, an account needs a name.
const ALIAS: &str = "main";
/// What stands where an adapter wants a secret.
const SECRETS: &str = "/etc/im-bridge/secrets";

pub(super) fn toml(schema: &Value, examples: &[Example], schema_file: &str) -> String {
    let mut out = format!("#:schema ./{schema_file}\n# What stands behind # is the default.\n");
    tables(
        schema,
        schema,
        &mut Vec::new(),
        &mut |path, description, keys| {
            let _ = write!(out, "\n# {}\n[{}]\n", one_line(description), path.join("."));
            for (name, description, default) in keys {
                let _ = writeln!(out, "# {name} = {default}  # {}", one_line(&description));
            }
        },
    );
    if examples.is_empty() {
        out.push_str("\n# [accounts.<provider>.<name>]\n");
    }
    for account in examples {
        let title = account.title.as_deref().unwrap_or(&account.provider);
        let path = format!("accounts.{}.{ALIAS}", account.provider);
        let _ = write!(out, "\n# {title}\n[{path}]\n");
        for (name, value, description) in account.keys(literal) {
            let _ = writeln!(out, "{name} = {value}{}", comment(&description));
        }
    }
    out
}

pub(super) fn yaml(schema: &Value, examples: &[Example], schema_file: &str) -> String {
    let mut out = format!(
        "# yaml-language-server: $schema=./{schema_file}\n# What stands behind # is the default.\n"
    );
    tables(
        schema,
        schema,
        &mut Vec::new(),
        &mut |path, description, keys| {
            let indent = "  ".repeat(path.len() - 1);
            let name = path.last().map_or("", String::as_str);
            let _ = writeln!(out, "{indent}# {}", one_line(description));
            let _ = writeln!(out, "{indent}# {name}:");
            for (name, description, default) in keys {
                let _ = writeln!(
                    out,
                    "{indent}#   {name}: {default}  # {}",
                    one_line(&description)
                );
            }
        },
    );
    if examples.is_empty() {
        out.push_str("# accounts:\n#   <provider>:\n#     <name>: {}\n");
    } else {
        out.push_str("accounts:\n");
    }
    for account in examples {
        let title = account.title.as_deref().unwrap_or(&account.provider);
        let _ = write!(out, "  # {title}\n  {}:\n    {ALIAS}:\n", account.provider);
        let keys = account.keys(Value::to_string);
        if keys.is_empty() {
            out.truncate(out.len() - 1);
            out.push_str(" {}\n");
        }
        for (name, value, description) in keys {
            let _ = writeln!(out, "      {name}: {value}{}", comment(&description));
        }
    }
    out
}

impl Example {
    /// Keys of the example as they are written, with their meaning; a reference where a secret belongs.
    fn keys(&self, written: fn(&Value) -> String) -> Vec<(String, String, String)> {
        let properties = &self.schema["properties"];
        let members = self.example.as_object().into_iter().flatten();
        members
            .map(|(name, value)| {
                let schema = resolved(&self.schema, &properties[name]);
                let value = if schema["x-imb-secret"] == true {
                    written(&json!({ "file": format!("{SECRETS}/{}/{name}", self.provider) }))
                } else {
                    written(value)
                };
                let description = properties[name]["description"]
                    .as_str()
                    .or(schema["description"].as_str());
                (
                    name.clone(),
                    value,
                    description.unwrap_or_default().to_owned(),
                )
            })
            .collect()
    }
}

/// A table's keys that have a default: name, meaning, default.
type Keys = Vec<(String, String, String)>;

/// Every table of the core, outer ones first. Accounts are no part of it, nor sets with names of their own.
fn tables(
    root: &Value,
    table: &Value,
    path: &mut Vec<String>,
    tell: &mut dyn FnMut(&[String], &str, Keys),
) {
    let empty = Map::new();
    let properties = table["properties"].as_object().unwrap_or(&empty);
    for (name, property) in properties {
        if path.is_empty() && name == "accounts" {
            continue;
        }
        let below = resolved(root, property);
        if below["properties"].is_null() || below["x-imb-secret"] == true {
            continue;
        }
        let keys = keys(root, &below);
        path.push(name.clone());
        tell(
            path,
            property["description"].as_str().unwrap_or_default(),
            keys,
        );
        tables(root, &below, path, tell);
        path.pop();
    }
}

fn keys(root: &Value, table: &Value) -> Keys {
    let properties = table["properties"].as_object().into_iter().flatten();
    properties
        .filter(|(_, property)| resolved(root, property)["properties"].is_null())
        .filter_map(|(name, property)| {
            let default = property
                .get("default")
                .filter(|default| !default.is_null() && !default.is_object())?;
            let description = property["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            Some((name.clone(), description, literal(default)))
        })
        .collect()
}

fn resolved(root: &Value, schema: &Value) -> Value {
    let target = schema["$ref"]
        .as_str()
        .and_then(|name| root.pointer(name.strip_prefix('#')?));
    target.unwrap_or(schema).clone()
}

fn comment(description: &str) -> String {
    if description.is_empty() {
        String::new()
    } else {
        format!("  # {}", one_line(description))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As TOML and YAML both take it: JSON, but for objects in TOML.
fn literal(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let inner: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{name} = {}", literal(value)))
                .collect();
            format!("{{ {} }}", inner.join(", "))
        }
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", inner.join(", "))
        }
        other => other.to_string(),
    }
}
