//! Log lines on standard output: JSON, one object a line, or text on a terminal.
//!
//! Fixed keys first (`ts`, `level`, `target`, `msg`), then the fields, flat. A line is cut, never split.

use crate::config::types::{LogFormat, LogLevel, Logs};
use im_bridge_sdk::model::Time;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Longer values are cut: a provider's page of HTML is no field.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// Writes lines from now on; false if somebody in this process does so already.
pub fn install(config: &Logs) -> bool {
    let is_json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stdout().is_terminal(),
    };
    let most = match config.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let subscriber = tracing_subscriber::registry().with(Lines { is_json, most });
    tracing::subscriber::set_global_default(subscriber).is_ok()
}

struct Lines {
    is_json: bool,
    most: Level,
}

impl Lines {
    fn wants(&self, of: &Metadata<'_>) -> bool {
        // The client library says something at info for each event of its own.
        let most = if of.target().starts_with("async_nats") {
            self.most.min(Level::WARN)
        } else {
            self.most
        };
        *of.level() <= most
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn enabled(&self, of: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(of)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line(event, self.is_json, Time::from_ms(now_ms()));
        // A closed pipe is no reason to end: whoever read the log is gone, the messages are not.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn line(event: &Event<'_>, is_json: bool, now: Time) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let of = event.metadata();
    let level = of.level().as_str();
    let mut out = String::with_capacity(256);
    if is_json {
        let _ = write!(
            out,
            "{{\"ts\":\"{now}\",\"level\":\"{}\"",
            level.to_lowercase()
        );
        for (name, value) in [("target", of.target()), ("msg", &fields.message)] {
            let _ = write!(out, ",\"{name}\":{}", serde_json::Value::from(value));
        }
        for (name, value) in &fields.rest {
            let _ = write!(out, ",{}:{value}", serde_json::Value::from(*name));
        }
        out.push_str("}\n");
    } else {
        let _ = write!(out, "{now} {level:<5} {}", printable(&fields.message));
        for (name, value) in &fields.rest {
            let _ = write!(
                out,
                "  {name}={}",
                printable(value.as_str().unwrap_or(&value.to_string()))
            );
        }
        out.push('\n');
    }
    out
}

/// A text from a stranger must not move the cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: serde_json::Value) {
        if field.name() != "message" {
            self.rest.push((field.name(), value));
        } else if let serde_json::Value::String(text) = value {
            self.message = text;
        }
    }

    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > VALUE_BYTES_MAX {
            let end = (0..=VALUE_BYTES_MAX)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        self.put(field, text.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
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
        self.text(field, value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Kept(bool, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.1
                .lock()
                .unwrap()
                .push(line(event, self.0, Time::from_ms(0)));
        }
    }

    fn said(is_json: bool, say: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Kept(is_json, lines.clone()));
        tracing::subscriber::with_default(subscriber, say);
        lines.lock().unwrap().concat()
    }

    #[test]
    fn a_line_is_one_flat_object_with_the_fixed_keys_first() {
        let line = said(true, || {
            tracing::warn!(provider = "chat", attempt = 3, "session \"failed\"\n")
        });
        let start = r#"{"ts":"1970-01-01T00:00:00.000Z","level":"warn","target":""#;
        assert!(line.starts_with(start), "{line}");
        assert!(
            line.ends_with(
                "\"msg\":\"session \\\"failed\\\"\\n\",\"provider\":\"chat\",\"attempt\":3}\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_stranger_cannot_repaint_the_terminal_or_flood_it() {
        let line = said(false, || tracing::info!(name = "\u{1b}[2Jx", "hello"));
        assert!(!line.contains('\u{1b}'), "{line}");
        let line = said(true, || tracing::info!(name = %"x".repeat(10_000), "hello"));
        assert!(line.len() < 5_000, "{}", line.len());
    }
}
