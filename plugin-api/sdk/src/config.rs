//! An account's configuration: its schema, its secrets, and what is said when it does not fit.
//!
//! The core validates with the schema before `create`; what is checked here again is what keeps an adapter safe without
//! a core: unknown members, missing ones, wrong types. An error names a JSON pointer and never the value, which may be a
//! secret.

use crate::ffi::wipe::wipe;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{pointer}: {message}")]
pub struct ConfigError {
    code: Cow<'static, str>,
    message: String,
    pointer: String,
}

impl ConfigError {
    /// `pointer` is a JSON pointer to what is wrong, empty for the whole; `message` must not hold the value.
    pub fn new(pointer: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            code: Cow::Borrowed("bad_config"),
            message: message.to_string(),
            pointer: pointer.into(),
        }
    }

    /// A code of the adapter's own in place of `bad_config`, `[a-z0-9_]{1,48}`.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// The JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }
}

/// A secret of the configuration: never printed, marked in the schema, zeroed when dropped.
pub struct Secret(Vec<u8>);

impl Secret {
    /// The secret itself, for the moment of its use.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made from a string")
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret.into_bytes())
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        crate::crypto::constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct SecretVisitor;
        impl Visitor<'_> for SecretVisitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, secret: &str) -> Result<Secret, E> {
                Ok(Secret(secret.as_bytes().to_vec()))
            }
            fn visit_string<E>(self, secret: String) -> Result<Secret, E> {
                Ok(Secret::from(secret))
            }
        }
        from.deserialize_string(SecretVisitor)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "x-imb-secret": true })
    }
}

/// The schema of a configuration: JSON Schema 2020-12, everything in place, no member but the known ones.
pub(crate) fn schema<C: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_deserialize();
    // In place, so that whoever looks for secrets need not follow references.
    settings.inline_subschemas = true;
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<C>()
        .to_value();
    close(&mut schema);
    schema
}

/// Refuses unknown members wherever members are named.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let is_open = matches!(
                map.get("additionalProperties"),
                None | Some(Value::Bool(true))
            );
            if map.contains_key("properties") && is_open {
                map.insert("additionalProperties".to_owned(), false.into());
            }
            for (key, value) in map.iter_mut() {
                match (key.as_str(), value) {
                    // Names of members and definitions are no keywords.
                    ("properties" | "$defs" | "patternProperties", Value::Object(named)) => {
                        named.values_mut().for_each(close);
                    }
                    ("default" | "const" | "enum" | "examples", _) => {}
                    (_, value) => close(value),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

/// Reads a configuration. The tree in between is wiped, secrets and all.
pub(crate) fn parse<C: DeserializeOwned + JsonSchema>(json: &str) -> Result<C, ConfigError> {
    let mut tree: Value = serde_json::from_str(json)
        .map_err(|_| ConfigError::new("", "the configuration is no JSON"))?;
    let parsed = check(&schema::<C>(), &tree, &mut String::new())
        .and_then(|()| C::deserialize(&tree).map_err(|error| ConfigError::new("", scrub(&error))));
    wipe_tree(&mut tree);
    parsed
}

/// What is said of an error, without the value that it quotes.
fn scrub(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("missing field") {
        return text;
    }
    text.rsplit_once(", expected ").map_or_else(
        || "a value does not fit".to_owned(),
        |(_, expected)| format!("a value does not fit; expected {expected}"),
    )
}

/// Finds what does not fit: missing and unknown members, wrong types. Only as deep as schemas of configurations go.
fn check(schema: &Value, value: &Value, pointer: &mut String) -> Result<(), ConfigError> {
    let Some(schema) = schema.as_object() else {
        return Ok(());
    };
    if let Some(any) = ["anyOf", "oneOf"]
        .iter()
        .find_map(|key| schema.get(*key)?.as_array())
    {
        return check_any(any, value, pointer);
    }
    if let Some(wanted) = schema.get("type")
        && !has_type(wanted, value)
    {
        return Err(ConfigError::new(
            pointer.as_str(),
            format_args!("expected {}", type_text(wanted)),
        ));
    }
    match value {
        Value::Object(members) => check_members(schema, members, pointer),
        Value::Array(items) => {
            let Some(item_schema) = schema.get("items") else {
                return Ok(());
            };
            for (index, item) in items.iter().enumerate() {
                within(pointer, &index.to_string(), |p| check(item_schema, item, p))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_members(
    schema: &Map<String, Value>,
    members: &Map<String, Value>,
    pointer: &mut String,
) -> Result<(), ConfigError> {
    let known = schema.get("properties").and_then(Value::as_object);
    let rest = schema.get("additionalProperties");
    for (name, member) in members {
        let member_schema = known.and_then(|known| known.get(name)).or(rest);
        within(pointer, name, |pointer| match member_schema {
            Some(Value::Bool(false)) => {
                let message = known.map_or_else(String::new, |known| {
                    let names: Vec<&str> = known.keys().map(String::as_str).collect();
                    format!("; known are {}", names.join(", "))
                });
                Err(ConfigError::new(
                    pointer.as_str(),
                    format_args!("is not known{message}"),
                ))
            }
            Some(member_schema) => check(member_schema, member, pointer),
            None => Ok(()),
        })?;
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return within(pointer, name, |pointer| {
                Err(ConfigError::new(pointer.as_str(), "is missing"))
            });
        }
    }
    Ok(())
}

/// One of them must fit. When one fits the type but not further in, its error says more than "none fits".
fn check_any(any: &[Value], value: &Value, pointer: &mut String) -> Result<(), ConfigError> {
    let mut first = None;
    for schema in any {
        match check(schema, value, pointer) {
            Ok(()) => return Ok(()),
            Err(error) if error.pointer.len() > pointer.len() => first = first.or(Some(error)),
            Err(_) => {}
        }
    }
    Err(first.unwrap_or_else(|| ConfigError::new(pointer.as_str(), "fits none of the known forms")))
}

fn within<T>(pointer: &mut String, name: &str, look: impl FnOnce(&mut String) -> T) -> T {
    let len = pointer.len();
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    let found = look(pointer);
    pointer.truncate(len);
    found
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::String(name) => match name.as_str() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        },
        Value::Array(any) => any.iter().any(|wanted| has_type(wanted, value)),
        _ => true,
    }
}

fn type_text(wanted: &Value) -> String {
    match wanted {
        Value::String(name) => name.clone(),
        Value::Array(any) => any.iter().map(type_text).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

fn wipe_tree(tree: &mut Value) {
    match tree {
        Value::String(text) => wipe(&mut std::mem::take(text).into_bytes()),
        Value::Array(all) => all.iter_mut().for_each(wipe_tree),
        Value::Object(map) => map.values_mut().for_each(wipe_tree),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
