//! Buffers that the adapter gave to the host, and when the host releases them.
//!
//! Each is released exactly once. A buffer that is given again while the host still holds it is reported and not
//! released a second time.

use im_bridge_plugin_api::abi::Buf;

/// When the host releases payloads and bodies: all of these are its right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Release {
    /// On the adapter's thread, before the call returns.
    #[default]
    AtOnce,
    /// On a thread of the host, some time later.
    Elsewhere,
    /// After `stop` returned.
    AfterStop,
    /// After `destroy` returned.
    AfterDestroy,
}

/// One buffer of the adapter in the host's hands. Released on drop.
pub(super) struct Kept(Buf);

// SAFETY: the contract lets any thread read and release an owned buffer.
unsafe impl Send for Kept {}

impl Kept {
    /// Takes over what the adapter gave.
    ///
    /// # Safety
    /// `buf` must describe readable memory until it is released, and this must be the only one who releases it.
    pub unsafe fn take(buf: Buf) -> Self {
        Self(buf)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        if self.0.len == 0 || self.0.ptr.is_null() {
            return &[];
        }
        // SAFETY: promised to `take`; not released while this lives.
        unsafe { std::slice::from_raw_parts(self.0.ptr, self.0.len) }
    }

    /// The same memory with the same owner: no allocator hands that out twice.
    pub fn is_same(&self, other: &Buf) -> bool {
        self.0.release.is_some()
            && other.release.is_some()
            && self.0.ptr == other.ptr
            && self.0.owner == other.owner
            && (self.0.len > 0 || !self.0.owner.is_null())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: promised to `take`; drop comes once.
            unsafe { release(self.0.owner, self.0.ptr, self.0.len) };
        }
    }
}
