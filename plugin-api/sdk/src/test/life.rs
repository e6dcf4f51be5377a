//! The life of an instance: the blocking calls, each with its time limit, and how a mock ends.
//!
//! Promises: one of these calls at a time; `stop` only when no call of the host is inside; after it the gate is closed and
//! no call of the adapter is inside. What does not come back is stuck, and everything it may still touch is abandoned.

use crate::test::command;
use crate::test::keep::Release;
use crate::test::mock::{MockHost, listed};
use crate::test::record::Recording;
use crate::test::shared::{Book, InstancePtr, Phase, poison};
use crate::test::violation::{Call, Violation};
use im_bridge_plugin_api::abi::{Instance, Status};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What `stop` gets when a mock ends by itself.
const STOP_MS: u32 = 5_000;

impl MockHost {
    /// Starts the instance, then grants the window if there is one.
    #[track_caller]
    pub fn start(&self) {
        let status = self.try_start();
        assert!(status.is_ok(), "start answered {status:?}{}", self.tail());
    }

    /// As [`MockHost::start`]; a refusal leaves the instance created.
    #[track_caller]
    pub fn try_start(&self) -> Status {
        // Events may come before the call returns, so the gate opens first.
        self.turn("start", &[Phase::Created], Phase::Started);
        let start = self.shared.functions.core.start;
        let status = self.control(Call::Start, self.shared.patience, move |instance| {
            // SAFETY: a live instance in the state that the call wants.
            unsafe { start.expect("checked when entered")(instance) }
        });
        if !status.is_ok() {
            let mut book = self.shared.lock();
            if book.phase == Phase::Started {
                book.phase = Phase::Created;
            }
        } else if let Some((events, bytes)) = self.window {
            self.auto_grant(events, bytes);
        }
        status
    }

    /// Drains; answers how much the adapter says is still open.
    #[track_caller]
    pub fn drain(&self, timeout_ms: u32) -> u32 {
        self.turn("drain", &[Phase::Started], Phase::Draining);
        let drain = self.shared.functions.core.drain;
        let limit = Duration::from_millis(u64::from(timeout_ms)) + self.shared.patience;
        let status = self.control(Call::Drain, limit, move |instance| {
            // SAFETY: a live instance in the state that the call wants.
            unsafe { drain.expect("checked when entered")(instance, timeout_ms) }
        });
        let mut book = self.shared.lock();
        let (tokens, commands) = (book.open.len(), book.commands.open().len());
        let webhooks = book.webhooks.open().len();
        if status == Status::OK && tokens + commands + webhooks > 0 {
            book.violate(Violation::DrainNotClean {
                tokens,
                commands,
                webhooks,
            });
        } else if !status.is_ok() && status != Status::E_PANIC {
            let call = Call::Drain;
            book.violate(Violation::BadStatus { call, status });
        }
        u32::try_from(status.0).unwrap_or(0)
    }

    /// Stops, then closes the gate and waits until no call of the adapter is inside.
    #[track_caller]
    pub fn stop(&self, timeout_ms: u32) {
        let may = [Phase::Started, Phase::Draining, Phase::Poisoned];
        let was = self.turn("stop", &may, Phase::Stopping);
        if was == Phase::Poisoned {
            // A poisoned instance finds the gate closed while it stops.
            self.shared.lock().phase = Phase::Poisoned;
        }
        // The host calls stop only when none of its own calls is inside.
        let quiet = |book: &mut Book| (book.calls_inside == 0).then_some(());
        if self.shared.wait(self.shared.patience, quiet).is_none() {
            self.get_stuck(Call::Stop, self.shared.patience);
            return;
        }
        let stop = self.shared.functions.core.stop;
        let limit = Duration::from_millis(u64::from(timeout_ms)) + self.shared.patience;
        let status = self.control(Call::Stop, limit, move |instance| {
            // SAFETY: a live instance in the state that the call wants.
            unsafe { stop.expect("checked when entered")(instance, timeout_ms) }
        });
        let mut book = self.shared.lock();
        if book.phase == Phase::Stuck {
            return;
        }
        if !status.is_ok() {
            book.violate(Violation::StopFailed { status });
            book.phase = Phase::Stuck;
            return;
        }
        let is_poisoned = was == Phase::Poisoned || book.phase == Phase::Poisoned;
        book.phase = Phase::Stopped;
        command::complete_missing(&self.shared, &mut book, is_poisoned);
        for id in book.webhooks.open() {
            book.webhooks.give_up(id);
            if !is_poisoned {
                book.violate(Violation::NeverResponded { id });
            }
        }
        book.open.clear();
        let kept = match book.release {
            Release::AfterStop => std::mem::take(&mut book.kept),
            _ => Vec::new(),
        };
        drop(book);
        self.shared.notify();
        drop(kept);
        let empty = |book: &mut Book| (book.functions_inside == 0).then_some(());
        self.shared.wait(self.shared.patience, empty);
    }

