//! What the core and the plugin share about one instance: the host table's context.
//!
//! The plugin holds a bare pointer to it, so it lives at least until `destroy` returned, for ever when the instance is
//! stuck, and some lives longer, so that a call after `destroy` is answered and not undefined.
//!
//! Lock order: `commands`, `queue` and `webhooks` are taken one at a time, and none is held across a call into the
//! adapter or into the caller's queue.

use super::caller::Waiting as Queued;
use super::credits::{Credits, Pool, Waiting, Window};
use super::gate::Gate;
use super::kv::KvAnswer;
use super::mailbox::Mailbox;
use super::messages::{Call, Command, Completed, Fault, Hooks, HostEvent};
use super::metrics::Shape;
use super::misbehaviour::{Counters, Misbehaviour};
use super::plugin::Plugin;
use super::webhook::Webhooks;
use im_bridge_plugin_api::abi;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// Commands handed over and not completed: more are not taken. The account's own limit is far below.
pub(super) const COMMANDS_MAX: usize = abi::BATCH_MAX as usize;
/// Destroyed instances whose memory is kept for calls that come too late.
const LATE_CALLS_KEPT: usize = 256;

/// Instances that are stuck since the process began: each keeps a thread, memory, perhaps a connection.
static STUCK: AtomicU64 = AtomicU64::new(0);

/// How many instances were abandoned so far, with memory and thread.
#[must_use]
pub fn stuck_instances() -> u64 {
    STUCK.load(Ordering::Acquire)
}

/// What an instance was made with, beside its account and configuration.
#[derive(Clone)]
pub struct Options {
    /// What it may have unsettled.
    pub window: Window,
    /// The bound over all instances.
    pub pool: Arc<Pool>,
    /// Answers of the core that cannot wait.
    pub hooks: Arc<dyn Hooks>,
    /// Requests of the provider in hand at the same time; 0: webhooks are not offered.
    pub webhooks_max: usize,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Made, nothing runs.
    Created,
    /// `start` is inside.
    Starting,
    /// At work.
    Started,
    /// Reads no more; finishes what it has.
    Draining,
    /// `stop` is inside, or about to be.
    Stopping,
    /// Nothing runs; only `destroy` is left.
    Stopped,
    /// Gone.
    Destroyed,
    /// Panicked: only `stop` and `destroy` are left.
    Poisoned,
    /// Abandoned: nothing may be called, ever.
    Stuck,
}

impl Phase {
    const ALL: [Self; 9] = [
        Self::Created,
        Self::Starting,
        Self::Started,
        Self::Draining,
        Self::Stopping,
        Self::Stopped,
        Self::Destroyed,
        Self::Poisoned,
        Self::Stuck,
    ];
}

/// See the front page.
pub(super) struct Shared {
    /// The functions given to the adapter; their context is this struct.
    pub table: abi::Host,
    pub me: Weak<Self>,
    pub plugin: Arc<Plugin>,
    pub account: Box<str>,
    /// The adapter's calls into the host.
    pub gate: Gate,
    /// The host's quick calls into the adapter.
    pub quick: Gate,
    phase: AtomicU8,
    handle: AtomicPtr<abi::Instance>,
    pub credits: Credits,
    pub mailbox: Mailbox,
    pub hooks: Arc<dyn Hooks>,
    pub metrics: RwLock<Vec<Shape>>,
    pub kv_in_flight: AtomicU32,
    pub webhooks: Mutex<Webhooks>,
    commands: Mutex<Commands>,
    queue: Mutex<Queued>,
    counters: Counters,
    has_told_fault: AtomicBool,
}

// SAFETY: the raw pointers are the table's context, which is this very struct, and constant functions.
unsafe impl Send for Shared {}
// SAFETY: as above; everything that changes is atomic or behind a lock.
unsafe impl Sync for Shared {}

/// An instance's turn with the caller of its file, given when it is dropped. What is queued until then is called in it.
pub struct Turn(Option<Arc<Shared>>);

impl Turn {
    /// Nobody's, or one that somebody else gives.
    pub(super) const NONE: Self = Self(None);

