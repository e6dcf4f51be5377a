//! The functions of the extensions' adapter sides.

use super::describe::described;
use super::entries::{hook, reserve, take_commands, with};
use super::link::size_of_u32;
use super::owned::{self, HostBuf};
use crate::Trace;
use crate::engine::inbox::{KvDone, SIGNALS_MAX, WEBHOOKS_MAX};
use crate::export::Exported;
use crate::webhook::RequestData;
use im_bridge_plugin_api::abi::{self, Status, raw};
use std::ffi::c_void;
use std::sync::atomic::Ordering;

/// Most headers of a webhook request.
const HEADERS_MAX: usize = 64;

static KV: abi::KvAdapter = abi::KvAdapter {
    size: size_of_u32::<abi::KvAdapter>(),
    reserved: 0,
    done: Some(kv_done),
};
static CLOCK: abi::ClockAdapter = abi::ClockAdapter {
    size: size_of_u32::<abi::ClockAdapter>(),
    reserved: 0,
    fired: Some(clock_fired),
};
static VERIFY: abi::VerifyAdapter = abi::VerifyAdapter {
    size: size_of_u32::<abi::VerifyAdapter>(),
    reserved: 0,
    verify: Some(verify),
};
static WEBHOOK: abi::WebhookAdapter = abi::WebhookAdapter {
    size: size_of_u32::<abi::WebhookAdapter>(),
    reserved: 0,
    request: Some(webhook_request),
    cancel: Some(webhook_cancel),
};

/// The static table of a name, or null. Verify and webhook only if the adapter's description lists them.
pub(crate) unsafe extern "C" fn extension<A: Exported>(name: abi::Str) -> *const c_void {
    let find = || {
        // SAFETY: a text that is borrowed for this call.
        let name = unsafe { name.bytes() };
        let is = |known: &str| name == known.as_bytes();
        if is(abi::EXT_KV) {
            (&raw const KV).cast()
        } else if is(abi::EXT_CLOCK) {
            (&raw const CLOCK).cast()
        } else if is(abi::EXT_VERIFY) && described::<A>().has_verify {
            (&raw const VERIFY).cast()
        } else if is(abi::EXT_WEBHOOK) && described::<A>().has_webhook {
            (&raw const WEBHOOK).cast()
        } else {
            std::ptr::null()
        }
    };
    // An adapter whose `describe` panics offers nothing.
    let mut table = std::ptr::null();
    super::guard::guarded(None, || {
        table = find();
        Status::OK
    });
    table
}

unsafe extern "C" fn kv_done(
    handle: *mut abi::Instance,
    results: *const abi::KvResult,
    n: u32,
) -> Status {
    let body = |instance: &super::entries::Instance| {
        hook(&instance.core, "kv");
        // SAFETY: the host's array.
        let results = match unsafe { raw::elements(results, n, 0) } {
            Ok(results) => results,
            Err(status) => return status,
        };
        let mut status = Status::OK;
        // Values are always taken, also of answers that nobody waits for: those are released by being dropped.
        let mut done: Vec<KvDone> = Vec::new();
        for result in results {
            match result {
                Ok(result) => done.push(KvDone {
                    request: result.request,
                    status: result.status,
                    revision: result.revision,
                    // SAFETY: given to us with this call.
                    value: unsafe { HostBuf::new(result.value) },
                }),
                Err(error) => status = error,
            }
        }
        let rest = instance.core.inbox.add(|batch| {
            if batch.kv.len() + done.len() <= SIGNALS_MAX {
                batch.kv.append(&mut done);
            }
            done
        });
        instance.core.inbox.signal();
        // Released outside the lock: it is the host's function.
        drop(rest);
        status
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn clock_fired(handle: *mut abi::Instance, ids: *const u64, n: u32) -> Status {
    let body = |instance: &super::entries::Instance| {
        // SAFETY: the host's array.
        let ids = match unsafe { raw::slice(ids, n as usize, abi::BATCH_MAX as usize) } {
            Ok(ids) => ids,
            Err(status) => return status,
        };
        instance.core.inbox.add(|batch| {
            if batch.fired.len() + ids.len() <= SIGNALS_MAX {
                batch.fired.extend_from_slice(ids);
            }
        });
        instance.core.inbox.signal();
        Status::OK
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn verify(
    handle: *mut abi::Instance,
    commands: *const abi::Command,
    n: u32,
) -> Status {
    let body = |instance: &super::entries::Instance| {
        hook(&instance.core, "verify");
        // SAFETY: the host's array.
        unsafe { take_commands(instance, commands, n, true) }
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn webhook_request(
    handle: *mut abi::Instance,
    request: *const abi::WebhookRequest,
) -> Status {
    let body = |instance: &super::entries::Instance| {
        hook(&instance.core, "webhook");
        let core = &instance.core;
        if core.is_draining() || core.is_stopping() || core.is_poisoned() {
            return Status::E_UNAVAILABLE;
        }
        // SAFETY: the host's struct, readable during this call.
        let request = match unsafe { raw::read(request) } {
            Ok(request) if request.flags & abi::FLAGS_MUST_KNOW != 0 => {
                return Status::E_UNSUPPORTED;
            }
            Ok(request) => request,
            Err(status) => return status,
        };
        if !reserve(&core.open_webhooks, WEBHOOKS_MAX) {
            return Status::E_UNAVAILABLE;
        }
        // SAFETY: as above, for texts and headers.
        let Ok(data) = (unsafe { copy_request(&request) }) else {
            core.open_webhooks.fetch_sub(1, Ordering::AcqRel);
            return Status::E_INVALID;
        };
        core.inbox.add(|batch| batch.webhooks.push(data));
        core.inbox.signal();
        Status::OK
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

/// Copies a request; takes its body only if everything else is right.
///
/// # Safety
/// Texts and headers are readable during this call.
unsafe fn copy_request(request: &abi::WebhookRequest) -> Result<RequestData, Status> {
    // SAFETY: the caller's promise.
    let text = |from| unsafe { owned::text(from) }.map_err(|owned::NotUtf8| Status::E_INVALID);
    // SAFETY: the caller's promise.
    let pairs = unsafe { raw::slice(request.headers, request.headers_len, HEADERS_MAX) }?;
    let mut headers = Vec::with_capacity(pairs.len());
    for pair in pairs {
        // SAFETY: the caller's promise. A header value need not be UTF-8: what is not is replaced, not refused.
        let value = String::from_utf8_lossy(unsafe { pair.value.bytes() }).into_owned();
        headers.push((text(pair.key)?, value));
    }
    Ok(RequestData {
        id: request.id,
        deadline_ms: request.deadline_ms,
        method: text(request.method)?,
        path: text(request.path)?,
        query: text(request.query)?,
        peer: text(request.peer)?,
        headers,
        trace: Trace::from_abi(request.trace),
        // SAFETY: the last thing that can happen here, and the call answers OK: the body is ours.
        body: unsafe { HostBuf::new(request.body) },
    })
}

unsafe extern "C" fn webhook_cancel(handle: *mut abi::Instance, id: u64) -> Status {
    let body = |instance: &super::entries::Instance| {
        instance.core.inbox.add(|batch| {
            if batch.webhook_cancels.len() < SIGNALS_MAX {
                batch.webhook_cancels.push(id);
            }
        });
        instance.core.inbox.signal();
        Status::OK
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}
