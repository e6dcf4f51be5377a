//! A client of the tests' own, on either transport, and the world around it.

use crate::codec::frames::Splitter;
use crate::codec::packets::{self, Connack, Connect, Packet, Recv, Send, Sendack};
use crate::codec::seal::{self, Keys};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use im_bridge_test_harness::{Control, Simulator, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub const SECRET: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
/// A text message.
pub const HELLO: &str = r#"{"content":"hello","type":1}"#;

/// A simulator with these settings.
pub fn started(settings: &Value) -> Simulator {
    let mut settings = settings.clone();
    if settings.get("silent_ms").is_none() {
        // The tests' own client is slow to greet on a busy machine.
        settings["silent_ms"] = json!(30_000);
    }
    let settings = settings.to_string();
    let any = "127.0.0.1:0";
    let arguments = [
        "--openchat",
        any,
        "--http",
        any,
        "--ws",
        any,
        "--tcp",
        any,
        "--settings",
        &settings,
    ];
    Simulator::of("wukongim", &arguments)
}

enum Wire {
    Tcp(TcpStream),
    Ws(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

pub struct Peer {
    wire: Wire,
    pub input: BytesMut,
    splitter: Splitter,
    pub version: u8,
    pub keys: Option<Keys>,
    pub client_seq: u32,
    /// Frames of the last WebSocket message, or read.
    pub is_text: bool,
}

pub fn connect(uid: &str, version: u8) -> Connect {
    Connect {
        version,
        device_flag: 1,
        device_id: format!("dev-{uid}"),
        uid: uid.to_owned(),
        token: format!("tok-{uid}"),
        client_timestamp_ms: 0,
        client_key: seal::public(SECRET),
    }
}

pub fn bytes_of(packet: &Packet, version: u8) -> BytesMut {
    let mut bytes = BytesMut::new();
    packets::encode(packet, version, &mut bytes);
    bytes
}

impl Peer {
    pub async fn open(simulator: &Simulator, transport: &str) -> Self {
        let address = simulator.address(transport);
        let wire = if transport == "tcp" {
            let address = address.strip_prefix("tcp://").unwrap();
            Wire::Tcp(TcpStream::connect(address).await.unwrap())
        } else {
            let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
            Wire::Ws(Box::new(socket))
        };
        Self {
            wire,
            input: BytesMut::new(),
            splitter: Splitter::default(),
            version: 0,
            keys: None,
            client_seq: 0,
            is_text: false,
        }
    }

    /// Logged in; fails the test if the server does not want it.
    pub async fn login(simulator: &Simulator, transport: &str, connect: &Connect) -> Self {
        let mut peer = Self::open(simulator, transport).await;
        let connack = peer.greet(connect).await;
        assert_eq!(connack.expect("it is let in").reason, 1);
        peer
    }

    /// Says CONNECT; the CONNACK, if one comes.
    pub async fn greet(&mut self, connect: &Connect) -> Option<Connack> {
        let greeting = bytes_of(&Packet::Connect(connect.clone()), 0);
        // Refused already.
        self.said(&greeting).await.ok()?;
        let Packet::Connack(connack) = self.next().await? else {
            panic!("a server begins with CONNACK");
        };
        self.version = connack.server_version.unwrap_or(connect.version);
        if let Some(theirs) = seal::read_public(&connack.server_key) {
            self.keys = Keys::agree(SECRET, theirs, &connack.salt);
        }
        Some(connack)
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        self.said(bytes).await.expect("the server reads");
    }

    async fn said(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &mut self.wire {
            Wire::Tcp(stream) => {
                let said = stream.write_all(bytes).await;
                said.map_err(|error| error.to_string())
            }
            Wire::Ws(socket) => {
                let message = Message::binary(Bytes::copy_from_slice(bytes));
                let said = socket.send(message).await;
                said.map_err(|error| error.to_string())
            }
        }
    }

    pub async fn line(&mut self, text: &str) {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write_all(text.as_bytes()).await.unwrap(),
            Wire::Ws(socket) => socket.send(Message::text(text)).await.unwrap(),
        }
    }

    pub async fn packet(&mut self, packet: &Packet) {
        let bytes = bytes_of(packet, self.version);
        self.say(&bytes).await;
    }

    /// What came in one read; empty at the end.
    pub async fn chunk(&mut self) -> Bytes {
        let read = async {
            match &mut self.wire {
                Wire::Tcp(stream) => {
                    let mut bytes = BytesMut::with_capacity(64 * 1024);
                    // A reset is an end.
                    let _ = stream.read_buf(&mut bytes).await;
                    bytes.freeze()
                }
                Wire::Ws(socket) => loop {
                    match socket.next().await {
                        Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) => {
                            self.is_text = message.is_text();
                            return message.into_data();
                        }
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Bytes::new(),
                    }
                },
            }
        };
        within("something from the server", read).await
    }

    /// The next packet; `None` when the connection is over.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(frame) = self.splitter.next(&mut self.input).unwrap() {
                return Some(packets::decode(frame, self.version).unwrap());
            }
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return None;
            }
            self.input.extend_from_slice(&chunk);
        }
    }

    /// The next JSON object, one a message.
    pub async fn object(&mut self) -> Option<Value> {
        let chunk = self.chunk().await;
        (!chunk.is_empty()).then(|| serde_json::from_slice(&chunk).unwrap())
    }

    pub fn sealed(&self, mut send: Send) -> Send {
        if let Some(keys) = &self.keys {
            send.payload = keys.seal(&send.payload).into();
            send.msg_key = keys.sign(&send.sign_text());
        }
        send
    }

    /// A text message; its answer.
    pub async fn send(&mut self, channel_id: &str, channel_type: u8, number: &str) -> Sendack {
        self.send_only(channel_id, channel_type, number).await;
        self.sendack().await
    }

    pub async fn send_only(&mut self, channel_id: &str, channel_type: u8, number: &str) {
        self.client_seq += 1;
        let send = self.sealed(Send {
            flags: packets::Flags::of(2),
            client_seq: self.client_seq,
            client_msg_no: number.to_owned(),
            channel_id: channel_id.to_owned(),
            channel_type,
            payload: HELLO.into(),
            ..Send::default()
        });
        self.packet(&Packet::Send(send)).await;
    }

    pub async fn sendack(&mut self) -> Sendack {
        match self.next().await {
            Some(Packet::Sendack(sendack)) => sendack,
            other => panic!("no SENDACK but {other:?}"),
        }
    }

    /// The next packet, which is a RECV with a good key, unsealed.
    pub async fn recv(&mut self) -> Recv {
        match self.next().await {
            Some(Packet::Recv(recv)) => self.unsealed(recv),
            other => panic!("no RECV but {other:?}"),
        }
    }

    pub fn unsealed(&self, mut recv: Recv) -> Recv {
        if let Some(keys) = &self.keys {
            assert_eq!(keys.sign(&recv.sign_text()), recv.msg_key, "{recv:?}");
            recv.payload = keys.unseal(&recv.payload).unwrap().into();
        }
        recv
    }

    pub async fn ack(&mut self, recv: &Recv) {
        self.packet(&Packet::Recvack {
            flags: recv.flags,
            message_id: recv.message_id,
            message_seq: recv.message_seq,
        })
        .await;
    }

    /// A ping that is answered, so that whatever was said before has been heard.
    pub async fn ping(&mut self) {
        self.packet(&Packet::Ping).await;
        assert_eq!(self.next().await, Some(Packet::Pong));
    }
}

