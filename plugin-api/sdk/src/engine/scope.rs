//! Which instance the current thread works for: log records and panics go to its host.
//!
//! Set around every call of the host and every poll of a task, and restored afterwards.

use crate::ffi::link::HostLink;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

thread_local! {
    static CURRENT: RefCell<Option<Arc<HostLink>>> = const { RefCell::new(None) };
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
