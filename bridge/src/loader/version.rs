//! Semantic versions of adapters, ordered as semver.org says.
//!
//! Not here: version requirements; only "newest" is ever asked for.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A semantic version. Build metadata is shown and does not order.
#[derive(Debug, Clone)]
pub struct Version {
    core: [u64; 3],
    pre: Vec<Identifier>,
    text: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    // Numbers come before words: semver's rule, and the derived order of these variants.
    Number(u64),
    Word(Box<str>),
}

/// Not a semantic version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a semantic version; write it like 1.2.3 or 1.2.3-rc.1")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (rest, build) = match text.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (text, None),
        };
        if let Some(build) = build {
            for part in build.split('.') {
                word(part)?;
            }
        }
        let (numbers, pre) = match rest.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre)),
            None => (rest, None),
        };
        let mut parts = numbers.split('.');
        let mut next = || number(parts.next().ok_or(NotAVersion)?);
        let core = [next()?, next()?, next()?];
        if parts.next().is_some() {
            return Err(NotAVersion);
        }
        let pre = match pre {
            None => Vec::new(),
            Some(pre) => pre.split('.').map(identifier).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            core,
            pre,
            text: text.into(),
        })
    }
}

fn word(part: &str) -> Result<(), NotAVersion> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if part.is_empty() || !part.bytes().all(valid) {
        return Err(NotAVersion);
    }
    Ok(())
}

fn number(part: &str) -> Result<u64, NotAVersion> {
    let is_padded = part.len() > 1 && part.starts_with('0');
    if is_padded || !part.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotAVersion);
    }
    part.parse().map_err(|_| NotAVersion)
}

fn identifier(part: &str) -> Result<Identifier, NotAVersion> {
    word(part)?;
    if part.bytes().all(|b| b.is_ascii_digit()) {
        return number(part).map(Identifier::Number);
    }
    Ok(Identifier::Word(part.into()))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_release = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.pre.cmp(&other.pre),
        };
        // The text last: build metadata does not rank, but an order that agrees with equality must tell them apart.
        self.core
            .cmp(&other.core)
            .then(by_release)
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_semver_says() {
        let ascending = [
            "0.9.0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.2.0",
            "1.10.0",
        ];
        let versions: Vec<Version> = ascending.iter().map(|v| v.parse().unwrap()).collect();
        assert!(versions.is_sorted());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.x",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3+",
            "v1.2.3",
            "1.2.3 ",
            "1..3",
            "99999999999999999999.0.0",
        ] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text:?}");
        }
    }
}
