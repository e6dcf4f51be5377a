//! Memory that the host lends or gives to an adapter, arranged so that misuse shows.
//!
//! What is lent for one call is overwritten the moment the call returned: an adapter that kept a pointer reads rubbish,
//! and Miri or AddressSanitizer name the place. What is given (values, request bodies) counts its releases, and its
//! bytes are freed at the first one.
//!
//! Not here: buffers that the adapter gives to the host; `keep.rs` has those.

use crate::test::violation::Violation;
use im_bridge_plugin_api::abi::raw::Grows;
use im_bridge_plugin_api::abi::{Buf, Pair, Str};
use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Arguments of one call, in allocations of their own so that tools notice a read past an end.
#[derive(Default)]
pub(super) struct Lent {
    pieces: Vec<(NonNull<u8>, Layout)>,
}

impl Lent {
    /// Lends a copy of `text`.
    pub fn text(&mut self, text: &str) -> Str {
        self.bytes(text.as_bytes())
    }

    /// Lends a copy of `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Str {
        if bytes.is_empty() {
            return Str::EMPTY;
        }
        let at = self.piece(bytes.len(), 1);
        // SAFETY: the new piece has that many bytes and overlaps nothing.
        unsafe { at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Str {
            ptr: at.as_ptr(),
            len: bytes.len(),
        }
    }

    /// Lends pairs of text.
    pub fn pairs(&mut self, pairs: &[(String, String)]) -> *const Pair {
        let pairs: Vec<Pair> = pairs
            .iter()
            .map(|(key, value)| Pair {
                key: self.text(key),
                value: self.text(value),
            })
            .collect();
        self.array(&pairs)
    }

    /// Lends frozen values; null when there is none.
    pub fn array<T: Copy>(&mut self, values: &[T]) -> *const T {
        if values.is_empty() {
            return std::ptr::null();
        }
        let first = self.piece(size_of_val(values), align_of::<T>()).cast::<T>();
        // SAFETY: the new piece holds exactly these values at their alignment and overlaps nothing.
        unsafe { first.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        first.as_ptr()
    }

    /// Lends growing structs, each `extra` bytes longer than known here, as a host of a later minor writes them.
    pub fn grown<T: Grows>(&mut self, values: &[T], extra: usize) -> *const T {
        let stride = size_of::<T>() + extra;
        let first = self.piece(stride * values.len(), 8);
        for (index, value) in values.iter().enumerate() {
            // SAFETY: the piece holds `stride` bytes for each value, and `stride` is a multiple of 8.
            unsafe {
                let at = first.add(index * stride);
                at.cast::<T>().write(*value);
                at.add(T::SIZE_AT).cast::<u32>().write(size_u32(stride));
                at.add(size_of::<T>()).write_bytes(0xEE, extra);
            }
        }
        first.as_ptr().cast()
    }

    fn piece(&mut self, bytes: usize, align: usize) -> NonNull<u8> {
        let layout = Layout::from_size_align(bytes, align).expect("small and a power of two");
        // SAFETY: callers ask for at least one byte.
        let at = NonNull::new(unsafe { std::alloc::alloc(layout) })
            .unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
        self.pieces.push((at, layout));
        at
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        for (at, layout) in self.pieces.drain(..) {
            // SAFETY: allocated by `piece` with this layout and not freed since.
            unsafe {
                at.write_bytes(0xAA, layout.size());
                std::alloc::dealloc(at.as_ptr(), layout);
            }
        }
    }
}

/// The size of a struct of the boundary as its size field wants it.
pub(super) fn size_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("structs of the boundary are small")
}

/// Buffers given to the adapter, with how often each was released.
///
/// Entries live as long as the mock, so that a second release is counted instead of touching freed memory.
#[derive(Default)]
pub(super) struct Given {
    buffers: Mutex<Vec<Arc<Buffer>>>,
}

struct Buffer {
    what: String,
    /// Raw, because moving a box would take the adapter's pointer its right to read.
    bytes: Mutex<Option<NonNull<[u8]>>>,
    releases: AtomicU32,
}

// SAFETY: the bytes are the buffer's own and read-only until they are freed, once, under the lock.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Given {
    /// Makes an owned buffer of `bytes`; `what` names it in a violation.
    pub fn give(&self, what: String, bytes: &[u8]) -> Buf {
        let owned: *mut [u8] = Box::into_raw(bytes.into());
        let owned = NonNull::new(owned).expect("a box is never null");
        let (ptr, len) = (owned.cast::<u8>().as_ptr().cast_const(), owned.len());
        let buffer = Arc::new(Buffer {
            what,
            bytes: Mutex::new(Some(owned)),
            releases: AtomicU32::new(0),
        });
        let owner = Arc::as_ptr(&buffer).cast_mut().cast::<c_void>();
        self.list().push(buffer);
        Buf {
            ptr,
            len,
            owner,
            release: Some(release),
        }
    }

    /// Those released more than once, and, when `at_end`, those never released.
    pub fn violations(&self, at_end: bool) -> Vec<Violation> {
        let wrong = |buffer: &Arc<Buffer>| match buffer.releases.load(Ordering::Acquire) {
            0 if at_end => Some(Violation::NeverReleased {
                what: buffer.what.clone(),
            }),
            0 | 1 => None,
            times => Some(Violation::ReleasedTwice {
                what: buffer.what.clone(),
                times,
            }),
        };
        self.list().iter().filter_map(wrong).collect()
    }

    /// How many are still with the adapter.
    pub fn outstanding(&self) -> usize {
        let out = |buffer: &&Arc<Buffer>| buffer.releases.load(Ordering::Acquire) == 0;
        self.list().iter().filter(out).count()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Buffer>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for buffer in self.list().drain(..) {
            if buffer.releases.load(Ordering::Acquire) == 0 {
                // The adapter may still release it: better leaked than freed under its feet.
                std::mem::forget(buffer);
            }
        }
    }
}

unsafe extern "C" fn release(owner: *mut c_void, _: *const u8, _: usize) {
    // SAFETY: `owner` came from `give`, whose list keeps the buffer alive at least until its first release, and for as
    // long as the mock lives.
    let buffer = unsafe { &*owner.cast_const().cast::<Buffer>() };
    let bytes = buffer
        .bytes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(bytes) = bytes {
        // SAFETY: from `Box::into_raw` in `give`, taken out once.
        drop(unsafe { Box::from_raw(bytes.as_ptr()) });
    }
    buffer.releases.fetch_add(1, Ordering::AcqRel);
}
