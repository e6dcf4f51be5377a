//! The files that git knows of, and how a broken rule is told.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of the tree: its path below the root and its text.
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn is_below(&self, folder: &str) -> bool {
        self.path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

pub fn root() -> PathBuf {
    let bridge = Path::new(env!("CARGO_MANIFEST_DIR"));
    bridge
        .parent()
        .expect("bridge/ lies in the root")
        .to_owned()
}

/// All text files with one of these endings: tracked, or new and not ignored. Outside git, all but `target/`.
pub fn files(endings: &[&str]) -> Vec<File> {
    let root = root();
    let mut found: Vec<File> = listed(&root)
        .into_iter()
        .filter(|path| endings.iter().any(|ending| path.ends_with(ending)))
        .filter_map(|path| {
            let text = std::fs::read_to_string(root.join(&path)).ok()?;
            Some(File { path, text })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn listed(root: &Path) -> Vec<String> {
    let git = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect(),
        _ => walked(root, root),
    }
}

fn walked(root: &Path, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" {
            found.extend(walked(root, &path));
        } else if let Ok(below) = path.strip_prefix(root) {
            found.push(below.to_string_lossy().into_owned());
        }
    }
    found
}

/// Every line of these files that the check names, as `path:line: text`.
pub fn lines<'a>(
    files: impl IntoIterator<Item = &'a File>,
    mut is_wrong: impl FnMut(&File, &str) -> bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if is_wrong(file, line) {
                wrong.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    wrong
}

#[track_caller]
pub fn none(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}
