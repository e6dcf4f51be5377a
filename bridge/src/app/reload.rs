//! Takes a changed configuration and changed plugin files over without a restart: only the accounts that they concern
//! begin anew.
//!
//! A configuration with a mistake changes nothing and is told as a whole. What cannot be changed while running is named,
//! and the rest is taken over all the same. Files are looked at every second, which also sees swapped links of mounted
//! volumes and files of network mounts, of which the system tells nothing; what was read is compared, so that a swap
//! without a change does nothing. A file to blame for faults is put out of use at the next look, whatever the
//! configuration is like by then.
//!
//! Not here: what a change does to an account (`owned`), which plugin file is used (`choice`).

use super::choice::{Approval, Why};
use super::figures::Figures;
use super::load::{self, Read, Watched};
use super::plan::Plan;
use super::plugins::Plugins;
use crate::bus::Provider;
use crate::config::types::Config;
use crate::config::{Mistaken, Origins};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Parts that are read at start only, as the keys that a person wrote.
pub const AT_START_ONLY: [&str; 5] = [
    "nats",
    "admin",
    "telemetry",
    "plugins.credits.total_bytes",
    "plugins.webhook",
];

/// How a reload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Taken over: so many accounts begin, end, or begin anew.
    Done { accounts: usize },
    /// Nothing of what counts is different.
    Same,
    /// Refused; all of it stays as it was.
    Refused { code: &'static str, mistakes: usize },
}

/// What a person wants done about a provider's file.
#[derive(Clone, Debug)]
pub enum Order {
    /// Search and read everything again.
    Reload,
    /// Use the newest file that waits, also without a way back if that is said.
    Upgrade { provider: Provider, one_way: bool },
    /// Go back to the file before.
    Rollback { provider: Provider },
    /// Let files be used again whose hash begins like this; all of the provider's, if nothing is said.
    Clear {
        provider: Provider,
        hash: Option<String>,
    },
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    #[error(
        "the configuration has mistakes, the first is {code}; see the log, or run im-bridge check"
    )]
    Configuration { code: &'static str },
    #[error("no file of {provider} waits for an upgrade")]
    NothingWaits { provider: Provider },
    #[error("{text}")]
    Held { text: String },
    #[error(
        "{provider} has no file to go back to: none served it before, and no other lies in the folders"
    )]
    NoWayBack { provider: Provider },
    #[error("no file of {provider}{} is out of use", of_hash(.hash.as_deref()))]
    NothingBarred {
        provider: Provider,
        hash: Option<String>,
    },
    #[error("the replica ends")]
    Ends,
}

fn of_hash(hash: Option<&str>) -> String {
    hash.map(|hash| format!(" whose hash begins with {hash}"))
        .unwrap_or_default()
}

/// Holds what the present configuration was made from.
pub struct Reloader {
    origins: Origins,
    config: Config,
    plan: Arc<watch::Sender<Arc<Plan>>>,
    watched: Looked,
    plugin_files: Looked,
}

/// Files, and how they looked when a change was first seen.
struct Looked {
    read: Watched,
    seen: Option<Watched>,
}

impl Looked {
    fn new(read: Watched) -> Self {
        Self { read, seen: None }
    }

    /// Whether they are different from what was read, and look the same as at the look before: then they are written whole.
    fn is_due(&mut self, now: Watched) -> bool {
        if now == self.read {
            self.seen = None;
            return false;
        }
        if self.seen.as_ref() == Some(&now) {
            self.seen = None;
            return true;
        }
        self.seen = Some(now);
        false
    }
}

impl Reloader {
    /// From what was read at start; the plan's followers get it from the receiver.
    pub fn new(origins: Origins, read: Read) -> (Self, watch::Receiver<Arc<Plan>>) {
        let (plan, followed) = watch::channel(Arc::new(read.plan));
        let reloader = Self {
            origins,
            config: read.config,
            plan: Arc::new(plan),
            watched: Looked::new(read.watched),
            plugin_files: Looked::new(read.plugin_files),
        };
        (reloader, followed)
    }

    /// Whether a file is different since it was last read, and has been so for two looks. Blocks, shortly.
    pub fn is_due(&mut self) -> bool {
        let plugins = &self.config.plugins;
        let mut is_due = false;
        if self.config.admin.watch_config {
            let now = self.watched.read.again();
            is_due |= self.watched.is_due(now);
        }
        if plugins.watch {
            let folders: Vec<PathBuf> = plugins.folders();
            is_due |= self.plugin_files.is_due(Watched::plugins(&folders));
        }
        is_due || self.plan.borrow().plugins.is_unsettled
    }

    /// Whether a file in use is to blame for faults.
    pub fn has_to_quarantine(&self) -> bool {
        let plan = self.plan.borrow();
        let mut used = plan.plugins.adapters.values();
        used.any(|adapter| adapter.is_to_blame())
    }

