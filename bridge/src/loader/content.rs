//! A file's content, read once: what is hashed is what is inspected is what is staged.
//!
//! The whole file is held in memory until it is staged, at most `plugins.max_file_mib`. A file that somebody writes to
//! meanwhile is refused; whoever replaces a plugin copies it beside and renames it.
//!
//! Not here: whether the place may be trusted (`trust`).

use super::error::Problem;
use super::trust::{Trusted, unreadable};
use std::fmt;
use std::io::Read;
use std::str::FromStr;

/// Hash of a file's content: its identity everywhere in the loader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(hash)
    }

    /// The first eight digits, for messages.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256; write its 64 hexadecimal digits")]
pub struct NotASha256;

impl FromStr for Sha256 {
    type Err = NotASha256;

    fn from_str(text: &str) -> Result<Self, NotASha256> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NotASha256);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).expect("hexadecimal digits are ASCII");
            *byte = u8::from_str_radix(pair, 16).expect("checked above");
        }
        Ok(Self(hash))
    }
}

/// What a file held when it was read.
pub struct Content {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// Their hash.
    pub sha256: Sha256,
}

/// Bytes between two looks at the progress; large enough that the calls do not count.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads and hashes an open file of a trusted place.
///
/// # Errors
/// [`Problem::Changed`] if its size or time changed meanwhile, [`Problem::Unreadable`] if reading failed.
pub fn read(trusted: &Trusted) -> Result<Content, Problem> {
    read_watched(trusted, &mut || ())
}

/// As [`read`]; `after_chunk` is called between reads, so that tests can write to the file at the worst moment.
pub(super) fn read_watched(
    trusted: &Trusted,
    after_chunk: &mut dyn FnMut(),
) -> Result<Content, Problem> {
    let before = trusted.metadata().map_err(|e| unreadable(&e))?;
    let expected = before.len();
    let mut bytes = Vec::with_capacity(usize::try_from(expected).map_err(|_| Problem::Changed)?);
    let mut hasher = ring::digest::Context::new(&ring::digest::SHA256);
    loop {
        // One byte more than it had: a file that grows is noticed, and cannot make this grow without end.
        let room = (expected + 1 - bytes.len() as u64).min(CHUNK_BYTES);
        let start = bytes.len();
        let read = trusted.file().take(room).read_to_end(&mut bytes);
        if read.map_err(|e| unreadable(&e))? == 0 {
            break;
        }
        hasher.update(&bytes[start..]);
        if bytes.len() as u64 > expected {
            return Err(Problem::Changed);
        }
        after_chunk();
    }
    let after = trusted.metadata().map_err(|e| unreadable(&e))?;
    let is_same = after.len() == expected && after.modified().ok() == before.modified().ok();
    if !is_same || bytes.len() as u64 != expected {
        return Err(Problem::Changed);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(hasher.finish().as_ref());
    Ok(Content {
        bytes,
        sha256: Sha256(hash),
    })
}
