//! A connection's life: logins of all versions and how they are refused, kicks that make mute, idleness, resends.

use crate::codec::packets::{Flags, Packet};
use crate::peer::{Peer, bytes_of, connect, http, native, recorded, started};
use im_bridge_test_harness::{WITHIN, stays};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Long enough for whatever would wrongly be said.
const A_WHILE: Duration = Duration::from_millis(300);

fn disconnect(text: &str) -> Option<Packet> {
    Some(Packet::Disconnect {
        reason: 12,
        text: text.to_owned(),
    })
}

async fn registered(simulator: &im_bridge_test_harness::Simulator, uid: &str, level: u8) {
    let token = format!("tok-{uid}");
    let body = json!({ "uid": uid, "token": token, "device_flag": 1, "device_level": level });
    native(simulator, "/user/token", &body).await;
}

#[tokio::test]
async fn versions_are_clamped_to_the_servers() {
    for max in [4, 5, 6] {
        let simulator = started(&json!({ "max_version": max }));
        for announced in [0, 1, 2, 3, 4, 5, 6, 9] {
            for transport in ["ws", "tcp"] {
                let mut alice = Peer::open(&simulator, transport).await;
                let connack = alice.greet(&connect("alice", announced)).await.unwrap();
                let wanted = (announced > 3).then_some(announced.min(max));
                assert_eq!(connack.server_version, wanted, "{announced} to {max}");
                assert_eq!(connack.salt.len(), 16);
                alice.client_seq = 0;
                let sendack = alice.send("bob", 1, "n").await;
                assert_eq!((sendack.reason, sendack.client_seq), (1, 1));
                assert!(sendack.message_seq > 0);
            }
        }
    }
}

#[tokio::test]
async fn without_encryption_nothing_is_sealed() {
    let simulator = started(&json!({ "encryption": false }));
    let mut bob = Peer::login(&simulator, "tcp", &connect("bob", 5)).await;
    let mut keyless = connect("alice", 5);
    keyless.client_key.clear();
    let mut alice = Peer::login(&simulator, "ws", &keyless).await;
    assert!(alice.keys.is_none());
    assert_eq!(alice.send("bob", 1, "n").await.reason, 1);
    let heard = bob.recv().await;
    assert_eq!(
        (&*heard.msg_key, &*heard.payload),
        ("", crate::peer::HELLO.as_bytes())
    );
}

#[tokio::test]
async fn a_refused_login_sees_nothing_and_is_closed_late() {
    let refusal_ms = 400;
    let simulator = started(&json!({ "token_auth": true, "refusal_ms": refusal_ms }));
    registered(&simulator, "alice", 0).await;
    let right = connect("alice", 5);
    let mut other_token = right.clone();
    other_token.token = "wrong".to_owned();
    let mut other_flag = right.clone();
    other_flag.device_flag = 0;
    let mut no_key = right.clone();
    no_key.client_key = "c2hvcnQ=".to_owned();
    let stranger = connect("stranger", 5);
    for wrong in [other_token, other_flag, no_key, stranger] {
        for transport in ["tcp", "ws"] {
            let mut peer = Peer::open(&simulator, transport).await;
            let asked = Instant::now();
            assert_eq!(peer.greet(&wrong).await, None, "{wrong:?}");
            assert!(asked.elapsed() >= Duration::from_millis(refusal_ms));
        }
    }
    Peer::login(&simulator, "tcp", &right).await;
    let ban = json!({ "channel_id": "alice", "channel_type": 1, "ban": 1 });
    native(&simulator, "/channel/info", &ban).await;
    let mut peer = Peer::open(&simulator, "tcp").await;
    assert_eq!(peer.greet(&right).await, None);
    let token = json!({ "uid": "alice", "token": "t", "device_flag": 1, "device_level": 0 });
    assert_eq!(
        native(&simulator, "/user/token", &token).await["status"],
        19
    );
}

