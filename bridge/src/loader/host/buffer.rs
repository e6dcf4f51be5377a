//! Owned buffers in both directions: a plugin's becomes [`Bytes`] without a copy, ours are lent with a release.
//!
//! Each buffer is released exactly once, by whoever holds it last, on any thread, also long after the instance is gone:
//! images are never unloaded.
//!
//! Not here: when a buffer counts as taken; each host function says so.

use bytes::Bytes;
use im_bridge_plugin_api::abi;
use std::ffi::c_void;

/// A plugin's buffer, held by us.
struct Adopted(abi::Buf);

// SAFETY: the contract lets the holder read and release a buffer on any thread; nobody else touches it meanwhile.
unsafe impl Send for Adopted {}

impl AsRef<[u8]> for Adopted {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `adopt`'s caller vouches for the memory until release, which only our drop calls.
        unsafe {
            abi::Str {
                ptr: self.0.ptr,
                len: self.0.len,
            }
            .bytes()
        }
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: we hold the buffer and drop once; its own three values are handed back.
            unsafe { release(self.0.owner, self.0.ptr, self.0.len) };
        }
    }
}

/// Whether the buffer could be read at all: a length needs an address.
pub(super) fn is_sound(buf: &abi::Buf) -> bool {
    (buf.len == 0 || !buf.ptr.is_null()) && isize::try_from(buf.len).is_ok()
}

/// Takes a plugin's buffer over; it is released when the last clone of the result is dropped.
///
/// # Safety
/// `buf` must be sound, owned by the caller, and describe memory that stays as it is until its release is called.
pub(super) unsafe fn adopt(buf: abi::Buf) -> Bytes {
    if buf.len == 0 {
        drop(Adopted(buf));
        return Bytes::new();
    }
    Bytes::from_owner(Adopted(buf))
}

/// Hands bytes out: the receiver calls release exactly once.
pub(super) fn lend(bytes: Bytes) -> abi::Buf {
    if bytes.is_empty() {
        return abi::Buf::EMPTY;
    }
    let (ptr, len) = (bytes.as_ptr(), bytes.len());
    abi::Buf {
        ptr,
        len,
        owner: Box::into_raw(Box::new(bytes)).cast(),
        release: Some(give_back),
    }
}

/// Takes back what the receiver did not take.
pub(super) fn take_back(buf: abi::Buf) {
    drop(Adopted(buf));
}

unsafe extern "C" fn give_back(owner: *mut c_void, _: *const u8, _: usize) {
    // SAFETY: `lend` made it of a box, and the holder calls release once.
    drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    unsafe extern "C" fn count(owner: *mut c_void, ptr: *const u8, len: usize) {
        // SAFETY: the tests below put a counter there that outlives the buffer.
        let counter = unsafe { &*owner.cast::<AtomicUsize>() };
        assert_eq!((ptr.is_null(), len), (false, 5));
        counter.fetch_add(1, Ordering::SeqCst);
    }

    #[test]
    fn an_adopted_buffer_is_not_copied_and_released_once() {
        let released = AtomicUsize::new(0);
        let text = b"hello";
        let buf = abi::Buf {
            ptr: text.as_ptr(),
            len: 5,
            owner: (&raw const released).cast_mut().cast(),
            release: Some(count),
        };
        // SAFETY: `text` and `released` live to the end of the test.
        let bytes = unsafe { adopt(buf) };
        assert_eq!(bytes.as_ptr(), text.as_ptr());
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(released.load(Ordering::SeqCst), 0);
        assert_eq!(&part[..], b"el");
        std::thread::spawn(move || drop(part)).join().unwrap();
        assert_eq!(released.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_lent_buffer_keeps_its_bytes_until_the_receiver_releases_it() {
        let bytes = Bytes::from(vec![7; 64]);
        let buf = lend(bytes.clone());
        assert!(!bytes.is_unique());
        take_back(buf);
        assert!(bytes.is_unique());
    }

    #[test]
    fn a_length_without_an_address_is_not_sound() {
        assert!(is_sound(&abi::Buf::EMPTY));
        assert!(!is_sound(&abi::Buf {
            len: 1,
            ..abi::Buf::EMPTY
        }));
    }
}
