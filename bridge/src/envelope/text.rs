//! Texts, times and trace contexts as they stand in an envelope.

use bytes::BufMut;
use im_bridge_plugin_api::abi::Trace;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes of a W3C trace context.
pub(super) const TRACE_BYTES: usize = 55;

/// What one pass over a text tells.
pub(super) struct Shape {
    /// Bytes between the quotes.
    pub escaped_len: usize,
    /// C0, DEL or C1, which attributes may not have.
    pub has_control: bool,
}

/// One pass: most texts need no escape, and whoever makes the buffer wants its exact size.
pub(super) fn shape(text: &str) -> Shape {
    let mut escaped_len = text.len();
    let mut has_control = false;
    let mut last = 0;
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => escaped_len += 1,
            0x08 | 0x09 | 0x0a | 0x0c | 0x0d => {
                escaped_len += 1;
                has_control = true;
            }
            0x00..0x20 => {
                escaped_len += 5;
                has_control = true;
            }
            0x7f => has_control = true,
            // U+0080 to U+009F in UTF-8.
            0x80..=0x9f if last == 0xc2 => has_control = true,
            _ => {}
        }
        last = byte;
    }
    Shape {
        escaped_len,
        has_control,
    }
}

/// As `serde_json` escapes; the quotes are the caller's.
pub(super) fn push_escaped(out: &mut impl BufMut, text: &str) {
    let mut clean_from = 0;
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..0x20 => b'u',
            _ => continue,
        };
        out.put_slice(&text.as_bytes()[clean_from..at]);
        clean_from = at + 1;
        out.put_slice(&[b'\\', short]);
        if short == b'u' {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.put_slice(&[b'0', b'0', HEX[high], HEX[low]]);
        }
    }
    out.put_slice(&text.as_bytes()[clean_from..]);
}

/// `00-<trace id>-<span id>-<flags>`; none for the context of zeros.
#[must_use]
pub fn traceparent(trace: &Trace) -> Option<String> {
    if trace.is_none() {
        return None;
    }
    let text = trace_text(trace).to_vec();
    Some(String::from_utf8(text).expect("hex digits and dashes"))
}

pub(super) fn push_trace(out: &mut impl BufMut, trace: &Trace) {
    out.put_slice(&trace_text(trace));
}

/// Where it goes is asked for once and not with each digit: it is done twice for every event.
fn trace_text(trace: &Trace) -> [u8; TRACE_BYTES] {
    let mut text = [b'-'; TRACE_BYTES];
    for (at, bytes) in [
        (0, &[0][..]),
        (3, &trace.trace_id[..]),
        (36, &trace.span_id[..]),
        (53, &[trace.flags][..]),
    ] {
        for (pair, byte) in text[at..].chunks_exact_mut(2).zip(bytes) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
    }
    text
}
