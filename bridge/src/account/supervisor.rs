//! The life of an account: create, start, serve, and after a fault the same again.
//!
//! Not here: the calls themselves (`loader::host`).

use super::backoff::{Backoff, PAUSE_MAX};
use super::flights::{Due, Ended, Flights, Request};
use crate::loader::host::{
    CallError, Fault, Faults, HostEvent, InboundEvent, Inbox, Instance, Options, Plugin, Report,
    STOP_POISONED, Verdict,
};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Orders waiting for the supervisor: they come from people and from shutdown.
const ORDERS_MAX: usize = 8;
/// Messages handled before orders and deadlines are looked at again: a default window of events.
const HEARD_MAX: usize = 64;

/// Where what an account says goes. Called on the supervisor's task: it must not block; what it keeps is bounded by the
/// account's credit window and by its commands in flight.
pub trait Outlet: Send + 'static {
    /// Something happened; the ticket is the outlet's to settle.
    fn event(&mut self, event: InboundEvent);
    /// A command ended.
    fn ended(&mut self, tag: u64, ended: Ended);
    /// The account is in another state.
    fn status(&mut self, status: Status);
    /// Operations, log lines, requests of `imb.kv/1`, misbehaviour; each fault, before what follows from it.
    fn aside(&mut self, event: HostEvent);
    /// Commands that are now in flight: the instance may be asked for webhooks, figures and the like meanwhile.
    fn instance(&mut self, _instance: Option<&Arc<Instance>>) {}
}

/// The state of an account, beyond what its adapter reports.
#[derive(Clone, Debug)]
pub enum Status {
    /// An instance is being made.
    Starting,
    /// The adapter says so.
    Reported(Report),
    /// Lost; made anew after this pause.
    Lost {
        /// By what; none: `start` was refused.
        fault: Option<Fault>,
        /// Until the next attempt.
        pause: Duration,
    },
    /// Given up until somebody asks for it: `adapter_faulty`, `config_refused` by the adapter, or the code of what is wrong
    /// with the configuration here.
    Failed {
        /// Code.
        reason: &'static str,
        /// JSON of the adapter; else empty.
        detail: bytes::Bytes,
    },
    /// Ended because it was asked to.
    Stopped,
}

/// What an account is made of.
pub struct Settings {
    /// The loaded file.
    pub plugin: Arc<Plugin>,
    /// The operator's alias.
    pub account: Box<str>,
    /// Makes the configuration: called for each instance, so that secrets are read afresh and kept nowhere. May block.
    pub config: Arc<dyn Fn() -> Result<Vec<u8>, NoConfig> + Send + Sync>,
    /// Waited for before each instance is made: accounts that start together must not log in together.
    pub permit: Permit,
    /// Of each instance.
    pub options: Options,
    /// Uncompleted commands; the rest waits in the channel.
    pub commands_max: usize,
    /// Two sessions of this account may coexist at the provider.
    pub may_overlap: bool,
    /// Of the file, shared by its accounts.
    pub faults: Arc<Mutex<Faults>>,
    /// How long things may take.
    pub timing: Timing,
}

/// Leave to make an instance, which may take a while to get.
pub type Permit = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Why an account has no configuration now; a person must act.
#[derive(Clone, Debug)]
pub struct NoConfig {
    /// Code.
    pub code: &'static str,
    /// The whole sentence.
    pub message: String,
}

/// Pauses that tests make shorter.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Scales the back-off: 1 but in tests.
    pub pause_factor: f64,
    /// After a stuck instance whose session may not overlap the next: the provider must have dropped the old one.
    pub stuck_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            pause_factor: 1.0,
            stuck_pause: PAUSE_MAX,
        }
    }
}

/// How an account ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// How long to finish what is in hand; none: at once.
    pub drain: Option<Duration>,
    /// How long `stop` gets.
    pub stop: Duration,
}

enum Order {
    /// Make it anew: it was given up, or its configuration changed.
    Reconnect,
    /// Boxed: a channel has room for 32 of what it carries from the beginning.
    End(Box<Ending>),
}

/// An account's supervisor, seen from outside. Dropping it ends the account at once.
pub struct Account {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<mpsc::Receiver<Box<Request>>>,
}

impl Account {
    /// Starts the supervisor; it takes commands from `requests` while the adapter may have more.
    pub fn supervise(
        settings: Settings,
        requests: mpsc::Receiver<Box<Request>>,
        outlet: impl Outlet,
    ) -> Self {
        Self::supervise_beside(settings, requests, outlet, std::future::pending())
    }

