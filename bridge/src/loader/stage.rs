//! The private copy that is loaded in place of the dropped file, named by its hash.
//!
//! Loading the dropped path itself fails in silence: after a rename over it the system loader answers with the old code,
//! because it compares names, and after writing into it the process crashes. The copy has mode 0500 in a folder with mode
//! 0700 of the bridge's own user. Where no such folder allows execution, the copy is a sealed memory file.
//!
//! A copy that nobody asked for in a week is removed when another one is made. Whoever has loaded it keeps it.
//!
//! Not here: the search for what to load. Only accepted files are staged, so refused ones leave nothing behind.
//!
//! Invariant: a memory file that was given to the system loader stays open for ever (`Staged::keep`): another file under
//! the same descriptor number would be taken for the old image.

use super::config::StageMode;
use super::content::Content;
use super::error::Problem;
use super::trust::own_uid;
use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Read and execute, for nobody else.
const FILE_MODE: u32 = 0o500;
const FOLDER_MODE: u32 = 0o700;
/// Of a copy, while it is compared.
const PIECE_BYTES: usize = 64 * 1024;
/// Long enough for a bridge that is rolled back to find its copies.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A private copy, ready to be loaded.
#[derive(Debug)]
pub struct Staged {
    /// What to hand to the system loader.
    pub path: PathBuf,
    memory: Option<OwnedFd>,
}

impl Staged {
    /// Keeps a memory file open for the life of the process.
    pub(super) fn keep(&mut self) {
        std::mem::forget(self.memory.take());
    }
}

/// Makes the private copy, or finds it.
///
/// # Errors
/// [`Problem::Stage`]
pub fn stage(content: &Content, mode: StageMode, configured: &Path) -> Result<Staged, Problem> {
    let folder = folder(configured);
    match mode {
        StageMode::Dir => in_folder(content, &folder),
        StageMode::Memory => in_memory(content),
        // The memory file's own trouble is reported: it is what stands in the way once no folder will do.
        StageMode::Auto => in_folder(content, &folder).or_else(|_| in_memory(content)),
    }
}

fn folder(configured: &Path) -> PathBuf {
    if !configured.as_os_str().is_empty() {
        return configured.into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(run) if !run.is_empty() => Path::new(&run).join("im-bridge"),
        _ => std::env::temp_dir().join(format!("im-bridge-{}", own_uid())),
    }
}

fn in_folder(content: &Content, folder: &Path) -> Result<Staged, Problem> {
    let refused = |error: String| Problem::Stage {
        dir: super::error::shown_path(folder),
        error,
    };
    private_folder(folder).map_err(refused)?;
    let path = folder.join(format!("{}.so", content.sha256));
    let write = || {
        if holds(&path, content)? {
            // Its age is counted from its last use. One that ages all the same is only made anew one day.
            let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            return Ok(());
        }
        write_beside(content, folder, &path)?;
        remove_old(folder);
        Ok(())
    };
    write().map_err(|error: io::Error| refused(error.to_string()))?;
    Ok(Staged { path, memory: None })
}

fn private_folder(folder: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(|e| e.to_string())?;
    // Not followed: in a shared parent somebody may have put a link there before us.
    let metadata = std::fs::symlink_metadata(folder).map_err(|e| e.to_string())?;
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_dir() {
        return Err("it is no folder".into());
    }
    if metadata.uid() != own_uid() {
        return Err(format!("it belongs to uid {}", metadata.uid()));
    }
    if mode & 0o077 != 0 {
        return Err(format!("it has mode {mode:04o}, not {FOLDER_MODE:04o}"));
    }
    let mount = rustix::fs::statvfs(folder).map_err(|e| e.to_string())?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err("mounted noexec".into());
    }
    Ok(())
}

/// A copy that is there already is read again: its name is a claim.
fn holds(path: &Path, content: &Content) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()
            && metadata.mode() & 0o7777 == FILE_MODE
            && metadata.uid() == own_uid()
            && metadata.len() == content.bytes.len() as u64
            && is_same(File::open(path)?, &content.bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Piece by piece, since all of it is in memory once already.
fn is_same(mut file: File, content: &[u8]) -> io::Result<bool> {
    let (mut piece, mut rest) = (vec![0; PIECE_BYTES], content);
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match rest.split_at_checked(read) {
            Some((same, more)) if *same == piece[..read] => rest = more,
            _ => return Ok(false),
        }
    }
}

