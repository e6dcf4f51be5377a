//! One instance's turn: everything that has gathered for it becomes calls.
//!
//! The memory lent to a call belongs to this thread; when the call never returns, both are abandoned together.

use super::watchdog::Slot;
use super::{Caller, Waiting};
use crate::loader::host::buffer;
use crate::loader::host::gate::Pass;
use crate::loader::host::kv::KvAnswer;
use crate::loader::host::messages::{Call, Command};
use crate::loader::host::misbehaviour::Misbehaviour;
use crate::loader::host::plugin::ExecuteFn;
use crate::loader::host::shared::{Phase, Shared};
use crate::loader::host::webhook::WebhookRequest;
use im_bridge_plugin_api::abi::{self, Status};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Most elements in one array argument.
const BATCH_MAX: usize = abi::BATCH_MAX as usize;

/// The turn ends here: the instance takes no more calls, or this thread is not in charge any more.
struct Over {
    is_abandoned: bool,
}
const CLOSED: Over = Over {
    is_abandoned: false,
};
const ABANDONED: Over = Over { is_abandoned: true };

/// The life of a caller thread.
pub(super) fn run(caller: &Arc<Caller>, slot: &Arc<Slot>) {
    // Goes round: an instance's filled lists come here and its next ones go there, so that lists keep their memory.
    let mut spare = Waiting::default();
    while let Some(shared) = caller.next() {
        slot.begin_turn();
        let mut turn = Turn {
            shared: &shared,
            slot,
        };
        if let Err(over) = turn.serve(&mut spare) {
            if over.is_abandoned {
                return;
            }
            // Taken from the queue before it was closed, and never offered.
            shared.refuse_commands(std::mem::take(&mut spare.commands));
        }
        slot.end_turn();
    }
}

struct Turn<'a> {
    shared: &'a Arc<Shared>,
    slot: &'a Slot,
}

