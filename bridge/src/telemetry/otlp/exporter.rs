//! A bounded queue and the thread that empties it.

use super::figures::{Figures, Reason};
use super::target::Target;
use super::{Answer, Signal, Transport};
use crate::telemetry::{Exposition, Source};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Items of one request.
pub(super) const BATCH: usize = 512;
/// The first item of a batch waits this long for others.
const GATHER: Duration = Duration::from_secs(5);
/// Attempts for one batch, and the time in which they must be made.
const ATTEMPTS: u32 = 3;
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// Pause after the first failure; it doubles, and a part of it is left to chance.
const PAUSE: Duration = Duration::from_millis(500);
/// While the process ends there is little time, and a collector that restarts needs more than that.
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// A shorter attempt is none.
const ATTEMPT_MIN: Duration = Duration::from_millis(50);
/// A collector that stays away is told again.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Hands items over; clones hand over to the same thread.
pub struct Exporter<T>(Arc<Shared<T>>);

impl<T> Clone for Exporter<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something is to be done.
    wake: Condvar,
    /// The thread has ended.
    ended: Condvar,
    capacity: usize,
    signal: Signal,
    figures: Figures,
}

struct State<T> {
    queue: VecDeque<T>,
    /// When the first one of the queue came.
    since: Option<Instant>,
    /// Handed to the collector right now.
    in_flight: usize,
    /// Nothing more is taken; what is there may be sent until then.
    until: Option<Instant>,
    /// Who waits for the queue to be empty.
    flushes: usize,
    has_ended: bool,
    /// What is in flight was counted as lost.
    is_given_up: bool,
}

impl<T: Send + 'static> Exporter<T> {
    /// Starts the thread. `write` makes a message of items.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        signal: Signal,
        target: Target,
        capacity: usize,
        write: impl Fn(Vec<T>) -> Vec<u8> + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                since: None,
                in_flight: 0,
                until: None,
                flushes: 0,
                has_ended: false,
                is_given_up: false,
            }),
            wake: Condvar::new(),
            ended: Condvar::new(),
            capacity,
            signal,
            figures: Figures::new(signal),
        });
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name(format!("otlp {}", signal.as_str()))
            .spawn(move || own.run(&target, &write))?;
        Ok(Self(shared))
    }

    /// Takes an item, or drops and counts it. Never blocks for longer than a few instructions.
    pub fn push(&self, item: T) {
        let shared = &self.0;
        let mut state = shared.lock();
        if state.until.is_some() {
            drop(state);
            shared.figures.dropped(Reason::Shutdown, 1);
            return; // the item goes outside the lock
        }
        let mut replaced = None;
        if state.queue.len() >= shared.capacity {
            shared.figures.dropped(Reason::QueueFull, 1);
            if !shared.is_state() {
                return;
            }
            replaced = state.queue.pop_front();
        }
        state.queue.push_back(item);
        let waiting = state.queue.len();
        if waiting == 1 {
            state.since = Some(Instant::now());
        }
        drop(state);
        drop(replaced);
        if waiting == 1 || waiting == BATCH {
            shared.wake.notify_one();
        }
    }

    /// Sends what waits, and blocks until it was sent, dropped, or `within` has passed.
    pub fn flush(&self, within: Duration) -> bool {
        let shared = &self.0;
        let mut state = shared.lock();
        state.flushes += 1;
        shared.wake.notify_one();
        let is_busy = |state: &mut State<T>| {
            !state.has_ended && (!state.queue.is_empty() || state.in_flight > 0)
        };
        let waited = shared.ended.wait_timeout_while(state, within, is_busy);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.flushes -= 1;
        !timeout.timed_out()
    }

    /// Takes nothing more, sends what waits, and blocks until that is done or `within` has passed. How many were lost by
    /// it.
    pub fn shut_down(&self, within: Duration) -> u64 {
        let shared = &self.0;
        let mut state = shared.lock();
        state.until.get_or_insert(Instant::now() + within);
        shared.wake.notify_one();
        let waited = shared
            .ended
            .wait_timeout_while(state, within, |state| !state.has_ended);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let lost = state.queue.len() + state.in_flight;
        state.queue.clear();
        state.is_given_up |= state.in_flight > 0;
        state.in_flight = 0;
        drop(state);
        shared.figures.dropped(Reason::Shutdown, lost as u64);
        lost as u64
    }

    pub fn figures(&self) -> &Figures {
        &self.0.figures
    }

    /// Tells its figures to a scraper.
    pub fn collect(&self, to: &mut Exposition) {
        let waiting = {
            let state = self.0.lock();
            state.queue.len() + state.in_flight
        };
        self.0.figures.collect(waiting, to);
    }
}

