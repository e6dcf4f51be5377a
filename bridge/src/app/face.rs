//! One owned account as everybody else sees it: its state, what it can, when it was last heard.
//!
//! All that an adapter or its supervisor says comes together here and becomes one state document, which changes on
//! transitions only. Readers see a whole document, never half of a change.
//!
//! Not here: writing the documents (`documents`), acting on silence (`liveness`).

use super::own_metrics::OwnMetrics;
use super::plugins::Adapter;
use super::signs::Signs;
use crate::account::Status;
use crate::bus::Account;
use crate::bus::clock::unix_ms;
use crate::inbound::Intake;
use crate::loader::host::{Instance, Report};
use crate::outbound::{Hands, View};
use crate::telemetry::redact::redact;
use im_bridge_plugin_api::abi;
use im_bridge_sdk::model::{
    AccountState, Capabilities, CapabilityDocument, Challenge, Connection, ErrorCode, ErrorObject,
    Owner, SelfUser, State, Time, UserAction,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What is published about an account.
#[derive(Clone, Debug)]
pub struct Documents {
    pub state: Arc<State>,
    /// None before there is an adapter.
    pub capabilities: Option<Arc<CapabilityDocument>>,
    /// Nothing comes after this.
    pub is_last: bool,
}

/// See the front page.
pub struct Face {
    pub account: Account,
    pub epoch: u64,
    pub hands: Arc<Hands>,
    pub signs: Signs,
    /// What its adapter counts itself.
    pub metrics: Arc<OwnMetrics>,
    owner: Owner,
    known: Mutex<Known>,
    documents: watch::Sender<Documents>,
    revived: Notify,
}

#[derive(Default)]
struct Known {
    adapter: Option<Arc<Adapter>>,
    capabilities: Option<Arc<Capabilities>>,
    instance: Weak<Instance>,
    /// Sessions tried since one was up.
    attempt: u32,
    transport: Option<String>,
    connected_at: Option<Time>,
    own: Option<SelfUser>,
    /// Sessions that were up.
    sessions: u64,
    intake: Option<Intake>,
    /// Of former intakes.
    gaps_before: u64,
}

/// What a report's detail may hold. Members of another form are passed over: the state counts, not its ornaments.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    challenge: Option<Value>,
    error: Option<Value>,
    capabilities: Option<Value>,
}

/// One state on its way into the document.
struct Next {
    state: AccountState,
    reason: Option<String>,
    action: UserAction,
    challenge: Option<Challenge>,
    error: Option<ErrorObject>,
    next_attempt: Option<Time>,
}

impl Next {
    fn new(state: AccountState) -> Self {
        Self {
            state,
            reason: None,
            action: state.action(),
            challenge: None,
            error: None,
            next_attempt: None,
        }
    }

    fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        self
    }
}

