//! A bus with everything on it, an account's task as the core has one, and what came of each event.

use bytes::Bytes;
use futures_util::StreamExt;
use im_bridge::bus::objects::Limits;
use im_bridge::bus::{Account, AckTable, Bus, Hold, Settings, connect, provision};
use im_bridge::envelope::ModelMinor;
use im_bridge::inbound::{Alone, Gateway, Inbound, Options, Order};
use im_bridge::loader::host::{EventFacts, InboundEvent};
use im_bridge::telemetry::Telemetry;
use im_bridge_plugin_api::abi::Outcome;
use im_bridge_test_harness::{Nats, eventually};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// As many as an adapter may have unsettled.
pub const CREDITS: usize = 64;

pub fn limits() -> Limits {
    Limits::default().at_most_each(64 * 1024 * 1024)
}

pub fn account() -> Account {
    Account::new("acme".parse().unwrap(), "shop1".parse().unwrap())
}

/// Connected and provisioned.
pub async fn bus(nats: &Nats, limits: &Limits) -> Bus {
    let settings = Settings {
        urls: vec![nats.url().to_owned()],
        name: "a".to_owned(),
        root: "im".parse().unwrap(),
        auth: connect::Auth::None,
        tls: connect::Tls::default(),
        inbox_prefix: None,
    };
    let bus = Bus::connect(&settings).await.unwrap();
    assert_eq!(provision::provision(&bus, limits, true).await.unwrap(), []);
    bus
}

/// One account with its task.
pub struct World {
    pub bus: Bus,
    pub acks: AckTable,
    pub gateway: Arc<Gateway>,
    pub credits: Arc<Semaphore>,
    outcomes: Arc<Mutex<Vec<(u64, Outcome)>>>,
    emit: mpsc::Sender<InboundEvent>,
    task: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub async fn new(nats: &Nats) -> Self {
        let limits = limits();
        Self::with(
            bus(nats, &limits).await,
            &limits,
            Order::Strict,
            Hold::forever(),
        )
        .await
    }

    pub async fn with(bus: Bus, limits: &Limits, order: Order, hold: Hold) -> Self {
        let acks = AckTable::start(&bus.data).await.unwrap();
        let gateway = Gateway::new(&bus, &acks, limits, &Telemetry::off());
        let inbound = Inbound::new(
            &gateway,
            Options {
                account: account(),
                model: ModelMinor(0),
                order,
                hold,
                surroundings: Arc::new(Alone),
            },
        );
        let (intake, mut carrier) = inbound.split();
        let (emit, mut emitted) = mpsc::channel(CREDITS);
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = async {
                    while let Some(event) = emitted.recv().await {
                        intake.accept(event);
                    }
                } => {}
                never = &mut carrier => match never {},
            }
            carrier.idle().await;
        });
        Self {
            bus,
            acks,
            gateway,
            credits: Arc::new(Semaphore::new(CREDITS)),
            outcomes: Arc::default(),
            emit,
            task,
        }
    }

    /// Emits as an adapter does: with a credit, which comes back when the event is settled.
    pub async fn emit(&self, number: u64, facts: &EventFacts<'_>, payload: impl Into<Bytes>) {
        let credit = Arc::clone(&self.credits).acquire_owned().await.unwrap();
        let outcomes = Arc::clone(&self.outcomes);
        let event = InboundEvent::detached(facts, payload.into(), move |outcome| {
            outcomes.lock().unwrap().push((number, outcome));
            drop(credit);
        });
        self.emit.send(event).await.unwrap();
    }

    /// Freezes the server and waits until it is: its threads stop one after the other.
    pub async fn freeze(&self, nats: &Nats) {
        nats.freeze();
        let api = self.bus.control.api();
        eventually("the server does not answer", || async {
            let answer = api.call::<serde_json::Value>("INFO", &());
            let answered = tokio::time::timeout(Duration::from_millis(200), answer).await;
            answered.is_err().then_some(())
        })
        .await;
    }

    /// A message of a channel; its native id is its number.
    pub async fn message(&self, channel: &str, number: u64) {
        let id = number.to_string();
        let facts = EventFacts {
            native_id: &id,
            ..message(channel)
        };
        self.emit(number, &facts, payload(number)).await;
    }

    /// In the order in which they were settled.
    pub fn outcomes(&self) -> Vec<(u64, Outcome)> {
        self.outcomes.lock().unwrap().clone()
    }

    pub async fn settled(&self, count: usize) -> Vec<(u64, Outcome)> {
        eventually("events settled", || async {
            let outcomes = self.outcomes();
            (outcomes.len() >= count).then_some(outcomes)
        })
        .await
    }

    /// The outcome of the only event.
    pub async fn outcome(&self) -> Outcome {
        self.settled(1).await[0].1
    }

    pub async fn stored(&self, stream: &str) -> Vec<async_nats::jetstream::Message> {
        let jetstream = async_nats::jetstream::new(self.bus.control.client().clone());
        let stream = jetstream.get_stream(stream).await.unwrap();
        let count = usize::try_from(stream.cached_info().state.messages).unwrap();
        let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
        let consumer = stream.create_consumer(config).await.unwrap();
        let messages = consumer.messages().await.unwrap();
        messages.take(count).map(Result::unwrap).collect().await
    }
}

pub fn message(channel: &str) -> EventFacts<'_> {
    EventFacts {
        kind: "message.created",
        channel,
        time_ms: Some(1_700_000_000_123),
        order_scope: 1,
        ..EventFacts::default()
    }
}

pub fn payload(number: u64) -> Vec<u8> {
    format!(r#"{{"self":{{"user_id":"me"}},"number":{number}}}"#).into_bytes()
}

/// Body as JSON.
pub fn json(message: &async_nats::jetstream::Message) -> serde_json::Value {
    serde_json::from_slice(&message.payload).unwrap()
}

pub fn header<'m>(message: &'m async_nats::jetstream::Message, name: &str) -> Option<&'m str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}
