//! One account in one adapter: the calls that may block, in the order in which they are allowed.
//!
//! ```text
//! created ─start─► started ─drain─► draining ─stop─► stopped ─destroy─► destroyed
//!    │                └──────────────stop──────────────▲
//!    └─destroy─► destroyed                             │
//! a panic ─► poisoned ───────────────stop──────────────┘
//! a call over its limit, or stop < 0 ─► stuck (final)
//! ```
//!
//! Each of these calls runs on a thread of its own, one at a time per instance, under a limit of real time. One that
//! does not return is abandoned with its thread and its memory, and the instance is stuck. Before `stop` no quick call
//! is inside; before `destroy` no call of the adapter is. Dropping an instance stops and destroys it on a thread.
//!
//! Not here: quick calls (`caller`), when to do what (the account's supervisor).

use super::buffer;
use super::credits::CreditFigures;
use super::mailbox::Inbox;
use super::messages::{Call, Command, Fault};
use super::misbehaviour::Misbehaviour;
use super::plugin::Plugin;
use super::shared::{Options, Phase, Shared, abandon, retire};
use super::webhook::{WebhookReply, WebhookRequest};
use super::{misbehaviour, table};
use bytes::Bytes;
use im_bridge_plugin_api::abi::{self, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// What `stop` gets of a poisoned instance, and of one that is dropped.
pub const STOP_POISONED: Duration = Duration::from_secs(5);

/// Why a control call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The adapter said no.
    #[error("{call} answered {status:?}")]
    Refused {
        /// Which call.
        call: Call,
        /// What it answered.
        status: Status,
        /// `create`: JSON `{code, message, pointer}`; else empty.
        detail: Bytes,
    },
    /// The adapter panicked: the instance is poisoned.
    #[error("{0} panicked")]
    Panicked(Call),
    /// The call did not return in time, or left something running: nothing may be called any more.
    #[error("{0} is stuck; its memory and thread are abandoned")]
    Stuck(Call),
    /// The call is not allowed in this phase, or another one is inside.
    #[error("{call} is not allowed while the instance is {phase:?}")]
    NotNow {
        /// Which call.
        call: Call,
        /// Where the instance is.
        phase: Phase,
    },
    /// No thread to call on.
    #[error("{call} cannot get a thread; raise the limit of threads")]
    NoThread {
        /// Which call.
        call: Call,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// See the front page.
pub struct Instance {
    shared: Arc<Shared>,
    /// A control call is inside.
    is_controlled: AtomicBool,
}

impl Instance {
    /// Makes an instance of one account. `config` is wiped afterwards.
    pub async fn create(
        plugin: &Arc<Plugin>,
        account: &str,
        config: Vec<u8>,
        options: Options,
    ) -> Result<(Self, Inbox), CallError> {
        let shared = Shared::new(Arc::clone(plugin), account, options);
        let limit = plugin.patience.control;
        let created = on_thread(&shared, Call::Create, limit, |shared| {
            create(shared, config)
        })
        .await;
        if let Err(error) = created.and_then(|created| created) {
            shared.gate.shut();
            if matches!(error, CallError::Panicked(_)) {
                abandon(shared); // half made: whatever is left of it may still know its context
            } else {
                retire(shared);
            }
            return Err(error);
        }
        let inbox = Inbox::new(Arc::clone(&shared) as _);
        Ok((
            Self {
                shared,
                is_controlled: AtomicBool::new(false),
            },
            inbox,
        ))
    }

    /// Starts it and grants its window. After an error it is as it was created, or poisoned, or stuck.
    pub async fn start(&self) -> Result<(), CallError> {
        let _control = self.control(Call::Start, &[Phase::Created], Phase::Starting)?;
        self.shared.gate.open();
        self.shared.quick.open();
        self.shared.open_queue();
        let limit = self.shared.plugin.patience.control;
        let status = on_thread(&self.shared, Call::Start, limit, |shared| {
            let start = shared.plugin.calls.start;
            // SAFETY: a live handle; one control call at a time.
            unsafe { start(shared.handle()) }
        })
        .await?;
        if let Err(error) = self.check(Call::Start, status) {
            if self
                .shared
                .advance(&[Phase::Starting], Phase::Created)
                .is_ok()
            {
                self.shared.gate.narrow();
                self.shared.close_queue();
            }
            return Err(error);
        }
        // A task may have panicked already: then the fault is in the inbox, and the next call is told.
        let _ = self.shared.advance(&[Phase::Starting], Phase::Started);
        let window = self.shared.credits.window();
        self.shared
            .send(|queue| queue.grant(window.events, window.bytes));
        Ok(())
    }

    /// Stops reading the provider; what is in hand is finished, new commands are refused. Answers what is still open.
    pub async fn drain(&self, timeout: Duration) -> Result<u32, CallError> {
        let _control = self.control(Call::Drain, &[Phase::Started], Phase::Draining)?;
        let commands = std::mem::take(&mut self.shared.queue().commands);
        self.shared.refuse_commands(commands);
        let status = self
            .timed(Call::Drain, timeout, self.shared.plugin.calls.drain)
            .await?;
        self.check(Call::Drain, status)?;
        Ok(status.0.unsigned_abs())
    }

    /// Ends everything that runs. When it has returned, no call of the adapter is inside and none will be.
    pub async fn stop(&self, timeout: Duration) -> Result<(), CallError> {
        let from = [Phase::Started, Phase::Draining, Phase::Poisoned];
        let _control = self.control(Call::Stop, &from, Phase::Stopping)?;
        self.shared.close_queue();
        let limit = timeout + self.shared.plugin.patience.control;
        let stop = move |shared: &Shared| stop(shared, timeout);
        on_thread(&self.shared, Call::Stop, limit, stop).await?
    }

    /// Frees it. Answers an error only when it is stuck, or was not stopped.
    pub async fn destroy(self) -> Result<(), CallError> {
        let from = [Phase::Created, Phase::Stopped];
        let _control = self.control(Call::Destroy, &from, Phase::Destroyed)?;
        self.shared.close_queue();
        let limit = self.shared.plugin.patience.control;
        on_thread(&self.shared, Call::Destroy, limit, destroy).await?
    }

    /// Queues a command; answers the id that its completion will carry. None: too many are open, or none is taken now.
    pub fn execute(&self, command: Command) -> Option<u64> {
        self.hand_over(command, false)
    }

    /// As [`Instance::execute`], but asks only what became of an earlier attempt.
    pub fn verify(&self, command: Command) -> Option<u64> {
        self.hand_over(command, true)
    }

    /// Asks the adapter to give a command up. Best effort; its completion still comes.
    pub fn cancel(&self, id: u64) {
        if self.shared.is_open(id) {
            self.shared.send(|queue| {
                if !queue.cancels.contains(&id) {
                    queue.cancels.push(id);
                }
            });
        }
    }

    /// Hands an HTTP request of the provider over. None: 503.
    pub fn webhook(&self, request: WebhookRequest) -> Option<WebhookReply> {
        if self.shared.phase() != Phase::Started || !self.shared.plugin.takes_webhooks() {
            return None;
        }
        self.shared.request_webhook(request)
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// What it holds.
    #[must_use]
    pub fn credits(&self) -> CreditFigures {
        self.shared.credits.figures()
    }

    /// How often the adapter broke the contract in this way.
    #[must_use]
    pub fn misbehaviour(&self, kind: misbehaviour::Misbehaviour) -> u64 {
        self.shared.misbehaviour(kind)
    }

    /// Operations and log lines that were left out because the core was behind, or they came too fast.
    #[must_use]
    pub fn dropped(&self) -> (u64, u64) {
        self.shared.mailbox.dropped()
    }

    /// Counts a command that was not completed in time.
    pub fn count_overdue(&self) {
        self.shared.count(Misbehaviour::CompletionOverdue);
    }

    /// Gives the adapter up as if it had panicked: it goes on without doing its work.
    pub fn poison(&self) {
        self.shared.poison();
    }

    fn hand_over(&self, command: Command, is_verify: bool) -> Option<u64> {
        if self.shared.phase() != Phase::Started {
            return None;
        }
        let id = self.shared.new_command()?;
        let is_queued = self
            .shared
            .send(|queue| queue.commands.push_back((id, command, is_verify)));
        if !is_queued {
            self.shared.take_command(id);
        }
        is_queued.then_some(id)
    }

    /// Begins a control call: one at a time, and only in these phases.
    fn control(&self, call: Call, from: &[Phase], to: Phase) -> Result<Control<'_>, CallError> {
        let not_now = |phase| CallError::NotNow { call, phase };
        if self.is_controlled.swap(true, Ordering::AcqRel) {
            return Err(not_now(self.phase()));
        }
        let control = Control(&self.is_controlled);
        self.shared.advance(from, to).map_err(not_now)?;
        Ok(control)
    }

    async fn timed(
        &self,
        call: Call,
        timeout: Duration,
        function: unsafe extern "C" fn(*mut abi::Instance, u32) -> Status,
    ) -> Result<Status, CallError> {
        let limit = timeout + self.shared.plugin.patience.control;
        on_thread(&self.shared, call, limit, move |shared| {
            // SAFETY: a live handle; one control call at a time.
            unsafe { function(shared.handle(), millis(timeout)) }
        })
        .await
    }

    fn check(&self, call: Call, status: Status) -> Result<(), CallError> {
        if status == Status::E_PANIC {
            self.shared.poison();
            return Err(CallError::Panicked(call));
        }
        if status.is_ok() {
            return Ok(());
        }
        Err(CallError::Refused {
            call,
            status,
            detail: Bytes::new(),
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.is_controlled.load(Ordering::Acquire) {
            return; // its owner gave up waiting: the call's own thread still holds what it needs
        }
        let shared = Arc::clone(&self.shared);
        let from = [Phase::Started, Phase::Draining, Phase::Poisoned];
        let is_running = shared.advance(&from, Phase::Stopping).is_ok();
        if !is_running
            && shared
                .advance(&[Phase::Created, Phase::Stopped], Phase::Destroyed)
                .is_err()
        {
            return;
        }
        shared.close_queue();
        let end = move || {
            let is_stopped = !is_running || stop(&shared, STOP_POISONED).is_ok();
            if is_stopped {
                let _ = shared.advance(&[Phase::Stopped], Phase::Destroyed);
                let _ = destroy(&shared);
            }
        };
        // Without a thread the instance simply goes on, its gate shut.
        self.shared.gate.shut();
        let _ = std::thread::Builder::new()
            .name("end instance".into())
            .spawn(end);
    }
}

/// A control call is inside until this is dropped.
struct Control<'a>(&'a AtomicBool);

impl Drop for Control<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
}

/// Runs a call that may block on a thread of its own; after `limit` the instance is stuck, whatever still happens there.
async fn on_thread<R: Send + 'static>(
    shared: &Arc<Shared>,
    call: Call,
    limit: Duration,
    work: impl FnOnce(&Shared) -> R + Send + 'static,
) -> Result<R, CallError> {
    let (done, result) = oneshot::channel();
    let own = Arc::clone(shared);
    std::thread::Builder::new()
        .name(format!("{call} {}", shared.plugin.provider()))
        .spawn(move || drop(done.send(work(&own))))
        .map_err(|source| CallError::NoThread { call, source })?;
    match tokio::time::timeout(limit, result).await {
        Ok(Ok(result)) => Ok(result),
        // No answer in time, or the thread is gone without one: its work is ours and does not panic.
        Ok(Err(_)) | Err(_) => {
            shared.stuck(call);
            Err(CallError::Stuck(call))
        }
    }
}

fn create(shared: &Shared, mut config: Vec<u8>) -> Result<(), CallError> {
    let args = abi::Create {
        size: table::size_of_table::<abi::Create>(),
        flags: 0,
        host: &raw const shared.table,
        provider: abi::Str::new(shared.plugin.provider()),
        account: abi::Str::new(&shared.account),
        config: abi::Str::from_bytes(&config),
    };
    let (mut handle, mut error) = (std::ptr::null_mut(), abi::Buf::EMPTY);
    let create = shared.plugin.calls.create;
    // SAFETY: everything lent lives until the call returns, the host table as long as the instance.
    let status = unsafe { create(&raw const args, &raw mut handle, &raw mut error) };
    wipe(&mut config);
    if status == Status::E_PANIC {
        return Err(CallError::Panicked(Call::Create));
    }
    let detail = if buffer::is_sound(&error) {
        // SAFETY: what the adapter put there is ours; what cannot be a buffer is left alone.
        unsafe { buffer::adopt(error) }
    } else {
        Bytes::new()
    };
    let status = if status.is_ok() && handle.is_null() {
        Status::E_INTERNAL
    } else {
        status
    };
    if !status.is_ok() {
        return Err(CallError::Refused {
            call: Call::Create,
            status,
            detail,
        });
    }
    shared.set_handle(handle);
    Ok(())
}

/// The configuration holds secrets.
fn wipe(config: &mut [u8]) {
    for byte in config {
        // SAFETY: a byte of our own; volatile, because nobody reads it again and the write would be left out.
        unsafe { std::ptr::from_mut(byte).write_volatile(0) };
    }
}

fn stop(shared: &Shared, timeout: Duration) -> Result<(), CallError> {
    // The watchdog sees to calls that do not return; then the instance is stuck and there is nothing to stop.
    if !shared.quick.close(|| shared.phase() != Phase::Stuck) {
        return Err(CallError::Stuck(Call::Stop));
    }
    let stop = shared.plugin.calls.stop;
    // SAFETY: a live handle; neither a quick nor another control call is inside.
    let status = unsafe { stop(shared.handle(), millis(timeout)) };
    if !status.is_ok() {
        shared.stuck(Call::Stop);
        return Err(CallError::Stuck(Call::Stop));
    }
    shared.close_webhooks();
    // Host functions do not block, so this is soon.
    shared.gate.close(|| true);
    shared
        .advance(&[Phase::Stopping], Phase::Stopped)
        .map_err(|_| CallError::Stuck(Call::Stop))?;
    Ok(())
}

fn destroy(shared: &Shared) -> Result<(), CallError> {
    let is_quiet = shared.quick.close(|| shared.phase() != Phase::Stuck);
    if !is_quiet || !shared.gate.close(|| true) {
        return Err(CallError::Stuck(Call::Destroy));
    }
    let destroy = shared.plugin.calls.destroy;
    // SAFETY: a live handle, used for the last time; nothing is inside in either direction.
    let status = unsafe { destroy(shared.handle()) };
    if status == Status::E_PANIC {
        shared.stuck(Call::Destroy);
        return Err(CallError::Stuck(Call::Destroy));
    }
    shared.set_handle(std::ptr::null_mut());
    if let Some(shared) = shared.arc() {
        retire(shared);
    }
    Ok(())
}

/// A control call's failure as a fault, when it is one.
impl CallError {
    /// What it means for the account's record of faults.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Panicked(_) => Some(Fault::Panic),
            Self::Stuck(call) => Some(Fault::Stuck(*call)),
            Self::Refused { .. } | Self::NotNow { .. } | Self::NoThread { .. } => None,
        }
    }
}
