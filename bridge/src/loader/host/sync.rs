//! What `gate` is made of, so that its loom model can put loom's own in place.

pub(super) use std::sync::atomic::{AtomicU32, Ordering};

/// Lets others run, for longer the longer one waits.
pub(super) fn pause(round: u32) {
    match round {
        0..16 => std::hint::spin_loop(),
        16..64 => std::thread::yield_now(),
        _ => std::thread::sleep(std::time::Duration::from_micros(50)),
    }
}
