//! Pings of one's own: a task that lives as long as the reader, also while nothing is read for want of credit.

use super::options::Ping;
use super::shared::Shared;
use crate::{Context, Noise};
use bytes::Bytes;
use std::sync::{Arc, Weak};
use tokio_tungstenite::tungstenite::Message as Frame;

/// Starts the task.
pub(super) fn start(cx: &Context, shared: &Arc<Shared>, ping: Ping, operation: &'static str) {
    let weak = Arc::downgrade(shared);
    let own = cx.clone();
    cx.spawn(async move { beat(&own, &weak, ping, operation).await });
}

async fn beat(cx: &Context, shared: &Weak<Shared>, ping: Ping, operation: &'static str) {
    loop {
        cx.sleep(ping.every).await;
        // Held for one ping only, so that the connection can end between two.
        let Some(shared) = shared.upgrade().filter(|shared| shared.is_open()) else {
            return;
        };
        let mut op = cx.op(operation, Noise::Heartbeat);
        op.detail("ping sent");
        match shared.write(Frame::Ping(Bytes::new())).await {
            Ok(()) => {
                op.done();
            }
            Err(error) => {
                // The reader sees why.
                op.class(error.class());
                op.fail(&error);
                return;
            }
        }
    }
}
