//! The handshake.

use super::options::Options;
use super::shared::{Shared, Socket};
use super::stream::MaybeTls;
use super::{Error, Reader, Writer, heart};
use crate::http::{bare, host_of};
use crate::{Context, Noise, tls};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

/// The library's default of 128 KiB is allocated for each connection at once; idle ones need next to nothing, and
/// longer messages let it grow.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// What several messages that are written together may gather before they go out; some forty acknowledgements. It is
/// used when there are several, and then kept.
const WRITE_BUFFER_BYTES: usize = 2 * 1024;
/// What may wait for the socket beside one message: control frames and headers.
const WRITE_BUFFER_SPARE_BYTES: usize = 64 * 1024;

impl Context {
    /// Opens a WebSocket. The handshake is a `session` operation of that name, and so is its end.
    ///
    /// Cancel safe in that a dropped handshake leaves no connection; its operation is then a failed one.
    pub async fn websocket(
        &self,
        operation: &'static str,
        options: Options,
    ) -> Result<(Reader, Writer), Error> {
        let mut op = self.op(operation, Noise::Session);
        let (url, request) = match request(&options) {
            Ok(made) => made,
            Err(error) => {
                op.class(error.class());
                op.fail(&error);
                return Err(error);
            }
        };
        let host = host_of(&url);
        let what = options.template.clone().unwrap_or_else(|| host.clone());
        op.detail(format!("GET {what}"))
            .attr("http.request.method", "GET")
            .attr("url.full", bare(&url))
            .attr("server.address", url.host_str().unwrap_or(""));
        if let Some(template) = &options.template {
            op.attr("url.template", template.clone());
        }
        // Real time and not the host's clock: it is the machine's network that is waited for.
        let limit = options.handshake_timeout;
        let opened = tokio::time::timeout(limit, open(&url, request, &options, &host)).await;
        let opened = opened.unwrap_or_else(|_| {
            Err(Error::Timeout {
                host: host.clone(),
                limit,
            })
        });
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => {
                if let Error::Refused { status, .. } = &error {
                    op.detail(format!("GET {what} {status}"))
                        .attr("http.response.status_code", status.to_string());
                }
                op.class(error.class());
                op.fail(&error);
                return Err(error);
            }
        };
        op.detail(format!("GET {what} 101"))
            .attr("http.response.status_code", "101");
        op.done();
        let shared = Arc::new(Shared::new(socket, host, options.message_bytes_max));
        if let Some(ping) = options.ping {
            heart::start(self, &shared, ping, options.heartbeat);
        }
        let writer = Writer {
            shared: Arc::clone(&shared),
        };
        let reader = Reader::new(self.clone(), shared, operation, what, &options);
        Ok((reader, writer))
    }
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::Invalid {
        problem: problem.into(),
    }
}

/// The request of the handshake, and the address as a URL.
fn request(options: &Options) -> Result<(Url, Request), Error> {
    let url = Url::parse(&options.url)
        .map_err(|error| invalid(format!("the address is no URL: {error}")))?;
    if !matches!(url.scheme(), "ws" | "wss") {
        let scheme = url.scheme();
        return Err(invalid(format!(
            "the address begins with {scheme}, expected ws or wss"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "the address has a user part; pass an authorization header instead",
        ));
    }
    let mut request = url
        .as_str()
        .into_client_request()
        .map_err(|_| invalid("the address is not allowed in HTTP"))?;
    let headers = options.headers.iter();
    for (name, value) in headers {
        let (Ok(header), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value))
        else {
            return Err(invalid(format!("header {name:?} is not allowed in HTTP")));
        };
        request.headers_mut().append(header, value);
    }
    if let Some(subprotocol) = &options.subprotocol {
        let value = HeaderValue::from_str(subprotocol).map_err(|_| {
            invalid(format!(
                "subprotocol {subprotocol:?} is not allowed in HTTP"
            ))
        })?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok((url, request))
}

async fn open(
    url: &Url,
    request: Request,
    options: &Options,
    host: &str,
) -> Result<Box<Socket>, Error> {
    let connect = |source: std::io::Error| Error::Connect {
        host: host.to_owned(),
        source: Box::new(source),
    };
    let name = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    let stream = TcpStream::connect((name, port)).await.map_err(connect)?;
    // Messages are small and each matters at once.
    stream.set_nodelay(true).map_err(connect)?;
    let stream = if url.scheme() == "wss" {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| invalid(format!("{name:?} is no name that a certificate can have")))?;
        let connector = TlsConnector::from(Arc::clone(tls::plain()));
        // Boxed for the same reason as below.
        let tls = Box::pin(connector.connect(name, stream));
        MaybeTls::Tls(Box::new(tls.await.map_err(connect)?))
    } else {
        MaybeTls::Plain(stream)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(options.message_bytes_max + WRITE_BUFFER_SPARE_BYTES)
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max));
    let handshake = client_async_with_config(request, stream, Some(config));
    // Boxed: the state of a handshake is several times that of an open connection, and would stay in the task.
    let (socket, _) = Box::pin(handshake)
        .await
        .map_err(|error| Error::of_handshake(error, host))?;
    Ok(Box::new(socket))
}
