//! The figures of this replica, told to scrapers: what its parts count, under the names that users see.
//!
//! Not here: the list of names (`telemetry`), counting events and commands (`inbound`, `outbound`).

use super::base::Base;
use super::plan::Plan;
use super::reload::{NotDone, Reloaded};
use crate::admin::Health;
use crate::bus::clock::unix_ms;
use crate::bus::{Account, Provider};
use crate::loader::Loaded;
use crate::loader::host::{CreditFigures, Fault, Misbehaviour, Op, stuck_instances};
use crate::outbound::metrics::AccountFigures;
use crate::telemetry::{Exposition, Histogram, Metric, Source};
use im_bridge_sdk::model::NoiseClass;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// Of one operation; names are those that `describe` declares, and `other`.
#[derive(Default)]
struct Operation {
    /// By noise class: that went well, that failed.
    counts: [[u64; 2]; NOISE.len()],
    items: u64,
    took: Arc<Histogram>,
}

const NOISE: [NoiseClass; 7] = [
    NoiseClass::Command,
    NoiseClass::Event,
    NoiseClass::Session,
    NoiseClass::PollHit,
    NoiseClass::PollEmpty,
    NoiseClass::Heartbeat,
    NoiseClass::Aux,
];

#[derive(Default)]
struct Counts {
    operations: BTreeMap<Provider, BTreeMap<Box<str>, Operation>>,
    faults: BTreeMap<(Provider, &'static str), u64>,
    misbehaviour: BTreeMap<(Provider, &'static str), u64>,
    logs_dropped: BTreeMap<Provider, u64>,
    webhooks: BTreeMap<(Account, u16), u64>,
}

/// How reloads of the configuration ended.
#[derive(Default)]
pub struct Reloads {
    applied: AtomicU64,
    unchanged: AtomicU64,
    refused: AtomicU64,
    is_last_refused: AtomicBool,
}

impl Reloads {
    pub(super) fn count(&self, reloaded: &Result<Reloaded, NotDone>) {
        let counter = match reloaded {
            Ok(Reloaded::Done { .. }) => &self.applied,
            Ok(Reloaded::Same) => &self.unchanged,
            Ok(Reloaded::Refused { .. }) | Err(NotDone::Configuration { .. }) => &self.refused,
            // Nothing was read.
            Err(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let is_ok = matches!(reloaded, Ok(Reloaded::Done { .. } | Reloaded::Same));
        self.is_last_refused.store(!is_ok, Ordering::Relaxed);
    }

    fn collect(&self, to: &mut Exposition) {
        for (outcome, counter) in [
            ("applied", &self.applied),
            ("unchanged", &self.unchanged),
            ("refused", &self.refused),
        ] {
            let count = counter.load(Ordering::Relaxed);
            to.count(Metric::ConfigReloadsTotal, &[outcome], count);
        }
        let is_ok = !self.is_last_refused.load(Ordering::Relaxed);
        to.count(Metric::ConfigLastReloadOk, &[], u64::from(is_ok));
    }
}

/// What no other part counts.
#[derive(Default)]
pub struct Figures {
    counts: Mutex<Counts>,
    pub(super) reloads: Reloads,
    /// Last measured, in nanoseconds, by connection: data, control; 0: not yet.
    pub(super) round_trip_ns: [AtomicU64; 2],
}

impl Figures {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn operation(&self, provider: &Provider, op: &Op) {
        let noise = NoiseClass::from_abi(u16::try_from(op.noise.0).unwrap_or(u16::MAX));
        let noise = NOISE.iter().position(|known| *known == noise);
        let took_ns = op.end_ns.saturating_sub(op.start_ns);
        let took = Duration::from_nanos(u64::try_from(took_ns).unwrap_or(0));
        let mut counts = self.lock();
        if !counts.operations.contains_key(provider) {
            counts.operations.insert(provider.clone(), BTreeMap::new());
        }
        let operations = counts
            .operations
            .get_mut(provider)
            .expect("it is there now");
        if !operations.contains_key(op.name()) {
            operations.insert(op.name().into(), Operation::default());
        }
        let operation = operations.get_mut(op.name()).expect("it is there now");
        let outcomes = &mut operation.counts[noise.unwrap_or(NOISE.len() - 1)];
        outcomes[usize::from(!op.status.is_ok())] += 1;
        operation.items = operation.items.saturating_add(op.items);
        operation.took.record(took);
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

    /// Answers to providers' requests, by account; of accounts that are configured only.
    pub(super) fn webhook(&self, account: &Account, status: u16) {
        let key = (account.clone(), status);
        *self.lock().webhooks.entry(key).or_default() += 1;
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
            for (name, operation) in operations {
                operation.collect(provider.as_str(), name, to);
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
        for ((account, status), count) in &counts.webhooks {
            let status = status.to_string();
            let labels = [account.provider.as_str(), account.alias.as_str(), &status];
            to.count(Metric::WebhookRequestsTotal, &labels, *count);
        }
        self.reloads.collect(to);
        for (connection, ns) in ["data", "control"].iter().zip(&self.round_trip_ns) {
            let ns = ns.load(Ordering::Relaxed);
            if ns > 0 {
                let seconds = Duration::from_nanos(ns).as_secs_f64();
                to.value(Metric::NatsRttSeconds, &[connection], seconds);
            }
        }
        to.count(Metric::PluginStuckInstances, &[], stuck_instances());
    }
}

impl Operation {
    fn collect(&self, provider: &str, name: &str, to: &mut Exposition) {
        for (noise, outcomes) in NOISE.iter().zip(&self.counts) {
            for (outcome, count) in ["ok", "error"].iter().zip(outcomes) {
                if *count > 0 {
                    let labels = [provider, name, noise.as_str(), outcome];
                    to.count(Metric::OperationsTotal, &labels, *count);
                }
            }
        }
        let labels = [provider, name];
        to.count(Metric::OperationItemsTotal, &labels, self.items);
        to.histogram(Metric::OperationSeconds, &labels, &self.took);
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
            if let Some(plan) = self.plan.get() {
                // Said of each, so that one without an owner shows, too.
                let plan = plan.borrow().clone();
                for wanted in plan.accounts.values().filter(|wanted| wanted.part.enabled) {
                    let (provider, alias) = (&wanted.account.provider, &wanted.account.alias);
                    to.count(
                        Metric::AccountOwned,
                        &[provider.as_str(), alias.as_str()],
                        0,
                    );
                }
            }
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
        let again = connection.connects().borrow().saturating_sub(1);
        to.count(Metric::NatsReconnectsTotal, &[name], again);
        let slow = connection.slow_consumers();
        to.count(Metric::NatsSlowConsumerTotal, &[name], slow);
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
    let leases = base.shards.figures();
    to.histogram(Metric::LeaseRenewSeconds, &[], &leases.renew);
    if let Some(margin) = leases.margin() {
        to.value(Metric::LeaseMarginSeconds, &[], margin.as_secs_f64());
    }
    for (reason, counter) in [("expired", &leases.expired), ("conflict", &leases.conflict)] {
        let count = counter.load(Ordering::Relaxed);
        to.count(Metric::LeasesLostTotal, &[reason], count);
    }
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
        to.histogram(
            Metric::EventLatencySeconds,
            &[provider],
            &figures.event_latency,
        );
        for (class, count) in figures.dead_letters() {
            to.count(Metric::DeadLettersTotal, &[provider, "event", class], count);
        }
        let lost = figures.lost.load(Ordering::Relaxed);
        to.count(Metric::WritesGivenUpTotal, &[provider, "event"], lost);
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
        for (command, histogram) in figures.at_provider() {
            let labels = [provider, &*command];
            to.histogram(Metric::CommandProviderSeconds, &labels, &histogram);
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
        for (what, count) in figures.writes_given_up() {
            to.count(Metric::WritesGivenUpTotal, &[provider, what], count);
        }
    }
}

fn accounts(base: &Base, to: &mut Exposition) {
    for listed in base.directory.all() {
        let face = &listed.face;
        let labels = [face.account.provider.as_str(), face.account.alias.as_str()];
        let [provider, account] = labels;
        to.count(Metric::AccountOwned, &labels, 1);
        face.metrics.collect(&face.account, to);
        let state = face.state().state.as_str();
        to.count(Metric::AccountState, &[provider, account, state], 1);
        let silence = face.signs.silent_for().as_secs_f64();
        to.value(Metric::AccountSilenceSeconds, &labels, silence);
        let failures = u64::from(face.failures());
        to.count(Metric::AccountFailures, &labels, failures);
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
            let unresolved = figures.unresolved.load(Ordering::Relaxed);
            to.count(Metric::CommandsUnresolved, &labels, unresolved);
            to.value(Metric::CommandOldestSeconds, &labels, age_s(figures));
        }
    }
}

/// Of the oldest command that waits; none: no age.
fn age_s(figures: &AccountFigures) -> f64 {
    let oldest_ms = figures.oldest_ms.load(Ordering::Relaxed);
    let age_ms = unix_ms().saturating_sub(oldest_ms).max(0);
    let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
    if oldest_ms == 0 {
        0.0
    } else {
        age.as_secs_f64()
    }
}
