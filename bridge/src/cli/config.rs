//! `im-bridge config schema | show | explain | diff`: what may be configured, and what is.
//!
//! Not here: whether what is configured works (`check`).

mod diff;
mod key;

pub(super) use diff::Diff;
pub(super) use key::Explained;

use super::failure::{Exit, Failure};
use super::globals::{Full, Globals};
use super::output::Output;
use crate::config::{Effective, Loaded, show, show_json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `show` prints with `--json`: every key with its tables.
pub(super) type Shown = BTreeMap<String, Effective>;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the JSON Schema of the configuration, with the adapters in the plugin folders.
    Schema,
    /// Print every value in effect, each with where it was written.
    Show,
    /// Say what one key means, what it takes and what it is.
    #[command(
        after_help = "Examples:\n  im-bridge config explain nats.lease.ttl_s\n  \
                            im-bridge config explain accounts.sim.demo.rooms"
    )]
    Explain {
        /// The key with its tables, such as nats.url.
        path: String,
    },
    /// Say what a reload with this configuration in place of the present one would do.
    Diff {
        /// File or folder with the other configuration.
        file: PathBuf,
    },
}

pub(super) fn run(
    command: Command,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    match command {
        Command::Schema => schema(globals, output),
        Command::Show => shown(globals.full().config()?, output),
        Command::Explain { path } => key::explain(&path, globals, output),
        Command::Diff { file } => {
            let now = globals.full().config()?;
            let mut origins = globals.origins();
            origins.files = vec![file];
            let then = Full::load(&origins).config()?;
            diff::print(&now, &then, output)?;
            Ok(Exit::Done)
        }
    }
}

/// Also without any configuration: then the adapters are those of the usual folders.
fn schema(globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    let mut origins = globals.origins();
    origins.may_be_empty = true;
    output.document(&Full::load(&origins).config()?.schema)?;
    Ok(Exit::Done)
}

fn shown(loaded: Loaded, output: &mut Output) -> Result<Exit, Failure> {
    let loaded = masked(loaded);
    if output.json {
        output.document(&show_json(&loaded))?;
    } else {
        output.line(show(&loaded).trim_end())?;
    }
    Ok(Exit::Done)
}

/// Where no adapter says which keys are secrets, each may be one.
fn masked(mut loaded: Loaded) -> Loaded {
    let described = loaded.schema["properties"]["accounts"]["properties"].clone();
    for (provider, accounts) in &mut loaded.config.accounts {
        if described.get(provider).is_none() {
            for account in accounts.values_mut() {
                account.adapter.values_mut().for_each(hide);
            }
        }
    }
    loaded
}

/// A reference names a secret and is none.
fn hide(value: &mut Value) {
    match value {
        Value::Object(members) if !is_reference(members) => members.values_mut().for_each(hide),
        Value::Object(_) | Value::Null => {}
        _ => *value = json!("[hidden: no adapter says whether this is a secret]"),
    }
}

fn is_reference(members: &serde_json::Map<String, Value>) -> bool {
    members.len() == 1 && members.keys().all(|key| key == "file" || key == "env")
}
