//! The functions of both sides. All are optional in Rust: an older side has a shorter table.
//!
//! Thread tags: `[control]` one at a time per instance, may block, within a time limit; `[quick]` any host thread,
//! concurrently, never blocks; `[any]` any thread. Arguments are named in front of each function's duty, in their
//! order. Who owns what, and when which function may be called, is on the front page of this crate.
//!
//! Not here: functions that only some adapters or hosts have; those are extensions.

use super::layout::{CType, c_struct};
use super::{Buf, Command, Completion, Create, Event, Log, Op, Report, Settle, Status, Str, Trace};
use core::ffi::c_void;
use core::fmt::{Result, Write};

/// One account in one adapter, known by its address only: made by [`Adapter::create`], freed by [`Adapter::destroy`].
///
/// The host never looks inside. Two instances of one file share code and nothing else that the host could see.
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
    /// The host's functions: one table per instance, valid from `create` until `destroy` returns.
    ///
    /// All are `[any]`, never block, and never call back into the adapter on the same thread. They work from `start`
    /// until `stop` returns; [`log`](Self::log) and [`extension`](Self::extension) already inside `create`. At any
    /// other time the answer is [`Status::E_CLOSED`] and nothing is taken. Every pointer argument is borrowed for the
    /// call; the only things that change hands are the buffers named below.
    struct Host = "imb_host" {
        /// Bytes of this table as the host knows it.
        size: u32,
        /// The host's ABI minor; both sides use the lower one.
        minor: u32,
        /// First argument of every function; means nothing to the adapter.
        ctx: *mut c_void,
        /// `(ctx, events, n)` Hands over what happened at the provider.
        ///
        /// Answers how many events were taken, from the front. Exactly their payloads are the host's now; those of the
        /// others stay the adapter's. Fewer than `n`, also 0: no credit, or no memory, at the moment; keep them until a
        /// later `grant`. Negative: the first event was refused as malformed, none is taken.
        ///
        /// `settle` for one of them may run on another thread before this returns. Events of one channel are published
        /// in the order in which they were emitted.
        emit: Option<unsafe extern "C" fn(*mut c_void, *const Event, u32) -> Status>,
        /// `(ctx, completions, n)` Tells how commands ended, each exactly once.
        ///
        /// OK: all `n` bodies are the host's. [`Status::E_CLOSED`], or [`Status::E_INVALID`] because of any element:
        /// none is, and none of the commands counts as completed. A completion of an unknown or completed id is counted
        /// and dropped, its body released.
        complete: Option<unsafe extern "C" fn(*mut c_void, *const Completion, u32) -> Status>,
        /// `(ctx, report)` Tells that the account's state changed. Copied.
        ///
        /// More than ten in a second are merged: the last one wins. [`super::State::PANICKED`] gives the instance up.
        report: Option<unsafe extern "C" fn(*mut c_void, *const Report) -> Status>,
        /// `(ctx, record)` Writes a line to the host's log. Copied.
        ///
        /// Answers the highest [`super::LogLevel`] wanted now, which the adapter keeps so that it need not call for
        /// what nobody wants; a null record asks only. More than 200 lines in a second are counted and dropped.
        log: Option<unsafe extern "C" fn(*mut c_void, *const Log) -> Status>,
        /// `(ctx, op, span)` Reports one finished operation: a request, a poll, a heartbeat, a login. Copied.
        ///
        /// The host decides by the noise class whether it becomes a span. `span` may be null; else it receives the
        /// context to put into what follows from the operation (the events that a poll brought), zero if there is no
        /// span.
        op: Option<unsafe extern "C" fn(*mut c_void, *const Op, *mut Trace) -> Status>,
        /// `(ctx, name)` The host's table of an extension, static; null when it is not offered. Its functions get the
        /// same `ctx`.
        extension: Option<unsafe extern "C" fn(*mut c_void, Str) -> *const c_void>,
    }

    /// The adapter's functions; one static table for all instances.
    ///
    /// Every function of 1.0 must be there. A function that caught a panic answers [`Status::E_PANIC`] and is not
    /// trusted again. All arguments are borrowed for the call, except the host's table in [`Create`].
    struct Adapter = "imb_adapter" {
        /// Bytes of this table as the adapter knows it.
        size: u32,
        /// Zero.
        reserved: u32,
        /// `[control]` `(args, out, err)` Makes an instance for one account: checks the configuration, allocates.
        ///
        /// No I/O and no threads: the host also does this to try a file out. On success `*out` is the instance, owned
        /// by the adapter until `destroy`. On error nothing is left of it, and `*err` holds UTF-8 JSON `{code, message,
        /// pointer}`, which the host then owns; `pointer` is a JSON pointer into the configuration, and the message
        /// never repeats a value found there.
        create: Option<unsafe extern "C" fn(*const Create, *mut *mut Instance, *mut Buf) -> Status>,
        /// `[control]` `(self)` Starts threads and the connection, and returns without waiting for it.
        ///
        /// On error everything started is undone, and the instance is as after `create`.
        start: Option<unsafe extern "C" fn(*mut Instance) -> Status>,
        /// `[quick]` `(self, events, bytes)` Allows that much more to be emitted, on top of what is left.
        ///
        /// 0 and 0: nothing more, but what `emit` did not take may be tried again. Must not call `emit` before it
        /// returns.
        grant: Option<unsafe extern "C" fn(*mut Instance, u32, u64) -> Status>,
        /// `[quick]` `(self, settles, n)` Tells what became of accepted events: once for each, in any order. To be
        /// copied.
        ///
        /// May arrive before the `emit` that it answers has returned. Must not call `emit` before it returns.
        settle: Option<unsafe extern "C" fn(*mut Instance, *const Settle, u32) -> Status>,
        /// `[quick]` `(self, commands, n)` Copies commands into a queue and answers how many, from the front.
        ///
        /// Each of those is completed exactly once. Fewer than `n`: busy; the host offers the rest again after the next
        /// completion or 50 ms. Negative: the first is refused with that class, and surely did not happen.
        execute: Option<unsafe extern "C" fn(*mut Instance, *const Command, u32) -> Status>,
        /// `[quick]` `(self, id)` A command is overdue, or nobody wants it any more. Best effort; the completion still
        /// comes.
        cancel: Option<unsafe extern "C" fn(*mut Instance, u64) -> Status>,
        /// `[control]` `(self, timeout_ms)` Stops reading from the provider, then waits for what is under way.
        ///
        /// What was read already is emitted (the host goes on granting) and acknowledged as it is settled; commands in
        /// hand are finished or refused, webhook requests answered. Answers the number of events and commands still
        /// open; 0 = clean.
        drain: Option<unsafe extern "C" fn(*mut Instance, u32) -> Status>,
        /// `[control]` `(self, timeout_ms)` Completes what is not completed, closes everything, joins every thread.
        ///
        /// A command not yet handed to the provider ends as [`Status::E_UNAVAILABLE`] with `certain` = 1, any other as
        /// [`Status::E_UNCERTAIN`]. Unsettled events are forgotten. Negative: something still runs, and the host
        /// abandons the instance for good rather than freeing memory that is in use.
        stop: Option<unsafe extern "C" fn(*mut Instance, u32) -> Status>,
        /// `[control]` `(self)` Frees the instance; the pointer and the host's table are dead when it returns. Buffers
        /// that the host still holds stay valid.
        destroy: Option<unsafe extern "C" fn(*mut Instance) -> Status>,
        /// `[any]` `(name)` The adapter's static table of an extension, or null. Works without any instance.
        extension: Option<unsafe extern "C" fn(Str) -> *const c_void>,
    }

    /// What the entry function answers: the adapter's side of the handshake; static.
    struct Entry = "imb_entry" {
        /// [`super::MAGIC`].
        magic: [u8; 8],
        /// Bytes of this struct as the adapter knows it.
        size: u32,
        /// ABI major built for.
        major: u16,
        /// ABI minor built for; both sides use the lower one.
        minor: u16,
        /// As in the descriptor.
        flags: u32,
        /// Zero.
        reserved: u32,
        /// Provider id; static; equal to the descriptor's.
        name: Str,
        /// Static; equal to the descriptor's.
        version: Str,
        /// `[control]` `(out)` What the adapter is and can do: UTF-8 JSON of at most 256 KiB, valid for the life of the
        /// process. No I/O. Unknown members are ignored.
        ///
        /// | member | content |
        /// | --- | --- |
        /// | `describe` | 1 |
        /// | `provider` | provider id, equal to `name` |
        /// | `adapter` | `{name, version}`, the version equal to `version` |
        /// | `title`, `homepage` | for people; may be left out |
        /// | `model` | `{major, minor}` of the event model that is written and read |
        /// | `capabilities` | event kinds, commands and limits, as the event model's capability document has them |
        /// | `operations` | object: every [`Op`] name with its usual noise class; others are counted as `other` |
        /// | `meta` | array: the keys that [`Event`] may carry in `meta` |
        /// | `session` | `{overlap, ack, window_events}`: may two sessions coexist; `none`, `cumulative` or `each` |
        /// | `extensions` | `{required, optional}`: names; without all required ones the file is refused |
        /// | `config_schema` | JSON Schema 2020-12, `additionalProperties: false`, secrets say `"x-imb-secret": true` |
        /// | `config_examples` | at least one that the schema accepts; the file is tried out with the first |
        /// | `state_version` | raised when an older version cannot read what this one keeps in `imb.kv/1` |
        /// | `keeps_secrets` | true: it puts secrets into `imb.kv/1`, such as a session's token; may be left out |
        describe: Option<unsafe extern "C" fn(*mut Str) -> Status>,
        /// The adapter's functions; static.
        adapter: *const Adapter,
    }

    /// What a file says of itself before any of its code runs: constant data in its own section.
    ///
    /// It holds no pointers and needs no relocation, since the host reads it from the file as bytes. Nothing refers to
    /// it, so a linker that drops unused sections must be told to keep it. Text is ASCII, padded with zeros.
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

/// `[control]` The entry function, exported as [`super::ENTRY_SYMBOL`]; the host's minor is its argument.
///
/// Every call answers the same static [`Entry`]. Null: the adapter refuses this host, which
/// the descriptor's `min_host_minor` should have said before.
pub type EntryFn = unsafe extern "C" fn(host_minor: u32) -> *const Entry;

// SAFETY: tables are constant data; what they point to is constant too, or is guarded by the functions' thread tags.
unsafe impl Sync for Host {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Entry {}
