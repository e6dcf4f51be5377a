//! OTLP over gRPC, on bare HTTP/2: a reader of its own, so that it is not the writer's library that understands itself.
//!
//! A message is a byte that says whether it is compressed, its length, and itself; how a call ended stands in trailers.

use super::{Mode, Shared, keep};
use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, Read};
use tokio::net::TcpStream;

/// Before a message: the byte and four of its length.
const PREFIX: usize = 5;
/// Ends of calls.
const OK: u8 = 0;
const INVALID_ARGUMENT: u8 = 3;
const UNAVAILABLE: u8 = 14;

/// Until the client ends the connection, or is to see it end.
pub(super) fn serve(shared: &Shared, stream: std::net::TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stream = TcpStream::from_std(stream)?;
        let mut connection = h2::server::handshake(stream).await.map_err(broken)?;
        let mut calls = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(accepted) => {
                        let (request, respond) = accepted.map_err(broken)?;
                        calls.push(call(shared, request, respond));
                    }
                    None => return Ok(()),
                },
                Some(called) = calls.next() => called?,
            }
        }
    })
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

/// An error ends the connection.
async fn call(
    shared: &Shared,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> io::Result<()> {
    let (head, mut body) = request.into_parts();
    let mut read = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(broken)?;
        read.extend_from_slice(&part);
        // A stream that ended has no window any more.
        let _ = body.flow_control().release_capacity(part.len());
    }
    let headers: BTreeMap<String, String> = head
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let mode = {
        let mut state = shared.lock();
        state.requests += 1;
        if head.method != Method::POST {
            state.wrong.push(format!("{} is no POST", head.method));
        }
        state.mode
    };
    let (status, answer) = match mode {
        Mode::Take => (OK, take(shared, head.uri.path(), headers, &read, 0)),
        Mode::Partly(refused) => (OK, take(shared, head.uri.path(), headers, &read, refused)),
        Mode::Status(429 | 502 | 503 | 504) | Mode::Later(..) => (UNAVAILABLE, None),
        Mode::Status(_) => (INVALID_ARGUMENT, None),
        Mode::Hang => return pending().await,
        Mode::Close => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Err(io::Error::other("closed, as told"));
        }
    };
    let mut response = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    let mut sending = respond.send_response(response, false).map_err(broken)?;
    if let Some(answer) = answer {
        let length = u32::try_from(answer.len()).expect("answers are short");
        let message = [&[0][..], &length.to_be_bytes(), &answer].concat();
        sending.send_data(message.into(), false).map_err(broken)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    sending.send_trailers(trailers).map_err(broken)
}

/// None: it was no message.
fn take(
    shared: &Shared,
    path: &str,
    headers: BTreeMap<String, String>,
    body: &[u8],
    refused: u16,
) -> Option<Vec<u8>> {
    let signal = match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => "/v1/traces",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => "/v1/metrics",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => "/v1/logs",
        other => {
            shared.lock().wrong.push(format!("nothing is at {other}"));
            return None;
        }
    };
    let of = |name: &str| headers.get(name).map(String::as_str);
    let mut wrong = Vec::new();
    let is_grpc = of("content-type").is_some_and(|it| it.starts_with("application/grpc"));
    if !is_grpc || of("te") != Some("trailers") {
        wrong.push(format!("{path}: {headers:?}"));
    }
    let mut plain = Vec::new();
    match body.split_at_checked(PREFIX) {
        Some((&[is_zipped, a, b, c, d], message))
            if u32::from_be_bytes([a, b, c, d]) as usize == message.len() =>
        {
            match (is_zipped, of("grpc-encoding")) {
                (0, _) => plain.extend_from_slice(message),
                (1, Some("gzip")) => {
                    if let Err(error) = GzDecoder::new(message).read_to_end(&mut plain) {
                        wrong.push(format!("{path}: no gzip: {error}"));
                    }
                }
                other => wrong.push(format!("{path}: compressed as {other:?}")),
            }
        }
        _ => wrong.push(format!("{path}: {} bytes are no message", body.len())),
    }
    shared.lock().wrong.extend(wrong);
    Some(keep(shared, signal.to_owned(), headers, plain, refused))
}
