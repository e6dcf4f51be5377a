//! The way to a collector: OTLP over HTTP, one thread per signal, nothing that blocks or grows.
//!
//! What is to be sent waits in a bounded queue. At the bound it is dropped and counted, so that for each signal what was
//! handed over is what arrived, what was dropped and what waits. A collector that is away costs one log line a minute and
//! nothing else: no event waits for it, and neither does the end of the process beyond its limit.
//!
//! Reading order: `target` (where), `http` (one attempt), `exporter` (the queue and its thread); then what a message of each
//! signal is: `traces` with `wire`, `metrics`, `logs`.
//!
//! Not here: what there is to say (`telemetry::traces`, `telemetry::metrics`, `telemetry::logs`).

mod exporter;
mod figures;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod http;
pub mod logs;
pub mod metrics;
mod target;
pub mod traces;
pub mod wire;

pub use exporter::Exporter;
pub use figures::{DROPPED, Figures, Reason};
pub use target::{Target, TargetError, check_endpoint, header_list};

use super::settings::{Fact, Resource};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message as _;
use std::time::Duration;

/// What a collector takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// As labels and keys have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// What is appended to a base URL.
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}

/// Who speaks, for metrics and lines.
pub(super) fn resource(of: &Resource) -> Vec<KeyValue> {
    let value = |fact: &Fact| match fact {
        Fact::Text(text) => any_value::Value::StringValue(text.clone()),
        Fact::Number(number) => any_value::Value::IntValue(*number),
    };
    of.iter()
        .map(|(key, fact)| attribute(key, value(fact)))
        .collect()
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// What became of one attempt.
#[derive(Debug)]
enum Answer {
    /// Taken, but for so many that the collector did not want.
    Taken { refused: u64 },
    /// It will never be taken.
    Refused(String),
    /// Perhaps later.
    Later {
        reason: Reason,
        why: String,
        /// The collector's wish.
        after: Option<Duration>,
    },
}

/// How many items a success left out. The answers of all signals have the same form.
fn refused_of(answer: &[u8]) -> u64 {
    let answer = ExportLogsServiceResponse::decode(answer).unwrap_or_default();
    let partial = answer.partial_success;
    let refused = partial.map_or(0, |it| it.rejected_log_records);
    u64::try_from(refused).unwrap_or(0)
}

/// How one attempt is made.
enum Transport {
    Http(http::Client),
    #[cfg(feature = "otlp-grpc")]
    Grpc(grpc::Client),
}

impl Transport {
    #[cfg_attr(
        not(feature = "otlp-grpc"),
        expect(unused_variables, reason = "over HTTP the address tells")
    )]
    fn new(signal: Signal, target: &Target) -> Result<Self, String> {
        match target.protocol {
            crate::config::types::Protocol::HttpProtobuf => {
                http::Client::new(target).map(Self::Http)
            }
            #[cfg(feature = "otlp-grpc")]
            crate::config::types::Protocol::Grpc => {
                grpc::Client::new(signal, target).map(Self::Grpc)
            }
            #[cfg(not(feature = "otlp-grpc"))]
            crate::config::types::Protocol::Grpc => Err("this build has no grpc".to_owned()),
        }
    }

    /// What is sent of a message; made once, however many attempts it takes.
    fn body(&self, message: Vec<u8>) -> Bytes {
        match self {
            Self::Http(client) => client.body(message),
            #[cfg(feature = "otlp-grpc")]
            Self::Grpc(_) => message.into(),
        }
    }

    fn send(&self, body: &Bytes, within: Duration) -> Answer {
        match self {
            Self::Http(client) => client.send(body, within),
            #[cfg(feature = "otlp-grpc")]
            Self::Grpc(client) => client.send(body, within),
        }
    }
}
