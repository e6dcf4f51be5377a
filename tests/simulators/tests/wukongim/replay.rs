//! What was recorded on the wire of a real server happens again: the same steps, the same answers. Free to differ are keys,
//! salts, message ids and times.

use crate::codec::packets::{Connect, Flags, Packet, Send};
use crate::peer::{Peer, http, logins, native, started};
use crate::vectors::vectors;
use im_bridge_test_harness::{Simulator, eventually};
use serde_json::{Value, json};

/// One side of a recorded session, and what it has heard so far.
struct Actor<'a> {
    simulator: &'a Simulator,
    session: &'a Value,
    peer: Peer,
    heard: Vec<Packet>,
    /// Ids of the RECVs so far, for their acknowledgements.
    last: Option<(i64, u64)>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn small(value: &Value) -> u8 {
    u8::try_from(value.as_u64().unwrap_or(0)).unwrap()
}

/// What identifies a packet, and what must be the same in it.
fn gist(packet: &Packet) -> (String, Value) {
    match packet {
        Packet::Sendack(it) => (
            format!("SENDACK {}", it.client_seq),
            json!([it.flags.bits(), it.message_seq, it.reason]),
        ),
        Packet::Recv(it) => (
            format!("RECV {}", it.client_msg_no),
            json!([
                it.flags.bits(),
                it.message_seq,
                it.setting,
                it.from_uid,
                it.channel_id,
                it.channel_type,
                it.expire_s,
                it.topic,
                String::from_utf8(it.payload.to_vec()).unwrap(),
                it.msg_key.is_empty(),
            ]),
        ),
        Packet::Pong => ("PONG".to_owned(), Value::Null),
        Packet::Event(it) => {
            let data: Value = serde_json::from_slice(&it.data).unwrap();
            let same = json!([it.kind, it.timestamp_ms, data]);
            (format!("EVENT {}", it.id), same)
        }
        Packet::Disconnect { reason, text } => ("DISCONNECT".to_owned(), json!([reason, text])),
        other => panic!("a server does not say {other:?}"),
    }
}

/// The same of a recorded step.
fn wanted(step: &Value) -> (String, Value) {
    let it = &step["fields"];
    match step["packet"].as_str().unwrap() {
        "SENDACK" => (
            format!("SENDACK {}", it["client_seq"]),
            json!([it["flags"], it["message_seq"], it["reason"]]),
        ),
        "RECV" => (
            format!("RECV {}", text(&it["client_msg_no"])),
            json!([
                it["flags"],
                it["message_seq"],
                it["setting"],
                it["from_uid"],
                it["channel_id"],
                it["channel_type"],
                it["expire"],
                text(&it["topic"]),
                it["payload_utf8"],
                text(&it["msg_key"]).is_empty(),
            ]),
        ),
        "PONG" => ("PONG".to_owned(), Value::Null),
        "EVENT" => {
            let data: Value = serde_json::from_str(it["data"].as_str().unwrap()).unwrap();
            let same = json!([it["type"], it["timestamp"], data]);
            (format!("EVENT {}", text(&it["id"])), same)
        }
        "DISCONNECT" => (
            "DISCONNECT".to_owned(),
            json!([it["reason"], it["reason_text"]]),
        ),
        other => panic!("{other} is not told by a server"),
    }
}

