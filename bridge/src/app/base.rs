//! What all accounts of this replica stand on, and the list of those that it owns.

use super::face::Face;
use super::figures::Figures;
use super::lookout::Lookout;
use crate::account::seal::Seals;
use crate::bus::shards::Shards;
use crate::bus::{Account, AckTable, Bus, Shard};
use crate::config::types::LogLevel;
use crate::loader::config::WebhookConfig;
use crate::loader::host::Pool;
use crate::telemetry::Telemetry;
use crate::{inbound, outbound};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One for the process.
pub struct Base {
    pub bus: Bus,
    pub acks: AckTable,
    pub inbound: Arc<inbound::Gateway>,
    pub outbound: Arc<outbound::Gateway>,
    pub seals: Arc<Seals>,
    /// The bound on what all adapters together have unsettled.
    pub pool: Arc<Pool>,
    pub shards: Shards,
    pub telemetry: Telemetry,
    /// What adapters may say in the log.
    pub log_level: LogLevel,
    pub directory: Arc<Directory>,
    pub figures: Arc<Figures>,
    pub lookout: Lookout,
    /// As it was at the start.
    pub webhook: WebhookConfig,
}

/// An owned account, and where its commands wait.
#[derive(Clone)]
pub struct Listed {
    pub shard: Shard,
    pub face: Arc<Face>,
    pub outbound: Option<Arc<outbound::metrics::AccountFigures>>,
}

/// The accounts that this replica owns.
#[derive(Default)]
pub struct Directory(Mutex<BTreeMap<Account, Listed>>);

impl Directory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Account, Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, listed: Listed) {
        self.lock().insert(listed.face.account.clone(), listed);
    }

    /// Takes it out, unless a later owner in this process has it again.
    pub(super) fn remove(&self, face: &Arc<Face>) {
        let mut known = self.lock();
        let is_same = |listed: &Listed| Arc::ptr_eq(&listed.face, face);
        if known.get(&face.account).is_some_and(is_same) {
            known.remove(&face.account);
        }
    }

    /// One of them.
    pub fn get(&self, account: &Account) -> Option<Listed> {
        self.lock().get(account).cloned()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Listed> {
        self.lock().values().cloned().collect()
    }

    /// Names of those in a shard.
    pub fn of(&self, shard: Shard) -> Vec<Account> {
        let known = self.lock();
        let of = known.values().filter(|listed| listed.shard == shard);
        of.map(|listed| listed.face.account.clone()).collect()
    }
}
