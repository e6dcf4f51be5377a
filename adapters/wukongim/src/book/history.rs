//! What is known of a channel from asking: where it begins, what was fetched of it, what cannot be had.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use im_bridge_sdk::model::GapReason;

use super::channel::Place;
use super::{Book, FIRST_WAIT, Item, Message};
use crate::native::channel::ChannelId;

impl Book {
    /// A page of the channel's history, ascending; `is_all`: nothing follows. Answers how many of it were new.
    pub fn fetched(
        &mut self,
        id: &Arc<ChannelId>,
        page: Vec<Message>,
        is_all: bool,
        now: Duration,
    ) -> u64 {
        let mut count = 0;
        for message in page {
            let seq = message.seq;
            if seq == 0 {
                continue;
            }
            let channel = self.channel(id);
            channel.newest_id = channel.newest_id.max(message.message_id);
            if channel.next == 0 {
                let first = channel.held.keys().next().copied().unwrap_or(seq);
                channel.begin(first.min(seq) - 1);
            }
            match channel.place(seq) {
                Place::Safe | Place::OnTheWay => continue,
                Place::Late => {
                    channel.late(seq);
                    self.hold(&message);
                    self.ready.push_back(Item::Message(message));
                    count += 1;
                    continue;
                }
                Place::Ahead => {}
            }
            // What the server does not have between the last number and this one, it has no more.
            self.pass_over(id, seq, GapReason::NoHistory);
            let channel = self.channel(id);
            if channel.place(seq) == Place::Ahead && !channel.held.contains_key(&seq) {
                self.hold(&message);
                self.channel(id).held.insert(seq, Some(message));
                count += 1;
            }
            self.release(id);
        }
        if is_all {
            let channel = self.channel(id);
            channel.is_fetching = false;
            if channel.held.is_empty() {
                channel.fruitless = 0;
            } else if channel.fruitless > 0 {
                self.give_up(id, GapReason::NoHistory);
            } else {
                // Once more: what overtook it may have been faster than its own storing.
                channel.fruitless += 1;
                self.wait(id, now + FIRST_WAIT);
            }
        }
        count
    }

    /// To be told after what was fetched.
    pub fn tell_fetched(&mut self, id: &Arc<ChannelId>, numbers: RangeInclusive<u64>, count: u64) {
        self.ready.push_back(Item::Fetched {
            channel: Arc::clone(id),
            numbers,
            count,
        });
    }

    /// What is missing before what is held cannot be had.
    pub fn give_up(&mut self, id: &Arc<ChannelId>, reason: GapReason) {
        let channel = self.channel(id);
        channel.is_fetching = false;
        channel.fruitless = 0;
        while let Some(&first) = self.channel(id).held.keys().next() {
            self.pass_over(id, first, reason);
            self.release(id);
        }
        self.unwait(id);
    }

    /// Everything of the channel up to here is in safe hands already.
    pub fn start(&mut self, id: &Arc<ChannelId>, cursor: u64) {
        let channel = self.channel(id);
        if channel.next == 0 {
            // What was pushed meanwhile is not safe yet, and comes before what the caller knows.
            let first = channel.held.keys().next().copied();
            channel.start(first.map_or(cursor, |first| cursor.min(first - 1)));
            self.moved.insert(Arc::clone(id));
            self.release(id);
        }
    }

    /// The server says where a known channel stands. True when it counts anew: then it is not known any more, and whoever
    /// asks has to [`Self::start`] it.
    pub fn restarted(&mut self, id: &Arc<ChannelId>, last_seq: u64, last_id: i64) -> bool {
        let channel = self.channel(id);
        let is_anew = last_seq < channel.cursor && channel.counts_anew(last_seq, last_id);
        if is_anew {
            channel.forget();
        }
        is_anew
    }

    /// The channel is being fetched; false when it was already.
    pub fn fetch(&mut self, id: &Arc<ChannelId>) -> bool {
        !std::mem::replace(&mut self.channel(id).is_fetching, true)
    }

    /// A session ended: nothing is being fetched any more.
    pub fn end_fetching(&mut self, now: Duration) {
        let mut waiting = Vec::new();
        for (id, channel) in &mut self.channels {
            if std::mem::take(&mut channel.is_fetching) && !channel.held.is_empty() {
                waiting.push(Arc::clone(id));
            }
        }
        for id in waiting {
            self.wait(&id, now);
        }
    }

    /// Numbers up to `before` that are neither out nor held will not come.
    fn pass_over(&mut self, id: &Arc<ChannelId>, before: u64, reason: GapReason) {
        loop {
            self.release(id);
            let channel = self.channel(id);
            let end = channel
                .held
                .keys()
                .next()
                .map_or(before, |first| before.min(*first));
            if channel.next >= end {
                if channel.next >= before {
                    return;
                }
                continue;
            }
            let numbers = channel.next..=end - 1;
            channel.next = end;
            channel.miss(numbers.clone());
            if channel.safe(numbers.clone()) {
                self.moved.insert(Arc::clone(id));
            }
            self.ready.push_back(Item::Gap {
                channel: Arc::clone(id),
                numbers,
                reason,
            });
        }
    }
}
