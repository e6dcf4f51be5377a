//! Which waiting command may go next: in order within a channel, channels side by side.
//!
//! A lane is the queue of one channel; it has at most one command out, and its next one goes only after that one is
//! done, however it ended. A command that is to be tried again stays at the head of its lane, so nothing overtakes it.
//! Commands without a channel have a lane each. A lane exists while it holds something.
//!
//! Pure: time is passed in, nothing here waits. Not here: what a command is, the pace (`budget`), bounds on what waits
//! (whoever pushes).

use super::check::Target;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Names a lane.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum LaneKey {
    /// Of a channel, by its exact native id.
    Channel(Arc<str>),
    /// Of a user whose channel is being found.
    User(Arc<str>),
    /// Of one command that names no channel.
    Alone(u64),
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    is_out: bool,
    /// The head waits until then.
    not_before: Option<Instant>,
    /// For the pace; not because it is tried again.
    is_paced: bool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            is_out: false,
            not_before: None,
            is_paced: false,
        }
    }
}

/// The lanes of one account.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: HashMap<LaneKey, Lane<T>>,
    /// Lanes whose head may go, in the order in which they became so.
    ready: VecDeque<LaneKey>,
    /// Lanes whose head waits for its time.
    timed: BTreeSet<(Instant, LaneKey)>,
    /// The whole account waits until then: the provider said to slow down.
    paused_until: Option<Instant>,
    /// As above, because the pace leaves no room before.
    paced_until: Option<Instant>,
    out: usize,
    out_max: usize,
    alone: u64,
}