    /// The same, with something that is carried on by the same task for as long as the account lives: what the outlet is
    /// told costs no hop to get there.
    pub fn supervise_beside(
        settings: Settings,
        requests: mpsc::Receiver<Box<Request>>,
        outlet: impl Outlet,
        beside: impl Future<Output = Infallible> + Send + 'static,
    ) -> Self {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        // Boxed: a task has room for what it is started with twice.
        let supervisor = Box::new(Supervisor {
            settings,
            requests,
            orders,
            outlet,
            flights: Flights::default(),
            backoff: Backoff::default(),
        });
        Self {
            orders: sender,
            task: tokio::spawn(async move {
                tokio::select! {
                    biased;
                    requests = supervisor.run() => requests,
                    never = beside => match never {},
                }
            }),
        }
    }

    /// Makes the instance anew, also when the account was given up.
    pub async fn reconnect(&self) {
        let _ = self.orders.send(Order::Reconnect).await; // an account that has ended has nothing to reconnect
    }

    /// Ends the account and waits for it. Gives back what commands come from: those that were not taken are still in it.
    /// None: a bug ended it before.
    pub async fn end(self, ending: Ending) -> Option<mpsc::Receiver<Box<Request>>> {
        let _ = self.orders.send(Order::End(Box::new(ending))).await;
        self.task.await.ok()
    }
}

/// Why one instance's life ended.
enum Life {
    Asked(Ending),
    Anew,
    Fault(Fault),
    Refused(CallError),
    /// There is nothing to make one with.
    NoConfig(NoConfig),
}

impl Life {
    /// What an order makes of it; nobody to give one: it ends.
    fn ordered(order: Option<Order>) -> Self {
        match order {
            Some(Order::Reconnect) => Self::Anew,
            Some(Order::End(ending)) => Self::Asked(*ending),
            None => Self::Asked(AT_ONCE),
        }
    }
}

struct Supervisor<O> {
    settings: Settings,
    requests: mpsc::Receiver<Box<Request>>,
    orders: mpsc::Receiver<Order>,
    outlet: O,
    flights: Flights,
    backoff: Backoff,
}

/// What a task that ends gives the adapter when nobody said more.
const AT_ONCE: Ending = Ending {
    drain: None,
    stop: Duration::from_secs(2),
};

impl<O: Outlet> Supervisor<O> {
    async fn run(mut self: Box<Self>) -> mpsc::Receiver<Box<Request>> {
        loop {
            let began = Instant::now();
            self.status(Status::Starting);
            let life = self.live().await;
            for tag in self.flights.lost() {
                self.ended(tag, Ended::Unknown("lost_ack"));
            }
            if began.elapsed() > PAUSE_MAX {
                self.backoff.reset();
            }
            let goes_on = match life {
                Life::Asked(_) => false,
                Life::Anew => true,
                Life::Fault(fault) => self.after_fault(fault).await,
                Life::Refused(error) => self.after_refusal(error).await,
                Life::NoConfig(why) => {
                    let detail = serde_json::json!({ "code": why.code, "message": why.message });
                    self.given_up(why.code, detail.to_string().into()).await
                }
            };
            if !goes_on {
                self.status(Status::Stopped);
                return self.requests;
            }
        }
    }

