//! Time as adapters use it: the host's clock when it offers one, which only tests do, else the machine's.

use crate::engine::local::Local;
use pin_project_lite::pin_project;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix milliseconds.
pub(crate) fn now_ms(local: &Local) -> i64 {
    local
        .core
        .link
        .clock_now_ms()
        .unwrap_or_else(|| i64::try_from(unix().as_millis()).unwrap_or(i64::MAX))
}

/// Unix nanoseconds.
pub(crate) fn now_ns(local: &Local) -> i64 {
    match local.core.link.clock_now_ms() {
        Some(now_ms) => now_ms.saturating_mul(1_000_000),
        None => i64::try_from(unix().as_nanos()).unwrap_or(i64::MAX),
    }
}

fn unix() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Time since some moment before, which never goes back.
pub(crate) fn monotonic(local: &Local) -> Duration {
    match local.core.link.clock_mono_ns() {
        Some(mono_ns) => Duration::from_nanos(u64::try_from(mono_ns).unwrap_or(0)),
        None => local.born.elapsed(),
    }
}

pub(crate) async fn sleep(local: &Rc<Local>, duration: Duration) {
    if local.core.link.has_clock() {
        let mut timer = None;
        poll_fn(|cx| {
            let timer = timer.get_or_insert_with(|| {
                let id = local
                    .timers
                    .start(&local.core.link, duration, cx.waker().clone());
                HostTimer { local, id }
            });
            if local.timers.has_fired(timer.id, cx.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    } else {
        tokio::time::sleep(duration).await;
    }
}

struct HostTimer<'a> {
    local: &'a Local,
    id: u64,
}

impl Drop for HostTimer<'_> {
    fn drop(&mut self) {
        self.local.timers.forget(&self.local.core.link, self.id);
    }
}

/// Runs a future until its time is over; none then. The future is polled first.
///
/// No async function: one has room for its argument twice, and what is timed may be large.
pub(crate) fn within<F: Future>(
    local: &Rc<Local>,
    limit: Duration,
    future: F,
) -> impl Future<Output = Option<F::Output>> {
    Within {
        future,
        limit: sleep(local, limit),
    }
}

pin_project! {
    struct Within<F, S> {
        #[pin]
        future: F,
        #[pin]
        limit: S,
    }
}

impl<F: Future, S: Future<Output = ()>> Future for Within<F, S> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.limit.poll(cx).map(|()| None)
    }
}

/// Ticks at equal distances; made by [`crate::Context::interval`]. A tick that came while nobody waited is made up for
/// once, not by a burst.
pub struct Interval {
    local: Rc<Local>,
    period: Duration,
    next: Duration,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Interval {
    pub(crate) fn new(local: Rc<Local>, period: Duration) -> Self {
        // A period of nothing would never let other tasks run.
        let period = period.max(Duration::from_millis(1));
        let next = monotonic(&local) + period;
        Self {
            local,
            period,
            next,
            sleep: None,
        }
    }

    /// The next tick; the first comes after one period. Cancel safe.
    pub async fn tick(&mut self) {
        if self.sleep.is_none() {
            let left = self.next.saturating_sub(monotonic(&self.local));
            let local = Rc::clone(&self.local);
            self.sleep = Some(Box::pin(async move { sleep(&local, left).await }));
        }
        if let Some(sleep) = &mut self.sleep {
            sleep.await;
        }
        self.sleep = None;
        self.next = (self.next + self.period).max(monotonic(&self.local));
    }

    /// The next tick comes one period from now.
    pub fn reset(&mut self) {
        self.sleep = None;
        self.next = monotonic(&self.local) + self.period;
    }
}
