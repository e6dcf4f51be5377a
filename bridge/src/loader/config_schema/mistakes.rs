//! From a validator's findings to sentences.
//!
//! A finding inside alternatives is told for the one alternative that was meant, if that can be known.

use crate::loader::describe::token;
use crate::loader::nearest::{hint, listed};
use im_bridge_sdk::model::nearest;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;
use std::fmt;

/// One thing that is wrong with an account's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Anchor in `docs/errors.md`.
    pub code: &'static str,
    /// Place inside the configuration that was judged.
    pub pointer: String,
    /// The same place for people, from the root on: `accounts.sim.demo.rate`.
    pub path: String,
    /// What is wrong; never a value.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

const UNKNOWN_KEY: &str = "config_unknown_key";
const MISSING: &str = "config_missing";
const TYPE: &str = "config_type";
const RANGE: &str = "config_range";
const CHOICE: &str = "config_choice";
pub(super) const CODES: &[&str] = &[UNKNOWN_KEY, MISSING, TYPE, RANGE, CHOICE];

/// Longest chain of references that is followed: a schema may refer to itself.
const REFERENCES_MAX: usize = 8;

/// A place in the configuration together with the part of the schema that speaks about it.
struct Place<'a> {
    root: &'a Value,
    at: &'a str,
    pointer: String,
    schema: Option<&'a Value>,
}

impl<'a> Place<'a> {
    fn of(root: &'a Value, at: &'a str, error: &ValidationError<'_>) -> Self {
        let keyword = error.schema_path().as_str();
        let parent = keyword.rsplit_once('/').map_or("", |(parent, _)| parent);
        Self {
            root,
            at,
            pointer: error.instance_path().as_str().to_owned(),
            schema: root.pointer(parent),
        }
    }

    fn member(&self, key: &str) -> Self {
        let schema = self
            .schema
            .and_then(|schema| schema.get("properties")?.get(key))
            .map(|property| resolved(self.root, property));
        Self {
            root: self.root,
            at: self.at,
            pointer: format!("{}/{}", self.pointer, token(key)),
            schema,
        }
    }

    fn keys(&self) -> Vec<&'a str> {
        let properties = self.schema.and_then(|schema| schema.get("properties"));
        properties
            .and_then(Value::as_object)
            .map(|properties| properties.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    fn path(&self) -> String {
        let mut path = self.at.to_owned();
        for part in self.pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            if part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
                path.push_str(&format!("[{part}]"));
                continue;
            }
            if !path.is_empty() {
                path.push('.');
            }
            let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if !part.is_empty() && part.bytes().all(is_bare) {
                path.push_str(&part);
            } else {
                path.push_str(&format!("{part:?}"));
            }
        }
        if path.is_empty() {
            "the configuration".into()
        } else {
            path
        }
    }

    /// The last key, as it is written in front of `=`.
    fn key(&self) -> String {
        let path = self.path();
        path.rsplit('.').next().unwrap_or_default().to_owned()
    }

    fn mistake(&self, code: &'static str, what: &str, help: String) -> Mistake {
        let path = self.path();
        Mistake {
            code,
            message: format!("{path} {what}"),
            pointer: self.pointer.clone(),
            path,
            help,
        }
    }

    /// `rate = 2`: how it could be written.
    fn example(&self) -> String {
        let value = self.schema.map_or_else(|| "…".into(), example);
        format!("{} = {value}", self.key())
    }
}

/// Turns one finding into one mistake or several.
pub(super) fn collect(
    root: &Value,
    at: &str,
    error: &ValidationError<'_>,
    found: &mut Vec<Mistake>,
) {
    let place = Place::of(root, at, error);
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let keys = place.keys();
            found.extend(unexpected.iter().map(|key| {
                let mut mistake = place.mistake(
                    UNKNOWN_KEY,
                    &format!("has no key `{}`", key.escape_debug()),
                    hint(key, &keys, "keys here"),
                );
                // The place is the key's own, so that it can be pointed at.
                mistake.pointer = format!("{}/{}", place.pointer, token(key));
                mistake
            }));
        }
        Kind::Required { property } => {
            let member = place.member(property.as_str().unwrap_or_default());
            let help = format!("add `{}`", member.example());
            found.push(member.mistake(MISSING, "is missing", help));
        }
        Kind::Type { kind } => {
            let what = format!(
                "is {}, expected {}",
                named(error.instance()),
                expected(kind)
            );
            let help = format!("write `{}`", place.example());
            found.push(place.mistake(TYPE, &what, help));
        }
        Kind::Enum { options } => {
            let options: Vec<&Value> = options.as_array().into_iter().flatten().collect();
            found.push(choice(&place, &options, error.instance()));
        }
        Kind::Constant { expected_value } => {
            found.push(choice(&place, &[expected_value], error.instance()));
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            alternatives(root, at, &place, error.instance(), context, found);
        }
        Kind::PropertyNames { error } => collect(root, at, error, found),
        kind => {
            let what = format!("must be {}", rule(kind, place.schema));
            found.push(place.mistake(RANGE, &what, String::new()));
        }
    }
}

