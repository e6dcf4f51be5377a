//! Each fault strikes where it is armed, as often as it is told to, and nobody else.

use crate::codec::frames::Splitter;
use crate::codec::packets::{self, Packet};
use crate::peer::{Peer, connect, group, logins, recorded, started};
use bytes::BytesMut;
use im_bridge_test_harness::{Control, stays};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const A_WHILE: Duration = Duration::from_millis(300);

async fn arm(control: &Control, fault: Value) {
    control.act("fault", fault).await;
}

async fn say(control: &Control, text: &str, times: u32) -> Value {
    let order = json!({
        "from": "alice", "channel_id": "bob", "channel_type": 1, "text": text, "times": times,
    });
    let mut answer = control.act("send", order).await;
    answer["messages"].take()
}

#[tokio::test]
async fn connections_are_refused_dropped_and_never_served() {
    let simulator = started(&json!({ "silent_ms": 60_000, "refusal_ms": 200 }));
    let control = simulator.control();
    for transport in ["tcp", "ws"] {
        let bob = connect("bob", 5);
        arm(
            &control,
            json!({ "on": "accept", "do": "unserved", "ms": 200, "transport": "tcp" }),
        )
        .await;
        arm(&control, json!({ "on": "connect", "do": "unserved", "ms": 200, "uid": "bob", "transport": "ws" })).await;
        let begun = Instant::now();
        let mut peer = Peer::open(&simulator, transport).await;
        assert_eq!(peer.greet(&bob).await, None);
        assert!(begun.elapsed() >= Duration::from_millis(200));
        control.act("disarm", json!({})).await;
        arm(
            &control,
            json!({ "on": "connect", "do": "refuse", "times": 2 }),
        )
        .await;
        arm(
            &control,
            json!({ "on": "connect", "do": "refuse", "reason": 19 }),
        )
        .await;
        for _ in 0..2 {
            let mut peer = Peer::open(&simulator, transport).await;
            assert_eq!(peer.greet(&bob).await, None);
        }
        let mut peer = Peer::open(&simulator, transport).await;
        assert_eq!(peer.greet(&bob).await.unwrap().reason, 19);
        assert_eq!(peer.next().await, None);
        for act in ["drop", "reset", "close"] {
            arm(
                &control,
                json!({ "on": "connect", "do": act, "effect": false }),
            )
            .await;
            let mut peer = Peer::open(&simulator, transport).await;
            assert_eq!(peer.greet(&bob).await, None);
        }
        arm(
            &control,
            json!({ "on": "connect", "do": "delay", "ms": 300 }),
        )
        .await;
        let begun = Instant::now();
        Peer::login(&simulator, transport, &bob).await;
        assert!(begun.elapsed() >= Duration::from_millis(300));
        arm(&control, json!({ "on": "connect", "do": "withhold" })).await;
        let mut peer = Peer::open(&simulator, transport).await;
        let silence = tokio::time::timeout(A_WHILE, peer.greet(&bob)).await;
        assert!(silence.is_err());
    }
    assert_eq!(logins(&control, "bob").await, 2);
    arm(
        &control,
        json!({ "on": "accept", "do": "refuse", "status": 502 }),
    )
    .await;
    let refused = tokio_tungstenite::connect_async(simulator.address("ws")).await;
    assert!(refused.unwrap_err().to_string().contains("502"));
    assert_eq!(control.get("fault").await["faults"], json!([]));
}

