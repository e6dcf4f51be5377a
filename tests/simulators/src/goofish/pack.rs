//! MessagePack as this provider writes it: positive fixints, uint64 for all above, strings of 32 bytes and more as str16, maps
//! of 16 entries and more as map16; never str8, bin, ext or floats.

use serde_json::Value;

const FIXINT_MAX: u64 = 0x7f;
const FIXSTR_MAX: usize = 31;
const FIX_ENTRIES_MAX: usize = 15;

/// Bytes in the order in which they are asked for, because the order of a map's keys is part of what was recorded.
#[derive(Default)]
pub struct Packer(Vec<u8>);

impl Packer {
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// As many pairs must follow.
    pub fn map(&mut self, entries: usize) -> &mut Self {
        self.head(0x80, 0xde, entries)
    }

    /// As many values must follow.
    pub fn list(&mut self, entries: usize) -> &mut Self {
        self.head(0x90, 0xdc, entries)
    }

    fn head(&mut self, fix: u8, wide: u8, entries: usize) -> &mut Self {
        // What is longer than a frame may be was refused where it came in.
        let entries_u16 = u16::try_from(entries).unwrap_or(u16::MAX);
        let [high, low] = entries_u16.to_be_bytes();
        if entries <= FIX_ENTRIES_MAX {
            self.0.push(fix | low);
        } else {
            self.0.extend([wide, high, low]);
        }
        self
    }

    pub fn int(&mut self, value: u64) -> &mut Self {
        if value <= FIXINT_MAX {
            self.0.extend(value.to_be_bytes().last());
        } else {
            self.0.push(0xcf);
            self.0.extend(value.to_be_bytes());
        }
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        let length = text.len();
        match u16::try_from(length) {
            Ok(short) if length <= FIXSTR_MAX => {
                self.0.push(0xa0 | short.to_be_bytes()[1]);
            }
            Ok(short) => {
                self.0.push(0xda);
                self.0.extend(short.to_be_bytes());
            }
            Err(_) => {
                let long = u32::try_from(length).unwrap_or(u32::MAX);
                self.0.push(0xdb);
                self.0.extend(long.to_be_bytes());
            }
        }
        self.0.extend(text.as_bytes());
        self
    }

    /// Integer key and text.
    pub fn entry(&mut self, key: u64, text: &str) -> &mut Self {
        self.int(key).text(text)
    }

    /// Integer key and integer.
    pub fn number(&mut self, key: u64, value: u64) -> &mut Self {
        self.int(key).int(value)
    }

    /// JSON, in which keys of digits stand for integers; in their order, others in the order of the alphabet.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.0.push(0xc0),
            Value::Bool(value) => self.0.push(0xc2 | u8::from(*value)),
            Value::Number(number) => {
                if let Some(number) = number.as_u64() {
                    self.int(number);
                } else if let Some(number) = number.as_i64() {
                    self.0.push(0xd3);
                    self.0.extend(number.to_be_bytes());
                } else {
                    self.0.push(0xcb);
                    let number = number.as_f64().unwrap_or_default();
                    self.0.extend(number.to_be_bytes());
                }
            }
            Value::String(text) => {
                self.text(text);
            }
            Value::Array(values) => {
                self.list(values.len());
                for value in values {
                    self.value(value);
                }
            }
            Value::Object(entries) => {
                self.map(entries.len());
                let mut entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| (key.parse::<u64>().ok(), key, value))
                    .collect();
                entries.sort_unstable_by_key(|(number, key, _)| (*number, *key));
                for (number, key, value) in entries {
                    match number {
                        Some(number) => self.int(number),
                        None => self.text(key),
                    };
                    self.value(value);
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lengths_take_the_form_that_was_captured() {
        let packed = |value: Value| {
            let mut packer = Packer::default();
            packer.value(&value);
            packer.bytes()
        };
        assert_eq!(
            packed(json!({ "10": 127, "2": 128 })),
            [0x82, 2, 0xcf, 0, 0, 0, 0, 0, 0, 0, 128, 10, 127]
        );
        assert_eq!(packed(json!("x".repeat(31)))[..2], [0xbf, b'x']);
        assert_eq!(packed(json!("x".repeat(32)))[..4], [0xda, 0, 32, b'x']);
        assert_eq!(packed(json!("x".repeat(65_536)))[..5], [0xdb, 0, 1, 0, 0]);
        let sixteen: Value = (0..16).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(packed(sixteen)[..5], [0xde, 0, 16, 0, 0]);
        assert_eq!(
            packed(json!([null, true, -1]))[..4],
            [0x93, 0xc0, 0xc3, 0xd3]
        );
    }
}
