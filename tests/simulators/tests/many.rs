//! Many accounts on one simulator: each is told what its own world says, and acknowledges it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Below the 1 024 descriptors that many machines allow a process.
const ACCOUNTS: usize = 500;
const SOON: Duration = Duration::from_secs(30);

async fn one_account(url: &str, account: usize) {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let name = format!("a{account}");
    let settings = json!({ "rate_per_s": 10.0 });
    for frame in [
        json!({ "type": "hello", "world": name, "by": name, "settings": settings }),
        json!({ "type": "login", "person": name, "token": "t", "device": "d" }),
    ] {
        socket.send(Message::text(frame.to_string())).await.unwrap();
    }
    let mut heard = 0;
    while heard < 5 {
        let frame: Value =
            serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        if frame["type"] == "push" {
            heard += 1;
            let ack = json!({ "type": "ack", "push": frame["push"] });
            socket.send(Message::text(ack.to_string())).await.unwrap();
        }
    }
}

#[test]
fn every_account_is_told_what_its_world_says() {
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_im-bridge-test-simulators"))
        .args(["sim", "--ws", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(simulator.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addresses: Value = serde_json::from_str(&line).unwrap();
    let url = addresses["ws"].as_str().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let all =
            futures_util::future::join_all((0..ACCOUNTS).map(|account| one_account(url, account)));
        tokio::time::timeout(SOON, all)
            .await
            .expect("every account hears five messages");
    });
    drop(simulator.stdin.take());
    simulator.wait().unwrap();
}
