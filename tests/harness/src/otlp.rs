//! A collector in the test's own process: a real server that takes OTLP over HTTP and gRPC, and keeps what it decodes.
//!
//! Nothing of the exporter is replaced, so what a test sees left by the socket. It can misbehave: refuse, fail, hang. One
//! port takes both protocols: a connection's first bytes tell which it is.
//!
//! Not here: gRPC itself (`grpc`).

mod grpc;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Wire, span::SpanKind};
use prost::Message as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How the collector treats a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Take,
    /// Takes it, and says that it did not want this many spans of it.
    Partly(u16),
    /// Answers with this status.
    Status(u16),
    /// The same, with `Retry-After` in seconds.
    Later(u16, u32),
    /// Reads the request and never answers.
    Hang,
    /// Ends the connection.
    Close,
}

/// One span, as far as tests look at it.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    /// `CLIENT`, `CONSUMER`, …
    pub kind: String,
    /// Ids in hexadecimal digits; no parent: empty.
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    pub start_ns: u64,
    pub end_ns: u64,
    /// The description of an error.
    pub error: Option<String>,
    /// Whatever their type, as text.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span.
    pub links: Vec<(String, String)>,
    /// Name and attributes.
    pub events: Vec<(String, BTreeMap<String, String>)>,
    pub resource: Arc<BTreeMap<String, String>>,
    pub scope: String,
    pub at: Instant,
}

impl Span {
    /// An attribute's text; empty if it has none of this name.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    pub fn is_root(&self) -> bool {
        self.parent.is_empty()
    }

    pub fn is_below(&self, parent: &Self) -> bool {
        self.trace == parent.trace && self.parent == parent.id
    }
}

/// One value of a metric.
#[derive(Clone, Debug)]
pub struct Point {
    pub name: String,
    pub unit: String,
    pub labels: BTreeMap<String, String>,
    pub start_ns: u64,
    pub at_ns: u64,
    pub value: Measured,
    pub resource: Arc<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    Counter(f64),
    Gauge(f64),
    Histogram {
        count: u64,
        sum: f64,
        /// Upper bound and how many are at or below it and above the one before; the last one has no bound.
        buckets: Vec<(Option<f64>, u64)>,
    },
}

/// One log line.
#[derive(Clone, Debug)]
pub struct Line {
    pub at_ns: u64,
    pub severity: String,
    pub body: String,
    /// Ids in hexadecimal digits.
    pub trace: String,
    pub attributes: BTreeMap<String, String>,
    pub resource: Arc<BTreeMap<String, String>>,
}

/// One request that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Without its compression.
    pub body: Vec<u8>,
    pub at: Instant,
}

/// See the front page. It listens until it is dropped.
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    is_over: AtomicBool,
}

