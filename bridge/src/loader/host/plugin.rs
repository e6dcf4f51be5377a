//! A loaded file as its instances see it: what it can be asked, what it declared, and the thread that asks.
//!
//! Not here: how it got loaded (`load`, `enter`, `describe`).

use super::super::Loaded;
use super::caller::Caller;
use im_bridge_plugin_api::abi::{self, raw};
use std::sync::Arc;
use std::time::Duration;

/// How long the host waits for an adapter. The contract's figures; tests have less patience.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// `create`, `start`, `destroy`, and on top of the timeout of `drain` and `stop`.
    pub control: Duration,
    /// A quick call beyond this is stuck.
    pub quick: Duration,
    /// A quick call beyond this is counted.
    pub slow: Duration,
    /// Until a busy adapter is asked again, when no completion comes before.
    pub busy: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            control: Duration::from_secs(5),
            quick: Duration::from_secs(5),
            slow: Duration::from_millis(10),
            busy: Duration::from_millis(50),
        }
    }
}

/// The adapter's functions, each of them there.
pub(super) struct Calls {
    pub create: unsafe extern "C" fn(
        *const abi::Create,
        *mut *mut abi::Instance,
        *mut abi::Buf,
    ) -> abi::Status,
    pub start: unsafe extern "C" fn(*mut abi::Instance) -> abi::Status,
    pub grant: unsafe extern "C" fn(*mut abi::Instance, u32, u64) -> abi::Status,
    pub settle: unsafe extern "C" fn(*mut abi::Instance, *const abi::Settle, u32) -> abi::Status,
    pub execute: ExecuteFn,
    pub cancel: unsafe extern "C" fn(*mut abi::Instance, u64) -> abi::Status,
    pub drain: unsafe extern "C" fn(*mut abi::Instance, u32) -> abi::Status,
    pub stop: unsafe extern "C" fn(*mut abi::Instance, u32) -> abi::Status,
    pub destroy: unsafe extern "C" fn(*mut abi::Instance) -> abi::Status,
    pub kv_done:
        Option<unsafe extern "C" fn(*mut abi::Instance, *const abi::KvResult, u32) -> abi::Status>,
    pub verify: Option<ExecuteFn>,
    pub webhook:
        Option<unsafe extern "C" fn(*mut abi::Instance, *const abi::WebhookRequest) -> abi::Status>,
    pub webhook_cancel: Option<unsafe extern "C" fn(*mut abi::Instance, u64) -> abi::Status>,
}

pub(super) type ExecuteFn =
    unsafe extern "C" fn(*mut abi::Instance, *const abi::Command, u32) -> abi::Status;

/// See the front page.
pub struct Plugin {
    pub(super) calls: Calls,
    pub(super) caller: Arc<Caller>,
    pub(super) patience: Patience,
    pub(super) provider: Box<str>,
    kinds: Box<[Box<str>]>,
    operations: Box<[Box<str>]>,
    meta: Box<[Box<str>]>,
}

impl Plugin {
    /// Makes a loaded file ready for instances. Its caller thread starts with the first call.
    #[must_use]
    pub fn new(loaded: &Loaded, patience: Patience) -> Arc<Self> {
        let description = &loaded.description;
        let events = description.capabilities.events.keys();
        let kinds = events.filter(|kind| description.capabilities.emits(kind));
        Arc::new(Self {
            calls: calls(&loaded.adapter),
            caller: Caller::new(&loaded.provider, patience.quick),
            patience,
            kinds: sorted(kinds),
            operations: sorted(description.operations.keys()),
            meta: sorted(description.meta.iter()),
            provider: loaded.provider.as_str().into(),
        })
    }

    /// Provider id.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Whether it can say what became of an earlier command.
    #[must_use]
    pub fn can_verify(&self) -> bool {
        self.calls.verify.is_some()
    }

    /// Whether it takes HTTP requests of its provider.
    #[must_use]
    pub fn takes_webhooks(&self) -> bool {
        self.calls.webhook.is_some()
    }

    pub(super) fn kind(&self, index: u16) -> &str {
        self.kinds.get(usize::from(index)).map_or("", |kind| kind)
    }

    pub(super) fn kind_index(&self, kind: &str) -> Option<u16> {
        let index = self
            .kinds
            .binary_search_by(|known| (**known).cmp(kind))
            .ok()?;
        u16::try_from(index).ok()
    }

    /// Whether events may carry this fact.
    pub(super) fn has_meta(&self, key: &str) -> bool {
        self.meta
            .binary_search_by(|known| (**known).cmp(key))
            .is_ok()
    }

    pub(super) fn has_operation(&self, name: &str) -> bool {
        self.operations
            .binary_search_by(|known| (**known).cmp(name))
            .is_ok()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.caller.finish();
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Box<[Box<str>]> {
    let mut names: Vec<Box<str>> = names.map(|name| name.as_str().into()).collect();
    names.sort_unstable();
    names.into_boxed_slice()
}

fn calls(adapter: &abi::Adapter) -> Calls {
    const THERE: &str = "`enter` refuses a table that lacks one";
    let kv = extension::<abi::KvAdapter>(adapter, abi::EXT_KV);
    let verify = extension::<abi::VerifyAdapter>(adapter, abi::EXT_VERIFY);
    let webhook = extension::<abi::WebhookAdapter>(adapter, abi::EXT_WEBHOOK);
    Calls {
        create: adapter.create.expect(THERE),
        start: adapter.start.expect(THERE),
        grant: adapter.grant.expect(THERE),
        settle: adapter.settle.expect(THERE),
        execute: adapter.execute.expect(THERE),
        cancel: adapter.cancel.expect(THERE),
        drain: adapter.drain.expect(THERE),
        stop: adapter.stop.expect(THERE),
        destroy: adapter.destroy.expect(THERE),
        kv_done: kv.and_then(|table| table.done),
        verify: verify.and_then(|table| table.verify),
        webhook: webhook.and_then(|table| table.request),
        webhook_cancel: webhook.and_then(|table| table.cancel),
    }
}

/// A table of an extension; one that cannot be read counts as absent.
fn extension<T: raw::Grows>(adapter: &abi::Adapter, name: &str) -> Option<T> {
    let ask = adapter.extension?;
    // SAFETY: [any] function of an image that is never unloaded; the name outlives the call; the answer is null or a
    // static table.
    unsafe { raw::read(ask(abi::Str::new(name)).cast::<T>()) }.ok()
}
