//! What the server tells a third party over HTTP, if a URL is set: stored messages, messages for those who are away, who came
//! and went.
//!
//! Without signature or retry queue worth the name, as the real one: only a status of exactly 200 counts as received.

use super::ids::SYSTEM;
use super::login::NODE_ID;
use super::message::Message;
use super::record::Entry;
use super::session::Session;
use super::settings::Settings;
use super::world::Sim;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Messages, and other events, that wait at a time.
const WAITING_MAX: usize = 10_000;
const BATCH: usize = 100;
const BATCH_EVERY: Duration = Duration::from_millis(500);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 5;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const NOTIFY: &str = "msg.notify";
const OFFLINE: &str = "msg.offline";
const ONLINE: &str = "user.onlinestatus";

#[derive(Default)]
struct Waiting {
    /// With the failures so far.
    messages: VecDeque<(Value, u32)>,
    others: VecDeque<(&'static str, Value)>,
}

#[derive(Default)]
pub struct Webhooks {
    waiting: Mutex<Waiting>,
}

fn wants(settings: &Settings, event: &str) -> bool {
    let events = &settings.webhook_events;
    settings.webhook_url.is_some()
        && (events.is_empty() || events.iter().any(|wanted| wanted == event))
}

impl Webhooks {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(&'static str, Value)> {
        self.waiting().others.pop_front()
    }

    fn other(&self, event: &'static str, body: Value) {
        let mut waiting = self.waiting();
        if waiting.others.len() < WAITING_MAX {
            waiting.others.push_back((event, body));
        }
    }

    pub fn message(
        &self,
        settings: &Settings,
        message: &Message,
        offline: Vec<Arc<str>>,
        is_command: bool,
    ) {
        if wants(settings, NOTIFY) && message.seq > 0 && !is_command {
            let mut waiting = self.waiting();
            if waiting.messages.len() < WAITING_MAX {
                waiting.messages.push_back((message.shown(true), 0));
            }
        }
        if wants(settings, OFFLINE) && !offline.is_empty() {
            let mut body = message.shown(true);
            // Told as it was sent.
            body["channel_id"] = json!(*message.channel_id);
            if message.from.is_empty() {
                body["from_uid"] = json!(SYSTEM);
            }
            body["to_uids"] = json!(offline.iter().map(|uid| &**uid).collect::<Vec<_>>());
            body["source_id"] = json!(NODE_ID);
            self.other(OFFLINE, body);
        }
    }

    /// In front of those that came meanwhile.
    fn again(&self, batch: Vec<(Value, u32)>) {
        let mut waiting = self.waiting();
        for message in batch.into_iter().rev() {
            waiting.messages.push_front(message);
        }
    }

    /// A session began, or its socket closed.
    pub fn online(&self, sim: &Sim, session: &Session, is_online: bool) {
        let Some(identity) = session.identity.get() else {
            return;
        };
        let world = sim.world();
        if !wants(&world.settings, ONLINE) {
            return;
        }
        let sessions = world.sessions_of(&identity.uid);
        drop(world);
        let others = sessions
            .iter()
            .filter(|other| is_online || other.conn != session.conn);
        let (mut same, mut all) = (0, 0);
        for other in others {
            let flag = other.identity.get().map(|identity| identity.device_flag);
            same += u32::from(flag == Some(identity.device_flag));
            all += 1;
        }
        let told = format!(
            "{}-{}-{}-{}-{same}-{all}",
            identity.uid,
            identity.device_flag,
            u8::from(is_online),
            session.conn
        );
        self.other(ONLINE, json!([told]));
    }
}

/// Tells what waits, for as long as the process runs.
pub async fn run(sim: Arc<Sim>) {
    loop {
        tokio::time::sleep(BATCH_EVERY).await;
        while let Some((event, body)) = sim.webhooks.next() {
            let attempts = if event == ONLINE { ATTEMPTS_MAX } else { 1 };
            for attempt in 1..=attempts {
                if told(&sim, event, &body, attempt).await {
                    break;
                }
                if attempt < attempts {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
        messages(&sim).await;
    }
}

/// One batch; after a failure again, with what came meanwhile.
async fn messages(sim: &Arc<Sim>) {
    loop {
        let batch: Vec<(Value, u32)> = {
            let mut waiting = sim.webhooks.waiting();
            let count = waiting.messages.len().min(BATCH);
            waiting.messages.drain(..count).collect()
        };
        if batch.is_empty() {
            return;
        }
        let body: Vec<&Value> = batch.iter().map(|(message, _)| message).collect();
        let attempt = batch.iter().map(|(_, failures)| failures + 1).max();
        if told(sim, NOTIFY, &json!(body), attempt.unwrap_or(1)).await {
            continue;
        }
        let again = batch
            .into_iter()
            .map(|(message, failures)| (message, failures + 1))
            .filter(|(_, failures)| *failures < ATTEMPTS_MAX);
        sim.webhooks.again(again.collect());
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn told(sim: &Arc<Sim>, event: &str, body: &Value, attempt: u32) -> bool {
    let Some(url) = sim.settings().webhook_url.clone() else {
        return true;
    };
    let posted = tokio::time::timeout(ANSWER_WITHIN, post(&url, event, body)).await;
    let status = posted.ok().and_then(Result::ok);
    sim.note(Entry::Webhook {
        event: event.to_owned(),
        status,
        attempt,
    });
    status == Some(200)
}

async fn post(url: &str, event: &str, body: &Value) -> io::Result<u16> {
    let wrong = || io::Error::other("a webhook's URL is http://host:port/path");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let body = body.to_string();
    let mut stream = TcpStream::connect(host).await?;
    let length = body.len();
    let request = format!(
        "POST /{path}?event={event} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let status = std::str::from_utf8(&head[9..]).ok();
    let status = status.and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("no HTTP answer"))
}
