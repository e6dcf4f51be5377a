//! Publishes until the server has stored it: the table of what is on its way.
//!
//! What was accepted here is sent again, under the same id, until it is stored, refused for good, or its owner's lease is
//! lost; through reconnects, elections and restarts of the server. The id makes repeats one. Order is the caller's: at most
//! one publish in flight per channel.
//!
//! At most [`WINDOW`] messages are on their way; the next one waits. One inbox for all of them: the library's own future
//! starts its time-out when it is awaited, hears nothing of a disconnect, and costs twice as much.
//!
//! Not here: compare-and-set on keys, which must not be repeated blindly (`kv`).

mod table;

use super::api::{Api, ServerError, Which, header};
use super::connect::Connection;
use super::denied::Denied;
use super::hold::Hold;
use async_nats::{
    Client, HeaderMap, HeaderName, Message, PublishErrorKind, StatusCode, Subject, Subscriber,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
pub use table::ODD_ERRORS_MAX;
use table::{Answer, Due, Table, Token};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Messages on their way. Below what the client's subscription holds, so that no acknowledgement is dropped, and above what
/// one connection stores in a second.
pub const WINDOW: usize = 16_384;
/// While something is on its way; an empty table is not looked at.
const TICK: Duration = Duration::from_millis(50);
/// A publish waits for room in the client's channel; when that takes longer, the table sends later.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// A token in a reply subject, in hexadecimal digits.
const TOKEN_DIGITS: usize = 16;
/// Notices of a reconnect may be lost; this look at the connection is not.
const LOOK_AT_CONNECTION_EVERY: u32 = 20;

pub const MESSAGE_ID: &str = "Nats-Msg-Id";

/// Where a message is stored, and for how long the stream knows its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: Arc<str>,
    pub duplicate_window: Duration,
    /// What the server forbids is sent again for ever: somebody will mend the permissions, and until then nothing is lost.
    pub waits_for_permission: bool,
}

/// Lines of a message's header. One name may stand more than once.
pub type Headers = Vec<(Cow<'static, str>, Box<str>)>;

/// A message to store.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub subject: Subject,
    /// The same for every attempt and every observer of the same thing.
    pub message_id: Box<str>,
    /// All but the id.
    pub headers: Headers,
    pub payload: Bytes,
    pub stream: Target,
    /// While it is held the message is sent again; after that it is not.
    pub hold: Hold,
}

impl Outgoing {
    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(MESSAGE_ID, &*self.message_id);
        for (name, value) in &self.headers {
            match name {
                // A name that is known need not be copied.
                Cow::Borrowed(name) => map.append(HeaderName::from_static(name), &**value),
                Cow::Owned(name) => map.append(name.as_str(), &**value),
            }
        }
        map
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acked {
    Stored {
        sequence: u64,
    },
    /// The stream had it already.
    Duplicate {
        sequence: u64,
    },
    Refused(Refusal),
    /// Not sent again, because the lease is lost or the bridge ends. It may have been stored.
    Abandoned,
}

/// Why a message will never be stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the message is larger than its stream takes")]
    TooLarge,
    #[error("the server forbids this connection to publish it; see `nats_permission`")]
    Forbidden,
    #[error("the stream refuses the message: {description} ({err_code})")]
    Error { err_code: u32, description: String },
}

/// What keeps messages from being stored, for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody stores this subject: a cluster without leader for some seconds; after [`MISSING_AFTER`], no stream.
    NoStream,
    Full,
    Unavailable,
    Forbidden,
}

/// A stream that nobody answers for after this long does not exist (`nats_object_missing`).
const MISSING_AFTER: Duration = Duration::from_secs(30);
/// An election takes some seconds and mends itself.
const LASTING_AFTER: Duration = Duration::from_secs(10);

/// What keeps a stream from storing, and since when.
#[derive(Clone, Debug)]
pub struct Troubled {
    pub stream: Arc<str>,
    /// Of one message that waits for it.
    pub subject: Subject,
    pub trouble: Trouble,
    pub lasts: Duration,
}

impl Troubled {
    /// Section in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self.trouble {
            Trouble::Full => "bus_full",
            Trouble::Forbidden => "nats_permission",
            Trouble::NoStream if self.lasts >= MISSING_AFTER => "nats_object_missing",
            Trouble::NoStream | Trouble::Unavailable => "nats_unreachable",
        }
    }

    /// Whether a person has to hear of it: what passes by itself has not passed.
    pub fn is_lasting(&self) -> bool {
        match self.trouble {
            Trouble::Full | Trouble::Forbidden => true,
            Trouble::NoStream => self.lasts >= MISSING_AFTER,
            Trouble::Unavailable => self.lasts >= LASTING_AFTER,
        }
    }
}

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream, subject, ..
        } = self;
        match self.code() {
            "bus_full" => write!(
                f,
                "stream {stream} is full and takes nothing more; raise its max_mib or purge what was read"
            ),
            "nats_permission" => write!(
                f,
                "NATS forbids publishing to {subject}; see im-bridge streams permissions"
            ),
            "nats_object_missing" => write!(
                f,
                "stream {stream} does not exist; run im-bridge streams apply"
            ),
            _ => write!(
                f,
                "stream {stream} stores nothing; see whether its servers run"
            ),
        }
    }
}

