//! Help of every command equals its golden file; `IM_BRIDGE_UPDATE=1` rewrites them.

use super::Place;
use std::path::{Path, PathBuf};

/// Every subcommand, as its help lists them.
fn commands(place: &Place, of: &[&str]) -> Vec<Vec<String>> {
    let help = place.run(&[of, &["--help"]].concat()).done().data;
    let mut all = vec![of.iter().map(|&word| word.to_owned()).collect()];
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    for line in listed.lines().take_while(|line| line.starts_with("  ")) {
        let is_entry = !line.starts_with("   ");
        let name = line.split_whitespace().next().unwrap_or_default();
        if is_entry && name != "help" {
            all.extend(commands(place, &[of, &[name]].concat()));
        }
    }
    all
}

#[test]
fn help_is_what_it_was() {
    let place = Place::new();
    let mut different = Vec::new();
    let mut seen = 0;
    for command in commands(&place, &[]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let help = place.run(&[&words[..], &["--help"]].concat()).data;
        let name = if words.is_empty() {
            "im-bridge".to_owned()
        } else {
            words.join("-")
        };
        different.extend(compare(&name, &help));
        seen += 1;
    }
    assert!(seen > 30, "only {seen} commands were found");
    assert!(
        different.is_empty(),
        "IM_BRIDGE_UPDATE=1 rewrites: {different:#?}"
    );
}

fn compare(name: &str, text: &str) -> Option<String> {
    let file: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/cli/golden/{name}.txt"));
    if std::env::var_os("IM_BRIDGE_UPDATE").is_some() {
        std::fs::write(&file, text).unwrap();
        return None;
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    (golden != text).then(|| format!("{}:\n{text}", file.display()))
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let place = Place::new();
    let script = place.run(&["completions", "bash"]).done().data;
    let manual = place.run(&["man"]).done().data;
    for word in ["resend", "permissions", "refresh-token", "rollback"] {
        assert!(script.contains(word), "{word}");
        let escaped = word.replace('-', "\\-");
        assert!(
            manual.to_lowercase().contains(&escaped) || manual.to_lowercase().contains(word),
            "{word}"
        );
    }
}
