//! The envelopes of results, states and capabilities: rare enough to be written whole each time.

use super::text::{push_escaped, push_trace};
use super::{Data, EnvelopeError, MODEL_MAJOR, ModelMinor};
use crate::bus::{Account, Action, Kind, Provider};
use im_bridge_plugin_api::abi::Trace;
use im_bridge_sdk::model::Time;

/// What all of them have.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    pub id: &'a str,
    pub time: Time,
    /// Exact native id of the channel; results only.
    pub channel: Option<&'a str>,
    /// The command's own; results only.
    pub correlation_id: Option<&'a str>,
    /// The command's id; results only.
    pub causation_id: Option<&'a str>,
    /// Zero: none.
    pub trace: Trace,
    pub model: ModelMinor,
}

/// The result of a command.
///
/// # Errors
/// As for an event.
pub fn result(
    account: &Account,
    command: &Kind,
    of: &Attributes<'_>,
    data: Data<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    if of
        .channel
        .is_some_and(|id| super::text::shape(id).has_control)
    {
        return Err(EnvelopeError::ControlCharacter {
            attribute: "subject",
        });
    }
    let name = format!("res.{command}");
    write(&account.provider, Some(account), [&name, &name], of, data)
}

/// What is published of an account and replaced when it changes.
#[derive(Clone, Copy, Debug)]
pub enum Document {
    /// Its state.
    State,
    /// What it can do.
    Capability,
}

/// A document about an account.
///
/// # Errors
/// The body is no object.
pub fn document(
    account: &Account,
    document: Document,
    of: &Attributes<'_>,
    data: Data<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    let names = match document {
        Document::State => ["state", "state"],
        Document::Capability => ["cap", "capability"],
    };
    write(&account.provider, Some(account), names, of, data)
}

/// The state of one replica's plugin.
///
/// # Errors
/// The body is no object.
pub fn plugin_state(
    provider: &Provider,
    of: &Attributes<'_>,
    data: Data<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    write(provider, None, ["adapter", "adapter_state"], of, data)
}

/// What a replica answers about a plugin of its own.
///
/// # Errors
/// The body is no object.
pub fn plugin_result(
    provider: &Provider,
    verb: &Action,
    of: &Attributes<'_>,
    data: Data<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    let name = format!("res.adapter.{verb}");
    write(provider, None, [&name, &name], of, data)
}

/// Room for all attributes of ordinary length. More would take an ordinary result out of the sizes that an allocator has at
/// hand for each thread.
const ATTRIBUTES_BYTES: usize = 512;

fn write(
    provider: &Provider,
    account: Option<&Account>,
    [kind, schema]: [&str; 2],
    of: &Attributes<'_>,
    data: Data<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    data.check()?;
    let mut out = Vec::with_capacity(ATTRIBUTES_BYTES + data.len());
    put(&mut out, &["{\"specversion\":\"1.0\",\"id\":\""]);
    push_escaped(&mut out, of.id);
    put(&mut out, &["\",\"source\":\"/im/", provider.as_str()]);
    if let Some(account) = account {
        put(&mut out, &["/", account.alias.as_str()]);
    }
    put(
        &mut out,
        &["\",\"type\":\"im-bridge.", kind, ".v1\",\"time\":\""],
    );
    out.extend_from_slice(&of.time.text());
    out.push(b'"');
    member(&mut out, "subject", of.channel);
    member(&mut out, "provider", Some(provider.as_str()));
    member(
        &mut out,
        "account",
        account.map(|account| account.alias.as_str()),
    );
    member(&mut out, "correlationid", of.correlation_id);
    member(&mut out, "causationid", of.causation_id);
    if !of.trace.is_none() {
        out.extend_from_slice(b",\"traceparent\":\"");
        push_trace(&mut out, &of.trace);
        out.push(b'"');
    }
    let minor = of.model.0;
    let tail = format!(
        ",\"datacontenttype\":\"application/json\",\"dataschema\":\"urn:im-bridge:schema:{MODEL_MAJOR}.{minor}:{schema}\","
    );
    out.extend_from_slice(tail.as_bytes());
    data.write(&mut out);
    out.push(b'}');
    Ok(out)
}

fn put(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    put(out, &[",\"", name, "\":\""]);
    push_escaped(out, value);
    out.push(b'"');
}
