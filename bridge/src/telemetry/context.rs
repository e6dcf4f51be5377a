//! Trace contexts as the W3C writes them: read from a message's header, written into one.
//!
//! Names of headers are compared ignoring case, because carriers for HTTP write `Traceparent` and NATS tells the two
//! apart. Written is lower case, and nothing that is empty.

use crate::bus::Headers;
use crate::bus::api::header;
use async_nats::HeaderMap;
use im_bridge_plugin_api::abi::Trace;
use std::collections::BTreeSet;

/// Trace id, span id and flags; all zero: none. The same value crosses the plugin boundary.
pub type TraceContext = Trace;

pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";
pub const BAGGAGE: &str = "baggage";

/// Bit of the flags: the trace is recorded.
pub const SAMPLED: u8 = 1;

/// A longer state is dropped whole: half of it would be another one.
const STATE_BYTES_MAX: usize = 512;
/// Entries of a state, and bytes of the key or the value of one, by the W3C.
const MEMBERS_MAX: usize = 32;
const MEMBER_BYTES_MAX: usize = 256;
/// Of the baggage that is passed on, which the stream keeps and everybody reads.
const BAGGAGE_BYTES_MAX: usize = 512;

/// What a message says of the trace that it belongs to.
#[derive(Clone, Debug)]
pub struct Carried {
    pub context: TraceContext,
    /// Other vendors' part of it.
    pub state: Option<Box<str>>,
    /// As it came; what may be passed on is a question of configuration.
    pub baggage: Option<Box<str>>,
    /// Something was said that is no context.
    pub is_malformed: bool,
}

impl Default for Carried {
    fn default() -> Self {
        Self {
            context: TraceContext::NONE,
            state: None,
            baggage: None,
            is_malformed: false,
        }
    }
}

impl Carried {
    /// From a message's headers; where they have none, from the attributes of its envelope.
    pub fn read(headers: Option<&HeaderMap>, parent: Option<&str>, state: Option<&str>) -> Self {
        let of_header = |name: &str| headers.and_then(|headers| header(headers, name));
        let header = of_header(TRACEPARENT);
        let (said, state) = match header {
            Some(said) => (Some(said), of_header(TRACESTATE)),
            None => (parent, state),
        };
        let context = said.and_then(parse);
        Self {
            context: context.unwrap_or(TraceContext::NONE),
            state: state
                .filter(|state| context.is_some() && is_state(state))
                .map(Into::into),
            baggage: of_header(BAGGAGE).map(Into::into),
            is_malformed: said.is_some() && context.is_none(),
        }
    }

