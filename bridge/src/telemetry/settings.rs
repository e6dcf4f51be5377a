//! The configuration in the words of this module, checked once.

use super::otlp::wire::Value;
use super::otlp::{Signal, Target, TargetError};
use super::traces::exclude::{self, Exclusion};
use super::traces::sampler::{NAMES, Sampler};
use crate::config::secret::{Secret, SecretError};
use crate::config::types::{self, Telemetry, Traces};
use std::collections::BTreeMap;

/// Why nothing can be traced as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "telemetry.traces.exclude_urls.{name} is no regular expression: {reason}; correct it or remove it with \"\""
    )]
    Pattern { name: String, reason: String },
    #[error("telemetry.traces.exclude_urls has {count} patterns, at most {max} are taken; join some", max = exclude::PATTERNS_MAX)]
    Patterns { count: usize },
    #[error("telemetry.traces.sampler is `{0}`, which is none of {known}; take one of them", known = NAMES.join(", "))]
    Sampler(String),
    #[error("telemetry.traces.hash_account needs telemetry.hash_key; add it")]
    HashKey,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("no thread can be started for telemetry: {0}")]
    Thread(#[from] std::io::Error),
}

impl TelemetryError {
    /// Section in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pattern { .. } | Self::Patterns { .. } => "telemetry_url_pattern",
            Self::Sampler(_) => "telemetry_sampler",
            Self::HashKey => "config_missing",
            Self::Target(error) => error.code(),
            Self::Secret(error) => error.code(),
            Self::Thread(_) => "internal_bug",
        }
    }

    /// The key that is at fault.
    fn path(&self) -> String {
        match self {
            Self::Pattern { name, .. } => format!("telemetry.traces.exclude_urls.{name}"),
            Self::Patterns { .. } => "telemetry.traces.exclude_urls".to_owned(),
            Self::Sampler(_) => "telemetry.traces.sampler".to_owned(),
            Self::HashKey => "telemetry.traces.hash_account".to_owned(),
            Self::Target(TargetError::Endpoint(_)) => "telemetry.otlp.endpoint".to_owned(),
            Self::Target(TargetError::Protocol) => "telemetry.otlp.protocol".to_owned(),
            Self::Target(TargetError::Secret(_)) | Self::Secret(_) | Self::Thread(_) => {
                "telemetry".to_owned()
            }
        }
    }
}

/// Everything that is wrong with it and can be seen without looking at the machine: path of the key, and why.
pub fn mistakes(config: &Telemetry) -> Vec<(String, TelemetryError)> {
    let mut found = Vec::new();
    for (name, pattern) in &config.traces.exclude_urls {
        if let Err(reason) = exclude::check(pattern) {
            let name = name.clone();
            found.push(TelemetryError::Pattern { name, reason });
        }
    }
    let count = config.traces.exclude_urls.len();
    if count > exclude::PATTERNS_MAX {
        found.push(TelemetryError::Patterns { count });
    }
    if Sampler::new(&config.traces).is_none() {
        found.push(TelemetryError::Sampler(config.traces.sampler.clone()));
    }
    if config.traces.hash_account && config.hash_key.is_none() {
        found.push(TelemetryError::HashKey);
    }
    let mut found: Vec<_> = found
        .into_iter()
        .map(|error| (error.path(), error))
        .collect();
    let (metrics, logs) = (config.metrics.otlp, config.logs.otlp);
    for (signal, own, is_sent) in [
        (Signal::Traces, &config.otlp.traces, true),
        (Signal::Metrics, &config.otlp.metrics, metrics),
        (Signal::Logs, &config.otlp.logs, logs),
    ] {
        let target = Target::of(signal, &config.otlp);
        // An unreadable secret is told with all others.
        let Err(error @ (TargetError::Endpoint(_) | TargetError::Protocol)) = target else {
            continue;
        };
        let error = TelemetryError::from(error);
        let is_own = match &error {
            TelemetryError::Target(TargetError::Endpoint(_)) => own.endpoint.is_some(),
            _ => own.protocol.is_some(),
        };
        let path = match is_own {
            true => {
                let own = format!("telemetry.otlp.{}.", signal.as_str());
                error.path().replace("telemetry.otlp.", &own)
            }
            // What is wrong for all is told once.
            false if signal != Signal::Traces => continue,
            false => error.path(),
        };
        if !is_sent {
            continue;
        }
        found.push((path, error));
    }
    found
}

/// What traces are made with.
pub(super) struct Settings {
    pub traces: Traces,
    pub sampler: Sampler,
    pub exclusion: Exclusion,
    pub hash_key: Option<Secret>,
}

impl Settings {
    pub fn new(config: &Telemetry) -> Result<Self, TelemetryError> {
        if let Some((_, error)) = mistakes(config).into_iter().next() {
            return Err(error);
        }
        let traces = config.traces.clone();
        let sampler = Sampler::new(&traces);
        let hash_key = config.hash_key.as_ref().filter(|_| traces.hash_account);
        Ok(Self {
            sampler: sampler.ok_or_else(|| TelemetryError::Sampler(traces.sampler.clone()))?,
            exclusion: Exclusion::new(&traces.exclude_urls).map_err(|error| {
                TelemetryError::Pattern {
                    name: "*".to_owned(),
                    reason: error.to_string(),
                }
            })?,
            hash_key: match hash_key {
                Some(key) => Some(key.resolve("telemetry.hash_key")?),
                None => None,
            },
            traces,
        })
    }
}

/// A fact about who speaks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    Text(String),
    Number(i64),
}

impl Fact {
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Number(number) => Value::Number(*number),
        }
    }
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Who speaks, by key.
pub(super) type Resource = BTreeMap<String, Fact>;

/// Never the command line or the environment: they may hold secrets.
pub(super) fn resource(config: &Telemetry, replica: &str) -> Resource {
    let host = rustix::system::uname();
    let mut all = Resource::new();
    let mut put = |key: &str, text: &str| all.insert(key.to_owned(), Fact::Text(text.to_owned()));
    put("service.name", &config.service_name);
    put("service.version", env!("CARGO_PKG_VERSION"));
    let instance = format!("{replica}-{:08x}", fastrand::u32(..));
    put("service.instance.id", &instance);
    put("host.name", &host.nodename().to_string_lossy());
    // Whoever writes the spans names itself, and that is nobody's library.
    put("telemetry.sdk.name", "im-bridge");
    put("telemetry.sdk.language", "rust");
    put("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    let process = i64::from(std::process::id());
    all.insert("process.pid".to_owned(), Fact::Number(process));
    let is_named = config.service_name != types::Telemetry::default().service_name;
    for (key, value) in &config.resource {
        // Both ways to name the service may be used; the one that says nothing else wins.
        if !(is_named && key == "service.name") {
            all.insert(key.clone(), Fact::Text(value.clone()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_names_this_process_and_what_is_configured_comes_last() {
        let mut config = Telemetry::default();
        config.resource.insert("k8s.pod.name".into(), "a-0".into());
        config
            .resource
            .insert("service.name".into(), "bridge".into());
        let of = |config: &Telemetry, key: &str| {
            let all = resource(config, "one");
            all.get(key).map(Fact::to_string).unwrap_or_default()
        };
        assert_eq!(of(&config, "k8s.pod.name"), "a-0");
        assert_eq!(of(&config, "service.name"), "bridge");
        assert!(of(&config, "service.instance.id").starts_with("one-"));
        config.service_name = "own".into();
        assert_eq!(of(&config, "service.name"), "own");
    }
}
