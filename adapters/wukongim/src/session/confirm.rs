//! What became of messages that the server accepted by HTTP: it answers before it has checked or stored anything.
//!
//! The echo on the connection tells that a message is stored. Where none came, the server is asked; a message that is not
//! there after so long has failed, and an event says so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use im_bridge_sdk::Context;
use tokio::sync::Notify;

use crate::api::Call;
use crate::native::channel::ChannelId;
use crate::{WukongIm, inbound, locked};

/// The server stores within milliseconds; much later than that nothing comes any more.
const CONFIRM_AFTER: Duration = Duration::from_secs(10);

/// Messages waited for at a time; beyond, nobody looks whether they failed.
const CONFIRMS_MAX: usize = 512;

#[derive(Debug)]
struct Confirm {
    at: Duration,
    channel: Arc<ChannelId>,
    client_ref: String,
}

#[derive(Default)]
pub struct Confirms {
    waiting: Mutex<VecDeque<Confirm>>,
    changed: Notify,
}

impl Confirms {
    pub fn expect(&self, cx: &Context, channel: &Arc<ChannelId>, client_ref: &str) {
        let mut waiting = locked(&self.waiting);
        if waiting.len() < CONFIRMS_MAX {
            waiting.push_back(Confirm {
                at: cx.elapsed() + CONFIRM_AFTER,
                channel: Arc::clone(channel),
                client_ref: client_ref.to_owned(),
            });
        }
        drop(waiting);
        self.changed.notify_waiters();
    }

    async fn next(&self) -> Confirm {
        loop {
            // Before the look: a change between look and wait must not be missed.
            let changed = self.changed.notified();
            if let Some(next) = locked(&self.waiting).pop_front() {
                return next;
            }
            changed.await;
        }
    }
}

/// Looks after them for as long as the session lasts.
pub async fn watch(wukongim: &WukongIm, cx: &Context) {
    loop {
        let next = wukongim.confirms.next().await;
        cx.sleep(next.at.saturating_sub(cx.elapsed())).await;
        if !locked(&wukongim.sent).take_unseen(&next.client_ref) {
            continue;
        }
        Box::pin(look(wukongim, cx, &next)).await;
    }
}

/// Asks for it, and tells when it is nowhere.
async fn look(wukongim: &WukongIm, cx: &Context, confirm: &Confirm) {
    let (Some(native), Some(me)) = (wukongim.native(cx), wukongim.uid()) else {
        return;
    };
    let (channel, client_ref) = (&confirm.channel, confirm.client_ref.as_str());
    let found = native
        .messages(Call::OUTCOME, &me, channel, &[], &[client_ref])
        .await;
    match found {
        Ok(found) if found.is_empty() => {
            cx.send(inbound::failed(&me, channel, client_ref)).await;
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "whether a message was stored is not known"),
    }
}
