//! The floor: each job in as few lines as it takes, with the same libraries, on one thread. What no bridge can beat by
//! much; never tuned down.
//!
//! IN is what the figure is usually taken for: frame, typed JSON with borrowed fields, publish with an id, a table of
//! acknowledgements behind one inbox, acknowledge to the provider. It knows no account, no order within a channel, no
//! event model, no plugin; it sends nothing twice and survives nothing.

use crate::world::{Column, What, worlds};
use async_nats::jetstream::{self, consumer::pull};
use async_nats::{HeaderMap, Message as Heard};
use bytes::Bytes;
use clap::Args;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// What a column is started with.
#[derive(Args)]
pub struct Role {
    job: String,
    #[arg(long)]
    nats: String,
    #[arg(long)]
    provider: String,
    #[arg(long)]
    world: String,
    #[arg(long, default_value_t = 1)]
    accounts: u64,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A frame of any type. Told apart by its members: a tag would have everything read into a tree first.
#[derive(Deserialize)]
struct Down<'a> {
    push: Option<u64>,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    id: Option<u64>,
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
}

impl<'a> Down<'a> {
    fn read(text: &'a str) -> Self {
        serde_json::from_str(text).expect("a frame of the provider")
    }

    fn push(self) -> Option<(u64, Item<'a>)> {
        self.push.zip(self.item)
    }

    fn answer(&self) -> Option<(u64, &'a RawValue)> {
        self.id.zip(self.ok)
    }
}
#[derive(Deserialize)]
struct Item<'a> {
    seq: u64,
    #[serde(borrow)]
    chat: Option<Chat<'a>>,
}
#[derive(Deserialize)]
struct Chat<'a> {
    id: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Up<'a> {
    Ack {
        push: u64,
    },
    Ping {
        id: u64,
    },
    Request {
        id: u64,
        call: &'static str,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        chat: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parts: Option<[Part<'a>; 1]>,
    },
}
#[derive(Serialize)]
struct Part<'a> {
    part: &'static str,
    text: &'a str,
}

impl Up<'_> {
    fn frame(&self) -> Message {
        Message::text(serde_json::to_string(self).expect("it is JSON"))
    }
}

/// Plays it until it is killed.
pub fn play(role: &Role) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("the system has room").block_on(async {
        match role.job.as_str() {
            "in" => inbound(role).await,
            "out" => outbound(role).await,
            "req" => asked(role).await,
            _ => idle(role).await,
        }
    });
}

fn ready() {
    println!("ready");
}

async fn log_in(role: &Role, world: &str) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024);
    let connected = connect_async_with_config(&role.provider, Some(config), true).await;
    let (mut socket, _) = connected.expect("the provider listens");
    let hello = format!(r#"{{"type":"hello","world":"{world}"}}"#);
    let login = format!(r#"{{"type":"login","person":"{world}","token":"t","device":"floor"}}"#);
    socket.send(Message::text(hello)).await.expect("it reads");
    socket.send(Message::text(login)).await.expect("it reads");
    let welcome = socket.next().await.expect("it answers");
    let welcome = welcome.expect("it answers");
    assert!(welcome.to_text().is_ok_and(|it| it.contains("welcome")));
    socket
}

/// The number at the end of a reply subject.
fn token(ack: &Heard) -> Option<u64> {
    ack.subject.rsplit('.').next()?.parse().ok()
}

fn id(id: impl ToString) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.to_string().as_str());
    headers
}

async fn inbound(role: &Role) {
    let client = async_nats::connect(&role.nats).await.expect("NATS runs");
    let inbox = client.new_inbox();
    let mut acks = client
        .subscribe(format!("{inbox}.*"))
        .await
        .expect("NATS runs");
    let mut socket = log_in(role, &role.world).await;
    ready();
    loop {
        tokio::select! {
            biased;
            Some(first) = acks.next() => {
                // All that are here, and one write for them.
                let mut next = Some(first);
                while let Some(ack) = next {
                    assert!(!ack.payload.starts_with(br#"{"error"#), "{ack:?}");
                    let push = token(&ack).expect("an inbox of ours");
                    socket.feed(Up::Ack { push }.frame()).await.expect("it reads");
                    next = acks.next().now_or_never().flatten();
                }
                socket.flush().await.expect("it reads");
            }
            frame = socket.next() => {
                let Message::Text(text) = frame.expect("it stays").expect("it stays") else { continue };
                let Some((push, item)) = Down::read(&text).push() else { continue };
                let chat = item.chat.map_or("none", |chat| chat.id);
                let (subject, reply) = (format!("{}.evt.{chat}", role.world), format!("{inbox}.{push}"));
                let headers = id(item.seq);
                let sent = client.publish_with_reply_and_headers(subject, reply, headers, Bytes::from(text));
                sent.await.expect("NATS runs");
            }
        }
    }
}

#[derive(Deserialize)]
struct Command<'a> {
    idempotency_key: &'a str,
    #[serde(borrow)]
    params: Params<'a>,
}
#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    to: To<'a>,
    #[serde(borrow)]
    message: Written<'a>,
}
#[derive(Deserialize)]
struct To<'a> {
    channel_id: &'a str,
}
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    segments: [Segment<'a>; 1],
}
#[derive(Deserialize)]
struct Segment<'a> {
    #[serde(borrow)]
    data: Text<'a>,
}
#[derive(Deserialize)]
struct Text<'a> {
    text: &'a str,
}
#[derive(Serialize)]
struct Result<'a> {
    idempotency_key: &'a str,
    status: &'static str,
    result: &'a RawValue,
}

/// Commands that are done and not answered yet.
const COMMANDS: usize = 64;