fn choice(place: &Place<'_>, options: &[&Value], written: &Value) -> Mistake {
    let names: Vec<String> = options
        .iter()
        .map(|option| {
            option
                .as_str()
                .map_or_else(|| option.to_string(), str::to_owned)
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_secret = place.schema.is_some_and(is_secret);
    let near = written
        .as_str()
        .filter(|_| !is_secret)
        .and_then(|written| nearest(written, names.iter().copied()));
    let help = near.map_or_else(
        || format!("write `{}`", place.example()),
        |near| format!("did you mean `{near}`?"),
    );
    place.mistake(CHOICE, &format!("is none of {}", listed(&names)), help)
}

/// Tells the mistakes of the alternative that was meant: not the one for "nothing", and of tagged ones that whose tag fits.
fn alternatives(
    root: &Value,
    at: &str,
    place: &Place<'_>,
    instance: &Value,
    context: &[Vec<ValidationError<'static>>],
    found: &mut Vec<Mistake>,
) {
    let here = &place.pointer;
    let is_for_nothing = |error: &ValidationError<'_>| {
        matches!(
            error.kind(),
            Kind::Type {
                kind: TypeKind::Single(JsonType::Null)
            }
        ) && error.instance_path().as_str() == here
    };
    let is_tag = |error: &ValidationError<'_>| {
        let path = error.instance_path().as_str();
        let below = path.strip_prefix(here.as_str()).unwrap_or_default();
        matches!(error.kind(), Kind::Constant { .. } | Kind::Enum { .. })
            && below.matches('/').count() <= 1
    };
    let mut meant: Vec<_> = context
        .iter()
        .filter(|errors| instance.is_null() || !errors.iter().any(is_for_nothing))
        .collect();
    if meant.len() > 1 && meant.iter().any(|errors| !errors.iter().any(is_tag)) {
        meant.retain(|errors| !errors.iter().any(is_tag));
    }
    if let [errors] = meant[..] {
        for error in errors {
            collect(root, at, error, found);
        }
        return;
    }
    // All tags are wrong: together they are the choice.
    let tags: Vec<_> = meant
        .iter()
        .filter_map(|errors| errors.iter().find(|error| is_tag(error)))
        .collect();
    if tags.len() == meant.len() && !tags.is_empty() {
        let options: Vec<&Value> = tags
            .iter()
            .flat_map(|error| match error.kind() {
                Kind::Constant { expected_value } => vec![&**expected_value],
                Kind::Enum { options } => options.as_array().into_iter().flatten().collect(),
                _ => Vec::new(),
            })
            .collect();
        let place = Place::of(root, at, tags[0]);
        found.push(choice(&place, &options, tags[0].instance()));
        return;
    }
    found.push(place.mistake(
        CHOICE,
        &format!("fits none of its {} permitted forms", meant.len()),
        String::new(),
    ));
}

/// What a value must be, from the schema around the broken rule where two rules belong together.
fn rule(kind: &Kind, schema: Option<&Value>) -> String {
    let number = |key| {
        schema
            .and_then(|schema| schema.get(key))
            .filter(|limit| limit.is_number())
    };
    let span = |min: Option<&Value>, max: Option<&Value>, unit: &str| match (min, max) {
        (Some(min), Some(max)) => format!("from {min} to {max}{unit}"),
        (Some(min), None) => format!("at least {min}{unit}"),
        (None, Some(max)) => format!("at most {max}{unit}"),
        (None, None) => format!("within its limits{unit}"),
    };
    match kind {
        Kind::Minimum { .. } | Kind::Maximum { .. } => {
            span(number("minimum"), number("maximum"), "")
        }
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MinLength { .. } | Kind::MaxLength { .. } => {
            span(number("minLength"), number("maxLength"), " characters long")
        }
        Kind::MinItems { .. } | Kind::MaxItems { .. } => {
            span(number("minItems"), number("maxItems"), " entries long")
        }
        Kind::MinProperties { .. } | Kind::MaxProperties { .. } => span(
            number("minProperties"),
            number("maxProperties"),
            " keys long",
        ),
        Kind::UniqueItems => "a list without repeated entries".into(),
        Kind::Pattern { pattern } => format!("text that matches `{pattern}`"),
        Kind::Format { format } => format!("a valid {format}"),
        Kind::AdditionalItems { limit } => format!("at most {limit} entries long"),
        Kind::FalseSchema => "left out".into(),
        _ => "what the adapter's documentation says of it".into(),
    }
}

/// How a value could be written, in TOML.
fn example(schema: &Value) -> String {
    if is_secret(schema) {
        return "\"…\"".into();
    }
    let first = |key: &str| schema.get(key)?.as_array()?.first();
    let given = first("examples")
        .or_else(|| schema.get("default"))
        .or_else(|| schema.get("const"))
        .or_else(|| first("enum"))
        .filter(|value| value.is_string() || value.is_number() || value.is_boolean());
    if let Some(given) = given {
        return given.to_string();
    }
    let kind = schema.get("type").and_then(|kind| match kind {
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|k| *k != "null"),
        kind => kind.as_str(),
    });
    match kind {
        Some("string") => "\"…\"".into(),
        Some("integer" | "number") => schema
            .get("minimum")
            .filter(|minimum| minimum.as_f64() != Some(0.0))
            .map_or_else(|| "1".into(), Value::to_string),
        Some("boolean") => "true".into(),
        Some("array") => "[]".into(),
        Some("object") => "{ … }".into(),
        _ => "…".into(),
    }
}

/// What was written, by its kind alone.
fn named(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn expected(kind: &TypeKind) -> String {
    let one = |kind: JsonType| match kind {
        JsonType::Null => "nothing",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "a list",
        JsonType::Object => "a table",
    };
    match kind {
        TypeKind::Single(kind) => one(*kind).into(),
        TypeKind::Multiple(kinds) => kinds
            .iter()
            // Configuration files have no way to write it, but for leaving the key out.
            .filter(|kind| *kind != JsonType::Null)
            .map(one)
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

/// What a reference inside the same schema stands for.
pub(super) fn resolved<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..REFERENCES_MAX {
        let target = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix('#'))
            .and_then(|pointer| root.pointer(pointer));
        match target {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

pub(super) fn is_secret(schema: &Value) -> bool {
    schema.get("x-imb-secret") == Some(&Value::Bool(true))
}
