//! Commands in hand, and completions on their way to the host.
//!
//! Each command is completed exactly once: by its outcome, its deadline, a cancellation, a panic or the end of the
//! instance, whichever comes first; later ones find it gone. Completions made in one turn cross in one call.

use super::core::Core;
use super::wait::Wait;
use crate::Outcome;
use crate::command::PointOfNoReturn;
use crate::ffi::link::size_of_u32;
use crate::ffi::owned::{lend, taken};
use crate::model::ErrorCode;
use im_bridge_plugin_api::abi::{self, Status};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Completions of one call; the boundary's bound is higher.
const BATCH: usize = 64;

/// Why a command is ended by the SDK.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// Its deadline came, or the host cancelled it.
    Late,
    /// The instance stops, or was poisoned by something else.
    Stop,
    /// The command itself panicked.
    Panic,
}

/// A command in hand.
#[derive(Default)]
pub(crate) struct Open {
    pub(crate) point: Rc<PointOfNoReturn>,
    pub(crate) is_verify: bool,
    is_cancelled: Cell<bool>,
    cancelled: Wait,
}

impl Open {
    pub(crate) async fn cancelled(&self) {
        let is_cancelled = || self.is_cancelled.get().then_some(());
        self.cancelled.until(is_cancelled).await;
    }

    fn outcome(&self, end: End) -> Outcome {
        let sent = self.point.is_passed();
        if self.is_verify {
            let text = "the question could not be answered in time";
            return Outcome::error(ErrorCode::ProviderUnavailable, text).certain(false);
        }
        let outcome = match (end, sent) {
            (End::Late, false) => {
                let text = "the deadline came before the command was handed over";
                Outcome::error(ErrorCode::TimeoutBeforeSend, text)
            }
            (End::Late, true) => {
                let text = "handed over, and no answer came before the deadline";
                Outcome::error(ErrorCode::TimeoutAfterSend, text)
            }
            (End::Stop, false) => {
                let text = "the account was stopped before the command was handed over";
                Outcome::error(ErrorCode::NotConnected, text)
            }
            (End::Panic, false) => {
                let text = "the adapter panicked before the command was handed over";
                Outcome::error(ErrorCode::AdapterPanic, text)
            }
            (End::Stop | End::Panic, true) => {
                let text = "handed over, then the account was stopped before an answer came";
                Outcome::error(ErrorCode::LostAck, text)
            }
        };
        outcome.settle(sent)
    }
}

struct Completed {
    id: u64,
    outcome: Outcome,
    body: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Commands {
    open: RefCell<HashMap<u64, Rc<Open>>>,
    completed: RefCell<Vec<Completed>>,
}

impl Commands {
    /// None when a command with this id is in hand already, which a host never does.
    pub(crate) fn open(&self, id: u64, is_verify: bool) -> Option<Rc<Open>> {
        let open = Rc::new(Open {
            is_verify,
            ..Open::default()
        });
        let mut all = self.open.borrow_mut();
        if all.contains_key(&id) {
            return None;
        }
        all.insert(id, Rc::clone(&open));
        Some(open)
    }

    pub(crate) fn cancel(&self, id: u64) {
        let open = self.open.borrow().get(&id).cloned();
        if let Some(open) = open {
            open.is_cancelled.set(true);
            open.cancelled.wake_all();
        }
    }

    /// Completes by the adapter's own outcome. Has no effect when the command was ended before.
    pub(crate) fn complete(&self, id: u64, outcome: Outcome) {
        let open = self.open.borrow_mut().remove(&id);
        if let Some(open) = open {
            self.add(id, outcome.settle(open.point.is_passed()));
        }
    }

    /// Completes for a reason of the SDK.
    pub(crate) fn end(&self, id: u64, end: End) {
        let open = self.open.borrow_mut().remove(&id);
        if let Some(open) = open {
            self.add(id, open.outcome(end));
        }
    }

    /// Ends whatever is in hand.
    pub(crate) fn end_all(&self, end: End) {
        let all = std::mem::take(&mut *self.open.borrow_mut());
        for (id, open) in all {
            self.add(id, open.outcome(end));
        }
    }

    fn add(&self, id: u64, mut outcome: Outcome) {
        let mut body = outcome.body();
        if body.len() > abi::PAYLOAD_MAX as usize {
            let (len, most) = (body.len(), abi::PAYLOAD_MAX);
            let text = format!("the answer has {len} bytes, at most {most} can be carried");
            // What the provider did is done; only telling it failed.
            outcome = Outcome::error(ErrorCode::PayloadTooLarge, text).certain(false);
            body = outcome.body();
        }
        self.completed
            .borrow_mut()
            .push(Completed { id, outcome, body });
    }

    /// There is something to hand over.
    pub(crate) fn has_completed(&self) -> bool {
        !self.completed.borrow().is_empty()
    }

    /// Hands over what was completed.
    pub(crate) fn flush(&self, core: &Core) {
        if !self.has_completed() {
            return;
        }
        let mut completed = std::mem::take(&mut *self.completed.borrow_mut());
        let mut rest = completed.as_mut_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at_mut(rest.len().min(BATCH));
            hand_over(core, batch);
            rest = later;
        }
        let done = u32::try_from(completed.len()).expect("commands in hand are bounded");
        core.open_commands.fetch_sub(done, Ordering::AcqRel);
        completed.clear();
        let mut current = self.completed.borrow_mut();
        if current.is_empty() {
            *current = completed;
        }
    }
}

fn hand_over(core: &Core, batch: &mut [Completed]) {
    let array: Vec<abi::Completion> = batch.iter_mut().map(to_abi).collect();
    match core.link.complete(&array) {
        status if status.is_ok() => take_bodies(batch),
        // Counts as taken; see the same in `outbox`.
        Status::E_PANIC => take_bodies(batch),
        // One element spoils the call: find it, and complete it without what may have been wrong.
        Status::E_INVALID if batch.len() > 1 => {
            for one in batch {
                hand_over(core, std::slice::from_mut(one));
            }
        }
        Status::E_INVALID => {
            let bare = abi::Completion {
                native_id: abi::Str::EMPTY,
                body: abi::Buf::EMPTY,
                ..array[0]
            };
            core.link.complete(&[bare]);
        }
        // Closed: the host completes what is missing by itself.
        _ => {}
    }
}

fn take_bodies(batch: &mut [Completed]) {
    for one in batch {
        taken(std::mem::take(&mut one.body));
    }
}

/// Borrows from `one` without saying so: for the call that follows only.
fn to_abi(one: &mut Completed) -> abi::Completion {
    let outcome = &one.outcome;
    abi::Completion {
        size: size_of_u32::<abi::Completion>(),
        status: outcome.status,
        id: one.id,
        retry_after_ms: outcome.retry_after_ms,
        code: abi::Str::new(outcome.code.map_or("", ErrorCode::as_str)),
        native_id: abi::Str::new(&outcome.native_id),
        body: lend(&mut one.body),
        certain: u8::from(outcome.certain == Some(true)),
        pad: [0; 7],
    }
}
