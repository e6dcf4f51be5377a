//! The functions that the host calls: the adapter table.
//!
//! Each runs under the guard. The quick ones copy what they got into the instance's inbox and wake it, nothing else; so
//! none of them runs code of the adapter, and none can wait for it.

use super::describe::described;
use super::extensions::extension;
use super::guard::guarded;
use super::link::HostLink;
use super::owned;
use crate::command::CommandData;
use crate::engine::core::Core;
use crate::engine::inbox::{COMMANDS_MAX, SIGNALS_MAX, lock};
use crate::engine::scope;
use crate::engine::threads::{BootSlot, SharedThreads, start_own};
use crate::export::{Exported, Runtime, flags};
use crate::{ConfigError, Host, Trace, config, log};
use im_bridge_plugin_api::abi::{self, Status, raw};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One account in one adapter, as the host's handle points to it.
pub(crate) struct Instance {
    pub(crate) core: Arc<Core>,
    boot: BootSlot,
    home: Home,
    name: String,
}

/// Where the instance lives, once started.
enum Home {
    Own(Mutex<Option<JoinHandle<()>>>),
    Shared {
        threads: &'static SharedThreads,
        most: u8,
        place: Mutex<Option<usize>>,
    },
}

struct Tables<A>(std::marker::PhantomData<A>);

impl<A: Exported> Tables<A> {
    const ADAPTER: &'static abi::Adapter = &abi::Adapter {
        size: super::link::size_of_u32::<abi::Adapter>(),
        reserved: 0,
        create: Some(create::<A>),
        start: Some(start),
        grant: Some(grant),
        settle: Some(settle),
        execute: Some(execute),
        cancel: Some(cancel),
        drain: Some(drain),
        stop: Some(stop),
        destroy: Some(destroy),
        extension: Some(extension::<A>),
    };

    const ENTRY: &'static abi::Entry = &abi::Entry {
        magic: abi::MAGIC,
        size: super::link::size_of_u32::<abi::Entry>(),
        major: abi::ABI_MAJOR,
        minor: abi::ABI_MINOR,
        flags: flags::<A>(),
        reserved: 0,
        name: abi::Str::new(A::PROVIDER),
        version: abi::Str::new(A::VERSION),
        describe: Some(describe::<A>),
        adapter: Self::ADAPTER,
    };
}

pub(crate) fn entry_table<A: Exported>() -> *const abi::Entry {
    Tables::<A>::ENTRY
}

/// The entry function for a host that is linked with the adapter. Every host minor will do.
pub(crate) unsafe extern "C" fn entry<A: Exported>(_host_minor: u32) -> *const abi::Entry {
    entry_table::<A>()
}

unsafe extern "C" fn describe<A: Exported>(out: *mut abi::Str) -> Status {
    guarded(None, || {
        if out.is_null() {
            return Status::E_INVALID;
        }
        let json = abi::Str::new(&described::<A>().json);
        // SAFETY: not null, and the host gives a place for the answer. The text lives as long as the process.
        unsafe { out.write(json) };
        Status::OK
    })
}

unsafe extern "C" fn create<A: Exported>(
    args: *const abi::Create,
    out: *mut *mut abi::Instance,
    err: *mut abi::Buf,
) -> Status {
    log::install();
    guarded(None, || {
        // SAFETY: the host's arguments, as the contract has them.
        match unsafe { try_create::<A>(args, out) } {
            Ok(()) => Status::OK,
            Err((status, error)) => {
                if let (Some(error), false) = (error, err.is_null()) {
                    let json = serde_json::to_vec(&error).unwrap_or_default();
                    // SAFETY: not null, and the host gives a place for the answer, which it takes.
                    unsafe { err.write(owned::give(json)) };
                }
                status
            }
        }
    })
}

type CreateError = (Status, Option<ConfigError>);