impl Turn<'_> {
    fn serve(&mut self, batch: &mut Waiting) -> Result<(), Over> {
        // Before anything is taken from the queue: what stays there is answered by whoever closed it.
        let _inside = self.shared.quick.enter(Pass::Full).ok_or(CLOSED)?;
        self.collect(batch);
        self.settles(&mut batch.settles)?;
        if let Some((events, bytes)) = batch.grant.take() {
            self.grant(events, bytes)?;
        }
        self.kv(&mut batch.kv)?;
        let commands = std::mem::take(&mut batch.commands);
        self.commands(commands)?;
        for id in batch.cancels.drain(..) {
            self.may_call()?;
            let cancel = self.shared.plugin.calls.cancel;
            // SAFETY: a live handle of this very adapter: `quick` is open; the call takes plain values.
            let status = self.call(Call::Cancel, |me| unsafe { cancel(me, id) })?;
            self.expect_success(status);
        }
        for request in batch.webhooks.drain(..) {
            self.webhook(request)?;
        }
        if let Some(cancel) = self.shared.plugin.calls.webhook_cancel {
            for id in batch.webhook_cancels.drain(..) {
                self.may_call()?;
                // SAFETY: as for cancel.
                let status = self.call(Call::WebhookCancel, |me| unsafe { cancel(me, id) })?;
                self.expect_success(status);
            }
        }
        batch.webhook_cancels.clear();
        Ok(())
    }

    /// Takes all that has gathered; what comes from now on gets another turn.
    fn collect(&self, batch: &mut Waiting) {
        batch.settles.clear();
        batch.grant = None;
        batch.cancels.clear();
        batch.kv.clear();
        batch.webhooks.clear();
        batch.webhook_cancels.clear();
        batch.commands.clear();
        let mut queue = self.shared.queue();
        batch.is_closed = queue.is_closed;
        std::mem::swap(&mut *queue, batch);
        queue.is_scheduled = false;
        queue.is_busy = batch.is_busy;
        if batch.is_busy {
            std::mem::swap(&mut queue.commands, &mut batch.commands);
        }
    }

    /// Ends the turn early when the instance is about to stop, or lost. Asked before a buffer is lent.
    fn may_call(&self) -> Result<(), Over> {
        if self.shared.quick.is_closed() {
            Err(CLOSED)
        } else {
            Ok(())
        }
    }

    /// Makes one call under the watchdog's eyes.
    fn call(
        &self,
        which: Call,
        call: impl FnOnce(*mut abi::Instance) -> Status,
    ) -> Result<Status, Over> {
        let began = self.slot.enter(self.shared, which);
        let status = call(self.shared.handle());
        if !self.slot.leave() {
            return Err(ABANDONED);
        }
        if began.elapsed() > self.shared.plugin.patience.slow {
            self.shared.count(Misbehaviour::SlowCall);
        }
        if status == Status::E_PANIC {
            self.shared.poison();
            return Err(CLOSED);
        }
        Ok(status)
    }

    /// For calls that may only fail by a mistake of the adapter's; the host goes on as if it had succeeded.
    fn expect_success(&self, status: Status) {
        if !status.is_ok() && status != Status::E_CLOSED {
            self.shared.count(Misbehaviour::BadStatus);
        }
    }

    fn settles(&self, settles: &mut Vec<abi::Settle>) -> Result<(), Over> {
        let settle = self.shared.plugin.calls.settle;
        for part in settles.chunks(BATCH_MAX) {
            self.may_call()?;
            let n = length(part);
            // SAFETY: a live handle, and `n` settles that live until the call returns.
            let status = self.call(Call::Settle, |me| unsafe { settle(me, part.as_ptr(), n) })?;
            self.expect_success(status);
        }
        settles.clear();
        Ok(())
    }

    fn grant(&self, events: u32, bytes: u64) -> Result<(), Over> {
        self.may_call()?;
        let grant = self.shared.plugin.calls.grant;
        self.shared.credits.granted(events, bytes);
        // SAFETY: a live handle; the call takes plain values.
        let status = self.call(Call::Grant, |me| unsafe { grant(me, events, bytes) })?;
        self.expect_success(status);
        Ok(())
    }

    fn kv(&self, answers: &mut Vec<KvAnswer>) -> Result<(), Over> {
        let Some(done) = self.shared.plugin.calls.kv_done else {
            answers.clear();
            return Ok(());
        };
        for part in answers.chunks(BATCH_MAX) {
            self.may_call()?;
            let results: Vec<abi::KvResult> = part.iter().map(KvAnswer::to_abi).collect();
            let (first, n) = (results.as_ptr(), length(&results));
            // SAFETY: a live handle, and `n` results that live until the call returns; their buffers are the adapter's.
            let status = self.call(Call::KvDone, |me| unsafe { done(me, first, n) })?;
            self.expect_success(status);
        }
        answers.clear();
        Ok(())
    }

    /// Hands commands over in runs of one kind, as far as the adapter takes them.
    fn commands(&self, mut commands: VecDeque<(u64, Command, bool)>) -> Result<(), Over> {
        while let Some(&(_, _, is_verify)) = commands.front() {
            if !matches!(self.shared.phase(), Phase::Starting | Phase::Started) {
                self.shared.refuse_commands(commands); // draining: what it has not taken by now, it does not get
                return Ok(());
            }
            let calls = &self.shared.plugin.calls;
            let (which, function) = match (is_verify, calls.verify) {
                (true, Some(verify)) => (Call::Verify, verify),
                (true, None) => {
                    let (id, ..) = commands.pop_front().expect("just seen");
                    self.shared
                        .complete_by_host(id, Status::E_UNSUPPORTED, true, "unsupported");
                    continue;
                }
                (false, _) => (Call::Execute, calls.execute),
            };
            let run = commands
                .iter()
                .take_while(|(.., verify)| *verify == is_verify);
            let n = run.take(BATCH_MAX).count();
            let taken = match self.hand_over(which, function, &mut commands, n) {
                Ok(taken) => taken,
                Err(over) => {
                    if !over.is_abandoned {
                        self.shared.refuse_commands(commands); // never offered
                    }
                    return Err(over);
                }
            };
            if taken < n {
                self.put_back(commands);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Calls once with the first `n`. How many are done with, from the front: taken, or refused.
    fn hand_over(
        &self,
        which: Call,
        function: ExecuteFn,
        commands: &mut VecDeque<(u64, Command, bool)>,
        n: usize,
    ) -> Result<usize, Over> {
        self.may_call()?;
        let lent: Vec<abi::Command> = commands
            .iter()
            .take(n)
            .map(|(id, command, _)| to_abi(*id, command))
            .collect();
        let (first, count) = (lent.as_ptr(), length(&lent));
        // SAFETY: a live handle, and commands whose texts `commands` keeps until the call returned.
        let called = self.call(which, |me| unsafe { function(me, first, count) });
        let status = called.inspect_err(|_| {
            // A call that panicked may have taken them: they stay open, and end as lost.
            commands.drain(..n);
        })?;
        let taken = match usize::try_from(status.0) {
            Ok(taken) => {
                if taken > n {
                    self.shared.count(Misbehaviour::BadStatus);
                }
                taken.min(n)
            }
            Err(_) => {
                let (id, ..) = commands[0];
                self.shared.complete_by_host(id, status, true, "");
                1
            }
        };
        commands.drain(..taken);
        // A negative answer says nothing about the others: they are offered again at once.
        Ok(if status.is_ok() { taken } else { n })
    }

    /// The adapter is busy: the rest is offered again at its next completion, or after a moment.
    fn put_back(&self, mut rest: VecDeque<(u64, Command, bool)>) {
        rest.retain(|(id, ..)| self.shared.is_open(*id));
        if rest.is_empty() {
            return;
        }
        let is_closed = {
            let mut queue = self.shared.queue();
            if !queue.is_closed {
                queue.is_busy = true;
                while let Some(command) = rest.pop_back() {
                    queue.commands.push_front(command);
                }
            }
            queue.is_closed
        };
        if is_closed {
            self.shared.refuse_commands(rest);
            return;
        }
        let at = Instant::now() + self.shared.plugin.patience.busy;
        self.shared.plugin.caller.push_later(at, self.shared);
    }

    fn webhook(&self, request: WebhookRequest) -> Result<(), Over> {
        let Some(function) = self.shared.plugin.calls.webhook else {
            return Ok(());
        };
        self.may_call()?;
        let id = request.id;
        let headers: Vec<abi::Pair> = request
            .headers
            .iter()
            .map(|(key, value)| abi::Pair {
                key: abi::Str::new(key),
                value: abi::Str::new(value),
            })
            .collect();
        let lent = request.to_abi(&headers);
        let body = lent.body;
        // SAFETY: a live handle; texts and headers live until the call returns; the body is taken on OK only.
        let status = self.call(Call::Webhook, |me| unsafe { function(me, &raw const lent) })?;
        if !status.is_ok() {
            buffer::take_back(body);
            self.shared.webhook_refused(id, status);
        }
        Ok(())
    }
}

fn length<T>(elements: &[T]) -> u32 {
    u32::try_from(elements.len()).expect("batches are at most BATCH_MAX")
}

fn to_abi(id: u64, command: &Command) -> abi::Command {
    abi::Command {
        size: u32::try_from(size_of::<abi::Command>()).expect("small"),
        flags: if command.is_redelivered {
            abi::CMD_REDELIVERED
        } else {
            0
        },
        id,
        deadline_ms: command.deadline_ms,
        name: abi::Str::new(&command.name),
        channel: command
            .channel
            .as_deref()
            .map_or(abi::Str::EMPTY, abi::Str::new),
        idempotency_key: abi::Str::new(&command.idempotency_key),
        body: abi::Str::from_bytes(&command.body),
        trace: command.trace,
    }
}
