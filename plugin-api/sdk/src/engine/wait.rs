//! Waiting for a condition on the instance's own thread, without locks.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Tasks that wait until something they look at may have changed.
#[derive(Default)]
pub(crate) struct Wait(RefCell<Vec<Waker>>);

impl Wait {
    /// Waits until `look` finds something. Cancel safe.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|cx| match look() {
            Some(found) => Poll::Ready(found),
            None => {
                self.register(cx);
                Poll::Pending
            }
        })
        .await
    }

    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut waiting = self.0.borrow_mut();
        // A task that is polled again, or comes back after its future was dropped, waits once.
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// Lets everyone look again.
    pub(crate) fn wake_all(&self) {
        // Moved out first: a waker is foreign code.
        let waiting = std::mem::take(&mut *self.0.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }
}
