//! Reading what the other side wrote, which may be older or newer: copy what both know, zero the rest.
//!
//! Both sides use these, and nothing else, to look at a struct, table or array that they did not make. A Rust reference
//! to a struct that an older side made shorter is undefined behaviour even if the missing fields are never touched.

use super::layout::Layout;
use super::{
    Adapter, BATCH_MAX, ClockAdapter, ClockHost, Command, Completion, Create, Entry, Event,
    FLAGS_MUST_KNOW, Host, KvAdapter, KvHost, KvRequest, KvResult, Log, Metric, MetricsHost, Op,
    Report, Settle, Status, VerifyAdapter, WebhookAdapter, WebhookHost, WebhookRequest,
    WebhookResponse,
};

/// A struct or table with a `size` field, which later minors make longer.
///
/// # Safety
/// All bit patterns of zeros must be valid, `SIZE_AT` must be the offset of a `u32` size, and the first
/// `SIZE_1_0` bytes must be the struct of ABI 1.0.
pub unsafe trait Grows: Layout + Copy {
    /// Offset of the size field.
    const SIZE_AT: usize = 0;
    /// Its size in ABI 1.0: nothing shorter is accepted.
    const SIZE_1_0: usize;
    /// Its size today: what this side writes into the size field.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "no struct comes near 4 GiB, and the assertion would tell"
    )]
    const SIZE: u32 = {
        assert!(size_of::<Self>() <= u32::MAX as usize);
        size_of::<Self>() as u32
    };
    /// The element's flags, where it has any.
    fn flags(&self) -> u32 {
        0
    }
}

macro_rules! grows {
    ($($ty:ident $size:literal $($flags:ident)?;)+) => {
        $(
        // SAFETY: integers, raw pointers and optional functions: zeros are valid; `size` comes first.
        unsafe impl Grows for $ty {
            const SIZE_1_0: usize = $size;
            $(fn flags(&self) -> u32 { self.$flags })?
        }
        const _: () = {
            assert!(size_of::<$ty>() >= $size, "structs never get shorter");
            assert!(size_of::<$ty>().is_multiple_of(8) && align_of::<$ty>() == 8, "the reader demands it");
        };)+
    };
}
grows! {
    Event 208 flags; Command 120 flags; Completion 96; Report 80; Log 88; Op 112; Create 64 flags;
    Host 64; Adapter 88;
    KvRequest 64 flags; KvResult 56; Metric 88; WebhookRequest 168 flags; WebhookResponse 64;
    KvHost 16; KvAdapter 16; MetricsHost 24; ClockHost 32; ClockAdapter 16; VerifyAdapter 16; WebhookAdapter 24;
    WebhookHost 16;
}
// SAFETY: as above; its size stands behind the magic.
unsafe impl Grows for Entry {
    const SIZE_AT: usize = 8;
    const SIZE_1_0: usize = 72;
    fn flags(&self) -> u32 {
        self.flags
    }
}

/// Copies what both sides know of `*from`; the rest is zero.
///
/// Refused with [`Status::E_INVALID`]: null, misaligned, shorter than in 1.0, or a size that is no multiple of 8.
///
/// # Safety
/// `from` must be null, or point to at least as many readable bytes as its size field says, and to at least that field.
pub unsafe fn read<T: Grows>(from: *const T) -> Result<T, Status> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_raw(from) }?;
    // SAFETY: the caller's promise; `size` was just read from it.
    Ok(unsafe { copy(from.cast(), size) })
}

/// As [`read`], for a struct with flags that does not come in an array; `known_flags` are those bits that the receiver
/// knows.
///
/// Also refused, with [`Status::E_UNSUPPORTED`]: an unknown flag bit that must be known.
///
/// # Safety
/// As [`read`].
pub unsafe fn read_flagged<T: Grows>(from: *const T, known_flags: u32) -> Result<T, Status> {
    // SAFETY: the caller's promise.
    let own = unsafe { read(from) }?;
    refuse_unknown(own, known_flags)
}

fn refuse_unknown<T: Grows>(own: T, known_flags: u32) -> Result<T, Status> {
    if own.flags() & FLAGS_MUST_KNOW & !known_flags == 0 {
        Ok(own)
    } else {
        Err(Status::E_UNSUPPORTED)
    }
}

