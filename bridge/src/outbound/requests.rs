//! Requests and control of one account: the owner's subscriptions, which are the routing table.
//!
//! They exist while the account is held; without them a caller hears at once that nobody answers. What would be one too
//! many is answered `overloaded`, nothing is dropped silently.
//!
//! Not here: what a request does once it is taken (`account`, `flow`).

use super::Fail;
use super::account::{Arrival, Outbound};
use super::answer::Verdict;
use super::desk::Desk;
use super::flow::{Act, not_now};
use super::outcome::Outcome;
use super::result::{Reply, error_lines};
use super::work::{Intake, Origin, Work};
use crate::bus::clock::unix_ms;
use crate::bus::subjects::{ControlSubject, QUEUE_GROUP};
use crate::bus::{Kind, Subjects};
use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Subject, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use im_bridge_sdk::model::{
    AccountState, ControlVerb, Durable, ErrorCode, ErrorObject, Json, Level, ResultStatus, results,
};
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Changing a subscription waits for room in the client's channel.
const CLIENT_WITHIN: Duration = Duration::from_secs(2);
/// What was sent until a subscription ended arrives soon, unless the machine has no time for it.
const DRAINED_WITHIN: Duration = Duration::from_secs(6);

/// What the core answers itself.
pub trait Core: Send + Sync + 'static {
    /// What the account offers, for `info`. Its member `provider` is the adapter's.
    fn info(&self) -> BoxFuture<'_, Result<results::AccountInfo, ErrorObject>>;

    /// Hands the account, and all that share its shard, to another replica; what they are called.
    fn drain(&self) -> BoxFuture<'_, Result<Vec<String>, ErrorObject>>;

    /// Begins an account anew that was given up, or that has no instance: `reconnect` without anybody to ask.
    fn revive(&self) -> BoxFuture<'_, Result<(), ErrorObject>>;
}

/// A request as it arrived.
pub(super) struct Asked {
    kind: Kind,
    is_control: bool,
    message: Message,
    since_ms: i64,
    /// None: the replica has too many in hand.
    slot: Option<OwnedSemaphorePermit>,
}

impl Asked {
    pub(super) fn into_work(self, desk: &Desk) -> Work {
        let headers = self.message.headers.unwrap_or_default();
        let reply = self.message.reply;
        work(
            desk,
            self.kind,
            self.is_control,
            (&headers, &self.message.payload),
            (reply, self.slot),
            self.since_ms,
        )
    }
}

fn work(
    desk: &Desk,
    kind: Kind,
    is_control: bool,
    (headers, payload): (&HeaderMap, &Bytes),
    (reply, slot): (Option<Subject>, Option<OwnedSemaphorePermit>),
    since_ms: i64,
) -> Work {
    Work::read(Intake {
        kind,
        is_control,
        headers,
        payload,
        origin: Origin::Request { reply, _slot: slot },
        since_ms,
        commands_max_age: desk.gateway.commands_max_age,
    })
}

