//! From a dropped file to an adapter that can be called: the only unsafe code outside `plugin-api`.
//!
//! A file passes these steps, one module each, and is refused by a sentence at the first one it does not pass:
//!
//! 1. `trust`: who could replace it?
//! 2. `content`: read and hash it; `pins`: is this content agreed to?
//! 3. `inspect`: read what can be known without running it.
//! 4. `stage`: make the private copy; `load`: map it, for ever.
//! 5. `enter`: call the entry function, copy the tables.
//! 6. `describe`: read what the adapter says of itself; `config_schema`: what its accounts must look like.
//!
//! A refusal concerns one file only. The same content is loaded once, however many files hold it. Everything here blocks
//! (reading, hashing, the system loader): it is called from threads that may.
//!
//! What is loaded is then used through `host`: instances, and what passes between them and the core. They share the C
//! library's memory, which `allocator` sets up.
//!
//! Not here: accounts; what an event or a command means.

pub mod allocator;
pub mod config;
pub mod config_schema;
pub mod content;
pub mod describe;
mod enter;
pub mod error;
pub mod host;
pub mod inspect;
mod load;
mod loaded;
pub mod nearest;
pub mod pins;
pub mod scan;
mod stage;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod version;

pub use config::PluginsConfig;
pub use content::Sha256;
pub use describe::Description;
pub use error::{Problem, Refusal};
pub use loaded::Loaded;

use config::Require;
use content::Content;
use error::What;
use inspect::Inspection;
use pins::{Pins, PinsError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use version::Version;

/// Loads plugin files by one configuration.
#[derive(Debug)]
pub struct Loader {
    config: PluginsConfig,
    pins: Pins,
    offered: Vec<String>,
    test_builds: bool,
    own: trust::Identity,
}

/// A file as far as it can be known without running it.
pub struct Examined {
    /// As it was given.
    pub path: PathBuf,
    /// Where it really is, if it could be opened.
    pub real: Option<PathBuf>,
    /// What is wrong with its place, where that only warns.
    pub warnings: Vec<Problem>,
    /// What `trust` refused.
    pub trust: Vec<Problem>,
    /// What reading and pins refused.
    pub content: Vec<Problem>,
    /// What was read in the file; none if it could not be read.
    pub inspection: Option<Inspection>,
    bytes: Option<Content>,
}

impl Examined {
    fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            real: None,
            warnings: Vec::new(),
            trust: Vec::new(),
            content: Vec::new(),
            inspection: None,
            bytes: None,
        }
    }

    /// Hash of the content, if it could be read.
    #[must_use]
    pub fn sha256(&self) -> Option<Sha256> {
        self.bytes.as_ref().map(|content| content.sha256)
    }

    /// Length of the content, if it could be read.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
            .as_ref()
            .map(|content| content.bytes.len() as u64)
    }

    /// How the file is called in a sentence.
    #[must_use]
    pub fn what(&self) -> What {
        let descriptor = self
            .inspection
            .as_ref()
            .and_then(|inspection| inspection.descriptor.as_ref());
        match (descriptor, self.sha256()) {
            (Some(descriptor), Some(sha256)) => What::Adapter {
                provider: descriptor.name.clone(),
                version: descriptor.version.clone(),
                path: self.path.clone(),
                sha256,
            },
            _ => What::Path(self.path.clone()),
        }
    }

    /// Everything that speaks against loading it; none: it may be loaded.
    ///
    /// What a step before inspection refuses is told by the path, as the file's own name for itself is not trusted yet.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let place: Vec<Problem> = self.trust.iter().chain(&self.content).cloned().collect();
        Refusal::from_all(What::Path(self.path.clone()), place).or_else(|| {
            let problems = self.inspection.as_ref()?.problems.clone();
            Refusal::from_all(self.what(), problems)
        })
    }
}

/// One file and what became of it.
#[derive(Debug)]
pub struct Outcome {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with its place, where that only warns.
    pub warnings: Vec<Problem>,
    /// The plugin, or why not.
    pub result: Result<&'static Loaded, Refusal>,
}

impl Loader {
    /// A loader for `config`, whose lock file is read now.
    ///
    /// # Errors
    /// The pins cannot be read.
    pub fn new(config: PluginsConfig) -> Result<Self, PinsError> {
        let pins = Pins::load(&config.trust.pins, &config.trust.lock_file)?;
        let listens = !config.webhook.listen.is_empty();
        let webhook = listens.then_some(im_bridge_plugin_api::abi::EXT_WEBHOOK);
        let offered = describe::OFFERED_EXTENSIONS.iter().copied().chain(webhook);
        Ok(Self {
            pins,
            offered: offered.map(str::to_owned).collect(),
            config,
            test_builds: false,
            own: trust::Identity::own(),
        })
    }

