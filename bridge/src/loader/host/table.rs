//! The functions that a plugin may call: they check, copy or adopt, and put it into the instance's mailbox.
//!
//! They never block: no I/O, and locks are held for a few instructions, never across a call into an adapter. Nothing
//! unwinds out of them: a panic here is answered `IMB_E_PANIC`, poisons the instance, and what the call held counts as
//! taken. What an adapter does wrong is answered as the contract says, and counted.
//!
//! Not here: the extensions' functions (`kv`, `metrics`, `webhook`).

use super::buffer;
use super::credits::NoCredit;
use super::event::{InboundEvent, KIND_PACKED, Ticket, at};
use super::gate::Pass;
use super::messages::{Completed, HostEvent, Log, Op, Report};
use super::misbehaviour::Misbehaviour;
use super::packed::{Packed, text};
use super::shared::{Id, Shared};
use super::{kv, metrics, webhook};
use bytes::Bytes;
use im_bridge_plugin_api::abi::{self, Status, raw};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Limits of texts in bytes, as the contract gives them.
const KIND_BYTES_MAX: usize = 64;
const ID_BYTES_MAX: usize = 512;
const KEY_BYTES_MAX: usize = 64;
const META_KEY_BYTES_MAX: usize = 32;
const META_VALUE_BYTES_MAX: usize = 128;
const REASON_BYTES_MAX: usize = 48;
const DETAIL_BYTES_MAX: usize = 16 * 1024;
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Names of operations, log targets and the like, and values of attributes.
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 2048;
/// Elements of arrays inside structs.
const META_MAX: usize = 8;
const PAIRS_MAX: usize = 16;
/// Longest payload and completion body.
const PAYLOAD_BYTES_MAX: usize = abi::PAYLOAD_MAX as usize;

/// A table's or struct's size field.
pub(super) const fn size_of_table<T>() -> u32 {
    assert!(size_of::<T>() <= 4096);
    #[allow(clippy::cast_possible_truncation, reason = "checked in the line above")]
    let size = size_of::<T>() as u32;
    size
}

/// The functions of one instance.
pub(super) fn table(ctx: *mut c_void) -> abi::Host {
    abi::Host {
        size: size_of_table::<abi::Host>(),
        minor: u32::from(abi::ABI_MINOR),
        ctx,
        emit: Some(emit),
        complete: Some(complete),
        report: Some(report),
        log: Some(log),
        op: Some(op),
        extension: Some(extension),
    }
}

/// Runs a host function behind the instance's gate, and keeps its panics.
///
/// # Safety
/// `ctx` must be null or the context of a table made by [`table`] whose instance's memory still exists.
pub(super) unsafe fn guarded(
    ctx: *mut c_void,
    pass: Pass,
    closed: Status,
    work: impl FnOnce(&Shared) -> Status,
) -> Status {
    // SAFETY: the caller's promise.
    let Some(shared) = (unsafe { ctx.cast::<Shared>().as_ref() }) else {
        return Status::E_INVALID;
    };
    let Some(_inside) = shared.gate.enter(pass) else {
        shared.refused();
        return closed;
    };
    catch_unwind(AssertUnwindSafe(|| work(shared))).unwrap_or_else(|_| {
        shared.poison();
        Status::E_PANIC
    })
}

unsafe extern "C" fn emit(ctx: *mut c_void, events: *const abi::Event, n: u32) -> Status {
    // SAFETY: the adapter hands back its own context; the array is readable until we return.
    unsafe {
        guarded(ctx, Pass::Full, Status::E_CLOSED, |shared| {
            emit_inside(shared, events, n)
        })
    }
}

/// # Safety
/// As `raw::elements`; texts as `imb_str`, payloads as `imb_buf`.
unsafe fn emit_inside(shared: &Shared, events: *const abi::Event, n: u32) -> Status {
    let Some(me) = shared.arc() else {
        return Status::E_CLOSED;
    };
    // SAFETY: the caller's promise.
    let walk = match unsafe { raw::elements(events, n, 0) } {
        Ok(walk) => walk,
        Err(status) => {
            shared.count(Misbehaviour::BadStruct);
            return status;
        }
    };
    let mut batch = Vec::new();
    let (mut taken, mut refused) = (0, Status::OK);
    for event in walk {
        // SAFETY: the caller's promise.
        match unsafe { event.and_then(|event| accept(&me, &event)) } {
            Ok(accepted) if n == 1 => shared.mailbox.put(HostEvent::Event(accepted)),
            Ok(accepted) => batch.push(HostEvent::Event(accepted)),
            Err(status) => {
                refused = status;
                break;
            }
        }
        taken += 1;
    }
    if !batch.is_empty() {
        shared.mailbox.put_all(&mut batch);
    }
    if refused == Status::E_INVALID {
        shared.count(Misbehaviour::BadStruct);
    }
    // Without credit nothing is wrong with the element: "none taken" is the answer.
    if taken == 0 { refused } else { Status(taken) }
}

