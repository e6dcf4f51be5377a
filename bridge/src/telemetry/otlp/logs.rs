//! Log lines for a collector: what standard output gets, without a second text.
//!
//! Not here: what is said and left out (`logs`), redaction, which comes before.

use super::exporter::Exporter;
use super::{Signal, Target, attribute};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1 as wire;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::Value;
use tracing::Level;

/// As many as spans.
const WAITING_MAX: usize = 8_192;

/// Who carries lines to the collector: telling of it would make another line.
const NEVER: [&str; 8] = [
    "opentelemetry",
    "hyper",
    "h2",
    "reqwest",
    "tonic",
    "rustls",
    "async_nats",
    "im_bridge::telemetry::otlp",
];

/// Lines on their way.
pub type Records = Exporter<wire::LogRecord>;

/// Starts to send.
///
/// # Errors
/// The system has no thread left.
pub fn start(target: Target, resource: Vec<KeyValue>) -> std::io::Result<Records> {
    Exporter::start(Signal::Logs, target, WAITING_MAX, move |records| {
        message(records, &resource)
    })
}

fn message(log_records: Vec<wire::LogRecord>, resource: &[KeyValue]) -> Vec<u8> {
    let request = ExportLogsServiceRequest {
        resource_logs: vec![wire::ResourceLogs {
            resource: Some(Resource {
                attributes: resource.to_vec(),
                ..Resource::default()
            }),
            scope_logs: vec![wire::ScopeLogs {
                scope: None,
                log_records,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    request.encode_to_vec()
}

/// A line of this target is sent at all.
pub fn is_sent(target: &str) -> bool {
    !NEVER.iter().any(|never| target.starts_with(never))
}

/// A line as a record. Its fields are what is left after redaction.
pub fn record<'f>(
    at_ns: u64,
    level: Level,
    target: &str,
    message: &str,
    fields: impl Iterator<Item = (&'f str, &'f Value)>,
) -> wire::LogRecord {
    let number = match level {
        Level::ERROR => wire::SeverityNumber::Error,
        Level::WARN => wire::SeverityNumber::Warn,
        Level::INFO => wire::SeverityNumber::Info,
        Level::DEBUG => wire::SeverityNumber::Debug,
        Level::TRACE => wire::SeverityNumber::Trace,
    };
    let mut record = wire::LogRecord {
        time_unix_nano: at_ns,
        observed_time_unix_nano: at_ns,
        severity_number: number.into(),
        severity_text: level.as_str().to_owned(),
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue(message.to_owned())),
        }),
        attributes: vec![attribute(
            "target",
            any_value::Value::StringValue(target.to_owned()),
        )],
        ..wire::LogRecord::default()
    };
    for (name, value) in fields {
        match (name, value.as_str()) {
            ("trace_id", Some(id)) => record.trace_id = bytes(id),
            ("span_id", Some(id)) => record.span_id = bytes(id),
            ("account", Some(name)) if let Some((provider, account)) = name.split_once('/') => {
                for (name, value) in [("provider", provider), ("account", account)] {
                    let value = any_value::Value::StringValue(value.to_owned());
                    record.attributes.push(attribute(name, value));
                }
            }
            _ => record.attributes.push(attribute(name, any(value))),
        }
    }
    record
}

fn any(value: &Value) -> any_value::Value {
    match value {
        Value::Bool(is) => any_value::Value::BoolValue(*is),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => any_value::Value::IntValue(whole),
            (None, part) => any_value::Value::DoubleValue(part.unwrap_or_default()),
        },
        Value::String(text) => any_value::Value::StringValue(text.clone()),
        other => any_value::Value::StringValue(other.to_string()),
    }
}

/// Of hexadecimal digits; nothing of anything else.
fn bytes(id: &str) -> Vec<u8> {
    let pairs = id.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<_>>()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_record_with_its_trace() {
        let fields = [
            ("trace_id", Value::from("4bf92f3577b34da6a3ce929d0e0e4736")),
            ("span_id", Value::from("00f067aa0ba902b7")),
            ("account", Value::from("chat/shop")),
            ("count", Value::from(3)),
        ];
        let fields = fields.iter().map(|(name, value)| (*name, value));
        let record = record(7, Level::WARN, "im_bridge::app", "late", fields);
        assert_eq!((record.trace_id.len(), record.span_id[1]), (16, 0xf0));
        assert_eq!(record.severity_number, 13);
        let keys: Vec<&str> = record.attributes.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, ["target", "provider", "account", "count"]);
        let bytes = message(vec![record], &[]);
        let read = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        assert_eq!(
            read.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano,
            7
        );
    }

    #[test]
    fn lines_about_sending_are_not_sent() {
        for target in [
            "h2::client",
            "reqwest::connect",
            "im_bridge::telemetry::otlp::exporter",
        ] {
            assert!(!is_sent(target), "{target}");
        }
        assert!(is_sent("im_bridge::telemetry") && is_sent("plugin.sim"));
    }
}