async fn outbound(role: &Role) {
    let client = async_nats::connect(&role.nats).await.expect("NATS runs");
    let inbox = client.new_inbox();
    let mut acks = client
        .subscribe(format!("{inbox}.*"))
        .await
        .expect("NATS runs");
    let name = Column::Floor.stream(What::Commands);
    let stream = jetstream::new(client.clone()).get_stream(name).await;
    let config = pull::Config {
        // The next one goes on where this one stops: a work queue has one consumer.
        durable_name: Some("floor".to_owned()),
        max_ack_pending: 10_000,
        ..pull::Config::default()
    };
    let consumer = stream.expect("it is made").create_consumer(config).await;
    let mut commands = consumer
        .expect("NATS runs")
        .messages()
        .await
        .expect("NATS runs");
    let mut socket = log_in(role, &role.world).await;
    ready();
    let mut open: HashMap<u64, jetstream::Message> = HashMap::new();
    let mut last = 0;
    loop {
        tokio::select! {
            biased;
            Some(ack) = acks.next() => {
                let command = open.remove(&token(&ack).expect("an inbox of ours"));
                command.expect("asked once").ack().await.expect("NATS runs");
            }
            frame = socket.next() => {
                let Message::Text(text) = frame.expect("it stays").expect("it stays") else { continue };
                let Some((number, ok)) = Down::read(&text).answer() else { continue };
                let command: Command = serde_json::from_slice(&open[&number].payload).expect("a command");
                let key = command.idempotency_key;
                let body = serde_json::to_vec(&Result { idempotency_key: key, status: "ok", result: ok });
                let (body, reply) = (body.expect("it is JSON").into(), format!("{inbox}.{number}"));
                let sent = client.publish_with_reply_and_headers("floor.res.send", reply, id(key), body);
                sent.await.expect("NATS runs");
            }
            Some(first) = commands.next(), if open.len() < COMMANDS => {
                let mut next = Some(first);
                while let Some(message) = next {
                    let message = message.expect("NATS runs");
                    let command: Command = serde_json::from_slice(&message.payload).expect("a command");
                    last += 1;
                    let Params { to, message: Written { segments: [Segment { data: Text { text } }] } } = command.params;
                    let asked = Up::Request {
                        id: last, call: "send", key: Some(command.idempotency_key), chat: Some(to.channel_id),
                        parts: Some([Part { part: "text", text }]),
                    };
                    socket.feed(asked.frame()).await.expect("it reads");
                    open.insert(last, message);
                    next = if open.len() < COMMANDS { commands.next().now_or_never().flatten() } else { None };
                }
                socket.flush().await.expect("it reads");
            }
        }
    }
}

/// Answers requests: on `bare` by itself, on `read` with what the provider says.
async fn asked(role: &Role) {
    let client = async_nats::connect(&role.nats).await.expect("NATS runs");
    let mut requests = client.subscribe("floor.req.*").await.expect("NATS runs");
    let mut socket = log_in(role, &role.world).await;
    ready();
    let mut open: HashMap<u64, async_nats::Subject> = HashMap::new();
    let mut last = 0;
    loop {
        tokio::select! {
            biased;
            Some(request) = requests.next() => {
                let Some(reply) = request.reply else { continue };
                if request.subject.ends_with("bare") {
                    client.publish(reply, request.payload).await.expect("NATS runs");
                    continue;
                }
                last += 1;
                let asked = Up::Request { id: last, call: "unread", key: None, chat: None, parts: None };
                socket.send(asked.frame()).await.expect("it reads");
                open.insert(last, reply);
            }
            frame = socket.next() => {
                let Message::Text(text) = frame.expect("it stays").expect("it stays") else { continue };
                let Some((number, ok)) = Down::read(&text).answer() else { continue };
                let Some(reply) = open.remove(&number) else { continue };
                let body = ok.get().to_owned();
                client.publish(reply, body.into()).await.expect("NATS runs");
            }
        }
    }
}

/// As often as the accounts of the bridge are told to.
pub const HEARTBEAT_MS: u64 = 5_000;
pub const HEARTBEAT: Duration = Duration::from_millis(HEARTBEAT_MS);

/// Connections that are kept alive and publish what they hear.
async fn idle(role: &Role) {
    let client = async_nats::connect(&role.nats).await.expect("NATS runs");
    let mut tasks = Vec::new();
    for world in worlds(Column::Floor, role.accounts) {
        let mut socket = log_in(role, &world).await;
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let mut beats = tokio::time::interval(HEARTBEAT);
            let mut beat = 0;
            loop {
                tokio::select! {
                    biased;
                    _ = beats.tick() => {
                        beat += 1;
                        socket.send(Up::Ping { id: beat }.frame()).await.expect("it reads");
                    }
                    frame = socket.next() => {
                        let Message::Text(text) = frame.expect("it stays").expect("it stays") else { continue };
                        heard(&client, &mut socket, &world, text).await;
                    }
                }
            }
        }));
    }
    ready();
    for task in tasks {
        let _ = task.await;
    }
}

async fn heard(client: &async_nats::Client, socket: &mut Socket, world: &str, text: Utf8Bytes) {
    let Some((push, item)) = Down::read(&text).push() else {
        return;
    };
    let subject = format!("floor.evt.{}", item.chat.map_or("none", |chat| chat.id));
    let headers = id(format!("{world}-{}", item.seq));
    let published = client
        .publish_with_headers(subject, headers, Bytes::from(text))
        .await;
    published.expect("NATS runs");
    socket
        .send(Up::Ack { push }.frame())
        .await
        .expect("it reads");
}
