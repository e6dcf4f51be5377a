//! `im-bridge init`: a configuration to begin with, every key in it, and the schema that editors check it by.
//!
//! It never overwrites a file.

mod text;

use super::failure::{Exit, Failure};
use super::globals::{Full, Globals};
use super::output::Output;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

const SCHEMA: &str = "im-bridge.schema.json";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  im-bridge init
  im-bridge init --provider sim --yaml")]
pub(super) struct Args {
    /// Add an account of this provider, as its adapter's example has it; may be repeated.
    #[arg(long, value_name = "PROVIDER")]
    provider: Vec<String>,
    /// Write YAML instead of TOML.
    #[arg(long)]
    yaml: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &mut Output) -> Result<Exit, Failure> {
    let mut origins = globals.origins();
    origins.may_be_empty = true;
    let full = Full::load(&origins);
    let mut examples = Vec::new();
    for provider in &args.provider {
        let Some(plugin) = full.plugins.get(provider.as_str()) else {
            let found: Vec<&str> = full.plugins.keys().copied().collect();
            let text = super::check::no_provider(provider, &found, &full);
            return Err(Failure::new(Exit::Refused, "config_no_provider", text));
        };
        let description = &plugin.description;
        let usable = |example: &&Value| description.config_schema.check("", example).is_empty();
        let example = description
            .config_examples
            .iter()
            .find(usable)
            .cloned()
            .unwrap_or_else(|| json!({}));
        examples.push(text::Example {
            provider: provider.clone(),
            title: description.title.clone(),
            schema: description.config_schema.document().clone(),
            example,
        });
    }
    let schema = full.config()?.schema;
    let (file, text) = if args.yaml {
        ("bridge.yaml", text::yaml(&schema, &examples, SCHEMA))
    } else {
        ("bridge.toml", text::toml(&schema, &examples, SCHEMA))
    };
    write_new(Path::new(file), &text)?;
    let mut written = vec![file];
    let schema = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
    match write_new(Path::new(SCHEMA), &schema) {
        Ok(()) => written.push(SCHEMA),
        Err(Failure::Told { .. }) => {
            output.remark(format!("{SCHEMA} is there already and stays"))?
        }
        Err(failure) => return Err(failure),
    }
    if output.json {
        output.document(&Written { written })?;
    } else {
        output.line(written.join("\n"))?;
    }
    output.remark("next: im-bridge check")?;
    Ok(Exit::Done)
}

/// What `--json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Written {
    /// Files, in this folder.
    written: Vec<&'static str>,
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let (code, remedy) = if error.kind() == io::ErrorKind::AlreadyExists {
            ("config_exists", "move it away first")
        } else {
            ("config_unwritable", "go to a folder where you may write")
        };
        Failure::new(
            Exit::Refused,
            code,
            format!("{} cannot be made: {error}; {remedy}", path.display()),
        )
    })
}