    /// Frees the instance.
    #[track_caller]
    pub fn destroy(&self) {
        let may = [Phase::Created, Phase::Stopped];
        self.turn("destroy", &may, Phase::Destroyed);
        let destroy = self.shared.functions.core.destroy;
        let status = self.control(Call::Destroy, self.shared.patience, move |instance| {
            // SAFETY: a live instance in the state that the call wants; nothing calls it afterwards.
            unsafe { destroy.expect("checked when entered")(instance) }
        });
        let mut book = self.shared.lock();
        if !status.is_ok() && book.phase != Phase::Stuck {
            let call = Call::Destroy;
            book.violate(Violation::BadStatus { call, status });
        }
        let kept = std::mem::take(&mut book.kept);
        drop(book);
        drop(kept);
    }

    /// Where the instance is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.lock().phase
    }

    /// Ends the instance the way its state allows, and panics with every rule that was broken.
    #[track_caller]
    pub fn finish(mut self) -> Recording {
        let violations = self.end();
        assert!(
            violations.is_empty(),
            "{}{}",
            listed(&violations),
            self.tail()
        );
        self.recording()
    }

    /// As [`MockHost::finish`], with the rules that were broken as an answer.
    #[must_use]
    pub fn into_violations(mut self) -> Vec<Violation> {
        self.end()
    }

    /// There is no instance: `create` failed.
    pub(super) fn abandon(mut self) -> Vec<Violation> {
        self.end()
    }

    fn end(&mut self) -> Vec<Violation> {
        if matches!(
            self.phase(),
            Phase::Started | Phase::Draining | Phase::Poisoned
        ) {
            self.stop(STOP_MS);
        }
        if matches!(self.phase(), Phase::Created | Phase::Stopped) {
            self.destroy();
        }
        let is_stuck = self.phase() == Phase::Stuck;
        self.shared.close();
        if is_stuck {
            // Something of the adapter still runs: table, context and threads are abandoned, as a host does.
            std::mem::forget(self.table.take());
            self.ctx = std::ptr::null_mut();
            self.callers.clear();
        }
        for caller in self.callers.drain(..) {
            if let Err(panic) = caller.join() {
                std::panic::resume_unwind(panic);
            }
        }
        if !is_stuck {
            // A destructor may still be on its way to release the last one.
            let all = |_: &mut Book| (self.shared.given.outstanding() == 0).then_some(());
            self.shared.wait(Duration::from_millis(100), all);
        }
        let mut violations = self.take_violations();
        violations.extend(self.shared.given.violations(!is_stuck));
        self.free();
        violations
    }

    /// Frees what the host table points to.
    fn free(&mut self) {
        let ctx = std::mem::replace(&mut self.ctx, std::ptr::null_mut());
        if !ctx.is_null() {
            // SAFETY: made by `Box::into_raw` in the builder, and taken out of `self` before.
            drop(unsafe { Box::from_raw(ctx) });
        }
        self.table = None;
    }

    /// As `may`, then goes to the next phase; answers the one before.
    #[track_caller]
    fn turn(&self, call: &str, phases: &[Phase], next: Phase) -> Phase {
        self.may(call, phases);
        let before = std::mem::replace(&mut self.shared.lock().phase, next);
        self.shared.notify();
        before
    }

    /// A blocking call, on a thread of its own so that its time limit can be enforced.
    #[track_caller]
    fn control(
        &self,
        call: Call,
        limit: Duration,
        run: impl FnOnce(*mut Instance) -> Status + Send + 'static,
    ) -> Status {
        let instance = self.shared.lock().instance.expect("created");
        let (answer, wait) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("mock-control".to_owned())
            .spawn(move || {
                let InstancePtr(instance) = { instance };
                let status = shared.run(call, || run(instance));
                // The mock may have given up.
                let _ = answer.send(status);
            })
            .expect("a test can start threads");
        match wait.recv_timeout(limit) {
            Ok(status) => {
                let _ = thread.join();
                if status == Status::E_PANIC {
                    let mut book = self.shared.lock();
                    book.violate(Violation::Panicked { call });
                    if matches!(call, Call::Stop | Call::Destroy) {
                        book.phase = Phase::Stuck;
                    } else {
                        poison(&mut book);
                    }
                }
                status
            }
            Err(_) => {
                self.get_stuck(call, limit);
                Status::E_INTERNAL
            }
        }
    }

    fn get_stuck(&self, call: Call, limit: Duration) {
        let mut book = self.shared.lock();
        book.violate(Violation::Overran { call, limit });
        book.phase = Phase::Stuck;
        drop(book);
        self.shared.notify();
    }
}

impl Drop for MockHost {
    fn drop(&mut self) {
        if self.ctx.is_null() {
            return;
        }
        let violations = self.end();
        if !std::thread::panicking() && !violations.is_empty() {
            panic!("{}", listed(&violations));
        }
    }
}
