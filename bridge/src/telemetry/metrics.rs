//! Every metric's name, kind, unit, help and labels, in one list; and who is asked for the values.
//!
//! A metric that is not in this list cannot be exposed, and one whose labels do not fit is a bug that the tests see.

use super::exposition::Exposition;
use super::labels;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a metric is to a scraper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

impl Type {
    /// As scrapers call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What is known of a metric beside its values.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Without the prefix `im_bridge_`.
    pub name: &'static str,
    pub kind: Type,
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

impl Info {
    /// Series there can be; of an account, if it is a label.
    pub fn series_max(&self) -> usize {
        let is_of_accounts = self.labels.contains(&"account");
        let labels = self.labels.iter().filter_map(|name| labels::of(name));
        labels
            .filter(|label| !is_of_accounts || !["provider", "account"].contains(&label.name))
            .map(|label| label.max)
            .product()
    }
}

macro_rules! metrics {
    ($($name:ident = $wire:literal $kind:ident [$($label:literal),*] $help:literal;)+) => {
        /// The metrics, in the order in which they are shown.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Metric {
            $(#[doc = $help] $name,)+
        }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What is known of it.
            pub const fn info(self) -> Info {
                match self {
                    $(Self::$name => Info {
                        name: $wire, kind: Type::$kind, help: $help, labels: &[$($label),*],
                    },)+
                }
            }
        }
    };
}

metrics! {
    EventsTotal = "events_total" Counter ["provider", "kind", "outcome"] "Settled events.";
    EventLatencySeconds = "event_latency_seconds" Histogram ["provider"] "From the provider's time to stored: live events with one.";
    EventStoreSeconds = "event_store_seconds" Histogram ["provider"] "From emit to stored.";
    EventBytesTotal = "event_bytes_total" Counter ["provider"] "Payload of events.";
    PublishInFlight = "publish_in_flight" Gauge [] "Publishes without an acknowledgement.";
    PublishRetriesTotal = "publish_retries_total" Counter ["reason"] "Publishes sent again.";
    CommandsTotal = "commands_total" Counter ["provider", "command", "outcome", "class"] "Results, not retries.";
    CommandSeconds = "command_seconds" Histogram ["provider", "path"] "From taken to result published.";
    CommandProviderSeconds = "command_provider_seconds" Histogram ["provider", "command"] "From handed to the adapter to completed.";
    CommandRetriesTotal = "command_retries_total" Counter ["provider", "class"] "Commands tried again after a delay.";
    LedgerHitsTotal = "ledger_hits_total" Counter ["provider", "result"] "Keys met again.";
    DeadLettersTotal = "dead_letters_total" Counter ["provider", "source", "class"] "Put into the dead letters.";
    WritesGivenUpTotal = "writes_given_up_total" Counter ["provider", "reason"]
        "Events, results, ledger entries and dead letters that NATS refuses for good.";
    OperationsTotal = "operations_total" Counter ["provider", "operation", "noise", "outcome"]
        "Operations of adapters, every poll and heartbeat.";
    OperationSeconds = "operation_seconds" Histogram ["provider", "operation"] "Their duration.";
    OperationItemsTotal = "operation_items_total" Counter ["provider", "operation"] "Items of polls, bytes or frames of others.";
    AccountOwned = "account_owned" Gauge ["provider", "account"] "This replica holds the lease; said of each enabled account.";
    AccountState = "account_state" Gauge ["provider", "account", "state"] "The present state.";
    AccountSilenceSeconds = "account_silence_seconds" Gauge ["provider", "account"] "Since anything was heard, heartbeats included.";
    AccountFailures = "account_failures" Gauge ["provider", "account"] "Attempts at a session since one was up.";
    AccountReconnectsTotal = "account_reconnects_total" Counter ["provider", "account"] "Sessions begun after the first.";
    SyncGapsTotal = "sync_gaps_total" Counter ["provider", "account"] "Gaps announced.";
    CreditEvents = "credit_events" Gauge ["provider", "account"] "Events accepted and not settled.";
    CreditBytes = "credit_bytes" Gauge ["provider", "account"] "Their payload.";
    CreditStarvedSecondsTotal = "credit_starved_seconds_total" Counter ["provider", "account"] "Time without credit.";
    CommandsWaiting = "commands_waiting" Gauge ["provider", "account"] "In hand, and not with the adapter.";
    CommandOldestSeconds = "command_oldest_seconds" Gauge ["provider", "account"] "Age of the oldest of them.";
    CommandsInFlight = "commands_in_flight" Gauge ["provider", "account"] "With the adapter.";
    CommandsUnresolved = "commands_unresolved" Gauge ["provider", "account"] "Keys that this owner left as unknown.";
    WebhookRequestsTotal = "webhook_requests_total" Counter ["provider", "account", "status"]
        "Answers to HTTP requests of providers.";
    PluginInfo = "plugin_info" Gauge ["provider", "version", "sha256", "isolation"] "Loaded plugin files.";
    PluginRefusedTotal = "plugin_refused_total" Counter ["code"] "Plugin files refused.";
    PluginOutOfUse = "plugin_out_of_use" Gauge ["provider", "version", "sha256", "code"]
        "Good files that are not used: held back, rolled back or quarantined.";
    PluginRetiredImages = "plugin_retired_images" Gauge ["provider"] "Files that were replaced and are mapped still.";
    PluginFaultsTotal = "plugin_faults_total" Counter ["provider", "kind"] "Panics, stuck calls, overdue commands.";
    PluginMisbehaviourTotal = "plugin_misbehaviour_total" Counter ["provider", "kind"] "Broken rules, answered.";
    PluginStuckInstances = "plugin_stuck_instances" Gauge [] "Instances abandoned because a call never returned.";
    PluginLogDroppedTotal = "plugin_log_dropped_total" Counter ["provider"] "Log records above the limit.";
    NatsConnected = "nats_connected" Gauge ["connection"] "The connection stands.";
    NatsReconnectsTotal = "nats_reconnects_total" Counter ["connection"] "Connections after the first.";
    NatsSlowConsumerTotal = "nats_slow_consumer_total" Counter ["connection"] "Subscriptions that lost messages because they were not read.";
    NatsRttSeconds = "nats_rtt_seconds" Gauge ["connection"] "What the server took to answer, once a minute.";
    LeasesHeld = "leases_held" Gauge [] "Shards that this replica owns.";
    LeaseRenewSeconds = "lease_renew_seconds" Histogram [] "Renewals that succeeded.";
    LeaseMarginSeconds = "lease_margin_seconds" Gauge [] "The smallest time that was left at a renewal lately.";
    LeasesLostTotal = "leases_lost_total" Counter ["reason"] "Lost, not given back.";
    TelemetryExportedTotal = "telemetry_exported_total" Counter ["signal"] "Accepted by the collector.";
    TelemetryDroppedTotal = "telemetry_dropped_total" Counter ["signal", "reason"] "Spans, values and lines that were lost.";
    TelemetryQueue = "telemetry_queue" Gauge ["signal"] "Waiting to be written or sent.";
    TelemetryExcludedTotal = "telemetry_excluded_total" Counter ["reason"] "Operations without a span of their own.";
    TraceContextInvalidTotal = "trace_context_invalid_total" Counter [] "Malformed trace contexts in messages.";
    LogSuppressedTotal = "log_suppressed_total" Counter ["level"] "Lines left out because they repeat others.";
    MetricsOverflowTotal = "metrics_overflow_total" Counter ["metric"] "Series that had to share one called other.";
    BuildInfo = "build_info" Gauge ["version", "abi"] "The running version.";
    Ready = "ready" Gauge [] "As /readyz says.";
    ConfigReloadsTotal = "config_reloads_total" Counter ["outcome"] "Reloads of the configuration.";
    ConfigLastReloadOk = "config_last_reload_ok" Gauge [] "The last reload was not refused.";
    ProcessResidentBytes = "process_resident_bytes" Gauge [] "Resident memory.";
    ProcessOpenFds = "process_open_fds" Gauge [] "Open file descriptors.";
    ProcessCpuSecondsTotal = "process_cpu_seconds_total" Counter [] "CPU time of user and system.";
    ProcessStartTimeSeconds = "process_start_time_seconds" Gauge [] "When the process started, Unix time.";
}

