//! Which shards to take and which to give back: arithmetic over what was seen.
//!
//! Pure. What it says may be wrong by the time it is done; the compare-and-set decides.

use super::{STARTERS, Wishes};
use crate::bus::members::{Owner, View};
use crate::bus::shard::{Shard, rendezvous};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Duration, Instant};

/// How long a shard is left to a replica that has an adapter for all its accounts.
pub(super) const LEFT_TO_OTHERS: Duration = Duration::from_secs(30);

/// How long a free shard is left to those whose share has room for it: jitter, a tick and a write, with a margin.
pub(super) const OVERDUE_AFTER: Duration = Duration::from_secs(3);

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

    /// How many more this replica takes as its share.
    pub(super) fn room(&self) -> usize {
        self.share().saturating_sub(self.mine.len())
    }

    /// How many more may be taken while others that start now are not seen yet: none where anybody is.
    pub(super) fn at_once(&self) -> usize {
        let is_alone = self.view.members.keys().all(|member| member == self.me);
        let part = self.wishes.shards.len().div_ceil(STARTERS);
        if is_alone {
            part.saturating_sub(self.mine.len())
        } else {
            0
        }
    }

    /// Free shards to take now, best first: as many as there is room for, then those that nobody with room wants.
    pub(super) fn to_take(&self) -> Vec<Shard> {
        let mut free: Vec<Shard> = self
            .wishes
            .shards
            .keys()
            .copied()
            .filter(|&shard| self.is_free(shard) && !self.is_avoided(shard) && !self.is_left(shard))
            .collect();
        free.sort_by_key(|&shard| std::cmp::Reverse(rendezvous(self.me.as_str(), shard)));
        let beyond = free.split_off(self.room().min(free.len()));
        free.extend(beyond.into_iter().filter(|shard| self.is_overdue(*shard)));
        free
    }

    /// Whoever has room for it had the time to take it. An account that nobody runs is worse than an uneven share.
    fn is_overdue(&self, shard: Shard) -> bool {
        self.free_since
            .get(&shard)
            .is_some_and(|&since| self.now.duration_since(since) >= OVERDUE_AFTER)
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

    /// One shard to give back, because another member has too few. Of `staying`, the one that suits this replica least.
    ///
    /// Every move costs connections, so no more move than must: what is free or on its way back counts as theirs who have
    /// too few, and of several that could give, those with the most do.
    pub(super) fn to_give(
        &self,
        staying: &BTreeSet<Shard>,
        may_go: impl Fn(Shard) -> bool,
    ) -> Option<Shard> {
        let others: Vec<(&Owner, usize)> = self.others().collect();
        let fewest = others.iter().map(|(_, load)| *load).min()?;
        // One more than another is as even as it gets.
        if staying.len() < fewest + 2 {
            return None;
        }
        let shards = self.wishes.shards.len();
        let loads = || others.iter().map(|(_, load)| *load).chain([staying.len()]);
        let (least, most) = (shards / self.members(), self.share());
        let lacking: usize = loads().map(|load| least.saturating_sub(load)).sum();
        let above: usize = loads().map(|load| load.saturating_sub(most)).sum();
        let on_the_way = shards.saturating_sub(loads().sum());
        let moves = lacking.max(above).saturating_sub(on_the_way);
        let gives_before = |(owner, load): &&(&Owner, usize)| {
            (*load, self.me) > (staying.len(), *owner) && *load >= fewest + 2
        };
        if others.iter().filter(gives_before).count() >= moves {
            return None;
        }
        staying
            .iter()
            .copied()
            .filter(|&shard| may_go(shard))
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
    fn before_it_can_have_seen_others_it_takes_a_part_that_is_its_own_in_any_case() {
        let mut world = World::new(64);
        assert_eq!(world.situation().at_once(), 16);
        world.lease("me", 0..10);
        assert_eq!(world.situation().at_once(), 6);
        world.member("leaving", true, "acme");
        assert_eq!(world.situation().at_once(), 0);
        assert_eq!(World::new(1).situation().at_once(), 1);
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
        assert_eq!(world.situation().to_give(&world.mine, |_| true), None);
        world.member("other", false, "acme");
        let given = world.situation().to_give(&world.mine, |_| true).unwrap();
        world.mine.remove(&given);
        assert!(world.situation().to_give(&world.mine, |_| true).is_some());
        world.lease("other", 0..2);
        world.mine = (2..5).map(Shard::new).collect();
        assert_eq!(world.situation().to_give(&world.mine, |_| true), None);
    }

    /// The same shards among so many replicas, as each of them sees it.
    fn give_rounds(loads: &[u16]) -> (Vec<u16>, u16) {
        let mut loads = loads.to_vec();
        let shards = loads.iter().sum();
        let mut moves = 0;
        loop {
            let names: Vec<String> = (0..loads.len()).map(|it| format!("r{it}")).collect();
            let mut world = World::new(shards);
            world.view = View::default();
            let mut first = 0;
            for (name, load) in names.iter().zip(&loads) {
                world.member(name, false, "acme");
                world.lease(name, first..first + load);
                first += load;
            }
            let gives = |index: &usize| {
                let before: u16 = loads[..*index].iter().sum();
                let held = (before..before + loads[*index]).map(Shard::new).collect();
                let me = owner(&names[*index]);
                let situation = Situation {
                    me: &me,
                    ..world.situation()
                };
                situation.to_give(&held, |_| true).is_some()
            };
            let giving: Vec<usize> = (0..loads.len()).filter(gives).collect();
            if giving.is_empty() {
                return (loads, moves);
            }
            for giver in giving {
                loads[giver] -= 1;
                moves += 1;
                let least = (0..loads.len())
                    .filter(|it| *it != giver)
                    .min_by_key(|it| loads[*it]);
                loads[least.unwrap()] += 1;
            }
        }
    }

    #[test]
    fn shares_become_even_with_as_few_moves_as_possible() {
        for loads in [
            &[2, 2, 0][..],
            &[4, 2, 2],
            &[64, 0],
            &[64, 0, 0],
            &[22, 21, 21, 0],
            &[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0],
            &[7, 1, 1, 7, 0],
        ] {
            let (even, moves) = give_rounds(loads);
            let (least, most) = (even.iter().min().unwrap(), even.iter().max().unwrap());
            assert!(most - least <= 1, "{loads:?} became {even:?}");
            let mut fewest = loads.to_vec();
            let mut target = even.clone();
            fewest.sort_unstable();
            target.sort_unstable();
            let needed: u16 = fewest
                .iter()
                .zip(&target)
                .map(|(a, b)| a.saturating_sub(*b))
                .sum();
            assert_eq!(moves, needed, "{loads:?} became {even:?}");
        }
    }

    #[test]
    fn while_given_shards_are_on_their_way_no_more_are_given_than_are_needed() {
        let mut world = World::new(5);
        world.lease("me", 0..5);
        world.member("other", false, "acme");
        let mut staying = world.mine.clone();
        // The leases stay this replica's until their accounts have ended.
        while let Some(given) = world.situation().to_give(&staying, |_| true) {
            staying.remove(&given);
        }
        assert_eq!(staying.len(), 3);
    }

    #[test]
    fn what_nobody_with_room_wants_is_taken_beyond_the_share() {
        let mut world = World::new(2);
        world.member("other", false, "acme");
        world.lease("me", 0..1);
        let shard = Shard::new(1);
        assert_eq!(world.situation().room(), 0);
        assert!(world.situation().to_take().is_empty());
        let Some(a_while_ago) = Instant::now().checked_sub(OVERDUE_AFTER) else {
            return;
        };
        world.free_since.insert(shard, a_while_ago);
        assert_eq!(world.situation().to_take(), [shard]);
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
