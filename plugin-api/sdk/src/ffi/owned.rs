//! Buffers that cross: ours on their way to the host, the host's on their way to us.

use im_bridge_plugin_api::abi;
use std::ffi::c_void;

/// Lends `bytes` as an owned buffer. The bytes stay the vector's until the host says that it took them: then the
/// vector must be forgotten, because the host calls `release`.
pub(crate) fn lend(bytes: &mut Vec<u8>) -> abi::Buf {
    if bytes.is_empty() {
        return abi::Buf::EMPTY;
    }
    abi::Buf {
        ptr: bytes.as_mut_ptr(),
        len: bytes.len(),
        // The capacity is all that a vector needs besides pointer and length, so no second allocation is made for it.
        owner: std::ptr::without_provenance_mut(bytes.capacity()),
        release: Some(release_vec),
    }
}

/// As [`lend`], for good: the receiver releases it.
pub(crate) fn give(mut bytes: Vec<u8>) -> abi::Buf {
    let buf = lend(&mut bytes);
    taken(bytes);
    buf
}

/// The host took what [`lend`] described. An empty vector was not lent and is dropped.
pub(crate) fn taken(bytes: Vec<u8>) {
    if !bytes.is_empty() {
        std::mem::forget(bytes);
    }
}

/// Frees a vector that was given away. Deallocation does not panic, so nothing can unwind from here.
unsafe extern "C" fn release_vec(owner: *mut c_void, ptr: *const u8, len: usize) {
    // SAFETY: pointer, length and capacity are those of a vector that `lend` described and whose owner forgot it; the
    // contract says that release is called once.
    drop(unsafe { Vec::from_raw_parts(ptr.cast_mut(), len, owner.addr()) });
}

/// A buffer that the host gave us; released when dropped.
pub(crate) struct HostBuf(abi::Buf);

// SAFETY: `release` is callable on any thread, and the bytes are nobody else's.
unsafe impl Send for HostBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for HostBuf {}

impl HostBuf {
    /// # Safety
    /// The buffer was given to us, and nobody else will use or release it.
    pub(crate) unsafe fn new(buf: abi::Buf) -> Self {
        Self(buf)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let text = abi::Str {
            ptr: self.0.ptr,
            len: self.0.len,
        };
        // SAFETY: the buffer is ours until it is released, which needs `self` by value.
        unsafe { text.bytes() }
    }
}

impl Drop for HostBuf {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: called once, with the values that came with it.
            unsafe { release(self.0.owner, self.0.ptr, self.0.len) };
        }
    }
}

/// Why a borrowed text was refused.
#[derive(Debug)]
pub(crate) struct NotUtf8;

/// Copies a borrowed text.
///
/// # Safety
/// As [`abi::Str::bytes`], for the length of this call.
pub(crate) unsafe fn text(from: abi::Str) -> Result<String, NotUtf8> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { from.bytes() };
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_away_is_freed_by_its_release() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"payload");
        let buf = give(bytes);
        // SAFETY: given to us one line up.
        let host = unsafe { HostBuf::new(buf) };
        assert_eq!(host.bytes(), b"payload");
    }

    #[test]
    fn an_empty_buffer_has_nothing_to_release() {
        let mut bytes = Vec::with_capacity(100);
        assert!(lend(&mut bytes).release.is_none());
    }
}
