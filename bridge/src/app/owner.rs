//! A held shard: its commands and its accounts, from the lease that was won to the lease that is given back.
//!
//! Accounts come and go with the configuration. Given back, first the commands stop being taken, then every account ends
//! at the same time, and only then is the shard free. Lost, everything ends at once.
//!
//! Not here: winning and renewing the lease (`bus::shards`), one account (`owned`).

use super::base::Base;
use super::owned::{Held, IN_PEACE, LOST, Owned};
use super::plan::Plan;
use crate::account::Ending;
use crate::bus::consumer::{Acks, ShardConsumer, TakeError};
use crate::bus::{Account, Hold, Shard};
use crate::outbound::{Accounts, Commands, InHand};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const TAKE_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Between looks whether all accounts still run, and so the pause of one that was refused its fence.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The shard's task. Dropping it ends everything in it without a word.
pub struct Holding {
    give_back: Option<oneshot::Sender<Ending>>,
    task: JoinHandle<()>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Holding {
    /// `before` held the shard and lost it a moment ago: its accounts are to be gone first.
    pub fn start(
        base: &Arc<Base>,
        shard: Shard,
        epoch: u64,
        hold: Hold,
        plan: watch::Receiver<Arc<Plan>>,
        before: Option<Self>,
    ) -> Self {
        let (give_back, asked) = oneshot::channel();
        let keeper = Keeper {
            base: Arc::clone(base),
            shard,
            epoch,
            hold,
            plan,
            owned: BTreeMap::new(),
            leaving: Leaving::default(),
        };
        Self {
            give_back: Some(give_back),
            task: tokio::spawn(async move {
                if let Some(mut before) = before {
                    // A panic in it was told by the runtime.
                    let _ = (&mut before.task).await;
                }
                keeper.run(asked).await;
            }),
        }
    }

    /// Its accounts have ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends its accounts; the lease is given back by itself when that is done. Asked twice, the first counts. False: there
    /// is nothing left to end.
    pub fn give_back(&mut self, ending: Ending) -> bool {
        match self.give_back.take() {
            Some(give_back) => give_back.send(ending).is_ok(),
            None => !self.task.is_finished(),
        }
    }
}

struct Keeper {
    base: Arc<Base>,
    shard: Shard,
    epoch: u64,
    hold: Hold,
    plan: watch::Receiver<Arc<Plan>>,
    owned: BTreeMap<Account, Owned>,
    leaving: Leaving,
}

/// Accounts that are configured no more and not yet gone: one that comes back meanwhile waits for that.
#[derive(Default)]
struct Leaving {
    names: BTreeSet<Account>,
    ends: FuturesUnordered<BoxFuture<'static, Account>>,
}

impl Keeper {
    async fn run(mut self, mut asked: oneshot::Receiver<Ending>) {
        let hold = self.hold.clone();
        let ending = tokio::select! {
            biased;
            () = hold.lost() => None,
            ending = &mut asked => ending.ok(),
            () = self.keep() => None,
        };
        let shard = self.shard.number();
        match ending {
            Some(ending) => {
                self.end(ending).await;
                tracing::debug!(shard, "drained");
                self.base.shards.drained(self.shard).await;
            }
            None => {
                tracing::warn!(shard, "lease lost: its accounts end here");
                self.end(LOST).await;
            }
        }
    }

    /// Takes commands and follows the configuration; returns when somebody else has the shard.
    async fn keep(&mut self) {
        let accounts = Arc::new(Accounts::default());
        let in_hand = Arc::new(InHand::new(Acks::of(&self.base.bus)));
        // Accounts connect meanwhile: the lease is what they need, and no command comes before the consumer.
        self.adopt(&accounts, &in_hand);
        let consumer = match self.take_over().await {
            Ok(consumer) => consumer,
            Err(error) => return tracing::warn!(shard = self.shard.number(), "{error}"),
        };
        let commands = Commands::new(
            &self.base.outbound,
            consumer,
            Arc::clone(&accounts),
            Arc::clone(&in_hand),
            self.hold.clone(),
        );
        let mut commands = std::pin::pin!(commands.run());
        loop {
            self.adopt(&accounts, &in_hand);
            tokio::select! {
                biased;
                changed = self.plan.changed() => if changed.is_err() { return },
                Some(gone) = self.leaving.ends.next() => {
                    self.leaving.names.remove(&gone);
                }
                // An account that ended though it is wanted is begun anew.
                () = sleep(LOOK_EVERY) => self.owned.retain(|_, owned| !owned.is_finished()),
                taken = &mut commands => {
                    if let Err(error) = taken {
                        tracing::warn!(shard = self.shard.number(), "{error}");
                    }
                    return;
                }
            }
        }
    }

    async fn take_over(&mut self) -> Result<ShardConsumer, TakeError> {
        loop {
            match ShardConsumer::take_over(&self.base.bus, self.shard, self.epoch).await {
                Err(error @ TakeError::Api { .. }) => {
                    tracing::debug!("{error}");
                    sleep(TAKE_AGAIN_AFTER).await;
                }
                done => return done,
            }
        }
    }

    /// Runs what is configured now.
    fn adopt(&mut self, accounts: &Arc<Accounts>, in_hand: &Arc<InHand>) {
        let plan = Arc::clone(&self.plan.borrow_and_update());
        let gone: Vec<Account> = {
            let owned = self.owned.keys();
            owned
                .filter(|account| !plan.accounts.contains_key(account))
                .cloned()
                .collect()
        };
        for account in gone {
            if let Some(owned) = self.owned.remove(&account) {
                owned.begin_to_end(IN_PEACE);
                self.leaving.names.insert(account.clone());
                self.leaving.ends.push(Box::pin(async move {
                    owned.ended().await;
                    account
                }));
            }
        }
        for wanted in plan.of(self.shard) {
            if let Some(owned) = self.owned.get(&wanted.account) {
                owned.want(Arc::clone(wanted));
                continue;
            }
            if self.leaving.names.contains(&wanted.account) {
                continue;
            }
            let held = Held {
                base: Arc::clone(&self.base),
                shard: self.shard,
                epoch: self.epoch,
                hold: self.hold.clone(),
                accounts: Arc::clone(accounts),
                in_hand: Arc::clone(in_hand),
                attempts: plan.attempts,
            };
            let owned = Owned::start(&held, Arc::clone(wanted));
            self.owned.insert(wanted.account.clone(), owned);
        }
    }

    /// All at the same time.
    async fn end(&mut self, ending: Ending) {
        for owned in self.owned.values() {
            owned.begin_to_end(ending);
        }
        let owned = std::mem::take(&mut self.owned);
        let leaving = std::mem::take(&mut self.leaving.ends);
        tokio::join!(
            join_all(owned.into_values().map(Owned::ended)),
            leaving.collect::<Vec<Account>>(),
        );
    }
}
