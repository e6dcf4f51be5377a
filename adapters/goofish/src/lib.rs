//! Goofish (Xianyu, 闲鱼) as its web client sees it: chats between buyers and sellers about an item.
//!
//! The login is a browser's cookies; with them mtop gives a token, the token registers a WebSocket, and over that everything
//! is said. README.md beside this package tells what is offered, and which test proves it.
//!
//! * `config.rs`: the keys of an account.
//! * `native.rs`: the provider's protocol as types.
//! * `session.rs`: connect, register, catch up, read, acknowledge, drain. With `login.rs`, `cookies.rs`, `link.rs`, `progress.rs`.
//! * `inbound.rs`: from what the provider says to events.
//! * `outbound.rs`: from commands to what the provider is asked. With `sends.rs`, `peers.rs`.
#![forbid(unsafe_code)]

mod config;
mod cookies;
mod describe;
mod inbound;
mod link;
mod login;
mod metrics;
pub mod native;
mod outbound;
mod peers;
mod progress;
mod sends;
mod session;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_bridge_sdk::model::{Delivery, Event};
use im_bridge_sdk::{
    Adapter, Command, ConfigError, Context, Description, Fault, Host, Outcome, State, Verdict,
};
use serde_json::json;
use tokio::sync::Notify;

pub use config::{Config, SyncFrom};

use link::Link;
use login::Login;
use metrics::Metrics;
use native::message::Message;
use peers::Peers;
use progress::{Acknowledgement, Progress};
use sends::Sends;

const PROVIDER: &str = "goofish";

/// How far in the future a message may be stored: more is a broken clock, which must not move the cursor.
const FUTURE_MS: i64 = 300_000;

/// One account. What is here outlives a session: events of the last one are settled during the next.
pub struct Goofish {
    config: Config,
    metrics: Metrics,
    link: Link,
    login: Mutex<Login>,
    progress: Arc<Mutex<Progress>>,
    sends: Mutex<Sends>,
    peers: Mutex<Peers>,
    /// Last known unread messages by conversation.
    unread: Mutex<outbound::Unread>,
    /// Own user id, once known.
    me: Mutex<Arc<str>>,
    /// An event was settled, or a send answered.
    settled: Arc<Notify>,
    /// Attempts since the account was last online.
    attempts: AtomicU32,
    is_to_log_out: AtomicBool,
    /// A token was good since the last one was refused.
    has_registered: AtomicBool,
    /// Something was missed that the history may tell.
    wants_resync: Arc<AtomicBool>,
}

impl Adapter for Goofish {
    const PROVIDER: &'static str = PROVIDER;
    type Config = Config;

    fn describe() -> Description {
        describe::describe()
    }

    fn create(config: Config, host: &Host) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            metrics: Metrics::new(host),
            link: Link::default(),
            login: Mutex::default(),
            progress: Arc::default(),
            sends: Mutex::default(),
            peers: Mutex::default(),
            unread: Mutex::default(),
            me: Mutex::new(Arc::from("")),
            settled: Arc::default(),
            attempts: AtomicU32::new(0),
            is_to_log_out: AtomicBool::new(false),
            has_registered: AtomicBool::new(false),
            wants_resync: Arc::default(),
        })
    }

    async fn run(&self, cx: &Context) -> Result<(), Fault> {
        session::run(self, cx).await
    }

    async fn execute(&self, cx: &Context, command: Command) -> Outcome {
        outbound::execute(self, cx, &command).await
    }

    async fn verify(&self, cx: &Context, command: Command) -> Verdict {
        outbound::verify(self, cx, &command).await
    }
}

im_bridge_sdk::export_adapter!(Goofish, runtime = Shared(2));

impl Goofish {
    fn me(&self) -> Arc<str> {
        Arc::clone(&locked(&self.me))
    }

    fn set_me(&self, me: String) {
        *locked(&self.me) = Arc::from(me);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        locked(&self.progress)
    }

