//! A provider of a few lines, for what must be exact in time or bytes: it answers what opens a session, and says what the
//! test tells it. HTTP and WebSocket share a port.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use im_bridge_adapter_goofish::Goofish;
use im_bridge_sdk::test::{Builder, Extension, MockHost, entry};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

pub const SOON: Duration = Duration::from_secs(20);
pub const VECTORS: &str = include_str!("../../../../tests/vectors/goofish/frames.json");

#[derive(Default)]
struct Shared {
    /// Frames of the client, as text.
    heard: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// Handshakes are refused.
    refuses: AtomicBool,
    /// Everything is heard and nothing answered.
    is_mute: AtomicBool,
    /// Calls of mtop.
    calls: AtomicUsize,
    /// What mtop says in place of a token.
    refusal: Mutex<Option<String>>,
}

pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    say: broadcast::Sender<Option<String>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let (say, _) = broadcast::channel(64);
        runtime.spawn(accept(listener, Arc::clone(&shared), say.clone()));
        Self {
            address,
            shared,
            say,
            _runtime: runtime,
        }
    }

    /// An account whose time the test moves; heartbeats and intervals are the defaults.
    pub fn account(&self) -> Builder {
        self.account_with(json!({}))
    }

    pub fn account_with(&self, keys: Value) -> Builder {
        let mut config = json!({
            "cookies": "unb=1000000001; cookie2=x",
            "mtop_url": format!("http://{}", self.address), "ws_url": format!("ws://{}/", self.address),
        });
        let keys = keys.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(keys);
        MockHost::builder(entry::<Goofish>())
            .account("shop1")
            .config(config)
            .offer(Extension::Clock)
            .auto_grant(64, 1 << 22)
    }

    /// Says this to every client.
    pub fn say(&self, text: &str) {
        self.say.send(Some(text.to_owned())).unwrap();
    }

    /// Hangs up on every client.
    pub fn hang_up(&self) {
        self.say.send(None).unwrap();
    }

    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    pub fn mute(&self, is_mute: bool) {
        self.shared.is_mute.store(is_mute, Ordering::SeqCst);
    }

    /// From now on mtop gives no token, and says why; or gives one again.
    pub fn refuse_tokens(&self, code: Option<&str>) {
        *self.shared.refusal.lock().unwrap() = code.map(str::to_owned);
    }

    /// Calls of mtop so far.
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Handshakes so far, refused ones too.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Frames of the client whose path is this; acknowledgements have none: `""`.
    pub fn heard(&self, lwp: &str) -> Vec<String> {
        let heard = self.shared.heard.lock().unwrap();
        let path = |text: &str| {
            let frame: Value = serde_json::from_str(text).unwrap();
            frame["lwp"].as_str().unwrap_or_default().to_owned()
        };
        heard
            .iter()
            .filter(|text| path(text) == lwp)
            .cloned()
            .collect()
    }
}

/// Waits for a condition; what it was is told when it does not come.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    say: broadcast::Sender<Option<String>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, said) = (Arc::clone(&shared), say.subscribe());
        tokio::spawn(async move {
            let mut head = [0; 4];
            while stream
                .peek(&mut head)
                .await
                .is_ok_and(|bytes| bytes < head.len() && bytes > 0)
            {}
            if head == *b"POST" {
                shared.calls.fetch_add(1, Ordering::SeqCst);
                let refusal = shared.refusal.lock().unwrap().clone();
                token(stream, refusal).await;
            } else {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                if !shared.refuses.load(Ordering::SeqCst) {
                    talk(stream, &shared, said).await;
                }
            }
        });
    }
}

/// Answers a call of mtop with a token, or with a refusal.
async fn token(mut stream: TcpStream, refusal: Option<String>) {
    let mut request = Vec::new();
    let is_whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        body.len()
            >= length
                .and_then(|length| length.trim().parse().ok())
                .unwrap_or(0)
    };
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = match refusal {
        Some(code) => json!({ "ret": [code], "data": {} }).to_string(),
        None => json!({ "ret": ["SUCCESS::ok"], "data": { "accessToken": "t", "accessTokenExpiredTime": "86400000" } }).to_string(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

async fn talk(stream: TcpStream, shared: &Shared, mut said: broadcast::Receiver<Option<String>>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    loop {
        tokio::select! {
            say = said.recv() => match say {
                Ok(Some(text)) => socket.send(Message::text(text)).await.unwrap(),
                _ => return,
            },
            frame = socket.next() => {
                let Some(Ok(frame)) = frame else { return };
                let Message::Text(text) = frame else { continue };
                shared.heard.lock().unwrap().push(text.to_string());
                if let Some(answer) = answer(&text).filter(|_| !shared.is_mute.load(Ordering::SeqCst)) {
                    let _ = socket.send(Message::text(answer)).await;
                }
            }
        }
    }
}

fn answer(text: &str) -> Option<String> {
    let frame: Value = serde_json::from_str(text).unwrap();
    let body = match frame["lwp"].as_str()? {
        "/reg" | "/!" => json!({}),
        "/r/SyncStatus/getState" => json!({ "pts": 1, "topic": "sync" }),
        "/r/SyncStatus/ackDiff" => json!({}),
        "/r/Conversation/listNewestPagination" => json!({ "hasMore": 0, "userConvs": [] }),
        _ => return None,
    };
    let mut headers = json!({ "mid": frame["headers"]["mid"] });
    if frame["lwp"] == "/reg" {
        headers["reg-uid"] = json!("1000000001@goofish");
    }
    Some(json!({ "code": 200, "headers": headers, "body": body }).to_string())
}
