//! Every key of the core with its type, default, range and meaning. The doc comments are the reference and the schema.
//!
//! What is written here is served: a key that nothing reads yet is not here. An account's own keys are its adapter's.

mod telemetry;

use super::secret::Reference;
use crate::loader::PluginsConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
pub use telemetry::{
    Compression, ConsumerParent, LogFormat, LogLevel, Logs, Otlp, OtlpSignal, Protocol, Telemetry,
    Traces,
};

/// The whole configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// NATS: where it is, and what the bridge keeps there.
    pub nats: Nats,
    /// Probes, metrics, status.
    pub admin: Admin,
    /// What the bridge says of itself.
    pub telemetry: Telemetry,
    /// Plugin files and the trust in them.
    pub plugins: PluginsConfig,
    /// Accounts by provider and alias.
    pub accounts: BTreeMap<String, BTreeMap<String, Account>>,
}

/// `[nats]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// Servers, separated by commas.
    pub url: String,
    /// Credentials file of a user.
    pub creds: Option<Reference>,
    /// Seed of an nkey.
    pub nkey: Option<Reference>,
    /// User name; with `password`.
    pub user: Option<Reference>,
    /// Password; with `user`.
    pub password: Option<Reference>,
    /// Token.
    pub token: Option<Reference>,
    /// Name of this replica; empty: the host name. Must differ between replicas.
    pub name: String,
    /// Begins every inbox subject.
    pub inbox_prefix: String,
    /// Make and widen streams and buckets at start; false: `im-bridge streams apply` does.
    pub provision: bool,
    /// Begins every subject; in upper case every object name. Installations with different roots share nothing.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9-]{0,15}$"))]
    pub root: String,
    /// Replicas of streams and buckets; 0: three in a cluster of three or more servers, else one.
    #[schemars(range(min = 0, max = 5))]
    pub replicas: usize,
    /// TLS.
    pub tls: Tls,
    /// Leases of accounts.
    pub lease: Lease,
    /// Events and large payloads.
    pub events: Events,
    /// Results of commands.
    pub results: Results,
    /// Durable commands.
    pub commands: Commands,
    /// Dead letters.
    pub dead_letters: DeadLetters,
    /// Ledger of idempotency keys.
    pub ledger: Room,
    /// State that adapters keep.
    pub kv: KvRoom,
    /// Keys that seal adapters' secrets.
    pub seal: Seal,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            creds: None,
            nkey: None,
            user: None,
            password: None,
            token: None,
            name: String::new(),
            inbox_prefix: "_INBOX_im-bridge".to_owned(),
            provision: true,
            root: "im".to_owned(),
            replicas: 0,
            tls: Tls::default(),
            lease: Lease::default(),
            events: Events::default(),
            results: Results::default(),
            commands: Commands::default(),
            dead_letters: DeadLetters::default(),
            ledger: Room::default(),
            kv: KvRoom::default(),
            seal: Seal::default(),
        }
    }
}

/// `[nats.tls]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates to trust in place of the platform's.
    pub ca: Option<PathBuf>,
    /// Own certificate; with `key`.
    pub cert: Option<PathBuf>,
    /// Own key; with `cert`.
    pub key: Option<PathBuf>,
    /// TLS before the server's greeting.
    pub first: bool,
}

/// `[nats.lease]`: three renewals must fit before `stop_s`, and `stop_s` must leave two seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lease {
    /// A lease ends this many seconds after its last renewal.
    #[schemars(range(min = 5, max = 300))]
    pub ttl_s: u64,
    /// Seconds between renewals.
    #[schemars(range(min = 1, max = 100))]
    pub renew_s: u64,
    /// An owner stops by itself this many seconds after its last successful renewal.
    #[schemars(range(min = 4, max = 298))]
    pub stop_s: u64,
}

impl Default for Lease {
    fn default() -> Self {
        // After a crash of a NATS leader nothing can be written for up to 9 s; a shorter lease would be lost each time.
        Self {
            ttl_s: 20,
            renew_s: 4,
            stop_s: 17,
        }
    }
}

/// What a full stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// Forgets the oldest.
    #[default]
    Roll,
    /// Refuses the newest: providers are not read on.
    Stop,
}

/// `[nats.events]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Hours an event is kept.
    #[schemars(range(min = 1, max = 8760))]
    pub max_age_h: u64,
    /// MiB of events kept.
    #[schemars(range(min = 1))]
    pub max_mib: u64,
    /// What happens when they are used up.
    pub when_full: WhenFull,
    /// Seconds in which an event with the same id is not stored again.
    #[schemars(range(min = 1, max = 86400))]
    pub duplicate_window_s: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            max_age_h: 168,
            max_mib: 1024,
            when_full: WhenFull::Roll,
            duplicate_window_s: 900,
        }
    }
}

