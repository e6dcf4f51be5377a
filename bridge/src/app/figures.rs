//! The figures of this replica, told to scrapers: what its parts count, under the names that users see.
//!
//! Not here: the list of names (`telemetry`), counting events and commands (`inbound`, `outbound`).

use super::base::Base;
use super::plan::Plan;
use crate::admin::Health;
use crate::bus::Provider;
use crate::loader::Loaded;
use crate::loader::host::{CreditFigures, Fault, Misbehaviour, Op, stuck_instances};
use crate::telemetry::{Exposition, Metric, Source};
use im_bridge_sdk::model::NoiseClass;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::watch;

/// Labels of an operation: name, noise class, outcome. Names are those that `describe` declares, and `other`.
type Operation = (Box<str>, &'static str, &'static str);

#[derive(Default)]
struct Counts {
    operations: BTreeMap<Provider, BTreeMap<Operation, u64>>,
    faults: BTreeMap<(Provider, &'static str), u64>,
    misbehaviour: BTreeMap<(Provider, &'static str), u64>,
    logs_dropped: BTreeMap<Provider, u64>,
}

/// What no other part counts.
#[derive(Default)]
pub struct Figures {
    counts: Mutex<Counts>,
    pub(super) reloads_done: AtomicU64,
    pub(super) reloads_refused: AtomicU64,
}

impl Figures {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn operation(&self, provider: &Provider, op: &Op) {
        let noise = u16::try_from(op.noise.0).unwrap_or(u16::MAX);
        let noise = NoiseClass::from_abi(noise).as_str();
        let outcome = if op.status.is_ok() { "ok" } else { "error" };
        let mut counts = self.lock();
        if !counts.operations.contains_key(provider) {
            counts.operations.insert(provider.clone(), BTreeMap::new());
        }
        let of = counts.operations.entry(provider.clone()).or_default();
        *of.entry((op.name().into(), noise, outcome)).or_default() += 1;
    }

    pub(super) fn fault(&self, provider: &Provider, fault: &Fault) {
        let kind = match fault {
            Fault::Panic => "panic",
            Fault::Stuck(_) => "stuck",
        };
        *self
            .lock()
            .faults
            .entry((provider.clone(), kind))
            .or_default() += 1;
    }

    pub(super) fn misbehaved(&self, provider: &Provider, kind: Misbehaviour, count: u64) {
        let key = (provider.clone(), kind.as_str());
        *self.lock().misbehaviour.entry(key).or_default() += count;
    }

    pub(super) fn log_dropped(&self, provider: &Provider, count: u64) {
        *self
            .lock()
            .logs_dropped
            .entry(provider.clone())
            .or_default() += count;
    }
}

impl Source for Figures {
    fn collect(&self, to: &mut Exposition) {
        let counts = self.lock();
        for (provider, operations) in &counts.operations {
            for ((name, noise, outcome), count) in operations {
                let labels = [provider.as_str(), name, noise, outcome];
                to.count(Metric::OperationsTotal, &labels, *count);
            }
        }
        for ((provider, kind), count) in &counts.faults {
            to.count(
                Metric::PluginFaultsTotal,
                &[provider.as_str(), kind],
                *count,
            );
        }
        for ((provider, kind), count) in &counts.misbehaviour {
            to.count(
                Metric::PluginMisbehaviourTotal,
                &[provider.as_str(), kind],
                *count,
            );
        }
        for (provider, count) in &counts.logs_dropped {
            to.count(Metric::PluginLogDroppedTotal, &[provider.as_str()], *count);
        }
        for (outcome, counter) in [
            ("done", &self.reloads_done),
            ("refused", &self.reloads_refused),
        ] {
            to.count(
                Metric::ConfigReloadsTotal,
                &[outcome],
                counter.load(Ordering::Relaxed),
            );
        }
        to.count(Metric::PluginStuckInstances, &[], stuck_instances());
    }
}

/// The parts of the replica as a scraper sees them; some come later than the listener.
#[derive(Default)]
pub struct Parts {
    pub health: Arc<Health>,
    pub plan: OnceLock<watch::Receiver<Arc<Plan>>>,
    pub base: OnceLock<Weak<Base>>,
}

impl Source for Parts {
    fn collect(&self, to: &mut Exposition) {
        let version = env!("CARGO_PKG_VERSION");
        to.count(Metric::BuildInfo, &[version, "1.0"], 1);
        let is_ready = self.health.readiness() == "ok";
        to.count(Metric::Ready, &[], u64::from(is_ready));
        if let Some(plan) = self.plan.get() {
            plugins(&plan.borrow().clone(), to);
        }
        if let Some(base) = self.base.get().and_then(Weak::upgrade) {
            bus(&base, to);
            events(&base, to);
            commands(&base, to);
            accounts(&base, to);
        }
    }
}

fn plugins(plan: &Plan, to: &mut Exposition) {
    for (provider, adapter) in &plan.plugins.adapters {
        let (version, hash) = (
            adapter.loaded.version.to_string(),
            adapter.loaded.sha256.short(),
        );
        let labels = [provider.as_str(), &version, &hash, "in_process"];
        to.count(Metric::PluginInfo, &labels, 1);
    }
    for (code, count) in plan.plugins.memory.refusals() {
        to.count(Metric::PluginRefusedTotal, &[code], count);
    }
    for (provider, _) in plan.plugins.memory.former() {
        let retired = plan.plugins.retired(provider).count() as u64;
        to.count(Metric::PluginRetiredImages, &[provider.as_str()], retired);
    }
    let of = |loaded: &Loaded| (loaded.version.to_string(), loaded.sha256.short());
    for held in &plan.plugins.held {
        let (version, hash) = of(held.loaded);
        let labels = [&*held.loaded.provider, &version, &hash, held.code];
        to.count(Metric::PluginOutOfUse, &labels, 1);
    }
    for barred in plan.plugins.memory.barred() {
        let (version, hash) = of(barred.loaded);
        let labels = [&*barred.loaded.provider, &version, &hash, barred.code()];
        to.count(Metric::PluginOutOfUse, &labels, 1);
    }
}

fn bus(base: &Base, to: &mut Exposition) {
    for (name, connection) in [("data", &base.bus.data), ("control", &base.bus.control)] {
        let stands = u64::from(connection.is_connected());
        to.count(Metric::NatsConnected, &[name], stands);
    }
    let status = base.acks.status();
    to.count(Metric::PublishInFlight, &[], status.in_flight as u64);
    to.count(Metric::PublishRetriesTotal, &["any"], status.resends);
    let view = base.shards.view();
    let owner = base.shards.owner();
    let held = view
        .borrow()
        .leases
        .values()
        .filter(|lease| lease.record.owner == *owner)
        .count();
    to.count(Metric::LeasesHeld, &[], held as u64);
}

fn events(base: &Base, to: &mut Exposition) {
    for (provider, figures) in base.inbound.figures().providers() {
        let provider = provider.as_str();
        for (kind, outcomes) in figures.kinds() {
            for (outcome, counter) in [
                ("stored", &outcomes.stored),
                ("duplicate", &outcomes.duplicate),
                ("rejected", &outcomes.rejected),
                ("retry", &outcomes.retry),
            ] {
                let labels = [provider, &*kind, outcome];
                to.count(
                    Metric::EventsTotal,
                    &labels,
                    counter.load(Ordering::Relaxed),
                );
            }
        }
        let bytes = figures.event_bytes.load(Ordering::Relaxed);
        to.count(Metric::EventBytesTotal, &[provider], bytes);
        to.histogram(Metric::EventStoreSeconds, &[provider], &figures.event_store);
        for (class, count) in figures.dead_letters() {
            to.count(Metric::DeadLettersTotal, &[provider, "event", class], count);
        }
    }
}

fn commands(base: &Base, to: &mut Exposition) {
    for (provider, figures) in base.outbound.figures().providers() {
        let provider = provider.as_str();
        for ((command, outcome, class), count) in figures.commands() {
            let labels = [provider, &*command, outcome, class];
            to.count(Metric::CommandsTotal, &labels, count);
        }
        for (path, histogram) in [("durable", &figures.durable), ("request", &figures.request)] {
            to.histogram(Metric::CommandSeconds, &[provider, path], histogram);
        }
        for (class, count) in figures.retries() {
            to.count(Metric::CommandRetriesTotal, &[provider, class], count);
        }
        for (result, count) in figures.ledger_hits() {
            to.count(Metric::LedgerHitsTotal, &[provider, result], count);
        }
        for (class, count) in figures.dead_letters() {
            to.count(
                Metric::DeadLettersTotal,
                &[provider, "command", class],
                count,
            );
        }
    }
}

fn accounts(base: &Base, to: &mut Exposition) {
    for listed in base.directory.all() {
        let face = &listed.face;
        let labels = [face.account.provider.as_str(), face.account.alias.as_str()];
        let [provider, account] = labels;
        to.count(Metric::AccountOwned, &labels, 1);
        let state = face.state().state.as_str();
        to.count(Metric::AccountState, &[provider, account, state], 1);
        let again = face.sessions().saturating_sub(1);
        to.count(Metric::AccountReconnectsTotal, &labels, again);
        to.count(Metric::SyncGapsTotal, &labels, face.gaps());
        if let Some(instance) = face.instance() {
            let CreditFigures {
                held_events,
                held_bytes,
                starved_ns,
            } = instance.credits();
            to.count(Metric::CreditEvents, &labels, u64::from(held_events));
            to.count(Metric::CreditBytes, &labels, held_bytes);
            let starved = std::time::Duration::from_nanos(starved_ns).as_secs_f64();
            to.value(Metric::CreditStarvedSecondsTotal, &labels, starved);
        }
        if let Some(figures) = &listed.outbound {
            to.count(
                Metric::CommandsWaiting,
                &labels,
                figures.waiting.load(Ordering::Relaxed),
            );
            to.count(
                Metric::CommandsInFlight,
                &labels,
                figures.in_flight.load(Ordering::Relaxed),
            );
        }
    }
}
