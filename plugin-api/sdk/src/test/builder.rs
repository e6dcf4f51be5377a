//! How a mock host is made: what it offers, what it grants and settles, and the adapter's `create`.

use crate::test::clock::ClockBook;
use crate::test::host;
use crate::test::keep::Release;
use crate::test::kv::{KvBook, KvStore};
use crate::test::lend::Lent;
use crate::test::mock::MockHost;
use crate::test::record::EventRecord;
use crate::test::rules::Rules;
use crate::test::shared::{Book, Functions, InstancePtr, Phase, Shared};
use crate::test::violation::{Call, Violation};
use im_bridge_plugin_api::abi::raw::Grows;
use im_bridge_plugin_api::abi::{
    ABI_MAJOR, ABI_MINOR, Adapter, Buf, Create, EXT_CLOCK, EXT_KV, EXT_METRICS, EXT_VERIFY,
    EXT_WEBHOOK, EntryFn, Host, Instance, MAGIC, Outcome, Status, Str, raw,
};
use serde_json::Value;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

/// How long a call of the adapter may take: the contract's 5 s, and more where an interpreter runs it.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 5 });

/// The entry function of an adapter, linked statically or found in a loaded file.
#[derive(Clone, Copy)]
pub struct Entry(EntryFn);

impl Entry {
    /// Vouches for the function.
    ///
    /// # Safety
    /// It must be the entry function of an adapter that stays in memory: it, and all it leads to, is called by the
    /// rules of the contract.
    #[must_use]
    pub const unsafe fn new(entry: EntryFn) -> Self {
        Self(entry)
    }
}

/// The entry function of an adapter that is linked statically.
#[must_use]
pub fn entry<A: crate::export::Exported>() -> Entry {
    // SAFETY: the export macro made it, and what is linked stays in memory.
    unsafe { Entry::new(crate::export::entry::<A>()) }
}

/// What a host can offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension {
    /// `imb.kv/1`, offered unless withheld.
    Kv,
    /// `imb.metrics/1`, offered unless withheld.
    Metrics,
    /// `imb.clock/1`: time then stands still until the test moves it.
    Clock,
    /// `imb.webhook/1`.
    Webhook,
}

impl Extension {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            EXT_KV => Some(Self::Kv),
            EXT_METRICS => Some(Self::Metrics),
            EXT_CLOCK => Some(Self::Clock),
            EXT_WEBHOOK => Some(Self::Webhook),
            _ => None,
        }
    }
}

/// Decides the outcome of an event; none leaves it to the test.
pub type Decide = Box<dyn FnMut(&EventRecord) -> Option<Outcome> + Send>;

/// What the host does with events by itself. Events that break a limit are settled as rejected in any case.
#[derive(Default)]
pub enum Settling {
    /// Nothing: the test settles.
    #[default]
    Manual,
    /// Settles every event, soon and on a thread of the host.
    Always(Outcome),
    /// Settles every event on another thread while `emit` is still inside the host.
    BeforeEmitReturns(Outcome),
    /// Asks for each event.
    Decide(Decide),
}

impl Settling {
    pub(super) fn outcome(&mut self, event: &EventRecord) -> Option<Outcome> {
        match self {
            Self::Manual => None,
            Self::Always(outcome) | Self::BeforeEmitReturns(outcome) => Some(*outcome),
            Self::Decide(decide) => decide(event),
        }
    }
}

/// Why there is no instance.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The entry function or what it leads to.
    #[error("entry {field} is {value}, expected {expected}")]
    Entry {
        /// Which field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// `describe` is not what the contract says.
    #[error("describe {problem}")]
    Describe {
        /// The member and what is wrong with it.
        problem: String,
    },
    /// The adapter refused.
    #[error("create answered {status:?}: {error}")]
    Refused {
        /// Its status.
        status: Status,
        /// Its error: code, message, pointer.
        error: Value,
        /// Rules broken on the way.
        violations: Vec<Violation>,
    },
}

/// Collects what a mock host should be.
pub struct Builder {
    entry: Entry,
    account: String,
    config: String,
    offers: Vec<Extension>,
    settling: Settling,
    window: Option<(u32, u64)>,
    release: Release,
    store: KvStore,
    patience: Duration,
    callers: u32,
    extra: usize,
}

impl Builder {
    pub(super) fn new(entry: Entry) -> Self {
        Self {
            entry,
            account: "test".to_owned(),
            config: "{}".to_owned(),
            offers: vec![Extension::Kv, Extension::Metrics],
            settling: Settling::default(),
            window: None,
            release: Release::default(),
            store: KvStore::default(),
            patience: PATIENCE,
            callers: 1,
            extra: 0,
        }
    }

