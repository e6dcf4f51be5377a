//! Who may go and who waits: one at a time for each channel.
//!
//! A lane exists while something is on its way in it, so that an account with a million channels costs nothing for those
//! that are quiet. What waits is bounded by the account's credits, not here.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// What an account's events keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The order of emission inside each channel.
    #[default]
    Strict,
    /// None: for accounts whose channels bring more than one round trip at a time can carry.
    Relaxed,
}

/// A channel's lane. By hash, which saves a copy of each channel's id; two channels that share one only wait for each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lane(u64);

pub(super) struct Lanes<T> {
    order: Order,
    hasher: RandomState,
    /// Invariant: a lane is here exactly while one of it is on its way; guarded by `lanes_vanish_when_they_are_empty`.
    open: HashMap<Lane, VecDeque<T>>,
    waiting: usize,
}

impl<T> Lanes<T> {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            hasher: RandomState::new(),
            open: HashMap::new(),
            waiting: 0,
        }
    }

    /// The lane of a channel; what has no channel shares one.
    pub(super) fn of(&self, channel: Option<&str>) -> Lane {
        Lane(self.hasher.hash_one(channel))
    }

    /// Gives the value back if it may go now, else keeps it until its turn.
    pub(super) fn enter(&mut self, lane: Lane, value: T) -> Option<T> {
        if self.order == Order::Relaxed {
            return Some(value);
        }
        match self.open.get_mut(&lane) {
            Some(queue) => {
                queue.push_back(value);
                self.waiting += 1;
                None
            }
            None => {
                self.open.insert(lane, VecDeque::new());
                Some(value)
            }
        }
    }

    /// The one on its way has arrived: the next one that may go.
    pub(super) fn leave(&mut self, lane: Lane) -> Option<T> {
        let next = self.open.get_mut(&lane)?.pop_front();
        match next {
            Some(_) => self.waiting -= 1,
            None => {
                self.open.remove(&lane);
            }
        }
        next
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_and_the_rest_of_its_channel_waits() {
        let mut lanes = Lanes::new(Order::Strict);
        let (a, b, none) = (lanes.of(Some("a")), lanes.of(Some("b")), lanes.of(None));
        assert_eq!(lanes.enter(a, 1), Some(1));
        assert_eq!(lanes.enter(a, 2), None);
        assert_eq!(lanes.enter(b, 3), Some(3));
        assert_eq!(lanes.enter(none, 4), Some(4));
        assert_eq!(lanes.enter(a, 5), None);
        assert_eq!(lanes.waiting(), 2);
        assert_eq!(lanes.leave(a), Some(2));
        assert_eq!(lanes.enter(a, 6), None, "2 is on its way");
        assert_eq!((lanes.leave(a), lanes.leave(a)), (Some(5), Some(6)));
        assert_eq!(lanes.leave(a), None);
        assert_eq!(lanes.enter(a, 7), Some(7));
    }

    #[test]
    fn lanes_vanish_when_they_are_empty() {
        let mut lanes = Lanes::new(Order::Strict);
        for number in 0..1000 {
            let lane = lanes.of(Some(&number.to_string()));
            assert_eq!(lanes.enter(lane, number), Some(number));
            assert_eq!(lanes.leave(lane), None);
        }
        assert_eq!((lanes.open.len(), lanes.waiting()), (0, 0));
    }

    #[test]
    fn a_relaxed_account_waits_for_nothing() {
        let mut lanes = Lanes::new(Order::Relaxed);
        let lane = lanes.of(Some("a"));
        assert_eq!(
            (lanes.enter(lane, 1), lanes.enter(lane, 2)),
            (Some(1), Some(2))
        );
        assert_eq!((lanes.leave(lane), lanes.open.len()), (None, 0));
    }
}
