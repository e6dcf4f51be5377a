//! Counts allocations: of this process when it is the host of a plugin, and of any other through a preloaded library.

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);
/// The floor runs in this program, too, and must not pay for being counted.
static IS_COUNTING: AtomicBool = AtomicBool::new(false);

/// The system's allocator with a counter. A plugin's own allocations go to its own allocator and are not seen.
pub struct Counting;

fn note() {
    if IS_COUNTING.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: each call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; `alloc` handed out what the system did.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// From here on [`count`] rises.
pub fn begin() {
    IS_COUNTING.store(true, Ordering::Relaxed);
}

/// Allocations of the process since [`begin`].
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// A file that another process will count its allocations in.
pub fn counted() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let written = file.write_all(&[0; size_of::<u64>()]);
    written.expect("the folder has room");
    file
}

/// What that process is started with.
pub fn environment(counts: &tempfile::NamedTempFile) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_str().expect("a path of ours").to_owned();
    vec![
        ("LD_PRELOAD".to_owned(), text(library())),
        ("IM_BRIDGE_BENCH_COUNTS".to_owned(), text(counts.path())),
    ]
}

/// What it has counted so far, with all of its plugins.
pub fn read(counts: &Path) -> u64 {
    let bytes = std::fs::read(counts).unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let library = folder.path().join("count.so");
        let built = Command::new("cc")
            .args(["-std=gnu11", "-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/count.c"))
            .status();
        let built = built.expect("a C compiler is there: Rust links with it");
        assert!(built.success(), "the counting library is built");
        (folder, library)
    });
    library
}
