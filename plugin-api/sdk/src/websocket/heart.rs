//! Pings of one's own: a task that lives as long as the reader, also while nothing is read for want of credit.

use super::Error;
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
        // Boxed: between two pings, which is nearly always, the task then holds the sleep alone.
        if Box::pin(send(cx, &shared, operation)).await.is_err() {
            // The reader sees why.
            return;
        }
    }
}

async fn send(cx: &Context, shared: &Shared, operation: &'static str) -> Result<(), Error> {
    let mut op = cx.op(operation, Noise::Heartbeat);
    op.detail("ping sent");
    let sent = shared.write(vec![Frame::Ping(Bytes::new())]).await;
    match &sent {
        Ok(()) => {
            op.done();
        }
        Err(error) => {
            op.class(error.class());
            op.fail(error);
        }
    }
    sent
}
