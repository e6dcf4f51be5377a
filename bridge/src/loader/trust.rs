//! May this place be trusted? Whoever can write to a plugin, or to a folder above it, is the bridge.
//!
//! Symbolic links are resolved, the file is opened once, and what is open is what is checked: a later rename changes
//! nothing. Sticky folders are no danger, since only the owner replaces a file there; a group may write if the bridge
//! itself is in it, as volumes with an fsGroup need.
//!
//! Not here: the content (`content`, `inspect`), pins (`pins`).

use super::config::Place;
use super::error::{Problem, Writers};
use rustix::fs::{Mode, OFlags};
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// Who the bridge is, as far as files are concerned.
#[derive(Debug, Clone)]
pub struct Identity {
    uid: u32,
    groups: Vec<u32>,
}

impl Identity {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        let mut groups = vec![rustix::process::getegid().as_raw()];
        groups.extend(
            rustix::process::getgroups()
                .unwrap_or_default()
                .into_iter()
                .map(rustix::process::Gid::as_raw),
        );
        Self {
            uid: own_uid(),
            groups,
        }
    }
}

/// What is checked about a place.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Who may own and write it.
    pub own: Identity,
    /// Whether a bad place refuses the file or only warns.
    pub place: Place,
    /// Largest file.
    pub max_mib: u64,
}

/// An open file whose place was looked at.
#[derive(Debug)]
pub struct Trusted {
    file: File,
    /// Where it really is, links resolved.
    pub path: PathBuf,
    /// What is wrong with the place, where that only warns.
    pub warnings: Vec<Problem>,
}

impl Trusted {
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}

/// Opens `path` and checks it and every folder above.
///
/// # Errors
/// All that is wrong with the place.
pub fn open(path: &Path, rules: &Rules) -> Result<Trusted, Vec<Problem>> {
    let only = |problem| vec![problem];
    let real = std::fs::canonicalize(path).map_err(|e| only(unreadable(&e)))?;
    // Before opening: a device may act on being opened, and a socket cannot be.
    let kind = std::fs::symlink_metadata(&real).map_err(|e| only(unreadable(&e)))?;
    is_a_file(kind.file_type()).map_err(only)?;

    // NOFOLLOW: the path is resolved. NONBLOCK: should a pipe appear in between, nothing waits for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(&real, flags, Mode::empty())
        .map(File::from)
        .map_err(|e| only(unreadable(&e.into())))?;
    let metadata = file.metadata().map_err(|e| only(unreadable(&e)))?;
    is_a_file(metadata.file_type()).map_err(only)?;

    let mut place = Vec::new();
    look(&real, &metadata, &rules.own, &mut place);
    for folder in real.ancestors().skip(1) {
        match std::fs::symlink_metadata(folder) {
            Ok(metadata) => look(folder, &metadata, &rules.own, &mut place),
            Err(error) => place.push(unreadable(&error)),
        }
    }
    let mut refused = Vec::new();
    let warnings = match rules.place {
        Place::Warn => place,
        Place::Strict => {
            refused = place;
            Vec::new()
        }
    };
    let mib = metadata.len().div_ceil(1 << 20);
    if mib > rules.max_mib {
        refused.push(Problem::TooLarge {
            mib,
            max_mib: rules.max_mib,
        });
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    Ok(Trusted {
        file,
        path: real,
        warnings,
    })
}

fn look(path: &Path, metadata: &Metadata, own: &Identity, found: &mut Vec<Problem>) {
    let (uid, mode) = (metadata.uid(), metadata.mode());
    if uid != 0 && uid != own.uid {
        found.push(Problem::Owner {
            path: path.into(),
            uid,
            own: own.uid,
        });
    }
    if metadata.is_dir() && mode & STICKY != 0 {
        return;
    }
    let mut writable = |by| {
        found.push(Problem::Writable {
            path: path.into(),
            mode: mode & 0o7777,
            by,
        });
    };
    if mode & WRITABLE_BY_OTHERS != 0 {
        writable(Writers::Everyone);
    }
    let gid = metadata.gid();
    if mode & WRITABLE_BY_GROUP != 0 && !own.groups.contains(&gid) {
        writable(Writers::Group(gid));
    }
}

fn is_a_file(kind: FileType) -> Result<(), Problem> {
    if kind.is_file() {
        return Ok(());
    }
    Err(Problem::NotAFile {
        kind: match kind {
            _ if kind.is_dir() => "directory",
            _ if kind.is_socket() => "socket",
            _ if kind.is_fifo() => "pipe",
            _ => "device",
        },
    })
}

pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

pub(super) fn unreadable(error: &io::Error) -> Problem {
    Problem::Unreadable {
        error: error.to_string(),
        own: own_uid(),
    }
}