impl Actor<'_> {
    async fn play(&mut self) {
        let is_alice = self.session["uid"] == "alice";
        for step in self.session["steps"].as_array().unwrap() {
            println!(
                "{}: {} {}",
                self.session["name"], step["dir"], step["packet"]
            );
            let it = &step["fields"];
            match (
                step["dir"].as_str().unwrap(),
                step["packet"].as_str().unwrap(),
            ) {
                ("c2s", "CONNECT") => self.connect(it).await,
                ("s2c", "CONNACK") => {}
                ("c2s", "SEND") => self.send(it).await,
                ("c2s", "RECVACK") => {
                    let (message_id, message_seq) = self.last.expect("something was heard");
                    let flags = Flags::of(small(&it["flags"]));
                    self.peer
                        .packet(&Packet::Recvack {
                            flags,
                            message_id,
                            message_seq,
                        })
                        .await;
                }
                ("c2s", _) => self.peer.packet(&Packet::Ping).await,
                (_, packet) => {
                    let (id, same) = wanted(step);
                    // What the recorder did over HTTP at this point.
                    if is_alice && id.ends_with("-7") && packet == "RECV" {
                        self.say_over_http(&text(&it["client_msg_no"])).await;
                    } else if is_alice && packet == "EVENT" {
                        self.tell_event(it).await;
                    } else if packet == "DISCONNECT" {
                        let body = json!({ "uid": self.session["uid"], "device_flag": 1 });
                        native(self.simulator, "/user/device_quit", &body).await;
                    }
                    assert_eq!(self.hear(&id).await, same, "{id}");
                }
            }
        }
    }

    async fn connect(&mut self, it: &Value) {
        let connect = Connect {
            version: small(&it["version"]),
            device_flag: small(&it["device_flag"]),
            device_id: text(&it["device_id"]),
            uid: text(&it["uid"]),
            token: text(&it["token"]),
            client_timestamp_ms: it["client_timestamp"].as_i64().unwrap(),
            client_key: crate::codec::seal::public(crate::peer::SECRET),
        };
        let connack = self.peer.greet(&connect).await.expect("it is let in");
        let steps = self.session["steps"].as_array().unwrap();
        let recorded = &steps[1]["fields"];
        assert_eq!(connack.reason, 1);
        assert_eq!(json!(connack.server_version), recorded["server_version"]);
        if let Some(node_id) = recorded["node_id"].as_u64() {
            assert_eq!(connack.node_id, node_id);
        }
        assert_eq!(
            self.peer.version,
            small(&self.session["negotiated_version"])
        );
        assert_eq!(self.peer.keys.is_some(), self.session["encrypted"] == true);
    }

    async fn send(&mut self, it: &Value) {
        let mut send = self.peer.sealed(Send {
            flags: Flags::of(small(&it["flags"])),
            setting: small(&it["setting"]),
            client_seq: u32::try_from(it["client_seq"].as_u64().unwrap()).unwrap(),
            client_msg_no: text(&it["client_msg_no"]),
            channel_id: text(&it["channel_id"]),
            channel_type: small(&it["channel_type"]),
            expire_s: u32::try_from(it["expire"].as_u64().unwrap()).unwrap(),
            topic: text(&it["topic"]),
            payload: text(&it["payload_utf8"]).into(),
            ..Send::default()
        });
        if send.client_msg_no.ends_with("-6") {
            send.msg_key = "0".repeat(32);
        }
        self.peer.packet(&Packet::Send(send)).await;
    }

    /// The packet with this id, whatever overtook it.
    async fn hear(&mut self, id: &str) -> Value {
        loop {
            let found = self.heard.iter().position(|packet| gist(packet).0 == id);
            if let Some(found) = found {
                let packet = self.heard.remove(found);
                if let Packet::Recv(it) = &packet {
                    self.last = Some((it.message_id, it.message_seq));
                }
                return gist(&packet).1;
            }
            let packet = match self.peer.next().await {
                Some(Packet::Recv(recv)) => Packet::Recv(self.peer.unsealed(recv)),
                Some(packet) => packet,
                None => panic!("the connection ended before {id}"),
            };
            self.heard.push(packet);
        }
    }

    async fn say_over_http(&self, number: &str) {
        // {"content":"from the HTTP side","type":1}
        let payload = "eyJjb250ZW50IjoiZnJvbSB0aGUgSFRUUCBzaWRlIiwidHlwZSI6MX0=";
        let body = json!({
            "header": { "red_dot": 1 }, "from_uid": "alice", "channel_id": "bob", "channel_type": 1,
            "client_msg_no": number, "payload": payload,
        });
        native(self.simulator, "/message/send", &body).await;
    }

    async fn tell_event(&self, it: &Value) {
        let data: Value = serde_json::from_str(it["data"].as_str().unwrap()).unwrap();
        native(self.simulator, "/message/event", &event(it, &data)).await;
    }
}

