//! Adapters' values as they lie in the bucket: plain, with the time when they end, or sealed.
//!
//! A plain value is stored as it is. A secret is AES-256-GCM with a random nonce; bucket and key are authenticated, so that
//! a sealed value cannot be moved to another key or account. The key's number stands in front, so that keys can be
//! replaced: one seals, all open.
//!
//! Not here: storing (`bus::account_keys`), and who asks (`kv`).

use crate::telemetry::redact;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;

/// A value that begins with this byte has one of the letters below behind it; JSON and other text never does.
const FRAMED: u8 = 0;
/// Unix ms of its end (8 bytes), then a value.
const ENDS: u8 = b'T';
/// Number of the key, nonce, what was sealed with its tag.
const SEALED: u8 = b'S';
/// A plain value that begins with the byte itself.
const PLAIN: u8 = b'P';
const KEY_BYTES: usize = 32;
const NUMBER_BYTES: usize = 4;

type Number = [u8; NUMBER_BYTES];

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error(
        "nats.seal.keys.{name} has {actual} bytes, needs {KEY_BYTES}; make one with `openssl rand -base64 32`"
    )]
    Length { name: String, actual: usize },
    #[error("nats.seal.keys.{name} is no base64; make one with `openssl rand -base64 32`")]
    Base64 { name: String },
    #[error("nats.seal.use is `{name}`, which nats.seal.keys has not; add it")]
    Missing { name: String },
}

/// The keys that seal and open. Has no way to show them.
#[derive(Default)]
pub struct Seals {
    sealing: Option<usize>,
    keys: Vec<(Number, LessSafeKey)>,
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seals({} keys)", self.keys.len())
    }
}

/// What a stored value turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Value(Bytes),
    /// Its time has passed.
    Ended,
    /// Sealed with a key that is not here, or for another place.
    Unreadable,
}

impl Seals {
    /// `keys` are names with 32 bytes in base64; `uses` names the one that seals, empty: none.
    pub fn new<'k>(
        uses: &str,
        keys: impl IntoIterator<Item = (&'k str, &'k str)>,
    ) -> Result<Self, SealError> {
        let mut seals = Self::default();
        for (name, text) in keys {
            let bytes = STANDARD
                .decode(text.trim())
                .map_err(|_| SealError::Base64 {
                    name: name.to_owned(),
                })?;
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Length {
                name: name.to_owned(),
                actual: bytes.len(),
            })?;
            if name == uses {
                seals.sealing = Some(seals.keys.len());
            }
            seals.keys.push((number(&bytes), LessSafeKey::new(key)));
        }
        if !uses.is_empty() && seals.sealing.is_none() {
            return Err(SealError::Missing {
                name: uses.to_owned(),
            });
        }
        Ok(seals)
    }

    /// Whether secrets can be stored at all.
    pub fn can_seal(&self) -> bool {
        self.sealing.is_some()
    }

    /// The stored form; `place` names bucket, account and key. `None`: a secret, and no key to seal it with.
    pub fn wrap(
        &self,
        place: &str,
        value: &[u8],
        is_secret: bool,
        ends_ms: Option<i64>,
    ) -> Option<Bytes> {
        let mut out = Vec::with_capacity(value.len() + 64);
        if let Some(ends_ms) = ends_ms {
            out.extend_from_slice(&[FRAMED, ENDS]);
            out.extend_from_slice(&ends_ms.to_be_bytes());
        }
        if is_secret {
            let (number, key) = &self.keys[self.sealing?];
            let mut nonce = [0; NONCE_LEN];
            SystemRandom::new()
                .fill(&mut nonce)
                .expect("the system gives random bytes");
            out.extend_from_slice(&[FRAMED, SEALED]);
            out.extend_from_slice(number);
            out.extend_from_slice(&nonce);
            let mut sealed = value.to_vec();
            key.seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut sealed,
            )
            .expect("values are far below the cipher's limit");
            out.extend_from_slice(&sealed);
        } else {
            if value.first() == Some(&FRAMED) {
                out.extend_from_slice(&[FRAMED, PLAIN]);
            }
            out.extend_from_slice(value);
        }
        Some(out.into())
    }

    /// Whether its time is over; nothing is opened for that.
    pub fn has_ended(stored: &[u8], now_ms: i64) -> bool {
        match stored {
            [FRAMED, ENDS, rest @ ..] => rest
                .first_chunk()
                .is_some_and(|ends_ms| i64::from_be_bytes(*ends_ms) <= now_ms),
            _ => false,
        }
    }

    /// The opposite of [`Self::wrap`].
    pub fn unwrap(&self, place: &str, stored: &Bytes, now_ms: i64) -> Opened {
        match &stored[..] {
            [FRAMED, ENDS, rest @ ..] => {
                if Self::has_ended(stored, now_ms) {
                    return Opened::Ended;
                }
                match rest.split_first_chunk::<{ size_of::<i64>() }>() {
                    Some((ends_ms, _)) => self.open(place, &stored.slice(2 + ends_ms.len()..)),
                    None => Opened::Unreadable,
                }
            }
            _ => self.open(place, stored),
        }
    }

    fn open(&self, place: &str, stored: &Bytes) -> Opened {
        match &stored[..] {
            [FRAMED, SEALED, rest @ ..] => match self.unseal(place, rest) {
                Some(value) => {
                    learn(&value);
                    Opened::Value(value)
                }
                None => Opened::Unreadable,
            },
            [FRAMED, PLAIN, ..] => Opened::Value(stored.slice(2..)),
            [FRAMED, ..] => Opened::Unreadable,
            _ => Opened::Value(stored.clone()),
        }
    }

    fn unseal(&self, place: &str, rest: &[u8]) -> Option<Bytes> {
        let (number, rest) = rest.split_first_chunk::<NUMBER_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        // Two keys may share a number; the tag tells.
        self.keys
            .iter()
            .filter(|(own, _)| own == number)
            .find_map(|(_, key)| {
                let mut bytes = sealed.to_vec();
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let len = key
                    .open_in_place(nonce, Aad::from(place), &mut bytes)
                    .ok()?
                    .len();
                bytes.truncate(len);
                Some(bytes.into())
            })
    }
}

