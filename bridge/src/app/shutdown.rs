//! Ending in order: nothing new, finish what is in hand, give everything back, then close.
//!
//! Every step has a limit, so that the process ends by itself before it is killed. A second signal ends at once.

use super::service::Running;
use super::signals::Signals;
use crate::account::Ending;
use crate::admin::Health;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// For `stop`, for what is still on its way to NATS, and for the rest, after everything is drained.
const AFTER_DRAIN: Duration = Duration::from_secs(8);
const STOP_WITHIN: Duration = Duration::from_secs(3);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Before the end, when accounts have taken all of their time.
const BEFORE_END: Duration = Duration::from_secs(3);

/// How the service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was finished.
    Clean,
    /// Something was cut off; what, in a sentence.
    Cut(String),
}

pub(super) async fn shut_down(
    mut running: Running,
    health: &Health,
    within: Duration,
    signals: &mut Signals,
) -> End {
    let start = Instant::now();
    tracing::info!("shutting down");
    health.drain();
    running.follower.stop();
    let ending = Ending {
        drain: Some(within.saturating_sub(AFTER_DRAIN)),
        stop: STOP_WITHIN,
    };
    let end = tokio::select! {
        biased;
        () = signals.stop() => return End::Cut("a second signal ended it at once".to_owned()),
        () = give_back(&mut running, ending) => End::Clean,
        () = sleep_until(start + within.saturating_sub(BEFORE_END)) => {
            let left = running.base.directory.all();
            let names: Vec<String> = left.iter().map(|it| it.face.account.to_string()).collect();
            End::Cut(format!("not ended in time: {}", names.join(", ")))
        }
    };
    let end = match running.base.acks.status().in_flight {
        0 => end,
        count if end == End::Clean => {
            End::Cut(format!("{count} publishes without an acknowledgement"))
        }
        _ => end,
    };
    running.base.acks.abandon_all();
    running.base.bus.close(CLOSE_WITHIN / 2).await;
    match &end {
        End::Clean => tracing::info!(took_ms = took_ms(start), "ended"),
        End::Cut(what) => tracing::warn!(
            took_ms = took_ms(start),
            "ended, and something was cut off: {what}"
        ),
    }
    end
}

fn took_ms(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Every shard drains at the same time, and is free as soon as its accounts have ended.
async fn give_back(running: &mut Running, ending: Ending) {
    if running.keeper.is_finished() {
        return;
    }
    running.base.shards.shut_down().await;
    loop {
        tokio::select! {
            biased;
            Some(event) = running.events.recv() => running.on_shard(event, ending),
            _ = &mut running.keeper => return,
        }
    }
}