#[tokio::test]
async fn sends_are_answered_badly() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    for transport in ["tcp", "ws"] {
        let mut alice = Peer::login(&simulator, transport, &connect("alice", 5)).await;
        arm(
            &control,
            json!({ "on": "send", "do": "trailing", "after": 1 }),
        )
        .await;
        assert!(alice.send("bob", 1, "passes").await.trailing.is_empty());
        assert!(!alice.send("bob", 1, "trailing").await.trailing.is_empty());
        arm(&control, json!({ "on": "send", "do": "duplicate" })).await;
        let one = alice.send("bob", 1, "twice").await;
        assert_eq!(alice.sendack().await, one);
        for reason in [3, 4, 19, 24] {
            arm(
                &control,
                json!({ "on": "send", "do": "refuse", "reason": reason, "uid": "alice" }),
            )
            .await;
            let refused = alice.send("bob", 1, "refused").await;
            assert_eq!((refused.reason, refused.message_seq), (reason, 0));
            assert_ne!(refused.message_id, 0);
        }
        arm(&control, json!({ "on": "send", "do": "delay", "ms": 200 })).await;
        alice.send_only("bob", 1, "late").await;
        // The next one's answer overtakes it.
        assert_eq!(
            alice.send("bob", 1, "next").await.client_seq,
            alice.client_seq
        );
        assert_eq!(alice.sendack().await.client_seq, alice.client_seq - 1);
        arm(&control, json!({ "on": "send", "do": "withhold" })).await;
        alice.send_only("bob", 1, "effective").await;
        recorded(&control, "send", |it| it["client_msg_no"] == "effective").await;
        arm(
            &control,
            json!({ "on": "send", "do": "withhold", "effect": false }),
        )
        .await;
        alice.send_only("bob", 1, "lost").await;
        alice.ping().await;
        arm(&control, json!({ "on": "send", "do": "reset" })).await;
        alice.send_only("bob", 1, "and gone").await;
        assert_eq!(alice.next().await, None);
        recorded(&control, "send", |it| it["client_msg_no"] == "and gone").await;
    }
    let sent = control.record(&["send"]).await;
    assert!(sent.iter().all(|it| it["client_msg_no"] != "lost"));
}

#[tokio::test]
async fn messages_arrive_badly() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    for transport in ["tcp", "ws"] {
        let mut bob = Peer::login(&simulator, transport, &connect("bob", 5)).await;
        arm(
            &control,
            json!({ "on": "recv", "do": "duplicate", "uid": "bob" }),
        )
        .await;
        say(&control, "twice", 1).await;
        assert_eq!(bob.recv().await, bob.recv().await);
        arm(
            &control,
            json!({ "on": "recv", "do": "withhold", "after": 1 }),
        )
        .await;
        let said = say(&control, "with a gap", 3).await;
        let heard = [bob.recv().await, bob.recv().await].map(|it| json!(it.message_seq));
        assert_eq!(
            heard,
            [
                said[0]["message_seq"].clone(),
                said[2]["message_seq"].clone()
            ]
        );
        arm(
            &control,
            json!({ "on": "recv", "do": "reorder", "places": 2 }),
        )
        .await;
        let said = say(&control, "out of order", 4).await;
        for index in [1, 2, 0, 3] {
            assert_eq!(
                json!(bob.recv().await.message_seq),
                said[index]["message_seq"]
            );
        }
        arm(
            &control,
            json!({ "on": "recv", "do": "reorder", "places": 9, "ms": 100 }),
        )
        .await;
        say(&control, "overtaken by nobody", 1).await;
        bob.recv().await;
        arm(&control, json!({ "on": "recv", "do": "bad_key" })).await;
        say(&control, "forged", 1).await;
        let Some(Packet::Recv(forged)) = bob.next().await else {
            panic!("it comes");
        };
        assert_eq!(forged.msg_key, "0".repeat(32));
        arm(&control, json!({ "on": "recv", "do": "unknown" })).await;
        say(&control, "behind something unknown", 1).await;
        let mut chunk = BytesMut::new();
        let mut splitter = Splitter::default();
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            if let Some(frame) = splitter.next(&mut chunk).unwrap() {
                kinds.push(frame.kind);
                continue;
            }
            chunk.extend_from_slice(&bob.chunk().await);
        }
        assert_eq!(kinds, [13, 5]);
        arm(&control, json!({ "on": "recvack", "do": "withhold" })).await;
        say(&control, "acknowledged in vain", 1).await;
        let heard = bob.recv().await;
        bob.ack(&heard).await;
        bob.ping().await;
        let id = heard.message_id.to_string();
        let acks = control.record(&["recvack"]).await;
        assert!(acks.iter().all(|it| it["message_id"] != id));
        arm(
            &control,
            json!({ "on": "recv", "do": "close", "code": 1012 }),
        )
        .await;
        say(&control, "the last", 1).await;
        assert_eq!(
            bob.recv().await.payload,
            r#"{"content":"the last","type":1}"#
        );
        assert_eq!(bob.next().await, None);
    }
}

