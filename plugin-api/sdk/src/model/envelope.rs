//! The CloudEvents envelopes around `data`, for readers and schemas; attributes in the order they are written.
//!
//! Not here: making them. The core renders attributes by hand and splices `data` unread.

use super::names::{Delivery, OrderScope, Origin, TimeSource};
use super::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventEnvelope<D> {
    /// `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Made from what happened: the same however often and by whomever it was seen.
    pub id: String,
    /// `/im/<provider>/<account>`.
    pub source: String,
    /// `im-bridge.evt.<kind>.v1`.
    #[schemars(regex(pattern = r"^im-bridge\.evt\.[a-z0-9-]+\.[a-z_]+\.v1$"))]
    pub r#type: String,
    /// When it happened.
    pub time: Time,
    /// By whose clock.
    pub timesource: TimeSource,
    /// When the bridge took it.
    pub recordedtime: Time,
    /// Exact native id of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The channel's token, as in the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitionkey: Option<String>,
    /// Provider id.
    pub provider: String,
    /// The operator's alias of the account.
    pub account: String,
    /// Who caused it.
    pub origin: Origin,
    /// How it came to be delivered.
    pub delivery: Delivery,
    /// Inside what the key sorts.
    pub orderscope: OrderScope,
    /// Its place in the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orderkey: Option<String>,
    /// Key of the command that this echoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clientref: Option<String>,
    /// That command's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<String>,
    /// That command's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// W3C trace context of the first publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// `application/json`.
    pub datacontenttype: String,
    /// `urn:im-bridge:schema:<major>.<minor>:evt.<kind>`.
    pub dataschema: String,
    /// What happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<D>,
    /// Where `data` is, when it is too large for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataref: Option<String>,
}

/// A command, as a caller writes it. Attributes not named here are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandEnvelope<D> {
    /// `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Names the command; its key, unless `data` has one.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// Who asks: `/app/<name>`.
    #[schemars(length(min = 1))]
    pub source: String,
    /// `im-bridge.cmd.<command>.v1`; it must fit the subject.
    pub r#type: String,
    /// When it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// When it is no longer wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expirytime: Option<Time>,
    /// Copied into the result and into events that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<String>,
    /// What led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// W3C trace context, unless the headers have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Belongs to `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// `urn:im-bridge:schema:<major>.<minor>:cmd.<command>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// What is wanted.
    pub data: D,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultEnvelope<D> {
    /// `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Made from the command and its outcome.
    pub id: String,
    /// `/im/<provider>/<account>`.
    pub source: String,
    /// `im-bridge.res.<command>.v1`.
    #[schemars(regex(pattern = r"^im-bridge\.res\.[a-z0-9-]+\.[a-z_]+\.v1$"))]
    pub r#type: String,
    /// When the command ended.
    pub time: Time,
    /// Exact native id of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Provider id.
    pub provider: String,
    /// The operator's alias of the account.
    pub account: String,
    /// Copied from the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<String>,
    /// Id of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// `application/json`.
    pub datacontenttype: String,
    /// `urn:im-bridge:schema:<major>.<minor>:res.<command>`.
    pub dataschema: String,
    /// How the command ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<D>,
    /// Where `data` is, when it is too large for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataref: Option<String>,
}

/// A state or capability document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentEnvelope<D> {
    /// `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// A ULID.
    pub id: String,
    /// `/im/<provider>/<account>`, or `/im/<provider>` for a plugin's state.
    pub source: String,
    /// `im-bridge.state.v1`, `im-bridge.cap.v1` or `im-bridge.adapter.v1`.
    #[schemars(regex(pattern = r"^im-bridge\.(state|cap|adapter)\.v1$"))]
    pub r#type: String,
    /// When it changed.
    pub time: Time,
    /// Provider id.
    pub provider: String,
    /// The operator's alias of the account; none for a plugin's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// `application/json`.
    pub datacontenttype: String,
    /// `urn:im-bridge:schema:<major>.<minor>:state`, `…:capability` or `…:adapter_state`.
    pub dataschema: String,
    /// The document.
    pub data: D,
}