    /// Puts what is to blame out of use. Blocks.
    pub fn quarantine(&mut self) -> Reloaded {
        let mut known = self.known();
        known.quarantine();
        let reloaded = self.take_over(&known);
        if let Reloaded::Refused { .. } = reloaded {
            // Whatever is wrong with the configuration now: the one before stays, and the file goes.
            let before = Arc::clone(&self.plan.borrow());
            known.fall_back();
            known.tell(&before.plugins);
            self.plan.send_replace(Arc::new(before.with(known)));
        }
        reloaded
    }

    /// Does what a person wants. Blocks.
    ///
    /// # Errors
    /// Nothing was done, and why.
    pub fn obey(&mut self, order: &Order) -> Result<Reloaded, NotDone> {
        let mut known = self.known();
        let before = Arc::clone(&self.plan.borrow());
        let running = |provider: &Provider| Some(before.plugins.adapters.get(provider)?.loaded);
        match order {
            Order::Reload => {}
            Order::Upgrade { provider, one_way } => {
                let waiting = known.held.iter();
                let newest = waiting
                    .filter(|held| held.loaded.provider == provider.as_str())
                    .max_by(|a, b| a.loaded.version.cmp(&b.loaded.version));
                if let Some(held) = newest {
                    let approval = Approval { one_way: *one_way };
                    known.memory.approve(held.loaded.sha256, approval);
                }
            }
            Order::Rollback { provider } => {
                let nothing = || NotDone::NoWayBack {
                    provider: provider.clone(),
                };
                let running = running(provider).ok_or_else(nothing)?;
                known.memory.bar(running, Why::RolledBack);
                if !known.has_another(provider, &self.config.plugins) {
                    return Err(nothing());
                }
            }
            Order::Clear { provider, hash } => {
                if known
                    .memory
                    .clear(provider, hash.as_deref().unwrap_or_default())
                    == 0
                {
                    let (provider, hash) = (provider.clone(), hash.clone());
                    return Err(NotDone::NothingBarred { provider, hash });
                }
            }
        }
        let reloaded = self.take_over(&known);
        if let Reloaded::Refused { code, .. } = reloaded {
            return Err(NotDone::Configuration { code });
        }
        if let Order::Upgrade { provider, .. } = order {
            self.upgraded(provider, &before)?;
        }
        Ok(reloaded)
    }

    fn upgraded(&self, provider: &Provider, before: &Plan) -> Result<(), NotDone> {
        let plan = self.plan.borrow();
        let of = |plan: &Plan| Some(plan.plugins.adapters.get(provider)?.loaded.sha256);
        if of(&plan) != of(before) {
            return Ok(());
        }
        let mut held = plan.plugins.held.iter();
        match held.find(|held| held.loaded.provider == provider.as_str()) {
            Some(held) => Err(NotDone::Held {
                text: held.text.clone(),
            }),
            None => Err(NotDone::NothingWaits {
                provider: provider.clone(),
            }),
        }
    }

    fn known(&self) -> Plugins {
        self.plan.borrow().plugins.clone()
    }

    /// Reads everything again and takes over what is different; `known` is what is known of plugins. Blocks.
    fn take_over(&mut self, known: &Plugins) -> Reloaded {
        let before = Arc::clone(&self.plan.borrow());
        // First, so that a change while it is read is seen the next time.
        let watched = self.watched.read.again();
        let plugin_files = Watched::plugins(&self.config.plugins.folders());
        let read = match load::read(&self.origins, known, &before.plugins) {
            Ok(read) => read,
            Err(mistaken) => {
                self.watched = Looked::new(watched);
                self.plugin_files = Looked::new(plugin_files);
                return refused(&mistaken);
            }
        };
        self.plugin_files = Looked::new(read.plugin_files);
        self.watched = Looked::new(read.watched);
        for part in AT_START_ONLY {
            if at(&self.config, part) != at(&read.config, part) {
                tracing::warn!(
                    part,
                    "changed, and read at start only: restart to take it over"
                );
            }
        }
        let accounts = changes(&before, &read.plan);
        let has_other_plugins = !same_plugins(&before, &read.plan);
        self.config = Config {
            nats: self.config.nats.clone(),
            admin: self.config.admin.clone(),
            telemetry: self.config.telemetry.clone(),
            ..read.config
        };
        if accounts == 0 && !has_other_plugins {
            return Reloaded::Same;
        }
        self.plan.send_replace(Arc::new(read.plan));
        tracing::info!(accounts, "configuration taken over");
        Reloaded::Done { accounts }
    }
}

fn refused(mistaken: &Mistaken) -> Reloaded {
    let problems = mistaken.problems.sorted();
    let (code, mistakes) = (
        problems.first().map_or("config_reload", |it| it.code),
        problems.len(),
    );
    tracing::error!(
        code = "config_reload",
        "reload refused, the old configuration stays: {code}, {mistakes} in all\n{mistaken}"
    );
    Reloaded::Refused { code, mistakes }
}

