//! The first call into a plugin: its entry function, whose tables are read raw and copied.
//!
//! An adapter built against another minor has longer or shorter tables; what is used from here on is a copy of our own
//! with every function of ABI 1.0 present. Name, version and flags must equal the descriptor's, since that is what was
//! judged.
//!
//! Not here: calling the adapter's functions (the host half), reading what `describe` answers (`describe`).
#![allow(
    unsafe_code,
    reason = "a foreign function answers raw tables; each block states why its conditions hold"
)]

use super::error::{Problem, shown};
use super::inspect::descriptor::Descriptor;
use im_bridge_plugin_api::abi::{self, raw};
use std::mem::offset_of;
use std::path::Path;

/// Largest description: a thousand times a typical one.
pub const DESCRIBE_BYTES_MAX: usize = 256 * 1024;

/// A plugin that was entered.
pub(super) struct Entered {
    /// Its functions, copied; each of ABI 1.0 is there.
    pub adapter: abi::Adapter,
    /// What `describe` answered.
    pub description: Vec<u8>,
}

/// Size of the tables in ABI 1.0; shorter ones lack something.
const ENTRY_BYTES: u32 = 72;
const ADAPTER_BYTES: u32 = 88;

/// Calls the entry function and `describe`, and checks what they answer.
///
/// # Errors
/// [`Problem::Entry`], [`Problem::Table`], or [`Problem::Describe`] if there is no answer.
pub(super) fn enter(
    entry: abi::EntryFn,
    descriptor: &Descriptor,
    source: &Path,
) -> Result<Entered, Problem> {
    // SAFETY: the symbol has this signature by its name, and the image is never unloaded.
    let entry = unsafe { entry(u32::from(abi::ABI_MINOR)) };
    let entry = read_entry(entry)?;
    agrees(&entry, descriptor)?;
    let adapter = read_adapter(entry.adapter)?;
    let description = describe(&entry, source)?;
    Ok(Entered {
        adapter,
        description,
    })
}

fn wrong(field: &'static str, value: impl Into<String>, expected: impl Into<String>) -> Problem {
    Problem::Entry {
        field,
        value: value.into(),
        expected: expected.into(),
    }
}

fn read_entry(entry: *const abi::Entry) -> Result<abi::Entry, Problem> {
    if entry.is_null() {
        return Err(wrong("pointer", "NULL", "an entry"));
    }
    if !entry.cast::<u64>().is_aligned() {
        return Err(wrong("pointer", "misaligned", "a multiple of 8"));
    }
    // SAFETY: not null; the first 16 bytes are the same in every version of the contract, and readable by it.
    let magic: [u8; 8] = unsafe { entry.cast::<[u8; 8]>().read() };
    if magic != abi::MAGIC {
        return Err(wrong("magic", shown(&magic), "IMBRIDGE"));
    }
    // SAFETY: as above; the size stands at 8, the major version at 12, both aligned because the entry is.
    let (size, major) = unsafe {
        let bytes = entry.cast::<u8>();
        let size = bytes.add(offset_of!(abi::Entry, size)).cast::<u32>().read();
        let major = bytes.add(offset_of!(abi::Entry, major)).cast::<u16>();
        (size, major.read())
    };
    if major != abi::ABI_MAJOR {
        return Err(wrong(
            "major",
            major.to_string(),
            abi::ABI_MAJOR.to_string(),
        ));
    }
    if size < ENTRY_BYTES || !size.is_multiple_of(8) {
        let expected = format!("a multiple of 8, at least {ENTRY_BYTES}");
        return Err(wrong("size", size.to_string(), expected));
    }
    // SAFETY: static, and as long as its size says: the contract, and all that was checked above agrees with it.
    unsafe { raw::read(entry) }.map_err(|_| wrong("size", size.to_string(), "a readable entry"))
}

