//! The mock host as a test drives it.
//!
//! Promises: no call that the life of an instance forbids (it panics and says so); every wait has a deadline and says
//! what was seen; quick calls come from the host's own threads, never from the adapter's.
//!
//! Not here: start, drain, stop and destroy, and what a panic or a call that hangs leads to; `life` has those.

use crate::test::builder::{Builder, Entry};
use crate::test::clock;
use crate::test::command::{self, Command};
use crate::test::lend::Lent;
use crate::test::record::{
    CompletionRecord, EventRecord, OpRecord, Recording, ReportRecord, ResponseRecord,
};
use crate::test::shared::{Book, Phase, Shared};
use crate::test::violation::{Call, Violation};
use crate::test::webhook::{self, Webhook};
use im_bridge_plugin_api::abi::{LogLevel, Outcome, PAYLOAD_MAX, Settle, State, Status};
use serde_json::Value;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// How long a busy adapter may refuse a command before the test fails.
const BUSY: Duration = Duration::from_secs(10);
/// How long a host waits before it hands a refused command over again.
const BUSY_RETRY: Duration = Duration::from_millis(50);
/// How long an advance of the clock waits for the adapter's next timer.
const TIMER_GRACE: Duration = Duration::from_millis(20);

/// A host in the test's process, with one instance of an adapter.
///
/// [`MockHost::finish`] ends the instance and panics with every rule that the adapter broke; so does dropping it.
pub struct MockHost {
    pub(super) shared: Arc<Shared>,
    pub(super) ctx: *mut Arc<Shared>,
    pub(super) table: Option<Lent>,
    pub(super) window: Option<(u32, u64)>,
    pub(super) callers: Vec<std::thread::JoinHandle<()>>,
}

// SAFETY: the raw pointers are the mock's own memory, freed when it ends; everything else is behind a lock.
unsafe impl Send for MockHost {}
// SAFETY: as above; all methods but those that end it take `&self` and go through the lock.
unsafe impl Sync for MockHost {}

