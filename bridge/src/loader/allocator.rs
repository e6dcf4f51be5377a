//! The C library's allocator, which core and plugins share: what one of them frees is there for the others, or goes back to
//! the system.
//!
//! glibc's own ways are made for few threads that keep what they have: an arena for each thread up to eight per core, and a
//! piece is kept the longer the larger those before it were. A thousand accounts that begin together leave holes in a dozen
//! arenas then, which nobody fills again. Two arenas and sizes that stay take a third less and cost nothing that could be
//! measured; a thread's own cache comes before either.
//!
//! Not here: another allocator, since plugins would still use this one; libraries other than glibc, which have no such ways.

#![allow(unsafe_code, reason = "settings of the C library, which are numbers")]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::env;

    /// One for the core's threads to meet in, one for the adapters'.
    const ARENAS: i32 = 2;
    /// From this size on memory is the system's own, and so much may lie idle at an arena's end: the defaults, made fixed.
    const PIECE_BYTES: i32 = 128 * 1024;
    /// Whoever sets one of these knows better.
    const OPERATORS: [&str; 4] = [
        "GLIBC_TUNABLES",
        "MALLOC_ARENA_MAX",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
    ];

    pub fn settle() {
        if OPERATORS.iter().any(|name| env::var_os(name).is_some()) {
            return;
        }
        for (what, value) in [
            (libc::M_ARENA_MAX, ARENAS),
            (libc::M_MMAP_THRESHOLD, PIECE_BYTES),
            (libc::M_TRIM_THRESHOLD, PIECE_BYTES),
        ] {
            // SAFETY: takes two numbers and changes settings under the allocator's own lock. One that it does not know, or
            // refuses, changes nothing.
            unsafe { libc::mallopt(what, value) };
        }
    }
}

/// To be called before there are threads: an arena that exists stays.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::settle();
}
