//! The HTTP port: the mtop gateway, image uploads, and `/_sim/` for tests.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::mtop::{Call, Reply};
use super::uploads;
use super::world::Shared;

/// Large enough for an image and for a frame that a test makes up.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const CONNECTIONS_MAX: usize = 4_096;
/// Out of descriptors: some client must end first.
pub const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

pub type Answer = Response<Full<Bytes>>;

pub async fn serve(listener: TcpListener, world: Shared) -> io::Result<()> {
    let address = listener.local_addr()?;
    let base: Arc<str> = format!("http://{address}").into();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return Ok(()); // it is never closed
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        let (world, base) = (world.clone(), base.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| answer(request, world.clone(), base.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off is what tests do all day.
            let _ = connection.await;
        });
    }
}

/// An error ends the connection without an answer.
async fn answer(request: Request<Incoming>, world: Shared, base: Arc<str>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(plain(413, "too large"));
    };
    let body = body.to_bytes();
    let path = head.uri.path().trim_matches('/').to_owned();
    let query = fields(head.uri.query().unwrap_or_default().as_bytes());
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["_sim", what] => Ok(super::control::answer(
            &world,
            &head.method,
            what,
            &query,
            &body,
        )),
        ["h5", _, _] if head.method != Method::POST => Ok(plain(405, "POST only")),
        ["h5", api, version] => {
            let call = call(api, version, query, &head.headers, &body);
            let (reply, ms) = world.lock().mtop(&call);
            if ms > 0 {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            give(reply).await
        }
        ["api", "upload.api"] if head.method == Method::POST => {
            let cookies = cookies(&head.headers);
            let (reply, ms) = uploads::take(&world, &base, &head.headers, &cookies, &query, &body);
            if ms > 0 {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            give(reply).await
        }
        ["uploads", name] => Ok(uploads::give(&world, name)),
        _ => Ok(plain(404, "nothing here")),
    }
}

async fn give(reply: Reply) -> io::Result<Answer> {
    match reply {
        Reply::Json(body, cookies) => {
            let mut answer = json(200, &body);
            for cookie in cookies {
                if let Ok(value) = HeaderValue::from_str(&cookie) {
                    answer.headers_mut().append(SET_COOKIE, value);
                }
            }
            Ok(answer)
        }
        Reply::Plain(status, text) => Ok(plain(status, &text)),
        // Ends with the client's patience.
        Reply::Never => std::future::pending().await,
        Reply::Drop => Err(io::Error::other("a fault ends the connection")),
    }
}

pub fn json(status: u16, body: &Value) -> Answer {
    let mut answer = json_text(body.to_string());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    answer
}

/// JSON that is text already.
pub fn json_text(text: String) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    let json = HeaderValue::from_static("application/json;charset=UTF-8");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

fn plain(status: u16, text: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    answer
}

pub fn call(
    api: &str,
    version: &str,
    query: HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Call {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_form =
        content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    Call {
        api: api.to_owned(),
        version: version.to_owned(),
        query,
        cookies: cookies(headers),
        is_form,
        data: fields(body).remove("data"),
    }
}

pub fn cookies(headers: &HeaderMap) -> Vec<(String, String)> {
    let all = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Form fields, as the WHATWG has them. Of several with one name the last counts.
pub fn fields(text: &[u8]) -> HashMap<String, String> {
    let pairs = text
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let at = pair
                .iter()
                .position(|byte| *byte == b'=')
                .unwrap_or(pair.len());
            let value = pair.get(at + 1..).unwrap_or_default();
            (decoded(&pair[..at]), decoded(value))
        })
        .collect()
}

fn decoded(text: &[u8]) -> String {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = digit(at + 1).zip(digit(at + 2));
        match (byte, escaped) {
            (b'%', Some((high, low))) => {
                bytes.extend(u8::try_from(high * 16 + low));
                at += 2;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let fields =
            fields("data=%7B%22a%22%3A%22x+y%2B%E4%BD%A0%22%7D&empty=&bare&100%=%zz".as_bytes());
        assert_eq!(fields["data"], r#"{"a":"x y+你"}"#);
        assert_eq!(
            (fields["empty"].as_str(), fields["bare"].as_str()),
            ("", "")
        );
        assert_eq!(fields["100%"], "%zz");
    }
}
