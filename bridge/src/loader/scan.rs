//! Which files are there, and which of several versions is used.
//!
//! A folder is searched with its direct subfolders, so that packages can bring one each. Names that begin with a dot and
//! those that do not end in `.so` are somebody else's. The order is that of the folders, then of the names.

use super::config::PluginsConfig;
use super::error::{Refusal, What};
use super::loaded::Loaded;
use super::trust::unreadable;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// Files that may be plugins.
    pub files: Vec<PathBuf>,
    /// Folders that could not be searched.
    pub refused: Vec<Refusal>,
}

/// Searches `folders`. One that does not exist is empty: the defaults rarely all exist.
#[must_use]
pub fn scan(folders: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for folder in folders {
        search(folder, true, &mut found);
    }
    found
}

fn search(folder: &Path, with_subfolders: bool, found: &mut Found) {
    let entries = match entries(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            let what = What::Path(folder.into());
            found.refused.push(Refusal::new(what, unreadable(&error)));
            return;
        }
    };
    for path in entries {
        if is_plugin_name(&path) {
            found.files.push(path);
        } else if with_subfolders && path.is_dir() && !is_hidden(&path) {
            search(&path, false, found);
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_plugin_name(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "so") && !is_hidden(path)
}

/// The file to use for each provider: the newest version, or the one that is held.
#[must_use]
pub fn select(
    loaded: impl IntoIterator<Item = &'static Loaded>,
    config: &PluginsConfig,
) -> BTreeMap<&'static str, &'static Loaded> {
    let mut selected: BTreeMap<&str, &Loaded> = BTreeMap::new();
    for candidate in loaded {
        let held = config
            .providers
            .get(&candidate.provider)
            .and_then(|provider| provider.hold.as_ref());
        if held.is_some_and(|held| *held != candidate.version.to_string()) {
            continue;
        }
        let best = selected.entry(&candidate.provider).or_insert(candidate);
        if candidate.version > best.version {
            *best = candidate;
        }
    }
    selected
}
