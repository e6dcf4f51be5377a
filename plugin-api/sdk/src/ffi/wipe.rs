//! Overwrites secrets before their memory is given back.

use std::sync::atomic::{Ordering, compiler_fence};

/// Zeros the bytes in a way that the optimiser may not leave out.
pub(crate) fn wipe(bytes: &mut [u8]) {
    for byte in bytes {
        // SAFETY: a mutable reference is valid for writing.
        unsafe { std::ptr::write_volatile(byte, 0) };
    }
    compiler_fence(Ordering::SeqCst);
}
