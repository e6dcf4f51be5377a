//! Why a plugin file is refused, in sentences: `cannot load <what>: <fact>; <remedy>`.
//!
//! Each [`Problem`] has a stable [`code`](Problem::code), which is the anchor of its section in `docs/errors.md`. Texts
//! of a file are shown escaped and cut, so that a hostile file can neither flood nor repaint a terminal.
//!
//! Not here: mistakes in an account's configuration (`config_schema`), trouble with a lock file (`pins`).

use super::content::Sha256;
use super::version::Version;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file that is not loaded, with every reason that could be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot load {what}: {}", .problems[0])]
pub struct Refusal {
    /// The file.
    pub what: Box<What>,
    /// Invariant: never empty. The first one is what the refusal's own text says.
    problems: Vec<Problem>,
}

impl Refusal {
    /// A refusal for one reason.
    #[must_use]
    pub fn new(what: What, problem: Problem) -> Self {
        Self {
            what: Box::new(what),
            problems: vec![problem],
        }
    }

    /// A refusal for all of `problems`; none if there are none.
    #[must_use]
    pub fn from_all(what: What, problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then(|| Self {
            what: Box::new(what),
            problems,
        })
    }

    /// The stable name of the first reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problems[0].code()
    }

    /// Every reason.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// One full sentence for each reason, with its code.
    pub fn sentences(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.problems
            .iter()
            .map(|problem| (problem.code(), self.what.refused(problem)))
    }
}

/// How a file is called in a sentence: by its path until it was inspected, by its adapter afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Nothing is known but where it is.
    Path(PathBuf),
    /// Its descriptor was read.
    Adapter {
        /// Provider id.
        provider: String,
        /// The adapter's version.
        version: Version,
        /// Where it is.
        path: PathBuf,
        /// Hash of its content.
        sha256: Sha256,
    },
}

impl What {
    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Adapter { path, .. } => path,
        }
    }

    /// The whole sentence for `problem`.
    #[must_use]
    pub fn refused(&self, problem: &Problem) -> String {
        format!("cannot load {self}: {problem}")
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", shown_path(path)),
            Self::Adapter {
                provider,
                version,
                path,
                sha256,
            } => write!(
                f,
                "{provider} {version} ({}, sha256 {})",
                shown_path(path),
                sha256.short()
            ),
        }
    }
}

/// Who else could replace a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// The mode has `o+w`.
    Everyone,
    /// The mode has `g+w`, and this group is none of the bridge's own.
    Group(u32),
}

impl fmt::Display for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::Group(gid) => write!(f, "group {gid}"),
        }
    }
}