impl MockHost {
    /// Begins a mock for the adapter behind `entry`.
    #[must_use]
    pub fn builder(entry: Entry) -> Builder {
        Builder::new(entry)
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        ctx: *mut Arc<Shared>,
        table: Lent,
        window: Option<(u32, u64)>,
        callers: u32,
    ) -> Self {
        let callers = (0..callers).map(|number| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("mock-caller-{number}"))
                .spawn(move || shared.work())
                .expect("a test can start threads")
        });
        Self {
            ctx,
            table: Some(table),
            window,
            callers: callers.collect(),
            shared,
        }
    }

    // ---- Credit and settles ----

    /// Grants that much more.
    pub fn grant(&self, events: u32, bytes: u64) {
        self.ask(move |shared| shared.grant(events, bytes));
    }

    /// Grants a window now, and gives back on settle what an event cost.
    pub fn auto_grant(&self, window_events: u32, window_bytes: u64) {
        self.shared.lock().credit.is_automatic = true;
        self.grant(window_events, window_bytes);
    }

    /// Grants so much that credit never ends a test.
    pub fn grant_plenty(&self) {
        self.auto_grant(1024, 1024 * u64::from(PAYLOAD_MAX));
    }

    /// Takes at most so many events of each `emit`, as under memory pressure; none: as many as the credit allows.
    ///
    /// Lifting it says when to try again, with a grant of nothing.
    pub fn take_at_most(&self, events: Option<u32>) {
        self.shared.lock().credit.take_at_most = events;
        if events.is_none() {
            self.grant(0, 0);
        }
    }

    /// What the host does with events by itself from now on.
    pub fn auto_settle(&self, settling: crate::test::Settling) {
        self.shared.lock().settling = settling;
    }

    /// Settles an open event.
    #[track_caller]
    pub fn settle(&self, token: u64, outcome: Outcome) {
        let is_open = self.shared.lock().open.contains_key(&token);
        assert!(is_open, "token {token} is not open{}", self.tail());
        self.settle_many(&[(token, outcome)]);
    }

    /// Settles these events in one call and in this order; those that are not open are left out.
    pub fn settle_many(&self, outcomes: &[(u64, Outcome)]) {
        let outcomes = outcomes.to_vec();
        self.ask(move |shared| shared.settle(&outcomes));
    }

    /// Makes the call with tokens that may be unknown or settled already, which an adapter must survive.
    pub fn settle_anyway(&self, outcomes: &[(u64, Outcome)]) {
        let settles = outcomes.iter().map(|&(token, outcome)| Settle {
            token,
            outcome,
            reserved: 0,
        });
        let settles: Vec<Settle> = settles.collect();
        self.ask(move |shared| shared.settle_raw(&settles));
    }

    /// Taken and not settled, in the order of their tokens.
    #[must_use]
    pub fn open_tokens(&self) -> Vec<u64> {
        self.shared.lock().open.keys().copied().collect()
    }

    // ---- Commands ----

    /// Hands a command over and answers its id; waits while the adapter is busy or has its declared number in hand.
    #[track_caller]
    pub fn execute(&self, command: Command) -> u64 {
        match self.try_execute(command) {
            Ok(id) => id,
            Err(status) => panic!("execute refused with {status:?}{}", self.tail()),
        }
    }

    /// As [`MockHost::execute`]; the error is the adapter's refusal.
    #[track_caller]
    pub fn try_execute(&self, command: Command) -> Result<u64, Status> {
        self.may("execute", &[Phase::Started]);
        let most = self.shared.rules.commands_max.unwrap_or(u64::MAX);
        let room = |book: &mut Book| {
            let open = book.commands.open().len() as u64;
            (open < most).then_some(())
        };
        let has_room = self.shared.wait(BUSY, room).is_some();
        assert!(
            has_room,
            "the adapter has {most} commands in hand, as many as it declares{}",
            self.tail()
        );
        self.hand_over(Call::Execute, &command)
    }

    /// Hands several commands over in one call; answers the ids of those taken, from the front.
    #[track_caller]
    pub fn execute_many(&self, commands: Vec<Command>) -> Vec<u64> {
        self.may("execute", &[Phase::Started]);
        self.ask(move |shared| command::hand_over(shared, Call::Execute, &commands).0)
    }

    /// Asks whether a command happened; the answer is the completion of the id.
    #[track_caller]
    pub fn verify(&self, command: Command) -> u64 {
        self.may("verify", &[Phase::Started]);
        let offers = self.shared.functions.verify.is_some();
        assert!(offers, "the adapter does not have imb.verify/1");
        match self.hand_over(Call::Verify, &command) {
            Ok(id) => id,
            Err(status) => panic!("verify refused with {status:?}{}", self.tail()),
        }
    }

    #[track_caller]
    fn hand_over(&self, call: Call, command: &Command) -> Result<u64, Status> {
        let mut waited = Duration::ZERO;
        loop {
            let one = [command.clone()];
            let (ids, status) = self.ask(move |shared| command::hand_over(shared, call, &one));
            match (ids.first(), status) {
                (Some(id), _) => return Ok(*id),
                (None, Some(status)) if !status.is_ok() => return Err(status),
                (None, None) => return Err(Status::E_CLOSED),
                _ => {}
            }
            assert!(waited < BUSY, "still busy after {BUSY:?}{}", self.tail());
            let before = self.shared.lock().seen.completions.len();
            let more = |book: &mut Book| (book.seen.completions.len() > before).then_some(());
            self.shared.wait(BUSY_RETRY, more);
            waited += BUSY_RETRY;
        }
    }

    /// Asks the adapter to give a command up; its completion still comes.
    pub fn cancel(&self, id: u64) {
        let cancel = self.shared.functions.core.cancel;
        self.ask(move |shared| {
            shared.call(Call::Cancel, |_, instance| {
                // SAFETY: a live instance.
                unsafe { cancel.expect("checked when entered")(instance, id) }
            });
        });
    }

    /// Waits for the completion of a command.
    #[track_caller]
    pub fn wait_completion(&self, id: u64, within: Duration) -> CompletionRecord {
        self.wait(&format!("the completion of command {id}"), within, |seen| {
            let mut all = seen.completions.iter();
            all.find(|completion| completion.id == id).cloned()
        })
    }

    // ---- Webhooks ----

    /// Hands a webhook request over; the error is the adapter's refusal.
    #[track_caller]
    pub fn webhook(&self, request: Webhook) -> Result<u64, Status> {
        self.may("webhook", &[Phase::Started]);
        self.ask(move |shared| webhook::hand_over(shared, &request))
    }

    /// Tells the adapter that the caller is gone: an answer that still comes is too late, and no violation.
    pub fn cancel_webhook(&self, id: u64) {
        self.ask(move |shared| webhook::cancel(shared, id));
    }

    /// Waits for the answer to a webhook request.
    #[track_caller]
    pub fn wait_response(&self, id: u64, within: Duration) -> ResponseRecord {
        self.wait(&format!("the answer to webhook {id}"), within, |seen| {
            let mut all = seen.responses.iter();
            all.find(|response| response.id == id).cloned()
        })
    }

    // ---- Durable state, metrics, time, log ----

    /// The next requests of `imb.kv/1` end with these statuses instead of being done.
    pub fn fail_kv(&self, statuses: &[Status]) {
        self.shared.lock().kv.failures.extend(statuses);
    }

    /// Holds the results of `imb.kv/1` back until [`MockHost::release_kv`].
    pub fn hold_kv(&self) {
        self.shared.lock().kv.is_held = true;
    }

    /// Lets held requests go on.
    pub fn release_kv(&self) {
        crate::test::kv::release(&self.shared);
    }

    /// Requests of `imb.kv/1` without a result.
    #[must_use]
    pub fn kv_in_flight(&self) -> usize {
        self.shared.lock().kv.in_flight()
    }

    /// The durable state; clones are the same state.
    #[must_use]
    pub fn kv(&self) -> crate::test::KvStore {
        self.shared.lock().kv.store.clone()
    }

    /// A metric at these label values: a counter's sum, a gauge's value, a histogram's number of observations.
    #[must_use]
    pub fn metric(&self, name: &str, label_values: &[&str]) -> Option<f64> {
        self.shared.lock().metrics.value(name, label_values)
    }

    /// Moves simulated time, firing the timers on the way in their order.
    #[track_caller]
    pub fn advance(&self, by: Duration) {
        let is_simulated = self.shared.lock().clock.is_simulated;
        assert!(is_simulated, "imb.clock/1 is not offered: time is real");
        clock::advance(&self.shared, by, TIMER_GRACE);
    }

    /// Waits until at least so many timers are set, before an advance that shall meet them.
    #[track_caller]
    pub fn wait_timers(&self, timers: usize, within: Duration) {
        let set = |book: &mut Book| (book.clock.timers() >= timers).then_some(());
        if self.shared.wait(within, set).is_none() {
            let last = self.shared.lock().clock.timers();
            panic!(
                "timers set: wanted {timers}, last saw {last}{}",
                self.tail()
            );
        }
    }

    /// This host's time in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.shared.lock().clock.now_ms()
    }

    /// The highest level that the host wants from now on.
    pub fn log_level(&self, level: LogLevel) {
        self.shared.lock().log_level = level;
    }

    /// What the adapter describes.
    #[must_use]
    pub fn describe(&self) -> &Value {
        &self.shared.rules.describe
    }

    // ---- Seeing ----

    /// A copy of everything seen so far.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.shared.lock().seen.clone()
    }

    /// The events that came since the last time.
    #[must_use]
    pub fn take_events(&self) -> Vec<EventRecord> {
        let mut book = self.shared.lock();
        let now = book.seen.events.len();
        let from = std::mem::replace(&mut book.events_taken, now);
        book.seen.events[from..].to_vec()
    }

    /// Waits until at least `n` events came since the last time, and takes all that did.
    #[track_caller]
    pub fn wait_events(&self, n: usize, within: Duration) -> Vec<EventRecord> {
        let enough =
            |book: &mut Book| (book.seen.events.len() - book.events_taken >= n).then_some(());
        if self.shared.wait(within, enough).is_none() {
            let last = self.take_events();
            let last: Vec<_> = last.iter().map(|e| (&e.kind, &e.native_id)).collect();
            panic!(
                "events: wanted {n}, last saw {} {last:?}{}",
                last.len(),
                self.tail()
            );
        }
        self.take_events()
    }

    /// Waits until the adapter's last report says `state`.
    #[track_caller]
    pub fn wait_state(&self, state: State, within: Duration) -> ReportRecord {
        self.wait(&format!("state {state:?}"), within, |seen| {
            let last = seen.reports.last();
            last.filter(|report| report.state == state).cloned()
        })
    }

    /// Waits until `n` operations of that name were reported, and answers them all.
    #[track_caller]
    pub fn wait_ops(&self, name: &str, n: usize, within: Duration) -> Vec<OpRecord> {
        self.wait(&format!("{n} operations {name}"), within, |seen| {
            let found = seen.ops_named(name);
            (found.len() >= n).then(|| found.into_iter().cloned().collect())
        })
    }

    /// Waits for anything; `what` names it when it does not come.
    #[track_caller]
    pub fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut ready: impl FnMut(&Recording) -> Option<T>,
    ) -> T {
        match self.shared.wait(within, |book| ready(&book.seen)) {
            Some(found) => found,
            None => panic!("{what}: not within {within:?}{}", self.tail()),
        }
    }

    /// Fails when `holds` becomes false within that time: how absence is tested.
    #[track_caller]
    pub fn stays(&self, what: &str, during: Duration, mut holds: impl FnMut(&Recording) -> bool) {
        let broken = |book: &mut Book| (!holds(&book.seen)).then_some(());
        if self.shared.wait(during, broken).is_some() {
            panic!("{what}: did not stay so for {during:?}{}", self.tail());
        }
    }

    /// The rules broken so far; they no longer fail the test afterwards.
    #[must_use]
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.shared.lock().violations)
    }

    // ---- Inside ----

    /// Refuses a call that the life of an instance does not allow: the mock would be the one to break the contract.
    #[track_caller]
    pub(super) fn may(&self, call: &str, phases: &[Phase]) {
        let phase = self.phase();
        assert!(
            phases.contains(&phase),
            "{call} may not be called in phase {phase:?}, only in {phases:?}{}",
            self.tail()
        );
    }

    /// Runs on a thread of the host and waits for the answer.
    #[track_caller]
    fn ask<R: Send + 'static>(&self, run: impl FnOnce(&Arc<Shared>) -> R + Send + 'static) -> R {
        let (answer, wait) = mpsc::channel();
        self.shared.lock().later(move |shared| {
            // The test may have failed meanwhile.
            let _ = answer.send(run(shared));
        });
        self.shared.notify();
        match wait.recv_timeout(self.shared.patience) {
            Ok(result) => result,
            Err(_) => {
                self.shared.lock().phase = Phase::Stuck;
                panic!(
                    "a quick call did not return within {:?}{}",
                    self.shared.patience,
                    self.tail()
                );
            }
        }
    }

    /// What a failed test wants to know besides.
    pub(super) fn tail(&self) -> String {
        let book = self.shared.lock();
        let mut tail = format!(
            "\n  phase {:?}, state {:?}, {} events, {} open tokens, {} completions, credit {} events {} bytes",
            book.phase,
            book.seen.state(),
            book.seen.events.len(),
            book.open.len(),
            book.seen.completions.len(),
            book.credit.events,
            book.credit.bytes,
        );
        if !book.violations.is_empty() {
            tail.push_str("\n  ");
            tail.push_str(&listed(&book.violations));
        }
        for log in book.seen.logs.iter().rev().take(5).rev() {
            tail.push_str(&format!(
                "\n  log {:?} {}: {} {:?}",
                log.level, log.target, log.message, log.fields
            ));
        }
        tail
    }
}

pub(super) fn listed(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    format!(
        "the adapter broke {} rules of the contract:\n  - {}",
        violations.len(),
        lines.join("\n  - ")
    )
}