/// Whoever counts, and can say how much.
pub trait Source: Send + Sync {
    /// Tells its present values. Called by a scrape: it reads, and waits for nothing.
    fn collect(&self, to: &mut Exposition);
}

/// Accounts that have series of their own: the first ones by name, so that a scraper sees the same ones everywhere.
pub const ACCOUNTS_MAX: usize = 1_000;

/// The sources that are alive. Clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Asked>);

struct Asked {
    accounts_max: usize,
    sources: Mutex<Vec<Weak<dyn Source>>>,
    overflow: Mutex<BTreeMap<Metric, u64>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(ACCOUNTS_MAX)
    }
}

impl Registry {
    /// With so many accounts; 0: all of them share their series.
    pub fn new(accounts_max: usize) -> Self {
        Self(Arc::new(Asked {
            accounts_max,
            sources: Mutex::default(),
            overflow: Mutex::default(),
        }))
    }

    /// Asks this source from now on, as long as somebody else holds it.
    pub fn add(&self, source: &Arc<impl Source + 'static>) {
        let source: Arc<dyn Source> = source.clone();
        let mut sources = self
            .0
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sources.push(Arc::downgrade(&source));
    }

    /// All values of all sources, now.
    pub fn ask(&self) -> Exposition {
        let sources: Vec<Arc<dyn Source>> = {
            let mut sources = self
                .0
                .sources
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            sources.retain(|source| source.strong_count() > 0);
            sources.iter().filter_map(Weak::upgrade).collect()
        };
        let mut exposition = Exposition::default();
        for source in sources {
            source.collect(&mut exposition);
        }
        exposition.fold_accounts(self.0.accounts_max);
        let mut overflow = self
            .0
            .overflow
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (metric, count) in exposition.take_overflow() {
            *overflow.entry(metric).or_default() += count;
        }
        for (metric, count) in &*overflow {
            let name = metric.info().name;
            exposition.count(Metric::MetricsOverflowTotal, &[name], *count);
        }
        exposition
    }

    /// All of them, in the text format of scrapers.
    pub fn render(&self) -> String {
        self.ask().render()
    }
}
