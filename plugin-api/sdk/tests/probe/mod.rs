//! An adapter that does what a test asks for, and a provider in memory for it to talk to.
//!
//! The test puts frames into a [`Provider`], found by the account's alias; the adapter emits one message for each and
//! acknowledges those that were settled for good. Commands say in `do` how they shall go.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "part of tests")]

use im_bridge_sdk::model::{
    self, Capabilities, CatchUp, ControlVerb, ErrorCode, EventKind, Guarantees, Inbound,
    InboundAck, Level, Levels, Limits, OrderScope, Outbound, SegmentLevels, SendAck, TimeSource,
    Transport,
};
use im_bridge_sdk::test::{self, Builder, MockHost};
use im_bridge_sdk::{
    Adapter, Command, ConfigError, Context, Counter, Description, Emission, Fault, Histogram, Host,
    KvPut, Metric, Noise, Outcome, Secret, State, Verdict, WebhookRequest, WebhookResponse,
};
use serde::Deserialize;
use serde_json::json;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Long enough for a slow machine; nothing waits it out when all is well.
pub const SOON: Duration = Duration::from_secs(10);
/// For absence.
pub const A_WHILE: Duration = Duration::from_millis(50);

/// The other end of one account.
#[derive(Default)]
pub struct Provider {
    frames: Mutex<VecDeque<Frame>>,
    came: Notify,
    /// Native ids, in the order of their acknowledgement.
    acks: Mutex<Vec<String>>,
    acknowledged: Condvar,
    is_left: Mutex<bool>,
    left: Condvar,
}

#[derive(Clone)]
pub enum Frame {
    Message {
        id: String,
        bytes: usize,
    },
    /// The session ends with a fault that passes.
    Lost,
    /// The session ends for good.
    Refused,
    Panic,
}

impl Provider {
    /// Puts frames into the socket, all at once.
    pub fn push(&self, frames: impl IntoIterator<Item = Frame>) {
        self.frames.lock().unwrap().extend(frames);
        self.came.notify_one();
    }

    pub fn messages(&self, ids: impl IntoIterator<Item = u32>) {
        self.push(ids.into_iter().map(|id| Frame::Message {
            id: id.to_string(),
            bytes: 10,
        }));
    }

    pub fn acks(&self) -> Vec<String> {
        self.acks.lock().unwrap().clone()
    }

    fn acknowledge(&self, id: String) {
        self.acks.lock().unwrap().push(id);
        self.acknowledged.notify_all();
    }

    /// Waits until this many are acknowledged.
    #[track_caller]
    pub fn wait_acks(&self, n: usize) -> Vec<String> {
        let acks = self.acks.lock().unwrap();
        let few = |acks: &mut Vec<String>| acks.len() < n;
        let (acks, _) = self
            .acknowledged
            .wait_timeout_while(acks, SOON, few)
            .unwrap();
        assert!(
            acks.len() >= n,
            "acknowledged: wanted {n}, last saw {acks:?}"
        );
        acks.clone()
    }

    /// Waits until the session has stopped reading.
    #[track_caller]
    pub fn wait_left(&self) {
        let is_left = self.is_left.lock().unwrap();
        let wait = self
            .left
            .wait_timeout_while(is_left, SOON, |is_left| !*is_left);
        assert!(*wait.unwrap().0, "the session still reads");
    }

    /// Frames that nobody read.
    pub fn unread(&self) -> usize {
        self.frames.lock().unwrap().len()
    }

    async fn next(&self) -> Frame {
        loop {
            let frame = self.frames.lock().unwrap().pop_front();
            match frame {
                Some(frame) => return frame,
                None => self.came.notified().await,
            }
        }
    }
}

static PROVIDERS: LazyLock<Mutex<HashMap<String, Arc<Provider>>>> = LazyLock::new(Mutex::default);

/// The provider of an account.
pub fn provider(alias: &str) -> Arc<Provider> {
    let mut all = PROVIDERS.lock().unwrap();
    Arc::clone(all.entry(alias.to_owned()).or_default())
}

#[derive(Deserialize, schemars::JsonSchema)]
pub struct Config {
    pub token: Secret,
    /// Give up unless this is set.
    #[serde(default)]
    pub refuse: bool,
}

pub struct Probe {
    token: Secret,
    provider: Arc<Provider>,
    polls: Counter,
    sizes: Histogram,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "do")]
    what: String,
    #[serde(default)]
    key: String,
}