/// The table at this moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub in_flight: usize,
    pub resends: u64,
    /// Each stream that gives trouble.
    pub troubles: Vec<Troubled>,
}

/// Resolves when the message is stored or never will be. Dropping it does not take the message back.
pub struct Ticket(oneshot::Receiver<Acked>);

impl Ticket {
    /// Cancel safe.
    pub async fn acked(&mut self) -> Acked {
        // The table ends only with its connection.
        (&mut self.0).await.unwrap_or(Acked::Abandoned)
    }
}

/// Clones share the table; its tasks end with the last one.
#[derive(Clone)]
pub struct AckTable {
    shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

struct Shared {
    client: Client,
    inbox: String,
    window: Arc<Semaphore>,
    table: Mutex<Table>,
    /// Something was put into a table that rested.
    filled: Notify,
}

struct Tasks([JoinHandle<()>; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the acknowledgement goes. Always as long, so that it is written into a buffer of exactly its size.
    fn reply(&self, token: Token) -> Subject {
        let mut reply = String::with_capacity(self.inbox.len() + 1 + TOKEN_DIGITS);
        reply.push_str(&self.inbox);
        let _ = write!(reply, ".{:0TOKEN_DIGITS$x}", token.to_bits()); // a string takes everything
        reply.into()
    }

    /// Sends once; an error says that it never can be.
    async fn send(&self, token: Token, message: &Outgoing) -> Result<(), Refusal> {
        let sent = self.sending(token, message);
        match timeout(SEND_WITHIN, sent).await {
            Ok(sent) => sent,
            // Too long in the queue: it will be due again.
            Err(_) => Ok(()),
        }
    }

    /// The same without waiting; none: the client has no room now.
    fn send_now(&self, token: Token, message: &Outgoing) -> Option<Result<(), Refusal>> {
        self.sending(token, message).now_or_never()
    }

    async fn sending(&self, token: Token, message: &Outgoing) -> Result<(), Refusal> {
        let sent = self.client.publish_with_reply_and_headers(
            message.subject.clone(),
            self.reply(token),
            message.header_map(),
            message.payload.clone(),
        );
        sent.await.or_else(|error| match error.kind() {
            // Sent all the same, it would end the connection.
            PublishErrorKind::MaxPayloadExceeded => Err(Refusal::TooLarge),
            PublishErrorKind::InvalidSubject => Err(Refusal::Error {
                err_code: 0,
                description: format!("`{}` is no subject", message.subject),
            }),
            PublishErrorKind::Send => Ok(()),
        })
    }
}

impl AckTable {
    pub async fn start(connection: &Connection) -> Result<Self, async_nats::SubscribeError> {
        let client = connection.client().clone();
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*")).await?;
        let shared = Arc::new(Shared {
            client,
            inbox,
            window: Arc::new(Semaphore::new(WINDOW)),
            table: Mutex::default(),
            filled: Notify::new(),
        });
        let reader = tokio::spawn(read(Arc::clone(&shared), acks));
        let resender = Resender {
            shared: Arc::clone(&shared),
            api: connection.api().clone(),
            connection: connection.clone(),
            denials: connection.denials(),
        };
        let resender = tokio::spawn(resender.run());
        Ok(Self {
            shared,
            _tasks: Arc::new(Tasks([reader, resender])),
        })
    }

    /// Waits for room in the window, then sends. Dropped before it returns, the message may or may not have been sent, and is
    /// not taken back.
    pub async fn publish(&self, message: Outgoing) -> Ticket {
        let message = Arc::new(message);
        let (done, acked) = oneshot::channel();
        let window = Arc::clone(&self.shared.window);
        let permit = match window.try_acquire_owned() {
            Ok(permit) => permit,
            // Whoever publishes keeps room for all that it may wait for, so what is rare lies in a box.
            Err(_) => Box::pin(Arc::clone(&self.shared.window).acquire_owned())
                .await
                .expect("the window is never closed"),
        };
        let (token, ends_rest) = self
            .shared
            .lock()
            .insert(Arc::clone(&message), done, permit, Instant::now())
            .expect("there are more slots than the window has room");
        // Before the sending, in which this may be dropped.
        if ends_rest {
            self.shared.filled.notify_one();
        }
        let sent = match self.shared.send_now(token, &message) {
            Some(sent) => sent,
            None => Box::pin(self.shared.send(token, &message)).await,
        };
        if let Err(refusal) = sent {
            self.shared.lock().finish(token, Acked::Refused(refusal));
        }
        Ticket(acked)
    }

    /// Ends everything that is on its way: the bridge ends, and its time is over.
    pub fn abandon_all(&self) {
        self.shared.lock().abandon_all();
    }

    pub fn status(&self) -> Status {
        let now = Instant::now();
        let table = self.shared.lock();
        Status {
            in_flight: table.len(),
            resends: table.resends,
            troubles: table.troubles(now),
        }
    }
}

async fn read(shared: Arc<Shared>, mut acks: Subscriber) {
    while let Some(ack) = acks.next().await {
        let token = ack
            .subject
            .strip_prefix(shared.inbox.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|token| u64::from_str_radix(token, 16).ok())
            .and_then(Token::from_bits);
        if let Some(token) = token {
            let answer = parse(&ack);
            shared.lock().answered(token, answer, Instant::now());
        }
    }
}

fn parse(ack: &Message) -> Answer {
    #[derive(Deserialize)]
    struct PubAck {
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        duplicate: bool,
        error: Option<ServerError>,
    }
    if ack.status == Some(StatusCode::NO_RESPONDERS) {
        return Answer::NoResponders;
    }
    match serde_json::from_slice::<PubAck>(&ack.payload) {
        Ok(PubAck {
            error: Some(error), ..
        }) => Answer::Error(error),
        Ok(PubAck { seq, duplicate, .. }) if seq > 0 => Answer::Stored {
            sequence: seq,
            is_duplicate: duplicate,
        },
        _ => Answer::Unreadable,
    }
}

/// Sends again what was not answered.
struct Resender {
    shared: Arc<Shared>,
    api: Api,
    connection: Connection,
    denials: broadcast::Receiver<Denied>,
}

impl Resender {
    async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connects = self.connection.connects();
        let (mut is_watched, mut hears_denials) = (true, true);
        let mut known = self.connection.server_client();
        let mut ticks = 0;
        loop {
            let rests = self.shared.lock().rests();
            tokio::select! {
                biased;
                changed = connects.changed(), if is_watched => {
                    is_watched = changed.is_ok();
                    known = self.connection.server_client();
                    self.shared.lock().reconnected(Instant::now());
                }
                // Also while nothing is on its way: an old one must not be taken for one of a later message.
                denial = self.denials.recv(), if hears_denials => match denial {
                    Ok(denied) => self.shared.lock().denied(&denied, Instant::now()),
                    // Either costs a reason in the status, nothing else.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => hears_denials = false,
                },
                () = self.shared.filled.notified(), if rests => tick.reset(),
                _ = tick.tick(), if !rests => {
                    ticks += 1;
                    if ticks % LOOK_AT_CONNECTION_EVERY == 0 {
                        let now = self.connection.server_client();
                        if now != known {
                            known = now;
                            self.shared.lock().reconnected(Instant::now());
                        }
                    }
                }
            }
            // Also while disconnected: it ends those whose lease is lost.
            let due = self.shared.lock().due(Instant::now());
            if self.connection.is_connected() {
                self.resend(due).await;
            }
        }
    }

    async fn resend(&self, due: Vec<Due>) {
        for what in due {
            match what {
                Due::Send(token, message) => self.again(token, &message).await,
                Due::Look(token, message) => match self.is_last(&message).await {
                    Some(Some(sequence)) => {
                        self.shared
                            .lock()
                            .finish(token, Acked::Duplicate { sequence });
                    }
                    Some(None) => self.again(token, &message).await,
                    None => self.shared.lock().postponed(token, Instant::now()),
                },
            }
            // What is left is still due when the connection is back.
            if !self.connection.is_connected() {
                return;
            }
        }
    }

    async fn again(&self, token: Token, message: &Outgoing) {
        if !self.shared.lock().sending(token, Instant::now()) {
            return;
        }
        if let Err(refusal) = self.shared.send(token, message).await {
            self.shared.lock().finish(token, Acked::Refused(refusal));
        }
    }

    /// The stream has forgotten the id by now. One publish is in flight per channel, so if it was stored, it is the last of
    /// its subject. Outer `None`: nobody answered.
    async fn is_last(&self, message: &Outgoing) -> Option<Option<u64>> {
        let last = self
            .api
            .message(&message.stream.name, Which::LastOf(&message.subject))
            .await
            .ok()?;
        Some(last.and_then(|last| {
            let id = header(&last.headers, MESSAGE_ID);
            (id == Some(&*message.message_id)).then_some(last.sequence)
        }))
    }
}
