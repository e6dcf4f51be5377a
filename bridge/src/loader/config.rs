//! The `[plugins]` table of the configuration: where plugin files are and which of them may be loaded.
//!
//! Sets are maps keyed by name, so that layers of configuration can add and remove. Unknown keys are refused.
//!
//! Not here: positions and hints of mistakes, which are the configuration's reader's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[plugins]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    /// Folders, searched with their direct subfolders; the empty path removes a default.
    pub dirs: BTreeMap<String, PathBuf>,
    /// Search again when a file appears, changes or goes.
    pub watch: bool,
    /// Where the private copy that is loaded lives.
    pub stage: StageMode,
    /// Its folder; empty: `$XDG_RUNTIME_DIR/im-bridge`, else `$TMPDIR/im-bridge-<uid>`.
    pub stage_dir: PathBuf,
    /// Where plugins run that `providers` does not name.
    pub isolation: Isolation,
    /// Largest plugin file in MiB. It is held in memory while it is looked at.
    pub max_file_mib: u64,
    /// Which files may be loaded.
    pub trust: TrustConfig,
    /// How much adapters may have unsettled.
    pub credits: CreditsConfig,
    /// How a newer version takes over.
    pub upgrade: UpgradeConfig,
    /// Requests of providers that push by HTTP.
    pub webhook: WebhookConfig,
    /// Settings by provider id.
    pub providers: BTreeMap<String, ProviderConfig>,
}

/// Folders searched when nothing else is configured, in the order of their names.
const DEFAULT_DIRS: [(&str, &str); 3] = [
    ("extra", "/opt/im-bridge/plugins"),
    ("site", "/var/lib/im-bridge/plugins"),
    ("system", "/usr/lib/im-bridge/plugins"),
];

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            dirs: BTreeMap::new(),
            watch: true,
            stage: StageMode::default(),
            stage_dir: PathBuf::new(),
            isolation: Isolation::default(),
            // Debug builds of an adapter have tens of MiB; a whole order of magnitude above is a mistake.
            max_file_mib: 256,
            trust: TrustConfig::default(),
            credits: CreditsConfig::default(),
            upgrade: UpgradeConfig::default(),
            webhook: WebhookConfig::default(),
            providers: BTreeMap::new(),
        }
    }
}

impl PluginsConfig {
    /// The folders to search: the defaults, then what `dirs` adds, replaces or removes.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders: BTreeMap<&str, PathBuf> = DEFAULT_DIRS
            .iter()
            .map(|(name, path)| (*name, PathBuf::from(path)))
            .collect();
        for (name, path) in &self.dirs {
            folders.insert(name, path.clone());
        }
        folders
            .into_values()
            .filter(|path| !path.as_os_str().is_empty())
            .collect()
    }

    /// Where the plugins of `provider` run.
    #[must_use]
    pub fn isolation_of(&self, provider: &str) -> Isolation {
        self.providers
            .get(provider)
            .and_then(|provider| provider.isolation)
            .unwrap_or(self.isolation)
    }
}

/// Where the private copy lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageMode {
    /// A folder if one allows execution, else memory.
    #[default]
    Auto,
    /// A folder, or refuse.
    Dir,
    /// A sealed memory file.
    Memory,
}

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In the bridge.
    #[default]
    InProcess,
    /// In a child: refused by this build.
    Process,
}

/// `[plugins.trust]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrustConfig {
    /// What a file needs beside a good place.
    pub require: Require,
    /// What a bad place does.
    pub place: Place,
    /// TOML file with one table `[pins]`, added to `pins`; empty: none.
    pub lock_file: PathBuf,
    /// SHA-256 in hexadecimal, and a note; several per adapter, so that going back stays possible.
    pub pins: BTreeMap<String, String>,
    /// Names of needed libraries allowed beside the C library's own.
    pub libraries: BTreeMap<String, bool>,
}

impl TrustConfig {
    /// What a bad place does to a file: with pins the content is what counts.
    #[must_use]
    pub fn effective_place(&self) -> Place {
        match self.require {
            Require::Pin => Place::Warn,
            Require::Any => self.place,
        }
    }
}

/// What a file needs beside a good place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Require {
    /// Nothing.
    #[default]
    Any,
    /// Its hash is pinned.
    Pin,
}

/// What a bad place does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// It refuses the file.
    #[default]
    Strict,
    /// It warns.
    Warn,
}

/// `[plugins.credits]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreditsConfig {
    /// Events that an account may have unsettled; unset: the adapter's wish, else 64.
    #[schemars(range(min = 1, max = 1024))]
    pub events: Option<u32>,
    /// Bytes of payload that an account may have unsettled.
    #[schemars(range(min = 1024))]
    pub bytes: u64,
    /// Bytes of payload that all accounts together may have unsettled.
    #[schemars(range(min = 1_048_576))]
    pub total_bytes: u64,
}

impl Default for CreditsConfig {
    fn default() -> Self {
        Self {
            events: None,
            // Two of the largest payloads.
            bytes: 2 << 20,
            total_bytes: 256 << 20,
        }
    }
}

/// `[plugins.upgrade]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpgradeConfig {
    /// By itself; false: when `im-bridge plugin upgrade` asks for it.
    pub auto: bool,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self { auto: true }
    }
}

/// `[plugins.webhook]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Address that providers' requests come to, such as `0.0.0.0:8091`; empty: none are taken.
    pub listen: String,
    /// Longest body. What is larger could not be handed to another replica.
    #[schemars(range(min = 1024, max = 786_432))]
    pub max_body_bytes: usize,
    /// Milliseconds until a request is answered, one way or the other.
    #[schemars(range(min = 1000, max = 60_000))]
    pub timeout_ms: u64,
    /// Requests of an account that are not answered yet.
    #[schemars(range(min = 1, max = 256))]
    pub max_in_flight: usize,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            listen: String::new(),
            max_body_bytes: 512 * 1024,
            // Below the ten seconds after which providers give up.
            timeout_ms: 8000,
            max_in_flight: 16,
        }
    }
}

impl WebhookConfig {
    /// Requests that an instance may have in hand: none where nobody listens.
    #[must_use]
    pub fn per_instance(&self) -> usize {
        if self.listen.is_empty() {
            0
        } else {
            self.max_in_flight
        }
    }
}

/// `[plugins.providers.<provider>]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// Where this provider's plugins run.
    pub isolation: Option<Isolation>,
    /// Use exactly this version.
    pub hold: Option<String>,
    /// Accounts that begin in a second, after a start or a takeover.
    #[schemars(range(min = 1, max = 1000))]
    pub start_per_s: u32,
    /// Sessions that all its accounts together begin again in a minute, after faults or on demand.
    #[schemars(range(min = 1, max = 10_000))]
    pub logins_per_minute: u32,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            isolation: None,
            hold: None,
            start_per_s: 10,
            logins_per_minute: 30,
        }
    }
}
