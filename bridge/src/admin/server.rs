//! The listener of probes, metrics and status.

use super::Health;
use crate::telemetry::Registry;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Makes the status document, from facts that are at hand.
pub type Report = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Why nobody can be answered.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot listen on {address}: {source}; set admin.listen")]
    Port {
        address: String,
        source: std::io::Error,
    },
}

impl AdminError {
    /// Section in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Port { .. } => "admin_port",
        }
    }
}

/// The listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Facts {
    health: Arc<Health>,
    metrics: Registry,
    report: Report,
}

impl Admin {
    /// Listens before anything else of the bridge starts.
    pub fn listen(
        address: &str,
        health: Arc<Health>,
        metrics: Registry,
        report: Report,
    ) -> Result<Self, AdminError> {
        let refused = |source| AdminError::Port {
            address: address.to_owned(),
            source,
        };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let own = listener.local_addr().map_err(refused)?;
        let (stop, stopped) = oneshot::channel();
        let facts = Facts {
            health,
            metrics,
            report,
        };
        let thread = std::thread::Builder::new()
            .name("im-admin".to_owned())
            .spawn(move || serve(listener, facts, stopped))
            .map_err(refused)?;
        Ok(Self {
            address: own,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens: a port that the system chose is known here only.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its hook; nothing more can be done about it here.
            let _ = thread.join();
        }
    }
}

fn serve(listener: std::net::TcpListener, facts: Facts, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime needs descriptors only, and the listener just got one");
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
            return;
        };
        let routes = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/status", get(status))
            .with_state(facts);
        // Probes are answered until the very end: connections are cut, not waited for.
        tokio::select! {
            biased;
            _ = stopped => {}
            _ = axum::serve(listener, routes) => {}
        }
    });
}

fn judged(is_good: bool) -> StatusCode {
    if is_good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn livez(State(facts): State<Facts>) -> Response {
    let is_alive = facts.health.is_alive();
    (judged(is_alive), if is_alive { "ok\n" } else { "stuck\n" }).into_response()
}

async fn readyz(State(facts): State<Facts>, RawQuery(query): RawQuery) -> Response {
    let word = facts.health.readiness();
    let is_verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    let body = if is_verbose {
        facts.health.verbose()
    } else {
        format!("{word}\n")
    };
    (judged(word == "ok"), body).into_response()
}

async fn metrics(State(facts): State<Facts>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, facts.metrics.render()).into_response()
}

async fn status(State(facts): State<Facts>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, (facts.report)().to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::Check;
    use super::*;
    use std::io::{Read, Write};

    fn ask(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split("\r\n\r\n").nth(1).unwrap().to_owned())
    }

    #[test]
    fn probes_tell_in_one_word_what_is_missing() {
        let health = Arc::new(Health::default());
        let report: Report = Arc::new(|| serde_json::json!({"accounts": []}));
        let admin =
            Admin::listen("127.0.0.1:0", health.clone(), Registry::default(), report).unwrap();
        let at = admin.address();
        assert_eq!(ask(at, "/livez"), (200, "ok\n".to_owned()));
        assert_eq!(ask(at, "/readyz"), (503, "starting\n".to_owned()));
        health.set(Check::Nats, Err("lost 3 s ago".to_owned()));
        health.set(Check::Plugins, Ok(()));
        assert_eq!(ask(at, "/readyz"), (503, "nats\n".to_owned()));
        assert!(
            ask(at, "/readyz?verbose")
                .1
                .contains("[-]nats lost 3 s ago\n[+]plugins ok\n")
        );
        health.set(Check::Nats, Ok(()));
        health.set_warnings(vec![("account".to_owned(), "sim/one is failed".to_owned())]);
        assert_eq!(ask(at, "/readyz"), (200, "ok\n".to_owned()));
        assert!(
            ask(at, "/readyz?verbose")
                .1
                .contains("[!]account sim/one is failed")
        );
        health.drain();
        assert_eq!(ask(at, "/readyz"), (503, "draining\n".to_owned()));
        assert_eq!(
            ask(at, "/api/status"),
            (200, "{\"accounts\":[]}".to_owned())
        );
        assert_eq!(ask(at, "/metrics").0, 200);
        assert_eq!(ask(at, "/nonsense").0, 404);
        let told = Admin::listen(
            &at.to_string(),
            health,
            Registry::default(),
            Arc::new(|| ().into()),
        );
        let told = told.unwrap_err();
        assert!(
            told.to_string()
                .starts_with(&format!("cannot listen on {at}: ")),
            "{told}"
        );
        assert_eq!(told.code(), "admin_port");
        drop(admin);
        assert!(
            std::net::TcpStream::connect(at).is_err(),
            "it ended with its owner"
        );
    }
}