    /// The operator's alias; without this `test`.
    #[must_use]
    pub fn account(mut self, alias: &str) -> Self {
        alias.clone_into(&mut self.account);
        self
    }

    /// The account's configuration; without this `{}`.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers pass json!({..}) without a borrow"
    )]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config.to_string();
        self
    }

    /// Offers an extension.
    #[must_use]
    pub fn offer(mut self, extension: Extension) -> Self {
        if !self.offers.contains(&extension) {
            self.offers.push(extension);
        }
        self
    }

    /// Does not offer an extension.
    #[must_use]
    pub fn withhold(mut self, extension: Extension) -> Self {
        self.offers.retain(|offered| *offered != extension);
        self
    }

    /// Grants that much right after `start`, and gives back on settle what an event cost.
    #[must_use]
    pub fn auto_grant(mut self, window_events: u32, window_bytes: u64) -> Self {
        self.window = Some((window_events, window_bytes));
        self
    }

    /// What the host does with events by itself.
    #[must_use]
    pub fn auto_settle(mut self, settling: Settling) -> Self {
        self.settling = settling;
        self
    }

    /// When the host releases the adapter's buffers.
    #[must_use]
    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// The durable state, for example that of an earlier mock.
    #[must_use]
    pub fn kv(mut self, store: &KvStore) -> Self {
        self.store = store.clone();
        self
    }

    /// How long a call of the adapter may take before it counts as stuck; without this 5 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many threads make quick calls at the same time; without this one.
    #[must_use]
    pub fn callers(mut self, callers: u32) -> Self {
        self.callers = callers.max(1);
        self
    }

    /// Every struct and table of the host is 16 bytes longer than this side knows it, as from a later minor.
    #[must_use]
    pub fn newer_host(mut self) -> Self {
        self.extra = 16;
        self
    }

    /// Enters the adapter, reads what it describes and creates an instance.
    pub fn create(self) -> Result<MockHost, CreateError> {
        let (provider, rules, functions) = enter(self.entry)?;
        let clock = if self.offers.contains(&Extension::Clock) {
            ClockBook::simulated()
        } else {
            ClockBook::default()
        };
        let book = Book::new(self.settling, self.release, KvBook::with(self.store), clock);
        let shared = Arc::new(Shared::new(
            rules,
            functions,
            self.account.clone(),
            self.offers,
            self.patience,
            self.extra,
            book,
        ));
        let ctx = Box::into_raw(Box::new(Arc::clone(&shared)));
        let mut table_memory = Lent::default();
        let table = table_memory.grown(&[host::table(ctx.cast::<c_void>())], self.extra);
        let created = create(&shared, table, &provider, &self.config);
        let mock = MockHost::new(shared, ctx, table_memory, self.window, self.callers);
        match created {
            Ok(()) => Ok(mock),
            Err((status, error)) => {
                let violations = mock.abandon();
                Err(CreateError::Refused {
                    status,
                    error,
                    violations,
                })
            }
        }
    }
}

/// Calls `create`; the phase follows what it answers.
fn create(
    shared: &Arc<Shared>,
    host: *const Host,
    provider: &str,
    config: &str,
) -> Result<(), (Status, Value)> {
    let mut lent = Lent::default();
    let args = Create {
        size: 0,
        flags: 0,
        host,
        provider: lent.text(provider),
        account: lent.text(&shared.account),
        config: lent.text(config),
    };
    let args = lent.grown(&[args], shared.extra);
    let mut instance: *mut Instance = std::ptr::null_mut();
    let mut error = Buf::EMPTY;
    let create = shared.functions.core.create.expect("checked when entered");
    let status = shared.run(Call::Create, || {
        // SAFETY: arguments that outlive the call, a host table that outlives the instance, and two places to write to.
        unsafe { create(args, &raw mut instance, &raw mut error) }
    });
    drop(lent);
    // SAFETY: on error the adapter gave it; else it is still empty.
    let text = unsafe { super::keep::Kept::take(error) };
    let mut book = shared.lock();
    if status.is_ok() && !instance.is_null() {
        book.instance = Some(InstancePtr(instance));
        if book.phase == Phase::Creating {
            book.phase = Phase::Created;
        }
        return Ok(());
    }
    if status == Status::E_PANIC {
        let call = Call::Create;
        book.violate(Violation::Panicked { call });
    } else if status.is_ok() {
        let call = Call::Create;
        book.violate(Violation::BadStatus { call, status });
    }
    book.phase = Phase::Destroyed;
    let error = serde_json::from_slice(text.bytes())
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(text.bytes())));
    Err((status, error))
}

