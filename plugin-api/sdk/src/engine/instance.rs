//! The life of an instance on its thread: from the adapter made by `create` to the last thing that is dropped.

use super::core::Core;
use super::local::Local;
use super::pump::Pump;
use super::session;
use super::tasks::supervised;
use crate::ffi::link::size_of_u32;
use crate::http::Agent;
use crate::{Adapter, Command, Context, Fault, Outcome, Verdict, WebhookRequest, WebhookResponse};
use im_bridge_plugin_api::abi;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An adapter without its type, so that all of the engine is compiled once.
pub(crate) trait Handler {
    fn run<'a>(&'a self, cx: &'a Context) -> LocalFuture<'a, Result<(), Fault>>;
    fn execute<'a>(&'a self, cx: &'a Context, command: Command) -> LocalFuture<'a, Outcome>;
    fn verify<'a>(&'a self, cx: &'a Context, command: Command) -> LocalFuture<'a, Verdict>;
    fn webhook<'a>(
        &'a self,
        cx: &'a Context,
        request: WebhookRequest,
    ) -> LocalFuture<'a, WebhookResponse>;
}

impl<A: Adapter> Handler for A {
    fn run<'a>(&'a self, cx: &'a Context) -> LocalFuture<'a, Result<(), Fault>> {
        Box::pin(Adapter::run(self, cx))
    }

    fn execute<'a>(&'a self, cx: &'a Context, command: Command) -> LocalFuture<'a, Outcome> {
        Box::pin(Adapter::execute(self, cx, command))
    }

    fn verify<'a>(&'a self, cx: &'a Context, command: Command) -> LocalFuture<'a, Verdict> {
        Box::pin(Adapter::verify(self, cx, command))
    }

    fn webhook<'a>(
        &'a self,
        cx: &'a Context,
        request: WebhookRequest,
    ) -> LocalFuture<'a, WebhookResponse> {
        Box::pin(Adapter::webhook(self, cx, request))
    }
}

/// What `create` made, on its way to the thread where it lives.
pub(crate) type Boot = Box<dyn FnOnce() -> Rc<dyn Handler> + Send>;

/// Lives until stopped. Afterwards nothing of the adapter is left and the host is not called any more.
pub(crate) async fn live(core: Arc<Core>, boot: Boot, agent: Rc<Agent>) {
    let local = Rc::new(Local::new(Arc::clone(&core), agent));
    let mut handler = Some(boot());
    if let Some(handler) = &handler {
        local.spawn(session::run(Rc::clone(&local), Rc::clone(handler)));
        Pump::new(Rc::clone(&local), Rc::clone(handler)).await;
    }
    end_what_never_began(&local);
    if let Some(mut tasks) = local.end() {
        tasks.shutdown().await;
    }
    // Also while stopping: the host counts it as a fault all the same.
    if core.is_poisoned() {
        tell_panicked(&core);
    }
    poll_fn(|cx| {
        core.inbox.register(cx.waker());
        // What poisoned the instance may have signalled after the last look; left standing, it would swallow the stop's.
        core.inbox.take_signal();
        if core.is_stopping() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    supervised(&local, || {
        drop(handler.take());
    });
    core.link.close();
}

/// Commands and requests that came too late to be begun are answered as those in hand are.
fn end_what_never_began(local: &Local) {
    let mut batch = super::inbox::Batch::default();
    local.core.inbox.take(&mut batch);
    for data in batch.commands.drain(..) {
        if local.commands.open(data.id, data.is_verify).is_none() {
            local.core.open_commands.fetch_sub(1, Ordering::AcqRel);
        }
    }
    for data in batch.webhooks.drain(..) {
        local.open_webhook(data.id);
    }
}

fn tell_panicked(core: &Core) {
    core.link.report(&abi::Report {
        size: size_of_u32::<abi::Report>(),
        state: abi::State::PANICKED,
        next_attempt_ms: 0,
        reason: abi::Str::new("adapter_panic"),
        self_id: abi::Str::EMPTY,
        transport: abi::Str::EMPTY,
        detail: abi::Str::EMPTY,
    });
}
