//! What a keeper tells of its shards, and what it can be asked.

use crate::bus::hold::Hold;
use crate::bus::lease_figures::LeaseFigures;
use crate::bus::members::{Owner, View};
use crate::bus::shard::Shard;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What happens to a shard. Its user answers `GiveBack` with [`Shards::drained`].
#[derive(Clone, Debug)]
pub enum ShardEvent {
    /// Ours from here on, for as long as the hold is held.
    Won {
        shard: Shard,
        epoch: u64,
        hold: Hold,
    },
    /// Wanted back: stop what it does and say so. The hold is renewed meanwhile.
    GiveBack { shard: Shard, why: Why },
    /// Gone: nothing may be done for it any more. After `GiveBack` and `drained`, or without.
    Ended { shard: Shard, was_given_back: bool },
}

/// Why a shard is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Another replica has too few.
    Balance,
    /// No enabled account is in it any more.
    Unwanted,
    /// An operator wants it elsewhere.
    Drain,
    Shutdown,
}

pub(super) enum Order {
    Drained(Shard),
    Drain(Shard),
    Shutdown,
}

/// The handle; the keeper itself is [`Keeper::run`].
#[derive(Clone)]
pub struct Shards {
    pub(super) owner: Owner,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) view: watch::Receiver<View>,
    pub(super) figures: Arc<LeaseFigures>,
}

impl Shards {
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn figures(&self) -> &LeaseFigures {
        &self.figures
    }

    /// Who has what, as it was last seen.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// The answer to `GiveBack`: nothing is done for it any more.
    pub async fn drained(&self, shard: Shard) {
        // A keeper that ended has given everything back.
        let _ = self.orders.send(Order::Drained(shard)).await;
    }

    /// Moves a shard away and does not take it back for a while, unless this is the only replica.
    pub async fn drain(&self, shard: Shard) {
        let _ = self.orders.send(Order::Drain(shard)).await;
    }

    /// Gives everything back; the keeper ends when that is done.
    pub async fn shut_down(&self) {
        let _ = self.orders.send(Order::Shutdown).await;
    }
}