/// Takes one event; an error leaves it the adapter's ([`Status::OK`] for want of credit).
///
/// # Safety
/// Texts as `imb_str`, the payload as `imb_buf`.
unsafe fn accept(me: &Arc<Shared>, from: &abi::Event) -> Result<InboundEvent, Status> {
    // SAFETY: the caller's promise.
    let meta = unsafe { raw::slice(from.meta, from.meta_len, META_MAX) }?;
    if !buffer::is_sound(&from.payload) {
        return Err(Status::E_INVALID);
    }
    let payload_bytes = from.payload.len as u64;
    match me.credits.spend(payload_bytes) {
        Ok(()) => {}
        Err(NoCredit::NotGranted) => {
            me.count(Misbehaviour::EmitWithoutCredit);
            return Err(Status::OK);
        }
        Err(NoCredit::Pressure) => {
            me.credits.wait_for_room(|| Arc::downgrade(me) as _);
            return Err(Status::OK);
        }
    }
    let ticket = Ticket::new(Arc::clone(me), from.token, payload_bytes);
    // SAFETY: sound, and the adapter's own until now.
    let payload = unsafe { buffer::adopt(from.payload) };
    let mut is_bad = false;
    let mut texts = [""; at::META + 2 * META_MAX];
    let mut facts = 0;
    // SAFETY: the caller's promise, for all of them.
    let kind = unsafe {
        let kind = text(&from.kind, KIND_BYTES_MAX, &mut is_bad);
        texts[at::CHANNEL] = text(&from.channel, ID_BYTES_MAX, &mut is_bad);
        texts[at::NATIVE_ID] = text(&from.native_id, ID_BYTES_MAX, &mut is_bad);
        texts[at::NATIVE_REV] = text(&from.native_rev, KEY_BYTES_MAX, &mut is_bad);
        texts[at::ORDER_KEY] = text(&from.order_key, KEY_BYTES_MAX, &mut is_bad);
        texts[at::CLIENT_REF] = text(&from.client_ref, KEY_BYTES_MAX, &mut is_bad);
        for pair in meta {
            let key = text(&pair.key, META_KEY_BYTES_MAX, &mut is_bad);
            let value = text(&pair.value, META_VALUE_BYTES_MAX, &mut is_bad);
            // What nobody declared nobody reads.
            if me.plugin.has_meta(key) {
                texts[at::META + 2 * facts] = key;
                texts[at::META + 2 * facts + 1] = value;
                facts += 1;
            }
        }
        kind
    };
    let kind_index = me.plugin.kind_index(kind);
    if kind_index.is_none() {
        texts[at::KIND] = kind;
    }
    let defect = if is_bad {
        Some(Misbehaviour::BadText)
    } else if kind_index.is_none() {
        Some(Misbehaviour::KindNotDeclared)
    } else if payload.len() > PAYLOAD_BYTES_MAX {
        Some(Misbehaviour::PayloadTooLarge)
    } else {
        None
    };
    if let Some(defect) = defect {
        me.count(defect);
    }
    Ok(InboundEvent {
        ticket,
        payload,
        trace: from.trace,
        time_ms: (from.time_ms != 0).then_some(from.time_ms),
        texts: Packed::new(&texts[..at::META + 2 * facts]),
        kind: kind_index.unwrap_or(KIND_PACKED),
        delivery: from.delivery,
        origin: from.origin,
        order_scope: from.order_scope,
        noise: from.noise,
        defect,
    })
}

unsafe extern "C" fn complete(
    ctx: *mut c_void,
    completions: *const abi::Completion,
    n: u32,
) -> Status {
    // SAFETY: the adapter hands back its own context; the array is readable until we return.
    unsafe {
        guarded(ctx, Pass::Full, Status::E_CLOSED, |shared| {
            complete_inside(shared, completions, n)
        })
    }
}

