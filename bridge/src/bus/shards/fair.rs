//! Which shards to take and which to give back: arithmetic over what was seen.
//!
//! Pure. What it says may be wrong by the time it is done; the compare-and-set decides.

use super::Wishes;
use crate::bus::members::{Owner, View};
use crate::bus::shard::{Shard, rendezvous};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Duration, Instant};

/// How long a shard is left to a replica that has an adapter for all its accounts.
pub(super) const LEFT_TO_OTHERS: Duration = Duration::from_secs(30);

/// What this replica knows when it decides.
pub(super) struct Situation<'s> {
    pub me: &'s Owner,
    pub view: &'s View,
    pub wishes: &'s Wishes,
    /// Held, being won or being given back.
    pub mine: &'s BTreeSet<Shard>,
    /// Not to be taken before this, unless nobody else is there.
    pub avoided: &'s BTreeMap<Shard, Instant>,
    /// Since when a shard was seen free.
    pub free_since: &'s BTreeMap<Shard, Instant>,
    pub now: Instant,
}

impl Situation<'_> {
    /// Members that take shards, me included.
    fn members(&self) -> usize {
        let others = self.others().count();
        others + 1
    }

    fn others(&self) -> impl Iterator<Item = (&Owner, usize)> {
        self.view
            .loads()
            .into_iter()
            .filter(|(owner, _)| *owner != self.me)
    }

    pub(super) fn share(&self) -> usize {
        self.wishes.shards.len().div_ceil(self.members())
    }

    /// Whether a write may take it now: nobody has it, or what is there is ours from before.
    pub(super) fn is_free(&self, shard: Shard) -> bool {
        !self.mine.contains(&shard)
            && self
                .view
                .leases
                .get(&shard)
                .is_none_or(|lease| lease.record.owner == *self.me)
    }

    /// Free shards to take now, best first, no more than the share has room for.
    pub(super) fn to_take(&self) -> Vec<Shard> {
        let room = self.share().saturating_sub(self.mine.len());
        let mut free: Vec<Shard> = self
            .wishes
            .shards
            .keys()
            .copied()
            .filter(|&shard| self.is_free(shard) && !self.is_avoided(shard) && !self.is_left(shard))
            .collect();
        free.sort_by_key(|&shard| std::cmp::Reverse(rendezvous(self.me.as_str(), shard)));
        free.truncate(room);
        free
    }

    fn is_avoided(&self, shard: Shard) -> bool {
        self.members() > 1
            && self
                .avoided
                .get(&shard)
                .is_some_and(|&until| self.now < until)
    }

    /// Another member has the adapter that this replica lacks for it, and had not long enough to take it.
    fn is_left(&self, shard: Shard) -> bool {
        let Some(providers) = self.wishes.shards.get(&shard) else {
            return false;
        };
        let lacking: Vec<_> = providers
            .iter()
            .filter(|provider| !self.wishes.usable.contains(*provider))
            .collect();
        let is_recent = self
            .free_since
            .get(&shard)
            .is_none_or(|&since| self.now.duration_since(since) < LEFT_TO_OTHERS);
        !lacking.is_empty()
            && is_recent
            && self.view.members.iter().any(|(owner, member)| {
                owner != self.me
                    && !member.record.draining
                    && lacking.iter().all(|provider| member.record.has(provider))
            })
    }

    /// One shard to give back, because another member has too few. Of `held`, the one that suits this replica least.
    pub(super) fn to_give(&self, held: &BTreeSet<Shard>) -> Option<Shard> {
        let fewest = self.others().map(|(_, load)| load).min()?;
        // One more than another is as even as it gets.
        if held.len() < fewest + 2 {
            return None;
        }
        held.iter()
            .copied()
            .min_by_key(|&shard| rendezvous(self.me.as_str(), shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::kv::Entry;
    use crate::bus::members::{member_key, shard_key};

    struct World {
        view: View,
        wishes: Wishes,
        mine: BTreeSet<Shard>,
        avoided: BTreeMap<Shard, Instant>,
        free_since: BTreeMap<Shard, Instant>,
        me: Owner,
    }

    fn owner(name: &str) -> Owner {
        serde_json::from_value(format!("{name}-00000000").into()).unwrap()
    }

    impl World {
        fn new(shards: u16) -> Self {
            let mut world = Self {
                view: View::default(),
                wishes: Wishes {
                    shards: (0..shards)
                        .map(|number| {
                            (
                                Shard::new(number),
                                BTreeSet::from(["acme".parse().unwrap()]),
                            )
                        })
                        .collect(),
                    usable: BTreeSet::from(["acme".parse().unwrap()]),
                },
                mine: BTreeSet::new(),
                avoided: BTreeMap::new(),
                free_since: BTreeMap::new(),
                me: owner("me"),
            };
            world.member("me", false, "acme");
            world
        }

        fn apply(&mut self, key: String, value: String) {
            self.view.apply(&Entry {
                key,
                value: Some(value.into()),
                revision: 1,
            });
        }

        fn member(&mut self, name: &str, draining: bool, provider: &str) {
            let record = serde_json::json!({
                "version": "1", "started": 1, "draining": draining, "providers": [provider],
            });
            self.apply(member_key(&owner(name)), record.to_string());
        }

        fn lease(&mut self, name: &str, shards: std::ops::Range<u16>) {
            for shard in shards.map(Shard::new) {
                let record = serde_json::json!({ "owner": owner(name), "started": 1, "epoch": 1, "since": 1 });
                self.apply(shard_key(shard), record.to_string());
                if name == "me" {
                    self.mine.insert(shard);
                }
            }
        }

        fn situation(&self) -> Situation<'_> {
            Situation {
                me: &self.me,
                view: &self.view,
                wishes: &self.wishes,
                mine: &self.mine,
                avoided: &self.avoided,
                free_since: &self.free_since,
                now: Instant::now(),
            }
        }
    }

    #[test]
    fn alone_it_takes_everything() {
        let world = World::new(64);
        assert_eq!(world.situation().to_take().len(), 64);
    }

    #[test]
    fn with_others_it_takes_its_share_and_leaves_theirs() {
        let mut world = World::new(64);
        world.member("other", false, "acme");
        world.member("leaving", true, "acme");
        assert_eq!(world.situation().share(), 32);
        world.lease("other", 0..40);
        assert_eq!(world.situation().to_take().len(), 24);
        world.lease("me", 40..60);
        assert_eq!(world.situation().to_take().len(), 4);
    }

    #[test]
    fn it_gives_back_until_the_difference_is_one() {
        let mut world = World::new(5);
        world.lease("me", 0..5);
        assert_eq!(world.situation().to_give(&world.mine), None);
        world.member("other", false, "acme");
        let given = world.situation().to_give(&world.mine).unwrap();
        world.mine.remove(&given);
        assert!(world.situation().to_give(&world.mine).is_some());
        world.lease("other", 0..2);
        world.mine = (2..5).map(Shard::new).collect();
        assert_eq!(world.situation().to_give(&world.mine), None);
    }

    #[test]
    fn a_shard_without_adapter_is_left_to_who_has_one_for_a_while() {
        let mut world = World::new(1);
        world.wishes.usable.clear();
        assert_eq!(world.situation().to_take().len(), 1, "nobody has one");
        world.member("other", false, "acme");
        assert!(world.situation().to_take().is_empty());
        let Some(long_ago) = Instant::now().checked_sub(LEFT_TO_OTHERS) else {
            return;
        };
        world.free_since.insert(Shard::new(0), long_ago);
        assert_eq!(world.situation().to_take().len(), 1);
    }

    #[test]
    fn what_was_given_away_is_avoided_unless_nobody_else_is_there() {
        let mut world = World::new(1);
        let soon = Instant::now() + LEFT_TO_OTHERS;
        world.avoided.insert(Shard::new(0), soon);
        assert_eq!(world.situation().to_take().len(), 1);
        world.member("other", false, "acme");
        assert!(world.situation().to_take().is_empty());
    }
}
