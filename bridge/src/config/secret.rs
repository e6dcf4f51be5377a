//! Secrets: references in the configuration, and the type that holds what they refer to.
//!
//! A secret cannot be printed, serialised or compared by accident, and its bytes are overwritten when it goes.

use crate::telemetry::redact;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// A whole file of a mounted secret; beyond it something else was named by mistake.
const BYTES_MAX: u64 = 64 << 10;

/// Where a secret is. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// Content of a file; a newline at its end is cut.
    File(PathBuf),
    /// Value of an environment variable.
    Env(String),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "variable {name}"),
        }
    }
}

/// Text that is never shown.
pub struct Secret(Vec<u8>);

impl Secret {
    /// The text; every use is a place where it could leak, and is easily found by this name.
    pub fn reveal(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made from text only")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Without a use behind it, the fill could be left out as dead.
        std::hint::black_box(&self.0);
    }
}

/// Why a reference leads to no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{path} refers to {reference}, which does not exist; create it")]
    Missing { path: String, reference: Reference },
    #[error(
        "{path} refers to {reference}, which uid {uid} cannot read: {error}; change owner or mode"
    )]
    Unreadable {
        path: String,
        reference: Reference,
        uid: u32,
        error: String,
    },
    #[error("{path} refers to {reference}, which is empty; fill it")]
    Empty { path: String, reference: Reference },
    #[error("{path} refers to {reference} with {kib} KiB; a secret has at most 64 KiB")]
    TooLarge {
        path: String,
        reference: Reference,
        kib: u64,
    },
}

impl SecretError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "secret_missing",
            Self::Unreadable { .. } => "secret_unreadable",
            Self::Empty { .. } => "secret_empty",
            Self::TooLarge { .. } => "secret_too_large",
        }
    }
}

impl Reference {
    /// Reads the secret; `path` is the key that refers to it, for messages. From now on no line of the log can show it.
    pub fn resolve(&self, path: &str) -> Result<Secret, SecretError> {
        let (path, reference) = (path.to_owned(), self.clone());
        let text = match self {
            Self::File(file) => match read(file) {
                Ok(text) => text,
                Err(ReadError::TooLarge(kib)) => {
                    return Err(SecretError::TooLarge {
                        path,
                        reference,
                        kib,
                    });
                }
                Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(SecretError::Missing { path, reference });
                }
                Err(ReadError::Io(error)) => {
                    let uid = rustix::process::geteuid().as_raw();
                    return Err(SecretError::Unreadable {
                        path,
                        reference,
                        uid,
                        error: error.to_string(),
                    });
                }
            },
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(_) => return Err(SecretError::Missing { path, reference }),
            },
        };
        if text.is_empty() {
            return Err(SecretError::Empty { path, reference });
        }
        redact::learn(&text);
        Ok(Secret::from(text))
    }
}

enum ReadError {
    Io(std::io::Error),
    TooLarge(u64),
}

fn read(path: &Path) -> Result<String, ReadError> {
    let bytes = std::fs::metadata(path).map_err(ReadError::Io)?.len();
    if bytes > BYTES_MAX {
        return Err(ReadError::TooLarge(bytes.div_ceil(1024)));
    }
    let mut text = std::fs::read_to_string(path).map_err(ReadError::Io)?;
    let kept = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text)
        .len();
    text.truncate(kept);
    Ok(text)
}
