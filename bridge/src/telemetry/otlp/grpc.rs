//! One attempt over gRPC, in builds that have it.

use super::Answer;
use super::figures::Reason;
use super::target::Target;
use crate::config::types::Compression;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

pub(super) struct Client {
    runtime: Runtime,
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
}

impl Client {
    /// On a thread that runs no tasks: it has a runtime of its own.
    pub(super) fn new(target: &Target) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| text(&error))?;
        let mut endpoint =
            Endpoint::from_shared(target.url.to_string()).map_err(|error| text(&error))?;
        if target.url.scheme() == "https" {
            let tls = match &target.ca {
                Some(ca) => {
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca.reveal()))
                }
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls).map_err(|error| text(&error))?;
        }
        // It connects with the first attempt; its task lives on the runtime.
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        let mut client = TraceServiceClient::new(channel);
        if target.compression == Compression::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let mut headers = MetadataMap::new();
        for (name, secret) in &target.headers {
            let key = AsciiMetadataKey::from_bytes(name.as_bytes());
            let (Ok(key), Ok(value)) = (key, secret.reveal().parse()) else {
                return Err(format!("header `{name}` cannot stand in a request"));
            };
            headers.insert(key, value);
        }
        Ok(Self {
            runtime,
            client,
            headers,
        })
    }

    pub(super) fn send(&self, message: &[u8], within: Duration) -> Answer {
        // The client writes the message itself, so it is read once more: cheap against a second way to write one.
        let message = match ExportTraceServiceRequest::decode(message) {
            Ok(message) => message,
            Err(error) => return Answer::Refused(error.to_string()),
        };
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        let mut client = self.client.clone();
        let answered = self
            .runtime
            .block_on(async { tokio::time::timeout(within, client.export(request)).await });
        match answered {
            Ok(Ok(answer)) => {
                let partial = answer.into_inner().partial_success;
                let refused = partial.map_or(0, |it| it.rejected_spans);
                Answer::Taken {
                    refused: u64::try_from(refused).unwrap_or(0),
                }
            }
            Ok(Err(status)) => failed(&status),
            Err(_) => Answer::Later {
                reason: Reason::Timeout,
                why: "no answer in time".to_owned(),
                after: None,
            },
        }
    }
}

fn failed(status: &Status) -> Answer {
    let why = format!("it answers {}: {}", status.code(), status.message());
    let reason = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Aborted => Reason::Unreachable,
        Code::DeadlineExceeded => Reason::Timeout,
        Code::ResourceExhausted | Code::OutOfRange | Code::DataLoss => Reason::Refused,
        _ => return Answer::Refused(why),
    };
    Answer::Later {
        reason,
        why,
        after: None,
    }
}
