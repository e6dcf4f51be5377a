//! A command as it arrived: CloudEvents in both modes, or typed by hand.
//!
//! Envelope attributes are read leniently, `data` strictly. Nothing is decided here: what the command may do, and whether
//! it was seen before, comes after (`check`, `ledger`).

mod tree;

use super::Fail;
use super::check::Part;
use crate::bus::api::header;
use async_nats::HeaderMap;
use bytes::Bytes;
use im_bridge_sdk::model::{ErrorCode, Options, Time, strict};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Longest id and key, in bytes.
const ID_BYTES_MAX: usize = 128;
/// It stands in the result, and in the event of what was sent.
const CORRELATION_BYTES_MAX: usize = 512;

/// What an envelope says about a command. Everything but the id may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Names the command in its result.
    pub id: String,
    /// By whoever sent it; else the id is made up here.
    pub is_named: bool,
    /// Who sent it: decides where the result goes.
    pub source: Option<String>,
    pub expiry: Option<Time>,
    pub correlation_id: Option<String>,
    /// Context of the caller's span, from headers or attributes.
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

/// `data` of a command, with the exact bytes for the adapter and a tree for the checks.
#[derive(Clone, Debug)]
pub struct Data {
    /// As it was written, if it was.
    pub key: Option<String>,
    pub params: Value,
    /// Segments of the message that is to be sent, once the parameters are checked.
    pub parts: Vec<Part>,
    pub options: Options,
    /// `{"params":…,"options":…}` as sent: the body at the plugin boundary.
    pub body: Bytes,
}

/// Which ids to fall back to when the command brings none.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// A durable command: the same at each redelivery.
    Sequence(u64),
    /// A request of this moment.
    Fresh(Time),
}

impl Fallback {
    fn id(self) -> String {
        match self {
            Self::Sequence(sequence) => format!("seq-{sequence}"),
            Self::Fresh(time) => crate::envelope::ulid(time),
        }
    }
}

#[derive(Deserialize)]
struct Structured<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    expirytime: Option<String>,
    correlationid: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    options: Option<&'a RawValue>,
}

/// Reads envelope and data of a message on the subject of `command`, which need not be one that is known.
///
/// An error still comes with the attributes as far as they could be read, so that it can be answered.
pub fn read(
    command: &str,
    headers: Option<&HeaderMap>,
    body: &[u8],
    fallback: Fallback,
) -> (Attributes, Result<Data, Fail>) {
    let of_header = |name: &str| {
        headers
            .and_then(|headers| header(headers, name))
            .map(str::to_owned)
    };
    let message_id = of_header("Nats-Msg-Id");
    let mut attributes = Attributes {
        is_named: message_id.is_some(),
        id: message_id.unwrap_or_default(),
        traceparent: of_header("traceparent"),
        tracestate: of_header("tracestate"),
        ..Attributes::default()
    };
    let data = if headers.is_some_and(is_declared) || has_specversion(body) {
        structured(command, body, &mut attributes)
    } else {
        binary(command, body, headers, &mut attributes)
    };
    // The key names a command that nothing else names, so that a repetition is seen to be one.
    if let Ok(Data { key: Some(key), .. }) = &data
        && !attributes.is_named
    {
        attributes.id.clone_from(key);
        attributes.is_named = true;
    }
    let problem = unfit_id(&attributes.id).filter(|_| attributes.is_named);
    if !attributes.is_named || problem.is_some() {
        attributes.id = fallback.id();
        attributes.is_named = false;
    }
    if let Some(problem) = problem {
        return (attributes, Err(bad_request(problem)));
    }
    let is_fit =
        |text: &String| text.len() <= CORRELATION_BYTES_MAX && !text.contains(char::is_control);
    if attributes
        .correlation_id
        .as_ref()
        .is_some_and(|it| !is_fit(it))
    {
        attributes.correlation_id = None;
        let problem = format!(
            "`correlationid` has control characters, or more than {CORRELATION_BYTES_MAX} bytes"
        );
        return (attributes, Err(bad_request(problem)));
    }
    (attributes, data)
}

/// When a command is late, by its envelope alone; none also where that says nothing sensible, which is found when it is read.
pub fn expiry_of(headers: &HeaderMap, body: &[u8]) -> Option<Time> {
    #[derive(Deserialize)]
    struct Probe {
        specversion: Option<IgnoredAny>,
        expirytime: Option<String>,
    }
    if header(headers, "ce-expirytime").is_none() && !may_have(body, "expirytime") {
        return None;
    }
    let probe: Option<Probe> = serde_json::from_slice(body).ok();
    let probe = probe.filter(|probe| is_declared(headers) || probe.specversion.is_some());
    match probe {
        Some(structured) => structured.expirytime?.parse().ok(),
        None => header(headers, "ce-expirytime")?.parse().ok(),
    }
}

/// Whether its headers call the body a CloudEvent.
fn is_declared(headers: &HeaderMap) -> bool {
    header(headers, "Content-Type").is_some_and(|kind| kind.starts_with("application/cloudevents"))
}

/// It stands in headers, where a line must not end.
fn unfit_id(id: &str) -> Option<String> {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        let bytes = id.len();
        return Some(format!(
            "the id has {bytes} bytes, expected 1 to {ID_BYTES_MAX}"
        ));
    }
    id.contains(char::is_control).then(|| {
        "the id has control characters; take some out of A-Z, a-z, 0-9, _ and -".to_owned()
    })
}

/// Whether the body is an object with a member `specversion`.
fn has_specversion(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        specversion: Option<IgnoredAny>,
    }
    may_have(body, "specversion")
        && serde_json::from_slice::<Probe>(body).is_ok_and(|probe| probe.specversion.is_some())
}

