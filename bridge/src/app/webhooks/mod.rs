//! The listener of providers that push by HTTP: `/hooks/<provider>/<account>/<rest>`.
//!
//! A request is answered by the account's adapter, on whichever replica has it, and only when the adapter says so: after
//! its events are stored. What is wrong with the request itself is answered here. Connections, requests, headers, bodies
//! and the time for each are bounded; nothing of a request but its account and the status of its answer is ever logged or
//! counted, since a secret may sit in any part of it.
//!
//! Not here: TLS, which ends before; whether the sender may send, which only the adapter knows.

mod answer;
mod forward;
mod local;

pub use forward::Subscription;

use super::base::Base;
use super::plan::Plan;
use crate::admin::Health;
use crate::bus::Account;
use crate::bus::clock::unix_ms;
use crate::loader::config::WebhookConfig;
use crate::loader::host::WebhookRequest;
use answer::Answer;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Each costs a descriptor and some kilobytes; what stands before us keeps few.
const CONNECTIONS_MAX: usize = 512;
/// Each may hold a whole body: with the largest allowed, 96 MiB.
const REQUESTS_MAX: usize = 128;
/// What a request line and its headers may take, the limits below included.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// For a whole head; also how long an idle connection is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// After an error of accepting, which is most often a lack of descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Why nobody can be answered.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; set plugins.webhook.listen")]
pub struct HookError {
    address: String,
    source: std::io::Error,
}

impl HookError {
    /// Section in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        "plugin_webhook_port"
    }
}

struct Desk {
    base: Weak<Base>,
    plan: watch::Receiver<Arc<Plan>>,
    health: Arc<Health>,
    config: WebhookConfig,
    requests: Semaphore,
}

/// Listens until `tasks` is dropped, if an address is configured.
///
/// # Errors
/// The address cannot be had.
pub(super) async fn listen(
    base: &Arc<Base>,
    plan: watch::Receiver<Arc<Plan>>,
    health: &Arc<Health>,
    tasks: &mut JoinSet<()>,
) -> Result<(), HookError> {
    let config = base.webhook.clone();
    if config.listen.is_empty() {
        return Ok(());
    }
    let refused = |source| HookError {
        address: config.listen.clone(),
        source,
    };
    let listener = TcpListener::bind(&config.listen).await.map_err(refused)?;
    let own = listener.local_addr().map_err(refused)?;
    tracing::info!(webhooks = %own, "listening for webhooks");
    let desk = Arc::new(Desk {
        base: Arc::downgrade(base),
        plan,
        health: Arc::clone(health),
        config,
        requests: Semaphore::new(REQUESTS_MAX),
    });
    tasks.spawn(accept(listener, desk));
    Ok(())
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return; // it is never closed
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a webhook's connection cannot be accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let desk = Arc::clone(&desk);
                async move {
                    let request = request.map(Body::new);
                    Ok::<_, Infallible>(desk.answer(peer, request).await.into_response())
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // What goes wrong here is the sender's, who sees it.
            let _ = connection.await;
        });
    }
}

impl Desk {
    async fn answer(&self, peer: SocketAddr, request: Request<Body>) -> Answer {
        let arrived = Instant::now();
        let Some(base) = self.base.upgrade() else {
            return Answer::again();
        };
        let Some((account, rest)) = address(request.uri().path()) else {
            return Answer::by_us(StatusCode::NOT_FOUND);
        };
        let wanted = self.plan.borrow().accounts.get(&account).cloned();
        let Some(wanted) = wanted.filter(|wanted| wanted.part.enabled) else {
            return Answer::by_us(StatusCode::NOT_FOUND);
        };
        let takes = |adapter: &Arc<super::plugins::Adapter>| adapter.plugin.takes_webhooks();
        let rest = rest.to_owned();
        // Without a file here another replica may have one.
        let answer = if wanted.adapter.as_ref().is_none_or(takes) {
            let (account, rest) = (&account, rest.as_str());
            self.forwarded(&base, (account, rest), peer, request, arrived)
                .await
        } else {
            Answer::by_us(StatusCode::NOT_FOUND)
        };
        base.figures.webhook(&account, answer.status.as_u16());
        answer
    }

