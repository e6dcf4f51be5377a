//! Files that somebody else chose: read as text, within a bound, without waiting for anybody.

use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it is no regular file")]
    NoFile,
    #[error("it has {actual} bytes, at most {most} are read")]
    TooLarge { actual: u64, most: u64 },
    #[error("it is no text in UTF-8, from byte {at} on")]
    NoText { at: usize },
}

/// The file's text, of at most so many bytes. Pipes and devices are refused: they may never end, or never begin.
pub fn text(path: &Path, most: u64) -> Result<String, Unread> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open");
    // Else opening a pipe waits for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(Unread::NoFile);
    }
    let mut bytes = Vec::new();
    if meta.len() <= most {
        bytes.reserve(usize::try_from(meta.len()).unwrap_or_default() + 1);
        // It may grow meanwhile.
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    let actual = meta.len().max(bytes.len() as u64);
    if actual > most {
        return Err(Unread::TooLarge { actual, most });
    }
    String::from_utf8(bytes).map_err(|error| Unread::NoText {
        at: error.utf8_error().valid_up_to(),
    })
}
