//! The adapters in use: one loaded file per provider, and what its accounts share.
//!
//! Searching again keeps an adapter whose file is the same, with the faults counted against it. Everything here blocks.
//!
//! Not here: which of several files is used (`choice`), which accounts run in them (`plan`).

use super::choice::{Barred, Choice, Files, Held, Memory, Why, choose};
use super::logins::Logins;
use super::offer::Offers;
use crate::bus::Provider;
use crate::config::Early;
use crate::config::schema::AdapterSchema;
use crate::loader::config::ProviderConfig;
use crate::loader::error::What;
use crate::loader::host::{Faults, Patience, Plugin};
use crate::loader::{Loaded, Loader, Outcome, PluginsConfig};
use im_bridge_sdk::model::AdapterBuild;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file that was written to this lately and is refused may be half a file: it is looked at again instead.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// One provider's adapter.
pub struct Adapter {
    pub loaded: &'static Loaded,
    pub plugin: Arc<Plugin>,
    pub faults: Arc<Mutex<Faults>>,
    pub logins: Arc<Logins>,
    pub(super) offers: Offers,
}

impl Adapter {
    /// The same file keeps what was counted against it.
    fn new(
        loaded: &'static Loaded,
        config: &ProviderConfig,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let same = before.filter(|before| before.loaded.sha256 == loaded.sha256);
        let paced = same.filter(|same| {
            let logins = &same.logins;
            logins.is_paced(config.start_per_s, config.logins_per_minute)
        });
        Arc::new(Self {
            plugin: same.map_or_else(
                || Plugin::new(loaded, Patience::default()),
                |same| Arc::clone(&same.plugin),
            ),
            faults: same
                .map(|same| Arc::clone(&same.faults))
                .unwrap_or_default(),
            logins: paced.map_or_else(
                || Arc::new(Logins::new(config.start_per_s, config.logins_per_minute)),
                |paced| Arc::clone(&paced.logins),
            ),
            loaded,
            offers: Offers::default(),
        })
    }

    /// Too many of its accounts failed.
    pub fn is_to_blame(&self) -> bool {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.is_quarantined()
    }

    /// As documents name it.
    pub fn build(&self) -> AdapterBuild {
        AdapterBuild {
            name: self.loaded.description.adapter_name.clone(),
            version: self.loaded.version.to_string(),
            abi: format!("1.{}", self.loaded.minor),
            sha256: Some(self.loaded.sha256.short()),
        }
    }

    /// Version of the event model that it writes.
    pub fn model_minor(&self) -> u32 {
        u32::try_from(self.loaded.description.model_minor).unwrap_or(u32::MAX)
    }

    /// What it can, as JSON, before an account reported more or less.
    pub fn capabilities(&self) -> &Value {
        &self.loaded.description.capabilities.document
    }
}

/// A file that is not used, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    pub path: PathBuf,
    /// Provider, version and hash, if it could be read so far.
    pub what: Option<Box<What>>,
    pub code: &'static str,
    pub text: String,
}

/// What a search of the folders led to.
#[derive(Clone, Default)]
pub struct Plugins {
    pub adapters: BTreeMap<Provider, Arc<Adapter>>,
    pub refused: Vec<Refused>,
    /// Good files that do not take over by themselves.
    pub held: Vec<Held>,
    /// What lasts from search to search.
    pub memory: Memory,
    /// A file was passed over because it may still be written.
    pub is_unsettled: bool,
}