fn event(it: &Value, data: &Value) -> Value {
    json!({
        "event_id": it["id"], "event_type": it["type"], "occurred_at": it["timestamp"],
        "client_msg_no": data["client_msg_no"], "channel_id": data["channel_id"],
        "channel_type": data["channel_type"], "from_uid": data["from_uid"],
        "event_key": data["event_key"], "payload": data["payload"],
    })
}

async fn registered(simulator: &Simulator, uids: &[&str]) {
    for uid in uids {
        let body = json!({
            "uid": uid, "token": format!("tok-{uid}"), "device_flag": 1, "device_level": 0,
        });
        native(simulator, "/user/token", &body).await;
    }
}

async fn actor<'a>(simulator: &'a Simulator, session: &'a Value) -> Actor<'a> {
    Actor {
        simulator,
        session,
        peer: Peer::open(simulator, session["transport"].as_str().unwrap()).await,
        heard: Vec::new(),
        last: None,
    }
}

#[tokio::test]
async fn the_recorded_sessions_happen_again() {
    let vectors = vectors();
    let sessions = vectors["recorded"]["sessions"].as_array().unwrap();
    let sealed = started(&json!({ "token_auth": true }));
    let plain = started(&json!({ "token_auth": true, "encryption": false }));
    for simulator in [&sealed, &plain] {
        registered(simulator, &["alice", "bob"]).await;
        crate::peer::group(simulator, "team", &["alice", "bob"]).await;
    }
    // The real server had counted up to here.
    let control = sealed.control();
    let person = json!({ "uid": "alice", "channel_id": "bob", "channel_type": 1, "count": 12 });
    control.act("gap", person).await;
    let team = json!({ "channel_id": "team", "channel_type": 2, "count": 4 });
    control.act("gap", team).await;
    let mut rest = sessions.iter();
    let mut played = 0;
    while let Some(alice) = rest.next() {
        let simulator = if alice["encrypted"] == true {
            &sealed
        } else {
            &plain
        };
        registered(simulator, &["alice", "bob"]).await;
        let mut alice_plays = actor(simulator, alice).await;
        played += 1;
        if alice["announced_version"] == 6 {
            // Bob's side of it was not recorded: he is here, but says only what alice hears.
            let mut bob = Peer::login(simulator, "tcp", &crate::peer::connect("bob", 5)).await;
            let script = async {
                let first = bob.recv().await;
                assert_eq!(first.client_msg_no, "rec-6-1");
                bob.ack(&first).await;
                let number = "rec-6-2";
                let payload = "{\"content\":\"你好 👋\",\"type\":1}";
                bob.client_seq += 1;
                let send = bob.sealed(Send {
                    flags: Flags::of(2),
                    client_seq: 1,
                    client_msg_no: number.to_owned(),
                    channel_id: "alice".to_owned(),
                    channel_type: 1,
                    payload: payload.into(),
                    ..Send::default()
                });
                bob.packet(&Packet::Send(send)).await;
            };
            tokio::join!(alice_plays.play(), script);
            continue;
        }
        let bob = rest.next().unwrap();
        played += 1;
        let mut bob_plays = actor(simulator, bob).await;
        // Who is written to first is there first.
        bob_plays.peer = Peer::open(simulator, bob["transport"].as_str().unwrap()).await;
        let control = simulator.control();
        let before = logins(&control, "bob").await;
        let ready = eventually("bob's login", || async {
            (logins(&control, "bob").await > before).then_some(())
        });
        let bob_side = bob_plays.play();
        let alice_side = async {
            ready.await;
            alice_plays.play().await;
        };
        tokio::join!(bob_side, alice_side);
    }
    assert_eq!(played, sessions.len());
}

