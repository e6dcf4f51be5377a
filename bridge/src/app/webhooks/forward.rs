//! A request that reached another replica than its account: asked of the owner, and answered by it, over NATS.
//!
//! The owner's subscription says who has the account; without it the sender is told at once to come again.

use super::answer::Answer;
use super::local;
use crate::app::base::Base;
use crate::app::face::Face;
use crate::bus::clock::unix_ms;
use crate::bus::replies::AskError;
use crate::bus::subjects::QUEUE_GROUP;
use crate::bus::{Account, Bus};
use crate::loader::host::WebhookRequest;
use crate::telemetry::Telemetry;
use async_nats::{Client, HeaderMap, Message, Subscriber};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const METHOD: &str = "Im-Hook-Method";
const PATH: &str = "Im-Hook-Path";
const QUERY: &str = "Im-Hook-Query";
const PEER: &str = "Im-Hook-Peer";
const DEADLINE: &str = "Im-Hook-Deadline";
/// One for each header, `<name>: <value>`.
const HEADER: &str = "Im-Hook-Header";
const STATUS: &str = "Im-Hook-Status";

/// An answer that cannot be sent within this time reaches nobody who still waits.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Asks the owner.
pub async fn ask(
    bus: &Bus,
    account: &Account,
    request: WebhookRequest,
    within: Duration,
) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(METHOD, &*request.method);
    headers.insert(DEADLINE, request.deadline_ms.to_string());
    for (name, value) in [
        (PATH, &request.path),
        (QUERY, &request.query),
        (PEER, &request.peer),
    ] {
        if !value.is_empty() {
            headers.insert(name, &**value);
        }
    }
    for (name, value) in &request.headers {
        headers.append(HEADER, format!("{name}: {value}"));
    }
    let subject = bus.subjects.webhook(account);
    let replies = bus.data.replies();
    match replies
        .ask(subject, Some(headers), request.body, within)
        .await
    {
        Ok(message) => answered(message),
        Err(AskError::Timeout { .. }) => Answer::by_us(StatusCode::GATEWAY_TIMEOUT),
        Err(
            AskError::NoResponders { .. }
            | AskError::NotSent { .. }
            | AskError::Forbidden { .. }
            | AskError::TooMany,
        ) => Answer::again(),
    }
}

fn answered(message: Message) -> Answer {
    let Some(headers) = message.headers else {
        return Answer::by_us(StatusCode::BAD_GATEWAY);
    };
    let status = headers.get(STATUS).and_then(|it| it.as_str().parse().ok());
    let Some(status) = status else {
        return Answer::by_us(StatusCode::BAD_GATEWAY);
    };
    let sent = headers.get_all(HEADER).filter_map(|line| {
        let (name, value) = line.as_str().split_once(": ")?;
        let name: HeaderName = name.parse().ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    });
    Answer::new(status, sent, message.payload)
}

/// The owner's side, of one account. Ended by `end`; dropped, it ends without answering what is in hand.
pub struct Subscription {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscription {
    /// Other replicas reach the account from now on. None: nobody listens for webhooks, or NATS is away for good.
    pub async fn start(base: &Base, face: &Arc<Face>) -> Option<Self> {
        if base.webhook.listen.is_empty() {
            return None;
        }
        let client = base.bus.data.client().clone();
        let subject = base.bus.subjects.webhook(&face.account);
        let subscribed = client.queue_subscribe(subject, QUEUE_GROUP.to_owned());
        let asked = match subscribed.await {
            Ok(asked) => asked,
            Err(error) => {
                tracing::warn!(account = %face.account, %error, "other replicas cannot hand webhooks over");
                return None;
            }
        };
        let (stop, stopped) = oneshot::channel();
        let pump = Pump {
            client,
            telemetry: base.telemetry.clone(),
            face: Arc::clone(face),
            most: base.webhook.max_in_flight,
        };
        Some(Self {
            stop: Some(stop),
            task: tokio::spawn(pump.run(asked, stopped)),
        })
    }

    /// Takes no further requests; what is in hand is answered while the adapter still works.
    pub fn end(&mut self) {
        drop(self.stop.take());
    }
}

struct Pump {
    client: Client,
    telemetry: Telemetry,
    face: Arc<Face>,
    most: usize,
}

impl Pump {
    async fn run(self, mut asked: Subscriber, mut stopped: oneshot::Receiver<()>) {
        let mut in_hand = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                Some(_) = in_hand.join_next() => {}
                message = asked.next() => match message {
                    Some(message) => self.take(message, &mut in_hand).await,
                    None => break,
                },
            }
        }
        let _ = timeout(SEND_WITHIN, asked.unsubscribe()).await;
        while in_hand.join_next().await.is_some() {}
    }

    async fn take(&self, message: Message, in_hand: &mut JoinSet<()>) {
        let Some(reply) = message.reply.clone() else {
            return;
        };
        let client = self.client.clone();
        let Some(request) = request(message) else {
            let answer = Answer::by_us(StatusCode::BAD_REQUEST);
            return send(&client, reply, answer).await;
        };
        if in_hand.len() >= self.most {
            return send(&client, reply, Answer::again()).await;
        }
        let (telemetry, face) = (self.telemetry.clone(), Arc::clone(&self.face));
        in_hand.spawn(async move {
            let left = request.deadline_ms.saturating_sub(unix_ms());
            let within = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            // Beyond it the other replica has answered.
            if let Ok(answer) = timeout(within, local::give(&telemetry, &face, request)).await {
                send(&client, reply, answer).await;
            }
        });
    }
}

fn request(message: Message) -> Option<WebhookRequest> {
    let headers = message.headers?;
    let text = |name| headers.get(name).map_or("", |value| value.as_str());
    let deadline_ms = text(DEADLINE).parse().ok()?;
    let mut request = WebhookRequest::new(text(METHOD), text(PATH), deadline_ms);
    if request.method.is_empty() {
        return None;
    }
    request.query = text(QUERY).into();
    request.peer = text(PEER).into();
    let lines = headers.get_all(HEADER);
    request.headers = lines
        .filter_map(|line| line.as_str().split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    request.body = message.payload;
    Some(request)
}

async fn send(client: &Client, reply: async_nats::Subject, answer: Answer) {
    let mut headers = HeaderMap::new();
    headers.insert(STATUS, answer.status.as_u16().to_string());
    for (name, value) in &answer.headers {
        if let Ok(value) = value.to_str() {
            headers.append(HEADER, format!("{name}: {value}"));
        }
    }
    let sent = client.publish_with_headers(reply, headers, answer.body);
    // The asker has a deadline of its own, and the sender comes again.
    let _ = timeout(SEND_WITHIN, sent).await;
}