impl Probe {
    async fn on_frame(
        &self,
        cx: &Context,
        frame: Frame,
        open: &Rc<RefCell<u32>>,
    ) -> Result<(), Fault> {
        match frame {
            Frame::Message { id, bytes } => {
                self.sizes.record(10.0, &[]);
                let text = "x".repeat(bytes);
                let event = message(&id, &text);
                let emission = Emission::from(event).meta("device", "d1");
                *open.borrow_mut() += 1;
                let (acks, open) = (Arc::clone(&self.provider), Rc::clone(open));
                cx.send(emission).await.on_settled(move |outcome| {
                    if outcome.is_final() {
                        acks.acknowledge(id);
                    }
                    *open.borrow_mut() -= 1;
                });
                Ok(())
            }
            Frame::Lost => Err(Fault::retry("network", "the line went dead")),
            Frame::Refused => Err(Fault::permanent("banned", "go away")),
            Frame::Panic => panic!("the frame said so"),
        }
    }
}

pub fn message(id: &str, text: &str) -> model::Event {
    let message = model::Message::text(id, text, None);
    model::Event::new("me", model::body::MessageCreated { message })
        .channel(model::Channel::new("lobby", model::ChannelKind::Room))
        .actor(model::User::new("u2", model::UserKind::Human))
}

impl Adapter for Probe {
    const PROVIDER: &'static str = "probe";
    type Config = Config;

    fn describe() -> Description {
        Description::new(capabilities())
            .title("Probe")
            .operation("poll", Noise::Poll)
            .operation("login", Noise::Session)
            .operation("send", Noise::Command)
            .meta("device")
            .verify()
            .webhook()
            .example(json!({ "token": "t" }))
    }

    fn create(config: Config, host: &Host) -> Result<Self, ConfigError> {
        tracing::info!(account = host.account(), "created");
        if config.token.expose() == "bad" {
            return Err(ConfigError::new("/token", "is refused").code("bad_token"));
        }
        assert!(config.token.expose() != "panic", "the token said so");
        Ok(Self {
            token: config.token,
            provider: provider(host.account()),
            polls: host
                .counter(&Metric::new("polls_total", "Polls.").label("result", &["hit", "empty"])),
            sizes: host.histogram(
                &Metric::new("size_bytes", "Sizes.")
                    .unit("By")
                    .buckets(&[1.0, 100.0]),
            ),
        })
    }

