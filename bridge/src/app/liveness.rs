//! "Connected" is not "alive": notices accounts that hear nothing, and has them healed.
//!
//! Silence is told (`degraded`, `silent`) and the adapter is asked to connect again; after three times in a row without a
//! sign of life the instance is made anew. Time in which the adapter may not read is no silence. A canary asks accounts
//! that are quiet by nature something cheap; two questions in a row without an answer are silence.
//!
//! Not here: what counts as a sign of life (`outlet`).

use super::face::Face;
use crate::bus::clock::unix_ms;
use crate::config::types::BridgePart;
use crate::loader::host::{Command, Window};
use bytes::Bytes;
use im_bridge_plugin_api::abi::Trace;
use im_bridge_sdk::model::{AccountState, Level};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Without a figure of the account's own: three heartbeats of half a minute.
const SILENCE_DEFAULT: Duration = Duration::from_secs(90);
/// Looks within one silence: it is noticed at most a quarter late.
const LOOKS: u32 = 4;
/// So many silences in a row, and the instance is given up.
const SILENCES_MAX: u32 = 3;
/// An adapter that does not connect again within this is not going to.
const RECONNECT_WITHIN: Duration = Duration::from_secs(30);
/// So many unanswered canaries in a row are silence.
const CANARIES_MAX: u32 = 2;

/// What is to be done about an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// The adapter was asked to connect again.
    Asked,
    /// Make the instance anew.
    Anew,
}

/// Watches one account for the life of one instance after the other.
pub struct Liveness {
    face: Arc<Face>,
    window: Window,
    silence: Duration,
    canary: Option<Duration>,
    next_look: Instant,
    next_canary: Instant,
    /// When something was done about silence last.
    acted: Option<Instant>,
    silences: u32,
    canaries: u32,
    asked: u64,
}

impl Liveness {
    pub fn new(face: Arc<Face>, part: &BridgePart, window: Window) -> Self {
        let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        let silence = seconds(part.silence_s).unwrap_or(SILENCE_DEFAULT);
        let canary = seconds(part.canary_s);
        let now = Instant::now();
        Self {
            face,
            window,
            silence,
            canary,
            next_look: now + silence / LOOKS,
            next_canary: now + canary.unwrap_or(silence),
            acted: None,
            silences: 0,
            canaries: 0,
            asked: 0,
        }
    }

    /// Returns when something has to be done. Cancel safe.
    pub async fn watch(&mut self) -> Remedy {
        loop {
            match self.canary {
                Some(_) if self.next_canary < self.next_look => {
                    sleep_until(self.next_canary).await;
                    self.ask_canary();
                }
                _ => {
                    sleep_until(self.next_look).await;
                    self.next_look = Instant::now() + self.silence / LOOKS;
                    if let Some(remedy) = self.look() {
                        return remedy;
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Option<Remedy> {
        let silent_for = self.face.signs.silent_for();
        let since_act = self.acted.map(|at| at.elapsed());
        if since_act.is_some_and(|since| silent_for < since) {
            // Heard since: what was done has helped, or was not needed.
            self.silences = 0;
            self.acted = None;
            self.face.heard_again();
        }
        let state = self.face.state().state;
        let is_connected = matches!(
            state,
            AccountState::CatchingUp | AccountState::Online | AccountState::Degraded
        );
        if !is_connected || self.is_starved() {
            return None;
        }
        let is_silent = silent_for >= self.silence || self.canaries >= CANARIES_MAX;
        let was_done = since_act.is_some_and(|since| since < self.silence);
        if !is_silent || was_done {
            return None;
        }
        self.canaries = 0;
        self.acted = Some(Instant::now());
        self.silences += 1;
        self.face.silent();
        let (account, silences) = (&self.face.account, self.silences);
        tracing::warn!(%account, silent_s = silent_for.as_secs(), silences, "connected, and nothing is heard");
        if self.silences >= SILENCES_MAX {
            self.silences = 0;
            return Some(Remedy::Anew);
        }
        self.order("account.reconnect", RECONNECT_WITHIN);
        Some(Remedy::Asked)
    }

    /// An adapter without credit does not read, so it hears nothing.
    fn is_starved(&self) -> bool {
        self.face.instance().is_some_and(|instance| {
            let held = instance.credits();
            held.held_events >= self.window.events || held.held_bytes >= self.window.bytes
        })
    }

    fn ask_canary(&mut self) {
        let every = self.canary.unwrap_or(self.silence);
        self.next_canary = Instant::now() + every;
        let is_answered = self.face.signs.silent_for() < every;
        if is_answered {
            self.canaries = 0;
            return;
        }
        if self.asked > 0 {
            self.canaries += 1;
        }
        let Some(can) = self.face.hands.view().capabilities else {
            return;
        };
        let has_health = can.control.get_name("health") >= Level::Partial;
        let name = if has_health {
            "account.health"
        } else {
            "unread.get"
        };
        self.asked += 1;
        self.order(name, every);
    }

    /// Says something to the adapter. Its answer is a sign of life like any other.
    fn order(&self, name: &str, within: Duration) {
        let Some(instance) = self.face.instance() else {
            return;
        };
        let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        let now_ms = unix_ms();
        let command = Command {
            name: name.into(),
            channel: None,
            idempotency_key: format!("liveness-{now_ms}").into(),
            body: Bytes::from_static(br#"{"params":{},"options":{}}"#),
            deadline_ms: now_ms.saturating_add(within_ms),
            is_redelivered: false,
            trace: Trace::NONE,
        };
        // Full of commands that never end, it is given up for those.
        let _ = instance.execute(command);
    }
}
