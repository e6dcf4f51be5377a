//! WuKongIM: its own long connection, its HTTP API, and OpenChat's API in front of it.
//!
//! Receiving goes over the long connection, because neither API has any other way; or by the server's HTTP pushes.
//! Sending goes over the connection, whose answer says what became of the message, or by HTTP. Everything else is HTTP.
//!
//! * `config.rs`: the keys of an account. `describe.rs`: what it can.
//! * `native.rs`: the provider's protocols as types.
//! * `api.rs`: the two HTTP APIs.
//! * `session.rs`: bootstrap, connect, log in, catch up, read, acknowledge, drain. With `link.rs`, what waits to be
//!   written, and `book.rs`, what was seen of which channel.
//! * `inbound.rs`: from messages to events. `outbound.rs`: from commands to calls.
//! * `webhook.rs`: the server's HTTP pushes.
#![forbid(unsafe_code)]

mod api;
mod book;
mod config;
mod describe;
mod inbound;
mod link;
pub mod native;
mod outbound;
mod sent;
mod session;
mod webhook;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_bridge_sdk::{
    Adapter, Command, ConfigError, Context, Description, Fault, Gauge, Host, Metric, Outcome,
    Secret, Verdict, WebhookRequest, WebhookResponse,
};
use tokio::sync::Notify;

pub use config::Config;

use book::Book;
use link::Link;
use sent::SentRefs;
use session::{Confirms, Control, Login};

const PROVIDER: &str = "wukongim";

/// One account.
pub struct WukongIm {
    config: Config,
    account: String,
    link: Link,
    control: Control,
    /// Kept between sessions: events of the last one are settled during the next.
    book: Arc<Mutex<Book>>,
    /// An event was settled.
    settled: Arc<Notify>,
    /// What logging in needs and brought.
    login: Mutex<Login>,
    /// Client numbers of our own messages, to know their echoes.
    sent: Arc<Mutex<SentRefs>>,
    /// Messages accepted by HTTP that may still fail.
    confirms: Confirms,
    /// The last unread counts known.
    unread: Mutex<Option<outbound::Unread>>,
    metrics: Metrics,
}

struct Metrics {
    /// Packets passed over: what is not known yet, or had a wrong msgKey.
    skipped: im_bridge_sdk::Counter,
    pushes: im_bridge_sdk::Counter,
    healthy: Gauge,
}

/// Labels of the counters above.
mod label {
    pub const UNKNOWN: u16 = 0;
    pub const MSG_KEY: u16 = 1;
    pub const TAKEN: u16 = 0;
    pub const IGNORED: u16 = 1;
    pub const NONSENSE: u16 = 2;
}

impl Metrics {
    fn new(host: &Host) -> Self {
        Self {
            skipped: host.counter(
                &Metric::new(
                    "packets_skipped_total",
                    "Packets of the server that were passed over.",
                )
                .label("why", &["unknown", "msg_key"]),
            ),
            pushes: host.counter(
                &Metric::new("webhook_bodies_total", "HTTP pushes that had the secret.")
                    .label("body", &["taken", "ignored", "nonsense"]),
            ),
            healthy: host.gauge(&Metric::new(
                "api_healthy",
                "1 when the HTTP API says that it is well.",
            )),
        }
    }
}

impl Adapter for WukongIm {
    const PROVIDER: &'static str = PROVIDER;
    type Config = Config;

    fn describe() -> Description {
        describe::describe()
    }

    fn create(config: Config, host: &Host) -> Result<Self, ConfigError> {
        config.check()?;
        let login = Login::new(&config);
        Ok(Self {
            account: host.account().to_owned(),
            link: Link::default(),
            control: Control::default(),
            book: Arc::default(),
            settled: Arc::default(),
            login: Mutex::new(login),
            sent: Arc::default(),
            confirms: Confirms::default(),
            unread: Mutex::default(),
            metrics: Metrics::new(host),
            config,
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

    async fn webhook(&self, cx: &Context, request: WebhookRequest) -> WebhookResponse {
        webhook::webhook(self, cx, &request).await
    }
}

im_bridge_sdk::export_adapter!(WukongIm, runtime = Shared(2));

impl WukongIm {
    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.book)
    }

    /// The own uid, once it is known.
    fn uid(&self) -> Option<String> {
        locked(&self.login).uid.clone()
    }

    /// OpenChat's access token.
    fn access(&self) -> Option<Secret> {
        locked(&self.login).access.clone()
    }

    fn set_access(&self, token: Secret) {
        locked(&self.login).access = Some(token);
    }
}

/// No lock here guards more than plain values, so what a panic left is still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