/// Other threads and other bridges of this user may stage the same content: each writes its own file, and renaming is one
/// step.
fn write_beside(content: &Content, folder: &Path, path: &Path) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!(
        ".{}.{}.{number}",
        content.sha256.short(),
        std::process::id()
    ));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&beside)?;
        file.write_all(&content.bytes)?;
        // The umask may have taken bits away.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        std::fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&beside);
    })
}

/// Only what has the form of our names. What cannot be removed is left: it is in nobody's way.
fn remove_old(folder: &Path) {
    let now = SystemTime::now();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_copy = entry.path().extension().is_some_and(|it| it == "so");
        let is_begun = entry.file_name().as_encoded_bytes().starts_with(b".");
        let age = entry.metadata().and_then(|it| it.modified());
        let is_old = age.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT_FOR));
        if is_old && (is_copy || is_begun) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn in_memory(content: &Content) -> Result<Staged, Problem> {
    let make = || -> io::Result<OwnedFd> {
        let name = format!("im-bridge-{}", content.sha256.short());
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels since 6.3 may be told to make memory files that cannot be executed unless asked; older ones do not know
        // the question.
        let memory = rustix::fs::memfd_create(&name, flags | MemfdFlags::EXEC)
            .or_else(|_| rustix::fs::memfd_create(&name, flags))?;
        let mut file = File::from(memory);
        file.write_all(&content.bytes)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(file.into())
    };
    let memory = make().map_err(|error| Problem::Stage {
        dir: "a memory file".into(),
        error: error.to_string(),
    })?;
    Ok(Staged {
        path: format!("/proc/self/fd/{}", memory.as_raw_fd()).into(),
        memory: Some(memory),
    })
}

#[cfg(test)]
mod tests {
    use super::super::content::Sha256;
    use super::*;

    #[test]
    fn copies_that_nobody_used_for_long_go_when_another_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let stage_dir = folder.path().join("stage");
        let staged = |bytes| stage(&content(bytes), StageMode::Dir, &stage_dir).unwrap();
        let [old, used, begun] = [
            staged(b"old").path,
            staged(b"used").path,
            stage_dir.join(".begun"),
        ];
        std::fs::write(&begun, "").unwrap();
        let long_ago = SystemTime::now() - KEPT_FOR - Duration::from_secs(60);
        for path in [&old, &used, &begun] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        staged(b"used");
        assert!(
            old.exists(),
            "nothing is looked through for a copy that is there"
        );
        let new = staged(b"new").path;
        let is_there = [&old, &begun, &used, &new].map(|path| path.exists());
        assert_eq!(is_there, [false, false, true, true]);
    }

    fn content(bytes: &[u8]) -> Content {
        Content {
            bytes: bytes.into(),
            sha256: Sha256::of(bytes),
        }
    }

    #[test]
    fn a_copy_that_was_tampered_with_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let stage_dir = folder.path().join("stage");
        let content = content(b"the true content");
        let staged = stage(&content, StageMode::Dir, &stage_dir).unwrap();
        let first = std::fs::metadata(&staged.path).unwrap();
        assert_eq!(first.mode() & 0o7777, FILE_MODE);

        let again = stage(&content, StageMode::Dir, &stage_dir).unwrap();
        assert_eq!(
            std::fs::metadata(&again.path).unwrap().ino(),
            first.ino(),
            "the good copy is used again"
        );

        std::fs::set_permissions(&staged.path, Permissions::from_mode(0o700)).unwrap();
        std::fs::write(&staged.path, b"the fake content").unwrap();
        std::fs::set_permissions(&staged.path, Permissions::from_mode(FILE_MODE)).unwrap();
        let repaired = stage(&content, StageMode::Dir, &stage_dir).unwrap();
        assert_eq!(std::fs::read(repaired.path).unwrap(), content.bytes);
        assert_eq!(std::fs::read_dir(&stage_dir).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_can_enter_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let error = stage(&content(b"x"), StageMode::Dir, folder.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot be copied to {}: it has mode 0755, not 0700; set plugins.stage_dir or plugins.stage",
                folder.path().display()
            )
        );
        let in_memory = stage(&content(b"x"), StageMode::Auto, folder.path()).unwrap();
        assert!(in_memory.path.starts_with("/proc/self/fd"));
    }

    #[test]
    fn a_memory_copy_cannot_be_changed_any_more() {
        let content = content(b"sealed");
        let staged = stage(&content, StageMode::Memory, Path::new("")).unwrap();
        assert_eq!(std::fs::read(&staged.path).unwrap(), content.bytes);
        let file = OpenOptions::new().write(true).open(&staged.path);
        // Root may open it for writing in spite of its mode; the seal is what holds.
        if let Ok(mut file) = file {
            file.write_all(b"x").unwrap_err();
        }
    }
}