/// What is wrong with a file. The text is the fact and, after the semicolon, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the fields are")]
pub enum Problem {
    // trust
    #[error("cannot be read: {error}; make it readable for uid {own}")]
    Unreadable { error: String, own: u32 },
    #[error("is a {kind}; put the .so file itself there")]
    NotAFile { kind: &'static str },
    #[error(
        "{} is owned by uid {uid}; it must be owned by root or uid {own}, the user of im-bridge",
        shown_path(.path)
    )]
    Owner { path: PathBuf, uid: u32, own: u32 },
    #[error(
        "{} has mode {mode:04o}: {by} can replace the plugin; chmod {} {0}",
        shown_path(.path),
        if matches!(.by, Writers::Everyone) { "o-w" } else { "g-w" },
    )]
    Writable {
        path: PathBuf,
        mode: u32,
        by: Writers,
    },
    #[error("has {mib} MiB, plugins.max_file_mib is {max_mib}; raise it if this is meant")]
    TooLarge { mib: u64, max_mib: u64 },

    // stage
    #[error("changed while it was read; copy it beside and rename it")]
    Changed,
    #[error("cannot be copied to {dir}: {error}; set plugins.stage_dir or plugins.stage")]
    Stage { dir: String, error: String },
    #[error(
        "sha256 {sha256} is not pinned; run im-bridge plugin pin {}, or set plugins.trust.require",
        shown_path(.path)
    )]
    NotPinned { sha256: Sha256, path: PathBuf },

    // inspect
    #[error("is not an ELF shared library ({found}); build it as a cdylib")]
    NotElf { found: String },
    #[error(
        "ends at byte {end}, its headers need {needed}; wait until it is copied, or copy and rename it"
    )]
    Truncated { end: u64, needed: u64 },
    #[error("is built for {theirs}, this host is {ours}; build it with --target {triple}")]
    Target {
        theirs: String,
        ours: &'static str,
        triple: &'static str,
    },
    #[error(
        "has no section .im_bridge.adapter; build it with export_adapter! or im_bridge_plugin.h"
    )]
    NoDescriptor,
    #[error("descriptor field {field} is {value}; expected {rule}")]
    Descriptor {
        field: &'static str,
        value: String,
        rule: &'static str,
    },
    #[error(
        "speaks ABI {theirs}, this bridge speaks {ours}; use an adapter for ABI {} or im-bridge for ABI {}",
        .ours.major, .theirs.major
    )]
    AbiMajor {
        theirs: AbiVersion,
        ours: AbiVersion,
    },
    #[error("needs ABI {}.{needs_minor} or later, this bridge speaks {ours}; upgrade im-bridge", .ours.major)]
    AbiMinor { needs_minor: u32, ours: AbiVersion },
    #[error("sets descriptor flag bit {bit}, unknown to this bridge; upgrade im-bridge")]
    Flags { bit: u32 },
    #[error("is a test build; build it without the SDK feature test-hooks")]
    TestBuild,
    #[error(
        "is built with panic=abort, one panic would end every account; use panic=unwind or {}",
        isolation_key(.provider)
    )]
    PanicAbort { provider: String },
    #[error("exports {count} {} ({first}); export only im_bridge_adapter_v1", plural(*.count, "symbol", "symbols"))]
    Exports { count: usize, first: String },
    #[error("needs {soname}; link it statically or allow it under plugins.trust.libraries")]
    Needs { soname: String },
    #[error("needs GLIBC_{needed}, this host has {host}; build it on an older system")]
    Glibc { needed: String, host: String },
    #[error("uses static TLS (jemalloc's default); switch that off or set {}", isolation_key(.provider))]
    StaticTls { provider: String },
    #[error("has {what}; link it without")]
    Hardening { what: &'static str },
    #[error("must run in a child process, which this build cannot do; upgrade im-bridge")]
    Isolation,

    // load, enter, describe
    #[error("is refused by the system loader: {text}; see im-bridge plugin inspect {}", shown_path(.path))]
    Dlopen { text: String, path: PathBuf },
    #[error("entry field {field} is {value}, expected {expected}; rebuild it")]
    Entry {
        field: &'static str,
        value: String,
        expected: String,
    },
    #[error("adapter table has {bytes} bytes and lacks {function}; rebuild it")]
    Table { bytes: u32, function: &'static str },
    #[error("describe {}: {problem}; run im-bridge plugin check {}", root(.pointer), shown_path(.path))]
    Describe {
        pointer: String,
        problem: String,
        path: PathBuf,
    },
    #[error(
        "writes event model {theirs}, this bridge publishes {ours}; use an adapter for model {ours}"
    )]
    Model { theirs: u64, ours: u64 },
    #[error("requires {name}, this bridge offers {offered}; upgrade im-bridge")]
    Extension { name: String, offered: String },
    #[error("is {provider} {version}, as is {} with other content; remove one", shown_path(.other))]
    Duplicate {
        provider: String,
        version: Version,
        other: PathBuf,
    },
}

