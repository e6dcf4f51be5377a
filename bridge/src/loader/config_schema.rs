//! An account's configuration, judged by the schema its adapter brings.
//!
//! All mistakes at once, each with its place, its code and what to write instead. A value is never repeated: it may be a
//! secret.
//!
//! Not here: where in which file a place stands, and references to secrets; those are the configuration reader's.

mod mistakes;
#[cfg(test)]
mod tests;

pub use mistakes::Mistake;

use super::describe::token;
use serde_json::Value;

/// A schema that was found usable.
#[derive(Debug)]
pub struct ConfigSchema {
    document: Value,
    validator: jsonschema::Validator,
}

/// Why a schema cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct SchemaError {
    /// Place in the schema.
    pub pointer: String,
    /// What is wrong there.
    pub problem: String,
}

impl ConfigSchema {
    /// Codes of [`Mistake`]s, and of a schema's user's own findings about an account's configuration.
    pub const CODES: &'static [&'static str] = mistakes::CODES;

    /// Compiles a schema: JSON Schema 2020-12, an object without further properties, none of them called `bridge`.
    ///
    /// # Errors
    /// It is no such schema, or refers to something outside.
    pub fn new(schema: &Value) -> Result<Self, SchemaError> {
        let refused = |pointer: &str, problem: &str| SchemaError {
            pointer: pointer.into(),
            problem: problem.into(),
        };
        let Some(members) = schema.as_object() else {
            return Err(refused("", "is not an object"));
        };
        if members.get("type").and_then(Value::as_str) != Some("object") {
            return Err(refused("/type", "is not `object`"));
        }
        if members.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Err(refused("/additionalProperties", "is not false"));
        }
        // In an account's table `bridge` holds the core's own settings.
        if schema.pointer("/properties/bridge").is_some() {
            return Err(refused("/properties/bridge", "is the core's own key"));
        }
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .build(schema)
            .map_err(|error| SchemaError {
                // A schema's parts are no secret, but the library would print them whole.
                pointer: error.instance_path().as_str().to_owned(),
                problem: error.masked_with("what stands there").to_string(),
            })?;
        Ok(Self {
            document: schema.clone(),
            validator,
        })
    }

    /// The schema itself.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Judges `config`; `at` is how messages call its root, for example `accounts.sim.demo`. Empty: no mistakes.
    #[must_use]
    pub fn check(&self, at: &str, config: &Value) -> Vec<Mistake> {
        let mut found = Vec::new();
        for error in self.validator.iter_errors(config) {
            mistakes::collect(&self.document, at, &error, &mut found);
        }
        found.sort_by(|a, b| (&a.pointer, a.code).cmp(&(&b.pointer, b.code)));
        found.dedup();
        found
    }

    /// JSON pointers of the places that hold secrets, as far as the schema names them directly.
    #[must_use]
    pub fn is_secret(&self, key: &str) -> bool {
        let place = format!("/properties/{}", token(key));
        self.document
            .pointer(&place)
            .map(|property| mistakes::resolved(&self.document, property))
            .is_some_and(mistakes::is_secret)
    }
}