impl Plugins {
    /// Searches the folders, loads what may be loaded, and chooses. Blocks.
    pub fn search(early: &Early<'_>, before: &Self) -> Self {
        let config = &early.plugins;
        let loader = match Loader::new(config.clone()) {
            Ok(loader) => loader,
            Err(error) => {
                let refused = Refused {
                    path: config.trust.lock_file.clone(),
                    what: None,
                    code: error.code(),
                    text: error.to_string(),
                };
                return Self {
                    refused: vec![refused],
                    held: Vec::new(),
                    is_unsettled: false,
                    ..before.clone()
                };
            }
        };
        let outcomes = loader.load_folders();
        let mut plugins = Self {
            memory: before.memory.clone(),
            ..Self::default()
        };
        let mut accepted: BTreeMap<Provider, Vec<(&'static Loaded, PathBuf)>> = BTreeMap::new();
        for outcome in outcomes {
            for warning in &outcome.warnings {
                tracing::warn!(path = %outcome.path.display(), code = warning.code(), "{warning}");
            }
            match &outcome.result {
                // The descriptor's check has the same pattern.
                Ok(loaded) => {
                    if let Ok(provider) = loaded.provider.parse() {
                        let of = accepted.entry(provider).or_default();
                        of.push((loaded, outcome.path));
                    }
                }
                Err(_) if is_fresh(&outcome.path) && !before.adapters.is_empty() => {
                    plugins.is_unsettled = true;
                }
                Err(_) => plugins.refused.extend(refused(outcome)),
            }
        }
        for provider in before.adapters.keys() {
            accepted.entry(provider.clone()).or_default();
        }
        for (provider, _) in before.memory.former() {
            accepted.entry(provider.clone()).or_default();
        }
        for (provider, accepted) in accepted {
            plugins.choose(provider, accepted, early, before);
        }
        plugins
    }

    fn choose(
        &mut self,
        provider: Provider,
        accepted: Vec<(&'static Loaded, PathBuf)>,
        early: &Early<'_>,
        before: &Self,
    ) {
        let config = &early.plugins;
        let own = config
            .providers
            .get(provider.as_str())
            .cloned()
            .unwrap_or_default();
        let known = before.adapters.get(&provider);
        let files = Files {
            provider: &provider,
            accepted,
            running: known.map(|known| known.loaded),
            hold: own.hold.as_deref(),
            is_auto: config.upgrade.auto,
        };
        let Choice { chosen, held } = choose(&files, &self.memory, |loaded| {
            early.mistake(schema_of(loaded))
        });
        self.held.extend(held);
        if let Some(loaded) = chosen {
            self.memory.used(&provider, loaded);
            let adapter = Adapter::new(loaded, &own, known);
            self.adapters.insert(provider, adapter);
        }
    }

    /// Puts the files out of use whose accounts failed too often; whether there are any.
    pub fn quarantine(&mut self) -> bool {
        let mut is_any = false;
        for adapter in self.adapters.values().filter(|it| it.is_to_blame()) {
            is_any = true;
            self.memory.bar(adapter.loaded, Why::Quarantined);
        }
        is_any
    }

    /// Whether there is a file for this provider that nobody is against. Blocks.
    pub fn has_another(&self, provider: &Provider, config: &PluginsConfig) -> bool {
        let Ok(loader) = Loader::new(config.clone()) else {
            return false;
        };
        let outcomes = loader.load_folders();
        let accepted = outcomes
            .iter()
            .filter_map(|outcome| outcome.result.as_ref().ok());
        let mut of = accepted.filter(|loaded| loaded.provider == provider.as_str());
        self.memory.last_of(provider).is_some() || of.any(|loaded| self.memory.may_use(loaded))
    }

    /// Without a search: whatever is barred gives way to the file before, or to none.
    pub fn fall_back(&mut self) {
        let mut adapters = std::mem::take(&mut self.adapters);
        for (provider, adapter) in &mut adapters {
            if self.memory.may_use(adapter.loaded) {
                self.adapters.insert(provider.clone(), Arc::clone(adapter));
            } else if let Some(loaded) = self.memory.last_of(provider) {
                let own = ProviderConfig::default();
                let adapter = Adapter::new(loaded, &own, Some(adapter));
                self.adapters.insert(provider.clone(), adapter);
            }
        }
    }

    /// Files of a provider that were replaced and are mapped still.
    pub fn retired(&self, provider: &Provider) -> impl Iterator<Item = &'static Loaded> {
        let used = self.adapters.get(provider).map(|used| used.loaded.sha256);
        let former = self.memory.former_of(provider);
        former
            .iter()
            .copied()
            .filter(move |it| Some(it.sha256) != used)
    }

    /// Why a provider has no adapter although it had one.
    pub fn barred(&self, provider: &Provider) -> Option<&Barred> {
        let mut all = self.memory.barred();
        all.find(|barred| barred.loaded.provider == provider.as_str())
    }

    /// Files that were chosen already.
    pub(super) fn of(
        files: &BTreeMap<&'static str, &'static Loaded>,
        config: &PluginsConfig,
    ) -> Self {
        let mut plugins = Self::default();
        for (name, loaded) in files {
            let Ok(provider) = name.parse::<Provider>() else {
                continue; // the descriptor's check has the same pattern
            };
            let own = config.providers.get(*name).cloned().unwrap_or_default();
            let adapter = Adapter::new(loaded, &own, None);
            plugins.adapters.insert(provider, adapter);
        }
        plugins
    }

    /// For the configuration's check.
    pub fn schemas(&self) -> Vec<AdapterSchema> {
        let adapters = self.adapters.values();
        adapters.map(|adapter| schema_of(adapter.loaded)).collect()
    }

    /// Says what was found; what was said before is not said again.
    pub fn tell(&mut self, before: &Self) {
        for (provider, adapter) in &self.adapters {
            let known = before.adapters.get(provider);
            if known.is_some_and(|known| known.loaded.sha256 == adapter.loaded.sha256) {
                continue;
            }
            let (version, sha256) = (&adapter.loaded.version, adapter.loaded.sha256.short());
            let instead_of = known.map(|known| known.loaded.version.to_string());
            tracing::info!(%provider, %version, sha256, instead_of, path = %adapter.loaded.path.display(), "adapter in use");
        }
        for refused in &self.refused {
            if !before.refused.iter().any(|it| it.text == refused.text) {
                self.memory.refused(refused.code);
                tracing::warn!(code = refused.code, path = %refused.path.display(), "{}", refused.text);
            }
        }
        for held in &self.held {
            if !before.held.iter().any(|it| it.text == held.text) {
                tracing::warn!(code = held.code, path = %held.path.display(), "{}", held.text);
            }
        }
        let was_barred = |barred: &Barred| {
            let mut known = before.memory.barred();
            known.any(|it| it.loaded.sha256 == barred.loaded.sha256)
        };
        for barred in self.memory.barred().filter(|it| !was_barred(it)) {
            tracing::warn!(code = barred.code(), "{}", barred.text());
        }
    }
}

fn schema_of(loaded: &Loaded) -> AdapterSchema {
    AdapterSchema {
        provider: loaded.provider.clone(),
        schema: loaded.description.config_schema.document().clone(),
    }
}

fn refused(outcome: Outcome) -> Option<Refused> {
    let refusal = outcome.result.err()?;
    Some(Refused {
        path: outcome.path,
        code: refusal.code(),
        text: refusal.to_string(),
        what: Some(refusal.what),
    })
}

fn is_fresh(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|of| of.modified());
    let age = modified.map(|at| SystemTime::now().duration_since(at));
    // A time to come is a clock that is off, not a file that is written.
    matches!(age, Ok(Ok(age)) if age < SETTLED_AFTER)
}