    /// The provider's clock, as far as it is known.
    fn provider_ms(&self, cx: &Context) -> i64 {
        cx.now_ms().saturating_add(locked(&self.sends).clock_ms)
    }

    /// When the provider stored a message, for the cursor.
    fn stored_ms(&self, cx: &Context, message: &Message) -> i64 {
        let now_ms = self.provider_ms(cx);
        message.at_ms.unwrap_or(now_ms).min(now_ms + FUTURE_MS)
    }

    /// A message as an event; an own one with whose it is.
    fn message_event(&self, me: &str, message: &Message, delivery: Delivery) -> Event {
        let is_own = message.sender.as_deref() == Some(me);
        let author = is_own.then(|| locked(&self.sends).author(message));
        inbound::message(me, message, author.as_ref(), delivery)
    }

    /// A state of a registered session, with what is special about this account.
    fn online(&self, state: State) -> State {
        let rate = json!({ "per_s": self.config.send_per_s, "burst": self.config.send_burst });
        let state = state.self_id(&*self.me()).transport("websocket");
        state.capabilities(json!({ "limits": { "rate": rate } }))
    }

    /// One more attempt; the number of it.
    fn attempts_count(&self) -> u32 {
        self.attempts
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    fn attempts_reset(&self) {
        self.attempts.store(0, Ordering::Relaxed);
    }

    fn log_out(&self) {
        self.is_to_log_out.store(true, Ordering::Relaxed);
    }

    /// Told once: whoever asks for a session afterwards gets one.
    fn take_log_out(&self) -> bool {
        self.is_to_log_out.swap(false, Ordering::Relaxed)
    }

    fn wants_resync(&self) {
        self.wants_resync.store(true, Ordering::Relaxed);
    }

    fn set_registered(&self) {
        self.has_registered.store(true, Ordering::Relaxed);
    }

    /// Told once.
    fn take_registered(&self) -> bool {
        self.has_registered.swap(false, Ordering::Relaxed)
    }

    fn take_resync(&self) -> bool {
        self.wants_resync.swap(false, Ordering::Relaxed)
    }

    /// What happens once an event is settled, which may be after the session.
    fn after_settle(&self) -> AfterSettle {
        AfterSettle {
            link: self.link.clone(),
            progress: Arc::clone(&self.progress),
            settled: Arc::clone(&self.settled),
            wants_resync: Arc::clone(&self.wants_resync),
        }
    }
}

struct AfterSettle {
    link: Link,
    progress: Arc<Mutex<Progress>>,
    settled: Arc<Notify>,
    wants_resync: Arc<AtomicBool>,
}

impl AfterSettle {
    fn acknowledge(&self, acknowledgement: Acknowledgement) {
        self.link
            .write_on(acknowledgement.connection, acknowledgement.text);
        locked(&self.progress).acknowledged(acknowledgement.max_pts);
    }

    fn wants_resync(&self) {
        self.wants_resync.store(true, Ordering::Relaxed);
    }
}

/// No lock here guards more than plain values, so what a panic left is still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What tests of the package look at beside the protocol: events, without a session.
#[doc(hidden)]
pub mod testing {
    use im_bridge_sdk::model::{Delivery, RawDirection};

    use crate::inbound;
    use crate::native::item::Item;

    /// `data` of the event that an item becomes.
    #[must_use]
    pub fn event(me: &str, item: &Item) -> Option<Vec<u8>> {
        let event = match item {
            Item::Message(message) => Some(inbound::message(me, message, None, Delivery::Live)),
            other => inbound::other(me, other, None),
        };
        let mut payload = Vec::new();
        event?.write_payload(&mut payload);
        Some(payload)
    }

    /// `data` of a raw frame's event.
    #[must_use]
    pub fn raw_event(me: &str, text: &str) -> Vec<u8> {
        let mut payload = Vec::new();
        inbound::raw::frame(me, RawDirection::In, text).write_payload(&mut payload);
        payload
    }
}
