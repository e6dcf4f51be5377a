//! A bridge whose log nobody reads.

use crate::world::{config, files, instruct};
use async_nats::jetstream;
use im_bridge_test_harness::{Nats, eventually};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// Their lines are many times what a pipe holds.
const COMMANDS: u32 = 1_000;

/// Killed with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    let nats = Nats::start();
    let mut config = config(
        &nats,
        "",
        &json!({ "c-poller": { "shop": { "script": "none" } } }),
    );
    // Where it listens stands in the log.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    config["admin"]["listen"] = json!(address);
    config["telemetry"]["logs"] = json!({ "level": "trace", "repeats_per_minute": 0 });
    let files = files(&config);
    let child = files
        .run("a")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its standard output stays open, and unread.
    let mut bridge = Running(child);
    eventually("it is ready", || async {
        get(&address, "/readyz").contains(" 200 ").then_some(())
    })
    .await;
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    for number in 0..COMMANDS {
        let data = instruct(&format!("k{number}"), "hit|1").to_string();
        let subject = "im.v1.cmd.c-poller.shop.message.send";
        let published = context.publish(subject, data.into()).await;
        published.unwrap().await.unwrap();
    }
    let stored =
        r#"im_bridge_events_total{provider="c-poller",kind="message.created",outcome="stored"}"#;
    let waiting = r#"im_bridge_telemetry_queue{signal="logs"}"#;
    let text = eventually("everything is stored", || async {
        let text = get(&address, "/metrics");
        (value(&text, stored) >= f64::from(COMMANDS)).then_some(text)
    })
    .await;
    assert!(value(&text, waiting) > 100.0, "its writer waits: {text}");
    assert!(get(&address, "/livez").contains(" 200 "));
    let id = bridge.0.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    let ended = eventually("it ends", || {
        let ended = bridge.0.try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert!(ended.success(), "{ended}");
}
