//! `im-bridge plugin list | inspect | pin`: what the loader says of plugin files.
//!
//! `list` loads every file as the bridge would at its start and so runs their code; `inspect` and `pin` run nothing.
//!
//! Not here: what replicas that run do about theirs (`orders`).

pub(super) mod orders;

use super::failure::{Exit, Failure};
use super::globals::Globals;
use super::output::{Output, Told};
use crate::loader::config::{Place, PluginsConfig, Require, StageMode};
use crate::loader::inspect::Inspection;
use crate::loader::pins::{self, PinsError};
use crate::loader::{Examined, Loader, Outcome, Problem};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as ChoiceError};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show every plugin file, and why those are refused that are.
    List(Options),
    /// Say everything about one file, and everything against it, without running it.
    Inspect {
        /// The plugin file.
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Agree to the content of a file: print its line for plugins.trust.pins, or add it to a lock file.
    Pin {
        /// The plugin file.
        file: PathBuf,
        /// Add the pin to this TOML file.
        #[arg(long, value_name = "FILE")]
        lock: Option<PathBuf>,
    },
    /// Use the newest file that waits for a person, on every replica; all accounts of the provider move to it.
    Upgrade {
        #[command(flatten)]
        target: orders::Target,
        /// Also if the version before cannot read what this one keeps.
        #[arg(long)]
        one_way: bool,
    },
    /// Go back to the version before, on every replica, and use the newer one no more until it is cleared.
    Rollback(orders::Target),
    /// Let files be used again that were rolled back or quarantined, on every replica.
    Clear {
        #[command(flatten)]
        target: orders::Target,
        /// This file only: the first digits of its hash, at least four.
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Also search this folder and its direct subfolders; may be repeated.
    #[arg(long, value_name = "DIR")]
    plugin_dir: Vec<PathBuf>,
    /// What a place does that others can write to: strict (refuse) or warn.
    #[arg(long, value_parser = choice::<Place>, default_value = "strict")]
    place: Place,
    /// What a file needs beside a good place: any (nothing) or pin.
    #[arg(long, value_parser = choice::<Require>, default_value = "any")]
    require: Require,
    /// File with pins.
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,
    /// Where the private copy lives: auto, dir or memory.
    #[arg(long, value_parser = choice::<StageMode>, default_value = "auto")]
    stage: StageMode,
    /// Folder of the private copies.
    #[arg(long, value_name = "DIR")]
    stage_dir: Option<PathBuf>,
}

/// The names that the configuration has for it.
fn choice<T: DeserializeOwned>(text: &str) -> Result<T, ChoiceError> {
    T::deserialize(text.into_deserializer())
}

impl From<Options> for PluginsConfig {
    fn from(options: Options) -> Self {
        let mut config = Self {
            stage: options.stage,
            stage_dir: options.stage_dir.unwrap_or_default(),
            ..Self::default()
        };
        config.trust.place = options.place;
        config.trust.require = options.require;
        config.trust.lock_file = options.lock_file.unwrap_or_default();
        let given = options.plugin_dir.into_iter().enumerate();
        // The names decide the order.
        config.dirs = given
            .map(|(index, folder)| (format!("given-{index:04}"), folder))
            .collect();
        config
    }
}

pub(super) fn run(
    command: Command,
    globals: &Globals,
    output: &mut Output,
) -> Result<Exit, Failure> {
    match command {
        Command::List(options) => Ok(list(options.into(), output)?),
        Command::Inspect { file, options } => Ok(inspect(&file, options.into(), output)?),
        Command::Pin { file, lock } => Ok(pin(&file, lock, output)?),
        Command::Upgrade { target, one_way } => orders::upgrade(&target, one_way, globals, output),
        Command::Rollback(target) => orders::rollback(&target, globals, output),
        Command::Clear { target, sha256 } => orders::clear(&target, sha256, globals, output),
    }
}

fn refused(error: &PinsError, output: &mut Output) -> io::Result<Exit> {
    output.error(error.code(), &error.to_string())?;
    Ok(Exit::Refused)
}

fn list(config: PluginsConfig, output: &mut Output) -> io::Result<Exit> {
    let folders = config.folders();
    let loader = match Loader::new(config) {
        Ok(loader) => loader,
        Err(error) => return refused(&error, output),
    };
    let outcomes = loader.load_folders();
    let used = loader.select(&outcomes);
    let is_used = |outcome: &Outcome| {
        let loaded = outcome.result.as_ref().ok();
        loaded.is_some_and(|loaded| {
            used.get(loaded.provider.as_str())
                .is_some_and(|used| used.sha256 == loaded.sha256)
        })
    };
    if output.json {
        let plugins: Vec<_> = outcomes
            .iter()
            .map(|outcome| listed_file(outcome, is_used(outcome)))
            .collect();
        output.document(&Listed {
            folders: &folders,
            plugins,
        })?;
        return Ok(Exit::Done);
    }
    for outcome in &outcomes {
        listed(outcome, is_used(outcome), output)?;
    }
    if outcomes.is_empty() {
        let folders: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        output.remark(format!("no plugin file (*.so) in {}", folders.join(", ")))?;
    }
    Ok(Exit::Done)
}

fn listed(outcome: &Outcome, is_used: bool, output: &mut Output) -> io::Result<()> {
    match &outcome.result {
        Ok(loaded) => {
            let use_of_it = if is_used {
                ""
            } else {
                "  (not the one in use)"
            };
            output.line(format!(
                "√ {loaded:?}  {}{use_of_it}",
                outcome.path.display()
            ))?;
        }
        Err(refusal) => {
            for (code, sentence) in refusal.sentences() {
                output.line(format!("× {sentence}   {code}"))?;
            }
        }
    }
    warnings(&outcome.warnings, output)
}

fn warnings(warnings: &[Problem], output: &mut Output) -> io::Result<()> {
    for warning in warnings {
        output.line(format!("‼ {warning}   {}", warning.code()))?;
    }
    Ok(())
}

/// What `list` prints with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed<'a> {
    /// Where files were searched, in this order.
    folders: &'a [PathBuf],
    plugins: Vec<ListedFile<'a>>,
}