    /// Also accepts builds with test hooks: for tests and the conformance check. No configuration key does this.
    #[must_use]
    pub fn accepting_test_builds(mut self) -> Self {
        self.test_builds = true;
        self
    }

    /// Also offers the extension `name` to plugins that require it.
    #[must_use]
    pub fn offering(mut self, name: &str) -> Self {
        self.offered.push(name.into());
        self
    }

    /// Looks at a file without running any of it.
    #[must_use]
    pub fn examine(&self, path: &Path) -> Examined {
        let mut examined = Examined::new(path);
        let rules = trust::Rules {
            own: self.own.clone(),
            place: self.config.trust.effective_place(),
            max_mib: self.config.max_file_mib,
        };
        let trusted = match trust::open(path, &rules) {
            Ok(trusted) => trusted,
            Err(problems) => {
                examined.trust = problems;
                return examined;
            }
        };
        let content = match content::read(&trusted) {
            Ok(content) => content,
            Err(problem) => {
                examined.content.push(problem);
                return examined;
            }
        };
        if self.config.trust.require == Require::Pin
            && let Err(problem) = self.pins.check(&content, path)
        {
            examined.content.push(problem);
        }
        let rules = inspect::Rules {
            config: &self.config,
            test_builds: self.test_builds,
            host_glibc: load::host_glibc(),
        };
        examined.inspection = Some(inspect::inspect(&content.bytes, rules));
        examined.real = Some(trusted.path);
        examined.warnings = trusted.warnings;
        examined.bytes = Some(content);
        examined
    }

    /// Loads a file: every step.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn load(&self, path: &Path) -> Result<&'static Loaded, Refusal> {
        self.load_examined(&self.examine(path))
    }

    fn load_examined(&self, examined: &Examined) -> Result<&'static Loaded, Refusal> {
        if let Some(refusal) = examined.refusal() {
            return Err(refusal);
        }
        let inspection = examined.inspection.as_ref();
        let descriptor = inspection.and_then(|inspection| inspection.descriptor.as_ref());
        let (Some(content), Some(descriptor)) = (&examined.bytes, descriptor) else {
            unreachable!("a file without content or descriptor was refused above");
        };
        let path = &examined.path;
        loaded::load(content, descriptor, path, &self.config, &self.offered).map_err(|problems| {
            Refusal::from_all(examined.what(), problems).expect("a step that refuses says why")
        })
    }

    /// Loads every file of the configured folders.
    ///
    /// Of two files with the same provider and version but other content the first is used and the other refused: which
    /// one would run must not depend on luck.
    #[must_use]
    pub fn load_folders(&self) -> Vec<Outcome> {
        let found = scan::scan(&self.config.folders());
        let mut outcomes: Vec<Outcome> = found
            .refused
            .into_iter()
            .map(|refusal| Outcome {
                path: refusal.what.path().into(),
                warnings: Vec::new(),
                result: Err(refusal),
            })
            .collect();
        let mut first: BTreeMap<(String, Version), (Sha256, PathBuf)> = BTreeMap::new();
        for path in found.files {
            // One at a time: each holds its whole content in memory.
            let examined = self.examine(&path);
            let result = match duplicate(&examined, &first) {
                Some(refusal) => Err(refusal),
                None => self.load_examined(&examined),
            };
            if let Ok(loaded) = &result {
                let key = (loaded.provider.clone(), loaded.version.clone());
                first.entry(key).or_insert((loaded.sha256, path.clone()));
            }
            outcomes.push(Outcome {
                path,
                warnings: examined.warnings,
                result,
            });
        }
        outcomes
    }

    /// The file to use for each provider, out of those that were loaded.
    #[must_use]
    pub fn select(&self, outcomes: &[Outcome]) -> BTreeMap<&'static str, &'static Loaded> {
        let loaded = outcomes
            .iter()
            .filter_map(|outcome| outcome.result.as_ref().ok());
        scan::select(loaded.copied(), &self.config)
    }
}

fn duplicate(
    examined: &Examined,
    first: &BTreeMap<(String, Version), (Sha256, PathBuf)>,
) -> Option<Refusal> {
    if examined.refusal().is_some() {
        return None;
    }
    let what = examined.what();
    let What::Adapter {
        provider,
        version,
        sha256,
        ..
    } = &what
    else {
        return None;
    };
    let (other_hash, other) = first.get(&(provider.clone(), version.clone()))?;
    if other_hash == sha256 {
        return None;
    }
    let problem = Problem::Duplicate {
        provider: provider.clone(),
        version: version.clone(),
        other: other.clone(),
    };
    Some(Refusal::new(what, problem))
}