/// Whether a body may have this member: one that has neither its name nor an escape, in which it might be hidden, is not
/// worth being read for it.
fn may_have(body: &[u8], member: &str) -> bool {
    str::from_utf8(body).is_ok_and(|text| text.contains(member) || text.contains('\\'))
}

fn bad_request(problem: impl Into<String>) -> Fail {
    Fail::certain(ErrorCode::BadRequest, problem)
}

fn structured(command: &str, body: &[u8], attributes: &mut Attributes) -> Result<Data, Fail> {
    let read: Structured<'_> = serde_json::from_slice(body)
        .map_err(|error| bad_request(format!("the body is no CloudEvent: {error}")))?;
    let missing = [
        ("specversion", read.specversion.is_none()),
        ("id", read.id.is_none()),
        ("source", read.source.is_none()),
        ("type", read.kind.is_none()),
    ];
    if let Some(id) = read.id {
        attributes.id = id;
        attributes.is_named = true;
    }
    attributes.source = read.source;
    attributes.correlation_id = read.correlationid;
    // Headers are the current hop's, attributes may be an older one's.
    attributes.traceparent = attributes.traceparent.take().or(read.traceparent);
    attributes.tracestate = attributes.tracestate.take().or(read.tracestate);
    if let Some((name, _)) = missing.iter().find(|(_, is_missing)| *is_missing) {
        return Err(bad_request(format!(
            "attribute `{name}` is missing; a structured CloudEvent has it"
        )));
    }
    if read.specversion.as_deref() != Some("1.0") {
        return Err(bad_request("`specversion` is not 1.0; write \"1.0\""));
    }
    fits(command, read.kind.as_deref())?;
    attributes.expiry = expiry(read.expirytime.as_deref())?;
    let data = read
        .data
        .ok_or_else(|| bad_request("member `data` is missing"))?;
    self::data(data.get().as_bytes())
}

fn binary(
    command: &str,
    body: &[u8],
    headers: Option<&HeaderMap>,
    attributes: &mut Attributes,
) -> Result<Data, Fail> {
    let attribute = |name: &str| {
        headers
            .and_then(|headers| header(headers, name))
            .map(str::to_owned)
    };
    if let Some(id) = attribute("ce-id") {
        attributes.id = id;
        attributes.is_named = true;
    }
    attributes.source = attribute("ce-source");
    attributes.correlation_id = attribute("ce-correlationid");
    attributes.traceparent = attributes
        .traceparent
        .take()
        .or_else(|| attribute("ce-traceparent"));
    attributes.tracestate = attributes
        .tracestate
        .take()
        .or_else(|| attribute("ce-tracestate"));
    fits(command, attribute("ce-type").as_deref())?;
    attributes.expiry = expiry(attribute("ce-expirytime").as_deref())?;
    data(body)
}

fn fits(command: &str, kind: Option<&str>) -> Result<(), Fail> {
    let Some(kind) = kind else { return Ok(()) };
    let expected = format!("im-bridge.cmd.{command}.v1");
    if kind == expected {
        return Ok(());
    }
    let shown: String = kind.chars().take(64).collect();
    Err(bad_request(format!(
        "type `{shown}` does not fit the subject; write `{expected}`"
    )))
}

fn expiry(text: Option<&str>) -> Result<Option<Time>, Fail> {
    text.map(|text| {
        text.parse().map_err(|_| {
            bad_request("`expirytime` is no time; write it as 2025-10-09T09:53:20.000Z")
        })
    })
    .transpose()
}

/// Reads `data`, all of whose members are known.
fn data(json: &[u8]) -> Result<Data, Fail> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Known {
        #[serde(default, rename = "idempotency_key")]
        _idempotency_key: Option<IgnoredAny>,
        #[serde(rename = "params")]
        _params: IgnoredAny,
        #[serde(default)]
        options: Option<Options>,
    }
    let tree = tree::read(json).map_err(|error| match error.classify() {
        Category::Data => bad_request(error.to_string()),
        _ => bad_request(format!("not JSON: {error}")),
    })?;
    if !tree.is_object() {
        return Err(bad_request(
            "`data` is not an object; write {\"params\":{…}}",
        ));
    }
    let known: Known = strict::read(&tree).map_err(|refused| bad_param("", &refused))?;
    let parts: Parts<'_> = serde_json::from_slice(json).map_err(|error| {
        Fail::certain(ErrorCode::BadParam, error.to_string()).at("/idempotency_key")
    })?;
    let params = parts.params.map_or("{}", RawValue::get);
    let options = parts.options.map_or("{}", RawValue::get);
    if let Some(key) = &parts.idempotency_key
        && (key.is_empty() || key.len() > ID_BYTES_MAX)
    {
        let problem = format!(
            "the key has {} bytes, expected 1 to {ID_BYTES_MAX}",
            key.len()
        );
        return Err(Fail::certain(ErrorCode::BadParam, problem).at("/idempotency_key"));
    }
    let body = ["{\"params\":", params, ",\"options\":", options, "}"].concat();
    let params = match tree {
        Value::Object(mut members) => members.remove("params").unwrap_or_default(),
        _ => Value::Null,
    };
    Ok(Data {
        key: parts.idempotency_key,
        params,
        parts: Vec::new(),
        options: known.options.unwrap_or_default(),
        body: body.into(),
    })
}

/// A refusal of the strict reader, at its place inside `data`.
pub(super) fn bad_param(below: &str, refused: &strict::Refused) -> Fail {
    let hint = refused
        .nearest()
        .map(|name| format!("did you mean `{name}`?"));
    Fail::certain(ErrorCode::BadParam, refused.problem())
        .at(format!("{below}{}", refused.pointer()))
        .hint(hint)
}
