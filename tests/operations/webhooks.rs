//! What providers push by HTTP.

use crate::world::{config, files, open, state, stored};
use im_bridge_test_harness::{Bridge, Files, Nats, Simulator, eventually, within};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct World {
    nats: Nats,
    simulator: Simulator,
    client: async_nats::Client,
    bridge: Bridge,
    files: Arc<Files>,
}

/// One account of each kind: with a secret, without one, and switched off.
async fn world(webhook: Value) -> World {
    let (nats, simulator) = (Nats::start(), Simulator::start());
    let files = files(&config(&nats, &json!({})));
    let secret = files.write("secret", "s3cret");
    let account = |more: Value| {
        let mut account = json!({ "url": simulator.url(), "world": "pushed" });
        account
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        open(account)
    };
    let mut off = account(json!({}));
    off["bridge"]["enabled"] = json!(false);
    let accounts = json!({
        "demo": account(json!({ "webhook_secret": { "file": secret } })),
        "closed": account(json!({})),
        "off": off,
    });
    let mut config = config(&nats, &accounts);
    config["accounts"]["acme"] = json!({ "shop": {} });
    config["plugins"]["webhook"] = webhook;
    config["plugins"]["webhook"]["listen"] = json!("127.0.0.1:0");
    files.configure(&config);
    let bridge = Bridge::start(&files, "a");
    let client = async_nats::connect(nats.url()).await.unwrap();
    state(&bridge, "demo", "online").await;
    state(&bridge, "closed", "online").await;
    World {
        nats,
        simulator,
        client,
        bridge,
        files,
    }
}

/// Where a replica takes webhooks.
async fn address(bridge: &Bridge) -> String {
    eventually("it says where it listens", || async {
        let lines = bridge.log();
        let mut told = lines.iter().filter_map(|line| line["webhooks"].as_str());
        told.next().map(str::to_owned)
    })
    .await
}

