//! The JSON-RPC form: the page's lines, the wedge after a bad one, objects that are cut, and what it shares with the binary form.

use crate::peer::{Peer, connect, recorded, started};
use crate::vectors::vectors;
use im_bridge_test_harness::Simulator;
use serde_json::{Value, json};
use std::time::Duration;

const A_WHILE: Duration = Duration::from_millis(300);
const CONNECT: &str =
    r#"{"id":"1","method":"connect","params":{"uid":"alice","token":"t","deviceFlag":1}}"#;
const PING: &str = r#"{"id":"p","method":"ping"}"#;

async fn login(simulator: &Simulator, transport: &str) -> Peer {
    let mut peer = Peer::open(simulator, transport).await;
    peer.line(CONNECT).await;
    let answer = peer.object().await.unwrap();
    assert_eq!(answer["id"], "1");
    assert_eq!(answer["result"]["reasonCode"], 1);
    assert_eq!(answer["result"]["serverVersion"], 5);
    assert_eq!(answer["result"].get("serverKey"), None);
    peer
}

async fn ping(peer: &mut Peer) {
    peer.line(PING).await;
    assert_eq!(
        peer.object().await.unwrap(),
        json!({ "jsonrpc": "2.0", "id": "p" })
    );
}

#[tokio::test]
async fn the_pages_lines_are_accepted() {
    let simulator = started(&json!({}));
    for transport in ["ws", "tcp"] {
        let mut peer = Peer::open(&simulator, transport).await;
        for line in vectors()["jsonrpc"]["client"].as_array().unwrap() {
            peer.line(line["text"].as_str().unwrap()).await;
            if line["name"] == "recvack" {
                continue;
            }
            let answer = peer.object().await.unwrap();
            let asked: Value = serde_json::from_str(line["text"].as_str().unwrap()).unwrap();
            assert_eq!(answer["id"], asked["id"]);
            assert_eq!(answer.get("error"), None);
        }
    }
}

