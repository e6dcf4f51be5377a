//! The layer of variables that every OpenTelemetry SDK reads: above the files, below `IM_BRIDGE__…`.
//!
//! Such variables are often set for a whole cluster, so one that cannot be honoured is told and never stops the start.

use super::secret::Reference;
use super::tree::{Node, Place, Table, Value};
use crate::telemetry::otlp::{check_endpoint, header_list};
use crate::telemetry::traces::sampler;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// A variable whose value is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    pub variable: String,
    pub why: String,
}

/// The table that these variables stand for, and those that stand for nothing.
pub fn from_environment(variables: &[(String, String)]) -> (Table, Vec<Ignored>) {
    let mut layer = Layer::default();
    // Sorted, so that what is told does not depend on the order of the environment. Empty is not set, as everywhere.
    let mut all: Vec<&(String, String)> = variables
        .iter()
        .filter(|(name, value)| name.starts_with("OTEL_") && !value.trim().is_empty())
        .collect();
    all.sort();
    for (name, value) in all {
        if let Err(why) = layer.take(name, value.trim()) {
            layer.ignored.push(Ignored {
                variable: name.clone(),
                why,
            });
        }
    }
    (layer.table, layer.ignored)
}

#[derive(Default)]
struct Layer {
    table: Table,
    ignored: Vec<Ignored>,
}

impl Layer {
    fn set(&mut self, variable: &str, path: &[&str], value: Json) {
        let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
        let node = Node {
            at: Place::override_of(variable),
            value: Value::Typed(value),
        };
        self.table.set(&path, node);
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let traces = |key: &'static str| ["telemetry", "traces", key];
        match name {
            "OTEL_SDK_DISABLED" => match value.to_ascii_lowercase().as_str() {
                "true" => self.set(name, &traces("enabled"), json!(false)),
                "false" => {}
                _ => return Err("neither true nor false".to_owned()),
            },
            "OTEL_SERVICE_NAME" if value.len() <= 128 => {
                self.set(name, &["telemetry", "service_name"], json!(value));
            }
            "OTEL_SERVICE_NAME" => return Err("longer than 128 bytes".to_owned()),
            "OTEL_RESOURCE_ATTRIBUTES" => {
                for pair in value.split(',').filter(|pair| !pair.trim().is_empty()) {
                    let (key, _) = pair.split_once('=').ok_or("an entry is no name=value")?;
                    let decoded = header_list(&format!("x={}", &pair[key.len() + 1..]));
                    let [(_, text)] = &decoded[..] else {
                        return Err("an entry is no name=value".to_owned());
                    };
                    self.set(name, &["telemetry", "resource", key.trim()], json!(text));
                }
            }
            "OTEL_PROPAGATORS" => {
                let is_known = |one: &str| matches!(one.trim(), "tracecontext" | "baggage");
                if !value.split(',').all(is_known) {
                    return Err("only tracecontext and baggage are spoken here".to_owned());
                }
            }
            "OTEL_TRACES_SAMPLER" if sampler::NAMES.contains(&value) => {
                self.set(name, &traces("sampler"), json!(value));
            }
            "OTEL_TRACES_SAMPLER" => {
                return Err(format!("none of {}", sampler::NAMES.join(", ")));
            }
            "OTEL_TRACES_SAMPLER_ARG" => match value.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => {
                    self.set(name, &traces("sampler_arg"), json!(share));
                }
                _ => return Err("no number from 0 to 1".to_owned()),
            },
            "OTEL_TRACES_EXPORTER" => match value {
                "otlp" => {}
                "none" => self.set(name, &traces("enabled"), json!(false)),
                _ => return Err("neither otlp nor none".to_owned()),
            },
            "OTEL_METRICS_EXPORTER" | "OTEL_LOGS_EXPORTER" => {
                let is_wanted = match value {
                    "otlp" => true,
                    "none" => false,
                    _ => return Err("neither otlp nor none".to_owned()),
                };
                let signal = if name == "OTEL_LOGS_EXPORTER" {
                    "logs"
                } else {
                    "metrics"
                };
                self.set(name, &["telemetry", signal, "otlp"], json!(is_wanted));
            }
            "OTEL_METRIC_EXPORT_INTERVAL" => {
                let ms = within(value, 5_000, 600_000)?;
                self.set(
                    name,
                    &["telemetry", "metrics", "interval_s"],
                    json!(ms / 1_000),
                );
            }
            "OTEL_BSP_MAX_QUEUE_SIZE" => {
                let size = within(value, 512, 65_536)?;
                self.set(name, &traces("queue"), json!(size));
            }
            _ => {
                let Some(key) = name.strip_prefix("OTEL_EXPORTER_OTLP_") else {
                    return Ok(());
                };
                let signals = [
                    ("TRACES_", "traces"),
                    ("METRICS_", "metrics"),
                    ("LOGS_", "logs"),
                ];
                let own = signals
                    .iter()
                    .find_map(|(prefix, signal)| Some((key.strip_prefix(prefix)?, *signal)));
                match own {
                    Some((key, signal)) => {
                        self.exporter(name, &["telemetry", "otlp", signal], key, value)?;
                    }
                    None => self.exporter(name, &["telemetry", "otlp"], key, value)?,
                }
            }
        }
        Ok(())
    }

    fn exporter(
        &mut self,
        name: &str,
        below: &[&str],
        key: &str,
        value: &str,
    ) -> Result<(), String> {
        let path = |key| [below, &[key]].concat();
        match key {
            "ENDPOINT" => {
                check_endpoint(value).map_err(|_| "no http or https URL")?;
                self.set(name, &path("endpoint"), json!(value));
            }
            "PROTOCOL" => match value {
                "http/protobuf" => self.set(name, &path("protocol"), json!(value)),
                "grpc" if cfg!(feature = "otlp-grpc") => {
                    self.set(name, &path("protocol"), json!(value));
                }
                _ => return Err("not spoken by this build; http/protobuf is".to_owned()),
            },
            "TIMEOUT" => {
                let ms = within(value, 100, 30_000)?;
                self.set(name, &path("timeout_ms"), json!(ms));
            }
            "COMPRESSION" => match value {
                "gzip" | "none" => self.set(name, &path("compression"), json!(value)),
                _ => return Err("neither gzip nor none".to_owned()),
            },
            "CERTIFICATE" => {
                let reference = Reference::File(PathBuf::from(value));
                let read = reference.resolve(name);
                read.map_err(|error| error.to_string())?;
                self.set(name, &path("ca"), json!({ "file": value }));
            }
            "HEADERS" => {
                let list = header_list(value);
                if list.is_empty() {
                    return Err("no name=value in it".to_owned());
                }
                // The text itself stays in the variable: headers are secrets.
                for (header, _) in list {
                    let path = [below, &["headers", &header]].concat();
                    self.set(name, &path, json!({ "env": name }));
                }
            }
            _ => return Err("not known to this bridge".to_owned()),
        }
        Ok(())
    }
}

