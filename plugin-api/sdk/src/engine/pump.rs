//! The task between the host and the adapter: takes what the host's calls brought, and hands over what was made.
//!
//! Being one task in the queue of all, it gets its turn after the tasks that were due before it: a reader that finds ten
//! frames in its buffer makes ten events before it yields, and they cross in one call; a single event crosses as soon
//! as its reader waits for the next.

use super::core::Core;
use super::inbox::Batch;
use super::instance::Handler;
use super::local::Local;
use super::outbox::Settled;
use super::scope;
use super::tasks::supervised;
use crate::command::CommandData;
use crate::engine::commands::{End, Open};
use crate::time::{now_ms, within};
use crate::webhook::RequestData;
use crate::{Command, Context, Outcome, WebhookRequest, WebhookResponse};
use futures_util::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

/// A webhook is answered this long before its deadline, so that the provider hears 503 from the adapter and not 504.
const ANSWER_EARLY_MS: i64 = 200;

/// Ready when the instance is to end: it stops, or it is poisoned.
pub(crate) struct Pump {
    local: Rc<Local>,
    handler: Rc<dyn Handler>,
    batch: Batch,
    was_draining: bool,
}

impl Pump {
    pub(crate) fn new(local: Rc<Local>, handler: Rc<dyn Handler>) -> Self {
        Self {
            local,
            handler,
            batch: Batch::default(),
            was_draining: false,
        }
    }

    /// Settles, results and grants first: they may free what new commands need.
    fn dispatch(&mut self) {
        let local = Rc::clone(&self.local);
        let batch = &mut self.batch;
        for settle in batch.settles.drain(..) {
            local
                .outbox
                .settle(settle.token, Settled::from_abi(settle.outcome));
        }
        // Rare, so its list does not keep its memory.
        for done in std::mem::take(&mut batch.kv) {
            local.kv.done(done);
        }
        for id in batch.fired.drain(..) {
            local.timers.fire(id);
        }
        if std::mem::take(&mut batch.is_granted) {
            let events = std::mem::take(&mut batch.granted_events);
            let bytes = std::mem::take(&mut batch.granted_bytes);
            local.outbox.grant(events, bytes);
        }
        for data in batch.commands.drain(..) {
            start_command(&local, &self.handler, data);
        }
        for id in batch.cancels.drain(..) {
            local.commands.cancel(id);
        }
        for data in batch.webhooks.drain(..) {
            let cancel = local.open_webhook(data.id);
            let handler = Rc::clone(&self.handler);
            let owner = Rc::clone(&local);
            local.spawn(async move {
                let id = data.id;
                let response = tokio::select! {
                    biased;
                    () = cancel.cancelled() => WebhookResponse::again(),
                    response = answer(&owner, &*handler, data) => response,
                };
                owner.answer_webhook(id, response);
            });
        }
        for id in batch.webhook_cancels.drain(..) {
            local.cancel_webhook(id);
        }
    }

    fn turn(&mut self) {
        let core = std::sync::Arc::clone(&self.local.core);
        while core.inbox.take_signal() {
            if is_ending(&core) {
                // What came is not begun: commands are ended as not handed over, see `instance`.
                return;
            }
            core.inbox.take(&mut self.batch);
            self.dispatch();
        }
        if core.is_draining() && !self.was_draining {
            self.was_draining = true;
            self.local.draining.wake_all();
        }
        self.local.flush();
        if self.was_draining {
            core.tell_open(self.local.open());
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let local = Rc::clone(&this.local);
        // Before looking, so that what comes while we look wakes us again.
        local.core.inbox.register(cx.waker());
        local.set_pump(cx.waker());
        // A callback of the adapter may panic in here.
        if !supervised(&local, || this.turn()) || is_ending(&local.core) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

fn is_ending(core: &Core) -> bool {
    core.is_stopping() || core.is_poisoned()
}

fn start_command(local: &Rc<Local>, handler: &Rc<dyn Handler>, data: CommandData) {
    let Some(open) = local.commands.open(data.id, data.is_verify) else {
        tracing::warn!(
            id = data.id,
            "a command id came twice; the second is ignored"
        );
        local.core.open_commands.fetch_sub(1, Ordering::AcqRel);
        return;
    };
    if !data.is_verify && data.name == "account.reconnect" && local.session.is_waiting() {
        local.session.restart();
        local.commands.complete(data.id, Outcome::done());
        return;
    }
    let task = execute(Rc::clone(local), Rc::clone(handler), data, open);
    local.spawn(task);
}

async fn execute(local: Rc<Local>, handler: Rc<dyn Handler>, data: CommandData, open: Rc<Open>) {
    let (id, is_verify) = (data.id, data.is_verify);
    let left = time_left(&local, data.deadline_ms);
    let trace = data.trace;
    let cx = Context::new(Rc::clone(&local)).with_trace(trace);
    let point = Rc::clone(&open.point);
    let work = async {
        let command = Command { data, point };
        if is_verify {
            handler.verify(&cx, command).await.into_outcome()
        } else {
            handler.execute(&cx, command).await
        }
    };
    // Caught here and not by the task's supervisor alone, because the panic is this command's own.
    let work = AssertUnwindSafe(scope::traced(trace, work)).catch_unwind();
    let ended = tokio::select! {
        biased;
        () = open.cancelled() => Some(None),
        ended = within(&local, left, work) => ended.map(Some),
    };
    match ended {
        Some(Some(Ok(outcome))) => local.commands.complete(id, outcome),
        Some(Some(Err(payload))) => {
            crate::ffi::guard::drop_payload(payload);
            local.commands.end(id, End::Panic);
            local.core.poison();
        }
        Some(None) | None => local.commands.end(id, End::Late),
    }
    local.ask_flush();
}

async fn answer(local: &Rc<Local>, handler: &dyn Handler, data: RequestData) -> WebhookResponse {
    let left = time_left(local, data.deadline_ms.saturating_sub(ANSWER_EARLY_MS));
    let trace = data.trace;
    let cx = Context::new(Rc::clone(local)).with_trace(trace);
    let work = scope::traced(trace, handler.webhook(&cx, WebhookRequest { data }));
    let answered = within(local, left, work).await;
    answered.unwrap_or_else(WebhookResponse::again)
}

fn time_left(local: &Local, deadline_ms: i64) -> Duration {
    let left_ms = deadline_ms.saturating_sub(now_ms(local));
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}
