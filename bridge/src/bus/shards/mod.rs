//! Wins, keeps and gives back shards, so that each has one owner and the replicas share them evenly.
//!
//! At most one holder at any position of the NATS log. A holder whose lease is lost stops by itself, before anybody else
//! can win it. Break before make: a shard is given back only when its user says that it is drained.
//!
//! Reading order: `handle` (what is told and asked), this file (the loop), `fair` (which to take and give), `own_name` (after
//! a crash), `member`.
//!
//! Not here: what a shard's owner does (`account`, `outbound`).

mod fair;
mod handle;
mod member;
mod own_name;

use super::connect::Bus;
use super::kv::Bucket;
use super::lease::{Ended, Lease, Timing};
use super::lease_figures::LeaseFigures;
use super::members::{LeaseRecord, MemberRecord, Owner, View, shard_key};
use super::objects::Names;
use super::shard::Shard;
use super::token::Provider;
use super::watch::{Change, Watch};
use bytes::Bytes;
use fair::Situation;
use handle::Order;
pub use handle::{ShardEvent, Shards, Why};
use member::keep_member;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Orders and events in flight; each shard has at most a few.
const QUEUE: usize = 1_024;
const TICK: Duration = Duration::from_millis(500);
/// Replicas that start or hear of a free shard at once do not reach for it at once.
const JITTER_MS: u64 = 200;
/// Who sees nobody else when it starts takes this part of all shards at once, and the rest a moment later: so many that
/// start in the same moment end up with even shares, and one that is alone does not wait.
const STARTERS: usize = 4;
/// After `drain`, unless nobody else is there.
const AVOID_AFTER_DRAIN: Duration = Duration::from_secs(30);
/// After giving one back, so that the one with too few gets it.
const AVOID_AFTER_REBALANCE: Duration = Duration::from_secs(5);

/// What this replica wants; changes with the configuration and the plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Shards with at least one enabled account, and the providers of those accounts.
    pub shards: BTreeMap<Shard, BTreeSet<Provider>>,
    /// Providers that there is a usable adapter for.
    pub usable: BTreeSet<Provider>,
}

/// How leases are kept and shared.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub timing: Timing,
    /// At most one shard is given back for balance in this time.
    pub rebalance_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            rebalance_every: Duration::from_secs(2),
        }
    }
}

/// Why a replica stops taking part.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    #[error(
        "nats.name `{name}` is in use by another running replica (started at {started} ms); names must differ"
    )]
    Name { name: String, started: u64 },
}

impl ShardsError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "nats_name",
        }
    }
}

struct Held {
    give_back: Option<oneshot::Sender<()>>,
    is_asked_back: bool,
}

enum Done {
    Won(Shard, Option<Box<Lease>>),
    Ended(Shard, Ended),
}

/// Owns the leases of this replica.
pub struct Keeper {
    owner: Owner,
    name: String,
    bucket: Bucket,
    watch: Watch,
    settings: Settings,
    wishes: watch::Receiver<Wishes>,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<ShardEvent>,
    seen: watch::Sender<View>,
    view: View,
    /// Nothing is known before the watch has told everything once.
    is_informed: bool,
    started: u64,
    version: String,
    winning: BTreeSet<Shard>,
    held: BTreeMap<Shard, Held>,
    avoided: BTreeMap<Shard, Instant>,
    free_since: BTreeMap<Shard, Instant>,
    /// Taken beyond the share, because nobody else did: not given back for balance before that time.
    beyond: BTreeMap<Shard, Instant>,
    /// Shards that could not be won a moment ago.
    retry_after: BTreeMap<Shard, Instant>,
    /// Leases of a former process of this name that is dead: what a write has to expect.
    dead: BTreeMap<Shard, u64>,
    next_rebalance: Instant,
    /// Until then whoever starts now, too, may not be seen yet.
    settled_at: Instant,
    is_draining: bool,
    tasks: JoinSet<Done>,
    figures: Arc<LeaseFigures>,
}

impl Keeper {
    /// Wants nothing before [`Self::run`] is polled.
    pub fn new(
        bus: &Bus,
        version: &str,
        settings: Settings,
        wishes: watch::Receiver<Wishes>,
    ) -> (Self, Shards, mpsc::Receiver<ShardEvent>) {
        let names = Names::new(bus.subjects.root());
        let bucket = Bucket::new(&bus.control, &names.leases());
        let owner = Owner::of_this_start(&bus.name);
        let (order, orders) = mpsc::channel(QUEUE);
        let (event, events) = mpsc::channel(QUEUE);
        let (seen, view) = watch::channel(View::default());
        let keeper = Self {
            owner: owner.clone(),
            name: bus.name.to_string(),
            watch: Watch::new(&bus.control, &bucket, ">"),
            bucket,
            settings,
            wishes,
            orders,
            events: event,
            seen,
            view: View::default(),
            is_informed: false,
            started: now_ms(),
            version: version.to_owned(),
            winning: BTreeSet::new(),
            held: BTreeMap::new(),
            avoided: BTreeMap::new(),
            free_since: BTreeMap::new(),
            beyond: BTreeMap::new(),
            retry_after: BTreeMap::new(),
            dead: BTreeMap::new(),
            next_rebalance: Instant::now(),
            settled_at: Instant::now(),
            is_draining: false,
            tasks: JoinSet::new(),
            figures: Arc::default(),
        };
        let shards = Shards {
            owner,
            orders: order,
            view,
            figures: Arc::clone(&keeper.figures),
        };
        (keeper, shards, events)
    }

