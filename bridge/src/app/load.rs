//! Reads the configuration together with the plugins that its accounts are checked against.

use super::plan::Plan;
use super::plugins::Plugins;
use crate::config::types::Config;
use crate::config::{self, Mistaken, Origins};
use crate::loader::scan::scan;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// A configuration without mistakes, and what follows from it.
pub struct Read {
    /// Without its accounts: those are the plan's.
    pub config: Config,
    pub plan: Plan,
    /// What it was read from.
    pub watched: Watched,
    /// The plugin files that there were.
    pub plugin_files: Watched,
}

/// Searches the plugins and reads everything. `known` is what is known of plugins, `told` what was said of them. Blocks.
///
/// # Errors
/// All mistakes that were found.
pub fn read(origins: &Origins, known: &Plugins, told: &Plugins) -> Result<Read, Box<Mistaken>> {
    let mut found = None;
    let mut loaded = config::load(origins, |early| {
        // Before the search, so that a change while it lasts is seen the next time.
        let files = Watched::plugins(&early.plugins.folders());
        let plugins = Plugins::search(early, known);
        let schemas = plugins.schemas();
        found = Some((plugins, files));
        schemas
    })?;
    let (mut plugins, plugin_files) = found.unwrap_or_default();
    plugins.tell(told);
    let plan = Plan::new(&loaded, plugins);
    // They stand in the plan; nobody reads them twice.
    loaded.config.accounts.clear();
    let mut files = loaded.files.clone();
    let pins = &loaded.config.plugins.trust.lock_file;
    files.extend(Some(pins.clone()).filter(|path| !path.as_os_str().is_empty()));
    files.extend(plan.secret_files());
    // A folder that was given stands for whatever is in it.
    files.extend(origins.files.iter().filter(|path| path.is_dir()).cloned());
    Ok(Read {
        config: loaded.config,
        plan,
        watched: Watched::new(files),
        plugin_files,
    })
}

/// Files, and how they looked when they were last read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Watched(BTreeMap<PathBuf, Look>);

/// Enough to notice a change without reading: a swap of links shows another file, an edit another time or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Watched {
    fn new(files: Vec<PathBuf>) -> Self {
        let looks = files.into_iter().map(|path| {
            let look = Look::at(&path);
            (path, look)
        });
        Self(looks.collect())
    }

    /// Whatever plugin files these folders have now. Blocks, shortly.
    #[must_use]
    pub fn plugins(folders: &[PathBuf]) -> Self {
        Self::new(scan(folders).files)
    }

    /// The same files as they are now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(self.0.keys().cloned().collect())
    }
}

impl Look {
    fn at(path: &std::path::Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map_or(
            Self {
                modified: None,
                bytes: 0,
                inode: 0,
            },
            |of| Self {
                modified: of.modified().ok(),
                bytes: of.len(),
                inode: of.ino(),
            },
        )
    }
}