struct State {
    mode: Mode,
    requests: usize,
    taken: Vec<Taken>,
    spans: Vec<Span>,
    points: Vec<Point>,
    lines: Vec<Line>,
    /// What a client did wrong.
    wrong: Vec<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                mode: Mode::Take,
                requests: 0,
                taken: Vec::new(),
                spans: Vec::new(),
                points: Vec::new(),
                lines: Vec::new(),
                wrong: Vec::new(),
            }),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.is_over.load(Ordering::Acquire) {
                    return;
                }
                let own = Arc::clone(&own);
                std::thread::spawn(move || {
                    // A connection that breaks is the client's to notice.
                    let _ = match is_http2(&stream) {
                        Ok(true) => grpc::serve(&own, stream),
                        Ok(false) => serve(&own, stream),
                        Err(error) => Err(error),
                    };
                });
            }
        });
        Self { address, shared }
    }

    /// The base URL, as it is configured.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From the next request on.
    pub fn set(&self, mode: Mode) {
        self.shared.lock().mode = mode;
    }

    /// All spans so far, in the order of their arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.lock().spans.clone()
    }

    /// The spans of this name.
    pub fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans
    }

    /// All values of all metrics so far, in the order of their arrival.
    pub fn points(&self) -> Vec<Point> {
        self.shared.lock().points.clone()
    }

    /// All log lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lock().lines.clone()
    }

    /// Requests that were taken.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.lock().taken.clone()
    }

    /// Drops what was taken: whoever measures needs none of it.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.taken.clear();
        state.spans.clear();
        state.points.clear();
        state.lines.clear();
    }

    /// Requests that were read, whatever became of them.
    pub fn requests(&self) -> usize {
        self.shared.lock().requests
    }

    /// Whether this text stands in anything that was taken, resources and attributes included.
    pub fn has_seen(&self, text: &str) -> bool {
        let state = self.shared.lock();
        let is_in = |body: &[u8]| body.windows(text.len()).any(|part| part == text.as_bytes());
        state.taken.iter().any(|taken| is_in(&taken.body))
    }

    /// Fails with what clients did wrong, if they did.
    pub fn check(&self) {
        let wrong = self.shared.lock().wrong.clone();
        assert!(wrong.is_empty(), "the collector was told {wrong:#?}");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// The URL of a collector that refuses connections.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

/// No method of HTTP/1 begins like the preface of HTTP/2.
fn is_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; 3];
    loop {
        match stream.peek(&mut first)? {
            0 => return Ok(false),
            3 => return Ok(&first == b"PRI"),
            _ => std::thread::yield_now(),
        }
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|it| it.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next(), words.next().unwrap_or_default().to_owned());
        let mode = {
            let mut state = shared.lock();
            state.requests += 1;
            if method != Some("POST") {
                state.wrong.push(format!("{line:?} is no POST"));
            }
            state.mode
        };
        let (status, after, answer) = match mode {
            Mode::Take => (200, None, unpack(shared, path, headers, &body, 0)),
            Mode::Partly(refused) => (200, None, unpack(shared, path, headers, &body, refused)),
            Mode::Status(status) => (status, None, Vec::new()),
            Mode::Later(status, after) => (status, Some(after), Vec::new()),
            Mode::Close => return Ok(()),
            Mode::Hang => {
                // Until the client has had enough.
                let _ = reader.read(&mut [0]);
                return Ok(());
            }
        };
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/x-protobuf\r\n");
        if let Some(after) = after {
            let _ = write!(head, "Retry-After: {after}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", answer.len());
        writer.write_all(head.as_bytes())?;
        writer.write_all(&answer)?;
    }
}

/// Takes a request over HTTP; what it is answered.
fn unpack(
    shared: &Shared,
    path: String,
    headers: BTreeMap<String, String>,
    body: &[u8],
    refused: u16,
) -> Vec<u8> {
    let mut wrong = Vec::new();
    if headers.get("content-type").map(String::as_str) != Some("application/x-protobuf") {
        wrong.push(format!("{path}: {:?}", headers.get("content-type")));
    }
    let mut plain = Vec::new();
    match headers.get("content-encoding").map(String::as_str) {
        Some("gzip") => {
            if let Err(error) = GzDecoder::new(body).read_to_end(&mut plain) {
                wrong.push(format!("{path}: no gzip: {error}"));
            }
        }
        None => plain.extend_from_slice(body),
        Some(other) => wrong.push(format!("{path}: {other}")),
    }
    shared.lock().wrong.extend(wrong);
    keep(shared, path, headers, plain, refused)
}

/// Takes a message; what it is answered.
fn keep(
    shared: &Shared,
    path: String,
    headers: BTreeMap<String, String>,
    plain: Vec<u8>,
    refused: u16,
) -> Vec<u8> {
    let at = Instant::now();
    let (mut spans, mut points, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    let decoded = match path.as_str() {
        "/v1/traces" => {
            ExportTraceServiceRequest::decode(&*plain).map(|request| spans = read(request, at))
        }
        "/v1/metrics" => {
            ExportMetricsServiceRequest::decode(&*plain).map(|request| points = measured(request))
        }
        "/v1/logs" => {
            ExportLogsServiceRequest::decode(&*plain).map(|request| lines = said(request))
        }
        _ => {
            // An endpoint of a signal may have any path.
            ExportTraceServiceRequest::decode(&*plain).map(|request| spans = read(request, at))
        }
    };
    spans.truncate(spans.len().saturating_sub(usize::from(refused)));
    let mut state = shared.lock();
    if let Err(error) = decoded {
        state.wrong.push(format!("{path}: {error}"));
    }
    state.spans.extend(spans);
    state.points.extend(points);
    state.lines.extend(lines);
    state.taken.push(Taken {
        path,
        headers,
        body: plain,
        at,
    });
    let partial_success = (refused > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::from(refused),
        error_message: "not wanted".to_owned(),
    });
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

fn read(request: ExportTraceServiceRequest, at: Instant) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = Arc::new(texts(of_resource.resource.unwrap_or_default().attributes));
        for of_scope in of_resource.scope_spans {
            let scope = of_scope.scope.unwrap_or_default().name;
            let of_one = |wire| span(wire, &resource, &scope, at);
            spans.extend(of_scope.spans.into_iter().map(of_one));
        }
    }
    spans
}