#[tokio::test]
async fn other_servers_answer_a_refused_login() {
    let simulator = started(&json!({ "token_auth": true, "refusal": "answered" }));
    let mut peer = Peer::open(&simulator, "tcp").await;
    let connack = peer.greet(&connect("alice", 5)).await.unwrap();
    assert_eq!((connack.reason, connack.server_version), (2, None));
    assert_eq!((&*connack.server_key, &*connack.salt), ("", ""));
    assert_eq!(peer.next().await, None);
}

#[tokio::test]
async fn what_is_out_of_turn_is_closed() {
    let simulator = started(&json!({ "silent_ms": 2_000 }));
    let control = simulator.control();
    for transport in ["tcp", "ws"] {
        for uid in ["", " ", "a@b", "a#b", "a&b"] {
            let mut peer = Peer::open(&simulator, transport).await;
            assert_eq!(peer.greet(&connect(uid, 5)).await, None, "{uid:?}");
        }
        let mut silent = Peer::open(&simulator, transport).await;
        assert_eq!(silent.next().await, None, "nothing was said");
        let mut early = Peer::open(&simulator, transport).await;
        let mut both = bytes_of(&Packet::Connect(connect("alice", 5)), 5);
        both.extend_from_slice(&bytes_of(&Packet::Ping, 5));
        early.say(&both).await;
        assert_eq!(early.next().await, None, "a frame behind CONNECT");
        let mut pings = Peer::open(&simulator, transport).await;
        pings.packet(&Packet::Ping).await;
        assert_eq!(pings.next().await, None, "a frame before CONNECT");
        for wrong in [
            &[0xd0, 1, 0][..],
            &[0x40, 1, 0],
            &[0x30, 3, 0, 0, 0],
            &[0x60, 1, 0],
        ] {
            let mut peer = Peer::login(&simulator, transport, &connect("alice", 5)).await;
            peer.say(wrong).await;
            assert_eq!(peer.next().await, None, "{wrong:?}");
        }
    }
    recorded(&control, "protocol.error", |it| {
        it["what"] == "bytes behind CONNECT"
    })
    .await;
}

#[tokio::test]
async fn a_body_above_a_mebibyte_is_read_and_then_closed() {
    let simulator = started(&json!({}));
    let mut peer = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    peer.say(&[0x30, 0x81, 0x80, 0x40]).await;
    peer.say(&vec![0; 1024 * 1024]).await;
    peer.say(&[0]).await;
    assert_eq!(peer.next().await, None);
}

#[tokio::test]
async fn a_large_payload_is_delivered_whole() {
    let simulator = started(&json!({}));
    let mut alice = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    let mut bob = Peer::login(&simulator, "ws", &connect("bob", 5)).await;
    let plain = "x".repeat(700_000);
    let send = alice.sealed(crate::codec::packets::Send {
        client_seq: 1,
        channel_id: "bob".to_owned(),
        channel_type: 1,
        payload: plain.clone().into(),
        ..Default::default()
    });
    alice.packet(&Packet::Send(send)).await;
    assert_eq!(alice.sendack().await.reason, 1);
    assert_eq!(bob.recv().await.payload, plain);
}

#[tokio::test]
async fn frames_are_read_however_they_are_cut() {
    let simulator = started(&json!({}));
    for transport in ["tcp", "ws"] {
        let mut alice = Peer::open(&simulator, transport).await;
        for byte in &bytes_of(&Packet::Connect(connect("alice", 5)), 5)[..] {
            alice.say(&[*byte]).await;
        }
        assert!(matches!(alice.next().await, Some(Packet::Connack(_))));
        alice.say(&[0x70, 0x70, 0x70]).await;
        for _ in 0..3 {
            assert_eq!(alice.next().await, Some(Packet::Pong));
        }
        // Ignored on a live connection, both.
        alice.packet(&Packet::Connect(connect("other", 5))).await;
        alice.packet(&disconnect("bye").unwrap()).await;
        alice.ping().await;
    }
}

/// Nothing comes and nothing is answered, but the socket stays.
async fn is_mute(peer: &mut Peer) {
    peer.packet(&Packet::Ping).await;
    let silence = tokio::time::timeout(A_WHILE, peer.next()).await;
    assert!(silence.is_err(), "it said {silence:?}");
}

