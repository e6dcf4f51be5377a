//! Which messages of which channel were seen, in which order they go out, and how far they are in safe hands.
//!
//! Numbers count without holes inside a channel, but messages overtake each other on the wire. What is in order goes out
//! at once; what is ahead is held until the missing ones come, are fetched, or are told as a gap. The cursor of a channel
//! stands where nothing before it is open, so that whoever begins there misses nothing.
//!
//! Pure: times are told by the caller. Not here: fetching (`session/pull.rs`), keeping cursors (`session/cursors.rs`).
//!
//! Invariant: a number goes out once, unless its event could not be stored; guarded by the tests beside.

mod channel;
mod history;
mod item;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::native::channel::ChannelId;
use channel::{Channel, Place};

use item::Owed;
pub use item::{Hole, Item, Message, Offered};

/// Channels whose numbers are remembered. Beyond, the one that was quiet for longest is forgotten: its next message then
/// counts as the first one.
pub const CHANNELS_MAX: usize = 16_384;

/// Messages that are read and not out yet: beyond, nothing is read.
pub const HELD_MAX: usize = 1024;

/// Their bytes.
const HELD_BYTES_MAX: usize = 8 << 20;

/// How long the first message of a channel waits for those it may have overtaken. Overtaking was seen to take up to
/// 250 ms under load and below 1 ms at a human pace.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct Book {
    channels: HashMap<Arc<ChannelId>, Channel>,
    /// When to look at a channel that waits for missing numbers.
    due: BTreeSet<(Duration, Arc<ChannelId>)>,
    ready: VecDeque<Item>,
    /// Held and ready messages.
    held: usize,
    held_bytes: usize,
    /// Events on their way.
    open: usize,
    /// Where channels begin that nobody knew is being asked: they wait.
    is_asking: bool,
    /// Counts uses, to know which channel was quiet for longest.
    clock: u64,
    /// Cursors that moved since they were last kept.
    moved: BTreeSet<Arc<ChannelId>>,
}

impl Book {
    /// A message was pushed.
    pub fn offer(&mut self, message: Message, now: Duration, reorder: Duration) -> Offered {
        if message.is_outside() {
            self.hold(&message);
            self.ready.push_back(Item::Message(message));
            return Offered::Taken;
        }
        let id = Arc::clone(&message.channel);
        let seq = message.seq;
        let channel = self.channel(&id);
        if channel.counts_anew(seq, message.message_id) {
            channel.forget();
            channel.begin(seq - 1);
        }
        channel.newest_id = channel.newest_id.max(message.message_id);
        match channel.place(seq) {
            Place::Safe => return Offered::Safe,
            Place::OnTheWay => {
                // The one on its way may have been fetched, and owe nothing.
                channel.out.insert(seq, message.ack);
                return Offered::OnTheWay;
            }
            Place::Late => {
                channel.late(seq);
                self.hold(&message);
                self.ready.push_back(Item::Message(message));
            }
            Place::Ahead => {
                match channel.held.get_mut(&seq) {
                    Some(Some(held)) => {
                        held.ack = held.ack.or(message.ack);
                        return Offered::OnTheWay;
                    }
                    // A copy of our own.
                    Some(None) => return Offered::Safe,
                    None => {}
                }
                let is_first = channel.next == 0 && seq > 1;
                if channel.next == 0 && !is_first {
                    channel.begin(0);
                }
                let wait = if is_first {
                    FIRST_WAIT.min(reorder)
                } else {
                    reorder
                };
                self.hold(&message);
                self.channel(&id).held.insert(seq, Some(message));
                self.release(&id);
                self.wait(&id, now + wait);
            }
        }
        Offered::Taken
    }

    /// A message of our own was stored under this number; there is nothing to emit.
    pub fn own(&mut self, id: &Arc<ChannelId>, seq: u64, now: Duration) {
        if seq == 0 {
            return;
        }
        let is_asking = self.is_asking;
        let channel = self.channel(id);
        let is_known = !is_asking && !channel.is_fetching;
        if channel.next == 0 && channel.held.is_empty() && is_known {
            channel.begin(seq - 1);
        }
        if channel.place(seq) == Place::Ahead {
            channel.held.entry(seq).or_insert(None);
        }
        self.release(id);
        if !is_known {
            self.wait(id, now + FIRST_WAIT);
        }
    }

    /// Whether somebody is asking where channels begin that nobody knew.
    pub fn set_asking(&mut self, is_asking: bool) {
        self.is_asking = is_asking;
    }

    /// Channels that waited long enough for what is missing: fetch it, or [`Self::give_up`].
    pub fn overdue(&mut self, now: Duration) -> Vec<Hole> {
        let (mut holes, mut later) = (Vec::new(), Vec::new());
        while let Some((_, id)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.unwait(&id);
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            let Some(&first) = channel.held.keys().next() else {
                continue;
            };
            // What is being fetched comes before it, and looks again itself.
            if channel.is_fetching {
                continue;
            }
            if channel.next == 0 && self.is_asking {
                later.push(id);
                continue;
            }
            if channel.next == 0 {
                channel.begin(first - 1);
                self.release(&id);
                // What the first ones overtook as well is a hole like any other.
                if self
                    .channels
                    .get(&id)
                    .is_some_and(|channel| !channel.held.is_empty())
                {
                    self.wait(&id, now + FIRST_WAIT);
                }
                continue;
            }
            channel.is_fetching = true;
            holes.push(Hole {
                from: channel.next,
                channel: id,
            });
        }
        for id in later {
            self.wait(&id, now + FIRST_WAIT);
        }
        holes
    }

