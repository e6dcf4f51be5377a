//! `[telemetry]`: what the bridge says of itself, and to whom.

use super::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// `[telemetry]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Name of the service in traces.
    #[schemars(length(min = 1, max = 128))]
    pub service_name: String,
    /// Key with which `traces.hash_account` hides aliases.
    pub hash_key: Option<Reference>,
    /// Further facts about this service in traces: name = value.
    pub resource: BTreeMap<String, String>,
    /// Where traces go.
    pub otlp: Otlp,
    /// Traces.
    pub traces: Traces,
    /// Metrics.
    pub metrics: Metrics,
    /// Log lines.
    pub logs: Logs,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            service_name: "im-bridge".to_owned(),
            hash_key: None,
            resource: BTreeMap::new(),
            otlp: Otlp::default(),
            traces: Traces::default(),
            metrics: Metrics::default(),
            logs: Logs::default(),
        }
    }
}

/// `[telemetry.otlp]`: the collector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Base URL of the collector, such as `http://127.0.0.1:4318`; `/v1/traces` is appended. Empty: no export.
    pub endpoint: String,
    /// How it is spoken to; `grpc` is a build option.
    pub protocol: Protocol,
    /// Milliseconds of one attempt.
    #[schemars(range(min = 100, max = 30_000))]
    pub timeout_ms: u64,
    /// Compression of what is sent.
    pub compression: Compression,
    /// Certificates to trust in place of the platform's.
    pub ca: Option<Reference>,
    /// Headers of each request: name = { file | env }.
    pub headers: BTreeMap<String, Reference>,
    /// What is different for traces.
    pub traces: OtlpSignal,
    /// What is different for metrics.
    pub metrics: OtlpSignal,
    /// What is different for log lines.
    pub logs: OtlpSignal,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            protocol: Protocol::default(),
            timeout_ms: 3_000,
            compression: Compression::default(),
            ca: None,
            headers: BTreeMap::new(),
            traces: OtlpSignal::default(),
            metrics: OtlpSignal::default(),
            logs: OtlpSignal::default(),
        }
    }
}

/// `[telemetry.otlp.<signal>]`: in place of the keys above it, each where it is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpSignal {
    /// Whole URL, taken as it is.
    pub endpoint: Option<String>,
    /// See above.
    pub protocol: Option<Protocol>,
    /// See above.
    #[schemars(range(min = 100, max = 30_000))]
    pub timeout_ms: Option<u64>,
    /// See above.
    pub compression: Option<Compression>,
    /// See above.
    pub ca: Option<Reference>,
    /// Over those above.
    pub headers: BTreeMap<String, Reference>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// Port 4318 by custom.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// Port 4317 by custom.
    #[serde(rename = "grpc")]
    Grpc,
}

/// Compression of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip
    #[default]
    Gzip,
    /// As it is.
    None,
}

/// `[telemetry.traces]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// false: no spans, whatever the endpoint is.
    pub enabled: bool,
    /// Which traces are recorded: `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`.
    pub sampler: String,
    /// Share of traces for the samplers with a ratio.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sampler_arg: f64,
    /// Record what the sender of a command recorded; false: the ratio decides here, too.
    pub trust_remote_flags: bool,
    /// Whether a command continues its sender's trace or links to it.
    pub consumer_parent: ConsumerParent,
    /// A durable command that is older begins a trace of its own, in seconds.
    #[schemars(range(min = 0, max = 86_400))]
    pub parent_max_age_s: u64,
    /// For debugging: a span for each poll that brought something.
    pub poll_hit_spans: bool,
    /// For debugging: a span for polls that took longer, in milliseconds; 0: none.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub slow_poll_ms: u64,
    /// Failures of one operation of one account that get a span, per minute.
    #[schemars(range(min = 0, max = 60))]
    pub error_spans_per_minute: u32,
    /// The same over all of them.
    #[schemars(range(min = 0, max = 600))]
    pub error_spans_total_per_minute: u32,
    /// Failures at excluded addresses get a span, without the address.
    pub exclude_keep_errors: bool,
    /// Write a keyed hash in place of aliases, in spans and log lines; needs `telemetry.hash_key`.
    pub hash_account: bool,
    /// Spans that wait for the collector; beyond it they are dropped and counted.
    #[schemars(range(min = 512, max = 65_536))]
    pub queue: u32,
    /// Addresses whose requests leave no span: name = regular expression on the URL. An empty one removes a default.
    #[serde(deserialize_with = "over_defaults")]
    pub exclude_urls: BTreeMap<String, String>,
    /// Baggage that is copied from a command to its result: key = true.
    pub baggage: BTreeMap<String, bool>,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            enabled: true,
            sampler: "parentbased_traceidratio".to_owned(),
            sampler_arg: 1.0,
            trust_remote_flags: true,
            consumer_parent: ConsumerParent::default(),
            parent_max_age_s: 900,
            poll_hit_spans: false,
            slow_poll_ms: 0,
            error_spans_per_minute: 1,
            error_spans_total_per_minute: 60,
            exclude_keep_errors: true,
            hash_account: false,
            queue: 8_192,
            exclude_urls: excluded_by_default(),
            baggage: BTreeMap::new(),
        }
    }
}

/// The front end whose every request, sends among them, is a poll's neighbour: its addresses are no news in a trace.
fn excluded_by_default() -> BTreeMap<String, String> {
    [
        ("imapi", r"^https?://imapi\.volcvideo\.com/.*"),
        ("frontier", r"^https?://frontier.*\.ivolces\.com/.*"),
        ("frontier_ws", r"^wss?://frontier.*\.ivolces\.com/.*"),
    ]
    .map(|(name, pattern)| (name.to_owned(), pattern.to_owned()))
    .into()
}

/// What is written adds to the defaults, and replaces those of the same name.
fn over_defaults<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut all = excluded_by_default();
    all.extend(BTreeMap::<String, String>::deserialize(from)?);
    Ok(all)
}

/// How a command's trace follows its sender's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsumerParent {
    /// One trace from the provider's message to the reply.
    #[default]
    Parent,
    /// A trace of its own with a link, as the convention for messaging has it.
    Link,
}

/// `[telemetry.metrics]`: beside the endpoint for scrapers, which is always there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Send them to the collector, too.
    pub otlp: bool,
    /// Seconds between two sendings.
    #[schemars(range(min = 5, max = 600))]
    pub interval_s: u64,
    /// Accounts with series of their own, the first ones by name; the others share them. 0: all share them.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_accounts: u32,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            otlp: false,
            interval_s: 60,
            max_accounts: 1_000,
        }
    }
}

/// `[telemetry.logs]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Least important level that is written.
    pub level: LogLevel,
    /// Form of a line.
    pub format: LogFormat,
    /// Send them to the collector, too.
    pub otlp: bool,
    /// Lines of one kind within a minute, before they become one a minute that counts the others; 0: all.
    #[schemars(range(min = 0, max = 1000))]
    pub repeats_per_minute: u32,
    /// An event or a command that takes longer than so many milliseconds is told, with its trace; 0: none.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub slow_ms: u64,
    /// Levels by the beginning of a target's name, as "im_bridge::bus" or "plugin.sim".
    pub targets: BTreeMap<String, LogLevel>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            level: LogLevel::default(),
            format: LogFormat::default(),
            otlp: false,
            repeats_per_minute: 5,
            slow_ms: 1_000,
            targets: BTreeMap::new(),
        }
    }
}

/// Level of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Somebody must act.
    Error,
    /// Recovered or refused.
    Warn,
    /// A state changed.
    #[default]
    Info,
    /// Per connection.
    Debug,
    /// Per frame.
    Trace,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
