//! Which instance the current thread works for, and in which trace: log records and panics go to its host with both.
//!
//! Set around every call of the host and every poll of a task, and restored afterwards.

use crate::Trace;
use crate::ffi::link::HostLink;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;

thread_local! {
    static CURRENT: RefCell<Option<Arc<HostLink>>> = const { RefCell::new(None) };
    static TRACE: Cell<Trace> = const { Cell::new(Trace::NONE) };
}

/// Restores the former instance when dropped; stays on its thread.
pub(crate) struct Scope {
    former: Option<Arc<HostLink>>,
    not_send: PhantomData<*const ()>,
}

/// The thread works for this instance until the scope is dropped.
pub(crate) fn enter(link: &Arc<HostLink>) -> Scope {
    let link = Arc::clone(link);
    let former = CURRENT.with(|current| current.replace(Some(link)));
    Scope {
        former,
        not_send: PhantomData,
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        // A thread that ends has no thread-locals any more; then nobody asks either.
        let _ = CURRENT.try_with(|current| current.replace(self.former.take()));
    }
}

/// The instance that this thread works for.
pub(crate) fn current() -> Option<Arc<HostLink>> {
    CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten()
}

/// Work for a command or a request of the provider's: what is logged meanwhile belongs to its trace.
pub(crate) async fn traced<F: Future>(trace: Trace, work: F) -> F::Output {
    /// Restores the former one also when the work panics.
    struct Restored(Trace);
    impl Drop for Restored {
        fn drop(&mut self) {
            TRACE.set(self.0);
        }
    }
    let mut work = pin!(work);
    poll_fn(|cx| {
        let _restored = Restored(TRACE.replace(trace));
        work.as_mut().poll(cx)
    })
    .await
}

/// The trace of what this thread works on, or none.
pub(crate) fn trace() -> Trace {
    TRACE.get()
}