impl Face {
    /// Of an account that is about to start.
    pub fn new(account: Account, instance: &str, epoch: u64, hands: Arc<Hands>) -> Arc<Self> {
        let owner = Owner {
            instance: instance.to_owned(),
            epoch,
        };
        let state = State {
            state: AccountState::Starting,
            since: now(),
            reason: None,
            action: UserAction::None,
            own: None,
            connection: None,
            challenge: None,
            error: None,
            adapter: None,
            owner: Some(owner.clone()),
        };
        let documents = Documents {
            state: Arc::new(state),
            capabilities: None,
            is_last: false,
        };
        Arc::new(Self {
            account,
            epoch,
            hands,
            signs: Signs::default(),
            metrics: Arc::default(),
            owner,
            known: Mutex::default(),
            documents: watch::Sender::new(documents),
            revived: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is published, and its changes.
    pub fn documents(&self) -> watch::Receiver<Documents> {
        self.documents.subscribe()
    }

    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.documents.borrow().state)
    }

    pub fn capability_document(&self) -> Option<Arc<CapabilityDocument>> {
        self.documents.borrow().capabilities.clone()
    }

    /// The instance that runs now.
    pub fn instance(&self) -> Option<Arc<Instance>> {
        self.lock().instance.upgrade()
    }

    /// Sessions tried since one was up.
    pub fn failures(&self) -> u32 {
        self.lock().attempt
    }

    /// Sessions that were up so far.
    pub fn sessions(&self) -> u64 {
        self.lock().sessions
    }

    pub(super) fn set_instance(&self, instance: Option<&Arc<Instance>>) {
        self.lock().instance = instance.map(Arc::downgrade).unwrap_or_default();
    }

    /// From here on it is served by this adapter.
    pub(super) fn serve_with(&self, adapter: Arc<Adapter>) {
        let mut known = self.lock();
        known.adapter = Some(adapter);
        known.capabilities = None;
        self.patch(&mut known, None);
        self.show(&mut known, Next::new(AccountState::Starting));
    }

    /// No file serves it: there is none, or what there was is out of use, for this reason.
    pub(super) fn unserved(&self, barred: Option<&str>) {
        let mut known = self.lock();
        known.adapter = None;
        known.capabilities = None;
        let mut next = Next::new(AccountState::Failed);
        next = next.because(if barred.is_some() {
            "adapter_faulty"
        } else {
            "no_adapter"
        });
        next.error = barred.map(|text| ErrorObject::new(ErrorCode::AdapterError, true, text));
        self.show(&mut known, next);
    }

    /// Switched off by configuration.
    pub(super) fn disabled(&self) {
        let next = Next::new(AccountState::Stopped).because("disabled");
        self.show(&mut self.lock(), next);
    }

    /// Given up by this owner: the last document.
    pub(super) fn leave(&self) {
        let mut known = self.lock();
        let reason = self.state().reason.clone();
        let is_off = reason.as_deref() == Some("disabled");
        if !is_off {
            self.show(&mut known, Next::new(AccountState::Stopped));
        }
        self.documents
            .send_modify(|documents| documents.is_last = true);
    }

    /// Connected, and nothing is heard.
    pub(super) fn silent(&self) {
        let next = Next::new(AccountState::Degraded).because("silent");
        self.show(&mut self.lock(), next);
    }

    /// Something is heard again, and the adapter did not need to connect anew.
    pub(super) fn heard_again(&self) {
        let mut known = self.lock();
        if self.state().reason.as_deref() == Some("silent") {
            self.show(&mut known, Next::new(AccountState::Online));
        }
    }

    /// Somebody wants the account begun anew.
    pub(super) fn revive(&self) {
        self.revived.notify_one();
    }

    /// Returns when somebody does. Cancel safe.
    pub(super) async fn revived(&self) {
        self.revived.notified().await;
    }

    pub(super) fn set_intake(&self, intake: Intake) {
        let mut known = self.lock();
        known.gaps_before += known.intake.take().map_or(0, |former| former.gaps());
        known.intake = Some(intake);
    }

    /// Gaps that were announced.
    pub fn gaps(&self) -> u64 {
        let known = self.lock();
        known.gaps_before + known.intake.as_ref().map_or(0, Intake::gaps)
    }

    /// From the supervisor.
    pub(super) fn status(&self, status: Status) {
        let mut known = self.lock();
        let next = match status {
            Status::Starting => Next::new(AccountState::Starting),
            Status::Reported(report) => match self.reported(&mut known, &report) {
                Some(next) => next,
                None => return,
            },
            Status::Lost { pause, .. } => {
                let mut next = Next::new(AccountState::Starting);
                next.next_attempt = Some(after(pause));
                next
            }
            Status::Failed { reason, detail } => failed(reason, &detail),
            // Why it ended, and what follows, is said by whoever ended it.
            Status::Stopped => return,
        };
        self.show(&mut known, next);
    }

    fn reported(&self, known: &mut Known, report: &Report) -> Option<Next> {
        let state = AccountState::from_abi(report.state.0);
        if report.state == abi::State::PANICKED {
            return None;
        }
        let detail: Detail = serde_json::from_str(report.detail()).unwrap_or_default();
        if detail.capabilities.is_some() {
            self.patch(known, detail.capabilities.as_ref());
        }
        if !report.self_id().is_empty() {
            known.own = Some(SelfUser {
                user_id: report.self_id().to_owned(),
                name: None,
            });
        }
        if !report.transport().is_empty() {
            known.transport = Some(report.transport().to_owned());
        }
        match state {
            AccountState::LoggingIn | AccountState::Connecting => {
                let before = self.state().state;
                if !matches!(before, AccountState::LoggingIn | AccountState::Connecting) {
                    known.attempt = known.attempt.saturating_add(1);
                }
                known.connected_at = None;
            }
            AccountState::CatchingUp | AccountState::Online if known.connected_at.is_none() => {
                known.connected_at = Some(now());
                known.attempt = 0;
                known.sessions += 1;
                self.signs.heard();
            }
            AccountState::CatchingUp | AccountState::Online | AccountState::Degraded => {}
            _ => known.connected_at = None,
        }
        let mut next = Next::new(state).because(report.reason());
        next.challenge = detail
            .challenge
            .and_then(|it| serde_json::from_value(it).ok());
        next.error = detail.error.and_then(|it| serde_json::from_value(it).ok());
        next.next_attempt = report.next_attempt_ms.map(Time::from_ms);
        Some(next)
    }

    /// What the account can: the adapter's general answer, changed by this.
    fn patch(&self, known: &mut Known, patch: Option<&Value>) {
        let Some(adapter) = &known.adapter else {
            return;
        };
        let offer = match adapter.offer(patch) {
            Ok(offer) => offer,
            Err(error) => {
                let account = &self.account;
                tracing::warn!(%account, %error, "reported capabilities fit no account; the ones before stay");
                return;
            }
        };
        known.capabilities = Some(offer.capabilities);
        self.documents.send_if_modified(|documents| {
            let before = documents.capabilities.as_ref();
            let is_new = before.is_none_or(|before| before.revision != offer.document.revision);
            documents.capabilities = Some(offer.document);
            is_new
        });
    }

    fn show(&self, known: &mut Known, next: Next) {
        let connection = known.transport.clone().map(|transport| Connection {
            transport,
            attempt: known.attempt,
            connected_at: known.connected_at,
            last_frame_at: self.signs.last_frame(),
            last_event_at: self.signs.last_event(),
            next_attempt_at: next.next_attempt,
        });
        let state = State {
            state: next.state,
            since: now(),
            reason: next.reason,
            action: next.action,
            own: known.own.clone(),
            connection,
            challenge: next.challenge,
            error: next.error.map(|mut error| {
                // What a provider or an adapter says may repeat what it was told.
                error.message = redact(&error.message).into_owned();
                error
            }),
            adapter: known.adapter.as_ref().map(|adapter| adapter.build()),
            owner: Some(self.owner.clone()),
        };
        self.hands.show(View {
            state: state.state,
            capabilities: known.capabilities.clone(),
        });
        self.documents.send_if_modified(|documents| {
            let before = &documents.state;
            if is_same(before, &state) {
                return false;
            }
            if before.state != state.state || before.reason != state.reason {
                let next_state = state.state;
                let account = &self.account;
                let (state, reason) = (state.state.as_str(), state.reason.as_deref());
                // An outage is told when it begins and when it ends, not at each attempt in between.
                if is_trying(&before.state) && is_trying(&next_state) {
                    tracing::debug!(%account, state, reason, "account");
                } else {
                    tracing::info!(%account, state, reason, "account");
                }
            }
            let since = if before.state == state.state && before.reason == state.reason {
                before.since
            } else {
                state.since
            };
            documents.state = Arc::new(State { since, ..state });
            true
        });
    }
}

/// Nothing that a reader would act upon is different.
fn is_same(one: &State, other: &State) -> bool {
    let bare = |state: &State| {
        let mut state = state.clone();
        state.since = Time::from_ms(0);
        if let Some(connection) = &mut state.connection {
            connection.last_frame_at = None;
            connection.last_event_at = None;
        }
        state
    };
    bare(one) == bare(other)
}

/// An account that was given up: by its adapter's faults, or for its configuration.
fn failed(reason: &'static str, detail: &[u8]) -> Next {
    if reason == "adapter_faulty" {
        let mut next = Next::new(AccountState::Failed).because(reason);
        let text = "the adapter failed three times within ten minutes; see the log";
        next.error = Some(ErrorObject::new(ErrorCode::AdapterError, true, text));
        return next;
    }
    let said: Value = serde_json::from_slice(detail).unwrap_or_default();
    let message = said["message"]
        .as_str()
        .unwrap_or("the configuration was refused");
    let mut error = ErrorObject::new(ErrorCode::BadParam, true, message);
    error.path = said["pointer"].as_str().map(str::to_owned);
    let mut next = Next::new(AccountState::Unconfigured).because(reason);
    next.error = Some(error);
    next
}

fn now() -> Time {
    Time::from_ms(unix_ms())
}

fn after(pause: Duration) -> Time {
    let ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    Time::from_ms(unix_ms().saturating_add(ms))
}

/// A session is wanted and not there, for the second time at least if the state before was one of these, too.
fn is_trying(state: &AccountState) -> bool {
    matches!(state, AccountState::Connecting | AccountState::Backoff)
}
