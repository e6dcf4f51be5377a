//! Heartbeats of the provider's protocol, and noticing that nobody answers them.

use std::time::Duration;

use im_bridge_sdk::{Context, Fault, Interval, Noise, Op};

use crate::native::Up;

pub struct Heart {
    interval: Interval,
    last_id: u64,
    /// The ping that was not answered yet.
    open: Option<Op>,
    /// Time without credit when it was sent.
    starved: Duration,
}

impl Heart {
    pub fn new(cx: &Context, every: Duration) -> Self {
        Self {
            interval: cx.interval(every),
            last_id: 0,
            open: None,
            starved: cx.starved(),
        }
    }

    /// Time for the next beat. Cancel safe.
    pub async fn beats(&mut self) {
        self.interval.tick().await;
    }

    /// The ping to write; a fault when the last one was not answered. Without credit nothing is read, so an answer that
    /// did not come meanwhile is not missing.
    pub fn beat(&mut self, cx: &Context) -> Result<Up, Fault> {
        let starved = std::mem::replace(&mut self.starved, cx.starved());
        if let Some(open) = self.open.take() {
            if starved == self.starved {
                open.fail("no answer");
                return Err(Fault::retry("silent", "the provider answers no heartbeat"));
            }
            open.done();
        }
        self.last_id += 1;
        self.open = Some(cx.op("heartbeat", Noise::Heartbeat));
        Ok(Up::Ping { id: self.last_id })
    }

    pub fn answered(&mut self, id: u64) {
        if id == self.last_id
            && let Some(open) = self.open.take()
        {
            open.done();
        }
    }
}