impl<T> Lanes<T> {
    /// At most `out_max` commands are out at the same time.
    pub fn new(out_max: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            timed: BTreeSet::new(),
            paused_until: None,
            paced_until: None,
            out: 0,
            out_max: out_max.max(1),
            alone: 0,
        }
    }

    /// Puts a command at the end of its lane.
    pub fn push(&mut self, target: &Target, item: T) {
        let key = match target {
            Target::Channel(channel) => LaneKey::Channel(channel.as_str().into()),
            Target::User(user) => LaneKey::User(user.as_str().into()),
            Target::Nothing => {
                self.alone += 1;
                LaneKey::Alone(self.alone)
            }
        };
        let lane = self.lanes.entry(key.clone()).or_default();
        lane.waiting.push_back(item);
        if lane.waiting.len() == 1 && !lane.is_out {
            self.ready.push_back(key);
        }
    }

    /// What [`Self::next`] would take.
    pub fn head(&mut self, now: Instant) -> Option<&T> {
        if self.out >= self.out_max || self.held_until().is_some_and(|until| until > now) {
            return None;
        }
        (self.paused_until, self.paced_until) = (None, None);
        while let Some((due, key)) = self.timed.first().filter(|(due, _)| *due <= now).cloned() {
            self.timed.remove(&(due, key.clone()));
            self.ready.push_back(key);
        }
        self.lanes.get(self.ready.front()?)?.waiting.front()
    }

    /// The next command to go; its lane is closed until [`Self::done`] or [`Self::again`].
    pub fn next(&mut self, now: Instant) -> Option<(LaneKey, T)> {
        self.head(now)?;
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let item = lane.waiting.pop_front()?;
        lane.is_out = true;
        (lane.not_before, lane.is_paced) = (None, false);
        self.out += 1;
        Some((key, item))
    }

    /// The lane of [`Self::head`] waits until then for its pace.
    pub fn put_off(&mut self, not_before: Instant) {
        let Some(key) = self.ready.pop_front() else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&key) {
            (lane.not_before, lane.is_paced) = (Some(not_before), true);
            self.timed.insert((not_before, key));
        }
    }

    /// The command that is out has ended.
    pub fn done(&mut self, key: &LaneKey) {
        self.back(key, |_| None);
    }

    /// The command that is out is to be tried again at that time, before everything behind it.
    pub fn again(&mut self, key: &LaneKey, item: T, not_before: Instant) {
        self.back(key, |waiting| {
            waiting.push_front(item);
            Some(not_before)
        });
    }

    fn back(&mut self, key: &LaneKey, put: impl FnOnce(&mut VecDeque<T>) -> Option<Instant>) {
        let Some(lane) = self.lanes.get_mut(key).filter(|lane| lane.is_out) else {
            return;
        };
        lane.is_out = false;
        self.out -= 1;
        lane.not_before = put(&mut lane.waiting);
        match (lane.waiting.is_empty(), lane.not_before) {
            (true, _) => drop(self.lanes.remove(key)),
            (false, Some(due)) => drop(self.timed.insert((due, key.clone()))),
            (false, None) => self.ready.push_back(key.clone()),
        }
    }

    /// Nothing goes before that time: the provider said to slow down.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Nothing goes before that time, by the account's pace.
    pub fn put_all_off(&mut self, until: Instant) {
        self.paced_until = self.paced_until.max(Some(until));
    }

    /// Until when nothing goes by the account's pace.
    pub fn paced_until(&self) -> Option<Instant> {
        self.paced_until
    }

    fn held_until(&self) -> Option<Instant> {
        self.paused_until.max(self.paced_until)
    }

    /// The pace is another one: what waits for the former one is looked at again.
    pub fn pace_changed(&mut self) {
        self.paced_until = None;
        for (key, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.is_paced) {
            lane.is_paced = false;
            if let Some(due) = lane.not_before.take() {
                // Empty lanes are gone from both.
                if self.timed.remove(&(due, key.clone())) {
                    self.ready.push_back(key.clone());
                }
            }
        }
    }

    /// When [`Self::next`] may have an answer that it has not now, but for a command that comes back.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.out >= self.out_max {
            return None;
        }
        let head = if self.ready.is_empty() {
            self.timed.first().map(|(due, _)| *due)
        } else {
            Some(now)
        };
        match (head?, self.held_until()) {
            (head, Some(until)) => Some(head.max(until)),
            (head, None) => Some(head),
        }
    }

    /// Takes everything that waits and fulfils the condition, lane by lane in order.
    pub fn extract(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut() {
            let (out, kept): (Vec<T>, Vec<T>) =
                lane.waiting.drain(..).partition(|item| wanted(item));
            taken.extend(out);
            lane.waiting = kept.into();
        }
        self.lanes
            .retain(|_, lane| lane.is_out || !lane.waiting.is_empty());
        let lanes = &self.lanes;
        let holds = |key: &LaneKey| lanes.get(key).is_some_and(|lane| !lane.waiting.is_empty());
        self.ready.retain(holds);
        self.timed.retain(|(_, key)| holds(key));
        taken
    }

    /// Whether anything of this lane waits or is out.
    pub fn has(&self, key: &LaneKey) -> bool {
        self.lanes.contains_key(key)
    }

    /// All that wait, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().flat_map(|lane| &lane.waiting)
    }

    /// Commands that wait.
    pub fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    /// Commands that are out.
    pub fn out(&self) -> usize {
        self.out
    }

    /// The adapter may have said another bound.
    pub fn set_out_max(&mut self, out_max: usize) {
        self.out_max = out_max.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::time::Duration;

    fn channel(id: &str) -> Target {
        Target::Channel(id.to_owned())
    }

    #[test]
    fn a_channel_has_one_command_out_and_channels_run_side_by_side() {
        let now = Instant::now();
        let mut lanes = Lanes::new(8);
        for (channel, item) in [("a", 1), ("a", 2), ("b", 3)] {
            lanes.push(&Target::Channel(channel.to_owned()), item);
        }
        let (a, first) = lanes.next(now).unwrap();
        let (_, third) = lanes.next(now).unwrap();
        assert_eq!((first, third), (1, 3));
        assert!(lanes.next(now).is_none(), "2 waits for 1");
        lanes.done(&a);
        assert_eq!(lanes.next(now).unwrap().1, 2);
    }

    #[test]
    fn a_retry_keeps_its_place_and_its_time() {
        let now = Instant::now();
        let mut lanes = Lanes::new(8);
        lanes.push(&channel("a"), 1);
        lanes.push(&channel("a"), 2);
        let (key, item) = lanes.next(now).unwrap();
        let due = now + Duration::from_secs(1);
        lanes.again(&key, item, due);
        assert!(lanes.next(now).is_none());
        assert_eq!(lanes.wake_at(now), Some(due));
        assert_eq!(lanes.next(due).unwrap().1, 1);
    }

    #[test]
    fn a_pause_holds_every_lane_and_ends() {
        let now = Instant::now();
        let mut lanes = Lanes::new(8);
        lanes.push(&Target::Nothing, 1);
        let until = now + Duration::from_secs(2);
        lanes.pause(until);
        assert!(lanes.next(now).is_none());
        assert_eq!(lanes.wake_at(now), Some(until));
        assert!(lanes.next(until).is_some());
    }

    #[test]
    fn commands_without_a_channel_run_beside_the_lanes_within_the_bound() {
        let now = Instant::now();
        let mut lanes = Lanes::new(2);
        (0..3).for_each(|item| lanes.push(&Target::Nothing, item));
        let (key, _) = lanes.next(now).unwrap();
        assert!(lanes.next(now).is_some());
        assert!(lanes.next(now).is_none(), "two are out");
        lanes.done(&key);
        assert_eq!(lanes.next(now).unwrap().1, 2);
        assert_eq!(lanes.waiting(), 0);
    }

    #[test]
    fn random_traffic_keeps_the_order_of_each_channel() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let mut lanes = Lanes::new(4);
        let mut out: Vec<(LaneKey, (u8, u32))> = Vec::new();
        let mut seen: HashMap<u8, u32> = HashMap::new();
        let mut pushed: HashMap<u8, u32> = HashMap::new();
        for step in 0..20_000_u64 {
            let now = start + Duration::from_millis(step);
            match random.u8(..4) {
                0 => {
                    let channel = random.u8(..6);
                    let number = pushed.entry(channel).or_default();
                    *number += 1;
                    lanes.push(&Target::Channel(channel.to_string()), (channel, *number));
                }
                1 => out.extend(lanes.next(now)),
                2 if !out.is_empty() => {
                    let (key, (channel, number)) = out.swap_remove(random.usize(..out.len()));
                    assert_eq!(seen.insert(channel, number).unwrap_or(0) + 1, number);
                    lanes.done(&key);
                }
                3 if !out.is_empty() => {
                    let (key, item) = out.swap_remove(random.usize(..out.len()));
                    lanes.again(&key, item, now + Duration::from_millis(random.u64(..5)));
                }
                _ => {}
            }
            assert!(lanes.out() <= 4 && lanes.out() == out.len());
        }
    }

    #[test]
    fn what_is_extracted_is_gone_and_the_rest_keeps_its_order() {
        let now = Instant::now();
        let mut lanes = Lanes::new(8);
        (0..6).for_each(|item| lanes.push(&channel("a"), item));
        let mut odd = lanes.extract(|item| item % 2 == 1);
        odd.sort_unstable();
        assert_eq!(odd, [1, 3, 5]);
        let (key, item) = lanes.next(now).unwrap();
        assert_eq!(item, 0);
        lanes.done(&key);
        assert_eq!(lanes.next(now).unwrap().1, 2);
    }
}
