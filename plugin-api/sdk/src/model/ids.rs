//! Ids and tokens that everybody computes alike: from what happened, never from when or where it was seen.

use ring::digest::{Context, SHA256, digest};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// Between the parts of what is hashed: no provider uses the unit separator in an id.
const SEPARATOR: &[u8] = b"\x1f";
/// Longest native id that is hashed as it is; a longer one is replaced, because it travels through the plugin ABI.
pub const NATIVE_ID_BYTES_MAX: usize = 512;
/// Longest channel token: a subject must stay below 210 bytes.
pub const TOKEN_CHARS_MAX: usize = 64;
/// Begins what stands for something too long or too odd.
const HASHED: &str = "h_";

/// The first 26 characters of the lower-case base32 of a SHA-256: 130 bits, safe in subjects, keys and file names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct B32([u8; 26]);

impl B32 {
    /// Of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::encode(digest(&SHA256, bytes).as_ref())
    }

    fn encode(hash: &[u8]) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut text = [0; 26];
        for (at, character) in text.iter_mut().enumerate() {
            let (byte, bit) = (at * 5 / 8, at * 5 % 8);
            let pair = u16::from_be_bytes([hash[byte], hash[byte + 1]]);
            *character = ALPHABET[usize::from(pair >> (11 - bit) & 31)];
        }
        Self(text)
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl Deref for B32 {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for B32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for B32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What makes an event's id. The account is part of it: two accounts in one group each see the message.
#[derive(Clone, Copy, Debug)]
pub struct EventIdentity<'a> {
    /// Provider id.
    pub provider: &'a str,
    /// The operator's alias of the account.
    pub account: &'a str,
    /// Kind of the event.
    pub kind: &'a str,
    /// Exact native id of the channel; empty without one.
    pub channel: &'a str,
    /// Exact native id of what happened; empty when the provider gives none.
    pub native_id: &'a str,
    /// Its revision; empty without one.
    pub native_rev: &'a str,
    /// The event's `data`: stands in for an empty `native_id`.
    pub payload: &'a [u8],
    /// Unix ms of the envelope's `time`: its second stands in for the revision, when `native_id` is empty.
    pub time_ms: i64,
}

/// The id of an event: the same from a push, from a back-fill, and from another replica.
#[must_use]
pub fn event_id(of: &EventIdentity<'_>) -> B32 {
    let common = [of.provider, of.account, of.kind, of.channel];
    if of.native_id.is_empty() {
        let second = of.time_ms.div_euclid(1000).to_string();
        return hash_parts(
            common
                .into_iter()
                .chain([B32::of(of.payload).as_str(), &second]),
        );
    }
    hash_parts(common.into_iter().chain([of.native_id, of.native_rev]))
}

/// The id of a result: another outcome of the same command is another result. `code` is empty without an error.
#[must_use]
pub fn result_id(provider: &str, account: &str, command_id: &str, status: &str, code: &str) -> B32 {
    hash_parts(["res", provider, account, command_id, status, code].into_iter())
}

fn hash_parts<'a>(mut parts: impl Iterator<Item = &'a str>) -> B32 {
    let mut context = Context::new(&SHA256);
    context.update(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        context.update(SEPARATOR);
        context.update(part.as_bytes());
    }
    B32::encode(context.finish().as_ref())
}

/// `h_` and the hash: what stands for a text that is too long or too odd.
#[must_use]
pub fn hashed(text: &str) -> String {
    [HASHED, &B32::of(text.as_bytes())].concat()
}

/// Something a person or a provider chose that looks like [`hashed`] must not pass for one.
fn looks_hashed(text: &str) -> bool {
    let rest = text.strip_prefix(HASHED).unwrap_or_default();
    rest.len() == 26
        && rest
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The subject token of a channel or caller id; `_` without one. No two ids share a token.
#[must_use]
pub fn channel_token(id: Option<&str>) -> Cow<'_, str> {
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Cow::Borrowed("_");
    };
    if id == "_" {
        return Cow::Borrowed("=5F");
    }
    if looks_hashed(id) {
        return Cow::Owned(hashed(id));
    }
    let odd = id.bytes().filter(|byte| !is_plain(*byte)).count();
    if id.len() + 2 * odd > TOKEN_CHARS_MAX {
        return Cow::Owned(hashed(id));
    }
    if odd == 0 {
        return Cow::Borrowed(id);
    }
    let mut token = String::with_capacity(id.len() + 2 * odd);
    for byte in id.bytes() {
        if is_plain(byte) {
            token.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            token.push('=');
            token.push(char::from(HEX[usize::from(byte >> 4)]));
            token.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(token)
}

/// The caller's token: the name in a source `/app/<name>`, else the whole source.
#[must_use]
pub fn caller_token(source: Option<&str>) -> Cow<'_, str> {
    channel_token(source.map(|source| source.strip_prefix("/app/").unwrap_or(source)))
}

/// What a command's key becomes at the provider, whose references may have at most `limit_chars` characters.
#[must_use]
pub fn client_ref(key: &str, limit_chars: usize) -> Cow<'_, str> {
    let fits = key.len() <= limit_chars.min(TOKEN_CHARS_MAX);
    if !key.is_empty() && fits && key.bytes().all(is_plain) && !looks_hashed(key) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(hashed(key))
}

/// A native id as it goes through the plugin ABI: itself, or its hash when it is too long.
#[must_use]
pub fn native_id(id: Cow<'_, str>) -> Cow<'_, str> {
    if id.len() <= NATIVE_ID_BYTES_MAX {
        return id;
    }
    Cow::Owned(hashed(&id))
}

/// A number as an order key: zero-padded, so that keys sort as strings.
#[must_use]
pub fn order_key(mut number: u64) -> String {
    // By hand: a formatter pads digit by digit into a string that grows meanwhile, and this is done for every message.
    let mut digits = [b'0'; 20];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).expect("one digit");
        number /= 10;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests;