#[tokio::test]
async fn every_bad_line_wedges_the_connection() {
    let simulator = started(&json!({}));
    let control = simulator.control();
    let mut bad: Vec<Value> = vectors()["jsonrpc"]["client_refused"]
        .as_array()
        .unwrap()
        .clone();
    for (text, reply) in [
        (r#"{"method":}"#, "error without id"),
        (
            r#"{"jsonrpc":"1.0","id":"9","method":"ping"}"#,
            "error with id 9",
        ),
        (r#"{"id":"9","method":"send"}"#, "error with id 9"),
        // What is good in front of it in the same read is not carried out either.
        (
            r#"{"id":"8","method":"ping"}{"id":"9","method":"nonsense"}"#,
            "error with id 9",
        ),
    ] {
        bad.push(json!({ "text": text, "reply": reply }));
    }
    for transport in ["ws", "tcp"] {
        for line in &bad {
            let mut peer = login(&simulator, transport).await;
            peer.line(line["text"].as_str().unwrap()).await;
            let reply = line["reply"].as_str().unwrap();
            if reply.starts_with("no reply") {
                let silence = tokio::time::timeout(A_WHILE, peer.object()).await;
                assert!(silence.is_err(), "{line}");
                peer.line(PING).await;
                assert_eq!(peer.object().await, None);
                continue;
            }
            let error = peer.object().await.unwrap();
            assert_eq!(error["error"]["code"], 0);
            let id = reply.strip_prefix("error with id ").map(Value::from);
            assert_eq!(error.get("id"), id.as_ref(), "{line}");
            // However good the next are; what others say still arrives, but acknowledgements do not count.
            peer.line(PING).await;
            assert_eq!(peer.object().await.unwrap(), error);
            let said =
                json!({ "from": "bob", "channel_id": "alice", "channel_type": 1, "text": "a" });
            control.act("send", said).await;
            let heard = peer.object().await.unwrap();
            assert_eq!(heard["method"], "recv");
            let params = json!({ "messageId": heard["params"]["messageId"], "messageSeq": 1 });
            peer.line(&json!({ "method": "recvack", "params": params }).to_string())
                .await;
            assert_eq!(peer.object().await.unwrap(), error);
        }
    }
    assert_eq!(control.record(&["recvack"]).await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_cut_object_is_complained_about_and_carried_out() {
    let simulator = started(&json!({}));
    for transport in ["ws", "tcp"] {
        let mut peer = login(&simulator, transport).await;
        peer.line("{\"id\":\"p\",").await;
        let complaint =
            json!({ "jsonrpc": "2.0", "error": { "code": 0, "message": "unexpected EOF" } });
        assert_eq!(peer.object().await.unwrap(), complaint);
        peer.line("\"method\":\"ping\"}").await;
        assert_eq!(
            peer.object().await.unwrap(),
            json!({ "jsonrpc": "2.0", "id": "p" })
        );
        // Two at once are two.
        peer.line(&format!("{PING} {PING}")).await;
        if transport == "ws" {
            for _ in 0..2 {
                assert_eq!(peer.object().await.unwrap()["id"], "p");
            }
        }
        // A connect is whole and alone.
        let mut peer = Peer::open(&simulator, transport).await;
        peer.line(&CONNECT[..20]).await;
        assert_eq!(peer.object().await, None);
        let mut peer = Peer::open(&simulator, transport).await;
        peer.line(&format!("{CONNECT}{PING}")).await;
        assert_eq!(peer.object().await.unwrap()["id"], "1");
        ping(&mut peer).await;
    }
}

#[tokio::test]
async fn messages_go_between_both_forms() {
    let simulator = started(&json!({ "kick_ms": 200 }));
    let control = simulator.control();
    for transport in ["ws", "tcp"] {
        let mut alice = login(&simulator, transport).await;
        let mut bob = Peer::login(&simulator, "tcp", &connect("bob", 5)).await;
        let line = json!({
            "id": "s", "method": "send", "params": {
                "channelId": "bob", "channelType": 1, "clientMsgNo": "n", "topic": "news", "expire": 60,
                "setting": { "topic": true, "receipt": true }, "header": { "redDot": true },
                // {"content":"hello","type":1}
                "payload": "eyJjb250ZW50IjoiaGVsbG8iLCJ0eXBlIjoxfQ==",
            },
        });
        alice.line(&line.to_string()).await;
        let answer = alice.object().await.unwrap();
        assert_eq!(answer["result"]["reasonCode"], 1);
        assert_eq!(answer["result"]["header"], json!({ "redDot": true }));
        let heard = bob.recv().await;
        assert_eq!(heard.payload, crate::peer::HELLO);
        assert_eq!(
            (heard.setting, &*heard.topic, heard.expire_s),
            (0x88, "news", 60)
        );
        assert_eq!(
            heard.message_id.to_string(),
            answer["result"]["messageId"].as_str().unwrap()
        );
        bob.send("alice", 1, "back").await;
        let heard = alice.object().await.unwrap();
        assert_eq!(heard["params"]["fromUid"], "bob");
        let id = heard["params"]["messageId"].clone();
        let params = json!({ "messageId": id, "messageSeq": heard["params"]["messageSeq"] });
        alice
            .line(&json!({ "method": "recvack", "params": params }).to_string())
            .await;
        recorded(&control, "recvack", |it| {
            it["message_id"] == id && it["is_effective"] == true
        })
        .await;
        // No channel type is a type that nobody may write to.
        let line = json!({ "id": "t", "method": "send", "params": { "channelId": "bob", "payload": "eA==" } });
        alice.line(&line.to_string()).await;
        assert_eq!(alice.object().await.unwrap()["result"]["reasonCode"], 3);
        alice
            .line(r#"{"method":"disconnect","params":{"reasonCode":0}}"#)
            .await;
        ping(&mut alice).await;
        control
            .act(
                "connections",
                json!({ "do": "kick", "uid": "alice", "text": "go" }),
            )
            .await;
        let told = alice.object().await.unwrap();
        let params = json!({ "reasonCode": 12, "reason": "go" });
        assert_eq!(
            (&told["method"], &told["params"]),
            (&json!("disconnect"), &params)
        );
    }
}

#[tokio::test]
async fn refusals_look_as_in_binary_and_the_form_can_be_off() {
    let simulator = started(&json!({ "token_auth": true, "refusal_ms": 200 }));
    let mut peer = Peer::open(&simulator, "ws").await;
    peer.line(CONNECT).await;
    assert_eq!(peer.object().await, None);
    let simulator = started(&json!({ "jsonrpc": false }));
    let mut peer = Peer::open(&simulator, "ws").await;
    peer.line(CONNECT).await;
    assert_eq!(peer.object().await, None);
}
