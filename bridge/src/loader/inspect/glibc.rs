//! Versions of the GNU C library, as symbol versions name them.

use std::fmt;

/// `GLIBC_<major>.<minor>[.<patch>]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlibcVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl GlibcVersion {
    /// Reads `2.34`; anything else is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: match parts.next() {
                None => 0,
                Some(patch) => patch?,
            },
        };
        parts.next().is_none().then_some(version)
    }

    /// What a needed symbol version asks of the C library; none if it is not of this kind.
    pub(super) fn of_symbol_version(name: &[u8]) -> Option<Self> {
        match std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")? {
            // Relative relocations in packed form came with this one.
            "ABI_DT_RELR" => Self::parse("2.36"),
            version => Self::parse(version),
        }
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}
