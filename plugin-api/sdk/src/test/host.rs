//! The host's functions, as the adapter finds them in its table.
//!
//! Each enters the gate, reads what it got by the layout rules, writes the book and answers. Payloads and bodies are
//! copied and then released when the test wants it.

use crate::test::builder::{Extension, Settling};
use crate::test::clock::CLOCK;
use crate::test::keep::{Kept, Release};
use crate::test::kv::KV;
use crate::test::metrics::METRICS;
use crate::test::record::{EventRecord, LogRecord, OpRecord, ReportRecord, Trace};
use crate::test::rules::bad;
use crate::test::shared::{Book, Open, Shared, poison};
use crate::test::violation::{Call, Function, Violation};
use crate::test::webhook::WEBHOOK;
use im_bridge_plugin_api::abi::{
    self, Buf, Completion, Delivery, Event, Host, Log, Noise, Op, OrderScope, Origin, Outcome,
    Pair, Report, State, Status, Str, raw,
};
use std::ffi::c_void;
use std::sync::{Arc, mpsc};

const META_MAX: usize = 8;
const PAIRS_MAX: usize = 16;
const DETAIL_BYTES_MAX: usize = 16 * 1024;

/// The table for a mock whose `Arc` stands at `ctx`.
pub(super) fn table(ctx: *mut c_void) -> Host {
    Host {
        size: super::lend::size_u32(size_of::<Host>()),
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

/// Text of the adapter; what is no UTF-8 is a violation and read with replacement characters.
///
/// # Safety
/// As for [`Str::bytes`], for the duration of the call.
pub(super) unsafe fn text(
    book: &mut Book,
    function: Function,
    field: &'static str,
    from: Str,
) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { from.bytes() };
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            book.violate(bad(function, field, error.to_string()));
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

/// As [`text`], with an empty one being absent.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn optional(
    book: &mut Book,
    function: Function,
    field: &'static str,
    from: Str,
) -> Option<String> {
    // SAFETY: the caller's promise.
    Some(unsafe { text(book, function, field, from) }).filter(|text| !text.is_empty())
}

/// Pairs of text, at most `most`.
///
/// # Safety
/// `first` must point to `n` readable pairs with readable texts.
pub(super) unsafe fn pairs(
    book: &mut Book,
    function: Function,
    field: &'static str,
    first: *const Pair,
    n: usize,
    most: usize,
) -> Result<Vec<(String, String)>, Status> {
    // SAFETY: the caller's promise.
    let pairs = unsafe { raw::slice(first, n, most) }?;
    let owned = pairs.iter().map(|pair| {
        // SAFETY: the caller's promise.
        unsafe {
            (
                text(book, function, field, pair.key),
                text(book, function, field, pair.value),
            )
        }
    });
    Ok(owned.collect())
}

/// Takes over a buffer that the adapter gave; a copy of its bytes, and what is left to release outside the lock.
///
/// # Safety
/// `buf` must be an owned buffer that the adapter gives with this call.
pub(super) unsafe fn take(
    book: &mut Book,
    function: Function,
    buf: Buf,
    to_release: &mut Vec<Kept>,
) -> Vec<u8> {
    if book
        .kept
        .iter()
        .chain(to_release.iter())
        .any(|kept| kept.is_same(&buf))
    {
        book.violate(Violation::BufferGivenTwice { function });
        return Vec::new();
    }
    // SAFETY: the caller's promise, and nobody else in the host has it.
    let kept = unsafe { Kept::take(buf) };
    let bytes = kept.bytes().to_vec();
    match book.release {
        Release::AtOnce => to_release.push(kept),
        Release::Elsewhere => book.later(move |_| drop(kept)),
        Release::AfterStop | Release::AfterDestroy => book.kept.push(kept),
    }
    bytes
}

unsafe extern "C" fn emit(ctx: *mut c_void, events: *const Event, n: u32) -> Status {
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(Function::Emit) else {
        return Status::E_CLOSED;
    };
    if let Some(call @ (Call::Grant | Call::Settle)) = shared.inside() {
        shared.lock().violate(Violation::EmitInside { call });
    }
    // SAFETY: the contract makes `events` an array of `n` elements.
    let elements = match unsafe { raw::elements(events, n, 0) } {
        Ok(elements) => elements,
        Err(status) => return bad_struct(shared, Function::Emit, status),
    };
    let (mut taken, mut refusal) = (0, Status::OK);
    let (mut to_release, mut early, mut later) = (Vec::new(), Vec::new(), Vec::new());
    let mut book = shared.lock();
    for element in elements {
        let event = match element {
            Ok(event) => event,
            Err(status) => {
                let function = Function::Emit;
                book.violate(Violation::BadStruct { function, status });
                refusal = status;
                break;
            }
        };
        if book.credit.take_at_most.is_some_and(|most| taken >= most) {
            break;
        }
        if !has_credit(&mut book, &event) {
            break;
        }
        if book.open.contains_key(&event.token) {
            book.violate(Violation::TokenReused { token: event.token });
            refusal = Status::E_INVALID;
            break;
        }
        // SAFETY: an element of the adapter's array; its texts and payload are readable during the call.
        match unsafe { admit(shared, &mut book, &event, &mut to_release) } {
            Ok(outcome) => {
                taken += 1;
                match (&book.settling, outcome) {
                    (Settling::BeforeEmitReturns(_), Some(outcome)) => {
                        early.push((event.token, outcome));
                    }
                    (_, Some(outcome)) => later.push((event.token, outcome)),
                    (_, None) => {}
                }
            }
            Err(status) => {
                let function = Function::Emit;
                book.violate(Violation::BadStruct { function, status });
                refusal = status;
                break;
            }
        }
    }
    if !later.is_empty() {
        book.later(move |shared| shared.settle(&later));
    }
    drop(book);
    shared.notify();
    drop(to_release);
    settle_early(shared, early);
    if taken == 0 && !refusal.is_ok() {
        return refusal;
    }
    Status(i32::try_from(taken).expect("at most the batch limit"))
}

/// One event and more than zero bytes: the last event may overdraw the bytes once.
fn has_credit(book: &mut Book, event: &Event) -> bool {
    if book.credit.events >= 1 && book.credit.bytes > 0 {
        return true;
    }
    let violation = Violation::EmitWithoutCredit {
        token: event.token,
        bytes: event.payload.len,
        credit_events: book.credit.events,
        credit_bytes: book.credit.bytes,
    };
    book.violate(violation);
    false
}

/// Takes one event; answers the outcome that the policy has for it.
///
/// # Safety
/// `event` must be an element of an array that the adapter passed to the current call.
unsafe fn admit(
    shared: &Shared,
    book: &mut Book,
    event: &Event,
    to_release: &mut Vec<Kept>,
) -> Result<Option<Outcome>, Status> {
    let function = Function::Emit;
    let violations_before = book.violations.len();
    // SAFETY: the caller's promise covers the texts, pairs and payload of the event.
    let record = unsafe {
        let meta = pairs(book, function, "meta", event.meta, event.meta_len, META_MAX)?;
        EventRecord {
            order: book.order(),
            at: shared.at(),
            token: event.token,
            time_ms: event.time_ms,
            kind: text(book, function, "kind", event.kind),
            channel: optional(book, function, "channel", event.channel),
            native_id: optional(book, function, "native_id", event.native_id),
            native_rev: optional(book, function, "native_rev", event.native_rev),
            order_key: optional(book, function, "order_key", event.order_key),
            client_ref: optional(book, function, "client_ref", event.client_ref),
            delivery: Delivery(u32::from(event.delivery)),
            origin: Origin(u32::from(event.origin)),
            order_scope: OrderScope(u32::from(event.order_scope)),
            noise: match event.noise {
                0 => Noise::EVENT,
                noise => Noise(u32::from(noise)),
            },
            trace: Trace::from_abi(&event.trace),
            payload: take(book, function, event.payload, to_release),
            meta,
        }
    };
    for violation in shared.rules.check_event(&record) {
        book.violate(violation);
    }
    book.credit.events -= 1;
    book.credit.bytes -= i64::try_from(event.payload.len).unwrap_or(i64::MAX / 2);
    let open = Open {
        bytes: event.payload.len,
        trace_id: record.trace.map(|trace| trace.trace_id),
    };
    book.open.insert(event.token, open);
    let outcome = if book.violations.len() > violations_before {
        Some(Outcome::REJECTED)
    } else {
        book.settling.outcome(&record)
    };
    book.seen.events.push(record);
    Ok(outcome)
}

/// Settles on another thread while emit is still inside, which the contract allows and adapters forget.
fn settle_early(shared: &Arc<Shared>, outcomes: Vec<(u64, Outcome)>) {
    if outcomes.is_empty() {
        return;
    }
    let (done, wait) = mpsc::channel();
    let host = Arc::clone(shared);
    let settler = std::thread::spawn(move || {
        host.settle(&outcomes);
        // The emitter may have given up.
        let _ = done.send(());
    });
    if wait.recv_timeout(shared.patience).is_ok() {
        let _ = settler.join();
    } else {
        shared.lock().violate(Violation::SettleWaitsForEmit);
    }
}

unsafe extern "C" fn complete(ctx: *mut c_void, completions: *const Completion, n: u32) -> Status {
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(Function::Complete) else {
        return Status::E_CLOSED;
    };
    // SAFETY: the contract makes `completions` an array of `n` elements.
    let elements = unsafe { raw::elements(completions, n, 0) };
    let all: Result<Vec<Completion>, Status> = elements.and_then(Iterator::collect);
    let all = match all {
        Ok(all) => all,
        Err(status) => {
            bad_struct(shared, Function::Complete, status);
            return Status::E_INVALID;
        }
    };
    let mut to_release = Vec::new();
    let mut book = shared.lock();
    for completion in &all {
        // SAFETY: elements of the adapter's array; texts and bodies are readable during the call.
        unsafe { super::command::completed(shared, &mut book, completion, &mut to_release) };
    }
    drop(book);
    shared.notify();
    drop(to_release);
    Status::OK
}

unsafe extern "C" fn report(ctx: *mut c_void, report: *const Report) -> Status {
    let function = Function::Report;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return Status::E_CLOSED;
    };
    // SAFETY: the contract makes it a report.
    let report = match unsafe { raw::read(report) } {
        Ok(report) => report,
        Err(status) => return bad_struct(shared, function, status),
    };
    let mut book = shared.lock();
    let book = &mut *book;
    // SAFETY: texts of the adapter's argument.
    let (reason, self_id, transport, detail) = unsafe {
        (
            optional(book, function, "reason", report.reason),
            optional(book, function, "self_id", report.self_id),
            optional(book, function, "transport", report.transport),
            optional(book, function, "detail", report.detail),
        )
    };
    let is_code = |code: &String| {
        code.len() <= 48
            && code
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    if let Some(reason) = reason.as_ref().filter(|reason| !is_code(reason)) {
        let problem = format!("is {reason:?}, expected [a-z0-9_]{{1,48}}");
        book.violate(bad(function, "reason", problem));
    }
    let detail = detail.and_then(|detail| {
        if detail.len() > DETAIL_BYTES_MAX {
            let problem = format!(
                "has {} bytes, the limit is {DETAIL_BYTES_MAX}",
                detail.len()
            );
            book.violate(bad(function, "detail", problem));
        }
        serde_json::from_str(&detail)
            .map_err(|error| book.violate(bad(function, "detail", format!("is no JSON: {error}"))))
            .ok()
    });
    if report.state == State::PANICKED {
        book.violate(Violation::TaskPanicked);
        poison(book);
    } else if !State::ALL.iter().any(|(_, state)| *state == report.state) {
        let problem = format!("is {}, unknown", report.state.0);
        book.violate(bad(function, "state", problem));
    }
    let record = ReportRecord {
        order: book.order(),
        at: shared.at(),
        state: report.state,
        next_attempt_ms: report.next_attempt_ms,
        reason,
        self_id,
        transport,
        detail,
    };
    book.seen.reports.push(record);
    shared.notify();
    Status::OK
}

unsafe extern "C" fn log(ctx: *mut c_void, record: *const Log) -> Status {
    let function = Function::Log;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return Status::E_CLOSED;
    };
    let mut book = shared.lock();
    let wanted = Status(i32::try_from(book.log_level.0).expect("levels are small"));
    if record.is_null() {
        return wanted;
    }
    // SAFETY: the contract makes it a log record; its texts are readable during the call.
    let record = unsafe {
        raw::read(record).and_then(|log| {
            let fields = pairs(
                &mut book,
                function,
                "fields",
                log.fields,
                log.fields_len,
                PAIRS_MAX,
            )?;
            Ok(LogRecord {
                order: book.order(),
                at: shared.at(),
                level: log.level,
                target: text(&mut book, function, "target", log.target),
                message: text(&mut book, function, "message", log.message),
                fields,
                trace: Trace::from_abi(&log.trace),
            })
        })
    };
    match record {
        Ok(record) => book.seen.logs.push(record),
        Err(status) => {
            drop(book);
            return bad_struct(shared, function, status);
        }
    }
    drop(book);
    shared.notify();
    wanted
}