/// # Safety
/// As the contract of `create`.
unsafe fn try_create<A: Exported>(
    args: *const abi::Create,
    out: *mut *mut abi::Instance,
) -> Result<(), CreateError> {
    let refused = |status: Status| (status, None);
    // SAFETY: the host's struct.
    let args = unsafe { raw::read(args) }.map_err(refused)?;
    if args.flags & abi::FLAGS_MUST_KNOW != 0 {
        return Err(refused(Status::E_UNSUPPORTED));
    }
    // SAFETY: texts that are borrowed for this call.
    let texts = unsafe {
        (
            owned::text(args.provider),
            owned::text(args.account),
            std::str::from_utf8(args.config.bytes()),
        )
    };
    let (Ok(provider), Ok(account), Ok(json)) = texts else {
        return Err(refused(Status::E_INVALID));
    };
    if provider != A::PROVIDER || out.is_null() {
        return Err(refused(Status::E_INVALID));
    }
    // SAFETY: valid until `destroy` returned, and `destroy` closes the link.
    let link = unsafe { HostLink::new(args.host, account.into_boxed_str()) }.map_err(refused)?;
    let core = Arc::new(Core::new(link));
    let _scope = scope::enter(&core.link);
    // A failure leaves nothing, in particular no metric that calls a host which is gone.
    let adapter = config::parse::<A::Config>(json)
        .and_then(|config| {
            hook(&core, "create");
            A::create(config, &Host::new(Arc::clone(&core.link)))
        })
        .map_err(|error| {
            core.link.close();
            (Status::E_INVALID, Some(error))
        })?;
    let instance = Box::new(Instance {
        boot: Arc::new(Mutex::new(Some(Box::new(move || {
            Rc::new(adapter) as Rc<_>
        })))),
        home: home::<A>(),
        name: format!("{}/{}", A::PROVIDER, core.link.account()),
        core,
    });
    // SAFETY: not null, and the host gives a place for the handle.
    unsafe { out.write(Box::into_raw(instance).cast()) };
    Ok(())
}

fn home<A: Exported>() -> Home {
    match A::RUNTIME {
        Runtime::Own => Home::Own(Mutex::new(None)),
        Runtime::Shared(most) => Home::Shared {
            threads: &A::statics().threads,
            most,
            place: Mutex::new(None),
        },
    }
}

/// Runs `body` with the instance behind a handle.
///
/// # Safety
/// `handle` is null or came from `create` and was not destroyed.
pub(crate) unsafe fn with(
    handle: *mut abi::Instance,
    body: impl FnOnce(&Instance) -> Status,
) -> Status {
    // SAFETY: the caller's promise; instances are shared between threads by reference only.
    let Some(instance) = (unsafe { handle.cast::<Instance>().as_ref() }) else {
        return Status::E_INVALID;
    };
    let status = guarded(Some(&instance.core.link), || body(instance));
    if status == Status::E_PANIC {
        // The host poisons the instance; its tasks must not run on either.
        instance.core.poison();
    }
    status
}

