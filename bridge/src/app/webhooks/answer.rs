//! What a provider is answered.

use crate::loader::host::WebhookResponse;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;

/// Until the sender tries again what nobody could take now.
const AGAIN_AFTER_S: &str = "1";

/// See the front page.
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Answer {
    /// The core's own, without a word that could tell a stranger anything.
    pub fn by_us(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Not now.
    pub fn again() -> Self {
        Self::by_us(StatusCode::SERVICE_UNAVAILABLE).patient()
    }

    /// None of the methods that there are.
    pub fn method() -> Self {
        let mut answer = Self::by_us(StatusCode::METHOD_NOT_ALLOWED);
        let allowed = HeaderValue::from_static("GET, POST, PUT");
        answer.headers.push((header::ALLOW, allowed));
        answer
    }

    /// The adapter's, or what its host said in its place.
    pub fn of(response: WebhookResponse) -> Self {
        let headers = response.headers.into_iter();
        let answer = Self::new(
            response.status,
            headers.filter_map(|(name, value)| {
                Some((name.parse().ok()?, HeaderValue::from_str(&value).ok()?))
            }),
            response.body,
        );
        answer.patient()
    }

    pub fn new(
        status: u16,
        headers: impl Iterator<Item = (HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            headers: headers.collect(),
            body,
        }
    }

    /// A 503 says when to come again.
    fn patient(mut self) -> Self {
        let says = self
            .headers
            .iter()
            .any(|(name, _)| *name == header::RETRY_AFTER);
        if self.status == StatusCode::SERVICE_UNAVAILABLE && !says {
            let after = HeaderValue::from_static(AGAIN_AFTER_S);
            self.headers.push((header::RETRY_AFTER, after));
        }
        self
    }

    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}
