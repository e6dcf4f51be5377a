//! All events of one account: which may go, which wait, and what became of them.

use super::carry::{Arrived, Held, Taken, carry};
use super::gateway::Gateway;
use super::lanes::{Lanes, Order};
use super::route::{Owner, Route, Surroundings};
use crate::bus::{Account, Hold};
use crate::envelope::{ModelMinor, Room};
use crate::loader::host::{InboundEvent, Misbehaviour};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// What an account's events are made with.
pub struct Options {
    pub account: Account,
    /// The adapter's version of the event model.
    pub model: ModelMinor,
    pub order: Order,
    /// The lease of the account's shard.
    pub hold: Hold,
    pub surroundings: Arc<dyn Surroundings>,
}

/// What [`Inbound::settled`] tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub events: usize,
    /// Of them, gaps that were announced (`sync_gaps_total`).
    pub gaps: usize,
}

/// Belongs to the account's task. Dropped, it settles what it still has as RETRY.
pub struct Inbound {
    owner: Arc<Owner>,
    model: ModelMinor,
    /// At most as many as the adapter declares.
    routes: HashMap<Box<str>, Arc<Route>>,
    /// Of events that cannot be published. Made for the first one: most accounts never have any.
    nowhere: Option<Arc<Route>>,
    lanes: Lanes<Held>,
    on_the_way: FuturesUnordered<Pin<Box<dyn Future<Output = Arrived> + Send>>>,
}

const GAP: &str = "sync.gap";

impl Inbound {
    pub fn new(gateway: &Arc<Gateway>, options: Options) -> Self {
        let owner = Arc::new(Owner {
            gateway: Arc::clone(gateway),
            figures: gateway.figures().provider(&options.account.provider),
            labels: gateway.telemetry.account(&options.account),
            account: options.account,
            hold: options.hold,
            surroundings: options.surroundings,
            room: Mutex::default(),
        });
        Self {
            owner,
            nowhere: None,
            model: options.model,
            routes: HashMap::new(),
            lanes: Lanes::new(options.order),
            on_the_way: FuturesUnordered::new(),
        }
    }

    /// Takes an event over. Returns at once; [`Self::settled`] carries it.
    pub fn accept(&mut self, event: InboundEvent) {
        let route = self.route(&event);
        // Frames are for whoever watches now: they neither wait for events nor hold them up.
        let lane = (!route.is_raw()).then(|| self.lanes.of(event.channel()));
        let held = Held {
            route,
            event,
            taken: Taken::now(),
            lane,
        };
        let may_go = match lane {
            Some(lane) => self.lanes.enter(lane, held),
            None => Some(held),
        };
        if let Some(held) = may_go {
            self.on_the_way.push(Box::pin(carry(held)));
        }
    }

    /// Carries events until some were settled; while there are none it waits for ever. Whoever accepts meanwhile calls
    /// it again. Cancel safe.
    pub async fn settled(&mut self) -> Settled {
        poll_fn(|cx| self.poll_settled(cx)).await
    }

    /// [`Self::settled`] for whoever polls.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Settled> {
        let mut settled = Settled::default();
        // Kept until all that arrived together are settled: the adapter is woken once for them.
        let mut turn = None;
        while let Poll::Ready(Some(arrived)) = self.on_the_way.poll_next_unpin(cx) {
            if arrived.turn.is_due() {
                turn = Some(arrived.turn);
            }
            settled.events += 1;
            settled.gaps += usize::from(&*arrived.route.kind == GAP);
            let next = arrived.lane.and_then(|lane| self.lanes.leave(lane));
            if let Some(held) = next {
                self.on_the_way.push(Box::pin(carry(held)));
            }
        }
        drop(turn);
        if settled.events == 0 {
            return Poll::Pending;
        }
        if self.is_idle() {
            *self.owner.room() = Room::default();
        }
        Poll::Ready(settled)
    }

    /// Carries until nothing is left: before the lease is given back. Cancel safe.
    pub async fn idle(&mut self) {
        while !self.is_idle() {
            self.settled().await;
        }
    }

    pub fn is_idle(&self) -> bool {
        self.on_the_way.is_empty()
    }

    /// Events that are not settled, and those of them that wait for their turn.
    pub fn held(&self) -> (usize, usize) {
        let waiting = self.lanes.waiting();
        (self.on_the_way.len() + waiting, waiting)
    }

    fn route(&mut self, event: &InboundEvent) -> Arc<Route> {
        let kind = event.kind();
        if let Some(route) = self.routes.get(kind) {
            return Arc::clone(route);
        }
        // With another defect the kind may be any text, and such must not fill the table.
        let is_kind = matches!(event.defect(), None | Some(Misbehaviour::PayloadTooLarge));
        match kind.parse() {
            Ok(parsed) if is_kind => {
                let route = Arc::new(Route::new(&self.owner, &parsed, self.model));
                self.routes.insert(kind.into(), Arc::clone(&route));
                route
            }
            _ => {
                let owner = &self.owner;
                let nowhere = self
                    .nowhere
                    .get_or_insert_with(|| Arc::new(Route::nowhere(owner)));
                Arc::clone(nowhere)
            }
        }
    }
}
