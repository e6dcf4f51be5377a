//! One attempt over gRPC, in builds that have it.
//!
//! What was written goes out as it is: the services of all signals take one message and answer one, so bytes are enough.

use super::figures::Reason;
use super::target::Target;
use super::{Answer, Signal, refused_of};
use crate::config::types::Compression;
use bytes::{Buf as _, BufMut as _, Bytes};
use hyper::http::uri::PathAndQuery;
use std::error::Error as _;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

/// Of the services, in their names.
const VERSION: &str = "v1";

pub(super) struct Client {
    runtime: Runtime,
    service: Grpc<Channel>,
    /// The method that takes this signal.
    method: PathAndQuery,
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
        let service = Grpc::new(channel);
        let service = match target.compression {
            Compression::Gzip => service.send_compressed(CompressionEncoding::Gzip),
            Compression::None => service,
        };
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
            method: PathAndQuery::try_from(method(signal)).map_err(|error| text(&error))?,
            headers,
        })
    }

    pub(super) fn send(&self, message: &Bytes, within: Duration) -> Answer {
        let answered = self.runtime.block_on(async {
            let mut request = Request::new(message.clone());
            *request.metadata_mut() = self.headers.clone();
            let mut service = self.service.clone();
            let asked = async {
                // The library wants to be asked before each message.
                let ready = service.ready().await;
                ready.map_err(|error| Status::from_error(error.into()))?;
                service.unary(request, self.method.clone(), Plain).await
            };
            tokio::time::timeout(within, asked).await
        });
        match answered {
            Ok(Ok(answer)) => Answer::Taken {
                refused: refused_of(&answer.into_inner()),
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

fn method(signal: Signal) -> String {
    let (package, service) = match signal {
        Signal::Traces => ("trace", "TraceService"),
        Signal::Metrics => ("metrics", "MetricsService"),
        Signal::Logs => ("logs", "LogsService"),
    };
    format!("/opentelemetry.proto.collector.{package}.{VERSION}.{service}/Export")
}

/// Messages that are written already, and answers that somebody else reads.
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
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
