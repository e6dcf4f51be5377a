//! What every command takes: where the configuration is, and how to talk.
//!
//! Not here: reading a configuration (`config`), and what is done with it.

use super::failure::{Exit, Failure};
use super::output::{Color, Output, Talk};
use crate::config::schema::AdapterSchema;
use crate::config::{self, Loaded, Mistaken, Origins};
use crate::loader::pins::PinsError;
use crate::loader::{Loaded as Plugin, Loader, Outcome, PluginsConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Globals {
    /// Configuration file or folder; may be repeated, later ones win. Default: the files of IM_BRIDGE_CONFIG, else
    /// bridge.{toml,yaml,yml,json} here, else in /etc/im-bridge.
    #[arg(long, global = true, value_name = "PATH", help_heading = HEADING)]
    pub config: Vec<PathBuf>,
    /// Set one key, as in --set nats.url=nats://host:4222; may be repeated, wins over files and variables.
    #[arg(long, global = true, value_name = "KEY=VALUE", help_heading = HEADING)]
    pub set: Vec<String>,
    /// Print JSON instead of text: one document, or one line per item.
    #[arg(long, global = true, help_heading = HEADING)]
    pub json: bool,
    /// When to use colour; `auto` obeys NO_COLOR.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = HEADING)]
    pub color: Color,
    /// Say nothing but data and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = HEADING)]
    pub quiet: bool,
    /// Also say what is done.
    #[arg(short, long, global = true, help_heading = HEADING)]
    pub verbose: bool,
}

const HEADING: &str = "Options of every command";

impl Globals {
    pub(super) fn output(&self) -> Output {
        let talk = match (self.quiet, self.verbose) {
            (true, _) => Talk::Quiet,
            (false, true) => Talk::Verbose,
            (false, false) => Talk::Normal,
        };
        Output::new(self.json, self.color, talk)
    }

    /// Where the configuration comes from.
    pub fn origins(&self) -> Origins {
        Origins::of_process(&self.config, &self.set)
    }

    /// The configuration, its accounts validated against the plugins in its folders, whose code runs for that.
    pub fn full(&self) -> Full {
        Full::load(&self.origins())
    }
}

/// A configuration, and what was found in its plugin folders on the way.
pub struct Full {
    pub config: Result<Loaded, Box<Mistaken>>,
    /// Every plugin file. Empty if the pins cannot be read.
    pub outcomes: Vec<Outcome>,
    /// The file in use for each provider.
    pub plugins: BTreeMap<&'static str, &'static Plugin>,
    /// Folders that were searched.
    pub folders: Vec<PathBuf>,
    pub pins: Option<PinsError>,
}

impl Full {
    pub fn load(origins: &Origins) -> Self {
        let mut full = Self {
            config: Err(Box::new(Mistaken {
                problems: config::problems::Problems::default(),
                texts: config::files::Texts::default(),
            })),
            outcomes: Vec::new(),
            plugins: BTreeMap::new(),
            folders: Vec::new(),
            pins: None,
        };
        let loaded = config::load(origins, |early| full.search(&early.plugins));
        full.config = loaded;
        full
    }

    fn search(&mut self, plugins: &PluginsConfig) -> Vec<AdapterSchema> {
        self.folders = plugins.folders();
        let loader = match Loader::new(plugins.clone()) {
            Ok(loader) => loader,
            Err(error) => {
                self.pins = Some(error);
                return Vec::new();
            }
        };
        self.outcomes = loader.load_folders();
        self.plugins = loader.select(&self.outcomes);
        let described = self.plugins.values().map(|plugin| AdapterSchema {
            provider: plugin.provider.clone(),
            schema: plugin.description.config_schema.document().clone(),
        });
        described.collect()
    }

    /// The configuration, or all its mistakes.
    pub fn config(self) -> Result<Loaded, Failure> {
        if let Some(error) = self.pins {
            return Err(Failure::new(Exit::Refused, error.code(), error.to_string()));
        }
        Ok(self.config?)
    }
}