/// A plugin file.
#[derive(Debug, Serialize, JsonSchema)]
struct ListedFile<'a> {
    path: &'a Path,
    accepted: bool,
    /// The one of its provider that accounts would run in.
    used: bool,
    /// Null, as the two below: it was refused.
    provider: Option<&'a str>,
    version: Option<String>,
    sha256: Option<String>,
    warnings: Vec<Told>,
    refusals: Vec<Told>,
}

fn listed_file(outcome: &Outcome, is_used: bool) -> ListedFile<'_> {
    let loaded = outcome.result.as_ref().ok();
    let refusals: Vec<Told> = outcome
        .result
        .as_ref()
        .err()
        .into_iter()
        .flat_map(|refusal| refusal.sentences())
        .map(|(code, message)| Told { code, message })
        .collect();
    ListedFile {
        path: &outcome.path,
        accepted: loaded.is_some(),
        used: is_used,
        provider: loaded.map(|loaded| loaded.provider.as_str()),
        version: loaded.map(|loaded| loaded.version.to_string()),
        sha256: loaded.map(|loaded| loaded.sha256.to_string()),
        warnings: told(&outcome.warnings),
        refusals,
    }
}

fn told(problems: &[Problem]) -> Vec<Told> {
    problems
        .iter()
        .map(|problem| Told {
            code: problem.code(),
            message: problem.to_string(),
        })
        .collect()
}

fn inspect(file: &Path, config: PluginsConfig, output: &mut Output) -> io::Result<Exit> {
    let loader = match Loader::new(config) {
        Ok(loader) => loader,
        Err(error) => return refused(&error, output),
    };
    let examined = loader.examine(file);
    if output.json {
        output.document(&inspected_document(&examined))?;
    } else {
        inspected(&examined, output)?;
    }
    let Some(refusal) = examined.refusal() else {
        return Ok(Exit::Done);
    };
    output.error(refusal.code(), &refusal.to_string())?;
    Ok(Exit::Refused)
}

/// The steps that run nothing, with what each has against the file; none if it was not reached.
fn steps(examined: &Examined) -> [(&'static str, Option<&[Problem]>); 3] {
    let is_read = examined.inspection.is_some() || !examined.content.is_empty();
    [
        ("trust", Some(&examined.trust)),
        ("content", is_read.then_some(examined.content.as_slice())),
        (
            "inspect",
            examined.inspection.as_ref().map(|i| i.problems.as_slice()),
        ),
    ]
}

fn inspected(examined: &Examined, output: &mut Output) -> io::Result<()> {
    let mut fact = |name: &str, value: String| output.line(format!("{name:<10}{value}"));
    fact("file", examined.path.display().to_string())?;
    if let (Some(sha256), Some(bytes)) = (examined.sha256(), examined.bytes()) {
        fact("sha256", sha256.to_string())?;
        fact("size", format!("{bytes} bytes"))?;
    }
    if let Some(Inspection {
        descriptor, elf, ..
    }) = &examined.inspection
    {
        if let Some(descriptor) = descriptor {
            fact(
                "adapter",
                format!("{} {}", descriptor.name, descriptor.version),
            )?;
            let (minor, least) = (descriptor.minor, descriptor.min_host_minor);
            fact("abi", format!("1.{minor}, works with 1.{least} or later"))?;
            fact("flags", format!("{:#x}", descriptor.flags))?;
            fact(
                "built",
                format!("{} by {}", descriptor.target, descriptor.toolchain),
            )?;
        }
        if let Some(elf) = elf {
            fact("machine", elf.machine.clone())?;
            let glibc = elf.glibc.map(|glibc| format!("GLIBC_{glibc}"));
            let needs: Vec<String> = elf.needed.iter().cloned().chain(glibc).collect();
            fact("needs", needs.join(", "))?;
        }
    }
    for (step, problems) in steps(examined) {
        match problems {
            None => output.line(format!("- {step:<8} not reached"))?,
            Some([]) => output.line(format!("√ {step}"))?,
            Some(problems) => {
                for problem in problems {
                    output.line(format!("× {step:<8} {problem}   {}", problem.code()))?;
                }
            }
        }
    }
    warnings(&examined.warnings, output)
}

/// What `inspect` prints with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Inspected<'a> {
    path: &'a Path,
    /// Null, as the members below: it was not read so far.
    sha256: Option<String>,
    bytes: Option<u64>,
    accepted: bool,
    descriptor: Option<Descriptor<'a>>,
    elf: Option<Elf<'a>>,
    warnings: Vec<Told>,
    steps: Vec<Step>,
}

