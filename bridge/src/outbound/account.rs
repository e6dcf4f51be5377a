//! The commands of one account, seen from outside: a task that ends with the lease, and the way to it.
//!
//! Not here: what the task does (`queue`).

use super::budget::Pace;
use super::desk::{Desk, Echoes};
use super::gateway::Gateway;
use super::hands::Hands;
use super::in_hand::InHand;
use super::metrics::AccountFigures;
use super::queue::Queue;
use super::requests::{Asked, Core};
use crate::bus::consumer::Delivered;
use crate::bus::{Account, Hold, Kind};
use crate::envelope::ModelMinor;
use im_bridge_sdk::model::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Arrivals on their way to the account's task, which only takes them.
const ARRIVALS_MAX: usize = 512;

/// What an account's commands need.
pub struct Options {
    pub account: Account,
    /// The lease of the account's shard, and its epoch.
    pub hold: Hold,
    pub epoch: u64,
    pub hands: Arc<Hands>,
    /// Of the shard.
    pub in_hand: Arc<InHand>,
    pub core: Arc<dyn Core>,
    pub terms: Terms,
}

/// What may change while the account is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The adapter's version of the event model.
    pub model: ModelMinor,
    /// How often a durable command is tried.
    pub attempts_max: u32,
    /// Patterns of methods that `native.call` may reach.
    pub native_calls: Vec<Box<str>>,
    /// Instead of the adapter's own.
    pub rate: Option<Pace>,
    pub rates: Vec<(Box<str>, Pace)>,
}

/// Something to do, as it arrived. Small: a channel has room for 32 of what it carries from the beginning, and most
/// accounts are idle.
pub(super) enum Arrival {
    Durable(Box<Delivered>, Command),
    /// A durable command whose name no version knows.
    Strange(Box<Delivered>, Box<Kind>),
    Asked(Box<Asked>),
}

/// An account's queue, seen from outside. Dropping it ends the queue at once; what was not acknowledged comes again.
pub struct Outbound {
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) desk: Arc<Desk>,
    terms: watch::Sender<Arc<Terms>>,
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outbound {
    /// Starts the account's task.
    pub fn start(gateway: &Arc<Gateway>, options: Options) -> Self {
        let (arrivals, arriving) = mpsc::channel(ARRIVALS_MAX);
        let ending = watch::Sender::new(false);
        let terms = watch::Sender::new(Arc::new(options.terms));
        let desk = Arc::new(Desk {
            figures: gateway.figures().provider(&options.account.provider),
            labels: gateway.telemetry.account(&options.account),
            gateway: Arc::clone(gateway),
            account: options.account,
            hold: options.hold,
            epoch: options.epoch,
            hands: options.hands,
            in_hand: options.in_hand,
            core: options.core,
            account_figures: Arc::default(),
            echoes: Arc::default(),
            terms: terms.subscribe(),
            keys: Mutex::default(),
        });
        let queue = Queue::new(Arc::clone(&desk), arriving, ending.subscribe());
        Self {
            arrivals,
            desk,
            terms,
            ending,
            task: tokio::spawn(Box::new(queue).run()),
        }
    }

    pub fn account(&self) -> &Account {
        &self.desk.account
    }

    /// From now on; also for what waits already.
    pub fn adopt(&self, terms: Terms) {
        self.terms.send_if_modified(|before| {
            let is_new = **before != terms;
            if is_new {
                *before = Arc::new(terms);
            }
            is_new
        });
    }

    /// Gauges of this account.
    pub fn figures(&self) -> &Arc<AccountFigures> {
        &self.desk.account_figures
    }

    /// Which command an event echoes.
    pub fn echoes(&self) -> &Arc<Echoes> {
        &self.desk.echoes
    }

    /// Begins nothing durable any more, finishes what is with the adapter, answers its requests; before the adapter is
    /// drained and the lease given back. After `within` it ends anyway.
    pub async fn end(&self, within: Duration) {
        self.ending.send_replace(true);
        // Closed when the task has ended; a panic in it was told by the runtime.
        let ended = tokio::time::timeout(within, self.arrivals.closed()).await;
        if ended.is_err() {
            self.task.abort();
        }
    }
}
