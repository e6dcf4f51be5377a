//! The one who plays the provider: orders to the sim provider, on a connection of its own.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The simulator hangs up on a client with 10,000 unread answers.
const UNREAD_MAX: usize = 1_000;
/// More than the bridge lets an account have on the way, so that one event per room in flight is no bound.
pub const ROOMS: u64 = 64;
/// As the sim adapter limits it; every column has the same.
const WINDOW: u64 = 64;

/// Of one world: each column has its own, so that nobody hears another one's events.
pub struct Director {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
}

/// A world as the jobs need it; `window` 0 holds every push back.
fn settings(window: u64) -> Value {
    json!({ "people": 3, "rooms": ROOMS, "window": window, "history": 500_000, "record": 200_000 })
}

impl Director {
    /// Makes the world. Whoever makes it decides what it is like: accounts that come later change nothing.
    pub async fn of(url: &str, world: &str) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("the simulator listens");
        let mut director = Self { socket, next: 0 };
        let hello = json!({ "type": "hello", "world": world, "by": "director", "settings": settings(WINDOW) });
        director.send(&hello).await;
        director
    }

    async fn send(&mut self, frame: &Value) {
        let sent = self.socket.send(Message::text(frame.to_string())).await;
        sent.expect("the simulator reads");
    }

    pub async fn hear(&mut self) -> Value {
        loop {
            let heard = self.socket.next().await.expect("the simulator stays");
            if let Message::Text(text) = heard.expect("the simulator stays") {
                return serde_json::from_str(&text).expect("frames are JSON");
            }
        }
    }

    pub async fn order(&mut self, order: Value) -> Value {
        self.begin(order).await;
        let answer = self.hear().await;
        assert!(answer["error"].is_null(), "{answer}");
        answer["ok"].clone()
    }

    /// Orders it; the answer is to be heard later.
    pub async fn begin(&mut self, mut order: Value) {
        self.next += 1;
        order["type"] = "order".into();
        order["id"] = self.next.into();
        self.send(&order).await;
    }

    /// All of them, in this order; their answers are looked at for errors only.
    pub async fn orders(&mut self, orders: &[Value]) {
        for some in orders.chunks(UNREAD_MAX) {
            for order in some {
                self.begin(order.clone()).await;
            }
            for _ in some {
                let answer = self.hear().await;
                assert!(answer["error"].is_null(), "{answer}");
            }
        }
    }

    /// Nothing is pushed any more.
    pub async fn hold(&mut self) {
        let settings = settings(0);
        self.order(json!({ "do": "settings", "settings": settings }))
            .await;
    }

    pub async fn release(&mut self) {
        let settings = settings(WINDOW);
        self.order(json!({ "do": "settings", "settings": settings }))
            .await;
    }

    pub async fn rate(&mut self, per_s: f64) {
        self.order(json!({ "do": "rate", "per_s": per_s })).await;
    }

    /// What was pushed and not acknowledged.
    pub async fn unacknowledged(&mut self) -> u64 {
        let summary = self.order(json!({ "do": "summary" })).await;
        let accounts = summary["unacknowledged"].as_object();
        accounts
            .into_iter()
            .flatten()
            .filter_map(|(_, count)| count.as_u64())
            .sum()
    }

    /// How often each reference was carried out: how many references, and the most of one.
    pub async fn sends(&mut self) -> (usize, u64) {
        let summary = self.order(json!({ "do": "summary" })).await;
        let sends = summary["sends"].as_object().cloned().unwrap_or_default();
        let most = sends.values().filter_map(Value::as_u64).max();
        (sends.len(), most.unwrap_or(0))
    }

    /// Bytes of the frame in which this text is pushed.
    pub async fn frame_bytes(url: &str, text: &str) -> usize {
        let mut probe = Self::of(url, "probe").await;
        let login = json!({ "type": "login", "person": "probe", "token": "t", "device": "bench" });
        probe.send(&login).await;
        let welcome = probe.hear().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        probe.begin(say(0, text)).await;
        loop {
            let message = probe.socket.next().await.expect("the simulator stays");
            let message = message.expect("the simulator stays");
            let text = message.to_text().unwrap_or_default();
            if text.contains("\"type\":\"push\"") {
                return text.len();
            }
        }
    }
}

/// Somebody writes in the room with this number.
pub fn say(room: u64, text: &str) -> Value {
    json!({ "do": "say", "chat": self::room(room), "by": "alice", "text": text })
}

/// Ids as the simulator gives them.
pub fn room(number: u64) -> String {
    const NAMED: [&str; 6] = ["lobby", "kitchen", "garden", "attic", "harbour", "library"];
    let number = usize::try_from(number % ROOMS).expect("small");
    NAMED
        .get(number)
        .map_or_else(|| format!("room-{}", number + 1), |name| (*name).to_owned())
}