/// Sends these bytes and reads until the other side closes, or has answered.
async fn raw(address: &str, request: &[u8]) -> String {
    within("an answer", async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be refused before all of it is read.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn post(bridge: &Bridge, path: &str, body: &str) -> u16 {
    status(&raw(&address(bridge).await, &request("POST", path, body)).await)
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or(0)
}

fn notice(id: &str) -> String {
    let item = json!({
        "seq": 0, "at_ms": 1_700_000_000_000_i64, "what": "notice", "id": id, "name": "order", "title": id,
        "text": "", "warning": false, "body": {},
    });
    json!({ "items": [item] }).to_string()
}

/// How often this notice is stored.
async fn count(client: &async_nats::Client, id: &str) -> usize {
    let events = stored(client, "IM_EVT").await;
    let of_it = events.iter().filter(|event| {
        event["type"] == "im-bridge.evt.notice.received.v1" && event.to_string().contains(id)
    });
    of_it.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_event_is_stored_before_its_answer_and_otherwise_pushed_again() {
    let mut world = world(json!({ "timeout_ms": 1000, "max_in_flight": 1 })).await;
    assert_eq!(
        post(&world.bridge, "/hooks/sim/demo/s3cret", &notice("first-1")).await,
        200
    );
    // At once, without waiting for anything.
    assert_eq!(count(&world.client, "first-1").await, 1);
    // The sender did not see the answer.
    assert_eq!(
        post(&world.bridge, "/hooks/sim/demo/s3cret", &notice("first-1")).await,
        200
    );
    assert_eq!(count(&world.client, "first-1").await, 1);

    world.nats.stop();
    let path = "/hooks/sim/demo/s3cret";
    let (one, two) = (notice("second-1"), notice("second-2"));
    let answers = tokio::join!(
        post(&world.bridge, path, &one),
        post(&world.bridge, path, &two)
    );
    // One place: whoever came second had none. Nobody hears that what is not stored is stored.
    assert!([503, 504].contains(&answers.0), "{answers:?}");
    assert!([503, 504].contains(&answers.1), "{answers:?}");
    assert!(answers.0 == 503 || answers.1 == 503, "{answers:?}");
    world.nats.restart();
    for id in ["second-1", "second-2"] {
        eventually("it is taken when it is pushed again", || async {
            (post(&world.bridge, path, &notice(id)).await == 200).then_some(())
        })
        .await;
        assert_eq!(count(&world.client, id).await, 1);
    }
    let metric = |status: u16| {
        let series = format!(
            r#"im_bridge_webhook_requests_total{{provider="sim",account="demo",status="{status}"}}"#
        );
        world.bridge.metric(&series)
    };
    assert!(metric(200).is_some_and(|answers| answers >= 4.0));
    assert!(metric(503).is_some_and(|answers| answers >= 1.0));
    // What the adapter counts itself.
    let items =
        r#"im_bridge_adapter_webhook_bodies_total{provider="sim",account="demo",body="items"}"#;
    assert!(world.bridge.metric(items).is_some_and(|items| items >= 4.0));
    assert_eq!(world.bridge.said("s3cret"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_replica_hands_it_to_the_owner() {
    let world = world(json!({})).await;
    let other = Bridge::start(&world.files, "b");
    eventually("the other one is ready", || async {
        (other.get("/readyz").0 == 200).then_some(())
    })
    .await;
    // Both may own it, one after the other, while they share: whoever is asked, the event is stored.
    for (number, bridge) in [&world.bridge, &other, &world.bridge, &other]
        .into_iter()
        .enumerate()
    {
        let id = format!("shared-{number}");
        eventually("the owner answers", || async {
            (post(bridge, "/hooks/sim/demo/s3cret", &notice(&id)).await == 200).then_some(())
        })
        .await;
        assert_eq!(count(&world.client, &id).await, 1);
        eventually("a wrong secret is refused by the owner", || async {
            let status = post(bridge, "/hooks/sim/demo/wrong", &notice("refused-1")).await;
            // The account may be on its way to the other one.
            assert!([401, 503].contains(&status), "{status}");
            (status == 401).then_some(())
        })
        .await;
    }
    let owners = [&world.bridge, &other]
        .into_iter()
        .filter(|bridge| bridge.account("sim/demo").is_some());
    assert_eq!(owners.count(), 1, "so one of them was the wrong one");
    assert_eq!(count(&world.client, "refused-1").await, 0);
    // With the whole of what a request may have.
    let most = "x".repeat(512 * 1024);
    for bridge in [&world.bridge, &other] {
        assert_eq!(post(bridge, "/hooks/sim/demo/s3cret", &most).await, 400);
    }
    // Without an owner it is to be pushed again.
    let mut world = world;
    let owner_is_other = other.account("sim/demo").is_some();
    let left = if owner_is_other {
        let mut other = other;
        other.kill();
        None
    } else {
        world.bridge.kill();
        Some(other)
    };
    let left = left.as_ref().unwrap_or(&world.bridge);
    let request = request("POST", "/hooks/sim/demo/s3cret", &notice("later"));
    let answer = eventually("the server knows that nobody answers", || async {
        let answer = raw(&address(left).await, &request).await;
        // 504 until it has seen the end of the owner's connection: asked, and never answered.
        (status(&answer) != 504).then_some(answer)
    })
    .await;
    if status(&answer) != 200 {
        assert_eq!(status(&answer), 503, "{answer}");
        assert!(
            answer.to_lowercase().contains("retry-after: 1\r\n"),
            "{answer}"
        );
    }
    eventually("the next owner takes it", || async {
        (post(left, "/hooks/sim/demo/s3cret", &notice("later")).await == 200).then_some(())
    })
    .await;
    drop(world.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_answered_within_its_bounds() {
    let world = world(json!({ "timeout_ms": 1000, "max_body_bytes": 1024 })).await;
    let at = address(&world.bridge).await;
    let path = "/hooks/sim/demo/s3cret";
    let long = "x".repeat(1025);
    for (what, method, path, body, expected) in [
        ("a path of something else", "GET", "/metrics", "", 404),
        ("a path without an account", "POST", "/hooks/sim", "", 404),
        (
            "an account that nobody has",
            "POST",
            "/hooks/sim/nobody",
            "",
            404,
        ),
        ("a name that none can have", "POST", "/hooks/sim/*", "", 404),
        (
            "control of the plugin",
            "POST",
            "/hooks/sim/_adapter",
            "",
            404,
        ),
        (
            "an account that is off",
            "POST",
            "/hooks/sim/off/s3cret",
            "",
            404,
        ),
        (
            "an account without a secret",
            "POST",
            "/hooks/sim/closed/s3cret",
            "{}",
            401,
        ),
        ("a wrong secret", "POST", "/hooks/sim/demo/other", "{}", 401),
        (
            "an account without an adapter",
            "POST",
            "/hooks/acme/shop/x",
            "{}",
            503,
        ),
        ("another method", "DELETE", path, "", 405),
        ("a body that is no JSON", "POST", path, "{", 400),
        ("a body that is too long", "POST", path, &long, 413),
    ] {
        let answer = raw(&at, &request(method, path, body)).await;
        assert_eq!(status(&answer), expected, "{what}: {answer}");
    }
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nhost: b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    assert_eq!(status(&raw(&at, chunked.as_bytes()).await), 413);
    let slow = format!("POST {path} HTTP/1.1\r\nhost: b\r\ncontent-length: 10\r\n\r\n{{");
    assert_eq!(status(&raw(&at, slow.as_bytes()).await), 408);
    let many: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("POST {path} HTTP/1.1\r\nhost: b\r\n{many}\r\n");
    assert_eq!(status(&raw(&at, many.as_bytes()).await), 431);
    for bytes in [17 * 1024, 64 * 1024] {
        let long = "y".repeat(bytes);
        let long = format!("POST {path} HTTP/1.1\r\nhost: b\r\nx: {long}\r\n\r\n");
        assert_eq!(status(&raw(&at, long.as_bytes()).await), 431, "{bytes}");
    }
    let twisted =
        b"POST /hooks/sim/demo/s3cret HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\nx: \xff\r\n\r\n";
    assert_eq!(status(&raw(&at, twisted).await), 400);
    assert_eq!(
        status(&raw(&at, b"\x16\x03\x01\x02\x00 not HTTP\r\n\r\n").await),
        400
    );
    let two = b"POST /hooks/sim/demo/s3cret HTTP/1.1\r\nhost: b\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
    assert_eq!(status(&raw(&at, two).await), 400);
    // It is there all the same, and what was sent stands nowhere.
    assert_eq!(post(&world.bridge, path, &notice("after")).await, 200);
    assert_eq!(count(&world.client, "after").await, 1);
    assert_eq!(world.bridge.said("s3cret"), 0);
    let metrics = world.bridge.get("/metrics").1;
    assert!(
        !metrics.contains("nobody") && !metrics.contains("s3cret"),
        "{metrics}"
    );
}
