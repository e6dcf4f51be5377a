//! Both HTTP ports: reads requests, lets faults strike, hands them to whom they are for.
//!
//! Not here: what the server's own API does (`native.rs`, `channels.rs`, `messages.rs`), what OpenChat does (`openchat.rs`),
//! how tests steer it all (`control.rs`).

mod channels;
mod control;
mod conversations;
mod messages;
mod native;
mod openchat;
mod query;
mod tokens;

use super::faults::{Do, Fault, On, Site};
use super::record::Entry;
use super::world::Sim;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use query::Query;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of a body that the record keeps.
const RECORDED_BYTES_MAX: usize = 2_048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    OpenChat,
    Native,
}

impl Port {
    fn name(self) -> &'static str {
        match self {
            Self::OpenChat => "openchat",
            Self::Native => "native",
        }
    }
}

pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Query,
    /// `authorization`
    pub authorization: String,
    /// `token`, which the server's own API wants.
    pub token: String,
    pub cookie: String,
    pub body: Bytes,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// On whose behalf, for the record.
    pub uid: Option<String>,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json; charset=utf-8",
            headers: Vec::new(),
            body: body.to_string().into(),
            uid: None,
        }
    }

    pub fn text(status: u16, body: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain",
            headers: Vec::new(),
            body: Bytes::from_static(body.as_bytes()),
            uid: None,
        }
    }
}

/// Where everything listens.
pub fn addresses(sim: &Sim) -> Value {
    let it = sim.addresses;
    json!({
        "openchat": format!("http://{}", it.openchat),
        "http": format!("http://{}", it.http),
        "ws": format!("ws://{}", it.ws),
        "tcp": format!("tcp://{}", it.tcp),
    })
}

pub async fn serve(sim: Arc<Sim>, listener: TcpListener, port: Port) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let sim = sim.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&sim, port, request));
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off, or one that a fault breaks off.
            let _ = served.await;
        });
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn answer(
    sim: &Arc<Sim>,
    port: Port,
    request: hyper::Request<Incoming>,
) -> io::Result<hyper::Response<Body>> {
    let (head, body) = request.into_parts();
    let header = |name| {
        let value = head.headers.get(name);
        let value = value.and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (authorization, token, cookie) =
        (header("authorization"), header("token"), header("cookie"));
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    let request = Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: Query::of(head.uri.query().unwrap_or_default()),
        authorization,
        token,
        cookie,
        body,
    };
    if port == Port::Native && request.path.starts_with("/_sim/") {
        return response(control::handle(sim, &request), false);
    }
    if sim.is_down() {
        return Err(io::Error::other("the server is down"));
    }
    let site = Site {
        port: Some(port.name()),
        path: Some(&request.path),
        ..Site::default()
    };
    let fault = sim.faults.strike(On::Http, &site);
    if let Some(fault) = &fault {
        sim.note(Entry::Fault {
            fault: fault.id,
            at: format!("{} {}", request.method, request.path),
        });
    }
    let is_effective = fault
        .as_ref()
        .is_none_or(|fault| fault.effect && !matches!(fault.act, Do::Refuse | Do::Fail));
    let reply = is_effective.then(|| match port {
        Port::Native => native::handle(sim, &request),
        Port::OpenChat => openchat::handle(sim, &request),
    });
    let reply = match fault {
        Some(fault) => badly(port, &request, &fault, reply).await,
        None => Ok((reply.unwrap_or_else(|| Reply::text(500, "")), false)),
    };
    let shown = String::from_utf8_lossy(&request.body);
    sim.note(Entry::Request {
        port: port.name(),
        method: request.method,
        path: request.path,
        status: reply.as_ref().map_or(0, |(reply, _)| reply.status),
        uid: reply.as_ref().ok().and_then(|(reply, _)| reply.uid.clone()),
        body: if shown.len() > RECORDED_BYTES_MAX {
            json!({ "bytes": shown.len() })
        } else {
            without_secrets(serde_json::from_str(&shown).unwrap_or(Value::Null))
        },
    });
    // A payload that stops the real server is not answered.
    if sim.is_down() {
        return Err(io::Error::other("the server is down"));
    }
    let (reply, is_cut) = reply?;
    response(reply, is_cut)
}

fn without_secrets(mut body: Value) -> Value {
    for key in ["token", "password", "refreshToken"] {
        if let Some(secret) = body.get_mut(key) {
            *secret = json!("(secret)");
        }
    }
    body
}

/// The reply as a fault wants it, and whether it is cut off in the middle.
async fn badly(
    port: Port,
    request: &Request,
    fault: &Fault,
    reply: Option<Reply>,
) -> io::Result<(Reply, bool)> {
    let ms = |default| Duration::from_millis(fault.ms.unwrap_or(default));
    let given = fault.body.clone();
    let reply = reply.unwrap_or_else(|| Reply::text(500, ""));
    match fault.act {
        Do::Delay => tokio::time::sleep(ms(1_000)).await,
        Do::Withhold => {
            tokio::time::sleep(ms(600_000)).await;
            return Err(io::Error::other("fault"));
        }
        Do::Truncate => return Ok((reply, true)),
        Do::Drop => return Err(io::Error::other("fault")),
        Do::Refuse => {
            let status = fault.status.unwrap_or(500);
            let body = given.unwrap_or_else(|| match port {
                Port::OpenChat => openchat::envelope(status, "refused by a fault", &request.path),
                Port::Native => json!({ "msg": "refused by a fault", "status": status }),
            });
            let mut refused = Reply::json(status, &body);
            refused.headers = fault.headers.clone().into_iter().collect();
            return Ok((refused, false));
        }
        _ => {
            let status = if request.method == "POST" && port == Port::OpenChat {
                201
            } else {
                200
            };
            let failed =
                json!({ "success": false, "message": "Request failed with status code 500" });
            let failed = given.unwrap_or(failed);
            return Ok((Reply::json(fault.status.unwrap_or(status), &failed), false));
        }
    }
    Ok((reply, false))
}

fn response(reply: Reply, is_cut: bool) -> io::Result<hyper::Response<Body>> {
    let length = reply.body.len();
    let mut response = hyper::Response::builder()
        .status(reply.status)
        .header("content-type", reply.content_type);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let body: Body = if is_cut {
        response = response.header("content-length", length);
        let half = reply.body.slice(..length / 2);
        let cut = [Ok(Frame::data(half)), Err(io::Error::other("fault"))];
        StreamBody::new(stream::iter(cut)).boxed_unsync()
    } else {
        Full::new(reply.body)
            .map_err(|never| match never {})
            .boxed_unsync()
    };
    response.body(body).map_err(io::Error::other)
}