unsafe extern "C" fn op(ctx: *mut c_void, op: *const Op, span: *mut abi::Trace) -> Status {
    let function = Function::Op;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return Status::E_CLOSED;
    };
    let mut book = shared.lock();
    // SAFETY: the contract makes it an op; its texts are readable during the call.
    let record = unsafe {
        raw::read(op).and_then(|op| {
            let attrs = pairs(
                &mut book,
                function,
                "attrs",
                op.attrs,
                op.attrs_len,
                PAIRS_MAX,
            )?;
            Ok(OpRecord {
                order: book.order(),
                at: shared.at(),
                name: text(&mut book, function, "name", op.name),
                noise: Noise(u32::from(op.noise)),
                status: Status(i32::from(op.status)),
                items: op.items,
                start_ns: op.start_ns,
                end_ns: op.end_ns,
                detail: text(&mut book, function, "detail", op.detail),
                parent: Trace::from_abi(&op.parent),
                attrs,
                span: None,
            })
        })
    };
    let mut record = match record {
        Ok(record) => record,
        Err(status) => {
            drop(book);
            return bad_struct(shared, function, status);
        }
    };
    check_op(shared, &mut book, &record);
    record.span = span_of(&mut book, &record);
    let answer = record.span.map_or(abi::Trace::NONE, Trace::to_abi);
    book.seen.ops.push(record);
    drop(book);
    if !span.is_null() {
        // SAFETY: not null, so the contract makes it a writable context.
        unsafe { span.write(answer) };
    }
    shared.notify();
    Status::OK
}