impl<T: Send + 'static> Source for Exporter<T> {
    fn collect(&self, to: &mut Exposition) {
        Self::collect(self, to);
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An item says how things are, and not what happened: a newer one stands for all before it, and has nothing to wait for.
    fn is_state(&self) -> bool {
        self.signal == Signal::Metrics
    }

    fn run(&self, target: &Target, write: &dyn Fn(Vec<T>) -> Vec<u8>) {
        let transport = Transport::new(self.signal, target);
        let mut trouble = Trouble::new(self.signal, target);
        while let Some(batch) = self.next() {
            let count = batch.len() as u64;
            let sent = match &transport {
                Ok(transport) => {
                    let body = transport.body(write(batch));
                    self.send(transport, &body, target.timeout)
                }
                Err(why) => Err((Reason::Unreachable, why.clone())),
            };
            trouble.tell(sent.as_ref().err().map(|(_, why)| why.as_str()));
            self.count(count, sent.map_err(|(reason, _)| reason));
        }
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    /// The next batch; none: the end.
    fn next(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        loop {
            let waiting = state.queue.len();
            let now = Instant::now();
            let is_over = state.until.is_some_and(|until| until <= now);
            if is_over || (state.until.is_some() && waiting == 0) {
                return None;
            }
            let gather = if self.is_state() {
                Duration::ZERO
            } else {
                GATHER
            };
            let due = state.since.map(|since| since + gather);
            let is_due = due.is_some_and(|due| due <= now);
            let is_wanted = is_due || state.until.is_some() || state.flushes > 0;
            if waiting >= BATCH || (waiting > 0 && is_wanted) {
                let batch = state.queue.drain(..waiting.min(BATCH)).collect();
                state.in_flight = waiting.min(BATCH);
                // Whoever is left has waited for this batch and not for others.
                state.since = (waiting > BATCH).then_some(now);
                return Some(batch);
            }
            state = match due {
                Some(due) => {
                    let waited = self.wake.wait_timeout(state, due - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// How many the collector took of one batch; else why it took none.
    fn send(
        &self,
        transport: &Transport,
        body: &Bytes,
        timeout: Duration,
    ) -> Result<u64, (Reason, String)> {
        let begun = Instant::now();
        let mut attempt = 1;
        loop {
            let until = self.lock().until;
            let left = until.map_or(GIVE_UP_AFTER, |until| {
                until.saturating_duration_since(Instant::now())
            });
            let within = timeout
                .min(left)
                .min(GIVE_UP_AFTER.saturating_sub(begun.elapsed()));
            let (reason, why, after) = match transport.send(body, within.max(ATTEMPT_MIN)) {
                Answer::Taken { refused } => return Ok(refused),
                Answer::Refused(why) => return Err((Reason::Refused, why)),
                Answer::Later { reason, why, after } => (reason, why, after),
            };
            let pause = PAUSE * 2_u32.pow(attempt - 1);
            let pause = after.unwrap_or_else(|| pause.mul_f64(fastrand::f64() / 2.0 + 0.75));
            let is_last = attempt >= ATTEMPTS || begun.elapsed() + pause >= GIVE_UP_AFTER;
            if is_last || !self.pause(pause) {
                return Err((reason, why));
            }
            attempt += 1;
        }
    }

    /// Waits before the next attempt, and less once the process ends. False: there is no time for one.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let waited = self
            .wake
            .wait_timeout_while(state, pause, |state| state.until.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(until) = state.until else {
            return true;
        };
        drop(state);
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(LAST_PAUSE.min(left));
        left > LAST_PAUSE + ATTEMPT_MIN
    }

    fn count(&self, count: u64, sent: Result<u64, Reason>) {
        let mut state = self.lock();
        state.in_flight = 0;
        let is_counted = state.is_given_up;
        if !is_counted {
            match sent {
                Ok(refused) => {
                    let refused = refused.min(count);
                    self.figures.exported(count - refused);
                    self.figures.dropped(Reason::Refused, refused);
                }
                Err(reason) => self.figures.dropped(reason, count),
            }
        }
        if state.queue.is_empty() {
            self.ended.notify_all();
        }
    }
}

/// Says that the collector is away, and when it is back.
struct Trouble {
    signal: Signal,
    endpoint: String,
    told: Option<Instant>,
}

impl Trouble {
    fn new(signal: Signal, target: &Target) -> Self {
        let mut url = target.url.clone();
        // These fail only for addresses without a host, which no target has.
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        Self {
            signal,
            endpoint: url.into(),
            told: None,
        }
    }

    fn tell(&mut self, why: Option<&str>) {
        let (signal, endpoint) = (self.signal.as_str(), &self.endpoint);
        match (why, self.told) {
            (None, Some(_)) => {
                self.told = None;
                tracing::info!(signal, endpoint, "the collector takes telemetry again");
            }
            (Some(why), told) if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) => {
                self.told = Some(Instant::now());
                tracing::warn!(
                    code = "telemetry_export",
                    signal,
                    endpoint,
                    "telemetry is lost, its collector does not take it: {why}"
                );
            }
            _ => {}
        }
    }
}