impl Problem {
    /// Every code, in the order of the steps.
    pub const CODES: &'static [&'static str] = &[
        "plugin_unreadable",
        "plugin_not_a_file",
        "plugin_owner",
        "plugin_writable",
        "plugin_too_large",
        "plugin_changed",
        "plugin_stage",
        "plugin_not_pinned",
        "plugin_not_elf",
        "plugin_truncated",
        "plugin_target",
        "plugin_no_descriptor",
        "plugin_descriptor",
        "plugin_abi_major",
        "plugin_abi_minor",
        "plugin_flags",
        "plugin_test_build",
        "plugin_panic_abort",
        "plugin_exports",
        "plugin_needs",
        "plugin_glibc",
        "plugin_static_tls",
        "plugin_hardening",
        "plugin_isolation",
        "plugin_dlopen",
        "plugin_entry",
        "plugin_table",
        "plugin_describe",
        "plugin_model",
        "plugin_extension",
        "plugin_duplicate",
    ];

    /// The stable name: label of metrics, anchor in `docs/errors.md`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "plugin_unreadable",
            Self::NotAFile { .. } => "plugin_not_a_file",
            Self::Owner { .. } => "plugin_owner",
            Self::Writable { .. } => "plugin_writable",
            Self::TooLarge { .. } => "plugin_too_large",
            Self::Changed => "plugin_changed",
            Self::Stage { .. } => "plugin_stage",
            Self::NotPinned { .. } => "plugin_not_pinned",
            Self::NotElf { .. } => "plugin_not_elf",
            Self::Truncated { .. } => "plugin_truncated",
            Self::Target { .. } => "plugin_target",
            Self::NoDescriptor => "plugin_no_descriptor",
            Self::Descriptor { .. } => "plugin_descriptor",
            Self::AbiMajor { .. } => "plugin_abi_major",
            Self::AbiMinor { .. } => "plugin_abi_minor",
            Self::Flags { .. } => "plugin_flags",
            Self::TestBuild => "plugin_test_build",
            Self::PanicAbort { .. } => "plugin_panic_abort",
            Self::Exports { .. } => "plugin_exports",
            Self::Needs { .. } => "plugin_needs",
            Self::Glibc { .. } => "plugin_glibc",
            Self::StaticTls { .. } => "plugin_static_tls",
            Self::Hardening { .. } => "plugin_hardening",
            Self::Isolation => "plugin_isolation",
            Self::Dlopen { .. } => "plugin_dlopen",
            Self::Entry { .. } => "plugin_entry",
            Self::Table { .. } => "plugin_table",
            Self::Describe { .. } => "plugin_describe",
            Self::Model { .. } => "plugin_model",
            Self::Extension { .. } => "plugin_extension",
            Self::Duplicate { .. } => "plugin_duplicate",
        }
    }
}

/// A version of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbiVersion {
    /// Another one has another entry symbol.
    pub major: u16,
    /// Both sides use the lower one.
    pub minor: u16,
}

impl AbiVersion {
    /// What this bridge speaks.
    pub const OURS: Self = Self {
        major: im_bridge_plugin_api::abi::ABI_MAJOR,
        minor: im_bridge_plugin_api::abi::ABI_MINOR,
    };
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

fn isolation_key(provider: &str) -> String {
    format!("plugins.providers.{provider}.isolation = \"process\"")
}

/// The document itself has the empty pointer, which nobody would see in a sentence.
fn root(pointer: &str) -> &str {
    if pointer.is_empty() { "/" } else { pointer }
}

/// Most characters of a file's own text in a message: enough for any honest name.
const SHOWN_CHARS: usize = 80;

/// Text out of a file, fit for a message: lossy UTF-8, control characters escaped, cut.
pub(super) fn shown(bytes: &[u8]) -> String {
    shown_up_to(bytes, SHOWN_CHARS)
}

/// As [`shown`], for text that may hold a path.
pub(super) fn shown_up_to(bytes: &[u8], chars: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * chars)]);
    let mut out: String = escaped(text.chars().take(chars)).collect();
    if text.chars().count() > chars || bytes.len() > 4 * chars {
        out.push('…');
    }
    out
}

/// A path, whole, with control characters escaped.
pub(crate) fn shown_path(path: &Path) -> String {
    escaped(path.to_string_lossy().chars()).collect()
}

fn escaped(chars: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    chars.flat_map(|c| {
        let (plain, escape) = if c.is_control() {
            (None, Some(c.escape_default()))
        } else {
            (Some(c), None)
        };
        plain.into_iter().chain(escape.into_iter().flatten())
    })
}
