//! The adapters in use: one loaded file per provider, and what its accounts share.
//!
//! Searching again keeps an adapter whose file is the same, with the faults counted against it. Everything here blocks.
//!
//! Not here: which accounts run in them (`plan`).

use super::logins::Logins;
use crate::bus::Provider;
use crate::config::schema::AdapterSchema;
use crate::loader::config::ProviderConfig;
use crate::loader::host::{Faults, Patience, Plugin};
use crate::loader::{Loaded, Loader, PluginsConfig};
use im_bridge_sdk::model::{AdapterBuild, Capabilities, CapabilityDocument, MODEL, ModelVersion};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// One provider's adapter.
pub struct Adapter {
    pub provider: Provider,
    pub loaded: &'static Loaded,
    pub plugin: Arc<Plugin>,
    pub faults: Arc<Mutex<Faults>>,
    pub logins: Arc<Logins>,
}

impl Adapter {
    /// The same file keeps what was counted against it.
    fn new(
        loaded: &'static Loaded,
        provider: Provider,
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
            provider,
            loaded,
        })
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

    /// The document of an account that can this.
    pub fn document(&self, capabilities: &Capabilities, revision: String) -> CapabilityDocument {
        let noise = self.loaded.description.operations.iter();
        let quiet = noise.filter(|(_, class)| !matches!(class.as_str(), "command" | "session"));
        CapabilityDocument {
            adapter: self.build(),
            model: ModelVersion {
                minor: self.model_minor(),
                ..MODEL
            },
            revision,
            capabilities: capabilities.clone(),
            noise: quiet.map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// A file that is not used, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    pub path: PathBuf,
    pub code: &'static str,
    pub text: String,
}

/// What a search of the folders led to.
#[derive(Clone, Default)]
pub struct Plugins {
    pub adapters: BTreeMap<Provider, Arc<Adapter>>,
    pub refused: Vec<Refused>,
}

impl Plugins {
    /// Searches the folders, loads what may be loaded, and chooses. Blocks.
    pub fn search(config: &PluginsConfig, before: &Self) -> Self {
        let loader = match Loader::new(config.clone()) {
            Ok(loader) => loader,
            Err(error) => {
                let refused = Refused {
                    path: config.trust.lock_file.clone(),
                    code: error.code(),
                    text: error.to_string(),
                };
                return Self {
                    adapters: before.adapters.clone(),
                    refused: vec![refused],
                };
            }
        };
        let outcomes = loader.load_folders();
        let mut plugins = Self::default();
        for outcome in &outcomes {
            for warning in &outcome.warnings {
                tracing::warn!(path = %outcome.path.display(), code = warning.code(), "{warning}");
            }
            if let Err(refusal) = &outcome.result {
                plugins.refused.push(Refused {
                    path: outcome.path.clone(),
                    code: refusal.code(),
                    text: refusal.to_string(),
                });
            }
        }
        for (name, loaded) in loader.select(&outcomes) {
            let Ok(provider) = name.parse::<Provider>() else {
                continue; // the descriptor's check has the same pattern
            };
            let own = config.providers.get(name).cloned().unwrap_or_default();
            let known = before.adapters.get(&provider);
            let adapter = Adapter::new(loaded, provider.clone(), &own, known);
            plugins.adapters.insert(provider, adapter);
        }
        plugins
    }

    /// For the configuration's check.
    pub fn schemas(&self) -> Vec<AdapterSchema> {
        let adapters = self.adapters.values();
        adapters
            .map(|adapter| AdapterSchema {
                provider: adapter.provider.to_string(),
                schema: adapter.loaded.description.config_schema.document().clone(),
            })
            .collect()
    }

    /// Says what was found; what was said before is not said again.
    pub fn tell(&self, before: &Self) {
        for (provider, adapter) in &self.adapters {
            let known = before.adapters.get(provider);
            if known.is_some_and(|known| known.loaded.sha256 == adapter.loaded.sha256) {
                continue;
            }
            let (version, sha256) = (&adapter.loaded.version, adapter.loaded.sha256.short());
            tracing::info!(%provider, %version, sha256, path = %adapter.loaded.path.display(), "adapter in use");
        }
        for refused in &self.refused {
            let was_told = before
                .refused
                .iter()
                .any(|known| known.text == refused.text);
            if !was_told {
                tracing::warn!(code = refused.code, path = %refused.path.display(), "{}", refused.text);
            }
        }
    }
}
