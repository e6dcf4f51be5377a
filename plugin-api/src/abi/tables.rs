//! The functions of both sides. All are optional in Rust: an older side has a shorter table.
//!
//! Thread tags: `[control]` one at a time per instance, may block, within a time limit; `[quick]` any host thread,
//! concurrently, never blocks; `[any]` any thread.

use super::layout::{CType, c_struct};
use super::{Buf, Command, Completion, Create, Event, Log, Op, Report, Settle, Status, Str, Trace};
use core::ffi::c_void;
use core::fmt::{Result, Write};

/// One account in one adapter, known by its address only.
#[repr(C)]
pub struct Instance {
    opaque: [u8; 0],
}
impl CType for Instance {
    fn c_type(out: &mut dyn Write) -> Result {
        out.write_str("imb_instance")
    }
}

c_struct! {
    /// The host's functions: one table per instance, valid from `create` until `destroy` returns. All `[any]`, never
    /// blocking.
    struct Host = "imb_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// The host's ABI minor.
        minor: u32,
        /// First argument of every function.
        ctx: *mut c_void,
        /// Takes events from the front and says how many; takes exactly those payloads. Fewer = no credit now.
        emit: Option<unsafe extern "C" fn(*mut c_void, *const Event, u32) -> Status>,
        /// OK: all bodies taken. CLOSED, or INVALID because of any element: none.
        complete: Option<unsafe extern "C" fn(*mut c_void, *const Completion, u32) -> Status>,
        /// Tells the account's state; copied.
        report: Option<unsafe extern "C" fn(*mut c_void, *const Report) -> Status>,
        /// Copied. Answers the highest level wanted now; a null record asks only.
        log: Option<unsafe extern "C" fn(*mut c_void, *const Log) -> Status>,
        /// Copied. The span (may be null) receives the context for what follows, zero if there is no span.
        op: Option<unsafe extern "C" fn(*mut c_void, *const Op, *mut Trace) -> Status>,
        /// A static table, or null.
        extension: Option<unsafe extern "C" fn(*mut c_void, Str) -> *const c_void>,
    }

    /// The adapter's functions; static.
    struct Adapter = "imb_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `[control]` Validate and allocate; no I/O, no threads. On error `*err` = JSON `{code, message, pointer}`; taken.
        create: Option<unsafe extern "C" fn(*const Create, *mut *mut Instance, *mut Buf) -> Status>,
        /// `[control]` Start threads and connection, return at once. On error everything started is undone.
        start: Option<unsafe extern "C" fn(*mut Instance) -> Status>,
        /// `[quick]` That much more may be emitted. 0, 0 = try again.
        grant: Option<unsafe extern "C" fn(*mut Instance, u32, u64) -> Status>,
        /// `[quick]` Copied. Exactly once per accepted event, in any order.
        settle: Option<unsafe extern "C" fn(*mut Instance, *const Settle, u32) -> Status>,
        /// `[quick]` Copied and queued; answers how many, from the front. Each of those is completed exactly once.
        execute: Option<unsafe extern "C" fn(*mut Instance, *const Command, u32) -> Status>,
        /// `[quick]` Best effort; the completion still comes.
        cancel: Option<unsafe extern "C" fn(*mut Instance, u64) -> Status>,
        /// `[control]` Stop reading; wait for settles and completions. Answers what is still open; 0 = clean.
        drain: Option<unsafe extern "C" fn(*mut Instance, u32) -> Status>,
        /// `[control]` Close everything, join every thread. Negative = something still runs.
        stop: Option<unsafe extern "C" fn(*mut Instance, u32) -> Status>,
        /// `[control]` Free the instance.
        destroy: Option<unsafe extern "C" fn(*mut Instance) -> Status>,
        /// `[any]` A static table, or null.
        extension: Option<unsafe extern "C" fn(Str) -> *const c_void>,
    }

    /// What the entry function answers; static.
    struct Entry = "imb_entry" {
        /// [`super::MAGIC`].
        magic: [u8; 8],
        /// Bytes of this struct as the adapter knows it.
        size: u32,
        /// ABI major built for.
        major: u16,
        /// ABI minor built for.
        minor: u16,
        /// As in the descriptor.
        flags: u32,
        /// Zero.
        reserved: u32,
        /// Static; equal to the descriptor's.
        name: Str,
        /// Static; equal to the descriptor's.
        version: Str,
        /// `[control]` JSON, valid for the life of the process.
        describe: Option<unsafe extern "C" fn(*mut Str) -> Status>,
        /// The adapter's functions.
        adapter: *const Adapter,
    }

    /// What a file says of itself before any of its code runs: constant data in its own section, no pointers.
    struct Descriptor = "imb_descriptor" {
        /// [`super::MAGIC`].
        magic: [u8; 8],
        /// 256.
        size: u32,
        /// The ABI built for.
        major: u16,
        /// The ABI built for.
        minor: u16,
        /// `DESC_*`.
        flags: u32,
        /// Oldest host minor it can work with.
        min_host_minor: u32,
        /// Provider id, zero-padded ASCII.
        name: [u8; 48],
        /// Semantic version.
        version: [u8; 32],
        /// Target triple, for messages.
        target: [u8; 48],
        /// `rustc 1.95.0 sdk 1.0.3`, for messages.
        toolchain: [u8; 64],
        /// Zero.
        reserved: [u8; 40],
    }
}

/// `[control]` The entry function. Null = this host is refused.
pub type EntryFn = unsafe extern "C" fn(host_minor: u32) -> *const Entry;

// SAFETY: tables are constant data; what they point to is constant too, or is guarded by the functions' thread tags.
unsafe impl Sync for Host {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Entry {}