/// What the file says of itself.
#[derive(Debug, Serialize, JsonSchema)]
struct Descriptor<'a> {
    name: &'a str,
    version: String,
    abi_minor: u16,
    min_host_minor: u32,
    flags: u32,
    target: &'a str,
    toolchain: &'a str,
}

/// What it is to the system.
#[derive(Debug, Serialize, JsonSchema)]
struct Elf<'a> {
    machine: &'a str,
    /// Shared libraries.
    needed: &'a [String],
    /// The oldest that will do.
    glibc: Option<String>,
    static_tls: bool,
    /// Symbols beside the entry function.
    other_exports: usize,
}

/// One that runs nothing of the file.
#[derive(Debug, Serialize, JsonSchema)]
struct Step {
    /// `trust`, `content` or `inspect`.
    step: &'static str,
    /// Null: it was not reached.
    problems: Option<Vec<Told>>,
}

fn inspected_document(examined: &Examined) -> Inspected<'_> {
    let inspection = examined.inspection.as_ref();
    let descriptor = inspection.and_then(|inspection| inspection.descriptor.as_ref());
    let elf = inspection.and_then(|inspection| inspection.elf.as_ref());
    let steps: Vec<_> = steps(examined)
        .into_iter()
        .map(|(step, problems)| Step {
            step,
            problems: problems.map(told),
        })
        .collect();
    Inspected {
        path: &examined.path,
        sha256: examined.sha256().map(|hash| hash.to_string()),
        bytes: examined.bytes(),
        accepted: examined.refusal().is_none(),
        descriptor: descriptor.map(|descriptor| Descriptor {
            name: &descriptor.name,
            version: descriptor.version.to_string(),
            abi_minor: descriptor.minor,
            min_host_minor: descriptor.min_host_minor,
            flags: descriptor.flags,
            target: &descriptor.target,
            toolchain: &descriptor.toolchain,
        }),
        elf: elf.map(|elf| Elf {
            machine: &elf.machine,
            needed: &elf.needed,
            glibc: elf.glibc.map(|glibc| glibc.to_string()),
            static_tls: elf.static_tls,
            other_exports: elf.other_exports,
        }),
        warnings: told(&examined.warnings),
        steps,
    }
}

/// What `pin` prints with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pinned<'a> {
    /// What is agreed to.
    sha256: String,
    /// Name and version that the file gives itself.
    note: &'a str,
}

fn pin(file: &Path, lock: Option<PathBuf>, output: &mut Output) -> io::Result<Exit> {
    let mut config = PluginsConfig::default();
    // What is agreed to is the content; where it lies now may be a download folder.
    config.trust.place = Place::Warn;
    let loader = match Loader::new(config) {
        Ok(loader) => loader,
        Err(error) => return refused(&error, output),
    };
    let examined = loader.examine(file);
    if let Some(refusal) = examined.refusal() {
        for (code, sentence) in refusal.sentences() {
            output.error(code, &sentence)?;
        }
        return Ok(Exit::Refused);
    }
    let descriptor = examined
        .inspection
        .as_ref()
        .and_then(|i| i.descriptor.as_ref());
    let (Some(sha256), Some(descriptor)) = (examined.sha256(), descriptor) else {
        unreachable!("a file without content or descriptor was refused above");
    };
    let note = format!("{} {}", descriptor.name, descriptor.version);
    if let Some(lock) = &lock {
        let is_new = match pins::append(lock, &sha256, &note) {
            Ok(is_new) => is_new,
            Err(error) => return refused(&error, output),
        };
        let done = if is_new { "added to" } else { "already in" };
        output.remark(format!(
            "{note}, sha256 {}: {done} {}",
            sha256.short(),
            lock.display()
        ))?;
    }
    if output.json {
        output.document(&Pinned {
            sha256: sha256.to_string(),
            note: &note,
        })?;
    } else if lock.is_none() {
        output.line(pins::line(&sha256, &note))?;
    }
    Ok(Exit::Done)
}
