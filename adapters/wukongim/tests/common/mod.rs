//! An account in a mock host, and a server in the test's hands: it says and hears exactly what the test wants.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "tests; each binary uses a part of it"
)]

pub mod http;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use im_bridge_adapter_wukongim::WukongIm;
use im_bridge_adapter_wukongim::native::frames::Frames;
use im_bridge_adapter_wukongim::native::packet::{
    ConnAck, Connect, Flags, Packet, Recv, RecvAck, Send, SendAck,
};
use im_bridge_adapter_wukongim::native::seal::{KeyPair, Keys, sign_text_of_recv};
use im_bridge_sdk::test::{
    Builder, Command, CompletionRecord, EventRecord, Extension, MockHost, Outcome, Settling, State,
    entry,
};
use serde_json::{Value, json};

pub const SOON: Duration = Duration::from_secs(10);
pub const WHILE: Duration = Duration::from_millis(300);
const WINDOW_BYTES: u64 = 2 * 1024 * 1024;
const SALT: &str = "aB3dE5fG7hJ9kL1m";

/// Keys that no other command has.
pub fn key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("k-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn account(config: Value) -> Builder {
    MockHost::builder(entry::<WukongIm>())
        .account("bot1")
        .config(config)
        .offer(Extension::Webhook)
        .auto_grant(64, WINDOW_BYTES)
        .auto_settle(Settling::Always(Outcome::STORED))
}

pub fn started(builder: Builder) -> MockHost {
    let host = builder.create().expect("the account is created");
    host.start();
    host
}

pub fn run(host: &MockHost, command: Command) -> CompletionRecord {
    let id = host.execute(command.key(&key()));
    host.wait_completion(id, SOON)
}

/// Why it failed; empty when it did not.
pub fn code(done: &CompletionRecord) -> String {
    done.code.clone().unwrap_or_default()
}

pub fn with_api(server: &Server, api: &http::Api) -> Value {
    let mut config = server.config();
    config["native"] = json!({ "api_url": api.url });
    config
}

pub fn say(channel: &str, text: &str) -> Command {
    let message = json!({ "segments": [{ "type": "text", "data": { "text": text } }] });
    Command::new("message.send")
        .channel(channel)
        .params(json!({ "to": { "channel_id": channel }, "message": message }))
}

/// Texts of messages, and gaps of channels as `gap <from>-<to>`.
pub fn told(events: &[EventRecord]) -> Vec<String> {
    let shown = events.iter().filter_map(|event| {
        let data = event.json();
        match event.kind.as_str() {
            "message.created" => Some(data["message"]["alt_text"].as_str().unwrap().to_owned()),
            "sync.gap" if data["gap"]["scope"] == "channel" => {
                let number = |end: &str| {
                    data["gap"][end]
                        .as_str()
                        .map(|key| key.trim_start_matches('0').to_owned())
                };
                Some(format!(
                    "gap {}-{}",
                    number("from").unwrap_or_default(),
                    number("to").unwrap_or_default()
                ))
            }
            _ => None,
        }
    });
    shown.collect()
}

#[track_caller]
pub fn wait_told(host: &MockHost, wanted: &[&str]) -> Vec<EventRecord> {
    host.wait(&format!("told {wanted:?}"), SOON, |seen| {
        (told(&seen.events) == wanted).then(|| seen.events.clone())
    })
}

/// The server's side.
pub struct Server {
    listener: TcpListener,
}

/// One connection to it.
pub struct Conn {
    stream: TcpStream,
    frames: Frames,
    pub version: u8,
    pub keys: Option<Keys>,
    pub connect: Connect,
}

impl Server {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub fn url(&self) -> String {
        format!("tcp://{}", self.listener.local_addr().unwrap())
    }

    pub fn config(&self) -> Value {
        json!({ "uid": "bot-1", "token": "s3cret-token", "url": self.url(), "health_s": 0 })
    }

    /// The next connection, with its CONNECT read.
    #[track_caller]
    pub fn accept(&self) -> Conn {
        let deadline = Instant::now() + SOON;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) => assert!(
                    Instant::now() < deadline,
                    "nobody connected within {SOON:?}"
                ),
            }
            std::thread::yield_now();
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut conn = Conn {
            stream,
            frames: Frames::default(),
            version: 5,
            keys: None,
            connect: Connect::default(),
        };
        match conn.next() {
            Some(Packet::Connect(connect)) => conn.connect = connect,
            other => panic!("expected CONNECT, got {other:?}"),
        }
        conn
    }

    /// The next connection, logged in and sealed.
    #[track_caller]
    pub fn login(&self) -> Conn {
        let mut conn = self.accept();
        conn.welcome();
        conn
    }

    /// Nobody connects for a while.
    #[track_caller]
    pub fn stays_alone(&self, during: Duration) {
        let until = Instant::now() + during;
        while Instant::now() < until {
            assert!(self.listener.accept().is_err(), "somebody connected");
            std::thread::yield_now();
        }
    }
}

