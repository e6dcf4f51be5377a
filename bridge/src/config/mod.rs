//! The configuration: layers of files, variables and flags, merged, validated and typed, with a place for every value.
//!
//! It promises that all mistakes of a run are found at once, each with the place where it was written, the nearest
//! permitted name and never a value; that the same content in TOML, YAML and JSON means the same; and that what was
//! accepted here needs no second check elsewhere.
//!
//! * `tree`: values that remember where they were written, and how layers merge.
//! * `files`, `otel`, `overrides`: where they come from.
//! * `types`: what keys there are. `schema`: the same as one JSON Schema, adapters' parts included.
//! * `typing`: texts of variables get their type. `check`: what is wrong, and what no schema can say.
//! * `secret`: references, and the type that cannot be printed. `show`: effective values with their origin.
//! * `problems`: how mistakes are told.
//!
//! Not here: what a change of configuration does to running accounts (`account`).

mod check;
pub mod files;
mod otel;
mod overrides;
pub mod problems;
mod read;
pub mod schema;
pub mod secret;
mod show;
pub mod tree;
pub mod types;
mod typing;

#[cfg(test)]
mod tests;

pub use check::secrets_at;
pub use otel::Ignored;
pub use show::{Effective, show, show_json};
pub use types::Config;

use files::Texts;
use problems::{Problem, Problems};
use schema::AdapterSchema;
use std::path::PathBuf;
use tree::Table;

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Origins {
    /// `--config`, else `IM_BRIDGE_CONFIG`; files and folders. None: the usual places.
    pub files: Vec<PathBuf>,
    /// `--set`.
    pub flags: Vec<String>,
    /// All variables; those that are no configuration are passed over.
    pub variables: Vec<(String, String)>,
    /// The working folder.
    pub working: PathBuf,
    /// `/etc/im-bridge`, but for tests.
    pub system: PathBuf,
    /// No file at all is no mistake: a command that needs an address only has defaults for it.
    pub may_be_empty: bool,
}

impl Origins {
    /// Those of this process. Without `--config`, the files of `IM_BRIDGE_CONFIG`.
    pub fn of_process(files: &[PathBuf], flags: &[String]) -> Self {
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut files = files.to_vec();
        if files.is_empty()
            && let Some((_, value)) = variables
                .iter()
                .find(|(name, _)| name == "IM_BRIDGE_CONFIG")
        {
            files = value
                .split(':')
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
                .collect();
        }
        Self {
            files,
            flags: flags.to_vec(),
            variables,
            working: PathBuf::from("."),
            system: PathBuf::from("/etc/im-bridge"),
            may_be_empty: false,
        }
    }
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What was written, merged: for `show`, and for the places of later problems.
    pub tree: Table,
    pub texts: Texts,
    /// What it was validated against.
    pub schema: serde_json::Value,
    /// The files that were read, for watching.
    pub files: Vec<PathBuf>,
    /// Variables of telemetry that are not used.
    pub ignored: Vec<Ignored>,
}

/// A configuration with mistakes, and the texts to quote.
#[derive(Debug)]
pub struct Mistaken {
    pub problems: Problems,
    pub texts: Texts,
}

impl std::fmt::Display for Mistaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problems.render(&self.texts, false))
    }
}

impl std::error::Error for Mistaken {}

/// What is known before it is known which adapters judge the accounts.
pub struct Early<'a> {
    /// The `plugins` table.
    pub plugins: crate::loader::PluginsConfig,
    tree: &'a Table,
    core: &'a serde_json::Value,
}

impl Early<'_> {
    /// The first thing that is wrong with the accounts of a provider if this schema judges them.
    pub fn mistake(&self, adapter: AdapterSchema) -> Option<String> {
        let place = format!("accounts.{}.", adapter.provider);
        let schema = schema::with(self.core.clone(), &[adapter]);
        let mut tree = self.tree.clone();
        typing::apply(&mut tree, &schema);
        let mut problems = Problems::default();
        check::schema(&tree, &schema, &mut problems);
        let found = problems.sorted();
        let own = found.iter().find(|found| found.path.starts_with(&place));
        own.map(|problem| problem.sentence())
    }
}

/// Reads, merges, types and validates.
///
/// `adapters` is asked once the `plugins` table is known: it opens the plugin files, whose schemas the accounts are
/// validated against, and may try a schema before it answers.
pub fn load(
    origins: &Origins,
    adapters: impl FnOnce(&Early<'_>) -> Vec<AdapterSchema>,
) -> Result<Loaded, Box<Mistaken>> {
    let mut problems = Problems::default();
    let files = match files::find(&origins.files, &origins.working, &origins.system) {
        Ok(files) => files,
        Err(problem) if origins.may_be_empty && problem.code == "config_not_found" => Vec::new(),
        Err(problem) => {
            problems.push(problem);
            return Err(Box::new(Mistaken {
                problems,
                texts: Texts::default(),
            }));
        }
    };
    let (mut tree, texts) = files::read(&files, &mut problems);
    let (telemetry, ignored) = otel::from_environment(&origins.variables);
    tree.merge(telemetry);
    tree.merge(overrides::from_environment(
        origins.variables.iter().cloned(),
    ));
    match overrides::from_flags(&origins.flags) {
        Ok(flags) => tree.merge(flags),
        Err(problem) => problems.push(problem),
    }

    let core = schema::core();
    let adapters = adapters(&Early {
        plugins: plugins_alone(&tree, &core),
        tree: &tree,
        core: &core,
    });
    let schema = schema::with(core, &adapters);
    typing::apply(&mut tree, &schema);
    check::schema(&tree, &schema, &mut problems);
    let config = check::typed(&tree, &mut problems);
    if let Some(config) = &config {
        check::beyond_schema(config, &tree, &schema, &mut problems);
    }
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded {
            config,
            tree,
            texts,
            schema,
            files,
            ignored,
        }),
        _ => {
            if problems.is_empty() {
                let text =
                    "this is a bug: the schema accepts what the types refuse; please report it";
                problems.push(Problem::new("internal_bug", text));
            }
            Err(Box::new(Mistaken { problems, texts }))
        }
    }
}

/// The `plugins` table, read before anything else may be judged: what is wrong with it is told later.
fn plugins_alone(tree: &Table, core: &serde_json::Value) -> crate::loader::PluginsConfig {
    let table = tree
        .get(&["plugins".to_owned()])
        .map(|entry| entry.node.clone());
    let mut alone = Table::default();
    if let Some(node) = table {
        alone.set(&["plugins".to_owned()], node);
    }
    typing::apply(&mut alone, core);
    let json = alone.to_json();
    serde_json::from_value(json["plugins"].clone()).unwrap_or_default()
}