/// The subscriptions of one account. Dropping it leaves them to the server until the connection ends: end it.
pub struct Requests {
    task: Option<JoinHandle<()>>,
    stop: Arc<tokio::sync::Notify>,
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Requests {
    /// Requests reach `outbound` from now on.
    pub async fn subscribe(outbound: &Arc<Outbound>) -> Result<Self, SubscribeError> {
        let desk = &outbound.desk;
        let client = &desk.gateway.control;
        let subjects = &desk.gateway.subjects;
        let requests = subscribe(client, subjects.requests(&desk.account)).await?;
        let controls = subscribe(client, subjects.controls(&desk.account)).await?;
        // Whoever sees the account online may ask at once: any answer on this connection says that the server has the
        // subscriptions. One that is away gets them with the connection.
        let answer = desk.gateway.control_api.call::<IgnoredAny>("INFO", &());
        let _ = timeout(CLIENT_WITHIN, answer).await;
        let stop = Arc::new(tokio::sync::Notify::new());
        let pump = Pump {
            outbound: Arc::clone(outbound),
            stop: Arc::clone(&stop),
        };
        Ok(Self {
            task: Some(tokio::spawn(pump.run(requests, controls))),
            stop,
        })
    }

    /// Nobody is asked any more: the next caller hears "no responders". What was taken is answered.
    pub async fn end(mut self) {
        self.stop.notify_one();
        if let Some(task) = self.task.take() {
            // A panic in it was told by the runtime.
            let _ = task.await;
        }
    }
}

async fn subscribe(client: &Client, subject: Subject) -> Result<Subscriber, SubscribeError> {
    client
        .queue_subscribe(subject, QUEUE_GROUP.to_owned())
        .await
}

struct Pump {
    outbound: Arc<Outbound>,
    stop: Arc<tokio::sync::Notify>,
}

impl Pump {
    async fn run(self, mut requests: Subscriber, mut controls: Subscriber) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.notified() => break,
                // In boxes, because most of the time nobody asks.
                Some(message) = controls.next() => Box::pin(self.take(message, true)).await,
                Some(message) = requests.next() => Box::pin(self.take(message, false)).await,
                else => return,
            }
        }
        Box::pin(self.drain(requests, controls)).await;
    }

    async fn drain(&self, requests: Subscriber, controls: Subscriber) {
        let until = Instant::now() + DRAINED_WITHIN;
        for mut subscriber in [requests, controls] {
            // Not at once: what the server has sent by then would be dropped here, and its caller hear nothing. The server
            // removes it with the connection at the latest.
            let _ = timeout(CLIENT_WITHIN, subscriber.drain()).await;
            while let Some(message) = self.last(&mut subscriber, until).await {
                let is_control = kind(self.subjects(), &message.subject, true).is_some();
                self.take(message, is_control).await;
            }
        }
    }

    /// The next one of a subscription that ends; none at its end, and when nothing can come any more.
    async fn last(&self, subscriber: &mut Subscriber, until: Instant) -> Option<Message> {
        let client = &self.outbound.desk.gateway.control;
        loop {
            match timeout(CLIENT_WITHIN, subscriber.next()).await {
                Ok(next) => return next,
                Err(_) if client.connection_state() != State::Connected => return None,
                Err(_) if Instant::now() >= until => return None,
                Err(_) => {}
            }
        }
    }

    fn subjects(&self) -> &Subjects {
        &self.outbound.desk.gateway.subjects
    }

    async fn take(&self, message: Message, is_control: bool) {
        let desk = &self.outbound.desk;
        let account = &desk.account;
        if let Some(reply) = &message.reply
            && !self.subjects().may_be_answered(reply)
        {
            tracing::warn!(%account, ?reply, "a request wants its answer where only the bridge publishes; it is ignored");
            return;
        }
        let Some(kind) = kind(self.subjects(), &message.subject, is_control) else {
            return self.refuse_subject(&message).await;
        };
        let slot = Arc::clone(&desk.gateway.requests).try_acquire_owned().ok();
        let is_full = slot.is_none();
        let asked = Asked {
            kind,
            is_control,
            message,
            since_ms: unix_ms(),
            slot,
        };
        if is_full {
            return self.refuse(asked).await;
        }
        match self
            .outbound
            .arrivals
            .try_send(Arrival::Asked(Box::new(asked)))
        {
            Ok(()) => {}
            Err(TrySendError::Full(arrival) | TrySendError::Closed(arrival)) => {
                if let Arrival::Asked(asked) = arrival {
                    self.refuse(*asked).await;
                }
            }
        }
    }

    /// Told in the form of a result, as far as there is one: no command has such a name.
    async fn refuse_subject(&self, message: &Message) {
        let text = "the subject names no command; see the names of commands in docs/events.md";
        let error = ErrorObject::new(ErrorCode::BadRequest, true, text);
        let data = serde_json::json!({ "data": { "status": "error", "error": error } });
        let reply = message.reply.clone().map(|subject| Reply {
            subject,
            headers: error_lines(&error),
            body: data.to_string().into(),
        });
        self.outbound.desk.send(reply).await;
    }

    async fn refuse(&self, asked: Asked) {
        let desk = &self.outbound.desk;
        let work = asked.into_work(desk);
        let fail = work.fail.clone().unwrap_or_else(super::queue::overloaded);
        let mut verdict = Verdict::from(fail);
        desk.answer_only(&work, &mut verdict).await;
    }
}

