//! What this replica is to run: the configured accounts, each with its adapter and a print of all that it depends on.
//!
//! Two plans are compared by prints and files: an account that has the same of both keeps its connection. A print covers
//! the account's own part, but what its queue of commands takes at once, and its secrets; secrets themselves are in none
//! of it.
//!
//! Not here: which of them are this replica's (`bus::shards`).

use super::choice::Barred;
use super::plugins::{Adapter, Plugins};
use crate::account::NoConfig;
use crate::bus::shard::{SHARDS, Shard};
use crate::bus::shards::Wishes;
use crate::bus::{Account, Provider};
use crate::config::secret::{Reference, Secret, SecretError};
use crate::config::types::BridgePart;
use crate::config::{self, secrets_at};
use crate::loader::config::CreditsConfig;
use ring::digest::{Context, SHA256};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// One account as it is configured.
#[derive(Clone)]
pub struct Wanted {
    pub account: Account,
    pub part: BridgePart,
    /// None: no file provides it.
    pub adapter: Option<Arc<Adapter>>,
    /// Why the file that did so is out of use.
    pub barred: Option<String>,
    pub credits: Arc<CreditsConfig>,
    /// JSON, because it is read when an instance is made and else only kept: a tree takes several times the room.
    adapter_part: Box<str>,
    /// The whole configuration's.
    schema: Arc<Value>,
    print: [u8; 32],
}

/// All of them.
pub struct Plan {
    pub accounts: BTreeMap<Account, Arc<Wanted>>,
    pub plugins: Plugins,
    /// How often a durable command is tried.
    pub attempts: u32,
}

impl Plan {
    /// From a configuration without mistakes.
    pub fn new(loaded: &config::Loaded, plugins: Plugins) -> Self {
        let schema = Arc::new(loaded.schema.clone());
        let credits = Arc::new(loaded.config.plugins.credits.clone());
        let mut accounts = BTreeMap::new();
        for (provider, aliases) in &loaded.config.accounts {
            for (alias, configured) in aliases {
                // The configuration's check has the same patterns.
                let (Ok(provider), Ok(alias)) = (provider.parse::<Provider>(), alias.parse())
                else {
                    continue;
                };
                let (adapter, barred) = adapter_of(&plugins, &provider);
                let mut wanted = Wanted {
                    account: Account::new(provider, alias),
                    part: configured.bridge.clone(),
                    adapter,
                    barred,
                    credits: Arc::clone(&credits),
                    adapter_part: Value::Object(configured.adapter.clone()).to_string().into(),
                    schema: Arc::clone(&schema),
                    print: [0; 32],
                };
                wanted.print = wanted.print_now();
                accounts.insert(wanted.account.clone(), Arc::new(wanted));
            }
        }
        Self {
            accounts,
            plugins,
            attempts: loaded.config.nats.commands.attempts,
        }
    }

    /// The same accounts with these plugins.
    pub fn with(&self, plugins: Plugins) -> Self {
        let accounts = self.accounts.iter().map(|(account, wanted)| {
            let (adapter, barred) = adapter_of(&plugins, &account.provider);
            let wanted = Wanted {
                adapter,
                barred,
                ..Wanted::clone(wanted)
            };
            (account.clone(), Arc::new(wanted))
        });
        Self {
            accounts: accounts.collect(),
            attempts: self.attempts,
            plugins,
        }
    }

    /// For the keeper of shards.
    pub fn wishes(&self) -> Wishes {
        let mut wishes = Wishes {
            usable: self.plugins.adapters.keys().cloned().collect(),
            ..Wishes::default()
        };
        for wanted in self.accounts.values().filter(|wanted| wanted.part.enabled) {
            let shard = wishes.shards.entry(wanted.shard()).or_default();
            shard.insert(wanted.account.provider.clone());
        }
        wishes
    }

    /// Those of a shard, also the ones that are switched off.
    pub fn of(&self, shard: Shard) -> impl Iterator<Item = &Arc<Wanted>> {
        let accounts = self.accounts.values();
        accounts.filter(move |wanted| wanted.shard() == shard)
    }

    /// Files that accounts' secrets are in.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for wanted in self.accounts.values() {
            wanted.references(|_, reference| {
                if let Reference::File(path) = reference {
                    files.push(path);
                }
            });
        }
        files
    }
}

