//! One attempt over gRPC, in builds that have it.

use super::figures::Reason;
use super::target::Target;
use super::{Answer, Signal};
use crate::config::types::Compression;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use std::error::Error as _;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

/// One of each signal, since each has its own types.
enum Service {
    Traces(TraceServiceClient<Channel>),
    Metrics(MetricsServiceClient<Channel>),
    Logs(LogsServiceClient<Channel>),
}

pub(super) struct Client {
    runtime: Runtime,
    service: Service,
    headers: MetadataMap,
}

impl Client {
    /// On a thread that runs no tasks: it has a runtime of its own.
    pub(super) fn new(signal: Signal, target: &Target) -> Result<Self, String> {
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
        let service = Service::new(signal, channel, target.compression);
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
            service,
            headers,
        })
    }

    pub(super) fn send(&self, message: &[u8], within: Duration) -> Answer {
        let answered = self.runtime.block_on(async {
            tokio::time::timeout(within, self.service.send(message, &self.headers)).await
        });
        match answered {
            Ok(Ok(refused)) => Answer::Taken {
                refused: u64::try_from(refused).unwrap_or(0),
            },
            Ok(Err(status)) => failed(&status),
            Err(_) => Answer::Later {
                reason: Reason::Timeout,
                why: "no answer in time".to_owned(),
                after: None,
            },
        }
    }
}

/// The client writes the message itself, so it is read once more: cheap against a second way to write one.
fn request<M: Message + Default>(
    message: &[u8],
    headers: &MetadataMap,
) -> Result<Request<M>, Status> {
    let message = M::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    let mut request = Request::new(message);
    *request.metadata_mut() = headers.clone();
    Ok(request)
}

impl Service {
    fn new(signal: Signal, channel: Channel, compression: Compression) -> Self {
        macro_rules! zipped {
            ($client:ty) => {{
                let client = <$client>::new(channel);
                match compression {
                    Compression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
                    Compression::None => client,
                }
            }};
        }
        match signal {
            Signal::Traces => Self::Traces(zipped!(TraceServiceClient<Channel>)),
            Signal::Metrics => Self::Metrics(zipped!(MetricsServiceClient<Channel>)),
            Signal::Logs => Self::Logs(zipped!(LogsServiceClient<Channel>)),
        }
    }

    /// How many it refused.
    async fn send(&self, message: &[u8], headers: &MetadataMap) -> Result<i64, Status> {
        Ok(match self {
            Self::Traces(client) => {
                let answer = client.clone().export(request(message, headers)?).await?;
                let partial = answer.into_inner().partial_success;
                partial.map_or(0, |it| it.rejected_spans)
            }
            Self::Metrics(client) => {
                let answer = client.clone().export(request(message, headers)?).await?;
                let partial = answer.into_inner().partial_success;
                partial.map_or(0, |it| it.rejected_data_points)
            }
            Self::Logs(client) => {
                let answer = client.clone().export(request(message, headers)?).await?;
                let partial = answer.into_inner().partial_success;
                partial.map_or(0, |it| it.rejected_log_records)
            }
        })
    }
}

fn failed(status: &Status) -> Answer {
    let why = format!("it answers {}: {}", status.code(), status.message());
    let reason = match status.code() {
        // No collector said so: the connection broke, and what broke it is the source.
        Code::Unknown if status.source().is_some() => Reason::Unreachable,
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
