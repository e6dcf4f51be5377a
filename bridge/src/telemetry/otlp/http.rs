//! One attempt over HTTP, with protobuf.

use super::figures::Reason;
use super::target::Target;
use super::{Answer, refused_of};
use crate::config::types::Compression;
use bytes::Bytes;
use flate2::write::GzEncoder;
use reqwest::Url;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

/// What is read of an answer; it says how many were refused, in a few bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Longest wish of a collector that is heeded.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

pub(super) struct Client {
    client: reqwest::blocking::Client,
    url: Url,
    headers: HeaderMap,
    compression: Compression,
}

impl Client {
    /// On a thread that runs no tasks: the blocking client has a runtime of its own.
    pub(super) fn new(target: &Target) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        if target.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, secret) in &target.headers {
            let parsed: (Result<HeaderName, _>, _) =
                (name.parse(), HeaderValue::from_str(secret.reveal()));
            let (Ok(name), Ok(mut value)) = parsed else {
                return Err(format!("header `{name}` cannot stand in a request"));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(tls(target)?)
            // What a collector behind another address is told, headers and all, is the operator's decision.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("im-bridge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| reasons(&error))?;
        Ok(Self {
            client,
            url: target.url.clone(),
            headers,
            compression: target.compression,
        })
    }

    /// What is sent of a message, in every attempt.
    pub(super) fn body(&self, message: Vec<u8>) -> Bytes {
        match self.compression {
            Compression::Gzip => zipped(&message).into(),
            Compression::None => message.into(),
        }
    }

    pub(super) fn send(&self, body: &Bytes, within: Duration) -> Answer {
        let sent = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .timeout(within)
            .body(body.clone())
            .send();
        match sent {
            Ok(response) => answer(response),
            Err(error) => Answer::Later {
                reason: match error.is_timeout() {
                    true => Reason::Timeout,
                    false => Reason::Unreachable,
                },
                why: reasons(&error),
                after: None,
            },
        }
    }
}

fn answer(response: reqwest::blocking::Response) -> Answer {
    let status = response.status();
    if status.is_success() {
        let mut body = Vec::new();
        // An answer that breaks off was a success all the same: what it could add is how many were not wanted.
        let _ = response.take(ANSWER_BYTES_MAX).read_to_end(&mut body);
        let refused = refused_of(&body);
        return Answer::Taken { refused };
    }
    let why = format!("it answers {status}");
    if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
        return Answer::Refused(why);
    }
    let after = response.headers().get("retry-after");
    let seconds = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Answer::Later {
        reason: Reason::Refused,
        why,
        after: seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
    }
}

fn zipped(message: &[u8]) -> Vec<u8> {
    // The lowest level: traces repeat themselves, and more effort saves little.
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(message.len() / 4),
        flate2::Compression::fast(),
    );
    encoder
        .write_all(message)
        .and_then(|()| encoder.finish())
        .expect("memory takes whatever is written")
}

fn tls(target: &Target) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &target.ca {
        for certificate in CertificateDer::pem_slice_iter(ca.reveal().as_bytes()) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|it| roots.add(it).map_err(|error| error.to_string()));
            added.map_err(|error| format!("telemetry.otlp.ca is no certificate: {error}"))?;
        }
    } else if target.url.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// An error with what caused it, in one line. Its address is the configured one, without a user's part.
fn reasons(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    match text.is_empty() {
        true if error.is_timeout() => "no answer in time".to_owned(),
        true => "the request fails".to_owned(),
        false => text,
    }
}