fn adapter_of(plugins: &Plugins, provider: &Provider) -> (Option<Arc<Adapter>>, Option<String>) {
    let adapter = plugins.adapters.get(provider).cloned();
    let barred = match adapter {
        Some(_) => None,
        None => plugins.barred(provider).map(Barred::text),
    };
    (adapter, barred)
}

impl Wanted {
    pub fn shard(&self) -> Shard {
        Shard::of(&self.account, SHARDS)
    }

    /// Nothing that it depends on is different.
    pub fn is_same(&self, other: &Self) -> bool {
        let file = |wanted: &Self| Some(wanted.adapter.as_ref()?.loaded.sha256);
        self.print == other.print && file(self) == file(other) && self.barred == other.barred
    }

    /// The adapter's part as JSON, its secrets read now. Blocks.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn instance_config(&self) -> Result<Vec<u8>, NoConfig> {
        let secrets = self.secrets().map_err(|error| NoConfig {
            code: error.code(),
            message: error.to_string(),
        })?;
        let mut value = self.adapter_part();
        put(&mut value, &self.path(), &secrets);
        // Measured first: a buffer that grows leaves copies behind.
        let mut bytes = Counted(0);
        serde_json::to_writer(&mut bytes, &value).expect("a value of JSON becomes JSON");
        let mut config = Vec::with_capacity(bytes.0);
        serde_json::to_writer(&mut config, &value).expect("a value of JSON becomes JSON");
        take_out(&mut value, &self.path(), &secrets);
        Ok(config)
    }

    fn adapter_part(&self) -> Value {
        serde_json::from_str(&self.adapter_part).expect("a value that became JSON")
    }

    fn path(&self) -> String {
        format!("accounts.{}.{}", self.account.provider, self.account.alias)
    }

    fn references(&self, mut with: impl FnMut(&str, Reference)) {
        let provider = self.account.provider.as_str();
        let place = &self.schema["properties"]["accounts"]["properties"][provider];
        let value = self.adapter_part();
        let found = &mut |path: &str, value: &Value| {
            if let Ok(reference) = serde_json::from_value(value.clone()) {
                with(path, reference);
            }
        };
        secrets_at(
            &value,
            &place["additionalProperties"],
            &self.schema,
            &self.path(),
            found,
        );
    }

    fn secrets(&self) -> Result<BTreeMap<String, Secret>, SecretError> {
        let mut references = BTreeMap::new();
        self.references(|path, reference| {
            references.insert(path.to_owned(), reference);
        });
        references
            .into_iter()
            .map(|(path, reference)| Ok((path.clone(), reference.resolve(&path)?)))
            .collect()
    }

    fn print_now(&self) -> [u8; 32] {
        let mut print = Context::new(&SHA256);
        let part = self.part.without_terms();
        let own = serde_json::json!([part, self.adapter_part(), *self.credits]);
        print.update(own.to_string().as_bytes());
        match self.secrets() {
            Ok(secrets) => {
                for (path, secret) in &secrets {
                    for text in [path.as_str(), secret.reveal()] {
                        print.update(&text.len().to_be_bytes());
                        print.update(text.as_bytes());
                    }
                }
            }
            Err(error) => print.update(error.to_string().as_bytes()),
        }
        let digest = print.finish();
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Puts each secret at its place.
fn put(value: &mut Value, path: &str, secrets: &BTreeMap<String, Secret>) {
    if let Some(secret) = secrets.get(path) {
        *value = Value::String(secret.reveal().to_owned());
        return;
    }
    if let Value::Object(members) = value {
        for (key, value) in members {
            put(value, &format!("{path}.{key}"), secrets);
        }
    }
}

/// Overwrites each secret at its place.
fn take_out(value: &mut Value, path: &str, secrets: &BTreeMap<String, Secret>) {
    if secrets.contains_key(path) {
        if let Value::String(text) = value.take() {
            drop(Secret::from(text)); // which overwrites its bytes
        }
        return;
    }
    if let Value::Object(members) = value {
        for (key, value) in members {
            take_out(value, &format!("{path}.{key}"), secrets);
        }
    }
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
