//! What only the instance's own thread sees; every [`crate::Context`] stands on it.

use super::commands::{Commands, End};
use super::core::Core;
use super::outbox::Outbox;
use super::session::Session;
use super::tasks::Supervised;
use super::timers::Timers;
use super::wait::Wait;
use crate::ffi::link::size_of_u32;
use crate::http::Agent;
use crate::kv::KvTable;
use crate::{Emission, State, Trace, WebhookResponse};
use im_bridge_plugin_api::abi;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;
use tokio::task::JoinSet;

pub(crate) struct Local {
    pub(crate) core: Arc<Core>,
    pub(crate) born: Instant,
    pub(crate) outbox: Outbox,
    pub(crate) commands: Commands,
    pub(crate) kv: KvTable,
    pub(crate) timers: Timers,
    pub(crate) session: Session,
    /// Woken when the drain begins.
    pub(crate) draining: Wait,
    /// Webhook requests without an answer yet: woken to give up.
    webhooks: RefCell<HashMap<u64, Rc<Cancel>>>,
    last_state: RefCell<Option<Said>>,
    /// None once the instance ended.
    tasks: RefCell<Option<JoinSet<()>>>,
    pump: RefCell<Option<Waker>>,
    is_flush_asked: Cell<bool>,
    /// Of all instances on this thread.
    pub(crate) agent: Rc<Agent>,
}

/// A state as it was reported. As text, because it is kept for as long as it lasts and a tree takes ten times the room.
#[derive(PartialEq)]
struct Said {
    state: abi::State,
    reason: Cow<'static, str>,
    self_id: Box<str>,
    transport: Cow<'static, str>,
    next_attempt_ms: i64,
    detail: Box<str>,
}

impl Said {
    fn of(state: &State) -> Self {
        Self {
            state: state.state,
            reason: state.reason.clone(),
            self_id: state.self_id.as_str().into(),
            transport: state.transport.clone(),
            next_attempt_ms: state.next_attempt_ms,
            detail: state.detail_json().into(),
        }
    }
}

/// Tells one task to give up.
#[derive(Default)]
pub(crate) struct Cancel {
    is_set: Cell<bool>,
    wait: Wait,
}

impl Cancel {
    pub(crate) fn set(&self) {
        self.is_set.set(true);
        self.wait.wake_all();
    }

    pub(crate) async fn cancelled(&self) {
        self.wait.until(|| self.is_set.get().then_some(())).await;
    }
}

impl Local {
    pub(crate) fn new(core: Arc<Core>, agent: Rc<Agent>) -> Self {
        Self {
            core,
            born: Instant::now(),
            outbox: Outbox::default(),
            commands: Commands::default(),
            kv: KvTable::default(),
            timers: Timers::default(),
            session: Session::default(),
            draining: Wait::default(),
            webhooks: RefCell::default(),
            last_state: RefCell::default(),
            tasks: RefCell::new(Some(JoinSet::new())),
            pump: RefCell::default(),
            is_flush_asked: Cell::new(false),
            agent,
        }
    }

    /// A task of this instance: its panic poisons the instance, its end comes with the instance's.
    pub(crate) fn spawn(self: &Rc<Self>, future: impl Future<Output = ()> + 'static) {
        let task = Supervised::new(Rc::clone(self), future);
        if let Some(tasks) = self.tasks.borrow_mut().as_mut() {
            // What ended since the last time would otherwise be kept until the instance ends.
            while tasks.try_join_next().is_some() {}
            tasks.spawn_local(task);
        }
    }

    /// Queues an event, for which there is credit; it crosses when the task yields, or now if the batch is due.
    pub(crate) fn emit(&self, mut emission: Emission, trace: Trace) -> u64 {
        emission.trace = emission.trace.or(trace);
        let (token, is_due) = self.outbox.push(emission);
        if is_due {
            self.outbox.flush(&self.core.link);
        } else {
            self.ask_flush();
        }
        token
    }

    /// Has the pump look again after the tasks that are due now.
    pub(crate) fn ask_flush(&self) {
        if !self.is_flush_asked.replace(true) {
            let pump = self.pump.borrow().clone();
            if let Some(pump) = pump {
                pump.wake();
            }
        }
    }

    pub(crate) fn set_pump(&self, waker: &Waker) {
        let mut pump = self.pump.borrow_mut();
        if !pump.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *pump = Some(waker.clone());
        }
    }

    /// Hands over what waits.
    pub(crate) fn flush(&self) {
        self.is_flush_asked.set(false);
        self.outbox.flush(&self.core.link);
        self.commands.flush(&self.core);
    }

    /// What a drain still waits for.
    pub(crate) fn open(&self) -> u32 {
        self.outbox.unsettled()
            + self.core.open_commands.load(Ordering::Acquire)
            + self.core.open_webhooks.load(Ordering::Acquire)
            + u32::from(!self.session.is_over())
    }

    /// Reports a state, unless it is the last one again.
    pub(crate) fn report(&self, state: State) {
        if state.is_working() {
            self.session.worked();
        }
        let said = Said::of(&state);
        if self.last_state.borrow().as_ref() == Some(&said) {
            return;
        }
        self.core.link.report(&abi::Report {
            size: size_of_u32::<abi::Report>(),
            state: state.state,
            next_attempt_ms: state.next_attempt_ms,
            reason: abi::Str::new(&state.reason),
            self_id: abi::Str::new(&state.self_id),
            transport: abi::Str::new(&state.transport),
            detail: abi::Str::new(&said.detail),
        });
        *self.last_state.borrow_mut() = Some(said);
    }

    pub(crate) fn open_webhook(&self, id: u64) -> Rc<Cancel> {
        let cancel = Rc::new(Cancel::default());
        self.webhooks.borrow_mut().insert(id, Rc::clone(&cancel));
        cancel
    }

    pub(crate) fn cancel_webhook(&self, id: u64) {
        let cancel = self.webhooks.borrow().get(&id).cloned();
        if let Some(cancel) = cancel {
            cancel.set();
        }
    }

    /// Answers a request, unless it was answered before.
    pub(crate) fn answer_webhook(&self, id: u64, response: WebhookResponse) {
        if self.webhooks.borrow_mut().remove(&id).is_some() {
            response.send(&self.core.link, id);
            self.core.open_webhooks.fetch_sub(1, Ordering::AcqRel);
            self.ask_flush();
        }
    }

    /// Ends what the host waits for, before anything else: what was handed to a provider is known right now.
    pub(crate) fn end(&self) -> Option<JoinSet<()>> {
        self.commands.end_all(End::Stop);
        self.commands.flush(&self.core);
        let webhooks: Vec<u64> = self.webhooks.borrow().keys().copied().collect();
        for id in webhooks {
            self.answer_webhook(id, WebhookResponse::again());
        }
        self.tasks.borrow_mut().take()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.tasks.borrow().is_none()
    }
}
