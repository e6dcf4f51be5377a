//! Building and sending one request.

use super::{BODY_BYTES_MAX, CONNECT_TIMEOUT, Error, Response, TIMEOUT, bare, class_of, host_of};
use crate::{Context, Noise, Op, Trace, tls};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Body, Method};
use serde::Serialize;
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;
use url::Url;

/// Idle connections kept per host, of all accounts on a thread. Each costs some 30 KiB where the provider speaks HTTP/1.
const IDLE_PER_HOST_MAX: usize = 16;
/// How long an idle connection is kept: below the minute after which most balancers close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The pool of one thread, made at the first request there. Accounts share it: it holds nothing that is one account's, no
/// cookie and no credential, and an idle account then costs no connection.
#[derive(Default)]
pub(crate) struct Agent(OnceCell<reqwest::Client>);

impl Agent {
    fn get(&self) -> &reqwest::Client {
        self.0.get_or_init(|| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls::http().clone())
                .redirect(Policy::none())
                .referer(false)
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .build()
                .expect("options that need nothing of the machine")
        })
    }
}

/// Makes requests. From [`Context::http`].
#[derive(Clone)]
pub struct Client {
    cx: Context,
    agent: Rc<Agent>,
}

impl Context {
    /// The account's HTTP client: its connections are pooled, its operations belong to this context's trace. Cheap.
    #[must_use]
    pub fn http(&self) -> Client {
        Client {
            cx: self.clone(),
            agent: Rc::clone(self.agent()),
        }
    }
}

impl Client {
    /// A request by any method; `operation` is declared in the adapter's description.
    pub fn request(
        &self,
        method: Method,
        operation: &'static str,
        noise: Noise,
        url: &str,
    ) -> Request {
        let invalid = |problem: String| Error::Invalid { operation, problem };
        let url = Url::parse(url)
            .map_err(|error| invalid(format!("the address is no URL: {error}")))
            .and_then(|url| match url.scheme() {
                "http" | "https" if url.has_host() => Ok(url),
                scheme => Err(invalid(format!(
                    "the address begins with {scheme}, expected http or https"
                ))),
            });
        Request {
            cx: self.cx.clone(),
            agent: Rc::clone(&self.agent),
            operation,
            noise,
            method,
            url,
            template: None,
            headers: HeaderMap::new(),
            body: None,
            limit: TIMEOUT,
            bytes_max: BODY_BYTES_MAX,
            parent: None,
        }
    }

    /// A GET request.
    pub fn get(&self, operation: &'static str, noise: Noise, url: &str) -> Request {
        self.request(Method::GET, operation, noise, url)
    }

    /// A POST request.
    pub fn post(&self, operation: &'static str, noise: Noise, url: &str) -> Request {
        self.request(Method::POST, operation, noise, url)
    }

    /// A PUT request.
    pub fn put(&self, operation: &'static str, noise: Noise, url: &str) -> Request {
        self.request(Method::PUT, operation, noise, url)
    }

    /// A DELETE request.
    pub fn delete(&self, operation: &'static str, noise: Noise, url: &str) -> Request {
        self.request(Method::DELETE, operation, noise, url)
    }
}

/// One request. What is wrong with it shows when it is sent.
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    cx: Context,
    agent: Rc<Agent>,
    operation: &'static str,
    noise: Noise,
    method: Method,
    url: Result<Url, Error>,
    template: Option<String>,
    headers: HeaderMap,
    body: Option<Body>,
    limit: Duration,
    bytes_max: usize,
    parent: Option<Trace>,
}

