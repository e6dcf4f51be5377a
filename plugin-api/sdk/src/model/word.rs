//! Reads a word of a closed set: what every enum of [`super::names`] shares.

use super::UnknownName;
use serde::de::{Deserialize, Deserializer, EnumAccess, Error, VariantAccess, Visitor};
use std::fmt;

/// Reads a string as one of `names` by `parse`, which may have a stand-in for a word that is not among them.
pub(super) fn read<'de, D, T>(
    from: D,
    name: &'static str,
    names: &'static [&'static str],
    parse: fn(&str) -> Result<T, UnknownName>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    from.deserialize_enum(name, names, WordVisitor { name, parse })
}

struct WordVisitor<T> {
    name: &'static str,
    parse: fn(&str) -> Result<T, UnknownName>,
}

impl<'de, T> Visitor<'de> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a word of {}", self.name)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<T, A::Error> {
        let (value, content) = data.variant_seed(WordSeed(self.parse))?;
        content.unit_variant()?;
        Ok(value)
    }
}

struct WordSeed<T>(fn(&str) -> Result<T, UnknownName>);

impl<'de, T> serde::de::DeserializeSeed<'de> for WordSeed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl<'de, T> Visitor<'de> for WordSeed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
        (self.0)(word).map_err(E::custom)
    }
}

/// The word that decides the shape of a segment's data; any word, with the known ones announced to the reader.
pub(super) struct SegmentWord(pub String);

impl<'de> Deserialize<'de> for SegmentWord {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = super::SegmentType::NAMES;
        read(from, "SegmentType", names, |word| Ok(word.to_owned())).map(Self)
    }
}