unsafe extern "C" fn start(handle: *mut abi::Instance) -> Status {
    let body = |instance: &Instance| {
        hook(&instance.core, "start");
        if lock(&instance.boot).is_none() {
            return Status::E_CONFLICT;
        }
        let core = Arc::clone(&instance.core);
        let started = match &instance.home {
            Home::Own(thread) => start_own(instance.name.clone(), core, Arc::clone(&instance.boot))
                .map(|handle| *lock(thread) = Some(handle)),
            Home::Shared {
                threads,
                most,
                place,
            } => {
                let provider = instance.name.split('/').next().unwrap_or_default();
                threads
                    .start(provider, usize::from(*most), core, &instance.boot)
                    .map(|index| *lock(place) = Some(index))
            }
        };
        match started {
            Ok(()) => Status::OK,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot start");
                Status::E_UNAVAILABLE
            }
        }
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn grant(handle: *mut abi::Instance, events: u32, bytes: u64) -> Status {
    let body = |instance: &Instance| {
        hook(&instance.core, "grant");
        instance.core.inbox.add(|batch| {
            batch.is_granted = true;
            batch.granted_events = batch.granted_events.saturating_add(u64::from(events));
            batch.granted_bytes = batch.granted_bytes.saturating_add(bytes);
        });
        instance.core.inbox.signal();
        Status::OK
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn settle(
    handle: *mut abi::Instance,
    settles: *const abi::Settle,
    n: u32,
) -> Status {
    let body = |instance: &Instance| {
        hook(&instance.core, "settle");
        // SAFETY: the host's array, read before this call returns.
        let settles = match unsafe { raw::slice(settles, n as usize, abi::BATCH_MAX as usize) } {
            Ok([]) => return Status::E_INVALID,
            Ok(settles) => settles,
            Err(status) => return status,
        };
        let status = instance.core.inbox.add(|batch| {
            if batch.settles.len() + settles.len() > SIGNALS_MAX {
                return Status::E_UNAVAILABLE;
            }
            batch.settles.extend_from_slice(settles);
            Status::OK
        });
        instance.core.inbox.signal();
        status
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn execute(
    handle: *mut abi::Instance,
    commands: *const abi::Command,
    n: u32,
) -> Status {
    let body = |instance: &Instance| {
        hook(&instance.core, "execute");
        // SAFETY: the host's array.
        unsafe { take_commands(instance, commands, n, false) }
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

/// Copies commands from the front while there is room; answers how many.
///
/// # Safety
/// `commands` are `n` elements that are readable during this call.
pub(crate) unsafe fn take_commands(
    instance: &Instance,
    commands: *const abi::Command,
    n: u32,
    is_verify: bool,
) -> Status {
    let core = &instance.core;
    if core.is_stopping() || core.is_poisoned() {
        return Status::E_CLOSED;
    }
    // SAFETY: the caller's promise.
    let commands = match unsafe { raw::elements(commands, n, 0) } {
        Ok(commands) => commands,
        Err(status) => return status,
    };
    let mut taken = Vec::new();
    let mut refused = Status::OK;
    for command in commands {
        // SAFETY: the caller's promise covers the texts of the elements.
        match command.and_then(|command| unsafe { copy_command(&command, is_verify) }) {
            Err(status) => {
                refused = status;
                break;
            }
            Ok(command) if reserve(&core.open_commands, COMMANDS_MAX) => taken.push(command),
            Ok(_) => break,
        }
    }
    let count = taken.len();
    if count == 0 {
        return refused;
    }
    core.inbox.add(|batch| batch.commands.append(&mut taken));
    core.inbox.signal();
    Status(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Counts one more, unless there are that many.
pub(crate) fn reserve(open: &AtomicU32, most: u32) -> bool {
    open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
        (open < most).then_some(open + 1)
    })
    .is_ok()
}

/// # Safety
/// The texts are readable during this call.
unsafe fn copy_command(command: &abi::Command, is_verify: bool) -> Result<CommandData, Status> {
    // SAFETY: the caller's promise.
    let text = |from| unsafe { owned::text(from) }.map_err(|owned::NotUtf8| Status::E_INVALID);
    Ok(CommandData {
        id: command.id,
        flags: command.flags,
        deadline_ms: command.deadline_ms,
        name: text(command.name)?,
        channel: text(command.channel)?,
        key: text(command.idempotency_key)?,
        body: text(command.body)?,
        trace: Trace::from_abi(command.trace),
        is_verify,
    })
}

unsafe extern "C" fn cancel(handle: *mut abi::Instance, id: u64) -> Status {
    let body = |instance: &Instance| {
        hook(&instance.core, "cancel");
        instance.core.inbox.add(|batch| {
            // Best effort by contract: beyond the bound the deadline does it.
            if batch.cancels.len() < SIGNALS_MAX {
                batch.cancels.push(id);
            }
        });
        instance.core.inbox.signal();
        Status::OK
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn drain(handle: *mut abi::Instance, timeout_ms: u32) -> Status {
    let body = |instance: &Instance| {
        hook(&instance.core, "drain");
        let open = instance
            .core
            .drain(Duration::from_millis(timeout_ms.into()));
        Status(i32::try_from(open).unwrap_or(i32::MAX))
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn stop(handle: *mut abi::Instance, timeout_ms: u32) -> Status {
    let body = |instance: &Instance| {
        hook(&instance.core, "stop");
        if !instance.core.stop(Duration::from_millis(timeout_ms.into())) {
            return Status::E_UNAVAILABLE;
        }
        match &instance.home {
            Home::Own(thread) => {
                let thread = lock(thread).take();
                // It is past its last line; a panic in there was reported.
                drop(thread.map(JoinHandle::join));
            }
            Home::Shared { threads, place, .. } => {
                let index = lock(place).take();
                if let Some(index) = index {
                    threads.end(index);
                }
            }
        }
        Status::OK
    };
    // SAFETY: the host's handle.
    unsafe { with(handle, body) }
}

unsafe extern "C" fn destroy(handle: *mut abi::Instance) -> Status {
    if handle.is_null() {
        return Status::E_INVALID;
    }
    // SAFETY: made by `create`, and the host gives it up with this call.
    let instance = unsafe { Box::from_raw(handle.cast::<Instance>()) };
    let link = Arc::clone(&instance.core.link);
    let status = guarded(Some(&link), || {
        hook(&instance.core, "destroy");
        // Never started: the adapter is still here.
        drop(lock(&instance.boot).take());
        Status::OK
    });
    // The host's table is gone when this returns, whatever the adapter has kept.
    link.close();
    status
}

/// With the feature `test-hooks`, an instance whose alias is `panic-in-<function>` panics in that function: the only way
/// to make a panic where no code of an adapter runs.
#[cfg(feature = "test-hooks")]
pub(crate) fn hook(core: &Core, function: &str) {
    let wanted = core.link.account().strip_prefix("panic-in-");
    assert!(wanted != Some(function), "test hook in {function}");
}

#[cfg(not(feature = "test-hooks"))]
pub(crate) fn hook(_: &Core, _: &str) {}
