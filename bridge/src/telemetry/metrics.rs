//! Every metric's name, kind, unit, help and labels, in one list; and who is asked for the values.
//!
//! A metric that is not in this list cannot be exposed, and one whose labels do not fit is a bug that the tests see.

use super::exposition::Exposition;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a metric is to a scraper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
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
    EventStoreSeconds = "event_store_seconds" Histogram ["provider"] "From emit to stored.";
    EventBytesTotal = "event_bytes_total" Counter ["provider"] "Payload of events.";
    PublishInFlight = "publish_in_flight" Gauge [] "Publishes without an acknowledgement.";
    PublishRetriesTotal = "publish_retries_total" Counter ["reason"] "Publishes sent again.";
    CommandsTotal = "commands_total" Counter ["provider", "command", "outcome", "class"] "Results, not retries.";
    CommandSeconds = "command_seconds" Histogram ["provider", "path"] "From taken to result published.";
    CommandRetriesTotal = "command_retries_total" Counter ["provider", "class"] "Commands tried again after a delay.";
    LedgerHitsTotal = "ledger_hits_total" Counter ["provider", "result"] "Keys met again.";
    DeadLettersTotal = "dead_letters_total" Counter ["provider", "source", "class"] "Put into the dead letters.";
    OperationsTotal = "operations_total" Counter ["provider", "operation", "noise", "outcome"]
        "Operations of adapters, every poll and heartbeat.";
    AccountOwned = "account_owned" Gauge ["provider", "account"] "This replica holds the lease.";
    AccountState = "account_state" Gauge ["provider", "account", "state"] "The present state.";
    AccountReconnectsTotal = "account_reconnects_total" Counter ["provider", "account"] "Sessions begun after the first.";
    SyncGapsTotal = "sync_gaps_total" Counter ["provider", "account"] "Gaps announced.";
    CreditEvents = "credit_events" Gauge ["provider", "account"] "Events accepted and not settled.";
    CreditBytes = "credit_bytes" Gauge ["provider", "account"] "Their payload.";
    CreditStarvedSecondsTotal = "credit_starved_seconds_total" Counter ["provider", "account"] "Time without credit.";
    CommandsWaiting = "commands_waiting" Gauge ["provider", "account"] "In hand, and not with the adapter.";
    CommandsInFlight = "commands_in_flight" Gauge ["provider", "account"] "With the adapter.";
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
    LeasesHeld = "leases_held" Gauge [] "Shards that this replica owns.";
    TelemetryExportedTotal = "telemetry_exported_total" Counter ["signal"] "Accepted by the collector.";
    TelemetryDroppedTotal = "telemetry_dropped_total" Counter ["signal", "reason"] "Spans, values and lines that were lost.";
    TelemetryQueue = "telemetry_queue" Gauge ["signal"] "Waiting to be written or sent.";
    TelemetryExcludedTotal = "telemetry_excluded_total" Counter ["reason"] "Operations without a span of their own.";
    TraceContextInvalidTotal = "trace_context_invalid_total" Counter [] "Malformed trace contexts in messages.";
    LogSuppressedTotal = "log_suppressed_total" Counter ["level"] "Lines left out because they repeat others.";
    BuildInfo = "build_info" Gauge ["version", "abi"] "The running version.";
    Ready = "ready" Gauge [] "As /readyz says.";
    ConfigReloadsTotal = "config_reloads_total" Counter ["outcome"] "Reloads of the configuration.";
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

/// The sources that are alive. Clones are the same registry.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Vec<Weak<dyn Source>>>>);

impl Registry {
    /// Asks this source from now on, as long as somebody else holds it.
    pub fn add(&self, source: &Arc<impl Source + 'static>) {
        let source: Arc<dyn Source> = source.clone();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&source));
    }

    /// All values of all sources, in the text format of scrapers.
    pub fn render(&self) -> String {
        let sources: Vec<Arc<dyn Source>> = {
            let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sources.retain(|source| source.strong_count() > 0);
            sources.iter().filter_map(Weak::upgrade).collect()
        };
        let mut exposition = Exposition::default();
        for source in sources {
            source.collect(&mut exposition);
        }
        exposition.render()
    }
}