    /// One instance, from create to destroy.
    async fn live(&mut self) -> Life {
        let permitted = (self.settings.permit)();
        if let Err(order) = self.meanwhile(permitted).await {
            return Life::ordered(order);
        }
        let Settings {
            plugin,
            account,
            config,
            options,
            ..
        } = &self.settings;
        let make = Arc::clone(config);
        let config = match tokio::task::spawn_blocking(move || make()).await {
            Ok(Ok(config)) => config,
            Ok(Err(why)) => return Life::NoConfig(why),
            Err(_) => {
                let message = "this is a bug: making the configuration panicked; please report it";
                let code = "internal_bug";
                return Life::NoConfig(NoConfig {
                    code,
                    message: message.to_owned(),
                });
            }
        };
        // What begins and ends an instance lies in boxes: it is rare, and while it serves its room would lie idle.
        let created = Box::pin(Instance::create(plugin, account, config, options.clone())).await;
        let (instance, mut inbox) = match created {
            Ok((instance, inbox)) => (Arc::new(instance), inbox),
            Err(error) => return error.fault().map_or(Life::Refused(error), Life::Fault),
        };
        // Making it may have taken long. What was ordered meanwhile comes first: the lease may be lost by now, and another
        // owner's session may be up.
        let started = match self.orders.try_recv() {
            Ok(order) => Err(Life::ordered(Some(order))),
            Err(TryRecvError::Disconnected) => Err(Life::ordered(None)),
            Err(TryRecvError::Empty) => {
                let started = Box::pin(self.serve_while(&mut inbox, instance.start())).await;
                started.map_err(|error| error.fault().map_or(Life::Refused(error), Life::Fault))
            }
        };
        let life = match started {
            Ok(()) => {
                contained(|| self.outlet.instance(Some(&instance)));
                let life = self.serve(&instance, &mut inbox).await;
                contained(|| self.outlet.instance(None));
                life
            }
            Err(life) => life,
        };
        let ending = match &life {
            Life::Asked(ending) => *ending,
            Life::Anew => Ending {
                drain: Some(STOP_POISONED),
                stop: STOP_POISONED,
            },
            Life::Fault(_) | Life::Refused(_) | Life::NoConfig(_) => Ending {
                drain: None,
                stop: STOP_POISONED,
            },
        };
        let end = Box::pin(self.end(instance, &mut inbox, ending)).await;
        match (end, life) {
            // What happens on the way out is a fault of its own, unless the account ends anyway.
            (Some(fault), Life::Anew | Life::Refused(_)) => Life::Fault(fault),
            (_, life) => life,
        }
    }

    /// Serves a started instance until something ends it.
    async fn serve(&mut self, instance: &Arc<Instance>, inbox: &mut Inbox) -> Life {
        // Set forward only when it has rung: it may be early, and then nothing is due.
        let mut timer = std::pin::pin!(tokio::time::sleep_until(Instant::now()));
        loop {
            let due_at = self.flights.due_at();
            let is_set = |due: &Instant| *due >= timer.deadline() && !timer.is_elapsed();
            if let Some(due_at) = due_at.filter(|due| !is_set(due)) {
                timer.as_mut().reset(due_at);
            }
            let may_take = self.flights.waiting() < self.settings.commands_max;
            tokio::select! {
                biased;
                order = self.orders.recv() => return Life::ordered(order),
                event = inbox.recv() => if let Some(fault) = self.heard_all(event, inbox) {
                    return Life::Fault(fault);
                },
                () = timer.as_mut(), if due_at.is_some() => self.overdue(instance),
                Some(request) = self.requests.recv(), if may_take => self.execute_all(instance, *request),
            }
        }
    }