/// `[nats.results]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Results {
    /// Hours a result is kept.
    #[schemars(range(min = 1, max = 8760))]
    pub max_age_h: u64,
    /// MiB of results kept.
    #[schemars(range(min = 1))]
    pub max_mib: u64,
}

impl Default for Results {
    fn default() -> Self {
        Self {
            max_age_h: 48,
            max_mib: 256,
        }
    }
}

/// `[nats.commands]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Commands {
    /// Hours a command waits at most.
    #[schemars(range(min = 1, max = 720))]
    pub max_age_h: u64,
    /// MiB of commands waiting.
    #[schemars(range(min = 1))]
    pub max_mib: u64,
    /// Commands waiting per account and command.
    #[schemars(range(min = 1))]
    pub max_waiting: u64,
    /// Tries before a command becomes a dead letter.
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: u32,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            max_age_h: 24,
            max_mib: 256,
            max_waiting: 10_000,
            attempts: 20,
        }
    }
}

/// `[nats.dead_letters]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetters {
    /// Hours a dead letter is kept.
    #[schemars(range(min = 1, max = 8760))]
    pub max_age_h: u64,
    /// MiB of dead letters kept.
    #[schemars(range(min = 1))]
    pub max_mib: u64,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self {
            max_age_h: 720,
            max_mib: 256,
        }
    }
}

/// `[nats.ledger]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Room {
    /// MiB of ledger entries.
    #[schemars(range(min = 1))]
    pub max_mib: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { max_mib: 512 }
    }
}

/// `[nats.kv]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KvRoom {
    /// MiB of adapters' state.
    #[schemars(range(min = 1))]
    pub max_mib: u64,
}

impl Default for KvRoom {
    fn default() -> Self {
        Self { max_mib: 256 }
    }
}

/// `[nats.seal]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Seal {
    /// Name of the key that seals; empty: secrets of adapters are kept in memory only.
    #[serde(rename = "use")]
    pub uses: String,
    /// Keys by name, each 32 bytes in base64; those not in use only open.
    pub keys: BTreeMap<String, Reference>,
}

/// `[admin]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of probes, metrics and status.
    pub listen: String,
    /// Milliseconds that a shutdown may take.
    #[schemars(range(min = 10000, max = 600_000))]
    pub shutdown_ms: u64,
    /// Reload when a configuration file changes.
    pub watch_config: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8090".to_owned(),
            shutdown_ms: 25_000,
            watch_config: true,
        }
    }
}

/// `[accounts.<provider>.<alias>]`: the core's part in `bridge`, everything else the adapter's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Account {
    /// The core's part.
    pub bridge: BridgePart,
    /// The adapter's part, with references at the places of secrets.
    #[serde(flatten)]
    pub adapter: serde_json::Map<String, serde_json::Value>,
}

/// `[accounts.<provider>.<alias>.bridge]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BridgePart {
    /// false stops the account and keeps its state.
    pub enabled: bool,
    /// Order of events within a channel.
    pub order: Order,
    /// Seconds without a sign of life after which the connection is made anew; 0: as the adapter declares, else 90.
    #[schemars(range(min = 0, max = 86400))]
    pub silence_s: u64,
    /// Seconds between cheap reads that prove a quiet account alive; 0: none.
    #[schemars(range(min = 0, max = 86400))]
    pub canary_s: u64,
    /// Pace of commands in place of the adapter's.
    pub rate: Option<Rate>,
    /// Pace by command.
    pub rates: BTreeMap<String, Rate>,
    /// Patterns of provider methods that `native.call` may reach.
    pub native_calls: BTreeMap<String, bool>,
}

impl BridgePart {
    /// What an instance depends on: without the pace and the permissions of commands, which are taken over as they come.
    #[must_use]
    pub fn without_terms(&self) -> Self {
        Self {
            rate: None,
            rates: BTreeMap::new(),
            native_calls: BTreeMap::new(),
            ..self.clone()
        }
    }
}

impl Default for BridgePart {
    fn default() -> Self {
        Self {
            enabled: true,
            order: Order::Strict,
            silence_s: 0,
            canary_s: 0,
            rate: None,
            rates: BTreeMap::new(),
            native_calls: BTreeMap::new(),
        }
    }
}

/// Order of events within a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// One publish in flight per channel.
    #[default]
    Strict,
    /// Many, for channels that are firehoses; order may break under faults.
    Relaxed,
}

/// A pace: so many per second, after a burst.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Commands per second.
    #[schemars(range(min = 0.001, max = 100_000.0))]
    pub per_s: f64,
    /// Commands at once after a rest.
    #[schemars(range(min = 1, max = 100_000))]
    pub burst: u32,
}