#[tokio::test]
async fn a_kicked_connection_works_on_and_then_goes_mute() {
    let simulator = started(&json!({ "kick_ms": 1_000, "token_kick_ms": 1_000 }));
    let control = simulator.control();
    for (transport, cause) in [
        ("tcp", "a new token"),
        ("ws", "device_quit"),
        ("tcp", "conn/kick"),
        ("ws", "conn/remove"),
    ] {
        let mut alice = Peer::login(&simulator, transport, &connect("alice", 5)).await;
        let shown = control.get("connections").await;
        let shown = shown["connections"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        let (conn_id, uid) = (&shown["conn"], "alice");
        let (path, body) = match cause {
            "a new token" => (
                "/user/token",
                json!({ "uid": uid, "token": "t", "device_flag": 1, "device_level": 1 }),
            ),
            "device_quit" => ("/user/device_quit", json!({ "uid": uid, "device_flag": 1 })),
            "conn/kick" => ("/conn/kick", json!({ "uid": uid, "conn_id": conn_id })),
            _ => ("/conn/remove", json!({ "uid": uid, "conn_id": conn_id })),
        };
        native(&simulator, path, &body).await;
        if cause != "conn/remove" {
            let Some(Packet::Disconnect { reason, text }) = alice.next().await else {
                panic!("{cause} is told");
            };
            let words = match cause {
                "device_quit" => text.is_empty(),
                "conn/kick" => text == "server kick",
                _ => !text.is_empty(),
            };
            assert!(reason == 12 && words, "{cause}: {text}");
            // Until then it works fully.
            alice.ping().await;
            assert_eq!(alice.send("bob", 1, cause).await.reason, 1);
        }
        let ended = recorded(&control, "session.ended", |it| it["conn"] == *conn_id).await;
        assert_eq!(
            (&ended["cause"], &ended["is_mute"]),
            (&json!(cause), &json!(true))
        );
        is_mute(&mut alice).await;
    }
}

#[tokio::test]
async fn a_login_gives_up_others_as_their_levels_say() {
    let simulator = started(&json!({ "token_auth": true, "kick_ms": 300 }));
    let control = simulator.control();
    registered(&simulator, "alice", 1).await;
    let mut first = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    let mut again = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    // The same device: not a word.
    recorded(&control, "session.ended", |it| {
        it["cause"] == "the same device again"
    })
    .await;
    is_mute(&mut first).await;
    let mut other = connect("alice", 5);
    other.device_id = "another".to_owned();
    let mut other = Peer::login(&simulator, "tcp", &other).await;
    assert_eq!(again.next().await, disconnect("login in other device"));
    other.ping().await;
    // Slaves do not kick.
    registered(&simulator, "bob", 0).await;
    let mut one = Peer::login(&simulator, "tcp", &connect("bob", 5)).await;
    let mut two = connect("bob", 5);
    two.device_id = "another".to_owned();
    let mut two = Peer::login(&simulator, "tcp", &two).await;
    stays("both are there", 2, A_WHILE, || async {
        let online = native(&simulator, "/user/onlinestatus", &json!(["bob"])).await;
        online.as_array().unwrap().len()
    })
    .await;
    one.ping().await;
    two.ping().await;
}

#[tokio::test]
async fn older_servers_close_what_they_drop() {
    let simulator = started(&json!({ "mute": false, "kick_ms": 100 }));
    let mut alice = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    native(
        &simulator,
        "/user/device_quit",
        &json!({ "uid": "alice", "device_flag": -1 }),
    )
    .await;
    assert_eq!(alice.next().await, disconnect(""));
    assert_eq!(alice.next().await, None);
}

#[tokio::test]
async fn an_idle_connection_goes_mute_and_is_closed_later() {
    let simulator = started(&json!({ "idle_ms": 800 }));
    let control = simulator.control();
    let begun = Instant::now();
    let mut alice = Peer::login(&simulator, "ws", &connect("alice", 5)).await;
    // What the server says does not keep it.
    let said = json!({ "from": "bob", "channel_id": "alice", "channel_type": 1, "text": "a" });
    control.act("send", said).await;
    alice.recv().await;
    recorded(&control, "session.ended", |it| it["cause"] == "idle").await;
    assert!(begun.elapsed() >= Duration::from_millis(800));
    assert_eq!(alice.next().await, None);
    assert!(begun.elapsed() >= Duration::from_millis(1_000));
    // A ping while mute keeps the dead socket.
    let mut alice = Peer::login(&simulator, "ws", &connect("alice", 5)).await;
    let ended = |it: &Value| it["conn"] == 2 && it["cause"] == "idle";
    recorded(&control, "session.ended", ended).await;
    is_mute(&mut alice).await;
    assert_eq!(alice.next().await, None);
}

#[tokio::test]
async fn what_is_not_acknowledged_is_sent_again_unchanged() {
    let simulator = started(&json!({ "resend_ms": 400, "resend_max": 3 }));
    let control = simulator.control();
    for transport in ["tcp", "ws"] {
        let mut bob = Peer::login(&simulator, transport, &connect("bob", 5)).await;
        let say = |text: &str, no_persist: bool| {
            json!({
                "from": "alice", "channel_id": "bob", "channel_type": 1, "text": text,
                "no_persist": no_persist,
            })
        };
        control.act("send", say("volatile", true)).await;
        assert_eq!(bob.recv().await.message_seq, 0);
        control.act("send", say("stored", false)).await;
        let first = bob.next().await;
        for _ in 0..3 {
            assert_eq!(bob.next().await, first, "the same bytes, DUP not set");
        }
        stays("no more of it", 3, 2 * A_WHILE, || async {
            let recvs = control.record(&["recv"]).await;
            let last = recvs.last().unwrap()["message_id"].clone();
            recvs
                .iter()
                .filter(|it| it["message_id"] == last && it["attempt"] != 1)
                .count()
        })
        .await;
        control.act("send", say("acknowledged", false)).await;
        let heard = bob.recv().await;
        // Not this: it says that the message was not stored, and this: it names another one.
        for (flags, message_id) in [(Flags::of(3), heard.message_id), (Flags::of(2), 7)] {
            bob.packet(&Packet::Recvack {
                flags,
                message_id,
                message_seq: heard.message_seq,
            })
            .await;
        }
        let again = bob.recv().await;
        assert_eq!(again, heard);
        bob.ack(&again).await;
        let id = heard.message_id.to_string();
        recorded(&control, "recvack", |it| {
            it["message_id"] == id && it["is_effective"] == true
        })
        .await;
        stays("silence", json!(0), A_WHILE, || async {
            control.get("summary").await["unacked"].clone()
        })
        .await;
        drop(bob);
        // Nothing comes again after a login.
        let mut bob = Peer::login(&simulator, transport, &connect("bob", 5)).await;
        bob.ping().await;
        drop(bob);
        im_bridge_test_harness::eventually("nobody there", || async {
            (control.get("summary").await["connections"] == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_real_server_does_not_survive_is_told() {
    let simulator = started(&json!({ "manager_token": "m" }));
    let control = simulator.control();
    let address = simulator.address("http");
    let (status, _, body) = http(address, "GET", "/health", "", None).await;
    assert_eq!((status, &*body), (401, ""));
    let with = "token: m\r\n";
    assert_eq!(http(address, "GET", "/health", with, None).await.0, 200);
    let mut alice = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    let payload = base64_of(&vec![b'x'; 1_048_577]);
    let body =
        json!({ "from_uid": "bob", "channel_id": "alice", "channel_type": 1, "payload": payload });
    let (status, ..) = http(address, "POST", "/message/send", with, Some(&body)).await;
    assert_eq!(status, 0, "no answer");
    assert_eq!(alice.next().await, None);
    im_bridge_test_harness::eventually_within(WITHIN, "it is back", || async {
        (http(address, "GET", "/health", with, None).await.0 == 200).then_some(())
    })
    .await;
    let mut manager = Peer::open(&simulator, "tcp").await;
    assert_eq!(manager.greet(&connect("____manager", 5)).await, None);
    assert_eq!(control.record(&["server.crashed"]).await.len(), 2);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