fn at(config: &Config, part: &str) -> Value {
    let document = serde_json::to_value(config).unwrap_or_default();
    part.split('.')
        .fold(document, |value, key| value[key].clone())
}

fn changes(before: &Plan, after: &Plan) -> usize {
    let new_or_other = after.accounts.iter().filter(|(account, wanted)| {
        let known = before.accounts.get(account);
        // Also what is taken over without a new connection.
        known.is_none_or(|known| !known.is_same(wanted) || known.part != wanted.part)
    });
    let gone = before
        .accounts
        .keys()
        .filter(|account| !after.accounts.contains_key(account));
    new_or_other.count() + gone.count()
}

fn same_plugins(before: &Plan, after: &Plan) -> bool {
    let files = |plan: &Plan| {
        let adapters = plan.plugins.adapters.iter();
        let used: Vec<_> = adapters
            .map(|(provider, adapter)| (provider.clone(), adapter.loaded.sha256))
            .collect();
        let refused = plan.plugins.refused.iter().map(|it| it.text.clone());
        let held = plan.plugins.held.iter().map(|it| it.text.clone());
        let barred = plan.plugins.memory.barred().map(|it| it.text());
        let told: Vec<String> = refused.chain(held).chain(barred).collect();
        (used, told, plan.plugins.is_unsettled)
    };
    files(before) == files(after)
}

/// Between two looks at the files. A change is taken over when two looks in a row see the same: it is written whole then.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Orders that wait; people give them.
const ORDERS_MAX: usize = 8;

type Done = Result<Reloaded, NotDone>;
type Asked = (Order, Option<oneshot::Sender<Done>>);

/// Gives orders to whoever reloads.
#[derive(Clone)]
pub struct Orders(mpsc::Sender<Asked>);

impl Orders {
    /// Returns when it is done, or why it is not.
    pub async fn give(&self, order: Order) -> Done {
        let (done, told) = oneshot::channel();
        let given = self.0.send((order, Some(done))).await;
        given.map_err(|_| NotDone::Ends)?;
        told.await.unwrap_or(Err(NotDone::Ends))
    }
}

/// Reloads when asked, and when files change.
pub struct Follower {
    /// The plan outlives reloading: accounts that end still look at it.
    _plan: Arc<watch::Sender<Arc<Plan>>>,
    orders: Orders,
    refused: watch::Receiver<Option<&'static str>>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    pub fn start(reloader: Reloader, figures: Arc<Figures>) -> Self {
        let (orders, given) = mpsc::channel(ORDERS_MAX);
        let (telling, refused) = watch::channel(None);
        let plan = Arc::clone(&reloader.plan);
        let task = tokio::spawn(follow(reloader, given, figures, telling));
        Self {
            _plan: plan,
            orders: Orders(orders),
            refused,
            task,
        }
    }

    /// Reads the configuration again, changed or not.
    pub fn reload(&self) {
        // Full: what waits there reads it, too.
        let _ = self.orders.0.try_send((Order::Reload, None));
    }

    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Why the last reload was refused, if it was.
    pub fn refused(&self) -> Option<&'static str> {
        *self.refused.borrow()
    }

    /// No further reloads.
    pub fn stop(&self) {
        self.task.abort();
    }
}

async fn follow(
    mut reloader: Reloader,
    mut orders: mpsc::Receiver<Asked>,
    figures: Arc<Figures>,
    telling: watch::Sender<Option<&'static str>>,
) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            biased;
            Some(asked) = orders.recv() => Some(asked),
            _ = tick.tick() => None,
        };
        let (order, done) = asked.map_or((None, None), |(order, done)| (Some(order), done));
        let looked = tokio::task::spawn_blocking(move || {
            let reloaded = if let Some(order) = &order {
                Some(reloader.obey(order))
            } else if reloader.has_to_quarantine() {
                Some(Ok(reloader.quarantine()))
            } else {
                reloader.is_due().then(|| reloader.obey(&Order::Reload))
            };
            (reloader, reloaded)
        });
        let Ok((back, reloaded)) = looked.await else {
            return tracing::error!(
                "this is a bug: a reload panicked; there will be none any more"
            );
        };
        reloader = back;
        let Some(reloaded) = reloaded else { continue };
        figures.reloads.count(&reloaded);
        match &reloaded {
            Ok(Reloaded::Refused { code, .. }) | Err(NotDone::Configuration { code }) => {
                telling.send_replace(Some(code));
            }
            Ok(Reloaded::Done { .. } | Reloaded::Same) => {
                telling.send_replace(None);
            }
            // Nothing was read.
            Err(_) => {}
        }
        if let Some(done) = done {
            // Whoever gave the order may be gone.
            let _ = done.send(reloaded);
        }
    }
}
