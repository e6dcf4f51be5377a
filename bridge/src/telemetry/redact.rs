//! Takes secrets out of texts on their way to a log line, a span or a status document.
//!
//! It promises that a secret which the bridge resolved, or an adapter stored as one, does not come through: neither as it is,
//! nor percent-encoded, nor within base64. What follows a match goes, too, up to the end of the word. Texts without a secret
//! are handed back as they are, without a copy.
//!
//! A secret is known by the beginnings of its parts: a cookie is a secret of many values, and it is one of these that a
//! provider's error text repeats. The secret itself is not kept.
//!
//! Not here: `config::secret::Secret`, which has no printable form in the first place; what is said, and where.

mod forms;
mod known;

use known::Known;
use std::borrow::Cow;
use std::sync::{LazyLock, PoisonError, RwLock};

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Names of fields whose values are secrets, whatever they are. Compared with a field's whole name and its last word.
const SECRET_NAMES: [&str; 9] = [
    "token",
    "cookie",
    "password",
    "secret",
    "authorization",
    "sign",
    "signature",
    "set_cookie",
    "cookies",
];

static GLOBAL: LazyLock<Redactor> = LazyLock::new(Redactor::default);

/// From now on this text comes through nowhere in the process.
pub fn learn(secret: &str) {
    GLOBAL.learn(secret);
}

/// The text without what is known as secret, and its addresses without user and query.
pub fn redact(text: &str) -> Cow<'_, str> {
    GLOBAL.redact(text)
}

/// The value of a field of this name is never shown.
pub fn is_secret_name(name: &str) -> bool {
    let is = |word: &str| {
        SECRET_NAMES
            .iter()
            .any(|secret| word.eq_ignore_ascii_case(secret))
    };
    let last = name.rsplit(['_', '-', '.', ' ']).next().unwrap_or(name);
    let last_hump = last
        .rfind(|c: char| c.is_ascii_uppercase())
        .map_or(last, |at| &last[at..]);
    is(&name.replace(['-', '.'], "_")) || is(last) || is(last_hump)
}

/// Knows secrets, and takes them out.
#[derive(Default)]
pub struct Redactor(RwLock<Known>);

impl Redactor {
    pub fn learn(&self, secret: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.learn(secret);
    }

    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = known.find(text).peekable();
        // The characters around a pattern within base64 are ASCII, and so is all of a pattern but that of a raw secret,
        // whose beginning may end within a character: then the whole of it goes.
        let mut out = Cow::Borrowed(text);
        if found.peek().is_some() {
            let mut without = String::with_capacity(text.len());
            let mut at = 0;
            for (start, end) in found {
                if end <= at {
                    continue;
                }
                let start = text.floor_char_boundary(start);
                if start >= at {
                    without.push_str(&text[at..start]);
                    without.push_str(REDACTED);
                }
                at = word_end(text, end);
            }
            without.push_str(&text[at..]);
            out = Cow::Owned(without);
        }
        match without_url_secrets(&out) {
            Some(cut) => Cow::Owned(cut),
            None => out,
        }
    }
}

/// Where the word that goes on at `from` ends.
fn word_end(text: &str, from: usize) -> usize {
    let from = text.ceil_char_boundary(from);
    let rest = &text[from..];
    from + rest.find(ends_a_word).unwrap_or(rest.len())
}

fn ends_a_word(c: char) -> bool {
    c.is_whitespace() || c.is_control() || r#""'`<>,;&()[]{}|\"#.contains(c)
}

/// Addresses without their user part and their query; none if there is nothing to cut.
fn without_url_secrets(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let authority = from + found + 3;
        let rest = &text[authority..];
        // A query may hold what ends a word elsewhere; an address in a text ends at a blank or a quote.
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>".contains(c);
        let end = authority + rest.find(ends).unwrap_or(rest.len());
        let url = &text[authority..end];
        let path = url.find(['/', '?', '#']).unwrap_or(url.len());
        if let Some(user) = url[..path].rfind('@') {
            out.push_str(&text[done..authority]);
            done = authority + user + 1;
        }
        if let Some(query) = url.find('?') {
            out.push_str(&text[done..authority + query]);
            done = end;
        }
        from = end;
    }
    if done == 0 {
        return None;
    }
    out.push_str(&text[done..]);
    Some(out)
}

#[cfg(test)]
mod tests;