#[tokio::test]
async fn pings_and_whole_connections_fail() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    for transport in ["tcp", "ws"] {
        let mut bob = Peer::login(&simulator, transport, &connect("bob", 5)).await;
        arm(&control, json!({ "on": "ping", "do": "withhold" })).await;
        bob.packet(&Packet::Ping).await;
        bob.ping().await;
        control
            .act("connections", json!({ "do": "half_open", "uid": "bob" }))
            .await;
        say(&control, "into the void", 1).await;
        bob.packet(&Packet::Ping).await;
        let silence = tokio::time::timeout(A_WHILE, bob.next()).await;
        assert!(silence.is_err());
        control
            .act("connections", json!({ "do": "resume", "uid": "bob" }))
            .await;
        let (mut recvs, mut pongs) = (0, 0);
        while recvs + pongs < 2 {
            match bob.next().await {
                Some(Packet::Recv(_)) => recvs += 1,
                Some(Packet::Pong) => pongs += 1,
                other => panic!("{other:?}"),
            }
        }
        control
            .act("connections", json!({ "do": "mute", "uid": "bob" }))
            .await;
        bob.packet(&Packet::Ping).await;
        assert!(tokio::time::timeout(A_WHILE, bob.next()).await.is_err());
        let answer = control.act("connections", json!({ "do": "drop" })).await;
        assert_eq!(answer["count"], 1);
        assert_eq!(bob.next().await, None);
        let mut bob = Peer::login(&simulator, transport, &connect("bob", 5)).await;
        let order = json!({ "do": "kick", "uid": "bob", "text": "go", "ms": 60_000 });
        control.act("connections", order).await;
        let go = Packet::Disconnect {
            reason: 12,
            text: "go".to_owned(),
        };
        assert_eq!(bob.next().await, Some(go));
        control.act("crash", json!({ "down_ms": 300 })).await;
        assert_eq!(bob.next().await, None);
        let address = simulator.address("http");
        im_bridge_test_harness::eventually("it is back", || async {
            let (status, ..) = crate::peer::http(address, "GET", "/health", "", None).await;
            (status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_fragmented_message_makes_mute() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let simulator = started(&json!({}));
    let control = simulator.control();
    let host = simulator.address("ws").strip_prefix("ws://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let upgrade = format!(
        "GET /any/path HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    // The example of RFC 6455.
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    let login = crate::peer::bytes_of(&Packet::Connect(connect("alice", 5)), 5);
    let length = u8::try_from(login.len()).unwrap();
    assert!(length < 126);
    // Masked with zeros.
    let whole = [&[0x82, 0x80 | length, 0, 0, 0, 0], &*login].concat();
    stream.write_all(&whole).await.unwrap();
    recorded(&control, "session.begun", |_| true).await;
    stream
        .write_all(&[0x02, 0x81, 0, 0, 0, 0, 0x70])
        .await
        .unwrap();
    recorded(&control, "session.ended", |it| {
        it["cause"] == "a fragmented message"
    })
    .await;
}

#[tokio::test]
async fn anything_can_be_said() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    for transport in ["tcp", "ws"] {
        let mut bob = Peer::login(&simulator, transport, &connect("bob", 5)).await;
        let packets = json!([
            { "packet": "event", "id": "e", "type": "t", "timestamp_ms": 5, "data": "{}" },
            { "packet": "disconnect", "reason": 12, "text": "go" },
            { "packet": "recv", "from_uid": "x", "channel_id": "x", "channel_type": 1,
              "message_id": 9, "message_seq": 3, "payload": "plain" },
        ]);
        let order = json!({ "uid": "bob", "packets": packets, "version": 5 });
        control.act("push", order).await;
        if transport == "ws" {
            let joined = bob.chunk().await;
            let (mut splitter, mut buffer) = (Splitter::default(), BytesMut::from(&*joined));
            for _ in 0..3 {
                let frame = splitter.next(&mut buffer).unwrap().unwrap();
                packets::decode(frame, 5).unwrap();
            }
            assert!(buffer.is_empty(), "in one message");
        } else {
            assert!(matches!(bob.next().await, Some(Packet::Event(_))));
            assert!(matches!(bob.next().await, Some(Packet::Disconnect { .. })));
            assert!(matches!(bob.next().await, Some(Packet::Recv(_))));
        }
        // Half of a PONG's neighbours: a frame in two pieces.
        control
            .act("push", json!({ "uid": "bob", "hex": "9003" }))
            .await;
        control
            .act("push", json!({ "uid": "bob", "hex": "0c000080" }))
            .await;
        assert!(matches!(bob.next().await, Some(Packet::Disconnect { .. })));
        assert_eq!(bob.next().await, Some(Packet::Pong));
    }
}

#[tokio::test]
async fn output_is_cut_and_joined_as_set() {
    let simulator = started(&json!({ "chunk_bytes": 5 }));
    let control = simulator.control();
    let mut bob = Peer::login(&simulator, "ws", &connect("bob", 5)).await;
    assert!(bob.chunk_len_of_next(&control).await <= 5);
    say(&control, "cut", 3).await;
    for _ in 0..3 {
        bob.recv().await;
    }
    let joined = json!({ "chunk_bytes": 0, "batch_bytes": 65_536 });
    control.act("settings", joined).await;
    control
        .act("connections", json!({ "do": "half_open" }))
        .await;
    say(&control, "joined", 10).await;
    control.act("connections", json!({ "do": "resume" })).await;
    let joined = bob.chunk().await;
    let (mut splitter, mut buffer) = (Splitter::default(), BytesMut::from(&*joined));
    let mut count = 0;
    while splitter.next(&mut buffer).unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 10, "all in one message");
}

#[tokio::test]
async fn disorder_loses_nothing() {
    let settings = json!({ "disorder_percent": 20, "disorder_places": 8, "encryption": false });
    let simulator = started(&settings);
    let control = simulator.control();
    group(&simulator, "team", &["a", "bob"]).await;
    let mut bob = Peer::login(&simulator, "tcp", &connect("bob", 5)).await;
    let order =
        json!({ "from": "a", "channel_id": "team", "channel_type": 2, "text": "x", "times": 1000 });
    control.act("send", order).await;
    let mut seqs = Vec::new();
    for _ in 0..1000 {
        seqs.push(bob.recv().await.message_seq);
    }
    assert!(!seqs.is_sorted());
    seqs.sort_unstable();
    assert!(seqs.iter().copied().eq(1..=1000));
}

#[tokio::test]
async fn an_impossible_fault_is_refused_and_a_full_record_says_so() {
    let simulator = started(&json!({ "record_max": 10 }));
    let address = simulator.address("http");
    for body in [
        json!({ "on": "recv", "do": "trailing" }),
        json!({ "on": "nowhere", "do": "drop" }),
        json!({ "on": "send", "do": "drop", "unknown": 1 }),
    ] {
        let (status, _, said) =
            crate::peer::http(address, "POST", "/_sim/fault", "", Some(&body)).await;
        assert!(status == 400 && said.contains("error"), "{said}");
    }
    let control = simulator.control();
    say(&control, "x", 30).await;
    let page = control.get("record?after=0&limit=3").await;
    assert_eq!((&page["dropped"], &page["next"]), (&json!(20), &json!(23)));
    assert_eq!(page["entries"][0]["n"], 21);
    let page = control.get("record?after=25").await;
    assert_eq!(
        (&page["dropped"], page["entries"].as_array().unwrap().len()),
        (&json!(0), 5)
    );
    stays("nothing newer", json!(30), A_WHILE, || async {
        control.get("record?after=30").await["next"].clone()
    })
    .await;
}
