//! Codes and their sections in `docs/errors.md` belong together, in both directions.

use super::Place;
use im_bridge::cli::explain::sections;
use im_bridge_sdk::model::ErrorCode;
use std::collections::BTreeSet;
use std::path::Path;

/// First words of codes that are not in the event model.
const GROUPS: [&str; 12] = [
    "account_",
    "admin_",
    "bridge_",
    "bus_",
    "config_",
    "demo_",
    "internal_",
    "nats_",
    "plugin_",
    "reader_",
    "secret_",
    "telemetry_",
];

/// Words in the sources that begin like codes and are none, beside the metrics that count something.
const OTHER_WORDS: [&str; 15] = [
    "account_failures",
    "account_owned",
    "account_silence_seconds",
    "account_state",
    "config_examples",
    "config_last_reload_ok",
    "config_refused",
    "config_schema",
    "nats_connected",
    "nats_rtt_seconds",
    "plugin_info",
    "plugin_out_of_use",
    "plugin_retired_images",
    "plugin_stuck_instances",
    "telemetry_queue",
];

#[test]
fn every_code_has_its_section() {
    let documented: BTreeSet<&str> = sections().map(|(code, _)| code).collect();
    let sources = sources();
    let mut missing: BTreeSet<&str> = ErrorCode::NAMES
        .iter()
        .copied()
        .filter(|code| !documented.contains(code))
        .collect();
    for literal in sources.split('"').skip(1) {
        let is_word = literal
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !literal.ends_with('_');
        if is_word
            && GROUPS.iter().any(|group| literal.starts_with(group))
            && !literal.ends_with("_total")
            && !OTHER_WORDS.contains(&literal)
            && !documented.contains(literal)
        {
            missing.insert(literal);
        }
    }
    assert!(
        missing.is_empty(),
        "docs/errors.md has no sections {missing:?}"
    );
}

#[test]
fn every_section_belongs_to_a_code_and_says_what_to_do() {
    let sources = sources();
    let mut seen = BTreeSet::new();
    for (code, text) in sections() {
        assert!(seen.insert(code), "{code} has two sections");
        let is_used = sources.contains(&format!("\"{code}\"")) || ErrorCode::NAMES.contains(&code);
        assert!(is_used, "no code of the bridge is {code}");
        assert!(
            text.split("\n\n").count() >= 2,
            "{code} needs cause and remedy"
        );
    }
}

#[test]
fn explain_knows_every_section() {
    let place = Place::new();
    for (code, _) in sections().step_by(7) {
        let told = place.run(&["explain", code]).done();
        assert!(told.data.starts_with(&format!("{code}\n\n")), "{told:?}");
        let json = place.run(&["explain", code, "--json"]).done().json();
        assert_eq!(json["code"], code);
    }
}

/// What the bridge is built from, without its tests.
fn sources() -> String {
    let mut text = String::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut text,
    );
    text
}

fn read(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs")
            && path.file_stem().is_some_and(|name| name != "tests")
        {
            let source = std::fs::read_to_string(path).unwrap();
            text.push_str(source.split("#[cfg(test)]\nmod tests {").next().unwrap());
        }
    }
}
