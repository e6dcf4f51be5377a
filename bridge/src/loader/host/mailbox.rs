//! The queue from an instance's host functions to the core: one order for everything an instance says.
//!
//! Putting something in never blocks and never fails: each kind has a bound of its own that is kept before it comes
//! here (events by credits, completions by commands in flight, requests of `imb.kv/1` by their number), or here by
//! leaving out (ops and logs beyond a backlog, logs beyond a rate) or by replacing (reports beyond a rate: the last one
//! wins). An idle instance's mailbox holds no memory.
//!
//! Not here: what happens to it; the account's supervisor reads [`Inbox`].

use super::messages::{HostEvent, Log, Op, Report};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Finished operations waiting: a supervisor that is this far behind has worse worries than their spans.
const OPS_MAX: u32 = 256;
/// Log lines waiting.
const LOGS_MAX: u32 = 256;
/// Log lines and reports in one second.
const LOGS_PER_SECOND: u32 = 200;
const REPORTS_PER_SECOND: u32 = 10;

/// At most so many in each second.
struct Budget {
    per_second: u32,
    left: u32,
    since: Instant,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            left: per_second,
            since: Instant::now(),
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.per_second;
        }
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }

    fn renewed_at(&self) -> Instant {
        self.since + Duration::from_secs(1)
    }
}

pub(super) struct Mailbox(Mutex<Contents>);

struct Contents {
    queue: VecDeque<HostEvent>,
    reader: Option<Waker>,
    is_abandoned: bool,
    ops: u32,
    ops_dropped: u64,
    logs: u32,
    logs_dropped: u64,
    log_budget: Budget,
    report_budget: Budget,
    /// The last report beyond the budget.
    held_report: Option<Report>,
}