/// Without what may differ.
fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Array(all) => {
            all.iter_mut()
                .for_each(|it| *it = comparable(std::mem::take(it)));
            all.sort_by_key(|it| it["channel_id"].to_string());
        }
        Value::Object(all) => {
            for (key, it) in all.iter_mut() {
                let is_made =
                    key == "client_msg_no" || key == "last_client_msg_no" || key == "clientMsgNo";
                let is_made = is_made && it.as_str().is_some_and(|it| it.len() == 33);
                let is_free = [
                    "messageId",
                    "message_id",
                    "message_idstr",
                    "timestamp",
                    "version",
                    "timeDiff",
                    "msg",
                    "tcp_addr",
                    "ws_addr",
                ];
                if is_made || is_free.contains(&key.as_str()) && *it != json!("") {
                    *it = json!(format!("a {key}"));
                } else if key == "error" {
                    it["message"] = json!("an error");
                } else {
                    *it = comparable(std::mem::take(it));
                }
            }
            // The time that passed may have been none, which is left out.
            all.remove("timeDiff");
        }
        _ => {}
    }
    value
}

/// Says the client's recorded lines and hears the server's, up to one that the given one ends.
async fn lines(peer: &mut Peer, lines: &mut std::slice::Iter<'_, Value>, count: usize) {
    for line in lines.take(count) {
        let text = line["text"].as_str().unwrap();
        println!("{} {text}", line["dir"]);
        if line["dir"] == "c2s" {
            if text.contains("recvack") {
                continue;
            }
            peer.line(text).await;
        } else {
            let heard = peer.object().await.expect("the connection lives");
            let wanted: Value = serde_json::from_str(text).unwrap();
            assert_eq!(comparable(heard), comparable(wanted));
        }
    }
}

#[tokio::test]
async fn the_recorded_lines_and_requests_happen_again() {
    let vectors = vectors();
    let recorded = &vectors["recorded"];
    let simulator = started(&json!({ "token_auth": true }));
    registered(&simulator, &["dora", "emil"]).await;
    let connections = recorded["jsonrpc"]["connections"].as_array().unwrap();
    let mut dora_lines = connections[0]["lines"].as_array().unwrap().iter();
    let mut emil_lines = connections[1]["lines"].as_array().unwrap().iter();
    let mut dora = Peer::open(&simulator, "ws").await;
    let mut emil = Peer::open(&simulator, "ws").await;
    lines(&mut emil, &mut emil_lines, 2).await;
    lines(&mut dora, &mut dora_lines, 10).await;
    lines(&mut emil, &mut emil_lines, 3).await;
    let told: Value =
        serde_json::from_str(dora_lines.as_slice()[0]["text"].as_str().unwrap()).unwrap();
    let data = told["params"]["data"].as_str().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    native(&simulator, "/message/event", &event(&told["params"], &data)).await;
    let heard = dora.object().await.unwrap();
    let heard_data = heard["params"]["data"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(heard_data).unwrap(), data);
    assert_eq!(emil.object().await.unwrap(), heard);
    dora_lines.next();
    emil_lines.next();
    lines(&mut dora, &mut dora_lines, 4).await;
    let quit = json!({ "uid": "emil", "device_flag": 1 });
    native(&simulator, "/user/device_quit", &quit).await;
    lines(&mut emil, &mut emil_lines, 1).await;
    let address = simulator.address("http");
    for exchange in recorded["http"]["exchanges"].as_array().unwrap() {
        let (method, path) = (text(&exchange["method"]), text(&exchange["path"]));
        println!("{method} {path}");
        let body = exchange.get("body");
        let (status, _, answer) = http(address, &method, &path, "", body).await;
        assert_eq!(json!(status), exchange["status"], "{path}: {answer}");
        let wanted = exchange["raw_answer"].as_str().unwrap();
        match serde_json::from_str::<Value>(wanted) {
            Ok(wanted) => {
                let answer = serde_json::from_str(&answer).unwrap();
                assert_eq!(comparable(answer), comparable(wanted), "{path}");
            }
            Err(_) => assert_eq!(answer, wanted, "{path}"),
        }
    }
    let (left, right) = (dora_lines.len(), emil_lines.len());
    lines(&mut dora, &mut dora_lines, left).await;
    lines(&mut emil, &mut emil_lines, right).await;
}