fn span(from: Wire, resource: &Arc<BTreeMap<String, String>>, scope: &str, at: Instant) -> Span {
    let kind = from.kind();
    let status = from.status.unwrap_or_default();
    let kind = match kind {
        SpanKind::Unspecified => "",
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
    };
    Span {
        name: from.name,
        kind: kind.to_owned(),
        trace: hex(&from.trace_id),
        id: hex(&from.span_id),
        parent: hex(&from.parent_span_id),
        state: from.trace_state,
        start_ns: from.start_time_unix_nano,
        end_ns: from.end_time_unix_nano,
        error: (status.code() == StatusCode::Error).then_some(status.message),
        attributes: texts(from.attributes),
        links: from
            .links
            .iter()
            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
            .collect(),
        events: from
            .events
            .into_iter()
            .map(|event| (event.name, texts(event.attributes)))
            .collect(),
        resource: Arc::clone(resource),
        scope: scope.to_owned(),
        at,
    }
}

fn measured(request: ExportMetricsServiceRequest) -> Vec<Point> {
    let mut points = Vec::new();
    for of_resource in request.resource_metrics {
        let resource = Arc::new(texts(of_resource.resource.unwrap_or_default().attributes));
        let scopes = of_resource.scope_metrics.into_iter();
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let mut add = |start_ns, at_ns, attributes, value| {
                points.push(Point {
                    name: metric.name.clone(),
                    unit: metric.unit.clone(),
                    labels: texts(attributes),
                    start_ns,
                    at_ns,
                    value,
                    resource: Arc::clone(&resource),
                });
            };
            let number = |value| match value {
                Some(number_data_point::Value::AsDouble(value)) => value,
                other => panic!("{other:?} is no value of ours"),
            };
            match metric.data {
                Some(metric::Data::Sum(sum)) => {
                    for it in sum.data_points {
                        let value = Measured::Counter(number(it.value));
                        add(
                            it.start_time_unix_nano,
                            it.time_unix_nano,
                            it.attributes,
                            value,
                        );
                    }
                }
                Some(metric::Data::Gauge(gauge)) => {
                    for it in gauge.data_points {
                        let value = Measured::Gauge(number(it.value));
                        add(
                            it.start_time_unix_nano,
                            it.time_unix_nano,
                            it.attributes,
                            value,
                        );
                    }
                }
                Some(metric::Data::Histogram(histogram)) => {
                    for it in histogram.data_points {
                        let bounds = it.explicit_bounds.into_iter().map(Some).chain([None]);
                        let value = Measured::Histogram {
                            count: it.count,
                            sum: it.sum.unwrap_or_default(),
                            buckets: bounds.zip(it.bucket_counts).collect(),
                        };
                        add(
                            it.start_time_unix_nano,
                            it.time_unix_nano,
                            it.attributes,
                            value,
                        );
                    }
                }
                other => panic!("{other:?} is no metric of ours"),
            }
        }
    }
    points
}

fn said(request: ExportLogsServiceRequest) -> Vec<Line> {
    let mut lines = Vec::new();
    for of_resource in request.resource_logs {
        let resource = Arc::new(texts(of_resource.resource.unwrap_or_default().attributes));
        let scopes = of_resource.scope_logs.into_iter();
        for record in scopes.flat_map(|scope| scope.log_records) {
            let body = record.body.and_then(|body| body.value);
            lines.push(Line {
                at_ns: record.time_unix_nano,
                severity: record.severity_text,
                body: body.map(text).unwrap_or_default(),
                trace: hex(&record.trace_id),
                attributes: texts(record.attributes),
                resource: Arc::clone(&resource),
            });
        }
    }
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn text(value: Value) -> String {
    match value {
        Value::StringValue(text) => text,
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn texts(from: Vec<KeyValue>) -> BTreeMap<String, String> {
    from.into_iter()
        .map(|pair| {
            let value = pair.value.and_then(|value| value.value);
            (pair.key, value.map(text).unwrap_or_default())
        })
        .collect()
}

/// How long an exporter gathers before it sends, and a little more.
pub const EXPORTED_WITHIN: Duration = Duration::from_secs(30);