fn check_op(shared: &Shared, book: &mut Book, op: &OpRecord) {
    let function = Function::Op;
    if !shared.rules.declares_operation(&op.name) {
        let name = op.name.clone();
        book.violate(Violation::OpNotDeclared { name });
    }
    if op.end_ns < op.start_ns {
        let problem = format!("is {} ns before start_ns", op.start_ns - op.end_ns);
        book.violate(bad(function, "end_ns", problem));
    }
    if !Noise::ALL.iter().any(|(_, noise)| *noise == op.noise) {
        book.violate(bad(
            function,
            "noise",
            format!("is {}, unknown", op.noise.0),
        ));
    }
    if op.detail.contains('?') {
        let problem = "holds a question mark: a query does not belong there".to_owned();
        book.violate(bad(function, "detail", problem));
    }
    if let Some(url) = op.attr("url.full") {
        let authority = url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or("");
        if url.contains('?') || authority.contains('@') {
            let problem = "holds a query or a user part".to_owned();
            book.violate(bad(function, "attrs url.full", problem));
        }
    }
}

/// The contexts that a host answers: of the span where the class makes one, of the parent for `aux`, else none.
fn span_of(book: &mut Book, op: &OpRecord) -> Option<Trace> {
    match op.noise {
        Noise::COMMAND | Noise::SESSION => {
            let own = Trace::numbered(book.next_trace());
            let parent = op.parent.filter(|_| op.noise == Noise::COMMAND);
            Some(Trace {
                trace_id: parent.map_or(own.trace_id, |parent| parent.trace_id),
                ..own
            })
        }
        Noise::AUX => op.parent,
        _ => None,
    }
}

unsafe extern "C" fn extension(ctx: *mut c_void, name: Str) -> *const c_void {
    let function = Function::Extension;
    // SAFETY: the table's own ctx.
    let shared = unsafe { Shared::from_ctx(ctx) };
    let Some(_entered) = shared.enter(function) else {
        return std::ptr::null();
    };
    let mut book = shared.lock();
    // SAFETY: text of the adapter's argument.
    let name = unsafe { text(&mut book, function, "name", name) };
    match Extension::named(&name) {
        Some(extension) if shared.offers.contains(&extension) => match extension {
            Extension::Kv => (&raw const KV).cast(),
            Extension::Metrics => (&raw const METRICS).cast(),
            Extension::Clock => (&raw const CLOCK).cast(),
            Extension::Webhook => (&raw const WEBHOOK).cast(),
        },
        _ => std::ptr::null(),
    }
}

/// Writes the violation and answers the status.
pub(super) fn bad_struct(shared: &Shared, function: Function, status: Status) -> Status {
    shared
        .lock()
        .violate(Violation::BadStruct { function, status });
    shared.notify();
    status
}
