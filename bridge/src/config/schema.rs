//! One JSON Schema for the whole configuration: the core's types, and each adapter's schema at its accounts.
//!
//! It is what `config schema` prints, what gives texts their type, and what the merged document is validated against.

use super::types::Config;
use serde_json::{Map, Value, json};

/// The word by which an adapter marks a secret: such a place wants a reference instead of a text.
pub const SECRET: &str = "x-imb-secret";

/// The schema of a provider's accounts, as its adapter describes it.
pub struct AdapterSchema {
    pub provider: String,
    pub schema: Value,
}

/// The schema of the core alone: any account is allowed.
pub fn core() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    schema["$id"] = json!("urn:im-bridge:schema:config");
    schema["title"] = json!("im-bridge configuration");
    schema
}

/// The core's schema with these adapters' accounts.
pub fn with(core: Value, adapters: &[AdapterSchema]) -> Value {
    let mut root = core;
    let mut providers = Map::new();
    for adapter in adapters {
        let prefix = format!("{}.", adapter.provider);
        let mut own = adapter.schema.clone();
        rewrite(&mut own, &prefix);
        if let Some(Value::Object(definitions)) =
            own.as_object_mut().and_then(|own| own.remove("$defs"))
        {
            for (name, definition) in definitions {
                root["$defs"][format!("{prefix}{name}")] = definition;
            }
        }
        own.as_object_mut().map(|own| own.remove("$schema"));
        own["properties"]["bridge"] = json!({ "$ref": "#/$defs/BridgePart" });
        providers.insert(
            adapter.provider.clone(),
            json!({ "type": "object", "additionalProperties": own }),
        );
    }
    let any = json!({ "type": "object", "additionalProperties": { "$ref": "#/$defs/Account" } });
    root["properties"]["accounts"] = json!({
        "description": "Accounts by provider and alias.",
        "type": "object",
        "properties": providers,
        "additionalProperties": any,
    });
    root
}

/// Gives an adapter's definitions names of their own, and its secrets the form of references.
fn rewrite(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/$defs/{prefix}{name}");
            }
            if members.get(SECRET) == Some(&Value::Bool(true)) {
                let mut place = json!({ "$ref": "#/$defs/Reference", SECRET: true });
                if let Some(description) = members.get("description") {
                    place["description"] = description.clone();
                }
                *schema = place;
                return;
            }
            for member in members.values_mut() {
                rewrite(member, prefix);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, prefix)),
        _ => {}
    }
}