/// # Safety
/// As `raw::elements`; texts as `imb_str`, bodies as `imb_buf`.
unsafe fn complete_inside(shared: &Shared, from: *const abi::Completion, n: u32) -> Status {
    // All or none: nothing may be taken before each of them was looked at.
    // SAFETY: the caller's promise.
    let look = unsafe { raw::elements::<abi::Completion>(from, n, 0) };
    let all_sound = look.and_then(|mut walk| {
        walk.try_for_each(|element| {
            let is_sound = buffer::is_sound(&element?.body);
            is_sound.then_some(()).ok_or(Status::E_INVALID)
        })
    });
    // SAFETY: as above.
    let walk = unsafe { raw::elements::<abi::Completion>(from, n, 0) };
    let (Ok(()), Ok(walk)) = (all_sound, walk) else {
        shared.count(Misbehaviour::BadStruct);
        return Status::E_INVALID;
    };
    for completion in walk.flatten() {
        // SAFETY: sound, and the adapter's own until now.
        let body = unsafe { buffer::adopt(completion.body) };
        match shared.take_command(completion.id) {
            // SAFETY: the caller's promise.
            Id::Open => shared
                .mailbox
                .put(unsafe { completed(shared, completion, body) }),
            Id::Completed => shared.count(Misbehaviour::CompletionTwice),
            Id::Unknown => shared.count(Misbehaviour::CompletionUnknown),
        }
    }
    wake_busy(shared);
    Status::OK
}

/// # Safety
/// Texts as `imb_str`.
unsafe fn completed(shared: &Shared, mut from: abi::Completion, mut body: Bytes) -> HostEvent {
    let mut is_bad = false;
    // SAFETY: the caller's promise.
    let (code, native_id) = unsafe {
        (
            text(&from.code, REASON_BYTES_MAX, &mut is_bad),
            text(&from.native_id, ID_BYTES_MAX, &mut is_bad),
        )
    };
    if is_bad {
        shared.count(Misbehaviour::BadText);
    }
    if matches!(from.status, Status::E_PANIC | Status::E_CLOSED) {
        shared.count(Misbehaviour::BadStatus);
        from.status = Status::E_INTERNAL;
    }
    if body.len() > PAYLOAD_BYTES_MAX {
        shared.count(Misbehaviour::PayloadTooLarge);
        body = Bytes::new(); // what it says of success or failure still counts
    }
    HostEvent::Completed(Completed::new(&from, body, code, native_id))
}

/// A completion makes room: commands that waited are offered again.
fn wake_busy(shared: &Shared) {
    let is_busy = shared.queue().is_busy;
    if is_busy {
        shared.send(|queue| queue.is_busy = false);
    }
}

unsafe extern "C" fn report(ctx: *mut c_void, report: *const abi::Report) -> Status {
    // SAFETY: the adapter hands back its own context; the struct and its texts are readable until we return.
    unsafe {
        guarded(ctx, Pass::Full, Status::E_CLOSED, |shared| {
            let Ok(from) = raw::read(report) else {
                shared.count(Misbehaviour::BadStruct);
                return Status::E_INVALID;
            };
            if from.state == abi::State::PANICKED {
                shared.poison();
                return Status::OK;
            }
            let mut is_bad = false;
            let texts = [
                text(&from.reason, REASON_BYTES_MAX, &mut is_bad),
                text(&from.self_id, ID_BYTES_MAX, &mut is_bad),
                text(&from.transport, NAME_BYTES_MAX, &mut is_bad),
                // Half a JSON text is none.
                whole(&from.detail, DETAIL_BYTES_MAX, &mut is_bad),
            ];
            if is_bad {
                shared.count(Misbehaviour::BadText);
            }
            shared.mailbox.put_report(Report {
                state: from.state,
                next_attempt_ms: (from.next_attempt_ms != 0).then_some(from.next_attempt_ms),
                texts: Packed::new(&texts),
            });
            Status::OK
        })
    }
}

/// As `text`, but nothing instead of a part.
///
/// # Safety
/// As `text`.
unsafe fn whole<'a>(from: &abi::Str, limit_bytes: usize, is_bad: &mut bool) -> &'a str {
    let mut is_cut = false;
    // SAFETY: the caller's promise.
    let text = unsafe { text(from, limit_bytes, &mut is_cut) };
    *is_bad |= is_cut;
    if is_cut { "" } else { text }
}

