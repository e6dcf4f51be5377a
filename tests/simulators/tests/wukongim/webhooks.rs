//! Webhooks: bodies as recorded from a real server, repeated until they are received with exactly 200, and then given up.

use crate::peer::{Peer, connect, started};
use crate::vectors::vectors;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What came, by event; the first `refuse` are answered with 204.
async fn receiver(mut refuse: usize) -> (String, Arc<Mutex<Vec<(String, Value)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = received.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let (event, body) = loop {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).await.unwrap();
                bytes.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&bytes);
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head.split("Content-Length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if body.len() == length {
                    let event = head.split("?event=").nth(1).unwrap();
                    let event = event.split(' ').next().unwrap().to_owned();
                    break (event, serde_json::from_str(body).unwrap());
                }
            };
            let status = if refuse > 0 {
                refuse -= 1;
                "204 No Content"
            } else {
                kept.lock().unwrap().push((event, body));
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, received)
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn messages_and_presence_are_told_in_the_recorded_form() {
    let (url, received) = receiver(2).await;
    let simulator = started(&json!({ "webhook_url": url }));
    let control = simulator.control();
    let alice = Peer::login(&simulator, "tcp", &connect("alice", 5)).await;
    let said = json!({ "from": "alice", "channel_id": "bob", "channel_type": 1, "text": "a" });
    control.act("send", said).await;
    let all = ["msg.notify", "msg.offline", "user.onlinestatus"];
    let got = |event: &'static str| {
        let received = received.clone();
        move || {
            let received = received.lock().unwrap();
            let found = received.iter().find(|(it, _)| it == event);
            let found = found.map(|(_, body)| body.clone());
            async { found }
        }
    };
    for recorded in vectors()["recorded"]["webhooks"].as_array().unwrap() {
        let event = recorded["path_and_query"].as_str().unwrap();
        let event = all.into_iter().find(|it| event.ends_with(it)).unwrap();
        let wanted: Value = serde_json::from_str(recorded["body"].as_str().unwrap()).unwrap();
        if event == "msg.offline" {
            // The first two answers were no 200, and this event is not repeated.
            let said =
                json!({ "from": "alice", "channel_id": "bob", "channel_type": 1, "text": "b" });
            control.act("send", said).await;
        }
        let told = im_bridge_test_harness::eventually(event, got(event)).await;
        match event {
            "msg.notify" => {
                assert_eq!(keys(&told[0]), keys(&wanted[0]));
                assert_eq!(told[0]["header"]["red_dot"], 1);
            }
            "msg.offline" => {
                assert_eq!(keys(&told), keys(&wanted));
                assert_eq!(told["to_uids"], json!(["bob"]));
            }
            _ => {
                let told = told[0].as_str().unwrap();
                assert!(
                    told.starts_with("alice-1-1-") && told.ends_with("-1-1"),
                    "{told}"
                );
            }
        }
    }
    drop(alice);
    im_bridge_test_harness::eventually("alice is gone", || async {
        let received = received.lock().unwrap();
        let told = received
            .iter()
            .filter(|(event, _)| event == "user.onlinestatus");
        let mut told = told.filter_map(|(_, body)| body[0].as_str());
        told.any(|it| it.starts_with("alice-1-0-") && it.ends_with("-0-0"))
            .then_some(())
    })
    .await;
}