fn agrees(entry: &abi::Entry, descriptor: &Descriptor) -> Result<(), Problem> {
    same_text("name", entry.name, &descriptor.name)?;
    same_text("version", entry.version, &descriptor.version.to_string())?;
    if entry.minor != descriptor.minor {
        let (theirs, expected) = (entry.minor.to_string(), descriptor.minor.to_string());
        return Err(wrong("minor", theirs, expected));
    }
    if entry.flags != descriptor.flags {
        let (theirs, expected) = (entry.flags, descriptor.flags);
        return Err(wrong(
            "flags",
            format!("{theirs:#x}"),
            format!("{expected:#x}"),
        ));
    }
    Ok(())
}

fn same_text(field: &'static str, text: abi::Str, expected: &str) -> Result<(), Problem> {
    if text.len != expected.len() || text.ptr.is_null() {
        let value = format!("{} bytes long", text.len);
        return Err(wrong(field, value, format!("`{expected}`")));
    }
    // SAFETY: static text by the contract; no longer than the descriptor's name or version, so a wild length is not
    // followed.
    let bytes = unsafe { text.bytes() };
    if bytes != expected.as_bytes() {
        return Err(wrong(
            field,
            format!("`{}`", shown(bytes)),
            format!("`{expected}`"),
        ));
    }
    Ok(())
}

fn read_adapter(table: *const abi::Adapter) -> Result<abi::Adapter, Problem> {
    if table.is_null() || !table.cast::<u64>().is_aligned() {
        let value = if table.is_null() {
            "NULL"
        } else {
            "misaligned"
        };
        return Err(wrong("adapter", value, "a table of functions"));
    }
    // SAFETY: not null, aligned, static; every table begins with its size.
    let bytes = unsafe { table.cast::<u32>().read() };
    if bytes >= ADAPTER_BYTES && !bytes.is_multiple_of(8) {
        let value = format!("{bytes} bytes long");
        return Err(wrong("adapter", value, "a multiple of 8"));
    }
    if bytes < ADAPTER_BYTES {
        let lacking = FUNCTIONS.iter().find(|(_, at, _)| *at + 8 > bytes as usize);
        let function = lacking.map_or("extension", |(name, ..)| name);
        return Err(Problem::Table { bytes, function });
    }
    // SAFETY: static, and as long as its size says, by the contract.
    let adapter = unsafe { raw::read(table) }.map_err(|_| Problem::Table {
        bytes,
        function: "create",
    })?;
    match FUNCTIONS.iter().find(|(.., is_there)| !is_there(&adapter)) {
        Some((function, ..)) => Err(Problem::Table { bytes, function }),
        None => Ok(adapter),
    }
}

type Function = (&'static str, usize, fn(&abi::Adapter) -> bool);

macro_rules! functions {
    ($($name:ident)+) => {
        &[$((stringify!($name), offset_of!(abi::Adapter, $name), |table| table.$name.is_some())),+]
    };
}

/// What every adapter has, in the table's order.
const FUNCTIONS: &[Function] =
    functions!(create start grant settle execute cancel drain stop destroy extension);

fn describe(entry: &abi::Entry, source: &Path) -> Result<Vec<u8>, Problem> {
    let Some(describe) = entry.describe else {
        return Err(wrong("describe", "NULL", "a function"));
    };
    let refused = |problem| Problem::Describe {
        pointer: String::new(),
        problem,
        path: source.into(),
    };
    let mut text = abi::Str::EMPTY;
    // SAFETY: a function of a loaded image, called with a place for its answer that outlives the call.
    let status = unsafe { describe(&raw mut text) };
    if !status.is_ok() {
        return Err(refused(format!("the call answered {}", status.0)));
    }
    if text.len > DESCRIBE_BYTES_MAX {
        let length = text.len;
        return Err(refused(format!(
            "has {length} bytes, at most {DESCRIBE_BYTES_MAX} are read"
        )));
    }
    if text.ptr.is_null() || text.len == 0 {
        return Err(refused("the call answered nothing".into()));
    }
    // SAFETY: static text by the contract, and of a length that was checked.
    Ok(unsafe { text.bytes() }.to_vec())
}