unsafe extern "C" fn log(ctx: *mut c_void, record: *const abi::Log) -> Status {
    // SAFETY: the adapter hands back its own context; the struct and what it names are readable until we return.
    unsafe {
        guarded(ctx, Pass::Early, Status::E_CLOSED, |shared| {
            let wanted = shared.hooks.log_level();
            let answer = Status(i32::try_from(wanted.0).unwrap_or(0));
            if record.is_null() {
                return answer;
            }
            let read = raw::read(record).and_then(|record| {
                Ok((
                    record,
                    raw::slice(record.fields, record.fields_len, PAIRS_MAX)?,
                ))
            });
            let Ok((from, fields)) = read else {
                shared.count(Misbehaviour::BadStruct);
                return Status::E_INVALID;
            };
            if from.level > wanted {
                return answer;
            }
            let mut is_cut = false; // log lines are cut, not held against the adapter
            let head = [
                text(&from.target, NAME_BYTES_MAX, &mut is_cut),
                text(&from.message, MESSAGE_BYTES_MAX, &mut is_cut),
            ];
            shared.mailbox.put_log(Log {
                level: from.level,
                trace: from.trace,
                dropped_before: 0,
                texts: with_pairs(head, fields),
            });
            answer
        })
    }
}

unsafe extern "C" fn op(ctx: *mut c_void, op: *const abi::Op, span: *mut abi::Trace) -> Status {
    // SAFETY: the adapter hands back its own context; the struct and what it names are readable, and `span`, unless
    // null, writable until we return.
    unsafe {
        if !span.is_null() && span.is_aligned() {
            span.write(abi::Trace::NONE);
        }
        guarded(ctx, Pass::Full, Status::E_CLOSED, |shared| {
            let read = raw::read(op)
                .and_then(|op| Ok((op, raw::slice(op.attrs, op.attrs_len, PAIRS_MAX)?)));
            let Ok((from, attributes)) = read else {
                shared.count(Misbehaviour::BadStruct);
                return Status::E_INVALID;
            };
            let mut is_cut = false;
            let name = text(&from.name, NAME_BYTES_MAX, &mut is_cut);
            let name = if shared.plugin.has_operation(name) {
                name
            } else {
                "other"
            };
            let head = [name, text(&from.detail, VALUE_BYTES_MAX, &mut is_cut)];
            let mut op = Op {
                noise: match from.noise {
                    known @ 1..=7 => abi::Noise(u32::from(known)),
                    _ => abi::Noise::AUX,
                },
                status: Status(i32::from(from.status)),
                items: from.items,
                start_ns: from.start_ns,
                end_ns: from.end_ns,
                parent: from.parent,
                context: abi::Trace::NONE,
                texts: with_pairs(head, attributes),
            };
            op.context = shared.hooks.op(&op);
            if !span.is_null() && span.is_aligned() {
                span.write(op.context);
            }
            shared.mailbox.put_op(op);
            Status::OK
        })
    }
}

/// # Safety
/// Texts as `imb_str`; at most [`PAIRS_MAX`] pairs.
unsafe fn with_pairs(head: [&str; 2], pairs: &[abi::Pair]) -> Packed {
    let mut is_cut = false;
    let mut texts = [""; 2 + 2 * PAIRS_MAX];
    texts[..2].copy_from_slice(&head);
    for (into, pair) in texts[2..].chunks_exact_mut(2).zip(pairs) {
        // SAFETY: the caller's promise.
        unsafe {
            into[0] = text(&pair.key, NAME_BYTES_MAX, &mut is_cut);
            into[1] = text(&pair.value, VALUE_BYTES_MAX, &mut is_cut);
        }
    }
    Packed::new(&texts[..2 + 2 * pairs.len()])
}

unsafe extern "C" fn extension(ctx: *mut c_void, name: abi::Str) -> *const c_void {
    let mut table: *const c_void = std::ptr::null();
    // SAFETY: the adapter hands back its own context; the name is readable until we return.
    unsafe {
        guarded(ctx, Pass::Early, Status::E_CLOSED, |shared| {
            let mut is_bad = false;
            table = match text(&name, NAME_BYTES_MAX, &mut is_bad) {
                abi::EXT_KV => (&raw const kv::TABLE).cast(),
                abi::EXT_METRICS => (&raw const metrics::TABLE).cast(),
                abi::EXT_WEBHOOK if shared.offers_webhooks() => (&raw const webhook::TABLE).cast(),
                _ => std::ptr::null(),
            };
            Status::OK
        });
    }
    table
}
