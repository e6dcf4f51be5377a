//! MessagePack as the provider writes it, read into a JSON tree: integer keys become decimal strings.
//!
//! The whole format is taken, also what the provider was never seen to write; bytes become base64. Nothing is allocated for
//! what only a length announces, and nesting is bounded, so no input costs more than a few times its own size.
//!
//! Not here: what a tree means (`item.rs`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

/// Deepest nesting: the provider's own is six.
const DEPTH_MAX: usize = 32;

/// Why bytes are no MessagePack. Names no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it ends in the middle of a value")]
    CutOff,
    #[error("a key is neither a number nor a string")]
    Key,
    #[error("it is nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("the format has no byte 0xc1")]
    Reserved,
}

/// The first value; what follows it is ignored.
pub fn read(bytes: &[u8]) -> Result<Value, Malformed> {
    Reader { rest: bytes }.value(DEPTH_MAX)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        let first = self.u8()?;
        Ok(match first {
            0x00..=0x7f => first.into(),
            0x80..=0x8f => return self.map(usize::from(first & 0x0f), depth),
            0x90..=0x9f => return self.array(usize::from(first & 0x0f), depth),
            0xa0..=0xbf => self.text(usize::from(first & 0x1f))?.into(),
            0xc0 => Value::Null,
            0xc1 => return Err(Malformed::Reserved),
            0xc2 => false.into(),
            0xc3 => true.into(),
            0xc4..=0xc6 => {
                let len = self.length(first - 0xc4)?;
                STANDARD.encode(self.take(len)?).into()
            }
            // An extension: its type, then bytes.
            0xc7..=0xc9 => {
                let len = self.length(first - 0xc7)?;
                self.extension(len)?
            }
            0xca => float(f32::from_be_bytes(self.array_of()?).into()),
            0xcb => float(f64::from_be_bytes(self.array_of()?)),
            0xcc => self.u8()?.into(),
            0xcd => u16::from_be_bytes(self.array_of()?).into(),
            0xce => u32::from_be_bytes(self.array_of()?).into(),
            0xcf => u64::from_be_bytes(self.array_of()?).into(),
            0xd0 => i8::from_be_bytes(self.array_of()?).into(),
            0xd1 => i16::from_be_bytes(self.array_of()?).into(),
            0xd2 => i32::from_be_bytes(self.array_of()?).into(),
            0xd3 => i64::from_be_bytes(self.array_of()?).into(),
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4))?,
            0xd9..=0xdb => {
                let len = self.length(first - 0xd9)?;
                self.text(len)?.into()
            }
            0xdc | 0xdd => {
                let len = self.length(first - 0xdc + 1)?;
                return self.array(len, depth);
            }
            0xde | 0xdf => {
                let len = self.length(first - 0xde + 1)?;
                return self.map(len, depth);
            }
            0xe0..=0xff => i8::from_be_bytes([first]).into(),
        })
    }

    fn array(&mut self, len: usize, depth: usize) -> Result<Value, Malformed> {
        let inner = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let mut all = Vec::new();
        for _ in 0..len {
            all.push(self.value(inner)?);
        }
        Ok(all.into())
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value, Malformed> {
        let inner = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let mut all = Map::new();
        for _ in 0..len {
            let key = match self.value(inner)? {
                Value::String(key) => key,
                Value::Number(key) => key.to_string(),
                _ => return Err(Malformed::Key),
            };
            let value = self.value(inner)?;
            all.insert(key, value);
        }
        Ok(all.into())
    }

    /// A length of one, two or four bytes.
    fn length(&mut self, size: u8) -> Result<usize, Malformed> {
        Ok(match size {
            0 => self.u8()?.into(),
            1 => u16::from_be_bytes(self.array_of()?).into(),
            _ => usize::try_from(u32::from_be_bytes(self.array_of()?)).unwrap_or(usize::MAX),
        })
    }

    /// What is no UTF-8 is shown as such: one bad name is no reason to lose a message.
    fn text(&mut self, len: usize) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn extension(&mut self, len: usize) -> Result<Value, Malformed> {
        self.u8()?;
        Ok(STANDARD.encode(self.take(len)?).into())
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array_of()?))
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(Malformed::CutOff)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (first, rest) = self.rest.split_at_checked(len).ok_or(Malformed::CutOff)?;
        self.rest = rest;
        Ok(first)
    }
}

/// JSON has no word for what is no number.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    #[test]
    fn every_form_of_the_format_is_read() {
        let cases = [
            ("7f", json!(127)),
            ("e0", json!(-32)),
            ("82 01 a161 a162 90", json!({ "1": "a", "b": [] })),
            ("c0", json!(null)),
            ("92 c2 c3", json!([false, true])),
            ("c4 02 fffe", json!("//4=")),
            ("c5 0001 ff", json!("/w==")),
            ("c6 00000001 ff", json!("/w==")),
            ("c7 01 05 ff", json!("/w==")),
            ("d4 05 ff", json!("/w==")),
            ("d5 05 ffff", json!("//8=")),
            ("ca 3fc00000", json!(1.5)),
            ("cb 3ff8000000000000", json!(1.5)),
            ("cb 7ff8000000000000", json!(null)),
            ("cc ff", json!(255)),
            ("cd ffff", json!(65_535)),
            ("ce ffffffff", json!(4_294_967_295_u32)),
            ("cf ffffffffffffffff", json!(u64::MAX)),
            ("d0 80", json!(-128)),
            ("d1 8000", json!(-32_768)),
            ("d2 80000000", json!(i32::MIN)),
            ("d3 8000000000000000", json!(i64::MIN)),
            ("d9 01 61", json!("a")),
            ("da 0001 61", json!("a")),
            ("db 00000001 61", json!("a")),
            ("dc 0001 01", json!([1])),
            ("dd 00000001 01", json!([1])),
            ("de 0001 01 02", json!({ "1": 2 })),
            ("df 00000001 ff 02", json!({ "-1": 2 })),
            ("a1 ff", json!("\u{fffd}")),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(read(&hex(bytes)), Ok(wanted), "{bytes}");
        }
    }

    #[test]
    fn what_is_not_whole_is_refused_and_costs_nothing() {
        for bytes in [
            "",
            "81",
            "81 01",
            "a5 61",
            "db ffffffff 61",
            "dd ffffffff",
            "df ffffffff 01 01",
            "cf 00",
        ] {
            assert_eq!(read(&hex(bytes)), Err(Malformed::CutOff), "{bytes}");
        }
        assert_eq!(read(&hex("81 c0 01")), Err(Malformed::Key));
        assert_eq!(read(&hex("c1")), Err(Malformed::Reserved));
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(read(&[0x91; 100_000]), Err(Malformed::TooDeep));
        let mut deep = vec![0x91; DEPTH_MAX];
        deep.push(0x01);
        assert!(read(&deep).is_ok());
    }
}