fn within(value: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = value.parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("no number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(variables: &[(&str, &str)]) -> (Json, Vec<String>) {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let (table, ignored) = from_environment(&variables);
        let ignored = ignored.into_iter().map(|it| it.variable).collect();
        (table.to_json()["telemetry"].clone(), ignored)
    }

    #[test]
    fn each_variable_has_its_key() {
        let (table, ignored) = layer(&[
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_SERVICE_NAME", "bridge"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=a%20b,x=1"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "2048"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=1,b=2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:1/x"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", ""),
            ("PATH", "/bin"),
        ]);
        assert!(ignored.is_empty(), "{ignored:?}");
        let wanted = json!({
            "service_name": "bridge",
            "resource": { "k8s.pod.name": "a b", "x": "1" },
            "traces": {
                "enabled": false, "sampler": "traceidratio", "sampler_arg": 0.25, "queue": 2048,
            },
            "otlp": {
                "endpoint": "http://collector:4318", "protocol": "http/protobuf", "timeout_ms": 500,
                "compression": "none",
                "headers": {
                    "api-key": { "env": "OTEL_EXPORTER_OTLP_HEADERS" },
                    "b": { "env": "OTEL_EXPORTER_OTLP_HEADERS" },
                },
                "traces": { "endpoint": "http://other:1/x" },
            },
        });
        assert_eq!(table, wanted);
    }

    #[test]
    fn what_cannot_be_honoured_is_told_and_left_out() {
        let bad = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere/key.pem"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "broken"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_RESOURCE_ATTRIBUTES", "broken"),
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_SAMPLER_ARG", "7"),
        ];
        let (table, ignored) = layer(&bad);
        assert_eq!(table, Json::Null);
        assert_eq!(ignored, bad.map(|(name, _)| name));
    }
}
