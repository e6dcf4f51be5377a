//! Heartbeats, and noticing that nothing is heard any more. Any frame is a sign of life; its answer ends the operation.

use std::time::Duration;

use im_bridge_sdk::{Context, Interval, Noise, Op};

use super::Trouble;
use crate::Config;

pub struct Heart {
    interval: Interval,
    silent_max: u32,
    /// Beats in a row without a frame before the next.
    silent: u32,
    is_heard: bool,
    /// Time without credit at the last beat.
    starved: Duration,
    /// The beat that was not answered yet.
    open: Option<(String, Op)>,
}

impl Heart {
    pub fn new(cx: &Context, config: &Config) -> Self {
        Self {
            interval: cx.interval(config.heartbeat()),
            silent_max: config.silent_heartbeats,
            silent: 0,
            is_heard: true,
            starved: cx.starved(),
            open: None,
        }
    }

    /// Time for the next beat. Cancel safe.
    pub async fn beats(&mut self) {
        self.interval.tick().await;
    }

    /// A beat is written; a fault when nothing was heard for too many of them. While nothing is read, for want of credit
    /// or of room, silence says nothing.
    pub fn beat(&mut self, cx: &Context, mid: String, is_full: bool) -> Result<(), Trouble> {
        let starved = std::mem::replace(&mut self.starved, cx.starved());
        let is_deaf = is_full || starved != self.starved || !cx.has_credit();
        let is_heard = std::mem::replace(&mut self.is_heard, false);
        self.silent = if is_heard || is_deaf {
            0
        } else {
            self.silent + 1
        };
        if let Some((_, op)) = self.open.take() {
            if is_heard || is_deaf {
                op.done();
            } else {
                op.fail("no answer");
            }
        }
        if self.silent >= self.silent_max {
            let text = format!("nothing was heard for {} heartbeats", self.silent);
            return Err(Trouble::lost("silent", text));
        }
        self.open = Some((mid, cx.op("heartbeat", Noise::Heartbeat)));
        Ok(())
    }

    pub fn heard(&mut self) {
        self.is_heard = true;
    }

    /// The answer to a beat; true if it is one.
    pub fn answered(&mut self, mid: &str) -> bool {
        let Some((_, op)) = self.open.take_if(|(open, _)| open == mid) else {
            return false;
        };
        op.done();
        true
    }
}