/// Says something over HTTP; its status, its head and its body.
pub async fn http(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&Value>,
) -> (u16, String, String) {
    let host = address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that a fault breaks off ends in an error; what came before counts.
    let _ = within("an HTTP answer", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return (0, String::new(), answer);
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

/// The same to the server's own API, where it must succeed.
pub async fn native(simulator: &Simulator, path: &str, body: &Value) -> Value {
    let address = simulator.address("http");
    let (status, _, answer) = http(address, "POST", path, "", Some(body)).await;
    assert_eq!(status, 200, "{path}: {answer}");
    serde_json::from_str(&answer).unwrap()
}

pub async fn group(simulator: &Simulator, id: &str, members: &[&str]) {
    let body = json!({ "channel_id": id, "channel_type": 2, "subscribers": members });
    assert_eq!(native(simulator, "/channel", &body).await["status"], 200);
}

/// Waits until an entry of the record fits; that entry.
pub async fn recorded(control: &Control, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let what = format!("{kind} in the record");
    im_bridge_test_harness::eventually(&what, || async {
        let entries = control.record(&[kind]).await;
        entries.into_iter().find(&fits)
    })
    .await
}

/// How often this user has logged in.
pub async fn logins(control: &Control, uid: &str) -> usize {
    let begun = control.record(&["session.begun"]).await;
    begun.iter().filter(|it| it["uid"] == uid).count()
}

impl Peer {
    /// How long the first piece of something is that bob is told; the rest is read as well.
    pub async fn chunk_len_of_next(&mut self, control: &Control) -> usize {
        let event = json!([{ "packet": "event", "id": "e", "type": "t", "data": "some text" }]);
        let order = json!({ "uid": "bob", "packets": event });
        control.act("push", order).await;
        let first = self.chunk().await;
        self.input.extend_from_slice(&first);
        assert!(matches!(self.next().await, Some(Packet::Event(_))));
        first.len()
    }
}