impl Request {
    /// The path with names in place of ids: `/v1/channels/{channel}/messages`. What people see of the address.
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            (Ok(header), Ok(mut value)) => {
                // A value may be a token: it shall not be printed with the request.
                value.set_sensitive(true);
                self.headers.append(header, value);
            }
            _ => self = self.invalid(format!("header {name:?} is not allowed in HTTP")),
        }
        self
    }

    /// Adds pairs to the query.
    pub fn query<K: AsRef<str>, V: AsRef<str>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        if let Ok(url) = &mut self.url {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        self
    }

    /// A JSON body.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body("application/json", bytes),
            Err(error) => self.invalid(format!("the body is no JSON: {error}")),
        }
    }

    /// A body of form fields.
    pub fn form<K: AsRef<str>, V: AsRef<str>>(
        self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut fields = url::form_urlencoded::Serializer::new(String::new());
        fields.extend_pairs(pairs);
        self.body("application/x-www-form-urlencoded", fields.finish())
    }

    /// A body of any type.
    pub fn body(mut self, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        self.headers.insert(CONTENT_TYPE, content_type);
        self.body = Some(Body::from(body.into()));
        self
    }

    /// Another time limit than [`TIMEOUT`], as a long poll needs.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A lower limit than [`BODY_BYTES_MAX`] for the answer.
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes.min(BODY_BYTES_MAX);
        self
    }

    /// What it is done for; the context's own trace unless said otherwise.
    pub fn parent(mut self, parent: Trace) -> Self {
        self.parent = Some(parent);
        self
    }

    fn invalid(mut self, problem: String) -> Self {
        if self.url.is_ok() {
            let operation = self.operation;
            self.url = Err(Error::Invalid { operation, problem });
        }
        self
    }

    /// Sends it and reads the whole answer. An answer with an error status is an answer: its operation has failed, its
    /// body is there to be read.
    ///
    /// Not cancel safe: dropped midway, the provider may have got it. The operation is then a failed one.
    pub async fn send(self) -> Result<Response, Error> {
        let mut op = self.cx.op(self.operation, self.noise);
        if let Some(parent) = self.parent {
            op.parent(parent);
        }
        let url = match self.url {
            Ok(url) => url,
            Err(error) => {
                op.class(error.class());
                op.fail(&error);
                return Err(error);
            }
        };
        let host = host_of(&url);
        let what = self.template.clone().unwrap_or_else(|| host.clone());
        op.detail(format!("{} {what}", self.method))
            .attr("http.request.method", self.method.as_str())
            .attr("url.full", bare(&url))
            .attr("server.address", url.host_str().unwrap_or(""));
        if let Some(template) = self.template {
            op.attr("url.template", template);
        }
        let exchange = Exchange {
            host: &host,
            limit: self.limit,
            bytes_max: self.bytes_max,
        };
        let mut request = self.agent.get().request(self.method.clone(), url);
        request = request.headers(self.headers).timeout(self.limit);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        match exchange.run(request).await {
            Ok((status, headers, body)) => {
                op.detail(format!("{} {what} {status}", self.method))
                    .attr("http.response.status_code", status.to_string());
                let op = finish(op, self.noise, status, body.len());
                Ok(Response::new(status, headers, body, host, op))
            }
            Err(error) => {
                // A long poll that ran into its own time limit brought nothing; that is no failure.
                if self.noise == Noise::Poll && matches!(error, Error::Timeout { .. }) {
                    op.empty();
                } else {
                    op.class(error.class());
                    op.fail(&error);
                }
                Err(error)
            }
        }
    }
}

/// Ends the operation, unless it is a poll that went well: what that brought is known once it is decoded.
fn finish(mut op: Op, noise: Noise, status: u16, bytes: usize) -> Result<Op, Trace> {
    if status >= 400 {
        op.class(class_of(status));
        return Err(op.fail(&format_args!("HTTP status {status}")));
    }
    if noise == Noise::Poll {
        return Ok(op);
    }
    Err(op.done_with(bytes as u64))
}

struct Exchange<'a> {
    host: &'a str,
    limit: Duration,
    bytes_max: usize,
}

impl Exchange<'_> {
    async fn run(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(u16, HeaderMap, Vec<u8>), Error> {
        let mut response = request.send().await.map_err(|error| self.error(error))?;
        let too_large = || Error::TooLarge {
            host: self.host.to_owned(),
            limit: self.bytes_max,
        };
        // Said before it is read; a server that says less than it sends is caught below.
        let announced = response.content_length().unwrap_or(0);
        let Some(announced) = usize::try_from(announced)
            .ok()
            .filter(|n| *n <= self.bytes_max)
        else {
            return Err(too_large());
        };
        let mut body = Vec::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.error(error))? {
            if body.len() + chunk.len() > self.bytes_max {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(response.headers_mut());
        Ok((response.status().as_u16(), headers, body))
    }

    fn error(&self, error: reqwest::Error) -> Error {
        let host = self.host.to_owned();
        if error.is_builder() {
            let operation = "(built)";
            let problem = error.without_url().to_string();
            return Error::Invalid { operation, problem };
        }
        // Before the time limit: a connection that takes too long has sent nothing.
        if error.is_connect() {
            let source = Box::new(error.without_url());
            return Error::Connect { host, source };
        }
        if error.is_timeout() {
            let limit = self.limit;
            return Error::Timeout { host, limit };
        }
        let source = Box::new(error.without_url());
        Error::Broken { host, source }
    }
}
