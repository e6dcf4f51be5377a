//! Protobuf, as far as spans need it: fields appended to bytes, each written once and where it stays.
//!
//! What it writes is canonical, byte for byte what any other writer makes of the same message; guarded by
//! `a_span_is_what_another_writer_makes_of_it` in `traces/span/tests.rs`. Callers write fields in the order of their
//! numbers, and leave out what is empty.
//!
//! Not here: what the fields mean (`traces/span.rs`, `otlp/traces.rs`); reading.

/// Kinds of fields on the wire.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// Field of a `KeyValue` and of an `AnyValue`, which hold one byte of tag each.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;

/// A value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Flag(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value<'_> {
    /// A number that has no place in an `i64` is no number of ours.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Bytes of a number as it is written.
fn len_of_varint(value: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    let bits = (64 - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn tag(out: &mut Vec<u8>, field: u32, kind: u32) {
    varint(out, u64::from(field << 3 | kind));
}

/// A number that is a varint; zero is left out.
pub fn number(out: &mut Vec<u8>, field: u32, value: u32) {
    if value > 0 {
        tag(out, field, VARINT);
        varint(out, value.into());
    }
}

pub fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    tag(out, field, FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// The beginning of a message or text of this length, which follows.
pub fn head(out: &mut Vec<u8>, field: u32, len: usize) {
    tag(out, field, DELIMITED);
    varint(out, len as u64);
}

/// Bytes or text.
pub fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Bytes of a message or text of this length together with what stands before it.
pub fn whole_len(field: u32, len: usize) -> usize {
    len_of_varint(u64::from(field << 3)) + len_of_varint(len as u64) + len
}

/// An attribute: key and value, neither of them cut.
pub fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: Value<'_>) {
    let value_len = match value {
        Value::Text(text) => whole_len(STRING, text.len()),
        Value::Number(number) => 1 + len_of_varint(number.cast_unsigned()),
        Value::Flag(_) => 2,
    };
    head(
        out,
        field,
        whole_len(KEY, key.len()) + whole_len(VALUE, value_len),
    );
    bytes(out, KEY, key.as_bytes());
    head(out, VALUE, value_len);
    match value {
        Value::Text(text) => bytes(out, STRING, text.as_bytes()),
        Value::Number(number) => {
            tag(out, INT, VARINT);
            varint(out, number.cast_unsigned());
        }
        Value::Flag(flag) => {
            tag(out, BOOL, VARINT);
            out.push(flag.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use prost::Message as _;

    #[test]
    fn attributes_are_what_another_writer_makes_of_them() {
        let long = "x".repeat(20_000);
        let texts = ["", "a", "ä€😀", &long[..127], &long[..128], &long];
        let numbers = [0, 1, 127, 128, 16_383, 16_384, -1, i64::MIN, i64::MAX];
        let values = texts
            .into_iter()
            .map(Value::Text)
            .chain(numbers.into_iter().map(Value::Number))
            .chain([true, false].map(Value::Flag));
        for value in values {
            for key in ["k", "messaging.destination.template", &long[..200]] {
                let theirs = KeyValue {
                    key: key.to_owned(),
                    value: Some(AnyValue {
                        value: Some(match value {
                            Value::Text(text) => any_value::Value::StringValue(text.to_owned()),
                            Value::Number(number) => any_value::Value::IntValue(number),
                            Value::Flag(flag) => any_value::Value::BoolValue(flag),
                        }),
                    }),
                    ..KeyValue::default()
                };
                let mut ours = Vec::new();
                attribute(&mut ours, 9, key, value);
                let body = theirs.encode_to_vec();
                let mut wanted = Vec::new();
                head(&mut wanted, 9, body.len());
                assert_eq!(wanted.len() + body.len(), whole_len(9, body.len()));
                wanted.extend(body);
                assert!(ours == wanted, "{key} {value:?}");
            }
        }
    }

    #[test]
    fn numbers_have_as_many_bytes_as_it_says() {
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                varint(&mut out, value);
                assert_eq!(out.len(), len_of_varint(value), "{value}");
                assert_eq!(prost::encoding::decode_varint(&mut &*out), Ok(value));
            }
        }
    }
}
