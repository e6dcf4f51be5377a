//! The two layers above the files: variables `IM_BRIDGE__SECTION__KEY`, and `--set section.key=value`.
//!
//! Their texts have no type: which one is meant, the schema decides (`schema`), so `00123` stays a password.

use super::files::DEPTH_MAX;
use super::problems::Problem;
use super::tree::{Node, Place, Table, Value};

/// Two underscores after the name: one underscore is for tools (`IM_BRIDGE_CONFIG`) and is never configuration.
const PREFIX: &str = "IM_BRIDGE__";

/// The table that these variables stand for; names that are not Unicode cannot be keys and are passed over.
pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Table {
    let mut table = Table::default();
    // Sorted, so that a variable above another wins over it always, not by the order of the environment.
    let mut all: Vec<(String, String)> = variables
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    all.sort();
    for (name, text) in all {
        let path: Vec<String> = name[PREFIX.len()..]
            .split("__")
            // One part more than any key has is no key all the same.
            .take(DEPTH_MAX)
            .map(str::to_lowercase)
            .collect();
        let node = Node {
            at: Place::override_of(name),
            value: Value::Untyped(text),
        };
        table.set(&path, node);
    }
    table
}

/// The table that these `KEY=VALUE` stand for.
pub fn from_flags(flags: &[String]) -> Result<Table, Problem> {
    let mut table = Table::default();
    for flag in flags {
        let (key, text) = flag.split_once('=').ok_or_else(|| {
            let text = format!("--set {flag} names no value; write --set {flag}=VALUE");
            Problem::new("config_override", text)
        })?;
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        if path.len() > DEPTH_MAX {
            let text = format!(
                "--set names a key of {} parts, and none has more than {DEPTH_MAX}",
                path.len()
            );
            return Err(Problem::new("config_override", text));
        }
        let node = Node {
            at: Place::override_of(format!("--set {key}")),
            value: Value::Untyped(text.to_owned()),
        };
        table.set(&path, node);
    }
    Ok(table)
}