    /// Whether dropping it gives a turn.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            Arc::clone(&shared.plugin.caller).push(shared);
        }
    }
}

/// Ids of commands. They only rise, so that one that is not open was completed if it is not above the last.
#[derive(Default)]
struct Commands {
    last: u64,
    open: HashSet<u64>,
}

/// What a completion's id stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Id {
    Open,
    Completed,
    Unknown,
}

impl Shared {
    pub(super) fn new(plugin: Arc<Plugin>, account: &str, options: Options) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            table: super::table::table(me.as_ptr().cast_mut().cast()),
            me: me.clone(),
            account: account.into(),
            gate: Gate::new(),
            quick: Gate::new(),
            phase: AtomicU8::new(Phase::Created as u8),
            handle: AtomicPtr::default(),
            credits: Credits::new(options.window, options.pool),
            mailbox: Mailbox::new(),
            hooks: options.hooks,
            metrics: RwLock::default(),
            kv_in_flight: AtomicU32::new(0),
            webhooks: Mutex::new(Webhooks::new(options.webhooks_max)),
            commands: Mutex::default(),
            queue: Mutex::new(Queued::closed()),
            counters: Counters::new(),
            has_told_fault: AtomicBool::new(false),
            plugin,
        })
    }

    /// A count of its own. Fails only while the last one is being dropped, when no call can be inside.
    pub(super) fn arc(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    pub(super) fn handle(&self) -> *mut abi::Instance {
        self.handle.load(Ordering::Acquire)
    }

    pub(super) fn set_handle(&self, handle: *mut abi::Instance) {
        self.handle.store(handle, Ordering::Release);
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Moves on if it is in one of these phases; else says where it is.
    pub(super) fn advance(&self, from: &[Phase], to: Phase) -> Result<Phase, Phase> {
        let mut now = self.phase();
        while from.contains(&now) {
            let (old, new) = (now as u8, to as u8);
            match self
                .phase
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(now),
                Err(_) => now = self.phase(),
            }
        }
        Err(now)
    }

    /// A panic in the adapter: nothing but `stop` and `destroy` is called any more, and its calls are refused.
    pub(super) fn poison(&self) {
        let alive = [
            Phase::Created,
            Phase::Starting,
            Phase::Started,
            Phase::Draining,
        ];
        if self.advance(&alive, Phase::Poisoned).is_ok() {
            self.gate.shut();
            self.quick.shut();
            self.close_queue();
        }
        self.tell_fault(Fault::Panic);
    }

    /// A call did not return: memory and thread are abandoned.
    pub(super) fn stuck(&self, call: Call) {
        let before = self.phase.swap(Phase::Stuck as u8, Ordering::AcqRel);
        if before == Phase::Stuck as u8 {
            return;
        }
        self.gate.shut();
        self.quick.shut();
        self.close_queue();
        self.close_webhooks();
        STUCK.fetch_add(1, Ordering::AcqRel);
        if let Some(me) = self.arc() {
            abandon(me);
        }
        self.tell_fault(Fault::Stuck(call));
    }

    fn tell_fault(&self, fault: Fault) {
        if !self.has_told_fault.swap(true, Ordering::AcqRel) {
            self.mailbox.put(HostEvent::Fault(fault));
        }
    }

    /// Counts what the adapter did wrong, and tells the core now and then.
    pub(super) fn count(&self, kind: Misbehaviour) {
        if let Some(count) = self.counters.count(kind) {
            self.mailbox.put(HostEvent::Misbehaved { kind, count });
        }
    }

    pub(super) fn misbehaviour(&self, kind: Misbehaviour) -> u64 {
        self.counters.total(kind)
    }

    /// A call of the adapter came while the gate was closed to it.
    pub(super) fn refused(&self) {
        if matches!(self.phase(), Phase::Stopped | Phase::Destroyed) {
            self.count(Misbehaviour::CallAfterStop);
        }
    }

    // What goes to the adapter: put into the instance's queue, called by the file's caller thread.

    /// Queues something for the adapter. False: nothing is called any more.
    pub(super) fn send(&self, put: impl FnOnce(&mut Queued)) -> bool {
        self.put(put).is_some()
    }

    /// The same; the turn that it needs is still to be given. None: nothing is called any more.
    fn put(&self, put: impl FnOnce(&mut Queued)) -> Option<Turn> {
        let mut queue = self.queue();
        if queue.is_closed {
            return None;
        }
        put(&mut queue);
        let has_turn = std::mem::replace(&mut queue.is_scheduled, true);
        drop(queue);
        Some(Turn(if has_turn { None } else { self.arc() }))
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queued> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_queue(&self) {
        self.queue().is_closed = false;
    }

    /// Takes nothing more for the adapter, and answers in its place what waits for an answer.
    pub(super) fn close_queue(&self) {
        let old = std::mem::replace(&mut *self.queue(), Queued::closed());
        self.refuse_commands(old.commands);
    }

    /// Commands that the adapter never saw: they surely did not happen.
    pub(super) fn refuse_commands(&self, commands: VecDeque<(u64, Command, bool)>) {
        for (id, ..) in commands {
            self.complete_by_host(id, abi::Status::E_UNAVAILABLE, true, "stopping");
        }
    }

    /// Ends a command in the adapter's place, unless it is completed already.
    pub(super) fn complete_by_host(&self, id: u64, status: abi::Status, certain: bool, code: &str) {
        if self.take_command(id) == Id::Open {
            let completed = Completed::by_host(id, status, certain, code);
            self.mailbox.put(HostEvent::Completed(completed));
        }
    }

    pub(super) fn settle(&self, token: u64, bytes: u64, outcome: abi::Outcome) -> Turn {
        self.credits.settled(bytes);
        let turn = self.put(|queue| {
            queue.settles.push(abi::Settle {
                token,
                outcome,
                reserved: 0,
            });
            queue.grant(1, bytes);
        });
        turn.unwrap_or(Turn::NONE)
    }

    pub(super) fn answer_kv(&self, answer: KvAnswer) {
        self.kv_in_flight.fetch_sub(1, Ordering::AcqRel);
        self.send(|queue| queue.kv.push(answer));
    }

    // Ids of commands.

    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a new command; none when too many are open.
    pub(super) fn new_command(&self) -> Option<u64> {
        let mut commands = self.commands();
        if commands.open.len() >= COMMANDS_MAX {
            return None;
        }
        commands.last += 1;
        let id = commands.last;
        commands.open.insert(id);
        Some(id)
    }

    pub(super) fn is_open(&self, id: u64) -> bool {
        self.commands().open.contains(&id)
    }

    /// Ends a command's life; only the first time it is [`Id::Open`].
    pub(super) fn take_command(&self, id: u64) -> Id {
        let mut commands = self.commands();
        if commands.open.remove(&id) {
            Id::Open
        } else if id != 0 && id <= commands.last {
            Id::Completed
        } else {
            Id::Unknown
        }
    }
}

impl Waiting for Shared {
    fn try_again(&self) {
        self.send(|queue| queue.grant(0, 0));
    }
}

impl AsRef<Mailbox> for Shared {
    fn as_ref(&self) -> &Mailbox {
        &self.mailbox
    }
}

/// Keeps an instance's memory for ever: the adapter may use its context at any time.
pub(super) fn abandon(shared: Arc<Shared>) {
    static ABANDONED: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());
    // A list and not a forgotten count, so that tools that look for leaks know it is meant.
    ABANDONED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(shared);
}

/// Keeps a finished instance's memory for a while: an adapter that left a thread behind may still call.
pub(super) fn retire(shared: Arc<Shared>) {
    static RETIRED: Mutex<VecDeque<Arc<Shared>>> = Mutex::new(VecDeque::new());
    let oldest = {
        let mut retired = RETIRED.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push_back(shared);
        (retired.len() > LATE_CALLS_KEPT)
            .then(|| retired.pop_front())
            .flatten()
    };
    drop(oldest); // outside the lock: it may be the last of its plugin's
}
