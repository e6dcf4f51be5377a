//! Tasks under supervision: a panic ends the instance, not the thread, and never the process.

use super::local::Local;
use super::scope;
use crate::ffi::guard::drop_payload;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

pub(crate) struct Supervised {
    local: Rc<Local>,
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Supervised {
    pub(crate) fn new(local: Rc<Local>, future: impl Future<Output = ()> + 'static) -> Self {
        Self {
            local,
            future: Some(Box::pin(future)),
        }
    }

    /// Foreign code with the instance as scope; none when it panicked, which poisons the instance.
    fn run<T>(local: &Local, code: impl FnOnce() -> T) -> Option<T> {
        let _scope = scope::enter(&local.core.link);
        // Unwind safety: a poisoned instance runs nothing of the adapter any more.
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(value) => Some(value),
            Err(payload) => {
                drop_payload(payload);
                local.core.poison();
                None
            }
        }
    }

    fn end(&mut self) {
        if let Some(future) = self.future.take() {
            Self::run(&self.local, || drop(future));
        }
    }
}

impl Future for Supervised {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = &mut this.future else {
            return Poll::Ready(());
        };
        // Nothing runs on after a panic elsewhere in the instance.
        if !this.local.core.is_poisoned()
            && let Some(Poll::Pending) = Self::run(&this.local, || future.as_mut().poll(cx))
        {
            return Poll::Pending;
        }
        this.end();
        Poll::Ready(())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs foreign code of an instance outside its tasks; false when it panicked.
pub(crate) fn supervised(local: &Local, code: impl FnOnce()) -> bool {
    Supervised::run(local, code).is_some()
}
