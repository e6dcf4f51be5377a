//! What documents point to is there, and what their code is for is marked.

use crate::tree::{files, none, root};

/// Targets of `[text](target)` outside code fences.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            found.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    found
}

/// The anchor that renderers make of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[test]
fn every_link_is_relative_and_leads_somewhere() {
    let mut wrong = Vec::new();
    for file in files(&[".md"]) {
        for link in links(&file.text) {
            if link.starts_with("http://") || link.starts_with("https://") {
                wrong.push(format!("{}: {link} needs another site", file.path));
                continue;
            }
            let (path, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let own = root().join(&file.path);
            let target = if path.is_empty() {
                own.clone()
            } else {
                own.parent().expect("a file").join(path)
            };
            if !target.exists() {
                wrong.push(format!("{}: {link} is not there", file.path));
            } else if !fragment.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                if !text
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == fragment)
                {
                    wrong.push(format!("{}: {link} names no heading", file.path));
                }
            }
        }
    }
    none(
        "documents are read without another site, and none of them lies",
        &wrong,
    );
}

/// What may stand behind the three ticks, and what it says: `run` and `out` are executed and compared by `cargo test`,
/// `long` by `tests/fresh.sh`, `service` by `tests/docs/services.sh`; all else is to be read.
const MARKS: [&str; 11] = [
    "",
    "js service",
    "python service",
    "rust service",
    "sh",
    "sh long",
    "sh run",
    "text",
    "text out",
    "toml",
    "toml service",
];

#[test]
fn every_fence_has_a_known_mark() {
    let mut wrong = Vec::new();
    for file in files(&[".md"]) {
        let mut is_open = false;
        for (index, line) in file.text.lines().enumerate() {
            let Some(mark) = line.trim_start().strip_prefix("```") else {
                continue;
            };
            if !is_open && !MARKS.contains(&mark.trim()) {
                wrong.push(format!("{}:{}: `{mark}`", file.path, index + 1));
            }
            is_open = !is_open;
        }
        if is_open {
            wrong.push(format!("{}: a fence is not closed", file.path));
        }
    }
    none("the mark of a fence says who runs it, if anybody", &wrong);
}

#[test]
fn files_and_types_that_the_architecture_names_exist() {
    let sources = files(&[
        ".rs",
        ".md",
        ".toml",
        ".h",
        ".c",
        ".sh",
        "run",
        ".json",
        ".snapshot",
    ]);
    let all: String = sources
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| file.text.as_str())
        .collect();
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let mut wrong = Vec::new();
    for name in page.split('`').skip(1).step_by(2) {
        let is_path = name.contains('/') && !name.contains([' ', '<', '{', '*', '=', '$', ':']);
        let is_type = name.starts_with(char::is_uppercase)
            && name.chars().all(|c| c.is_alphanumeric())
            && name.chars().any(char::is_lowercase);
        if is_path && !root().join(name).exists() {
            wrong.push(format!("no file {name}"));
        }
        if is_type && !all.contains(&format!(" {name}")) {
            wrong.push(format!("no type {name}"));
        }
    }
    none(
        "ARCHITECTURE.md changes in the same commit as the code",
        &wrong,
    );
}