fn kind(subjects: &Subjects, subject: &str, is_control: bool) -> Option<Kind> {
    if !is_control {
        return Some(subjects.parse_request(subject).ok()?.command);
    }
    match subjects.parse_control(subject).ok()? {
        ControlSubject::Account { verb, .. } => Some(Kind {
            resource: "account".parse().expect("a resource"),
            action: verb,
        }),
        ControlSubject::Plugin { .. } => None,
    }
}

impl Desk {
    /// A control verb: the core's, the adapter's, or both.
    pub(super) async fn control(&self, verb: ControlVerb, work: &mut Work) -> Act {
        if !self.hold.is_held() {
            return Act::Abandoned;
        }
        if work.data.options.dry_run {
            return Verdict::success(ResultStatus::Ok, None).into();
        }
        let answer = match verb {
            ControlVerb::Health => Ok(self.health(work).await),
            ControlVerb::Info => self.info(work).await,
            ControlVerb::Drain => self.drain().await,
            ControlVerb::Reconnect if !self.has_instance() => {
                let revived = self.core.revive().await;
                revived.map(|()| json(&results::Done::default()))
            }
            _ => return self.by_adapter(verb, work).await,
        };
        match answer {
            Ok(result) => Verdict::success(ResultStatus::Ok, Some(result)).into(),
            Err(error) => Verdict::error(error).into(),
        }
    }

    /// Whether there is anybody to ask.
    fn has_instance(&self) -> bool {
        let view = self.hands.view();
        let is_away = matches!(
            view.state,
            AccountState::Stopped
                | AccountState::Starting
                | AccountState::Unconfigured
                | AccountState::Failed
        );
        view.capabilities.is_some() && !is_away
    }

    fn level(&self, verb: ControlVerb) -> Level {
        let can = self.capabilities();
        can.map_or(Level::Rejected, |can| can.control.get(verb))
    }

    async fn by_adapter(&self, verb: ControlVerb, work: &mut Work) -> Act {
        if !self.has_instance() {
            return Verdict::from(not_now(Durable::Wait)).into();
        }
        if self.level(verb) <= Level::Dropped {
            let text = format!("the provider does not offer {verb}, by its capabilities");
            return Verdict::from(Fail::certain(ErrorCode::UnsupportedCommand, text)).into();
        }
        self.act(work).await
    }

    /// What the adapter adds to an answer of the core's; nothing, if it has nothing to say.
    async fn detail(&self, verb: ControlVerb, work: &mut Work) -> Option<serde_json::Value> {
        if !self.has_instance() || self.level(verb) < Level::Full {
            return None;
        }
        let handed = self.ask_adapter(work).await;
        match Outcome::of(&handed.ended) {
            Outcome::Success { result, .. } => serde_json::from_str(result.as_str()).ok(),
            _ => None,
        }
    }

    async fn health(&self, work: &mut Work) -> Json {
        let said = self.detail(ControlVerb::Health, work).await;
        let view = self.hands.view();
        let runs = view.durable() == Durable::Run && view.state != AccountState::Degraded;
        let says_ill = said.as_ref().is_some_and(|said| said["healthy"] == false);
        let detail = said.as_ref().and_then(|said| said.get("detail"));
        json(&results::Health {
            healthy: runs && !says_ill,
            state: view.state,
            detail: detail.map(json),
            degradations: Vec::new(),
        })
    }

    async fn info(&self, work: &mut Work) -> Result<Json, ErrorObject> {
        let mut info = self.core.info().await?;
        if let Some(said) = self.detail(ControlVerb::Info, work).await {
            info.provider = said.get("provider").map(json).or(info.provider);
            info.token_expires_at = said["token_expires_at"]
                .as_str()
                .and_then(|time| time.parse().ok())
                .or(info.token_expires_at);
        }
        Ok(json(&info))
    }

    async fn drain(&self) -> Result<Json, ErrorObject> {
        let accounts = self.core.drain().await?;
        Ok(json(&results::Drain {
            accounts,
            degradations: Vec::new(),
        }))
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Json {
    Json::new(value).expect("the model's maps have string keys")
}