/// From the key itself, so that renaming one does not lose what it sealed.
fn number(key: &[u8]) -> Number {
    let hash = digest(
        &SHA256,
        &[b"im-bridge seal key number".as_slice(), key].concat(),
    );
    *hash.as_ref().first_chunk().expect("a hash has 32 bytes")
}

/// What an adapter keeps as a secret is in no line of the log either.
pub(super) fn learn(value: &[u8]) {
    if let Ok(text) = std::str::from_utf8(value) {
        redact::learn(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; KEY_BYTES])
    }

    fn seals(uses: &str, names: &[(&str, u8)]) -> Seals {
        let texts: Vec<(&str, String)> = names
            .iter()
            .map(|(name, byte)| (*name, key(*byte)))
            .collect();
        Seals::new(
            uses,
            texts.iter().map(|(name, text)| (*name, text.as_str())),
        )
        .unwrap()
    }

    #[test]
    fn what_was_wrapped_is_unwrapped() {
        let seals = seals("a", &[("a", 1)]);
        for value in [&b""[..], b"{}", b"\0", b"\0S", b"\0Tabc", b"\0P", b"text"] {
            for is_secret in [false, true] {
                for ends_ms in [None, Some(1_000)] {
                    let stored = seals.wrap("p.a.k.x", value, is_secret, ends_ms).unwrap();
                    let opened = seals.unwrap("p.a.k.x", &stored, 999);
                    assert_eq!(opened, Opened::Value(Bytes::copy_from_slice(value)));
                    let ended = seals.unwrap("p.a.k.x", &stored, 1_000);
                    assert_eq!(ended == Opened::Ended, ends_ms.is_some());
                }
            }
        }
        assert_eq!(seals.wrap("x", b"{}", false, None).unwrap(), "{}");
    }

    #[test]
    fn a_sealed_value_shows_nothing_and_opens_in_its_place_only() {
        let seals = seals("a", &[("a", 1)]);
        let stored = seals
            .wrap("p.a.k.x", b"token-of-a-session", true, None)
            .unwrap();
        assert!(!stored.windows(5).any(|part| part == b"token"));
        assert_ne!(
            stored,
            seals
                .wrap("p.a.k.x", b"token-of-a-session", true, None)
                .unwrap()
        );
        assert_eq!(seals.unwrap("p.b.k.x", &stored, 0), Opened::Unreadable);
        let mut changed = stored.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(
            seals.unwrap("p.a.k.x", &changed.into(), 0),
            Opened::Unreadable
        );
        for len in 0..stored.len() {
            // Cut short it is either nothing at all or unreadable, never a value of its own.
            let cut = stored.slice(..len);
            let wanted = if len == 0 {
                Opened::Value(Bytes::new())
            } else {
                Opened::Unreadable
            };
            assert_eq!(seals.unwrap("p.a.k.x", &cut, 0), wanted);
        }
    }

    #[test]
    fn keys_are_replaced_by_adding_one() {
        let old = seals("a", &[("a", 1)]);
        let stored = old.wrap("k", b"secret", true, None).unwrap();
        let both = seals("b", &[("renamed", 1), ("b", 2)]);
        assert_eq!(both.unwrap("k", &stored, 0), Opened::Value("secret".into()));
        let newer = both.wrap("k", b"secret", true, None).unwrap();
        assert_eq!(old.unwrap("k", &newer, 0), Opened::Unreadable);
        let only_opens = seals("", &[("a", 1)]);
        assert!(!only_opens.can_seal());
        assert_eq!(only_opens.wrap("k", b"secret", true, None), None);
        assert_eq!(
            only_opens.unwrap("k", &stored, 0),
            Opened::Value("secret".into())
        );
    }

    #[test]
    fn keys_of_another_form_are_refused() {
        let new = |uses, text: &str| Seals::new(uses, [("a", text)]).unwrap_err();
        let name = "a".to_owned();
        assert_eq!(new("a", "!"), SealError::Base64 { name: name.clone() });
        assert_eq!(new("a", "AAAA"), SealError::Length { name, actual: 3 });
        assert_eq!(
            new("b", &key(1)),
            SealError::Missing {
                name: "b".to_owned()
            }
        );
    }
}
