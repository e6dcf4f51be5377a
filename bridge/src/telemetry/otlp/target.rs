//! Where one signal goes, and how: out of the configuration, with its secrets read.

use super::Signal;
use crate::config::secret::{Reference, Secret, SecretError};
use crate::config::types::{Compression, Otlp, Protocol};
use reqwest::Url;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Variables that hold several headers in one text.
const HEADER_LISTS: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
];

/// See the front page.
#[derive(Debug)]
pub struct Target {
    pub url: Url,
    pub protocol: Protocol,
    /// Of one attempt.
    pub timeout: Duration,
    pub compression: Compression,
    pub headers: Vec<(String, Secret)>,
    /// Certificates in PEM, in place of the platform's.
    pub ca: Option<Arc<Secret>>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{0} is no http or https URL; give scheme, host and port")]
    Endpoint(String),
    #[error(
        "this build has no grpc; use http/protobuf (port 4318), or build with --features otlp-grpc"
    )]
    Protocol,
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl TargetError {
    /// Section in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "telemetry_endpoint",
            Self::Protocol => "telemetry_protocol",
            Self::Secret(error) => error.code(),
        }
    }
}

/// A URL that a collector can have.
///
/// # Errors
/// It is none.
pub fn check_endpoint(endpoint: &str) -> Result<Url, TargetError> {
    let url = Url::parse(endpoint).ok();
    let sound = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    sound.ok_or_else(|| TargetError::Endpoint(shown(endpoint)))
}

/// What was written in place of a URL, without what is secret in one.
fn shown(endpoint: &str) -> String {
    let (scheme, rest) = match endpoint.find("://") {
        Some(at) => endpoint.split_at(at + 3),
        None => ("", endpoint),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}")
}

impl Target {
    /// None: nothing is to be sent.
    ///
    /// # Errors
    /// What is configured cannot be used.
    pub fn of(signal: Signal, config: &Otlp) -> Result<Option<Self>, TargetError> {
        let own = match signal {
            Signal::Traces => &config.traces,
            Signal::Metrics => &config.metrics,
            Signal::Logs => &config.logs,
        };
        let own_endpoint = own.endpoint.as_deref().filter(|own| !own.is_empty());
        let protocol = own.protocol.unwrap_or(config.protocol);
        let url = match own_endpoint {
            Some(endpoint) => check_endpoint(endpoint)?,
            None if config.endpoint.is_empty() => return Ok(None),
            None => {
                let base = check_endpoint(&config.endpoint)?;
                match protocol {
                    Protocol::HttpProtobuf => below(base, signal.path()),
                    Protocol::Grpc => base,
                }
            }
        };
        if protocol == Protocol::Grpc && !cfg!(feature = "otlp-grpc") {
            return Err(TargetError::Protocol);
        }
        let read = |path: &str, reference: &Reference| reference.resolve(path);
        let mut headers = BTreeMap::new();
        for (path, table) in [
            ("telemetry.otlp.headers".to_owned(), &config.headers),
            (
                format!("telemetry.otlp.{}.headers", signal.as_str()),
                &own.headers,
            ),
        ] {
            for (name, reference) in table {
                let secret = read(&format!("{path}.{name}"), reference)?;
                headers.insert(name.clone(), entry_of(reference, name, secret));
            }
        }
        let ca = own.ca.as_ref().or(config.ca.as_ref());
        Ok(Some(Self {
            url,
            protocol,
            timeout: Duration::from_millis(own.timeout_ms.unwrap_or(config.timeout_ms)),
            compression: own.compression.unwrap_or(config.compression),
            headers: headers.into_iter().collect(),
            ca: match ca {
                Some(ca) => Some(Arc::new(read("telemetry.otlp.ca", ca)?)),
                None => None,
            },
        }))
    }
}

/// The path is appended to that of the base, which may stand behind a gateway.
fn below(mut base: Url, path: &str) -> Url {
    let own = base.path().trim_end_matches('/').to_owned();
    base.set_path(&format!("{own}{path}"));
    base
}

/// The variables that every OpenTelemetry SDK reads hold all headers; of those, the one that is meant.
fn entry_of(reference: &Reference, name: &str, whole: Secret) -> Secret {
    let is_list =
        matches!(reference, Reference::Env(variable) if HEADER_LISTS.contains(&variable.as_str()));
    if !is_list {
        return whole;
    }
    let entries = header_list(whole.reveal());
    let found = entries.into_iter().find(|(own, _)| own == name);
    found.map_or(whole, |(_, value)| Secret::from(value))
}

/// `key=value,key=value`, with percent-encoded values; names in lower case.
pub fn header_list(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|entry| {
            let (name, value) = entry.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            (!name.is_empty()).then(|| (name, decoded(value.trim())))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = text.get(at + 1..at + 3);
        match (
            bytes[at],
            pair.and_then(|it| u8::from_str_radix(it, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_gets_the_signals_path_and_an_own_endpoint_is_taken_as_it_is() {
        let mut config = Otlp::default();
        let url = |config: &Otlp| {
            let target = Target::of(Signal::Traces, config).unwrap();
            target.map(|target| target.url.to_string())
        };
        assert_eq!(url(&config), None);
        config.endpoint = "http://collector:4318".to_owned();
        assert_eq!(
            url(&config).as_deref(),
            Some("http://collector:4318/v1/traces")
        );
        config.endpoint = "https://gate.example/otlp/".to_owned();
        assert_eq!(
            url(&config).as_deref(),
            Some("https://gate.example/otlp/v1/traces")
        );
        config.traces.endpoint = Some("http://other:1/x".to_owned());
        assert_eq!(url(&config).as_deref(), Some("http://other:1/x"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for endpoint in ["localhost:4318", "ftp://x/", "http://", "collector"] {
            let config = Otlp {
                endpoint: endpoint.to_owned(),
                ..Otlp::default()
            };
            let error = Target::of(Signal::Traces, &config).unwrap_err();
            assert_eq!(error.code(), "telemetry_endpoint", "{endpoint}");
        }
        for (endpoint, wanted) in [
            ("ftp://user:pass@host:1/x?key=1", "ftp://host:1/x"),
            ("user:pa/ss@host:4318#key", "host:4318"),
        ] {
            assert_eq!(shown(endpoint), wanted);
        }
    }

    #[test]
    fn a_list_of_headers_is_read_as_every_sdk_reads_it() {
        let list = header_list("Api-Key=a%20b%2C, x = 1,broken,=no,y=%zz");
        let wanted = [("api-key", "a b,"), ("x", "1"), ("y", "%zz")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(list, wanted);
    }
}