/// The size field of `*from`, checked.
///
/// # Safety
/// As [`read`].
unsafe fn size_of_raw<T: Grows>(from: *const T) -> Result<usize, Status> {
    if from.is_null() || !from.cast::<u64>().is_aligned() {
        return Err(Status::E_INVALID);
    }
    // SAFETY: not null, aligned to 8, and the caller vouches for the size field.
    let size = unsafe { from.cast::<u8>().add(T::SIZE_AT).cast::<u32>().read() } as usize;
    if size < T::SIZE_1_0 || !size.is_multiple_of(8) {
        return Err(Status::E_INVALID);
    }
    Ok(size)
}

/// # Safety
/// `from` must be readable for `size` bytes.
unsafe fn copy<T: Grows>(from: *const u8, size: usize) -> T {
    let mut own = core::mem::MaybeUninit::<T>::zeroed();
    let bytes = size.min(size_of::<T>());
    // SAFETY: both sides hold at least `bytes`; the own struct was just made and cannot overlap.
    unsafe { core::ptr::copy_nonoverlapping(from, own.as_mut_ptr().cast(), bytes) };
    // SAFETY: zeros are valid for every field (the trait's promise), and what was copied the other side wrote as such.
    unsafe { own.assume_init() }
}

/// The elements of an array of growing structs, walked with the first element's size as stride.
///
/// An element that must be refused (another size, an unknown flag bit that must be known) is yielded as an error and
/// ends the walk.
pub struct Elements<T> {
    next: *const T,
    left: u32,
    stride: usize,
    known_flags: u32,
}

/// Begins the walk over `n` elements at `first`; `known_flags` are those bits that the receiver knows.
///
/// Refused with [`Status::E_INVALID`]: no element, more than [`BATCH_MAX`], or a first element that [`read`] refuses.
///
/// # Safety
/// `first` must point to `n` elements, each as long as the first one's size field says, readable as long as the result
/// is used.
pub unsafe fn elements<T: Grows>(
    first: *const T,
    n: u32,
    known_flags: u32,
) -> Result<Elements<T>, Status> {
    if n == 0 || n > BATCH_MAX {
        return Err(Status::E_INVALID);
    }
    // SAFETY: the caller's promise covers the first element.
    let stride = unsafe { size_of_raw(first) }?;
    Ok(Elements {
        next: first,
        left: n,
        stride,
        known_flags,
    })
}

impl<T: Grows> Iterator for Elements<T> {
    type Item = Result<T, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: inside the array, whose memory the maker of this walk vouched for.
        let element = match unsafe { size_of_raw(self.next) } {
            Ok(size) if size == self.stride => {
                // SAFETY: as above.
                refuse_unknown(unsafe { copy(self.next.cast(), size) }, self.known_flags)
            }
            _ => Err(Status::E_INVALID),
        };
        if element.is_err() {
            self.left = 0;
        } else {
            self.left -= 1;
            if self.left > 0 {
                // SAFETY: another element follows at this distance.
                self.next = unsafe { self.next.cast::<u8>().add(self.stride).cast() };
            }
        }
        Some(element)
    }
}

/// A borrowed array of frozen values: `&[]` when empty, an error when null with a length or longer than `most`.
///
/// # Safety
/// `first` must point to `n` readable values that stay so for `'a`, or `n` must be 0.
pub unsafe fn slice<'a, T: Frozen>(
    first: *const T,
    n: usize,
    most: usize,
) -> Result<&'a [T], Status> {
    if n == 0 {
        return Ok(&[]);
    }
    if first.is_null() || !first.is_aligned() || n > most {
        return Err(Status::E_INVALID);
    }
    // SAFETY: not null, aligned, and the caller vouches for the memory.
    Ok(unsafe { core::slice::from_raw_parts(first, n) })
}

/// A value whose layout never changes within major 1, so that a slice of it may be read as it is.
pub trait Frozen: Copy {}
impl Frozen for Settle {}
impl Frozen for super::Pair {}
impl Frozen for super::Str {}
impl Frozen for super::Label {}
impl Frozen for u16 {}
impl Frozen for u64 {}
impl Frozen for f64 {}

#[cfg(test)]
mod tests;
