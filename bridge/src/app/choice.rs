//! Which of the files at hand serves a provider, and what this replica remembers of files until it ends.
//!
//! The newest version that was accepted in the folders is used, or the one that is held. What runs goes on when its file
//! is removed, when a bad one takes its place, and when a newer one cannot take over; each of these is told. A file that
//! is to blame for faults, or that a person rolled back, is used no more until that is cleared.
//!
//! Not here: loading files (`loader`), moving accounts (`owned`).

use crate::bus::Provider;
use crate::bus::clock::unix_ms;
use crate::loader::{Loaded, Sha256};
use im_bridge_sdk::model::Time;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Why a file that was in use may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too many of its accounts failed.
    Quarantined,
    /// A person went back to the version before.
    RolledBack,
}

/// A file that is used no more, although it could be loaded.
#[derive(Clone, Debug)]
pub struct Barred {
    pub loaded: &'static Loaded,
    pub why: Why,
    pub since: Time,
}

impl Barred {
    pub fn code(&self) -> &'static str {
        match self.why {
            Why::Quarantined => "plugin_quarantined",
            Why::RolledBack => "plugin_rolled_back",
        }
    }

    /// The whole sentence.
    pub fn text(&self) -> String {
        let Self { loaded, since, .. } = self;
        let (what, hash) = (name(loaded), loaded.sha256.short());
        match self.why {
            Why::Quarantined => format!(
                "{what} is quarantined since {since}: three of its accounts failed within a minute; clear it with \
                 im-bridge plugin clear {} --sha256 {hash}",
                loaded.provider
            ),
            Why::RolledBack => format!(
                "{what} was rolled back at {since}; im-bridge plugin clear {provider} --sha256 {hash} lets it be used again, \
                 plugins.providers.{provider}.hold keeps a version beyond a restart",
                provider = loaded.provider
            ),
        }
    }
}

/// A file that could be used and is not taken over by itself.
#[derive(Clone, Debug)]
pub struct Held {
    pub loaded: &'static Loaded,
    pub path: PathBuf,
    pub code: &'static str,
    pub text: String,
}

/// What a person allowed for one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Also if the version before cannot read what this one keeps.
    pub one_way: bool,
}

/// Ends with the process.
#[derive(Clone, Default)]
pub struct Memory {
    /// What served each provider, the latest last, each once.
    former: BTreeMap<Provider, Vec<&'static Loaded>>,
    barred: BTreeMap<Sha256, Barred>,
    approved: BTreeMap<Sha256, Approval>,
    /// Refusals that were told, by code.
    refusals: BTreeMap<&'static str, u64>,
}

impl Memory {
    /// It serves the provider from now on.
    pub fn used(&mut self, provider: &Provider, loaded: &'static Loaded) {
        let former = self.former.entry(provider.clone()).or_default();
        former.retain(|known| known.sha256 != loaded.sha256);
        former.push(loaded);
    }

    /// Files that served a provider and are mapped for ever.
    pub fn former(&self) -> impl Iterator<Item = (&Provider, &[&'static Loaded])> {
        let all = self.former.iter();
        all.map(|(provider, former)| (provider, former.as_slice()))
    }

    /// Those of one.
    pub fn former_of(&self, provider: &Provider) -> &[&'static Loaded] {
        self.former.get(provider).map_or(&[], Vec::as_slice)
    }

    pub fn bar(&mut self, loaded: &'static Loaded, why: Why) {
        let since = Time::from_ms(unix_ms());
        let barred = Barred { loaded, why, since };
        self.barred.insert(loaded.sha256, barred);
    }

    pub fn barred(&self) -> impl Iterator<Item = &Barred> {
        self.barred.values()
    }

    /// Those of a provider whose hash begins like this may be used again, all if it is empty; how many those are.
    pub fn clear(&mut self, provider: &Provider, hash: &str) -> usize {
        let before = self.barred.len();
        self.barred.retain(|sha256, barred| {
            barred.loaded.provider != provider.as_str() || !sha256.to_string().starts_with(hash)
        });
        before - self.barred.len()
    }

    /// The last that served a provider and may be used.
    pub fn last_of(&self, provider: &Provider) -> Option<&'static Loaded> {
        let mut latest = self.former_of(provider).iter().rev().copied();
        latest.find(|loaded| self.may_use(loaded))
    }

    pub fn approve(&mut self, sha256: Sha256, approval: Approval) {
        self.approved.insert(sha256, approval);
    }

    pub fn refused(&mut self, code: &'static str) {
        *self.refusals.entry(code).or_default() += 1;
    }

    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.iter().map(|(code, count)| (*code, *count))
    }

    /// Whether nobody is against it.
    pub fn may_use(&self, loaded: &Loaded) -> bool {
        !self.barred.contains_key(&loaded.sha256)
    }
}