    /// Hears what the instance says while a call of ours is inside it.
    async fn serve_while<T>(&mut self, inbox: &mut Inbox, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                result = &mut call => return result,
                event = inbox.recv() => {
                    // A fault ends the call, too: its error says the same.
                    self.heard(event);
                }
            }
        }
    }

    async fn end(
        &mut self,
        instance: Arc<Instance>,
        inbox: &mut Inbox,
        ending: Ending,
    ) -> Option<Fault> {
        let mut fault = None;
        if let Some(timeout) = ending.drain {
            let drained = self.serve_while(inbox, instance.drain(timeout)).await;
            fault = drained.err().and_then(|error| error.fault());
        }
        let stopped = self.serve_while(inbox, instance.stop(ending.stop)).await;
        // What it said last: completions that came before the gate was closed.
        while let Some(event) = inbox.try_recv() {
            self.heard(event);
        }
        fault = fault.or(stopped.err().and_then(|error| error.fault()));
        // Whoever still holds it (a webhook being answered) destroys it by dropping it.
        if let Some(instance) = Arc::into_inner(instance) {
            let destroyed = instance.destroy().await;
            fault = fault.or(destroyed.err().and_then(|error| error.fault()));
        }
        fault
    }

    /// An event and what has gathered behind it: going round for each would cost more than the event itself.
    fn heard_all(&mut self, first: HostEvent, inbox: &mut Inbox) -> Option<Fault> {
        let mut fault = self.heard(first);
        for _ in 1..HEARD_MAX {
            if fault.is_some() {
                break;
            }
            let Some(event) = inbox.try_recv() else { break };
            fault = self.heard(event);
        }
        fault
    }

    fn heard(&mut self, event: HostEvent) -> Option<Fault> {
        match event {
            HostEvent::Event(event) => contained(|| self.outlet.event(event)),
            HostEvent::Completed(completed) => match self.flights.completed(completed) {
                Ok((tag, ended)) => self.ended(tag, ended),
                // Of a command that was given to the instance past this task.
                Err(answer) => contained(|| self.outlet.aside(HostEvent::Completed(answer))),
            },
            HostEvent::Report(report) => self.status(Status::Reported(report)),
            HostEvent::Fault(fault) => return Some(fault),
            aside => contained(|| self.outlet.aside(aside)),
        }
        None
    }

    /// A command and what has gathered behind it: they cross together.
    fn execute_all(&mut self, instance: &Instance, first: Request) {
        self.execute(instance, first);
        while self.flights.waiting() < self.settings.commands_max
            && let Ok(request) = self.requests.try_recv()
        {
            self.execute(instance, *request);
        }
    }

    fn execute(&mut self, instance: &Instance, request: Request) {
        let Request {
            tag,
            command,
            is_verify,
        } = request;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let deadline_ms = u64::try_from(command.deadline_ms).unwrap_or(0);
        let left = Duration::from_millis(deadline_ms).saturating_sub(now);
        let id = if is_verify {
            instance.verify(command)
        } else {
            instance.execute(command)
        };
        match id {
            Some(id) => self.flights.add(id, tag, left),
            // The instance is ending, or full of commands that never end.
            None => self.ended(tag, Ended::not_taken()),
        }
    }

    /// Waits while there is no instance. Commands that were on their way to one are told so: nobody knows how long it will
    /// be. An error is an order that came first.
    async fn meanwhile(&mut self, wait: impl Future<Output = ()>) -> Result<(), Option<Order>> {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => return Err(order),
                () = &mut wait => return Ok(()),
                Some(request) = self.requests.recv() => self.ended(request.tag, Ended::not_taken()),
            }
        }
    }

    fn overdue(&mut self, instance: &Instance) {
        while let Some(due) = self.flights.next_due() {
            match due {
                Due::Cancel(id) => instance.cancel(id),
                Due::Unknown(tag) => {
                    instance.count_overdue();
                    self.ended(tag, Ended::Unknown("timeout_after_send"));
                }
            }
        }
        if self.flights.is_hopeless() {
            instance.poison();
        }
    }

    async fn after_fault(&mut self, fault: Fault) -> bool {
        contained(|| self.outlet.aside(HostEvent::Fault(fault)));
        let Settings {
            account,
            faults,
            may_overlap,
            timing,
            ..
        } = &self.settings;
        let mut pause = self
            .backoff
            .next(fastrand::f64())
            .mul_f64(timing.pause_factor);
        if matches!(fault, Fault::Stuck(_)) && !may_overlap {
            pause = pause.max(timing.stuck_pause);
        }
        let verdict: Verdict = {
            let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.record(account, std::time::Instant::now())
        };
        if verdict.gives_account_up {
            return self.given_up("adapter_faulty", bytes::Bytes::new()).await;
        }
        self.lost(Some(fault), pause).await
    }

    async fn after_refusal(&mut self, error: CallError) -> bool {
        tracing::warn!(account = &*self.settings.account, "{error}");
        match error {
            CallError::Refused {
                call: crate::loader::host::Call::Create,
                detail,
                ..
            } => self.given_up("config_refused", detail).await,
            _ => {
                let pause = self.backoff.next(fastrand::f64());
                self.lost(None, pause.mul_f64(self.settings.timing.pause_factor))
                    .await
            }
        }
    }

    /// Waits for the next attempt. False: the account ends.
    async fn lost(&mut self, fault: Option<Fault>, pause: Duration) -> bool {
        self.status(Status::Lost { fault, pause });
        match self.meanwhile(tokio::time::sleep(pause)).await {
            Ok(()) => true,
            Err(order) => matches!(order, Some(Order::Reconnect)),
        }
    }

    /// Waits until somebody asks for the account. False: it ends.
    async fn given_up(&mut self, reason: &'static str, detail: bytes::Bytes) -> bool {
        self.status(Status::Failed { reason, detail });
        let asked = self.meanwhile(std::future::pending()).await;
        let asked = matches!(asked, Err(Some(Order::Reconnect)));
        let mut faults = self
            .settings
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        faults.forget(&self.settings.account);
        self.backoff.reset();
        asked
    }

    fn status(&mut self, status: Status) {
        contained(|| self.outlet.status(status));
    }

    fn ended(&mut self, tag: u64, ended: Ended) {
        contained(|| self.outlet.ended(tag, ended));
    }
}

/// A bug in what is done with one event costs that event, not the account.
fn contained(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!("a panic while an adapter's message was handled; the message is lost");
    }
}
