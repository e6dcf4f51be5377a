//! Steers a provider's simulator over HTTP: `/_sim/` on the address of its HTTP protocol.
//!
//! One connection for each call, so that it works while the simulator is told to misbehave elsewhere. What a simulator can be
//! told is in `tests/simulators/README.md`.

use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A simulator answers at once, whatever happens to bridges and servers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Entries of the record at a time.
const PAGE: usize = 10_000;

#[derive(Clone, Debug)]
pub struct Control {
    authority: String,
}

impl Control {
    /// `http` as the simulator printed it: `http://127.0.0.1:41873`.
    pub fn new(http: &str) -> Self {
        let authority = http
            .strip_prefix("http://")
            .expect("a simulator speaks HTTP without TLS");
        Self {
            authority: authority.trim_end_matches('/').to_owned(),
        }
    }

    /// `POST /_sim/<act>`; its answer. Fails the test where the simulator refuses.
    pub async fn act(&self, act: &str, body: Value) -> Value {
        self.call("POST", act, &body.to_string()).await
    }

    /// `GET /_sim/<what>`
    pub async fn get(&self, what: &str) -> Value {
        self.call("GET", what, "").await
    }

    /// All entries of these kinds in the record, in order; none named: all kinds. Fails if some are no longer kept.
    pub async fn record(&self, kinds: &[&str]) -> Vec<Value> {
        self.record_after(&mut 0, kinds).await
    }

    /// Those numbered above `after`, which then is the number of the last one looked at.
    pub async fn record_after(&self, after: &mut u64, kinds: &[&str]) -> Vec<Value> {
        let mut entries = Vec::new();
        loop {
            let kinds = kinds.join(",");
            let what = format!("record?after={after}&kinds={kinds}&limit={PAGE}");
            let mut page = self.get(&what).await;
            assert_eq!(page["dropped"], 0, "the record was too short");
            let Value::Array(new) = page["entries"].take() else {
                panic!("a page of the record has entries: {page}");
            };
            entries.extend(new);
            let next = page["next"].as_u64().expect("a page says where it ends");
            if std::mem::replace(after, next) == next {
                return entries;
            }
        }
    }

    async fn call(&self, method: &str, what: &str, body: &str) -> Value {
        let asked = self.exchange(method, what, body);
        let answer = tokio::time::timeout(ANSWERS_WITHIN, asked).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method} /_sim/{what}: no answer"));
        let (head, said) = answer.split_once("\r\n\r\n").expect("it answers in HTTP");
        assert!(
            head.starts_with("HTTP/1.1 200 "),
            "{method} /_sim/{what}: {head} {said}"
        );
        serde_json::from_str(said).unwrap_or_else(|error| panic!("{what}: {error} in {said}"))
    }

    async fn exchange(&self, method: &str, what: &str, body: &str) -> String {
        let connected = TcpStream::connect(&self.authority).await;
        let mut stream = connected.expect("the simulator listens");
        let Self { authority } = self;
        let length = body.len();
        let request = format!(
            "{method} /_sim/{what} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let written = stream.write_all(request.as_bytes()).await;
        written.expect("the simulator lives as long as the test");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        read.expect("the simulator lives as long as the test");
        answer
    }
}
