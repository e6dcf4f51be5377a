//! JSON as a tree in which no object has a member twice.
//!
//! The checks read the tree and the adapter reads the bytes. Of a member that stands twice each may take the other one:
//! what was allowed would not be what is done.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads it whole.
pub fn read(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(json).map(|Tree(value)| value)
}

struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Tree(value)) = elements.next_element()? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Tree(value))) = members.next_entry::<String, Tree>()? {
            if all.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format_args!(
                    "member `{shown}` stands twice"
                )));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_read_is_what_others_read() {
        let json =
            r#"{"a":[1,-2,3.5,1e300,null,true,"x\ny"],"b":{"a":{},"é":18446744073709551615}}"#;
        let usual: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(read(json.as_bytes()).unwrap(), usual);
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_however_it_is_written_and_however_deep() {
        for json in [r#"{"a":1,"a":1}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
            let error = read(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("` stands twice"), "{error}");
        }
        read(br#"{"a":{"a":1},"b":{"a":1}}"#).unwrap();
    }

    #[test]
    fn depth_is_bounded() {
        read("[".repeat(100_000).as_bytes()).unwrap_err();
    }
}
