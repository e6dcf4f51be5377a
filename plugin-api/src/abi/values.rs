//! Values without a size field: frozen for all of major 1. A new need is a new struct.

use super::layout::c_struct;
use core::ffi::c_void;

c_struct! {
    /// Borrowed text or bytes: valid until the call returns, UTF-8 where it is text, not NUL-terminated.
    struct Str = "imb_str" {
        /// May be null when `len` is 0.
        ptr: *const u8,
        /// 0 means absent.
        len: usize,
    }

    /// Owned bytes: the holder calls `release` exactly once, on any thread, at any time, also after `destroy`.
    struct Buf = "imb_buf" {
        /// First byte.
        ptr: *const u8,
        /// Number of bytes.
        len: usize,
        /// Opaque, handed back to `release`.
        owner: *mut c_void,
        /// `[any]` Frees the bytes; none: nothing to free. Must not touch the instance.
        release: Option<unsafe extern "C" fn(*mut c_void, *const u8, usize)>,
    }

    /// W3C trace context; all zero means none.
    struct Trace = "imb_trace" {
        /// Trace id.
        trace_id: [u8; 16],
        /// Span id.
        span_id: [u8; 8],
        /// Trace flags: bit 0 = sampled.
        flags: u8,
        /// Zero.
        pad: [u8; 7],
    }

    /// A key with its value, both borrowed.
    struct Pair = "imb_pair" {
        /// Key.
        key: Str,
        /// Value.
        value: Str,
    }

    /// What became of one event.
    struct Settle = "imb_settle" {
        /// The event's token.
        token: u64,
        /// See [`super::Outcome`].
        outcome: super::Outcome,
        /// Zero.
        reserved: u32,
    }

    /// One label of a metric with the closed set of its values.
    struct Label = "imb_label" {
        /// Label name.
        name: Str,
        /// Its values; updates name them by index.
        values: *const Str,
        /// At most 16.
        values_len: usize,
    }
}

impl Str {
    /// Absent.
    pub const EMPTY: Self = Self {
        ptr: core::ptr::null(),
        len: 0,
    };

    /// Lends `text`; the result must not outlive it, which nothing but the caller's care ensures.
    #[must_use]
    pub const fn new(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }

    /// Lends `bytes`, with the same care.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes lent.
    ///
    /// # Safety
    /// `ptr` and `len` must describe readable memory that stays so, and unchanged, for `'a`; or `len` must be 0.
    #[must_use]
    pub const unsafe fn bytes<'a>(&self) -> &'a [u8] {
        if self.len == 0 || self.ptr.is_null() {
            return &[];
        }
        // SAFETY: not null, and the caller vouches for the memory.
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Buf {
    /// No bytes, nothing to free.
    pub const EMPTY: Self = Self {
        ptr: core::ptr::null(),
        len: 0,
        owner: core::ptr::null_mut(),
        release: None,
    };
}

impl Trace {
    /// No context.
    pub const NONE: Self = Self {
        trace_id: [0; 16],
        span_id: [0; 8],
        flags: 0,
        pad: [0; 7],
    };

    /// No context: the W3C rule is that a trace id of zeros is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.trace_id == [0; 16]
    }
}

/// As in the `traceparent` header: `<trace id>-<span id>-<flags>`.
impl core::fmt::Debug for Trace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for byte in self.trace_id {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("-")?;
        for byte in self.span_id {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{:02x}", self.flags)
    }
}
