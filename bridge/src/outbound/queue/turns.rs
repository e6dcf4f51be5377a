//! A command's turn: who may go now, what follows from how the turn ended, and when the next one is.

use super::{LATE_MAX, Place, Queue, Settled, Turn, TurnEnd};
use crate::outbound::Fail;
use crate::outbound::answer::Verdict;
use crate::outbound::check::Target;
use crate::outbound::desk::Desk;
use crate::outbound::flow::Act;
use crate::outbound::lanes::LaneKey;
use crate::outbound::ledger::Held;
use crate::outbound::outcome::Outcome;
use crate::outbound::retry::Again;
use crate::outbound::work::{What, Work};
use futures_util::FutureExt;
use im_bridge_sdk::model::{Command, Durable, ErrorCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Queue {
    /// Lets go whatever may.
    pub(super) fn start_ready(&mut self) {
        if self.known.durable() != Durable::Run {
            return;
        }
        let now = std::time::Instant::now();
        while let Some((key, work)) = self.reads.next(now) {
            self.act(Place::Read(key), work);
        }
        while let Some(head) = self.lanes.head(now) {
            let name = match head.target {
                Target::User(_) => Command::ChannelCreate.as_str(),
                _ => &head.name,
            };
            // What is answered without the provider costs none of its pace.
            let is_free = head.data.options.dry_run || head.is_expired();
            let wait = match is_free {
                true => Ok(()),
                false => self.budget.take(name, now),
            };
            let Err(wait) = wait else {
                let (key, work) = self.lanes.next(now).expect("a head was there");
                self.start(key, work);
                continue;
            };
            let after = now + wait.after;
            if !head.is_durable && Instant::from_std(after) > head.deadline_at() {
                let (key, work) = self.lanes.next(now).expect("a head was there");
                self.lanes.done(&key);
                self.fail(work, too_slow(wait.after));
            } else if wait.is_account {
                self.lanes.put_all_off(after);
            } else {
                self.lanes.put_off(after);
            }
        }
        self.refuse_too_slow(now);
    }

    /// Requests behind what waits for the pace: they hear now what they would hear at their deadline.
    fn refuse_too_slow(&mut self, now: std::time::Instant) {
        let Some(until) = self.lanes.paced_until().filter(|_| self.held_requests > 0) else {
            return;
        };
        let is_too_slow = |work: &Work| {
            let waits = !work.is_durable && !work.data.options.dry_run;
            waits && Instant::from_std(until) > work.deadline_at()
        };
        for work in self.lanes.extract(|work| is_too_slow(work)) {
            self.fail(work, too_slow(until.saturating_duration_since(now)));
        }
    }

    fn start(&mut self, key: LaneKey, mut work: Box<Work>) {
        if let Target::User(user) = &work.target
            && !work.data.options.dry_run
        {
            let user = user.clone();
            if let Some(channel) = self.addresses.get(&user) {
                let channel = channel.to_owned();
                return self.found(&key, work, channel);
            }
            let desk = Arc::clone(&self.desk);
            let turn = async move {
                desk.begin_span(&mut work);
                let end = match desk.find_channel(&user, &mut work).await {
                    Ok(channel) => TurnEnd::Found { user, channel },
                    Err(act) => TurnEnd::Acted(act),
                };
                Turn {
                    place: Place::Lane(key),
                    work,
                    end,
                }
            };
            return self.acting.push(turn.boxed());
        }
        if work.has_entry() && !self.desk.take_key(&mut work) {
            let act = self.desk.busy(&work);
            return self.ended(Turn {
                place: Place::Lane(key),
                work,
                end: TurnEnd::Acted(act),
            });
        }
        self.act(Place::Lane(key), work);
    }

    fn found(&mut self, key: &LaneKey, mut work: Box<Work>, channel: String) {
        work.channel = Some(channel.clone());
        work.target = Target::Channel(channel);
        self.lanes.done(key);
        let target = work.target.clone();
        self.lanes.push(&target, work);
    }

    pub(super) fn ended(&mut self, turn: Turn) {
        let Turn {
            place,
            mut work,
            end,
        } = turn;
        let act = match end {
            TurnEnd::Found { user, channel } => {
                self.addresses.learn(&user, &channel);
                if let Place::Lane(key) = place {
                    self.found(&key, work, channel);
                }
                return;
            }
            TurnEnd::Acted(act) => act,
        };
        match act {
            Act::Ended(verdict) => {
                self.free(&place);
                self.settle(work, verdict);
            }
            Act::Again(again) => self.again(place, work, &again),
            Act::Abandoned => {
                self.free(&place);
                self.let_go(&mut work);
            }
        }
    }

    fn free(&mut self, place: &Place) {
        match place {
            Place::Lane(key) => self.lanes.done(key),
            Place::Read(key) => self.reads.done(key),
            Place::Beside => {}
        }
    }

    fn again(&mut self, place: Place, mut work: Box<Work>, again: &Again) {
        self.desk.free_key(&mut work);
        self.desk.put_off_span(&mut work, None);
        let until = std::time::Instant::now() + again.after;
        if again.pauses_account {
            self.lanes.pause(until);
            self.reads.pause(until);
        }
        match place {
            _ if self.is_ending && work.is_durable => {
                self.free(&place);
                self.let_go(&mut work);
            }
            Place::Lane(key) => self.lanes.again(&key, work, until),
            Place::Read(key) => self.reads.again(&key, work, until),
            Place::Beside => {
                let desk = Arc::clone(&self.desk);
                self.acting
                    .push(turn(desk, Place::Beside, work, Some(again.after)).boxed());
            }
        }
    }

    /// Answers a command that will not be carried out.
    pub(super) fn fail(&mut self, mut work: Box<Work>, fail: Fail) {
        work.fail = Some(fail);
        self.act(Place::Beside, work);
    }

    pub(super) fn act(&mut self, place: Place, work: Box<Work>) {
        let desk = Arc::clone(&self.desk);
        self.acting.push(turn(desk, place, work, None).boxed());
    }

    fn settle(&mut self, work: Box<Work>, verdict: Box<Verdict>) {
        let desk = Arc::clone(&self.desk);
        self.settling.push(settling(desk, work, verdict).boxed());
    }

    pub(super) fn settled(&mut self, settled: Settled) {
        let Settled {
            mut work,
            mut verdict,
            is_told,
        } = settled;
        self.let_go(&mut work);
        if !is_told {
            return;
        }
        self.wait_for_truth(&mut verdict);
        if let Some((batch, verdict)) = self.batches.item_ended(&work, &verdict) {
            self.settle(batch, Box::new(verdict));
        }
    }

    fn wait_for_truth(&mut self, verdict: &mut Verdict) {
        let (Some(late), Some(held)) = (verdict.late.take(), verdict.unknown_held()) else {
            return;
        };
        if self.lates.len() >= LATE_MAX {
            return;
        }
        let desk = Arc::clone(&self.desk);
        let held: Held = held.clone();
        let learn = async move {
            if let Some(completed) = late.truth().await {
                let ended = crate::account::Ended::Late(completed);
                desk.learnt(held, Outcome::of(&ended)).await;
            }
        };
        self.lates.push(learn.boxed());
    }
}

/// One turn of a command, now or after a pause.
async fn turn(desk: Arc<Desk>, place: Place, mut work: Box<Work>, after: Option<Duration>) -> Turn {
    if let Some(after) = after {
        sleep(after).await;
    }
    desk.begin_span(&mut work);
    let act = match work.what {
        What::Control(verb) if work.fail.is_none() => Box::pin(desk.control(verb, &mut work)).await,
        _ => desk.act(&mut work).await,
    };
    Turn {
        place,
        work,
        end: TurnEnd::Acted(act),
    }
}

/// The end of a command, told.
async fn settling(desk: Arc<Desk>, mut work: Box<Work>, mut verdict: Box<Verdict>) -> Settled {
    let is_told = desk.settle(&mut work, &mut verdict).await;
    Settled {
        work,
        verdict,
        is_told,
    }
}

/// A request that the account's pace would hold beyond its deadline.
fn too_slow(wait: Duration) -> Fail {
    let mut fail = Fail::certain(
        ErrorCode::RateLimited,
        "the account's pace leaves no room before the deadline",
    );
    fail.0.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    fail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command takes two such blocks, one after the other, and futures grow unseen: waiting for what is rare without a
    /// box had made the first one 58 KB.
    const BLOCK_BYTES: usize = 3 * 1_024;

    fn of_turn<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    fn of_end<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_command_waits_in_a_small_block() {
        let bytes = [of_turn(turn), of_end(settling)];
        assert!(bytes.iter().all(|it| *it <= BLOCK_BYTES), "{bytes:?}");
    }
}
