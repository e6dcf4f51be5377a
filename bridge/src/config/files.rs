//! Configuration files: which ones, and how TOML, YAML and JSON become a [`Table`] with places.
//!
//! The three formats give equal trees for equal content. YAML aliases and merge keys are refused: a file of a hundred
//! lines could otherwise stand for gigabytes.
//!
//! Not here: merging (`tree`), meaning (`types`).

mod json;
mod toml;
mod yaml;

use super::problems::{Problem, Problems, Sources};
use super::read::{self, Unread};
use super::tree::{Place, Table};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration is written by people: beyond this something else was named by mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Deeper than any schema. Readers are recursive, and a file is hostile until it is read.
pub(in crate::config) const DEPTH_MAX: usize = 32;

const ENDINGS: [&str; 4] = ["toml", "yaml", "yml", "json"];

/// Texts of all files read, by the name under which they appear in places.
#[derive(Debug, Default, Clone)]
pub struct Texts(BTreeMap<Arc<str>, String>);

impl Sources for Texts {
    fn text(&self, source: &str) -> Option<&str> {
        self.0.get(source).map(String::as_str)
    }
}

/// The files to read, a folder standing for its files in name order.
///
/// Without any named: `bridge.<ending>` in the working folder, then in `/etc/im-bridge`.
pub fn find(named: &[PathBuf], working: &Path, system: &Path) -> Result<Vec<PathBuf>, Problem> {
    if named.is_empty() {
        for folder in [working, system] {
            let found: Vec<PathBuf> = ENDINGS
                .iter()
                .map(|ending| folder.join(format!("bridge.{ending}")))
                .filter(|path| is_there(path))
                .collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(vec![one.clone()]),
                [a, b, ..] => {
                    let text = format!(
                        "both {} and {} exist; keep one or pass --config",
                        a.display(),
                        b.display()
                    );
                    return Err(Problem::new("config_ambiguous", text));
                }
            }
        }
        let text = format!(
            "no configuration in {}/bridge.* and {}/bridge.*; run im-bridge init or pass --config",
            working.display(),
            system.display()
        );
        return Err(Problem::new("config_not_found", text));
    }
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let mut inside = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(path, &error))?.path();
            if is_there(&path) && ending(&path).is_some_and(|ending| ENDINGS.contains(&ending)) {
                inside.push(path);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Whether somebody put a file there, though it may be one that cannot be read: a link that leads nowhere is a mistake.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok() && !path.is_dir()
}

fn ending(path: &Path) -> Option<&str> {
    path.extension().and_then(|ending| ending.to_str())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let uid = rustix::process::geteuid().as_raw();
    let text = format!(
        "{} cannot be read: {error}; make it readable for uid {uid}",
        path.display()
    );
    Problem::new("config_unreadable", text)
}

fn unread(path: &Path, error: &Unread) -> Problem {
    let shown = path.display();
    match error {
        Unread::Io(error) => unreadable(path, error),
        Unread::NoText { at } => {
            let text = format!("{shown} is no text in UTF-8, from byte {at} on; save it as such");
            Problem::new("config_syntax", text)
        }
        Unread::NoFile => {
            let text = format!("{shown} cannot be read: {error}; name a file or a folder");
            Problem::new("config_unreadable", text)
        }
        Unread::TooLarge { .. } => {
            let text = format!("{shown} cannot be read: {error}; was another file meant?");
            Problem::new("config_unreadable", text)
        }
    }
}

/// Reads and merges the files in order; what is wrong with one does not hide the next.
pub fn read(files: &[PathBuf], problems: &mut Problems) -> (Table, Texts) {
    let mut merged = Table::default();
    let mut texts = Texts::default();
    for path in files {
        match read_one(path, &mut texts) {
            Ok(table) => merged.merge(table),
            Err(found) => problems.push(found),
        }
    }
    (merged, texts)
}

fn read_one(path: &Path, texts: &mut Texts) -> Result<Table, Problem> {
    let parse = match ending(path) {
        Some("toml") => toml::parse,
        Some("yaml" | "yml") => yaml::parse,
        Some("json") => json::parse,
        _ => {
            let text = format!(
                "{} has no known ending; use .toml, .yaml, .yml or .json",
                path.display()
            );
            return Err(Problem::new("config_extension", text));
        }
    };
    let text = read::text(path, FILE_BYTES_MAX).map_err(|error| unread(path, &error))?;
    let name: Arc<str> = path.display().to_string().into();
    let table = parse(&text, &name);
    texts.0.insert(name, text);
    table
}

/// Turns byte offsets into places. Quick for ever larger offsets, also within one long line.
struct Lines<'a> {
    source: &'a Arc<str>,
    text: &'a str,
    /// Where each line begins.
    starts: Vec<usize>,
    /// The offset asked for last, and its column.
    last: Cell<(usize, usize)>,
}

impl<'a> Lines<'a> {
    fn new(source: &'a Arc<str>, text: &'a str) -> Self {
        let ends = text.match_indices('\n');
        Self {
            source,
            text,
            starts: std::iter::once(0)
                .chain(ends.map(|(end, _)| end + 1))
                .collect(),
            last: Cell::new((0, 1)),
        }
    }

    fn place(&self, byte: usize) -> Place {
        let byte = byte.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts[line - 1];
        let (from, column) = match self.last.get() {
            (last, column) if (start..=byte).contains(&last) => (last, column),
            _ => (start, 1),
        };
        let column = column + self.text[from..byte].chars().count();
        self.last.set((byte, column));
        Place {
            source: self.source.clone(),
            position: Some((line, column)),
        }
    }

    fn syntax(&self, byte: usize, message: impl Into<String>) -> Problem {
        Problem::new("config_syntax", message).at("", &self.place(byte))
    }
}
