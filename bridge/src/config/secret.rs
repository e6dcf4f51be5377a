//! Secrets: references in the configuration, and the type that holds what they refer to.
//!
//! A secret cannot be printed, serialised or compared by accident, and its bytes are overwritten when it goes.

use super::read::{self, Unread};
use crate::telemetry::redact;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A whole file of a mounted secret; beyond it something else was named by mistake.
const BYTES_MAX: u64 = 64 << 10;

/// What is kept like a secret and is a name: everyday words are users, and a line without them would be hard to read. In an
/// address it is cut by its place.
const NAMES: [&str; 1] = ["nats.user"];

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
    /// Reads the secret; `path` is the key that refers to it, for messages. From now on no line of the log can show it,
    /// unless it is a name.
    pub fn resolve(&self, path: &str) -> Result<Secret, SecretError> {
        let (path, reference) = (path.to_owned(), self.clone());
        let text = match self {
            Self::File(file) => match read::text(file, BYTES_MAX) {
                Ok(text) => without_line_end(text),
                Err(Unread::TooLarge { actual, .. }) => {
                    return Err(SecretError::TooLarge {
                        path,
                        reference,
                        kib: actual.div_ceil(1024),
                    });
                }
                Err(Unread::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(SecretError::Missing { path, reference });
                }
                Err(error) => {
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
        if !NAMES.contains(&&*path) {
            redact::learn(&text);
        }
        Ok(Secret::from(text))
    }
}

fn without_line_end(mut text: String) -> String {
    let kept = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text)
        .len();
    text.truncate(kept);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_is_said_and_its_password_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text, is_said) in [
            ("nats.user", "zqx-said-as-it-is", true),
            ("nats.password", "zqy-never-said", false),
        ] {
            let file = folder.path().join(path);
            std::fs::write(&file, text).unwrap();
            Reference::File(file).resolve(path).unwrap();
            assert_eq!(redact::redact(text) == text, is_said, "{path}");
        }
    }
}