    /// When [`Self::overdue`] has something to say.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Nothing more will be read: what is held goes out as it is, and comes again if something was missing.
    pub fn let_go(&mut self) {
        let ids: Vec<_> = self.due.iter().map(|(_, id)| Arc::clone(id)).collect();
        for id in ids {
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            if channel.next == 0 {
                let first = channel.held.keys().next().copied().unwrap_or(1);
                channel.begin(first - 1);
            }
            let held = std::mem::take(&mut channel.held);
            channel.is_fetching = false;
            for (seq, message) in held {
                if let Some(message) = message {
                    channel.out.insert(seq, None);
                    self.ready.push_back(Item::Message(message));
                }
            }
            self.unwait(&id);
        }
    }

    /// The next thing to go out.
    pub fn next(&mut self) -> Option<Item> {
        let item = self.ready.pop_front()?;
        self.open += 1;
        if let Item::Message(message) = &item {
            self.held -= 1;
            self.held_bytes -= message.payload.len();
        }
        Some(item)
    }

    pub fn has_next(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Nothing more is to be read before something went out.
    pub fn is_full(&self) -> bool {
        self.held >= HELD_MAX || self.held_bytes >= HELD_BYTES_MAX
    }

    /// What became of something that went out. `seq` 0: it had no number. Answers what else is owed for it now.
    pub fn settled(&mut self, id: &Arc<ChannelId>, seq: u64, is_final: bool) -> Option<Owed> {
        self.open = self.open.saturating_sub(1);
        let channel = self.channels.get_mut(id).filter(|_| seq > 0)?;
        let owed = channel.out.remove(&seq).flatten();
        if is_final {
            if channel.safe(seq..=seq) {
                self.moved.insert(Arc::clone(id));
            }
        } else {
            channel.miss(seq..=seq);
        }
        owed.filter(|_| is_final)
    }

    /// An event that is no message was settled.
    pub fn told(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Nothing is on its way or waits to go out.
    pub fn is_all_settled(&self) -> bool {
        self.open == 0 && self.ready.is_empty()
    }

    /// Where to begin fetching; none when the channel is not known.
    pub fn cursor(&self, id: &ChannelId) -> Option<u64> {
        let channel = self.channels.get(id)?;
        (channel.next > 0).then_some(channel.cursor)
    }

    pub fn cursors(&self) -> impl Iterator<Item = (&Arc<ChannelId>, u64)> {
        let known = self.channels.iter().filter(|(_, channel)| channel.next > 0);
        known.map(|(id, channel)| (id, channel.cursor))
    }

    /// Cursors that moved since the last call.
    pub fn take_moved(&mut self) -> BTreeSet<Arc<ChannelId>> {
        std::mem::take(&mut self.moved)
    }

    /// They could not be kept.
    pub fn put_back(&mut self, moved: BTreeSet<Arc<ChannelId>>) {
        self.moved.extend(moved);
    }

    /// One value for all that know the channel.
    pub fn id(&self, id: ChannelId) -> Arc<ChannelId> {
        match self.channels.get_key_value(&id) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(id),
        }
    }

    fn channel(&mut self, id: &Arc<ChannelId>) -> &mut Channel {
        self.clock += 1;
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(id) {
            self.forget_one();
        }
        let channel = self.channels.entry(Arc::clone(id)).or_default();
        channel.used = self.clock;
        channel
    }

    /// Quiet for longest, and nothing of it is under way.
    fn forget_one(&mut self) {
        let idle = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.is_idle());
        if let Some(id) = idle
            .min_by_key(|(_, channel)| channel.used)
            .map(|(id, _)| id)
        {
            let id = Arc::clone(id);
            self.channels.remove(&id);
            self.moved.insert(id);
        }
    }

    fn hold(&mut self, message: &Message) {
        self.held += 1;
        self.held_bytes += message.payload.len();
    }

    /// What is in order goes out.
    fn release(&mut self, id: &Arc<ChannelId>) {
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        let mut has_moved = false;
        while channel.next > 0
            && let Some(entry) = channel.held.first_entry()
            && *entry.key() == channel.next
        {
            let (seq, message) = entry.remove_entry();
            channel.next = seq + 1;
            match message {
                Some(message) => {
                    channel.out.insert(seq, None);
                    self.ready.push_back(Item::Message(message));
                }
                None => has_moved |= channel.safe(seq..=seq),
            }
        }
        if channel.held.is_empty() {
            self.unwait(id);
        }
        if has_moved {
            self.moved.insert(Arc::clone(id));
        }
    }

    fn wait(&mut self, id: &Arc<ChannelId>, until: Duration) {
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        if !channel.held.is_empty() && channel.due.is_none() {
            channel.due = Some(until);
            self.due.insert((until, Arc::clone(id)));
        }
    }

    fn unwait(&mut self, id: &Arc<ChannelId>) {
        let due = self
            .channels
            .get_mut(id)
            .and_then(|channel| channel.due.take());
        if let Some(due) = due {
            self.due.remove(&(due, Arc::clone(id)));
        }
    }
}

/// Runs of numbers, each first to last.
type Runs = BTreeMap<u64, u64>;
