//! All commands of one account that its owner has in hand: which may go, which wait, and what becomes of them.
//!
//! In order within a channel, channels side by side, at the adapter's limits and the account's pace. Up to
//! [`IN_HAND_MAX`] commands are kept whole; of what comes after them only the place in the stream is, in order, and it is
//! read again when its turn comes. So an account that is away for a day costs its neighbours nothing.
//!
//! Not here: what is done with one command (`flow`, `answer`), and where commands come from (`shard`, `requests`).

use super::Fail;
use super::account::Arrival;
use super::address::Addresses;
use super::answer::Verdict;
use super::batch::Batches;
use super::budget::{Budget, Pace};
use super::check::Target;
use super::desk::Desk;
use super::flow::{Act, Again, expired, not_now, running};
use super::hands::View;
use super::lanes::{LaneKey, Lanes};
use super::ledger::Held;
use super::outcome::Outcome;
use super::requests::Asked;
use super::tail::{Read, Tail};
use super::work::{Intake, Origin, What, Work};
use crate::bus::Kind;
use crate::bus::clock::unix_ms;
use crate::bus::consumer::Delivered;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use im_bridge_sdk::model::{Command, Durable, Effect, ErrorCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Commands kept whole.
pub const IN_HAND_MAX: usize = 256;
/// Bytes of their bodies: a few large commands count as many.
pub const IN_HAND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests in hand of one account; the next one is answered `overloaded`.
pub const REQUESTS_MAX: usize = 256;
/// Unknown ends whose truth is still waited for.
const LATE_MAX: usize = 64;
/// How late a command may notice that its deadline passed while it waited.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Where a command is while it acts.
#[derive(Clone)]
enum Place {
    Lane(LaneKey),
    Read(LaneKey),
    /// Only to be answered.
    Beside,
}

enum TurnEnd {
    Acted(Act),
    Found { user: String, channel: String },
}

struct Turn {
    place: Place,
    work: Box<Work>,
    end: TurnEnd,
}

struct Settled {
    work: Box<Work>,
    verdict: Box<Verdict>,
    is_told: bool,
}

pub(super) struct Queue {
    desk: Arc<Desk>,
    view: watch::Receiver<View>,
    known: View,
    rate: Option<Pace>,
    rates: Vec<(Box<str>, Pace)>,
    budget: Budget,
    arriving: mpsc::Receiver<Arrival>,
    ending: watch::Receiver<bool>,
    is_ending: bool,
    lanes: Lanes<Box<Work>>,
    /// What changes nothing: a lane each, so that only their number is bounded.
    reads: Lanes<Box<Work>>,
    tail: Tail,
    acting: FuturesUnordered<BoxFuture<'static, Turn>>,
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
    lates: FuturesUnordered<BoxFuture<'static, ()>>,
    addresses: Addresses,
    batches: Batches,
    held: usize,
    held_bytes: usize,
    held_requests: usize,
    sweep_at: Instant,
}

impl Queue {
    pub(super) fn new(
        desk: Arc<Desk>,
        (rate, rates): (Option<Pace>, Vec<(Box<str>, Pace)>),
        arriving: mpsc::Receiver<Arrival>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        let now = std::time::Instant::now();
        Self {
            view: desk.hands.watch(),
            known: desk.hands.view(),
            rate,
            budget: Budget::new(rate, rates.iter().cloned(), now),
            rates,
            arriving,
            ending,
            is_ending: false,
            lanes: Lanes::new(1),
            reads: Lanes::new(1),
            tail: Tail::default(),
            acting: FuturesUnordered::new(),
            settling: FuturesUnordered::new(),
            lates: FuturesUnordered::new(),
            addresses: Addresses::default(),
            batches: Batches::default(),
            held: 0,
            held_bytes: 0,
            held_requests: 0,
            sweep_at: Instant::now() + SWEEP_EVERY,
            desk,
        }
    }

    pub(super) async fn run(mut self) {
        let hold = self.desk.hold.clone();
        let mut lost = std::pin::pin!(hold.lost());
        self.adapt();
        loop {
            self.start_ready();
            self.read_more();
            self.show();
            if self.is_ending && self.is_idle() {
                return;
            }
            let wake = self.wake_at();
            tokio::select! {
                biased;
                // Whoever owns the account next has all of it.
                () = &mut lost => return,
                _ = self.ending.changed(), if !self.is_ending => self.begin_to_end(),
                Some(settled) = self.settling.next() => self.settled(settled),
                Some(turn) = self.acting.next() => self.ended(turn),
                Some(()) = self.lates.next() => {}
                Some(read) = self.tail.next() => self.read(read),
                Ok(()) = self.view.changed() => {
                    self.known = self.view.borrow_and_update().clone();
                    self.adapt();
                }
                Some(arrival) = self.arriving.recv(), if !self.is_ending => self.arrived(arrival),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    if self.sweep_at <= Instant::now() {
                        self.sweep();
                    }
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.acting.is_empty()
            && self.settling.is_empty()
            && self.lanes.waiting() + self.reads.waiting() == 0
    }

    /// What waits is the next owner's; requests are answered by this one.
    fn begin_to_end(&mut self) {
        self.is_ending = true;
        self.tail = Tail::default();
        self.lanes.extract(|work| work.is_durable);
        self.reads.extract(|work| work.is_durable);
        self.lates.clear();
    }

    fn wake_at(&self) -> Option<Instant> {
        let mut wake = None;
        if self.known.durable() == Durable::Run {
            let now = std::time::Instant::now();
            let next = [self.lanes.wake_at(now), self.reads.wake_at(now)];
            wake = next.into_iter().flatten().min().map(Instant::from_std);
        }
        let has_waiting = !self.tail.is_empty()
            || !self.batches.is_empty()
            || self.lanes.waiting() + self.reads.waiting() > 0;
        let sweep = has_waiting.then_some(self.sweep_at);
        wake.into_iter().chain(sweep).min()
    }

    /// The account's state or its adapter changed.
    fn adapt(&mut self) {
        if let Some(can) = self.known.capabilities.clone() {
            let count = |bound: u32| usize::try_from(bound).unwrap_or(usize::MAX);
            self.lanes.set_out_max(count(can.limits.max_in_flight));
            self.reads
                .set_out_max(count(can.limits.max_reads_in_flight));
            let own = can.limits.rate.as_ref().map(|rate| Pace {
                per_s: rate.per_s,
                burst: rate.burst,
            });
            let rate = self.rate.or(own);
            self.budget
                .set(rate, &self.rates, std::time::Instant::now());
        }
        let durable = self.known.durable();
        let given_up = |work: &Work| match durable {
            Durable::Run => false,
            Durable::Wait => !work.is_durable,
            Durable::Refused => true,
        };
        let mut over = self.lanes.extract(|work| given_up(work));
        over.extend(self.reads.extract(|work| given_up(work)));
        for work in over {
            self.fail(work, not_now(durable));
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Durable(delivered, command) => self.delivered(&delivered, command),
            Arrival::Strange(delivered, kind) => {
                let work = self.of(&delivered, kind);
                self.hold(&work);
                self.act(Place::Beside, work);
            }
            Arrival::Asked(asked) => self.asked(*asked),
        }
    }

    fn of(&self, delivered: &Delivered, kind: Kind) -> Box<Work> {
        Box::new(Work::read(Intake {
            kind,
            is_control: false,
            headers: &delivered.headers,
            payload: &delivered.payload,
            origin: Origin::Durable {
                sequence: delivered.sequence,
            },
            since_ms: delivered.stored_ms,
            commands_max_age: self.desk.gateway.commands_max_age,
        }))
    }

    fn delivered(&mut self, delivered: &Delivered, command: Command) {
        let work = self.of(delivered, kind(command));
        if work.fail.is_none() && !(self.has_room() && self.tail.is_empty()) {
            return self.tail.push(delivered.sequence, command, &work);
        }
        self.admit(work);
    }

    fn asked(&mut self, asked: Asked) {
        let mut work = Box::new(asked.into_work(&self.desk));
        if self.held_requests >= REQUESTS_MAX && work.fail.is_none() {
            work.fail = Some(overloaded());
        }
        self.admit(work);
    }

    fn has_room(&self) -> bool {
        self.held + self.tail.reading() < IN_HAND_MAX && self.held_bytes < IN_HAND_BYTES_MAX
    }

    fn hold(&mut self, work: &Work) {
        self.held += 1;
        self.held_bytes += work.bytes;
        self.held_requests += usize::from(matches!(work.origin, Origin::Request { .. }));
    }

    fn let_go(&mut self, work: &mut Work) {
        self.held -= 1;
        self.held_bytes -= work.bytes;
        self.held_requests -= usize::from(matches!(work.origin, Origin::Request { .. }));
        self.desk.free_key(work);
    }

    /// Takes a command in, whole.
    fn admit(&mut self, mut work: Box<Work>) {
        self.hold(&work);
        if work.fail.is_some() {
            return self.act(Place::Beside, work);
        }
        if let What::Control(_) = work.what {
            return self.act(Place::Beside, work);
        }
        let durable = self.known.durable();
        let is_over = match durable {
            Durable::Run => false,
            Durable::Wait => !work.is_durable,
            Durable::Refused => true,
        };
        if is_over {
            return self.fail(work, not_now(durable));
        }
        if work.what == What::Command(Command::MessageSendBatch) {
            let items = self.batches.split(work);
            for item in items {
                self.admit(Box::new(item));
            }
            return;
        }
        match work.effect() {
            Some(Effect::Mutating) => {
                self.readdress(&mut work);
                let target = work.target.clone();
                self.lanes.push(&target, work);
            }
            _ => self.reads.push(&Target::Nothing, work),
        }
    }

    /// A user whose channel is known is that channel; unless earlier commands for the user are still waiting for it.
    fn readdress(&mut self, work: &mut Work) {
        if let Target::User(user) = &work.target
            && !self.lanes.has(&LaneKey::User(user.as_str().into()))
            && let Some(channel) = self.addresses.get(user)
        {
            work.channel = Some(channel.to_owned());
            work.target = Target::Channel(channel.to_owned());
        }
    }

    /// Answers a command that will not be carried out.
    fn fail(&mut self, mut work: Box<Work>, fail: Fail) {
        work.fail = Some(fail);
        self.act(Place::Beside, work);
    }

    fn act(&mut self, place: Place, work: Box<Work>) {
        let desk = Arc::clone(&self.desk);
        self.acting.push(turn(desk, place, work, None));
    }

    /// Lets go whatever may.
    fn start_ready(&mut self) {
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
                self.lanes.pause(after);
            } else {
                self.lanes.put_off(after);
            }
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

    fn ended(&mut self, turn: Turn) {
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
                    .push(turn(desk, Place::Beside, work, Some(again.after)));
            }
        }
    }

    fn settle(&mut self, mut work: Box<Work>, mut verdict: Box<Verdict>) {
        let desk = Arc::clone(&self.desk);
        let settle = async move {
            let is_told = desk.settle(&mut work, &mut verdict).await;
            Settled {
                work,
                verdict,
                is_told,
            }
        };
        self.settling.push(settle.boxed());
    }

    fn settled(&mut self, settled: Settled) {
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

    /// Reads again what comes next in the stream.
    fn read_more(&mut self) {
        while self.has_room() && !self.is_ending && self.tail.read_next(&self.desk) {}
    }

    fn read(&mut self, read: Read) {
        let Some(work) = read.work else {
            // Gone from the stream: there is nothing to do and nobody to tell.
            let in_hand = Arc::clone(&self.desk.in_hand);
            let sequence = read.sequence;
            self.lates
                .push(async move { in_hand.done(sequence).await }.boxed());
            return;
        };
        if read.is_expired {
            self.hold(&work);
            self.fail(work, expired());
        } else {
            self.admit(work);
        }
    }

    /// Answers what waited beyond its deadline.
    fn sweep(&mut self) {
        self.sweep_at = Instant::now() + SWEEP_EVERY;
        let now_ms = unix_ms();
        let is_late = |work: &Work| work.deadline_ms <= now_ms;
        let mut over = self.lanes.extract(|work| is_late(work));
        over.extend(self.reads.extract(|work| is_late(work)));
        for work in over {
            self.fail(work, expired());
        }
        self.tail.read_expired(now_ms, &self.desk);
        for work in self.batches.overdue() {
            let reply = self.desk.compose(work, &mut Verdict::error(running(true)));
            let desk = Arc::clone(&self.desk);
            self.lates
                .push(async move { desk.send(reply).await }.boxed());
        }
    }

    fn show(&self) {
        let figures = &self.desk.account_figures;
        let in_flight = figures.in_flight.load(Ordering::Relaxed);
        let waiting = (self.held + self.tail.len()) as u64;
        figures
            .waiting
            .store(waiting.saturating_sub(in_flight), Ordering::Relaxed);
        let kept = self.lanes.iter().chain(self.reads.iter());
        // Lanes hold the earlier ones.
        let oldest = match self.lanes.waiting() + self.reads.waiting() {
            0 => self.tail.oldest_ms(),
            _ => kept.map(|work| work.since_ms).min(),
        };
        figures
            .oldest_ms
            .store(oldest.unwrap_or(0), Ordering::Relaxed);
    }
}

/// One turn of a command, now or after a pause.
fn turn(
    desk: Arc<Desk>,
    place: Place,
    mut work: Box<Work>,
    after: Option<Duration>,
) -> BoxFuture<'static, Turn> {
    async move {
        if let Some(after) = after {
            sleep(after).await;
        }
        let act = match work.what {
            What::Control(verb) if work.fail.is_none() => desk.control(verb, &mut work).await,
            _ => desk.act(&mut work).await,
        };
        Turn {
            place,
            work,
            end: TurnEnd::Acted(act),
        }
    }
    .boxed()
}

pub(super) fn kind(command: Command) -> Kind {
    command
        .as_str()
        .parse()
        .expect("every command is a resource and an action")
}

pub(super) fn overloaded() -> Fail {
    let text = format!("{REQUESTS_MAX} requests of the account are waiting already");
    Fail::certain(ErrorCode::Overloaded, text)
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
