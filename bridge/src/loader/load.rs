//! Mapping a staged file into the process, for ever.
//!
//! Nothing is ever unloaded: unloading is a no-op once a thread-local was touched, and a crash if a thread runs on or a
//! buffer is released later. So the image is marked as not to be deleted and its handle is forgotten.
//!
//! Not here: remembering what is loaded (`loaded`), calling the entry function (`enter`).
#![allow(
    unsafe_code,
    reason = "the system loader runs foreign constructors, and names of the C library are raw"
)]

use super::error::{Problem, shown_up_to};
use super::inspect::glibc::GlibcVersion;
use super::stage::Staged;
use im_bridge_plugin_api::abi;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::path::Path;

/// Not among the library's constants; the value is Linux's.
const RTLD_NODELETE: i32 = 0x1000;

/// Loads a staged file and finds its entry function. Constructors run inside.
///
/// # Errors
/// [`Problem::Dlopen`], or [`Problem::Entry`] without the entry symbol.
pub(super) fn load(staged: &mut Staged, source: &Path) -> Result<abi::EntryFn, Problem> {
    // Before the attempt: whatever it ends in, the system loader may remember the name.
    staged.keep();
    let flags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
    // SAFETY: loading runs constructors of the file. It was inspected, it is the private copy that nobody else can
    // change, and its place or hash is trusted: what runs is what an operator chose to run in this process.
    let library =
        unsafe { Library::open(Some(&staged.path), flags) }.map_err(|error| Problem::Dlopen {
            text: reason(&error),
            path: source.into(),
        })?;
    // SAFETY: the name's version suffix stands for this signature; the descriptor said the same major version.
    let symbol = unsafe { library.get::<abi::EntryFn>(abi::ENTRY_SYMBOL) };
    let entry = symbol.map(|symbol| *symbol).map_err(|_| Problem::Entry {
        field: "symbol",
        value: "missing".into(),
        expected: abi::ENTRY_SYMBOL.into(),
    });
    // Never closed; see above.
    std::mem::forget(library);
    entry
}

/// What the system loader says, without the library's own words around it.
fn reason(error: &libloading::Error) -> String {
    use std::error::Error;
    let text = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    shown_up_to(text.as_bytes(), 512)
}

/// Version of this process's C library.
#[cfg(target_env = "gnu")]
pub(super) fn host_glibc() -> Option<GlibcVersion> {
    unsafe extern "C" {
        fn gnu_get_libc_version() -> *const std::ffi::c_char;
    }
    // SAFETY: the function takes nothing and answers a static text that ends in NUL.
    let text = unsafe { std::ffi::CStr::from_ptr(gnu_get_libc_version()) };
    GlibcVersion::parse(text.to_str().ok()?)
}

/// Another C library has no such version.
#[cfg(not(target_env = "gnu"))]
pub(super) fn host_glibc() -> Option<GlibcVersion> {
    None
}
