//! The server itself: not there, too old, without JetStream.

use super::{WITHIN, check_finds, files, refused};
use im_bridge_test_harness::{Bridge, Jetstream, Nats, eventually, stays};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Says who it is, as a server does, and answers pings.
async fn pretend(stream: TcpStream, version: String) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let info = json!({
        "server_id": "old", "server_name": "old", "version": version, "go": "", "host": "127.0.0.1", "port": 4222,
        "headers": true, "max_payload": 1_048_576, "proto": 1,
    });
    write
        .write_all(format!("INFO {info}\r\n").as_bytes())
        .await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("PING") {
            write.write_all(b"PONG\r\n").await?;
        }
    }
    Ok(())
}

/// A server of this version, as far as a client sees before it asks for anything.
async fn of_version(version: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let version = version.to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Its client went.
            tokio::spawn(pretend(stream, version.clone()));
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_old_is_named_with_what_it_lacks() {
    for version in ["2.10.29", "2.9.0-beta.1", "1.4.1"] {
        let url = of_version(version).await;
        let text =
            format!("NATS at {url} is {version}, needs 2.11 for a TTL per message; upgrade it");
        refused(&files(&url, json!({})), "nats_too_old", &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_jetstream_is_refused() {
    let nats = Nats::start_with(Jetstream::Off, &[]);
    let text = "JetStream is off for this NATS account; enable it in the server's configuration";
    refused(&files(nats.url(), json!({})), "nats_no_jetstream", text);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_away_is_waited_for_and_told_once() {
    let mut nats = Nats::start();
    nats.stop();
    let files = files(nats.url(), json!({}));
    let text = format!("no NATS at {}: ", nats.url());
    check_finds(&files, "nats_unreachable", &text);
    let bridge = Bridge::start(&files, "a");
    eventually("it is told", || async {
        (bridge.said("nats_unreachable") == 1).then_some(())
    })
    .await;
    // Three more tries: after one second, two and four.
    stays("told once", 1, Duration::from_secs(5), || async {
        bridge.said("nats_unreachable")
    })
    .await;
    assert_eq!(bridge.get("/readyz"), (503, "nats\n".to_owned()));
    let verbose = bridge.get("/readyz?verbose").1;
    assert!(verbose.contains(&text), "{verbose}");
    nats.restart();
    eventually("it is ready", || async {
        (bridge.get("/readyz").0 == 200).then_some(())
    })
    .await;
    assert_eq!(bridge.said("nats_unreachable"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_that_listens_there_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Its client went.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let files = files(&url, json!({}));
    check_finds(&files, "nats_unreachable", &format!("no NATS at {url}: "));
    let ran = files.run_to_end(&["check", "--online", "--json"], WITHIN);
    assert_eq!(ran.code, Some(1), "{ran:?}");
}
