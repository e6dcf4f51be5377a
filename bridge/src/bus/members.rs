//! What replicas write about themselves and their shards, and what everybody reads of it.
//!
//! Readers ignore members they do not know: replicas of two versions meet in every roll-out.

use super::kv::Entry;
use super::shard::Shard;
use super::token::{Provider, escaped, unescaped};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const SHARD: &str = "shard.";
const MEMBER: &str = "member.";
/// Random hex digits after the name, and their hyphen.
const START_CHARS: usize = 9;

/// Who this process is: `nats.name` and 8 hex digits that no other start has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner(String);

impl Owner {
    pub fn of_this_start(name: &str) -> Self {
        Self(format!("{name}-{:08x}", fastrand::u32(..)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `nats.name`
    pub fn name(&self) -> &str {
        let end = self.0.len().saturating_sub(START_CHARS);
        self.0.get(..end).unwrap_or_default()
    }
}

/// Value of `shard.<n>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    pub owner: Owner,
    /// When the owner's process started, Unix ms.
    pub started: u64,
    /// 0 in the write that wins it; then the revision is the epoch.
    pub epoch: u64,
    /// When it was won, Unix ms.
    pub since: u64,
}

/// Value of `member.<owner>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    pub version: String,
    pub started: u64,
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default)]
    pub draining: bool,
    /// Providers that it has a usable adapter for.
    #[serde(default)]
    pub providers: BTreeSet<String>,
}

fn one() -> u32 {
    1
}

impl MemberRecord {
    pub fn has(&self, provider: &Provider) -> bool {
        self.providers.contains(provider.as_str())
    }
}

pub(super) fn shard_key(shard: Shard) -> String {
    format!("{SHARD}{shard}")
}

/// Host names have dots, keys have tokens.
pub(super) fn member_key(owner: &Owner) -> String {
    format!("{MEMBER}{}", escaped(owner.as_str()))
}

/// One lease as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    pub record: T,
    pub revision: u64,
}

/// The bucket of leases as it was last seen. May be old: only a write's result is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub leases: BTreeMap<Shard, Seen<LeaseRecord>>,
    pub members: BTreeMap<Owner, Seen<MemberRecord>>,
    /// Revisions of markers, which the next write has to expect.
    markers: BTreeMap<Shard, u64>,
}

impl View {
    pub(super) fn apply(&mut self, entry: &Entry) {
        if let Some(shard) = entry.key.strip_prefix(SHARD) {
            let Ok(shard) = shard.parse().map(Shard::new) else {
                return;
            };
            match parse(entry) {
                Some(record) => {
                    self.markers.remove(&shard);
                    self.leases.insert(
                        shard,
                        Seen {
                            record,
                            revision: entry.revision,
                        },
                    );
                }
                None => {
                    self.leases.remove(&shard);
                    self.markers.insert(shard, entry.revision);
                }
            }
        } else if let Some(owner) = entry.key.strip_prefix(MEMBER).and_then(unescaped) {
            let owner = Owner(owner);
            match parse(entry) {
                Some(record) => {
                    let revision = entry.revision;
                    self.members.insert(owner, Seen { record, revision });
                }
                None => {
                    self.members.remove(&owner);
                }
            }
        }
    }

    /// What a write that takes this shard has to expect, if nobody has it.
    pub(super) fn marker(&self, shard: Shard) -> u64 {
        self.markers.get(&shard).copied().unwrap_or_default()
    }

    /// Members that take shards, and how many each has.
    pub fn loads(&self) -> BTreeMap<&Owner, usize> {
        let mut loads: BTreeMap<&Owner, usize> = self
            .members
            .iter()
            .filter(|(_, member)| !member.record.draining)
            .map(|(owner, _)| (owner, 0))
            .collect();
        for lease in self.leases.values() {
            if let Some(load) = loads.get_mut(&lease.record.owner) {
                *load += 1;
            }
        }
        loads
    }
}

/// A value that cannot be read counts as none: it expires, and until then the compare-and-set guards it.
fn parse<T: for<'de> Deserialize<'de>>(entry: &Entry) -> Option<T> {
    serde_json::from_slice(entry.value.as_ref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: Option<&str>, revision: u64) -> Entry {
        Entry {
            key: key.to_owned(),
            value: value.map(|text| text.to_owned().into()),
            revision,
        }
    }

    #[test]
    fn an_owner_knows_its_name() {
        let owner = Owner::of_this_start("host-1.example");
        assert_eq!(owner.name(), "host-1.example");
        assert_ne!(owner, Owner::of_this_start("host-1.example"));
        assert_eq!(Owner("x".to_owned()).name(), "");
    }

    #[test]
    fn keys_of_strange_names_are_read_again() {
        let owner = Owner("a.b c-00000000".to_owned());
        let mut view = View::default();
        let record = r#"{"version":"1","started":5,"more":true}"#;
        view.apply(&entry(&member_key(&owner), Some(record), 7));
        assert_eq!(view.members[&owner].record.weight, 1);
        view.apply(&entry(&member_key(&owner), None, 8));
        assert!(view.members.is_empty());
    }

    #[test]
    fn a_marker_frees_a_shard_and_is_expected_by_the_next_write() {
        let mut view = View::default();
        let lease = r#"{"owner":"a-00000000","started":1,"epoch":3,"since":2}"#;
        view.apply(&entry("shard.7", Some(lease), 3));
        assert_eq!(view.leases[&Shard::new(7)].record.owner.name(), "a");
        view.apply(&entry("shard.7", None, 9));
        assert!(view.leases.is_empty());
        assert_eq!(view.marker(Shard::new(7)), 9);
        assert_eq!(view.marker(Shard::new(8)), 0);
        view.apply(&entry("shard.x", Some(lease), 10));
        assert!(view.leases.is_empty());
    }
}
