//! Runs the public `wukong-easy-sdk` against a server and says what it saw, a JSON object a line.
//!
//! `wukongim-easy-peer <ws://address> <uid> <token>`; orders come the same way, `{"send":{"to":"bob","type":1,"text":"hi"}}`. Ends
//! with its input.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use wukong_easy_sdk::{Auth, ChannelType, Client, Event, Options};

fn say(it: &Value) {
    println!("{it}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("<address> <uid> <token>");
    let (address, uid, token) = (next(), next(), next());
    let client = Client::new(address, Auth::new(uid, token), Options::default())
        .expect("the address is one");
    let mut events = client.subscribe();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            match event {
                Event::Message(it) => say(&json!({ "message": {
                    "id": it.message_id, "seq": it.message_seq, "number": it.client_msg_no,
                    "from": it.from_uid, "channel": it.channel_id, "type": it.channel_type,
                    "text": it.payload["content"], "red_dot": it.header.red_dot,
                } })),
                Event::CustomEvent(it) => say(&json!({ "event": {
                    "id": it.id, "type": it.event_type, "data": it.data,
                } })),
                Event::Disconnect(_) => say(&json!({ "disconnected": true })),
                _ => {}
            }
        }
    });
    match client.connect().await {
        Ok(it) => {
            say(&json!({ "connected": { "version": it.server_version, "reason": it.reason_code } }))
        }
        Err(error) => return say(&json!({ "refused": error.to_string() })),
    }
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let order: Value = serde_json::from_str(&line).expect("orders are JSON");
        let order = &order["send"];
        let channel_type = if order["type"] == 1 {
            ChannelType::Person
        } else {
            ChannelType::Group
        };
        let to = order["to"].as_str().expect("somebody to send to");
        let payload = json!({ "type": 1, "content": order["text"] });
        match client.send(to, channel_type, payload).await {
            Ok(it) => say(&json!({ "sent": {
                "id": it.message_id, "seq": it.message_seq, "reason": it.reason_code,
            } })),
            Err(error) => say(&json!({ "not_sent": error.to_string() })),
        }
    }
    client.destroy().await;
}
