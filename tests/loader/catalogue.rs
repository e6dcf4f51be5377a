//! Codes and their sections in `docs/errors.md` belong together.

use im_bridge::cli::explain::sections;
use im_bridge::loader::Problem;
use im_bridge::loader::config_schema::ConfigSchema;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_code_of_the_loader_has_its_section() {
    let documented: BTreeSet<_> = sections().map(|(code, _)| code).collect();
    let pins = [
        "config_unreadable",
        "config_unwritable",
        "config_syntax",
        "config_name",
    ];
    for code in Problem::CODES
        .iter()
        .chain(ConfigSchema::CODES)
        .chain(&pins)
    {
        assert!(
            documented.contains(code),
            "docs/errors.md has no section {code}"
        );
    }
}

#[test]
fn every_section_belongs_to_a_code_and_says_what_to_do() {
    let mut sources = String::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut sources,
    );
    let mut seen = BTreeSet::new();
    for (code, text) in sections() {
        assert!(seen.insert(code), "{code} has two sections");
        assert!(
            sources.contains(&format!("\"{code}\"")),
            "no code of the bridge is {code}"
        );
        assert!(
            text.split("\n\n").count() >= 2,
            "{code} needs cause and remedy"
        );
    }
}

fn read(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
