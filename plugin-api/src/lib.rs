//! The contract between the core of im-bridge and a provider adapter: a C ABI, seen from Rust.
//!
//! It promises that a plugin built against 1.0 loads for as long as major 1 is served: structs only grow at the end,
//! named integers only gain values, tables carry their size. `layout.snapshot` and the C header
//! `include/im_bridge_plugin.h` are the same facts; tests compare all three. No allocation, no dependencies, no thread
//! is started here.
//!
//! Not here: anything safe to use without thought. Adapters in Rust are written against `im-bridge-sdk`; the host's
//! half lives in the core's `loader`. This page and those of the types are meant to be enough for an adapter in another
//! language.
//!
//! # What a plugin is
//!
//! A shared object for a 64-bit system with one exported symbol, [`abi::ENTRY_SYMBOL`], and one section,
//! [`abi::DESCRIPTOR_SECTION`], that holds an [`abi::Descriptor`]. The host reads the section while the file is still
//! only data; when it likes what it reads, it loads a private copy and calls the symbol ([`abi::EntryFn`]), which
//! answers an [`abi::Entry`]: what the adapter can do (`describe`) and the table of its functions ([`abi::Adapter`]).
//! For each account the host makes an instance and gives it a table of its own functions ([`abi::Host`]). What is in
//! neither table is an extension, asked for by name.
//!
//! The image is never unmapped. A plugin therefore needs no code for that, and what it handed out stays callable.
//!
//! # Who owns memory
//!
//! * **Borrowed** is everything but [`abi::Buf`]: [`abi::Str`], arrays, structs by pointer. It ends with the call; who
//!   needs it later copies it before returning. Tables are the exception: [`abi::Host`] lives until `destroy` returned,
//!   what a plugin calls static lives as long as the process.
//! * **Owned** is [`abi::Buf`]. A call that takes it moves the duty to call `release`, exactly once, to the receiver:
//!   from any thread, at any time, also long after the instance was destroyed. Two sides may have two allocators, so
//!   nothing but `release` frees it.
//! * **Refused is not taken**: after an error, the buffers of that call are still the caller's. The exception is
//!   [`abi::Status::E_PANIC`], where nobody can know how far the callee came: they count as taken. A leak is the lesser
//!   evil beside a double release.
//! * **Which were taken**: a call with an array answers how many elements it took, counted from the front; the buffers
//!   of the others are the caller's. [`abi::Host::complete`] alone takes all or none.
//!
//! # Reading what the other side wrote
//!
//! Either side may be older or newer. Every struct that grows tells its size, a multiple of 8 and never less than in
//! 1.0; the receiver copies `min(size, own size)` bytes into zeroed memory and looks at the copy. Zero is neutral for
//! every field, an absent function is null. Tables are read the same way, extension tables too. The distance between
//! two elements of an array is the size that the first element tells, not the receiver's own. [`abi::raw`] does all of
//! this.
//!
//! An array has 1 to [`abi::BATCH_MAX`] elements, aligned to 8 bytes. An element that must be refused (another size
//! than the first, an unknown flag among the upper 16) ends what is taken; when it is the first, the call answers the
//! error. Of flags the lower 16 may be ignored when unknown, the upper 16 may not. An unknown value of a named integer
//! is not an error: its type tells what it counts as.
//!
//! Instants are Unix milliseconds (nanoseconds in [`abi::Op`]); timeouts are relative and in real time, because they
//! guard threads. Text is UTF-8 and not NUL-terminated; a length of 0 means absent.
//!
//! # Threads
//!
//! | tag | who calls | what the callee may do |
//! | --- | --- | --- |
//! | `[control]` | the host, one at a time per instance | block, up to a limit |
//! | `[quick]` | any host thread, several at once | copy and return; no blocking, no lock kept across a host call |
//! | `[any]` | any thread of either side | the same |
//!
//! `create`, `start` and `destroy` have 5 s; `drain` and `stop` the timeout they are given, and 5 s more. A quick call
//! should stay below 50 µs. Above 10 ms it is counted against the adapter, above 5 s the instance is given up as
//! *stuck*.
//!
//! Three traps. The host may settle an event on another thread before `emit` has returned: know the token first.
//! `grant` and `settle` must not call `emit` before they return, else the two sides recurse; `execute` may call
//! `complete`. And nothing may unwind out of a function: each image has a runtime of its own, so that only the side
//! that panics can catch it. It answers [`abi::Status::E_PANIC`] and the instance is given up.
//!
//! A plugin shares its process: no signal handlers, no `fork`, `exit`, `setenv`, `setlocale` or `chdir`, no closing of
//! descriptors it did not open, no thread before `start` and none after `stop`.
//!
//! # The life of an instance
//!
//! ```text
//! create ─► created ─start─► started ─drain─► draining ─stop─► stopped ─destroy─► gone
//!              │                └────────────stop────────────────▲
//!              └─destroy─► gone                                  │
//! E_PANIC from a call, or a report of PANICKED  ─► poisoned ─stop┘
//! a call over its limit, or a negative stop     ─► stuck, for ever
//! ```
//!
//! | state | the host calls | the adapter may call |
//! | --- | --- | --- |
//! | created | `start`, `destroy` | `log`, `extension`; metric definitions inside `create` |
//! | started | all but `create`, `start`, `destroy` | everything |
//! | draining | `grant`, `settle`, `cancel`, results of extensions; then `stop` | everything |
//! | stopped, poisoned | `destroy` (when poisoned, first `stop`) | nothing: answers are `E_CLOSED` |
//! | gone, stuck | nothing | nothing but releases of buffers |
//!
//! An instance is one account and runs once. It reconnects to its provider by itself; for a changed configuration,
//! after a fault and for an upgrade the host makes a new one. Losing the right to an account means `stop` without
//! `drain`. `stop` comes only when no other call is inside the instance, and after it nothing but `destroy`.
//!
//! # Inbound: credits
//!
//! The host says beforehand how much it will take, so that `emit` never blocks and nothing is dropped.
//!
//! 1. An instance begins with no credit. `grant` adds events and bytes of payload; both are sums, not limits to be set.
//! 2. Emitting costs one event and its payload's bytes. It is allowed while at least one event and one byte are left;
//!    the last event may overdraw the bytes once, so that no payload is too long for the window.
//! 3. Without credit the adapter stops reading its socket and stops polling. It goes on answering heartbeats, and does
//!    not take the silence it caused for a dead peer. Where the answers to commands arrive on the same socket, it reads
//!    on while a command waits, keeping at most one more window of events.
//! 4. What an event cost comes back by `grant` when the event is settled, not when it was emitted.
//! 5. Credit binds the adapter, not the host: `emit` may take fewer for want of memory. What was not taken costs
//!    nothing and stays the adapter's; a later `grant`, perhaps of 0 and 0, says when to try again.
//!
//! Each accepted event is settled exactly once, unless the instance stops first; [`abi::Outcome`] tells what to do
//! then. The adapter acknowledges to the provider only then, and saves its cursor only then. Settles come in any order;
//! who can only acknowledge "all up to here" acknowledges the longest settled prefix. While the bus is away nothing is
//! settled and nothing times out: the credits run out, and that is all. What was unsettled at `stop` the provider
//! delivers again, and the host finds the duplicates by `native_id`.
//!
//! # Outbound: commands and the point of no return
//!
//! `execute` only queues. Each command taken is completed exactly once, from any thread, in any order, possibly before
//! `execute` returns, and at the latest at its deadline. Five seconds after that the host calls `cancel`, two more
//! later it writes the command down as unknown; a completion that still comes may correct that. Three overdue commands
//! in a row give the instance up.
//!
//! The moment when the request is handed to the provider divides its life. Before it, any failure is an error class
//! with `certain` = 1: surely nothing happened, so the host may try again. After it, anything but the provider's own
//! answer is [`abi::Status::E_UNCERTAIN`]: it may have happened. An adapter never guesses between the two, for one
//! wrong guess sends a message twice and the other loses it. A command with [`abi::CMD_REDELIVERED`] may have reached
//! the provider in an earlier life: unless the provider itself removes duplicates by the key, the adapter looks before
//! it acts, or answers `E_UNCERTAIN`.
//!
//! # Misbehaviour
//!
//! The host counts it by kind and defends itself: a struct shorter than in 1.0 or too long an array is refused, a
//! negative answer of `grant`, `settle` or `cancel` is ignored, events beyond the credit are not taken, an event that
//! breaks a text limit goes to the dead letters and is settled `REJECTED`, a second completion is dropped. Panics,
//! stuck calls and overdue commands are faults: three within ten minutes stop the account, three accounts within a
//! minute quarantine the file.
#![no_std]
#![allow(
    unsafe_code,
    reason = "the ABI is raw pointers; each block states why its conditions hold"
)]

pub mod abi;
