//! Heartbeats, and noticing that nobody answers them: a connection that the server has given up stays open and mute.

use std::time::Duration;

use im_bridge_sdk::{Context, Fault, Interval, Noise, Op};

/// Heartbeats without a sign of life after which the connection is given up.
const UNANSWERED_MAX: u32 = 2;

pub struct Heart {
    interval: Interval,
    /// The ping that was not answered yet.
    open: Option<Op>,
    unanswered: u32,
    /// Time without credit when the last one was sent.
    starved: Duration,
}

impl Heart {
    pub fn new(cx: &Context, every: Duration) -> Self {
        Self {
            interval: cx.interval(every),
            open: None,
            unanswered: 0,
            starved: cx.starved(),
        }
    }

    /// Time for the next beat. Cancel safe.
    pub async fn beats(&mut self) {
        self.interval.tick().await;
    }

    /// A ping is to be written; a fault when too many were not answered. Without credit nothing is read, so an answer that
    /// did not come meanwhile is not missing.
    pub fn beat(&mut self, cx: &Context) -> Result<(), Fault> {
        let starved = std::mem::replace(&mut self.starved, cx.starved());
        if let Some(open) = self.open.take() {
            if starved == self.starved {
                open.fail("no answer");
                self.unanswered += 1;
            } else {
                open.done();
            }
        }
        if self.unanswered >= UNANSWERED_MAX {
            return Err(Fault::retry(
                "silent",
                format_args!("the server answers none of {UNANSWERED_MAX} heartbeats"),
            ));
        }
        self.open = Some(cx.op("heartbeat", Noise::Heartbeat));
        Ok(())
    }

    pub fn answered(&mut self) {
        self.heard();
        if let Some(open) = self.open.take() {
            open.done();
        }
    }

    /// Whoever pushes messages is not mute, however long its answers take.
    pub fn heard(&mut self) {
        self.unanswered = 0;
    }
}