    /// The entries of the baggage that may be passed on.
    pub fn baggage_of(&self, allowed: &BTreeSet<Box<str>>) -> Option<Box<str>> {
        if allowed.is_empty() {
            return None;
        }
        let entries = self.baggage.as_deref()?.split(',').map(str::trim);
        let kept: Vec<&str> = entries
            .filter(|entry| {
                let key = entry.split(['=', ';']).next().unwrap_or_default();
                allowed.contains(key.trim())
            })
            .collect();
        let kept = kept.join(",");
        let is_sound = !kept.is_empty() && kept.len() <= BAGGAGE_BYTES_MAX && is_printable(&kept);
        is_sound.then(|| kept.into())
    }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn is_state(text: &str) -> bool {
    !text.is_empty() && text.len() <= STATE_BYTES_MAX && is_printable(text)
}

/// Whether a state is a list of vendors' entries. Whoever passes one on need not look; whoever says it for itself must.
pub fn is_member_list(state: &str) -> bool {
    let is_key =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let is_member = |member: &str| {
        member.split_once('=').is_some_and(|(key, value)| {
            let first = key.bytes().next().unwrap_or_default();
            (first.is_ascii_lowercase() || first.is_ascii_digit())
                && key.bytes().all(is_key)
                && !value.is_empty()
                && !value.contains('=')
                && key.len().max(value.len()) <= MEMBER_BYTES_MAX
        })
    };
    let members = || state.split(',').map(str::trim).filter(|it| !it.is_empty());
    (1..=MEMBERS_MAX).contains(&members().count()) && members().all(is_member)
}

/// A `traceparent`; none if it is malformed, or stands for no trace.
pub fn parse(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let (version, trace_id, span_id, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let mut of_version = [0];
    hex(version, &mut of_version)?;
    // A later version may say more; the first one says exactly this.
    if of_version[0] == 0xff || (of_version[0] == 0 && parts.next().is_some()) {
        return None;
    }
    let mut trace = TraceContext::NONE;
    hex(trace_id, &mut trace.trace_id)?;
    hex(span_id, &mut trace.span_id)?;
    let mut of_flags = [0];
    hex(flags, &mut of_flags)?;
    trace.flags = of_flags[0];
    is_valid(&trace).then_some(trace)
}

/// Neither id is all zero.
pub fn is_valid(context: &TraceContext) -> bool {
    context.trace_id != [0; 16] && context.span_id != [0; 8]
}

pub fn is_sampled(context: &TraceContext) -> bool {
    context.flags & SAMPLED != 0
}

fn hex(text: &str, out: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != out.len() * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// Adds a context to a message's headers; none adds nothing.
pub fn write(headers: &mut Headers, context: &TraceContext, state: Option<&str>) {
    let Some(parent) = crate::envelope::traceparent(context) else {
        return;
    };
    headers.push((TRACEPARENT.into(), parent.into()));
    if let Some(state) = state {
        headers.push((TRACESTATE.into(), state.into()));
    }
}

/// Whether a header is one of those that say what trace a message belongs to.
pub fn is_of_trace(header: &str) -> bool {
    [TRACEPARENT, TRACESTATE, BAGGAGE]
        .iter()
        .any(|name| header.eq_ignore_ascii_case(name))
}

/// As log lines have it; none of no context. A line that is not written does not ask for it.
pub fn trace_id(of: &TraceContext) -> Option<String> {
    is_valid(of).then(|| hex_of(&of.trace_id))
}

/// See [`trace_id`].
pub fn span_id(of: &TraceContext) -> Option<String> {
    is_valid(of).then(|| hex_of(&of.span_id))
}

/// An id as people look for it.
pub fn hex_of(id: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(HEX[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// A context as it is written; empty: none.
    fn text(of: &TraceContext) -> String {
        crate::envelope::traceparent(of).unwrap_or_default()
    }

    fn read(headers: &[(&str, &str)]) -> Carried {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        Carried::read(Some(&map), None, None)
    }

    #[test]
    fn headers_in_any_case_are_read() {
        for name in ["traceparent", "Traceparent", "TRACEPARENT"] {
            let carried = read(&[(name, GOOD), ("TraceState", "a=1")]);
            assert_eq!(text(&carried.context), GOOD, "{name}");
            assert_eq!(carried.state.as_deref(), Some("a=1"), "{name}");
        }
    }

    #[test]
    fn the_exact_name_and_its_first_value_come_first() {
        let other = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";
        let carried = read(&[
            ("Traceparent", other),
            (TRACEPARENT, GOOD),
            (TRACEPARENT, other),
        ]);
        assert_eq!(text(&carried.context), GOOD);
    }

    #[test]
    fn the_envelope_speaks_where_the_headers_are_silent() {
        let carried = Carried::read(Some(&HeaderMap::new()), Some(GOOD), Some("a=1"));
        assert_eq!(text(&carried.context), GOOD);
        assert_eq!(carried.state.as_deref(), Some("a=1"));
        let silent = Carried::read(None, None, None);
        assert!(silent.context.is_none() && !silent.is_malformed);
    }

    #[test]
    fn what_is_malformed_is_none_and_is_counted() {
        for bad in [
            "",
            "00-aa",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473€-00f067aa0ba902b7-01",
        ] {
            let carried = read(&[(TRACEPARENT, bad), (TRACESTATE, "a=1")]);
            assert!(carried.context.is_none() && carried.is_malformed, "{bad}");
            assert_eq!(carried.state, None, "{bad}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(parse(later).is_some());
    }

    #[test]
    fn an_empty_or_overlong_state_is_not_written() {
        let long = format!("a={}", "x".repeat(STATE_BYTES_MAX));
        for state in ["", &long, "a=\u{e4}"] {
            assert_eq!(
                read(&[(TRACEPARENT, GOOD), (TRACESTATE, state)]).state,
                None
            );
        }
        let mut headers = Vec::new();
        write(&mut headers, &parse(GOOD).unwrap(), None);
        assert_eq!(headers, [(TRACEPARENT.into(), GOOD.into())]);
        write(&mut headers, &TraceContext::NONE, Some("a=1"));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_state_is_a_list_of_entries() {
        let many = |count| vec!["a=1"; count].join(",");
        for good in ["a=1", "vendor=x, 7t@sys-1/a*_=y z,", &many(32)] {
            assert!(is_member_list(good), "{good}");
        }
        for bad in ["", ",", "a", "a=", "=1", "A=1", "a=1=2", "a b=1", &many(33)] {
            assert!(!is_member_list(bad), "{bad}");
        }
        let long = |bytes| format!("a={}", "x".repeat(bytes));
        assert!(is_member_list(&long(256)) && !is_member_list(&long(257)));
    }

    #[test]
    fn of_the_baggage_only_what_is_allowed_goes_on() {
        let carried = read(&[(BAGGAGE, "tenant=7, user=alice;p=1,shop = 9")]);
        assert_eq!(carried.baggage_of(&BTreeSet::new()), None);
        let allowed = BTreeSet::from(["tenant".into(), "shop".into()]);
        let kept = carried.baggage_of(&allowed);
        assert_eq!(kept.as_deref(), Some("tenant=7,shop = 9"));
    }
}
