//! What goes into the book and comes out of it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use im_bridge_sdk::model::{Delivery, GapReason};

use crate::native::channel::ChannelId;
use crate::native::packet::{Flags, RecvAck};

/// An acknowledgement and the session that can still use it.
pub type Owed = (u64, RecvAck);

/// A message, pushed or fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub channel: Arc<ChannelId>,
    /// 0: not stored by the server, or outside of the order.
    pub seq: u64,
    pub message_id: i64,
    pub from_uid: String,
    pub client_msg_no: String,
    pub time_ms: i64,
    pub flags: Flags,
    pub setting: u8,
    pub topic: String,
    pub expire_s: u32,
    pub payload: Vec<u8>,
    pub delivery: Delivery,
    /// Owed to the server by this session once it is stored.
    pub ack: Option<Owed>,
}

impl Message {
    /// Its number does not count in the channel that it shows.
    pub fn is_outside(&self) -> bool {
        self.seq == 0 || self.flags.has(Flags::SYNC_ONCE)
    }

    /// Its place in the channel; 0: none.
    pub fn number(&self) -> u64 {
        // What was fetched is in the channel's history, so its number is the channel's.
        if self.delivery == Delivery::Live && self.is_outside() {
            0
        } else {
            self.seq
        }
    }
}

/// What is to go out.
#[derive(Debug, PartialEq)]
pub enum Item {
    Message(Message),
    /// These numbers of the channel could not be had.
    Gap {
        channel: Arc<ChannelId>,
        numbers: RangeInclusive<u64>,
        reason: GapReason,
    },
    /// So many messages of the channel were fetched.
    Fetched {
        channel: Arc<ChannelId>,
        numbers: RangeInclusive<u64>,
        count: u64,
    },
}

/// What became of a message that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It will go out.
    Taken,
    /// It is stored already: the server may be told.
    Safe,
    /// It is on its way already; the server is told when that is stored.
    OnTheWay,
}

/// Numbers to be fetched: from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    pub channel: Arc<ChannelId>,
    pub from: u64,
}
