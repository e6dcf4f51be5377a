//! Reads a JSON tree as a type and refuses what the type does not know, at any depth.
//!
//! The types of the model ignore unknown members, as readers of events must. Commands are read through here instead,
//! because an option that is silently ignored sends the wrong thing. A refusal says where, as a JSON pointer, and what
//! was probably meant.
//!
//! Not here: limits and levels; which command takes which parameters (`command`).

use super::nearest;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};
use std::fmt;

/// Reads `value` as a `T`.
///
/// # Errors
/// A member is missing, unknown or of another type; a word is not of its set.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Refused> {
    T::deserialize(Strict(value))
}

/// Why a value was refused, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Path from the outside in, built from the inside out while the error travels up.
    path: Vec<String>,
    problem: String,
    nearest: Option<&'static str>,
}

impl Refused {
    fn new(problem: String) -> Self {
        Self {
            path: Vec::new(),
            problem,
            nearest: None,
        }
    }

    fn unknown(what: &str, word: &str, known: &'static [&'static str]) -> Self {
        // Cut, because it may come from anywhere and goes into results and logs.
        let shown: String = word.chars().take(64).collect();
        Self {
            nearest: nearest(&shown, known.iter().copied()),
            ..Self::new(format!("unknown {what} `{shown}`"))
        }
    }

    fn inside(mut self, step: &str) -> Self {
        self.path.push(step.replace('~', "~0").replace('/', "~1"));
        self
    }

    /// Where, as a JSON pointer into the value that was read; empty: the value itself.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.path
            .iter()
            .rev()
            .flat_map(|step| ["/", step])
            .collect()
    }

    /// What is wrong there.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The known name that was probably meant.
    #[must_use]
    pub const fn nearest(&self) -> Option<&'static str> {
        self.nearest
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.pointer())?;
        }
        match self.nearest {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("member", field, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("member `{field}` is missing"))
    }
}

#[derive(Clone, Copy)]
struct Strict<'de>(&'de Value);

fn refuse(error: serde_json::Error) -> Refused {
    Refused::new(error.to_string())
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
            }),
            Value::Object(members) => visitor.visit_map(Members::all(members)),
            scalar => scalar.deserialize_any(visitor).map_err(refuse),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        // Carried text asks for itself under a name that only serde_json's own reader of trees knows.
        if name.starts_with("$serde_json::") {
            return self
                .0
                .deserialize_newtype_struct(name, visitor)
                .map_err(refuse);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let Value::Object(members) = self.0 else {
            return Err(Refused::new("an object is needed".to_owned()));
        };
        if let Some(unknown) = members
            .keys()
            .find(|member| !fields.contains(&member.as_str()))
        {
            return Err(Refused::unknown("member", unknown, fields).inside(unknown));
        }
        visitor.visit_map(Members::named(members, fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self.0 {
            Value::String(word) if !variants.contains(&word.as_str()) => {
                return Err(Refused::unknown("value", word, variants));
            }
            Value::Object(members) => {
                if let Some(unknown) = members
                    .keys()
                    .find(|member| !variants.contains(&member.as_str()))
                {
                    return Err(Refused::unknown("member", unknown, variants).inside(unknown));
                }
                if members.len() != 1 {
                    return Err(Refused::new(format!(
                        "exactly one of {} is needed",
                        variants.join(", ")
                    )));
                }
            }
            Value::String(_) => {}
            _ => {
                return Err(Refused::new(format!(
                    "a value of {} is needed",
                    variants.join(", ")
                )));
            }
        }
        self.0
            .deserialize_enum(name, variants, visitor)
            .map_err(refuse)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refused> {
        let Some((at, item)) = self.items.next() else {
            return Ok(None);
        };
        let item = seed.deserialize(Strict(item));
        item.map(Some)
            .map_err(|refused| refused.inside(&at.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// Members of an object: those of a type in the type's order, so that what decides a shape comes before it.
struct Members<'de> {
    members: &'de Map<String, Value>,
    names: Names<'de>,
    next: Option<(&'de str, &'de Value)>,
}

enum Names<'de> {
    /// All there are.
    Own(serde_json::map::Iter<'de>),
    /// Those of a type.
    Type(std::slice::Iter<'static, &'static str>),
}

impl<'de> Members<'de> {
    fn all(members: &'de Map<String, Value>) -> Self {
        Self {
            members,
            names: Names::Own(members.iter()),
            next: None,
        }
    }

    fn named(members: &'de Map<String, Value>, names: &'static [&'static str]) -> Self {
        Self {
            members,
            names: Names::Type(names.iter()),
            next: None,
        }
    }

    fn step(&mut self) -> Option<(&'de str, &'de Value)> {
        let members = self.members;
        match &mut self.names {
            Names::Own(all) => all.next().map(|(name, value)| (name.as_str(), value)),
            Names::Type(names) => names.find_map(|name| Some((*name, members.get(*name)?))),
        }
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        self.next = self.step();
        let Some((name, _)) = self.next else {
            return Ok(None);
        };
        let name_of: StrDeserializer<'_, Refused> = name.into_deserializer();
        seed.deserialize(name_of).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let (name, value) = self.next.take().expect("serde asks for the name first");
        seed.deserialize(Strict(value))
            .map_err(|refused| refused.inside(name))
    }
}

#[cfg(test)]
mod tests;
