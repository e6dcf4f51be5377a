//! What the commands of one account share while its shard is held: the account itself, its adapter, and the way out.

use super::account::Terms;
use super::gateway::Gateway;
use super::hands::Hands;
use super::in_hand::InHand;
use super::metrics::{AccountFigures, ProviderFigures};
use super::requests::Core;
use super::work::Work;
use crate::bus::{Account, Hold};
use crate::telemetry::AccountLabels;
use im_bridge_sdk::model::Capabilities;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Commands whose echo may still come, per account.
const ECHOES_MAX: usize = 4_096;

pub(super) struct Desk {
    pub gateway: Arc<Gateway>,
    pub account: Account,
    pub hold: Hold,
    pub epoch: u64,
    pub hands: Arc<Hands>,
    pub in_hand: Arc<InHand>,
    pub core: Arc<dyn Core>,
    pub figures: Arc<ProviderFigures>,
    pub labels: Arc<AccountLabels>,
    pub account_figures: Arc<AccountFigures>,
    pub echoes: Arc<Echoes>,
    pub terms: watch::Receiver<Arc<Terms>>,
    /// Client references that are being worked on: from a command's turn until the ledger has its end.
    pub keys: Mutex<HashSet<String>>,
}

impl Desk {
    pub(super) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.borrow())
    }

    pub(super) fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.hands.view().capabilities
    }

    /// False: another command with this key is being worked on.
    pub(super) fn take_key(&self, work: &mut Work) -> bool {
        let Some(key) = work.client_ref(self.key_chars()).map(Cow::into_owned) else {
            return true;
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(key.clone()) {
            return false;
        }
        work.key_in_hand = Some(key);
        true
    }

    pub(super) fn free_key(&self, work: &mut Work) {
        if let Some(key) = work.key_in_hand.take() {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.remove(&key);
        }
    }

    /// How long a reference of the provider's may be.
    pub(super) fn key_chars(&self) -> usize {
        self.capabilities().map_or(usize::MAX, |can| {
            usize::try_from(can.limits.idempotency_key_chars).unwrap_or(usize::MAX)
        })
    }

    pub(super) fn unresolved(&self, more: i64) {
        let gauge = &self.account_figures.unresolved;
        // Another owner may have counted what this one resolves.
        let changed = |count: u64| Some(count.saturating_add_signed(more));
        let _ = gauge.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

/// Commands by client reference, so that the event that echoes one can name it.
#[derive(Debug, Default)]
pub struct Echoes {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_ref: HashMap<Arc<str>, Sent>,
    /// In the order in which they were handed over: the first one goes first.
    order: VecDeque<Arc<str>>,
}

/// The command behind a client reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub command_id: Box<str>,
    pub correlation_id: Option<Box<str>>,
}

impl Echoes {
    pub(super) fn sent(&self, client_ref: &str, sent: Sent) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let client_ref: Arc<str> = client_ref.into();
        if known.by_ref.insert(Arc::clone(&client_ref), sent).is_none() {
            known.order.push_back(client_ref);
        }
        if known.order.len() > ECHOES_MAX
            && let Some(first) = known.order.pop_front()
        {
            known.by_ref.remove(&first);
        }
    }

    /// The command with this client reference, if this owner handed it over lately.
    pub fn get(&self, client_ref: &str) -> Option<Sent> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_ref.get(client_ref).cloned()
    }
}
