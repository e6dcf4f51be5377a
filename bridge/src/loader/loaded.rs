//! Plugins in this process: each content once, for ever.
//!
//! Loading is serialised: constructors and `describe` of one file run at a time. What was loaded is never unloaded, so
//! everything about it is `'static`.
//!
//! Not here: instances (the host half).

use super::config::PluginsConfig;
use super::content::{Content, Sha256};
use super::describe::{self, Description};
use super::enter::enter;
use super::error::Problem;
use super::inspect::descriptor::Descriptor;
use super::load;
use super::stage;
use super::version::Version;
use im_bridge_plugin_api::abi;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A plugin that may be used.
pub struct Loaded {
    /// Provider id.
    pub provider: String,
    /// The adapter's version.
    pub version: Version,
    /// Hash of the file.
    pub sha256: Sha256,
    /// Where the file was when it was loaded first.
    pub path: PathBuf,
    /// The lower of both sides' ABI minors.
    pub minor: u16,
    /// `DESC_*`
    pub flags: u32,
    /// Target triple, for messages.
    pub target: String,
    /// Compiler and SDK, for messages.
    pub toolchain: String,
    /// Its functions: a copy, in which every function of ABI 1.0 is present.
    pub adapter: abi::Adapter,
    /// What it says of itself.
    pub description: Description,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} ({})",
            self.provider,
            self.version,
            self.sha256.short()
        )
    }
}

fn lower(theirs: u16, ours: u16) -> u16 {
    theirs.min(ours)
}

/// An image that is mapped, whether it turned out usable or not.
struct Image {
    entry: abi::EntryFn,
    loaded: Option<&'static Loaded>,
}

static IMAGES: Mutex<BTreeMap<Sha256, Image>> = Mutex::new(BTreeMap::new());

/// Maps the content unless it is mapped already, enters it and reads its description.
///
/// # Errors
/// What the steps from staging to `describe` refuse.
pub(super) fn load(
    content: &Content,
    descriptor: &Descriptor,
    path: &Path,
    config: &PluginsConfig,
    offered: &[String],
) -> Result<&'static Loaded, Vec<Problem>> {
    // A panic in here would have been our own; the map is whole at every step.
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = match images.get(&content.sha256) {
        Some(Image {
            loaded: Some(loaded),
            ..
        }) => {
            let required = &loaded.description.required_extensions;
            let missing = describe::missing_extensions(required, offered);
            return if missing.is_empty() {
                Ok(loaded)
            } else {
                Err(missing)
            };
        }
        Some(image) => image.entry,
        None => {
            let mut staged = stage::stage(content, config.stage, &config.stage_dir)
                .map_err(|problem| vec![problem])?;
            let entry = load::load(&mut staged, path).map_err(|problem| vec![problem])?;
            let image = Image {
                entry,
                loaded: None,
            };
            images.insert(content.sha256, image);
            entry
        }
    };
    let entered = enter(entry, descriptor, path).map_err(|problem| vec![problem])?;
    let description = describe::read(&entered.description, descriptor, offered, path)?;
    let loaded: &'static Loaded = Box::leak(Box::new(Loaded {
        provider: descriptor.name.clone(),
        version: descriptor.version.clone(),
        sha256: content.sha256,
        path: path.into(),
        minor: lower(descriptor.minor, abi::ABI_MINOR),
        flags: descriptor.flags,
        target: descriptor.target.clone(),
        toolchain: descriptor.toolchain.clone(),
        adapter: entered.adapter,
        description,
    }));
    if let Some(image) = images.get_mut(&content.sha256) {
        image.loaded = Some(loaded);
    }
    Ok(loaded)
}
