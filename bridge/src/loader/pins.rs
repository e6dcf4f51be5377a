//! Pins: the contents an operator has agreed to, by hash.
//!
//! They come from `plugins.trust.pins` and from a lock file, which images that bring plugins set. Adding to a lock file
//! keeps its comments and order, and replaces the file in one step.
//!
//! Not here: whether pins are required (`config`).

use super::content::{Content, Sha256};
use super::error::{Problem, shown_path};
use super::trust::own_uid;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Contents that may be loaded, each with its note.
#[derive(Debug, Default, Clone)]
pub struct Pins(BTreeMap<Sha256, String>);

/// Trouble with pins that are no plugin's fault.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the fields are")]
pub enum PinsError {
    #[error("{} cannot be read: {error}; make it readable for uid {}", shown_path(.path), own_uid())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} cannot be written: {error}; make its folder writable for uid {}", shown_path(.path), own_uid())]
    Unwritable { path: PathBuf, error: io::Error },
    #[error("{}: {problem}; write a table [pins] with lines \"<sha256>\" = \"<note>\"", shown_path(.path))]
    Syntax { path: PathBuf, problem: String },
    #[error(
        "plugins.trust.pins has the key `{key}`, which is no SHA-256; write its 64 hexadecimal digits"
    )]
    Key { key: String },
}

impl PinsError {
    /// Anchor in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "config_unreadable",
            Self::Unwritable { .. } => "config_unwritable",
            Self::Syntax { .. } => "config_syntax",
            Self::Key { .. } => "config_name",
        }
    }
}

impl Pins {
    /// The configured pins, and those of the lock file unless its path is empty.
    ///
    /// # Errors
    /// A key that is no hash, or a lock file that cannot be read: a missing pin must not look like a refused plugin.
    pub fn load(configured: &BTreeMap<String, String>, lock: &Path) -> Result<Self, PinsError> {
        let mut pins = BTreeMap::new();
        for (key, note) in configured {
            let hash = key
                .parse()
                .map_err(|_| PinsError::Key { key: key.clone() })?;
            pins.insert(hash, note.clone());
        }
        if !lock.as_os_str().is_empty() {
            let text = std::fs::read_to_string(lock).map_err(|error| PinsError::Unreadable {
                path: lock.into(),
                error,
            })?;
            pins.extend(entries(&document(lock, &text)?, lock)?);
        }
        Ok(Self(pins))
    }

    /// Whether this content is pinned.
    #[must_use]
    pub fn contains(&self, sha256: &Sha256) -> bool {
        self.0.contains_key(sha256)
    }

    /// Refuses content that is not pinned.
    ///
    /// # Errors
    /// [`Problem::NotPinned`]
    pub fn check(&self, content: &Content, path: &Path) -> Result<(), Problem> {
        if self.contains(&content.sha256) {
            return Ok(());
        }
        Err(Problem::NotPinned {
            sha256: content.sha256,
            path: path.into(),
        })
    }
}

fn document(path: &Path, text: &str) -> Result<toml_edit::DocumentMut, PinsError> {
    text.parse()
        .map_err(|error: toml_edit::TomlError| PinsError::Syntax {
            path: path.into(),
            problem: error.message().to_owned(),
        })
}

fn entries(
    document: &toml_edit::DocumentMut,
    path: &Path,
) -> Result<BTreeMap<Sha256, String>, PinsError> {
    let syntax = |problem: String| PinsError::Syntax {
        path: path.into(),
        problem,
    };
    let mut pins = BTreeMap::new();
    for (key, item) in document.iter() {
        let table = match item.as_table_like() {
            Some(table) if key == "pins" => table,
            _ => return Err(syntax(format!("the key `{key}` is not expected here"))),
        };
        for (key, note) in table.iter() {
            let hash = key
                .parse()
                .map_err(|_| syntax(format!("the key `{key}` is no SHA-256")))?;
            let note = note
                .as_str()
                .ok_or_else(|| syntax(format!("the note of {key} is no string")))?;
            pins.insert(hash, note.to_owned());
        }
    }
    Ok(pins)
}

/// The line for `plugins.trust.pins`.
#[must_use]
pub fn line(sha256: &Sha256, note: &str) -> String {
    format!("\"{sha256}\" = {}", toml_edit::value(note))
}

/// Adds a pin to a lock file, which is made if it does not exist. False: it was there already.
///
/// # Errors
/// The file cannot be read, understood or replaced.
pub fn append(lock: &Path, sha256: &Sha256, note: &str) -> Result<bool, PinsError> {
    let text = match std::fs::read_to_string(lock) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(PinsError::Unreadable {
                path: lock.into(),
                error,
            });
        }
    };
    let mut document = document(lock, &text)?;
    if entries(&document, lock)?.contains_key(sha256) {
        return Ok(false);
    }
    let pins = document
        .entry("pins")
        .or_insert_with(toml_edit::table)
        .as_table_like_mut()
        .expect("entries() refuses any other item");
    pins.insert(&sha256.to_string(), toml_edit::value(note));
    replace(lock, &document.to_string()).map_err(|error| PinsError::Unwritable {
        path: lock.into(),
        error,
    })?;
    Ok(true)
}

/// Writes beside and renames, so that a reader never sees half a file.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut beside = name.to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(beside);
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_keeps_comments_and_is_done_once() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("plugins.lock.toml");
        std::fs::write(&lock, "# ours\n[pins] # agreed\n\"aa\" = 1\n").unwrap();
        assert!(append(&lock, &Sha256::of(b"x"), "x").is_err(), "not a hash");

        std::fs::write(&lock, "# ours\n[pins] # agreed\n").unwrap();
        assert!(append(&lock, &Sha256::of(b"x"), "sim 1.0.0").unwrap());
        assert!(!append(&lock, &Sha256::of(b"x"), "sim 1.0.0").unwrap());
        let text = std::fs::read_to_string(&lock).unwrap();
        let line = line(&Sha256::of(b"x"), "sim 1.0.0");
        // Both forms of the key are TOML's; the library writes it bare.
        let bare = line.replacen('"', "", 2);
        assert_eq!(text, format!("# ours\n[pins] # agreed\n{bare}\n"));
        assert!(
            Pins::load(&BTreeMap::new(), &lock)
                .unwrap()
                .contains(&Sha256::of(b"x"))
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