    async fn forwarded(
        &self,
        base: &Arc<Base>,
        (account, rest): (&Account, &str),
        peer: SocketAddr,
        request: Request<Body>,
        arrived: Instant,
    ) -> Answer {
        let (head, body) = request.into_parts();
        if ![Method::GET, Method::POST, Method::PUT].contains(&head.method) {
            return Answer::method();
        }
        let headers = match headers(&head.headers) {
            Ok(headers) => headers,
            Err(status) => return Answer::by_us(status),
        };
        if self.health.readiness() == "draining" {
            return Answer::again();
        }
        // Held until it is answered: what is in hand is bounded by it.
        let Ok(_slot) = self.requests.try_acquire() else {
            return Answer::again();
        };
        let within = Duration::from_millis(self.config.timeout_ms);
        let deadline = arrived + within;
        let length = length(&head.headers);
        let read = read(body, length, self.config.max_body_bytes);
        let body = match timeout_at(deadline, read).await {
            Ok(Ok(body)) => body,
            Ok(Err(status)) => return Answer::by_us(status),
            Err(_) => return Answer::by_us(StatusCode::REQUEST_TIMEOUT),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let left_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        let mut asked = WebhookRequest::new(
            head.method.as_str(),
            rest,
            unix_ms().saturating_add(left_ms),
        );
        asked.query = head.uri.query().unwrap_or_default().into();
        asked.peer = peer.ip().to_string().into();
        asked.headers = headers;
        asked.body = body;
        let owned = base.directory.get(account);
        let given = async {
            match owned {
                Some(listed) => local::give(&base.telemetry, &listed.face, asked).await,
                None => forward::ask(&base.bus, account, asked, left).await,
            }
        };
        timeout_at(deadline, given)
            .await
            .unwrap_or_else(|_| Answer::by_us(StatusCode::GATEWAY_TIMEOUT))
    }
}

/// Whose it is, and what follows in the path: empty, or with a slash in front.
fn address(path: &str) -> Option<(Account, &str)> {
    let path = path.strip_prefix("/hooks/")?;
    let (provider, path) = path.split_once('/')?;
    let end = path.find('/').unwrap_or(path.len());
    let (alias, rest) = path.split_at(end);
    let account = Account::new(provider.parse().ok()?, alias.parse().ok()?);
    Some((account, rest))
}

type Headers = Vec<(Box<str>, Box<str>)>;

fn headers(from: &HeaderMap) -> Result<Headers, StatusCode> {
    let mut bytes = 0;
    let mut headers = Headers::with_capacity(from.len());
    for (name, value) in from {
        bytes += name.as_str().len() + value.len();
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
        headers.push((name.as_str().into(), text.into()));
    }
    if headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    Ok(headers)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    text.parse().ok()
}

async fn read(body: Body, length: Option<u64>, most: usize) -> Result<Bytes, StatusCode> {
    let told = length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if told > most {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut whole = BytesMut::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        // The sender went, or broke the protocol.
        let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        if whole.len() + piece.len() > most {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_account_and_keeps_the_rest_as_it_is() {
        let (account, rest) = address("/hooks/sim/demo/s3cret/a%2Fb").unwrap();
        assert_eq!(account.to_string(), "sim/demo");
        assert_eq!(rest, "/s3cret/a%2Fb");
        assert_eq!(address("/hooks/sim/demo").unwrap().1, "");
        assert_eq!(address("/hooks/sim/demo/").unwrap().1, "/");
        for other in [
            "/",
            "/hooks",
            "/hooks/",
            "/hooks/sim",
            "/hooks/sim/",
            "/hooks//demo",
            "/hooks/sim/_adapter",
            "/hooks/SIM/demo",
            "/hooks/sim/a.b",
            "/hooks/sim/*",
            "/metrics",
            "//hooks/sim/demo",
            "/hooks/../hooks/sim/demo",
        ] {
            assert!(address(other).is_none(), "{other}");
        }
    }
}
