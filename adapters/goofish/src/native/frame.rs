//! LWP frames: requests and acknowledgements as they are written, answers and pushes as they are read.
//!
//! A frame is a push by its path, whatever its `mid` says; an answer by its code. What is neither is counted and passed over.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

use super::refusal::{FLOW_CONTROL, Refusal, is_unauthorized};
use super::{number, text};

/// Pushed items that one frame may hold; more are left for the history to tell.
pub const ITEMS_MAX: usize = 10_000;

/// The code of success: the number, nothing else.
pub const OK: i64 = 200;

#[derive(Serialize)]
struct Request<'a, B: Serialize> {
    lwp: &'a str,
    headers: Mid<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a B>,
}

#[derive(Serialize)]
struct Mid<'a> {
    mid: &'a str,
}

/// A request as text. `body` is an array; the heartbeat has none.
pub fn request(lwp: &str, mid: &str, body: Option<&impl Serialize>) -> String {
    json(&Request {
        lwp,
        headers: Mid { mid },
        body,
    })
}

/// A heartbeat as text.
pub fn heartbeat(mid: &str) -> String {
    request("/!", mid, None::<&()>)
}

/// What registers a connection.
pub struct Registration<'a> {
    pub app_key: &'a str,
    pub token: &'a str,
    pub user_agent: &'a str,
    pub device_id: &'a str,
}

impl Registration<'_> {
    /// The request as text.
    pub fn request(&self, mid: &str) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Headers<'a> {
            cache_header: &'a str,
            app_key: &'a str,
            token: &'a str,
            ua: &'a str,
            dt: &'a str,
            wv: &'a str,
            sync: &'a str,
            did: &'a str,
            mid: &'a str,
        }
        #[derive(Serialize)]
        struct Register<'a> {
            lwp: &'a str,
            headers: Headers<'a>,
        }
        let headers = Headers {
            cache_header: "app-key token ua wv",
            app_key: self.app_key,
            token: self.token,
            ua: self.user_agent,
            dt: "j",
            wv: "im:3,au:3,sy:6",
            sync: "0,0;0;0;",
            did: self.device_id,
            mid,
        };
        json(&Register {
            lwp: "/reg",
            headers,
        })
    }
}

/// What the provider says.
#[derive(Debug)]
pub enum Down {
    Answer(Answer),
    Push(Push),
    /// JSON that is neither.
    Other,
}

/// The answer to the request with the same `mid`.
#[derive(Debug)]
pub struct Answer {
    /// Empty when nobody asked: then it says that the login is over.
    pub mid: String,
    /// None when it is missing or no number.
    pub code: Option<i64>,
    pub reply: Reply,
}

/// What an answer holds.
#[derive(Debug, Default)]
pub struct Reply {
    pub headers: Value,
    pub body: Value,
    /// The body as it came: one of them must be handed back unchanged.
    pub text: String,
}

#[derive(Debug)]
pub struct Push {
    pub lwp: String,
    /// The acknowledgement: all headers, as they came.
    pub acknowledgement: String,
    pub items: Vec<RawItem>,
    /// Everything up to here was pushed, in microseconds; 0 on transient pushes.
    pub max_pts: i64,
    /// Kind of a gap: 1 and 2 mean that the provider skipped something.
    pub extra_type: Option<i64>,
    /// The body is not what the protocol says.
    pub is_malformed: bool,
}

/// One element of a push, not decoded yet.
#[derive(Debug, Clone, Default)]
pub struct RawItem {
    pub object_type: Option<i64>,
    pub data: String,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    lwp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    code: Option<Value>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// Reads a frame; an error is text that is no JSON object.
pub fn read(text: &str) -> Result<Down, serde_json::Error> {
    let wire: Wire<'_> = serde_json::from_str(text)?;
    let headers = wire.headers.map_or("{}", RawValue::get);
    let tree = |raw: Option<&RawValue>| -> Value {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default()
    };
    if let Some(lwp) = wire.lwp.filter(|lwp| lwp.starts_with("/s/")) {
        return Ok(Down::Push(push(
            lwp.into_owned(),
            headers,
            &tree(wire.body),
        )));
    }
    let headers = tree(wire.headers);
    let Some(code) = wire.code else {
        return Ok(Down::Other);
    };
    let answer = Answer {
        mid: headers["mid"].as_str().unwrap_or_default().to_owned(),
        code: code.as_i64(),
        reply: Reply {
            headers,
            body: tree(wire.body),
            text: wire.body.map_or("null", RawValue::get).to_owned(),
        },
    };
    // To nobody's request, the end of a login is still one.
    if answer.mid.is_empty() && !answer.is_unauthorized() {
        return Ok(Down::Other);
    }
    Ok(Down::Answer(answer))
}

fn push(lwp: String, headers: &str, body: &Value) -> Push {
    let package = &body["syncPushPackage"];
    let data = match &package["data"] {
        Value::Array(all) => all.as_slice(),
        _ => &[],
    };
    Push {
        lwp,
        acknowledgement: format!(r#"{{"code":{OK},"headers":{headers}}}"#),
        items: data.iter().take(ITEMS_MAX).map(RawItem::of).collect(),
        max_pts: number(&package["maxPts"]).unwrap_or(0),
        extra_type: number(&body["syncExtraType"]["type"]),
        is_malformed: !matches!(package["data"], Value::Array(_)),
    }
}

impl RawItem {
    fn of(item: &Value) -> Self {
        Self {
            object_type: number(&item["objectType"]),
            data: item["data"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

impl Answer {
    /// The login is no longer valid, whatever was asked.
    pub fn is_unauthorized(&self) -> bool {
        is_unauthorized(self.code, self.reply.body["reason"].as_str())
    }

    /// The reply, if the provider did what was asked: a refusal may also come with the code of success and a reason.
    pub fn outcome(self) -> Result<Reply, Refusal> {
        let said = |name: &str| match &self.reply.body[name] {
            Value::Number(number) => Some(number.to_string()),
            value => text(value).map(str::to_owned),
        };
        let (reason, body_code) = (said("reason"), said("code"));
        let is_slowed = body_code.as_deref() == Some(FLOW_CONTROL);
        if self.code == Some(OK) && reason.is_none() && !is_slowed {
            return Ok(self.reply);
        }
        Err(Refusal {
            code: self.code,
            body_code,
            reason,
            more: said("moreInfo").or_else(|| said("developerMessage")),
        })
    }
}

fn json(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("frames have string keys only, so they are JSON")
}

#[cfg(test)]
mod tests;