impl Mailbox {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Contents {
            queue: VecDeque::new(),
            reader: None,
            is_abandoned: false,
            ops: 0,
            ops_dropped: 0,
            logs: 0,
            logs_dropped: 0,
            log_budget: Budget::new(LOGS_PER_SECOND),
            report_budget: Budget::new(REPORTS_PER_SECOND),
            held_report: None,
        }))
    }

    /// For what is bounded elsewhere.
    pub(super) fn put(&self, event: HostEvent) {
        self.put_with(|contents| contents.queue.push_back(event));
    }

    /// A batch under one lock and with one wake-up.
    pub(super) fn put_all(&self, events: &mut Vec<HostEvent>) {
        self.put_with(|contents| contents.queue.extend(events.drain(..)));
    }

    pub(super) fn put_op(&self, op: Op) {
        self.put_with(|contents| {
            if contents.ops < OPS_MAX {
                contents.ops += 1;
                contents.queue.push_back(HostEvent::Op(op));
            } else {
                contents.ops_dropped += 1;
            }
        });
    }

    pub(super) fn put_log(&self, mut log: Log) {
        let now = Instant::now();
        self.put_with(|contents| {
            if contents.logs < LOGS_MAX && contents.log_budget.take(now) {
                contents.logs += 1;
                log.dropped_before = std::mem::take(&mut contents.logs_dropped);
                contents.queue.push_back(HostEvent::Log(log));
            } else {
                contents.logs_dropped += 1;
            }
        });
    }

    pub(super) fn put_report(&self, report: Report) {
        let now = Instant::now();
        self.put_with(|contents| {
            if contents.report_budget.take(now) {
                contents.held_report = None;
                contents.queue.push_back(HostEvent::Report(report));
            } else {
                contents.held_report = Some(report);
            }
        });
    }

    /// Ops and log lines left out so far.
    pub(super) fn dropped(&self) -> (u64, u64) {
        let contents = self.lock();
        (contents.ops_dropped, contents.logs_dropped)
    }

    fn put_with(&self, put: impl FnOnce(&mut Contents)) {
        let reader = {
            let mut contents = self.lock();
            if contents.is_abandoned {
                drop(contents); // before `put` and what it holds: dropping an event settles it, which takes locks
                return;
            }
            put(&mut contents);
            contents.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn poll(&self, into: &mut VecDeque<HostEvent>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        let mut contents = self.lock();
        if contents.held_report.is_some() && contents.report_budget.renewed_at() <= Instant::now() {
            let report = contents.held_report.take().map(HostEvent::Report);
            contents.report_budget.take(Instant::now());
            contents.queue.extend(report);
        }
        if contents.queue.is_empty() {
            // Room for the next few events costs less to get than to keep, in an account that sleeps until they come.
            for idle in [&mut contents.queue, into] {
                *idle = VecDeque::new();
            }
            contents.reader = Some(cx.waker().clone());
            return match contents.held_report {
                Some(_) => Poll::Ready(Some(contents.report_budget.renewed_at())),
                None => Poll::Pending,
            };
        }
        std::mem::swap(&mut contents.queue, into);
        contents.ops = 0;
        contents.logs = 0;
        Poll::Ready(None)
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The core's end of a mailbox. Dropping it drops what is in there and what still comes; events are settled RETRY.
pub struct Inbox {
    mailbox: Arc<dyn AsRef<Mailbox> + Send + Sync>,
    taken: VecDeque<HostEvent>,
}

impl Inbox {
    pub(super) fn new(mailbox: Arc<dyn AsRef<Mailbox> + Send + Sync>) -> Self {
        Self {
            mailbox,
            taken: VecDeque::new(),
        }
    }

    /// The next one. Cancel safe: what was not answered stays.
    pub async fn recv(&mut self) -> HostEvent {
        loop {
            if let Some(event) = self.taken.pop_front() {
                return event;
            }
            let mailbox = self.mailbox.as_ref().as_ref();
            let taken = &mut self.taken;
            let held_until = poll_fn(|cx| mailbox.poll(taken, cx)).await;
            if let Some(renewed_at) = held_until {
                // Only a held report is due at a known time; anything else may come before.
                let _ = tokio::time::timeout_at(renewed_at.into(), async {
                    poll_fn(|cx| match mailbox.poll(taken, cx) {
                        Poll::Ready(None) => Poll::Ready(()),
                        Poll::Ready(Some(_)) | Poll::Pending => Poll::Pending,
                    })
                    .await;
                })
                .await;
            }
        }
    }

    /// What is there now, without waiting.
    pub fn try_recv(&mut self) -> Option<HostEvent> {
        if self.taken.is_empty() {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = self
                .mailbox
                .as_ref()
                .as_ref()
                .poll(&mut self.taken, &mut cx);
        }
        self.taken.pop_front()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let left = {
            let mut contents = self.mailbox.as_ref().as_ref().lock();
            contents.is_abandoned = true;
            contents.reader = None;
            std::mem::take(&mut contents.queue)
        };
        drop(left); // outside the lock, as in `put_with`
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::host::packed::Packed;
    use im_bridge_plugin_api::abi;

    struct Holder(Mailbox);
    impl AsRef<Mailbox> for Holder {
        fn as_ref(&self) -> &Mailbox {
            &self.0
        }
    }

    fn mailbox() -> (Arc<Holder>, Inbox) {
        let holder = Arc::new(Holder(Mailbox::new()));
        (holder.clone(), Inbox::new(holder))
    }

    fn report(state: u32) -> Report {
        Report {
            state: abi::State(state),
            next_attempt_ms: None,
            texts: Packed::default(),
        }
    }

    fn log() -> Log {
        Log {
            level: abi::LogLevel::INFO,
            trace: abi::Trace::NONE,
            dropped_before: 0,
            texts: Packed::new(&["t", "m"]),
        }
    }

    #[tokio::test]
    async fn of_too_many_reports_the_last_one_wins() {
        let (holder, mut inbox) = mailbox();
        for state in 1..=30 {
            holder.0.put_report(report(state));
        }
        let mut states = Vec::new();
        for _ in 0..11 {
            match tokio::time::timeout(Duration::from_secs(5), inbox.recv())
                .await
                .unwrap()
            {
                HostEvent::Report(report) => states.push(report.state.0),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(states, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 30]);
        assert!(inbox.try_recv().is_none());
    }

    #[test]
    fn log_lines_beyond_the_rate_are_counted() {
        let (holder, mut inbox) = mailbox();
        for _ in 0..=LOGS_PER_SECOND {
            holder.0.put_log(log());
        }
        let mut lines = 0;
        while let Some(HostEvent::Log(_)) = inbox.try_recv() {
            lines += 1;
        }
        assert_eq!((lines, holder.0.dropped().1), (LOGS_PER_SECOND, 1));
    }

    #[tokio::test]
    async fn a_reader_is_woken_by_another_thread() {
        let (holder, mut inbox) = mailbox();
        let putter = std::thread::spawn(move || holder.0.put_report(report(4)));
        let event = tokio::time::timeout(Duration::from_secs(5), inbox.recv())
            .await
            .unwrap();
        assert!(matches!(event, HostEvent::Report(r) if r.state == abi::State::ONLINE));
        putter.join().unwrap();
    }
}
