//! One line: its fields, and the two forms in which it is written.
//!
//! Values are cut, and secrets taken out, in the last step before they are text: whatever made the line, nothing passes by it.

use crate::telemetry::hidden::Hidden;
use crate::telemetry::redact::{self, REDACTED};
use im_bridge_sdk::model::Time;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use tracing::Level;
use tracing::field::{Field, Visit};

/// Longer values are cut: a provider's page of HTML is no field.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// A line of this length says no more of its fields.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Names that stand at the beginning of each line, and are no field's.
const FIXED: [&str; 4] = ["ts", "level", "target", "msg"];

/// What a line says, before it has a form.
#[derive(Default)]
pub(super) struct Fields {
    pub message: String,
    pub rest: Vec<(Cow<'static, str>, Value)>,
}

impl Fields {
    /// A field of this name, if it is a text.
    pub fn text_of(&self, name: &str) -> &str {
        let found = self.rest.iter().find(|(own, _)| own == name);
        found.and_then(|(_, value)| value.as_str()).unwrap_or("")
    }

    /// A field that a stranger named.
    pub fn put_foreign(&mut self, name: &str, value: &str) {
        let is_taken = FIXED.contains(&name) || self.rest.iter().any(|(own, _)| own == name);
        let name = if is_taken {
            format!("adapter_{name}")
        } else {
            name.to_owned()
        };
        self.rest.push((name.into(), cut(value.to_owned()).into()));
    }

    fn put(&mut self, field: &Field, value: Value) {
        if field.name() != "message" {
            self.rest.push((field.name().into(), value));
        } else if let Value::String(text) = value {
            self.message = text;
        }
    }
}

/// At most so long, and it shows where.
fn cut(mut text: String) -> String {
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text.push('…');
    }
    text
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, cut(format!("{value:?}")).into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, cut(value.to_owned()).into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, cut(value.to_string()).into());
    }
}

/// The line, with its end. Its fields are clean.
pub(super) fn render(
    now: Time,
    level: Level,
    target: &str,
    fields: &Fields,
    is_json: bool,
) -> String {
    let mut out = String::with_capacity(256);
    let message = fields.message.as_str();
    if is_json {
        let level = level.as_str().to_lowercase();
        let _ = write!(out, "{{\"ts\":\"{now}\",\"level\":\"{level}\"");
        member(&mut out, "target", &target.into());
        member(&mut out, "msg", &message.into());
    } else {
        let _ = write!(out, "{now} {level:<5} {}", printable(message));
    }
    for (name, value) in &fields.rest {
        if out.len() > LINE_BYTES_MAX - VALUE_BYTES_MAX {
            break;
        }
        if !is_json {
            let text = value.as_str().map_or_else(|| value.to_string(), printable);
            let _ = write!(out, "  {}={text}", printable(name));
        } else if let Some((provider, account)) = account_of(name, value) {
            member(&mut out, "provider", &provider.into());
            member(&mut out, "account", &account.into());
        } else {
            member(&mut out, name, value);
        }
    }
    out.push_str(if is_json { "}\n" } else { "\n" });
    out
}

fn member(out: &mut String, name: &str, value: &Value) {
    let _ = write!(out, ",{}:{value}", Value::from(name));
}

/// `provider/alias` is one word in the code and two fields for whoever searches.
fn account_of<'v>(name: &str, value: &'v Value) -> Option<(&'v str, &'v str)> {
    if name == "account" {
        value.as_str()?.split_once('/')
    } else {
        None
    }
}

/// Calls accounts by other names.
pub(super) fn hide(fields: &mut Fields, hidden: &Hidden) {
    for (name, value) in &mut fields.rest {
        if let Some((provider, alias)) = account_of(name, value) {
            *value = format!("{provider}/{}", hidden.name(alias)).into();
        }
    }
}

/// Takes the secrets out.
pub(super) fn clean(fields: &mut Fields) {
    clean_text(&mut fields.message);
    for (name, value) in &mut fields.rest {
        if let Value::String(text) = value {
            if redact::is_secret_name(name) {
                REDACTED.clone_into(text);
            } else {
                clean_text(text);
            }
        }
    }
}

fn clean_text(text: &mut String) {
    if let Cow::Owned(cleaned) = redact::redact(text) {
        *text = cleaned;
    }
}

/// A text from a stranger must not move the cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