impl Conn {
    /// The next packet; none at the end of the connection.
    #[track_caller]
    pub fn next(&mut self) -> Option<Packet> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(packet) = self.frames.next_packet(self.version).unwrap() {
                return Some(packet);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(bytes) => self.frames.push(&buffer[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing from the adapter: {error}"),
            }
        }
    }

    /// Nothing is written for a while.
    #[track_caller]
    pub fn stays_quiet(&mut self) {
        self.stream.set_read_timeout(Some(WHILE)).unwrap();
        let mut byte = [0; 1];
        let read = self.stream.peek(&mut byte);
        assert!(read.is_err(), "something was written: {read:?}");
        self.stream.set_read_timeout(Some(SOON)).unwrap();
    }

    /// CONNACK with keys.
    pub fn welcome(&mut self) {
        let pair = KeyPair::new().unwrap();
        let answer = ConnAck {
            server_version: Some(self.version),
            reason: 1,
            server_key: pair.public(),
            salt: SALT.to_owned(),
            node_id: Some(1),
            ..ConnAck::default()
        };
        self.keys = Some(pair.agree(&self.connect.client_key, SALT).unwrap());
        self.write(&Packet::ConnAck(answer));
    }

    /// CONNACK without keys.
    pub fn welcome_plain(&mut self) {
        self.write(&Packet::ConnAck(ConnAck {
            server_version: Some(self.version),
            reason: 1,
            node_id: Some(1),
            ..ConnAck::default()
        }));
    }

    pub fn refuse(&mut self, reason: u8) {
        self.write(&Packet::ConnAck(ConnAck {
            reason,
            ..ConnAck::default()
        }));
    }

    pub fn bytes(&self, packet: &Packet) -> Vec<u8> {
        let mut out = Vec::new();
        packet.write(self.version, &mut out).unwrap();
        out
    }

    pub fn write(&mut self, packet: &Packet) {
        let bytes = self.bytes(packet);
        self.write_bytes(&bytes);
    }

    pub fn write_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Seals and signs.
    pub fn sealed(&self, mut recv: Recv) -> Recv {
        if let Some(keys) = &self.keys {
            recv.payload = keys.seal(&recv.payload);
            let key = keys.msg_key(&sign_text_of_recv(&recv));
            recv.msg_key = key.map(char::from).iter().collect();
        }
        recv
    }

    pub fn push(&mut self, recv: Recv) {
        let recv = self.sealed(recv);
        self.write(&Packet::Recv(recv));
    }

    #[track_caller]
    pub fn ack(&mut self) -> RecvAck {
        match self.next() {
            Some(Packet::RecvAck(ack)) => ack,
            other => panic!("expected RECVACK, got {other:?}"),
        }
    }

    /// The next message of the adapter, unsealed.
    #[track_caller]
    pub fn sent(&mut self) -> Send {
        match self.next() {
            Some(Packet::Send(mut send)) => {
                if let Some(keys) = &self.keys {
                    send.payload = keys.unseal(&send.payload).unwrap();
                }
                send
            }
            other => panic!("expected SEND, got {other:?}"),
        }
    }

    pub fn answer(&mut self, send: &Send, message_id: i64, message_seq: u64, reason: u8) {
        self.write(&Packet::SendAck(SendAck {
            flags: send.flags,
            message_id,
            client_seq: send.client_seq,
            message_seq,
            reason,
        }));
    }
}

/// A text of `alice` in the group `team`.
pub fn team(seq: u64, text: &str) -> Recv {
    Recv {
        flags: Flags::RED_DOT,
        from_uid: "alice".to_owned(),
        channel_id: "team".to_owned(),
        channel_type: 2,
        client_msg_no: format!("cmn-{seq}"),
        message_id: 9_000_000_000_000_000_000 + i64::try_from(seq).unwrap(),
        message_seq: seq,
        timestamp_s: 1_760_003_600,
        payload: json!({ "type": 1, "content": text })
            .to_string()
            .into_bytes(),
        ..Recv::default()
    }
}

/// The same as a record of history.
pub fn record(seq: u64, text: &str) -> Value {
    use base64::Engine;
    let recv = team(seq, text);
    json!({
        "header": { "no_persist": 0, "red_dot": 0, "sync_once": 0 }, "setting": 0,
        "message_id": recv.message_id, "message_idstr": recv.message_id.to_string(),
        "client_msg_no": recv.client_msg_no, "message_seq": seq, "from_uid": recv.from_uid,
        "channel_id": recv.channel_id, "channel_type": 2, "expire": 0, "timestamp": recv.timestamp_s,
        "payload": base64::engine::general_purpose::STANDARD.encode(&recv.payload),
    })
}

/// An account that is online on a connection of the test.
pub fn online(server: &Server, builder: Builder) -> (MockHost, Conn) {
    let host = started(builder);
    let conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    (host, conn)
}
