//! Addresses whose requests leave no span: the second barrier, for what was classed wrongly.
//!
//! A URL is brought into one form before it is matched, since patterns are written against what people see and not
//! against what is on the wire. It is matched and thrown away. The patterns are loose by nature: good enough to leave a
//! span out, never to decide about access.

use regex::{RegexSet, RegexSetBuilder};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Patterns of one configuration, and bytes of one of them.
pub const PATTERNS_MAX: usize = 64;
pub const PATTERN_BYTES_MAX: usize = 512;
/// A longer URL is cut.
const URL_BYTES_MAX: usize = 2_048;
/// Of the compiled set: far above what such patterns need.
const SET_BYTES_MAX: usize = 8 << 20;

/// Why a text is no pattern, with the column in it.
///
/// # Errors
/// The reason, as a part of a sentence.
pub fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "it has {} bytes, at most {PATTERN_BYTES_MAX} are taken",
            pattern.len()
        ));
    }
    let at = |what: &dyn std::fmt::Display, column: usize| format!("{what} at column {column}");
    match regex_syntax::Parser::new().parse(pattern) {
        Ok(_) => set(std::iter::once(pattern))
            .map(drop)
            .map_err(|_| "it is too large".to_owned()),
        Err(regex_syntax::Error::Parse(error)) => Err(at(error.kind(), error.span().start.column)),
        Err(regex_syntax::Error::Translate(error)) => {
            Err(at(error.kind(), error.span().start.column))
        }
        Err(other) => Err(other.to_string()),
    }
}

fn set<'p>(patterns: impl Iterator<Item = &'p str>) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(patterns)
        .size_limit(SET_BYTES_MAX)
        .build()
}

/// All patterns at once.
#[derive(Debug)]
pub struct Exclusion(Option<RegexSet>);

impl Exclusion {
    /// The patterns by name; an empty one is none.
    ///
    /// # Errors
    /// One of them is no regular expression, which [`check`] tells better.
    pub fn new(patterns: &BTreeMap<String, String>) -> Result<Self, regex::Error> {
        let mut wanted = patterns
            .values()
            .map(String::as_str)
            .filter(|pattern| !pattern.is_empty())
            .peekable();
        if wanted.peek().is_none() {
            return Ok(Self(None));
        }
        Ok(Self(Some(set(wanted)?)))
    }

    /// Whether requests to this URL leave no span.
    pub fn has(&self, url: &str) -> bool {
        let Some(set) = &self.0 else {
            return false;
        };
        let url = normalised(url);
        if set.is_match(&url) {
            return true;
        }
        // Copied patterns say `^https?://`, and a front end's socket has the same address.
        let as_http = url
            .strip_prefix("wss:")
            .map(|rest| format!("https:{rest}"))
            .or_else(|| url.strip_prefix("ws:").map(|rest| format!("http:{rest}")));
        as_http.is_some_and(|url| set.is_match(&url))
    }
}

/// Scheme and host in lower case, without default port, user part, query and fragment, with a path. What is no URL stays
/// as it is.
fn normalised(url: &str) -> Cow<'_, str> {
    let url = cut(url, URL_BYTES_MAX);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into();
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme {
        return url.into();
    }
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    let (name, port) = match host.rfind(':') {
        // The colons of an address in brackets are its own.
        Some(colon) if !host[colon..].contains(']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, ""),
    };
    let default = match scheme.as_str() {
        "http" | "ws" => "80",
        "https" | "wss" => "443",
        _ => "",
    };
    let mut out = format!(
        "{scheme}://{}",
        name.strip_suffix('.').unwrap_or(name).to_lowercase()
    );
    if !port.is_empty() && port != default {
        out.push(':');
        out.push_str(port);
    }
    let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    out.push_str(if path.is_empty() { "/" } else { path });
    out.into()
}

/// At most so many bytes, whole characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::Traces;

    #[test]
    fn every_form_of_an_excluded_address_is_excluded() {
        let exclusion = Exclusion::new(&Traces::default().exclude_urls).unwrap();
        for url in [
            "https://imapi.volcvideo.com/imcloud/v1/get_message",
            "https://IMAPI.volcvideo.com/x",
            "HTTPS://imapi.volcvideo.com./x",
            "https://imapi.volcvideo.com:443/x",
            "http://imapi.volcvideo.com:80/x",
            "https://imapi.volcvideo.com",
            "https://imapi.volcvideo.com?token=1",
            "https://user:secret@imapi.volcvideo.com/x#y",
            "https://frontier-imcloud.ivolces.com/ws",
            "wss://frontier-imcloud.ivolces.com/ws/v2?a=b",
            "ws://frontier.ivolces.com:80",
            "wss://imapi.volcvideo.com/socket",
        ] {
            assert!(exclusion.has(url), "{url}");
        }
        for url in [
            "https://imapi.volcvideo.com.evil.example/x",
            "https://imapi.volcvideo.com:8443/x",
            "https://api.example/v1?next=https://imapi.volcvideo.com/",
            "https://imapi.volcvideo.com@other.example/x",
            "imapi.volcvideo.com",
            "ftp://imapi.volcvideo.com/x",
            "",
        ] {
            assert!(!exclusion.has(url), "{url}");
        }
    }

    #[test]
    fn an_empty_pattern_removes_a_default() {
        let mut patterns = Traces::default().exclude_urls;
        for pattern in patterns.values_mut() {
            pattern.clear();
        }
        let none = Exclusion::new(&patterns).unwrap();
        assert!(none.0.is_none() && !none.has("https://imapi.volcvideo.com/"));
    }

    #[test]
    fn what_is_no_url_is_matched_as_it_is() {
        let patterns = BTreeMap::from([("own".to_owned(), "^mtop".to_owned())]);
        let exclusion = Exclusion::new(&patterns).unwrap();
        assert!(exclusion.has("mtop.poll") && !exclusion.has("x.mtop"));
    }

    #[test]
    fn addresses_in_brackets_and_long_ones_are_whole() {
        assert_eq!(normalised("http://[::1]:80/x"), "http://[::1]/x");
        assert_eq!(normalised("http://[::1]"), "http://[::1]/");
        let long = format!("http://a/{}", "ä".repeat(2_000));
        assert!(normalised(&long).len() <= URL_BYTES_MAX);
    }

    #[test]
    fn a_bad_pattern_is_told_with_its_column() {
        let reason = check("^https?://(a").unwrap_err();
        assert!(reason.contains("at column 11"), "{reason}");
        assert!(check(&"a".repeat(513)).unwrap_err().contains("513 bytes"));
        assert!(check("(?:a{1000}){1000}").is_err());
        assert_eq!(check(""), Ok(()));
    }

    #[test]
    fn a_pattern_cannot_hang_the_bridge() {
        let patterns = BTreeMap::from([("own".to_owned(), "^(a+)+$".to_owned())]);
        let exclusion = Exclusion::new(&patterns).unwrap();
        assert!(!exclusion.has(&format!("{}b", "a".repeat(2_000))));
    }
}
