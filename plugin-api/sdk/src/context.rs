//! What an adapter is given to work with: credits and events, state, operations, state of the account, tasks, time.
//!
//! A context belongs to the instance's thread. It may be cloned into the adapter's own tasks.

use crate::engine::local::Local;
use crate::engine::outbox::Settled;
use crate::http::Agent;
use crate::time::{Interval, monotonic, now_ms, sleep};
use crate::{Emission, Kv, Noise, Op, State, Trace};
use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The instance, seen from inside.
#[derive(Clone)]
pub struct Context {
    pub(crate) local: Rc<Local>,
    trace: Trace,
}

impl Context {
    pub(crate) fn new(local: Rc<Local>) -> Self {
        Self {
            local,
            trace: Trace::NONE,
        }
    }

    /// The same, with operations and events belonging to this trace unless they name another.
    #[must_use]
    pub fn with_trace(&self, trace: Trace) -> Self {
        Self {
            local: Rc::clone(&self.local),
            trace,
        }
    }

    /// The trace of the command or webhook request it was made for, or none.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// The operator's alias for the account.
    #[must_use]
    pub fn account(&self) -> &str {
        self.local.core.link.account()
    }

    /// A credit is there: await it before reading the socket or polling. Takes none; cancel safe.
    pub async fn ready(&self) {
        self.local.outbox.ready().await;
    }

    /// A credit is there now.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.local.outbox.has_credit()
    }

    /// Time spent without credit so far. Silence of the provider is not counted while it grows, because nothing is read
    /// then.
    #[must_use]
    pub fn starved(&self) -> Duration {
        self.local.outbox.starved()
    }

    /// Emits an event, waiting for a credit first. It crosses when the task yields, together with what else was sent
    /// until then. Cancel safe: dropped before it is done, nothing was emitted.
    pub fn send<E: Into<Emission>>(&self, event: E) -> impl Future<Output = Sent> + use<'_, E> {
        // Before the wait: what is kept meanwhile is then a third as large.
        let emission = event.into();
        async move {
            self.ready().await;
            let token = self.local.emit(emission, self.trace);
            Sent {
                local: Rc::clone(&self.local),
                token,
            }
        }
    }

    /// Reports the account's state; the same state again is not reported.
    pub fn state(&self, state: State) {
        self.local.report(state);
    }

    /// Begins an operation. Its name is declared by [`crate::Description::operation`].
    #[must_use]
    pub fn op(&self, name: impl Into<Cow<'static, str>>, noise: Noise) -> Op {
        Op::new(Rc::clone(&self.local), name.into(), noise, self.trace)
    }

    /// The account's small durable state.
    #[must_use]
    pub fn kv(&self) -> Kv {
        Kv::new(Rc::clone(&self.local))
    }

    /// A task of this instance: its panic poisons the instance, and it is dropped when the instance stops.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.local.spawn(future);
    }

    /// Sleeps. Cancel safe.
    pub async fn sleep(&self, duration: Duration) {
        sleep(&self.local, duration).await;
    }

    /// The future's output, or none when the time is over first.
    pub fn timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> {
        crate::time::within(&self.local, limit, future)
    }

    /// Ticks at equal distances, the first after one period.
    #[must_use]
    pub fn interval(&self, period: Duration) -> Interval {
        Interval::new(Rc::clone(&self.local), period)
    }

    /// The time in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        now_ms(&self.local)
    }

    /// Time since some moment before; never goes back. For measuring.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        monotonic(&self.local)
    }

    /// Fires when reading must end: emit what was read, acknowledge what is settled, return from `run`. Cancel safe.
    pub async fn draining(&self) {
        let core = &self.local.core;
        let is_draining = || core.is_draining().then_some(());
        self.local.draining.until(is_draining).await;
    }

    /// [`Context::draining`] fired.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.local.core.is_draining()
    }

    /// Ends the waiting after a fault, for example after `account.login` with new credentials: `run` is called at once.
    /// No effect while `run` is running.
    pub fn reconnect(&self) {
        self.local.session.restart();
    }

    pub(crate) fn agent(&self) -> &Rc<Agent> {
        &self.local.agent
    }
}

/// An event on its way: tells what became of it. Dropped: nobody asks.
pub struct Sent {
    local: Rc<Local>,
    token: u64,
}

impl Sent {
    /// What became of it. Never resolves when the instance stops first.
    pub async fn settled(&self) -> Settled {
        poll_fn(|cx| {
            let outcome = self.local.outbox.poll_settled(self.token, cx.waker());
            outcome.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Calls `f` with what became of it, on the instance's thread; never when the instance stops first. It must not
    /// block. To await something in it, spawn a task.
    pub fn on_settled(self, f: impl FnOnce(Settled) + 'static) {
        self.local.outbox.on_settled(self.token, Box::new(f));
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.local.outbox.detach(self.token);
    }
}
