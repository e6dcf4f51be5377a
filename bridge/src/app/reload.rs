//! Takes a changed configuration over without a restart: only the accounts that it concerns begin anew.
//!
//! A configuration with a mistake changes nothing and is told as a whole. What cannot be changed while running is named,
//! and the rest is taken over all the same. Files are looked at every second, which also sees swapped links of mounted
//! volumes; what was read is compared, so that a swap without a change does nothing.
//!
//! Not here: what a change does to an account (`owned`).

use super::figures::Figures;
use super::load::{self, Read, Watched};
use super::plan::Plan;
use crate::config::types::Config;
use crate::config::{Mistaken, Origins};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Parts that are read at start only, as the keys that a person wrote.
const AT_START_ONLY: [&str; 4] = ["nats", "admin", "telemetry", "plugins.credits.total_bytes"];

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

/// Holds what the present configuration was made from.
pub struct Reloader {
    origins: Origins,
    config: Config,
    plan: Arc<watch::Sender<Arc<Plan>>>,
    watched: Watched,
    /// How the files looked when a change was first seen.
    seen: Option<Watched>,
}

impl Reloader {
    /// From what was read at start; the plan's followers get it from the receiver.
    pub fn new(origins: Origins, read: Read) -> (Self, watch::Receiver<Arc<Plan>>) {
        let (plan, followed) = watch::channel(Arc::new(read.plan));
        let reloader = Self {
            origins,
            config: read.config,
            plan: Arc::new(plan),
            watched: read.watched,
            seen: None,
        };
        (reloader, followed)
    }

    /// Whether a file is different since it was last read, and has been so for two looks. Blocks, shortly.
    pub fn is_due(&mut self) -> bool {
        if !self.config.admin.watch_config || !self.watched.is_changed() {
            self.seen = None;
            return false;
        }
        let now = self.watched.again();
        if self.seen.as_ref() == Some(&now) {
            self.seen = None;
            return true;
        }
        self.seen = Some(now);
        false
    }

    /// Reads everything again and takes over what is different. Blocks.
    pub fn reload(&mut self) -> Reloaded {
        let before = Arc::clone(&self.plan.borrow());
        // First, so that a change while it is read is seen the next time.
        let watched = self.watched.again();
        let read = match load::read(&self.origins, &before.plugins) {
            Ok(read) => read,
            Err(mistaken) => {
                self.watched = watched;
                return refused(&mistaken);
            }
        };
        self.watched = read.watched;
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
        known.is_none_or(|known| !known.is_same(wanted))
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
        let refused: Vec<_> = plan
            .plugins
            .refused
            .iter()
            .map(|it| it.text.clone())
            .collect();
        (used, refused)
    };
    files(before) == files(after)
}

/// Between two looks at the files. A change is taken over when two looks in a row see the same: it is written whole then.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reloads when asked, and when files change.
pub struct Follower {
    /// The plan outlives reloading: accounts that end still look at it.
    _plan: Arc<watch::Sender<Arc<Plan>>>,
    asked: Arc<Notify>,
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
        let asked = Arc::new(Notify::new());
        let (telling, refused) = watch::channel(None);
        let plan = Arc::clone(&reloader.plan);
        let task = tokio::spawn(follow(reloader, Arc::clone(&asked), figures, telling));
        Self {
            _plan: plan,
            asked,
            refused,
            task,
        }
    }

    /// Reads the configuration again, changed or not.
    pub fn reload(&self) {
        self.asked.notify_one();
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
    asked: Arc<Notify>,
    figures: Arc<Figures>,
    telling: watch::Sender<Option<&'static str>>,
) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_asked = tokio::select! {
            biased;
            () = asked.notified() => true,
            _ = tick.tick() => false,
        };
        let looked = tokio::task::spawn_blocking(move || {
            let reloaded = (is_asked || reloader.is_due()).then(|| reloader.reload());
            (reloader, reloaded)
        });
        let Ok((back, reloaded)) = looked.await else {
            return tracing::error!(
                "this is a bug: a reload panicked; there will be none any more"
            );
        };
        reloader = back;
        match reloaded {
            Some(Reloaded::Refused { code, .. }) => {
                figures.reloads_refused.fetch_add(1, Ordering::Relaxed);
                telling.send_replace(Some(code));
            }
            Some(Reloaded::Done { .. } | Reloaded::Same) => {
                figures.reloads_done.fetch_add(1, Ordering::Relaxed);
                telling.send_replace(None);
            }
            None => {}
        }
    }
}
