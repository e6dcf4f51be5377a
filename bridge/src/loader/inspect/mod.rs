//! Reading a plugin file without running any of it.
//!
//! Constructors run inside the system loader, so whatever can be known before is checked before. All that is wrong is
//! reported, not the first thing only. Any bytes whatever end in an [`Inspection`]: never a panic, no allocation beyond a
//! small multiple of the file, no loop beyond its size; guarded by `any_bytes_end_in_an_answer`.
//!
//! [`elf`] reads the file's structure, [`descriptor`] what the adapter says of itself, [`glibc`] compares versions of the
//! C library.

pub mod descriptor;
pub mod elf;
pub mod glibc;

use super::config::{Isolation, PluginsConfig};
use super::error::{AbiVersion, Problem};
use descriptor::Descriptor;
use elf::Elf;
use glibc::GlibcVersion;
use im_bridge_plugin_api::abi;

/// Libraries that a plugin may need: those that the bridge has loaded itself. A shared `libstd` is none of them, since it
/// would share panic hooks between images.
const ALLOWED_LIBRARIES: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// What is asked of a file.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Isolation and allowed libraries.
    pub config: &'a PluginsConfig,
    /// Accept builds with test hooks: tests and the conformance check only.
    pub test_builds: bool,
    /// The C library of this host; unknown: its version is not compared.
    pub host_glibc: Option<GlibcVersion>,
}

/// What was read, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What the adapter says of itself, if it could be read.
    pub descriptor: Option<Descriptor>,
    /// The file's structure, if it could be read.
    pub elf: Option<Elf>,
    /// Everything that speaks against loading it here.
    pub problems: Vec<Problem>,
}

/// Reads `bytes` and judges them.
#[must_use]
pub fn inspect(bytes: &[u8], rules: Rules<'_>) -> Inspection {
    let (elf, section) = match elf::read(bytes) {
        Ok(read) => read,
        Err(problem) => {
            return Inspection {
                problems: vec![problem],
                ..Inspection::default()
            };
        }
    };
    let Some(section) = section else {
        // It is some other library: what else a plugin must be does not matter.
        return Inspection {
            elf: Some(elf),
            problems: vec![Problem::NoDescriptor],
            ..Inspection::default()
        };
    };
    let mut problems = Vec::new();
    let descriptor = match Descriptor::read(section) {
        Ok(descriptor) => Some(descriptor),
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    let isolated = descriptor
        .as_ref()
        .is_some_and(|descriptor| is_isolated(descriptor, rules.config));
    if let Some(descriptor) = &descriptor {
        descriptor_fits(descriptor, rules, isolated, &mut problems);
    }
    let provider = descriptor
        .as_ref()
        .map_or("<provider>", |descriptor| &descriptor.name);
    elf_fits(&elf, rules, isolated, provider, &mut problems);
    Inspection {
        descriptor,
        elf: Some(elf),
        problems,
    }
}

fn is_isolated(descriptor: &Descriptor, config: &PluginsConfig) -> bool {
    descriptor.flags & abi::DESC_PROCESS_ONLY != 0
        || config.isolation_of(&descriptor.name) == Isolation::Process
}

fn descriptor_fits(
    descriptor: &Descriptor,
    rules: Rules<'_>,
    isolated: bool,
    problems: &mut Vec<Problem>,
) {
    if descriptor.min_host_minor > u32::from(abi::ABI_MINOR) {
        problems.push(Problem::AbiMinor {
            needs_minor: descriptor.min_host_minor,
            ours: AbiVersion::OURS,
        });
    }
    let known = abi::DESC_TEST_HOOKS | abi::DESC_PANIC_ABORT | abi::DESC_PROCESS_ONLY;
    let unknown = descriptor.flags & abi::FLAGS_MUST_KNOW & !known;
    problems.extend(
        (0..u32::BITS)
            .filter(|bit| unknown & (1 << bit) != 0)
            .map(|bit| Problem::Flags { bit }),
    );
    if descriptor.flags & abi::DESC_TEST_HOOKS != 0 && !rules.test_builds {
        problems.push(Problem::TestBuild);
    }
    if isolated {
        problems.push(Problem::Isolation);
    } else if descriptor.flags & abi::DESC_PANIC_ABORT != 0 {
        problems.push(Problem::PanicAbort {
            provider: descriptor.name.clone(),
        });
    }
}

/// In a child exports, panics and static TLS are the child's own matter.
fn elf_fits(
    elf: &Elf,
    rules: Rules<'_>,
    isolated: bool,
    provider: &str,
    problems: &mut Vec<Problem>,
) {
    if !elf.has_entry {
        problems.push(Problem::Entry {
            field: "symbol",
            value: "missing".into(),
            expected: abi::ENTRY_SYMBOL.into(),
        });
    }
    if elf.other_exports > 0 && !isolated {
        problems.push(Problem::Exports {
            count: elf.other_exports,
            first: elf.first_exports.join(", "),
        });
    }
    let allowed = |soname: &str| {
        ALLOWED_LIBRARIES.contains(&soname)
            || rules.config.trust.libraries.get(soname) == Some(&true)
    };
    problems.extend(
        elf.needed
            .iter()
            .filter(|soname| !allowed(soname))
            .map(|soname| Problem::Needs {
                soname: soname.clone(),
            }),
    );
    if let (Some(needed), Some(host)) = (elf.glibc, rules.host_glibc)
        && needed > host
    {
        problems.push(Problem::Glibc {
            needed: needed.to_string(),
            host: host.to_string(),
        });
    }
    if elf.static_tls && !isolated {
        problems.push(Problem::StaticTls {
            provider: provider.into(),
        });
    }
    problems.extend(
        elf.unhardened
            .iter()
            .map(|what| Problem::Hardening { what }),
    );
}
