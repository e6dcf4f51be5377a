//! Where a demo lives: a temporary folder with the server's store, the plugin and the configuration, and the copy of the
//! configuration that client commands find beside the executable.
//!
//! All of it goes with the value. A demo that was killed leaves its folder; the next one removes it, told apart from a
//! running one by a lock that the system frees with the process.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "im-bridge-demo-";
const LOCK: &str = "lock";
const PLUGIN: &str = concat!("libim_bridge_adapter_sim", ".so");
/// Beside the executable; client commands without any configuration look there.
const FOUND_BESIDE: &str = "im-bridge-demo";

/// A demo's files.
pub(super) struct Place {
    folder: PathBuf,
    published: Option<(PathBuf, String)>,
    /// Locked for as long as this lives.
    _lock: File,
}

/// What could not be done, where.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("{} cannot be written: {source}; set TMPDIR to a folder that can", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the simulated provider's plugin {PLUGIN} is not in {}; build with cargo build", folder.display())]
    NoPlugin { folder: PathBuf },
}

impl PlaceError {
    /// Section in `docs/errors.md`.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unwritable { .. } => "config_unwritable",
            Self::NoPlugin { .. } => "config_no_provider",
        }
    }
}

impl Place {
    /// A new folder with the plugin in it.
    pub(super) fn make() -> Result<Self, PlaceError> {
        let temporary = std::env::temp_dir();
        remove_abandoned(&temporary);
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), fastrand::u32(..));
        let folder = temporary.join(name);
        let unwritable = |source| PlaceError::Unwritable {
            path: folder.clone(),
            source,
        };
        let owned = |path: &Path| DirBuilder::new().mode(0o755).create(path);
        owned(&folder).map_err(unwritable)?;
        let lock = File::create(folder.join(LOCK)).map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        // From here on an early return removes the folder.
        let place = Self {
            folder: folder.clone(),
            published: None,
            _lock: lock,
        };
        let plugin = plugin()?;
        owned(&place.plugins()).map_err(unwritable)?;
        let copy = place.plugins().join("libsim.so");
        fs::copy(plugin, &copy).map_err(unwritable)?;
        // Whatever the file's own mode was: a plugin that others may write to is refused.
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&copy, mode).map_err(unwritable)?;
        Ok(place)
    }

    /// Of the server: its store, its log.
    pub(super) fn server(&self) -> PathBuf {
        self.folder.join("nats")
    }

    pub(super) fn plugins(&self) -> PathBuf {
        self.folder.join("plugins")
    }

    /// Where adapters' private copies are loaded from.
    pub(super) fn stage(&self) -> PathBuf {
        self.folder.join("stage")
    }

    /// Writes the configuration, and lets client commands find it, if there is room beside the executable. `Err` within:
    /// why they do not.
    pub(super) fn configure(
        &mut self,
        text: &str,
    ) -> Result<(PathBuf, io::Result<()>), PlaceError> {
        let file = self.folder.join("bridge.toml");
        fs::write(&file, text).map_err(|source| PlaceError::Unwritable {
            path: file.clone(),
            source,
        })?;
        let published = self.publish(text);
        Ok((file, published))
    }

    fn publish(&mut self, text: &str) -> io::Result<()> {
        let folder = program()?.with_file_name(FOUND_BESIDE);
        fs::create_dir_all(&folder)?;
        let path = folder.join("bridge.toml");
        fs::write(&path, text)?;
        self.published = Some((path, text.to_owned()));
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((path, text)) = &self.published
            // Another demo may have put its own there since.
            && fs::read_to_string(path).is_ok_and(|now| now == *text)
        {
            let _ = fs::remove_file(path);
            let _ = path.parent().map(fs::remove_dir);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The executable, its links followed.
pub(super) fn program() -> io::Result<PathBuf> {
    std::env::current_exe()?.canonicalize()
}

/// Where cargo puts it, or a package beside the executable.
fn plugin() -> Result<PathBuf, PlaceError> {
    let program = program().unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new("."));
    // Cargo refreshes the one in `deps` with every build, the other only when it builds that package by name.
    [folder.join("deps").join(PLUGIN), folder.join(PLUGIN)]
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| PlaceError::NoPlugin {
            folder: folder.to_owned(),
        })
}

/// Folders of demos that were killed. What cannot be looked at or removed stays: it is somebody else's.
fn remove_abandoned(temporary: &Path) {
    let uid = rustix::process::getuid().as_raw();
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && fs::symlink_metadata(entry.path()).is_ok_and(|it| it.is_dir() && it.uid() == uid);
        if !is_ours {
            continue;
        }
        let folder = entry.path();
        // One without a lock is being made just now.
        if let Ok(lock) = File::open(folder.join(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}
