//! An account's events from two sides: who hands them over does not wait, and who carries them does nothing else.
//!
//! Both belong to one task, the account's, so that an event costs no hop: the carrier is polled beside what fills the
//! intake. From another task it works, too, and costs one.

use super::account::Inbound;
use crate::loader::host::InboundEvent;
use futures_util::task::AtomicWaker;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

struct Shared {
    /// Never held across a call out of this module but those of `Surroundings`, which may not come back.
    inbound: Mutex<Inbound>,
    carrier: AtomicWaker,
    gaps: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes events over.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

/// Carries them: a future that never ends by itself. Events still wait when it is dropped; they are settled as RETRY when
/// the last intake is dropped, too.
pub struct Carrier(Arc<Shared>);

impl Inbound {
    pub fn split(self) -> (Intake, Carrier) {
        let shared = Arc::new(Shared {
            inbound: Mutex::new(self),
            carrier: AtomicWaker::new(),
            gaps: AtomicU64::new(0),
        });
        (Intake(Arc::clone(&shared)), Carrier(shared))
    }
}

impl Intake {
    /// Returns at once.
    pub fn accept(&self, event: InboundEvent) {
        self.0.lock().accept(event);
        self.0.carrier.wake();
    }

    /// Events that are not settled, and those of them that wait for their turn.
    pub fn held(&self) -> (usize, usize) {
        self.0.lock().held()
    }

    /// `sync_gaps_total` of this account.
    pub fn gaps(&self) -> u64 {
        self.0.gaps.load(Ordering::Relaxed)
    }
}

impl Carrier {
    /// Carries until nothing is left: before the lease is given back. Cancel safe.
    pub async fn idle(&mut self) {
        poll_fn(|cx| {
            let Poll::Pending = Pin::new(&mut *self).poll(cx);
            if self.0.lock().is_idle() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Future for Carrier {
    type Output = Infallible;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Infallible> {
        // First, so that what is accepted from here on wakes.
        self.0.carrier.register(cx.waker());
        let mut inbound = self.0.lock();
        while let Poll::Ready(settled) = inbound.poll_settled(cx) {
            self.0
                .gaps
                .fetch_add(settled.gaps as u64, Ordering::Relaxed);
        }
        Poll::Pending
    }
}