    async fn run(&self, cx: &Context) -> Result<(), Fault> {
        cx.state(State::connecting());
        let login = cx.op("login", Noise::Session);
        login.done();
        cx.state(State::online().self_id("me").transport("tcp"));
        cx.state(State::online().self_id("me").transport("tcp"));
        let open = Rc::new(RefCell::new(0));
        loop {
            tokio::select! {
                biased;
                () = cx.draining() => break,
                frame = async { cx.ready().await; self.provider.next().await } => {
                    self.on_frame(cx, frame, &open).await?;
                }
            }
        }
        *self.provider.is_left.lock().unwrap() = true;
        self.provider.left.notify_all();
        while *open.borrow() > 0 {
            cx.sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn execute(&self, cx: &Context, command: Command) -> Outcome {
        let params: Params = match command.params() {
            Ok(params) => params,
            Err(outcome) => return outcome,
        };
        let op = cx.op("send", Noise::Command);
        let outcome = self.act(cx, &command, &params).await;
        op.done();
        outcome
    }

    async fn verify(&self, _: &Context, command: Command) -> Verdict {
        match command
            .params::<Params>()
            .map(|params| params.what)
            .as_deref()
        {
            Ok("happened") => Verdict::Happened(Outcome::ok("n1", &json!({}))),
            Ok("not") => Verdict::DidNotHappen,
            Ok("hang") => std::future::pending().await,
            _ => Verdict::Unknown,
        }
    }

    async fn webhook(&self, cx: &Context, request: WebhookRequest) -> WebhookResponse {
        if request.header("x-secret") != Some(self.token.expose()) {
            return WebhookResponse::status(401);
        }
        let mut sent = Vec::new();
        for id in String::from_utf8_lossy(request.body()).split_terminator(',') {
            sent.push(cx.send(message(id, "hooked")).await);
        }
        WebhookResponse::when_settled(sent, WebhookResponse::status(200).text("ok")).await
    }
}

impl Probe {
    async fn act(&self, cx: &Context, command: &Command, params: &Params) -> Outcome {
        match params.what.as_str() {
            "ok" => {
                command.sent();
                Outcome::ok("n1", &json!({ "channel": command.channel() }))
            }
            "accept" => Outcome::accepted("n2"),
            "refuse" => {
                command.sent();
                Outcome::error(ErrorCode::Muted, "not now").native(Some("25"), None, None)
            }
            "hang" => std::future::pending().await,
            "hang_after_sent" => {
                command.sent();
                std::future::pending().await
            }
            "panic" => panic!("the command said so"),
            "panic_after_sent" => {
                command.sent();
                panic!("the command said so")
            }
            "panic_when_draining" => {
                cx.draining().await;
                panic!("the drain said so")
            }
            "panic_in_task" => {
                cx.spawn(async { panic!("the task said so") });
                std::future::pending().await
            }
            "poll" => {
                let op = cx.op("poll", Noise::Poll);
                self.polls.add(2.0, &[0]);
                op.hit(3);
                let mut empty = cx.op("poll", Noise::Poll);
                empty.detail("GET /poll 200");
                empty.empty();
                let failed = cx.op("poll", Noise::Poll);
                failed.fail("it is down");
                drop(cx.op("poll", Noise::Poll));
                Outcome::done()
            }
            "kv" => self.keep(cx, &params.key).await,
            "log" => {
                tracing::debug!(answer = 42, text = "a b", "debugging {}", 7);
                tracing::trace!("tracing");
                Outcome::done()
            }
            "sleep" => {
                cx.sleep(Duration::from_secs(3600)).await;
                Outcome::done()
            }
            "reconnect" => {
                cx.reconnect();
                Outcome::done()
            }
            other => Outcome::error(ErrorCode::BadParam, other).path("/params/do"),
        }
    }

    async fn keep(&self, cx: &Context, key: &str) -> Outcome {
        let kv = cx.kv();
        let run = async {
            let first = kv.put(key, &json!({ "n": 1 })).await?;
            let how = KvPut {
                revision: Some(first),
                is_secret: true,
                ttl: Some(Duration::from_secs(60)),
            };
            kv.put_with(key, &json!({ "n": 2 }), how).await?;
            let conflict = kv.put_with(key, &3, how).await;
            let read = kv.get::<serde_json::Value>(key).await?;
            let listed = kv.list("cursor").await?;
            kv.delete(key).await?;
            let gone = kv.get::<serde_json::Value>(key).await?;
            Ok::<_, im_bridge_sdk::KvError>(json!({
                "conflict": conflict.is_err(),
                "read": read.map(|entry| entry.value),
                "listed": listed.len(),
                "gone": gone.is_none(),
            }))
        };
        match run.await {
            Ok(result) => Outcome::ok("", &result),
            Err(error) => Outcome::error(ErrorCode::Overloaded, error),
        }
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        transport: Transport {
            inbound: Inbound::Push,
            outbound: Outbound::Socket,
            ack: SendAck::Response,
            poll_fallback: false,
        },
        events: Levels::new().with(Level::Full, &[EventKind::MessageCreated]),
        commands: Levels::new().with(Level::Full, &[model::Command::MessageSend]),
        control: Levels::new().with(Level::Full, &[ControlVerb::Reconnect]),
        segments: SegmentLevels::default(),
        features: Levels::new(),
        channel_kinds: BTreeMap::new(),
        limits: Limits {
            max_in_flight: 64,
            max_reads_in_flight: 4,
            max_payload_bytes: None,
            idempotency_key_chars: 64,
            recall_max_age_s: None,
            media_by: Vec::new(),
            rate: None,
        },
        guarantees: Guarantees {
            ordering: OrderScope::None,
            inbound_ack: InboundAck::Each,
            catch_up: CatchUp::None,
            sender_in_event: true,
            provider_dedup: false,
            verify_after_timeout: true,
            message_time: TimeSource::Bridge,
            self_echo: false,
        },
    }
}

im_bridge_sdk::export_adapter!(Probe);

/// The same on two shared threads.
pub struct Sharing(Probe);

impl Adapter for Sharing {
    const PROVIDER: &'static str = "sharing";
    type Config = Config;

    fn describe() -> Description {
        Probe::describe()
    }

    fn create(config: Config, host: &Host) -> Result<Self, ConfigError> {
        Probe::create(config, host).map(Self)
    }

    async fn run(&self, cx: &Context) -> Result<(), Fault> {
        self.0.run(cx).await
    }

    async fn execute(&self, cx: &Context, command: Command) -> Outcome {
        self.0.execute(cx, command).await
    }
}

im_bridge_sdk::declare_adapter!(Sharing, runtime = Shared(2));

/// A mock for the probe with a provider of its own.
pub fn builder(alias: &str) -> (Builder, Arc<Provider>) {
    let builder = MockHost::builder(test::entry::<Probe>())
        .account(alias)
        .config(json!({ "token": "hush" }));
    (builder, provider(alias))
}

/// Started, with a window of 64 events that are settled by the test.
pub fn started(alias: &str) -> (MockHost, Arc<Provider>) {
    let (builder, provider) = builder(alias);
    let mock = builder.auto_grant(64, 2 << 20).create().unwrap();
    mock.start();
    (mock, provider)
}

/// A command that goes as `what` says.
pub fn doing(what: &str) -> im_bridge_sdk::test::Command {
    im_bridge_sdk::test::Command::new("message.send")
        .channel("lobby")
        .params(json!({ "do": what }))
}