    /// Returns after [`Shards::shut_down`] when all is given back, or when the name is taken. Dropped instead, everything
    /// expires by itself.
    pub async fn run(mut self) -> Result<(), ShardsError> {
        self.watch_own_name().await?;
        let (member, record) = watch::channel(self.record());
        let (end_member, ended) = oneshot::channel();
        let membership = keep_member(
            self.bucket.clone(),
            self.owner.clone(),
            self.settings.timing,
            record,
            ended,
        );
        let membership = tokio::spawn(membership);
        let moment = Duration::from_millis(fastrand::u64(JITTER_MS / 2..=JITTER_MS));
        self.settled_at = Instant::now() + moment;
        let mut settled = std::pin::pin!(sleep(moment));
        let mut is_settled = false;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_handle = true;
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv(), if has_handle => {
                    has_handle = order.is_some();
                    // Whoever dropped the handle wants nothing more.
                    self.ordered(order.unwrap_or(Order::Shutdown)).await;
                }
                Some(done) = self.tasks.join_next() => if let Ok(done) = done { self.done(done).await },
                change = self.watch.next() => self.changed(change),
                Ok(()) = self.wishes.changed() => {}
                () = &mut settled, if !is_settled => is_settled = true,
                _ = tick.tick() => {}
            }
            member.send_if_modified(|record| {
                let new = self.record();
                let is_new = *record != new;
                *record = new;
                is_new
            });
            self.decide().await;
            if self.is_draining && self.held.is_empty() && self.winning.is_empty() {
                break;
            }
        }
        // Received by the task, or it ended already.
        let _ = end_member.send(());
        let _ = membership.await;
        Ok(())
    }

    fn record(&mut self) -> Bytes {
        let wishes = self.wishes.borrow_and_update();
        let record = MemberRecord {
            version: self.version.clone(),
            started: self.started,
            weight: 1,
            draining: self.is_draining,
            providers: wishes
                .usable
                .iter()
                .map(|one| one.as_str().to_owned())
                .collect(),
        };
        serde_json::to_vec(&record)
            .expect("strings and numbers become JSON")
            .into()
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Reset => {
                self.view = View::default();
                self.is_informed = false;
            }
            Change::Entry(entry) => self.view.apply(&entry),
            Change::Complete => self.is_informed = true,
        }
        let view = &mut self.view;
        self.dead
            .retain(|shard, revision| match view.leases.get(shard) {
                // Told again: still the dead one's.
                Some(seen) if seen.revision == *revision => {
                    view.leases.remove(shard);
                    true
                }
                // Somebody else's write overtook what was known of the dead.
                Some(_) => false,
                None => view.marker(*shard) < *revision,
            });
        if self.is_informed {
            self.seen.send_if_modified(|seen| {
                let is_new = *seen != self.view;
                seen.clone_from(&self.view);
                is_new
            });
        }
    }

    async fn ordered(&mut self, order: Order) {
        match order {
            Order::Drained(shard) => {
                if let Some(held) = self.held.get_mut(&shard)
                    && let Some(give_back) = held.give_back.take()
                {
                    // It may have been lost at this moment.
                    let _ = give_back.send(());
                }
            }
            Order::Drain(shard) => {
                self.avoided
                    .insert(shard, Instant::now() + AVOID_AFTER_DRAIN);
                self.ask_back(shard, Why::Drain).await;
            }
            Order::Shutdown => self.is_draining = true,
        }
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Won(shard, won) => {
                self.winning.remove(&shard);
                self.dead.remove(&shard);
                let Some(lease) = won else {
                    // Somebody was faster, or nobody leads: by then the watch has told.
                    self.retry_after.insert(shard, Instant::now() + TICK);
                    return;
                };
                let (epoch, hold) = (lease.epoch, lease.hold.clone());
                let (_, value) = watch::channel(self.lease_value(epoch));
                let (give_back, asked) = oneshot::channel();
                self.tasks
                    .spawn(async move { Done::Ended(shard, lease.keep(value, asked).await) });
                self.held.insert(
                    shard,
                    Held {
                        give_back: Some(give_back),
                        is_asked_back: false,
                    },
                );
                self.tell(ShardEvent::Won { shard, epoch, hold }).await;
            }
            Done::Ended(shard, ended) => {
                self.held.remove(&shard);
                let was_given_back = ended == Ended::GivenBack;
                self.tell(ShardEvent::Ended {
                    shard,
                    was_given_back,
                })
                .await;
            }
        }
    }

    fn lease_value(&self, epoch: u64) -> Bytes {
        let record = LeaseRecord {
            owner: self.owner.clone(),
            started: self.started,
            epoch,
            since: now_ms(),
        };
        serde_json::to_vec(&record)
            .expect("strings and numbers become JSON")
            .into()
    }

    async fn decide(&mut self) {
        if self.is_draining {
            for shard in self.held.keys().copied().collect::<Vec<_>>() {
                self.ask_back(shard, Why::Shutdown).await;
            }
            return;
        }
        if !self.is_informed {
            return;
        }
        let wishes = self.wishes.borrow().clone();
        let unwanted: Vec<Shard> = self
            .held
            .keys()
            .copied()
            .filter(|shard| !wishes.shards.contains_key(shard))
            .collect();
        for shard in unwanted {
            self.ask_back(shard, Why::Unwanted).await;
        }
        let now = Instant::now();
        let mine: BTreeSet<Shard> = self.held.keys().chain(&self.winning).copied().collect();
        let situation = Situation {
            me: &self.owner,
            view: &self.view,
            wishes: &wishes,
            mine: &mine,
            avoided: &self.avoided,
            free_since: &self.free_since,
            now,
        };
        let (mut take, room) = (situation.to_take(), situation.room());
        if now < self.settled_at {
            take.truncate(situation.at_once());
        }
        let free: BTreeSet<Shard> = wishes
            .shards
            .keys()
            .copied()
            .filter(|&shard| situation.is_free(shard))
            .collect();
        let is_quiet = self.winning.is_empty() && now >= self.next_rebalance;
        let staying: BTreeSet<Shard> = self
            .held
            .iter()
            .filter(|(_, held)| !held.is_asked_back)
            .map(|(shard, _)| *shard)
            .collect();
        let give = if is_quiet {
            situation.to_give(&staying, |shard| !self.beyond.contains_key(&shard))
        } else {
            None
        };
        self.free_since.retain(|shard, _| free.contains(shard));
        for shard in free {
            self.free_since.entry(shard).or_insert(now);
        }
        // Somebody else had it: it went where it should, and if it is free again, it is free for all.
        let others = |shard: &Shard| {
            let lease = self.view.leases.get(shard);
            lease.is_some_and(|lease| lease.record.owner != self.owner)
        };
        self.avoided
            .retain(|shard, until| now < *until && !others(shard));
        self.retry_after.retain(|_, until| now < *until);
        self.beyond.retain(|_, until| now < *until);
        for (index, shard) in take.into_iter().enumerate() {
            if self.retry_after.contains_key(&shard) {
                continue;
            }
            if index >= room {
                self.beyond.insert(shard, now + AVOID_AFTER_DRAIN);
            }
            self.take(shard);
        }
        if let Some(shard) = give {
            self.next_rebalance = now + self.settings.rebalance_every;
            self.avoided.insert(shard, now + AVOID_AFTER_REBALANCE);
            self.ask_back(shard, Why::Balance).await;
        }
    }

    fn take(&mut self, shard: Shard) {
        self.winning.insert(shard);
        let expects = match (self.dead.get(&shard), self.view.leases.get(&shard)) {
            (Some(revision), _) => *revision,
            // Our own, from before a freeze: nobody took it.
            (None, Some(seen)) => seen.revision,
            (None, None) => self.view.marker(shard),
        };
        let (bucket, owner, timing) = (
            self.bucket.clone(),
            self.owner.clone(),
            self.settings.timing,
        );
        let value = self.lease_value(0);
        let figures = Arc::clone(&self.figures);
        let is_alone = self.view.members.keys().all(|member| *member == self.owner);
        let jitter = if is_alone {
            0
        } else {
            fastrand::u64(0..=JITTER_MS)
        };
        self.tasks.spawn(async move {
            sleep(Duration::from_millis(jitter)).await;
            let key = shard_key(shard);
            let won = Lease::win(&bucket, &key, &owner, value, expects, timing, &figures).await;
            Done::Won(shard, won.ok().map(Box::new))
        });
    }

    async fn ask_back(&mut self, shard: Shard, why: Why) {
        let Some(held) = self.held.get_mut(&shard) else {
            return;
        };
        if std::mem::replace(&mut held.is_asked_back, true) {
            return;
        }
        self.tell(ShardEvent::GiveBack { shard, why }).await;
    }

    async fn tell(&self, event: ShardEvent) {
        // Without a listener nobody uses the shards; they are given back when the handle goes.
        let _ = self.events.send(event).await;
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}