/// Calls the entry function and reads everything that is static: provider, rules, functions.
fn enter(entry: Entry) -> Result<(String, Rules, Functions), CreateError> {
    // SAFETY: vouched for by the maker of `Entry`.
    let at = unsafe { (entry.0)(u32::from(ABI_MINOR)) };
    // SAFETY: as above: null or an entry.
    let read = unsafe { raw::read(at) };
    let read = read.map_err(|status| wrong("size", &status, "an entry of ABI 1.0 or later"))?;
    if read.magic != MAGIC {
        return Err(wrong("magic", &read.magic, "IMBRIDGE"));
    }
    if read.major != ABI_MAJOR {
        return Err(wrong("major", &read.major, &ABI_MAJOR.to_string()));
    }
    // SAFETY: static text of the adapter.
    let provider = String::from_utf8_lossy(unsafe { read.name.bytes() }).into_owned();
    // SAFETY: as above: null or the adapter's table.
    let core = unsafe { raw::read(read.adapter) };
    let core = core.map_err(|status| wrong("adapter", &status, "a table of ABI 1.0 or later"))?;
    check_table(&core)?;

    let describe = read
        .describe
        .ok_or_else(|| wrong("describe", &"null", "a function"))?;
    let mut text = Str::EMPTY;
    // SAFETY: a place to write to.
    let status = unsafe { describe(&raw mut text) };
    if !status.is_ok() {
        let problem = format!("answered {status:?}");
        return Err(CreateError::Describe { problem });
    }
    // SAFETY: valid for the life of the process once describe answered OK.
    let rules = Rules::parse(unsafe { text.bytes() });
    let rules = rules.map_err(|problem| CreateError::Describe { problem })?;
    if rules.describe["provider"] != provider.as_str() {
        let problem = format!(
            "/provider is {}, the entry says {provider:?}",
            rules.describe["provider"]
        );
        return Err(CreateError::Describe { problem });
    }
    let functions = Functions {
        core,
        kv: table(&core, EXT_KV)?,
        clock: table(&core, EXT_CLOCK)?,
        verify: table(&core, EXT_VERIFY)?,
        webhook: table(&core, EXT_WEBHOOK)?,
    };
    for (name, is_there) in [
        (EXT_VERIFY, functions.verify.is_some()),
        (EXT_WEBHOOK, functions.webhook.is_some()),
    ] {
        if rules.lists_extension(name) != is_there {
            let problem = format!(
                "/extensions {} {name}, the adapter {} it",
                if is_there { "does not list" } else { "lists" },
                if is_there { "has" } else { "lacks" },
            );
            return Err(CreateError::Describe { problem });
        }
    }
    Ok((provider, rules, functions))
}

/// All functions of 1.0 must be there; only `extension` may be missing.
fn check_table(core: &Adapter) -> Result<(), CreateError> {
    let missing = [
        ("create", core.create.is_none()),
        ("start", core.start.is_none()),
        ("grant", core.grant.is_none()),
        ("settle", core.settle.is_none()),
        ("execute", core.execute.is_none()),
        ("cancel", core.cancel.is_none()),
        ("drain", core.drain.is_none()),
        ("stop", core.stop.is_none()),
        ("destroy", core.destroy.is_none()),
    ];
    match missing.iter().find(|(_, is_missing)| *is_missing) {
        Some((name, _)) => Err(wrong(name, &"null", "a function")),
        None => Ok(()),
    }
}

/// The adapter's table of an extension, as both sides know it.
fn table<T: Grows>(core: &Adapter, name: &str) -> Result<Option<T>, CreateError> {
    let Some(extension) = core.extension else {
        return Ok(None);
    };
    // SAFETY: a text that outlives the call.
    let at = unsafe { extension(Str::new(name)) }.cast::<T>();
    if at.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so the contract makes it a static table of that extension.
    match unsafe { raw::read(at) } {
        Ok(table) => Ok(Some(table)),
        Err(status) => Err(wrong("extension table", &status, name)),
    }
}

fn wrong(field: &'static str, value: &impl std::fmt::Debug, expected: &str) -> CreateError {
    CreateError::Entry {
        field,
        value: format!("{value:?}"),
        expected: expected.to_owned(),
    }
}