/// What is known of one provider's files.
pub struct Files<'a> {
    pub provider: &'a Provider,
    /// Accepted in the folders, in the order of the search, with where they are.
    pub accepted: Vec<(&'static Loaded, PathBuf)>,
    pub running: Option<&'static Loaded>,
    /// The version that the configuration wants.
    pub hold: Option<&'a str>,
    /// Newer versions take over by themselves.
    pub is_auto: bool,
}

/// What came of it.
#[derive(Default)]
pub struct Choice {
    pub chosen: Option<&'static Loaded>,
    pub held: Vec<Held>,
}

/// Chooses. `mistake` judges the provider's accounts by a file's schema.
pub fn choose(
    files: &Files<'_>,
    memory: &Memory,
    mut mistake: impl FnMut(&Loaded) -> Option<String>,
) -> Choice {
    let mut choice = Choice::default();
    let is_wanted = |loaded: &Loaded| {
        let is_held = files
            .hold
            .is_none_or(|hold| hold == loaded.version.to_string());
        is_held && memory.may_use(loaded)
    };
    let mut candidates = files.accepted.clone();
    if let Some(running) = files.running {
        let is_replaced = files
            .accepted
            .iter()
            .any(|(loaded, path)| *path == running.path && loaded.sha256 != running.sha256);
        if !is_replaced {
            candidates.push((running, running.path.clone()));
        }
    }
    candidates.retain(|(loaded, _)| is_wanted(loaded));
    // Stable: of equal versions the one that lies in a folder comes before the one that only runs.
    candidates.sort_by(|(a, _), (b, _)| b.version.cmp(&a.version));
    for (loaded, path) in candidates {
        let Some(running) = files.running.filter(|it| it.sha256 != loaded.sha256) else {
            choice.chosen = Some(loaded);
            return choice;
        };
        // What is barred gives way to anything: its accounts have nothing to lose.
        let objection = if memory.may_use(running) {
            objection(files, memory, running, loaded, &mut mistake)
        } else {
            None
        };
        let Some((code, text)) = objection else {
            choice.chosen = Some(loaded);
            return choice;
        };
        choice.held.push(Held {
            loaded,
            path,
            code,
            text,
        });
    }
    // What runs goes on; else the last one that did and may.
    let former = memory.former_of(files.provider).iter().rev();
    choice.chosen = files
        .running
        .into_iter()
        .chain(former.copied())
        .find(|loaded| is_wanted(loaded));
    choice
}

/// Why `new` does not take over from `old` by itself.
fn objection(
    files: &Files<'_>,
    memory: &Memory,
    old: &Loaded,
    new: &Loaded,
    mistake: &mut impl FnMut(&Loaded) -> Option<String>,
) -> Option<(&'static str, String)> {
    let (provider, approval) = (files.provider, memory.approved.get(&new.sha256));
    let told = |code, why: String| {
        let (from, to) = (&old.version, &new.version);
        let text = format!("cannot upgrade {provider} {from} to {to}: {why}");
        Some((code, text))
    };
    if let Some(mistake) = mistake(new) {
        let why = format!("{mistake}; change the account's configuration first");
        return told("upgrade_incompatible", why);
    }
    if let Some(lost) = lost(old, new) {
        let why = format!(
            "{lost} is no longer offered; use another version, or remove the old one and restart"
        );
        return told("upgrade_incompatible", why);
    }
    let (from, to) = (old.description.state_version, new.description.state_version);
    if from != to && !approval.is_some_and(|approval| approval.one_way) {
        let why = format!(
            "the state that it keeps has version {to}, not {from}, and there is no way back; run im-bridge plugin \
             upgrade {provider} --one-way"
        );
        return told("upgrade_incompatible", why);
    }
    if !files.is_auto && files.hold.is_none() && approval.is_none() {
        let why = format!("plugins.upgrade.auto is off; run im-bridge plugin upgrade {provider}");
        return told("upgrade_waits", why);
    }
    None
}

/// The first event kind or command that `old` offers and `new` does not.
fn lost<'a>(old: &'a Loaded, new: &Loaded) -> Option<&'a str> {
    let (old, new) = (&old.description.capabilities, &new.description.capabilities);
    let of = |old: &'a BTreeMap<String, i8>, new: &BTreeMap<String, i8>| {
        let mut offered = old.iter().filter(|(_, level)| **level >= 1);
        offered
            .find(|(name, _)| new.get(*name).is_none_or(|level| *level < 1))
            .map(|(name, _)| name.as_str())
    };
    of(&old.events, &new.events).or_else(|| of(&old.commands, &new.commands))
}

/// As sentences call a file that was loaded.
pub fn name(loaded: &Loaded) -> String {
    let Loaded {
        provider, version, ..
    } = loaded;
    format!("{provider} {version} (sha256 {})", loaded.sha256.short())
}
