//! Commands in traces: whose they are, and what a repetition is.

use crate::world::{World, instruct, message, named, only};
use im_bridge_test_harness::Simulator;
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDER: &str = "00f067aa0ba902b7";

fn context() -> String {
    format!("00-{TRACE}-{SENDER}-01")
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_in_any_case_are_read_and_lower_case_is_written() {
    let mut world = World::polling("none", |_| {}).await;
    let names = ["traceparent", "Traceparent", "TRACEPARENT"];
    for (number, name) in names.iter().enumerate() {
        let data = instruct(&format!("k{number}"), "call|5|https://api.example/v1/any");
        let headers = [(*name, &*context()), ("tracestate", "")];
        world.send("c-poller.shop", &data, &headers).await;
    }
    let results = world.stored("IM_RES", 3).await;
    let spans = world.ended();
    let commands = named(&spans, "process message.send");
    assert_eq!(commands.len(), 3);
    for command in &commands {
        assert_eq!((&*command.trace, &*command.parent), (TRACE, SENDER));
        assert_eq!(command.kind, "CONSUMER");
        assert_eq!(command.get("im.outcome"), "ok");
        assert!(
            command
                .get("messaging.consumer.group.name")
                .starts_with('s')
        );
        let below: Vec<_> = spans.iter().filter(|span| span.is_below(command)).collect();
        assert_eq!(only_named(&below, "POST /v1/any").kind, "CLIENT");
        let publish = only_named(&below, "publish im.v1.res.c-poller.message.send");
        let written = format!("00-{}-{}-01", publish.trace, publish.id);
        let has_it = |message: &&async_nats::Message| {
            let headers = message.headers.as_ref().unwrap();
            assert!(headers.get("tracestate").is_none());
            headers.get("traceparent").map(|it| it.as_str()) == Some(&written)
        };
        assert_eq!(results.iter().filter(has_it).count(), 1);
    }
}

fn only_named<'s>(
    spans: &[&'s im_bridge_test_harness::otlp::Span],
    name: &str,
) -> &'s im_bridge_test_harness::otlp::Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_a_sibling() {
    let mut world = World::polling("none", |_| {}).await;
    let data = instruct("k1", "later");
    world
        .send("c-poller.shop", &data, &[("traceparent", &context())])
        .await;
    world.stored("IM_RES", 1).await;
    let spans = world.ended();
    let mut attempts = named(&spans, "process message.send");
    attempts.sort_by_key(|span| span.start_ns);
    let [first, second] = &attempts[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!((&*first.parent, &*second.parent), (SENDER, SENDER));
    assert_eq!((&*first.trace, &*second.trace), (TRACE, TRACE));
    assert_eq!(
        (first.get("im.attempt"), second.get("im.attempt")),
        ("1", "2")
    );
    assert_eq!(
        (first.get("im.outcome"), second.get("im.outcome")),
        ("retry", "ok")
    );
    assert_eq!(first.error.as_deref(), Some("provider_unavailable"));
    assert_eq!(second.error, None);
    let result = only(&spans, "publish im.v1.res.c-poller.message.send");
    assert!(result.is_below(second));
    assert!(first.end_ns < second.start_ns);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_brings_back_is_linked_to_it() {
    let mut world = World::polling("none", |_| {}).await;
    world
        .send(
            "c-poller.shop",
            &instruct("k1", "sync|3"),
            &[("traceparent", &context())],
        )
        .await;
    world.stored("IM_RES", 1).await;
    world.stored("IM_EVT", 3).await;
    let spans = world.ended();
    let command = only(&spans, "process message.send");
    assert_eq!((&*command.trace, &*command.parent), (TRACE, SENDER));
    let events = named(&spans, "process c-poller message.created");
    assert_eq!(events.len(), 3);
    for event in &events {
        // Each is a story of its own; the command is what it came from.
        assert!(event.is_root() && event.trace != TRACE);
        assert_eq!(event.links, [(command.trace.clone(), command.id.clone())]);
        assert_eq!(event.get("im.delivery"), "backfill");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_batch_are_parts_of_its_span() {
    let mut world = World::new(json!({ "sim": { "demo": {} } }), |_| {}).await;
    let mut messages = Vec::new();
    for text in ["one", "two"] {
        let mut one = message("k", "lobby", text)["params"].clone();
        one["options"] = json!({});
        messages.push(one);
    }
    let batch = json!({ "idempotency_key": "b1", "params": { "items": messages } });
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("traceparent", context());
    let context = async_nats::jetstream::new(world.client.clone());
    let subject = "im.v1.cmd.sim.demo.message.send_batch";
    let sent = context.publish_with_headers(subject, headers, batch.to_string().into());
    sent.await.unwrap().await.unwrap();
    let results = world.stored("IM_RES", 1).await;
    let result = String::from_utf8_lossy(&results[0].payload).into_owned();
    assert!(result.contains("\"status\":\"ok\""), "{result}");
    let spans = world.ended();
    let command = only(&spans, "process message.send_batch");
    assert_eq!((&*command.trace, &*command.parent), (TRACE, SENDER));
    assert_eq!(command.get("im.outcome"), "ok", "{result}");
    let calls = spans
        .iter()
        .filter(|span| span.kind == "CLIENT" && span.is_below(command));
    assert_eq!(calls.count(), 2, "{spans:#?}");
    assert!(only(&spans, "publish im.v1.res.sim.message.send_batch").is_below(command));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_served_below_its_caller() {
    let mut world = World::polling("none", |_| {}).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("traceparent", context());
    let subject = "im.v1.req.c-poller.shop.message.send";
    let data = instruct("k1", "call|5").to_string();
    let asked = world
        .client
        .request_with_headers(subject, headers, data.into());
    let answer = asked.await.unwrap();
    let spans = world.ended();
    let command = only(&spans, "process message.send");
    assert_eq!((&*command.kind, &*command.parent), ("SERVER", SENDER));
    let result = only(&spans, "publish im.v1.res.c-poller.message.send");
    assert!(result.is_below(command));
    let written = answer.headers.unwrap();
    let wanted = format!("00-{TRACE}-{}-01", result.id);
    assert_eq!(written.get("traceparent").unwrap().as_str(), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_traces_a_context_goes_on_unchanged() {
    let world = World::polling("none", |config| {
        config["telemetry"]["otlp"]["endpoint"] = json!("");
    })
    .await;
    let headers = [("Traceparent", &*context()), ("tracestate", "vendor=1")];
    world
        .send("c-poller.shop", &instruct("k1", "call|5"), &headers)
        .await;
    let results = world.stored("IM_RES", 1).await;
    let headers = results[0].headers.as_ref().unwrap();
    assert_eq!(headers.get("traceparent").unwrap().as_str(), context());
    assert_eq!(headers.get("tracestate").unwrap().as_str(), "vendor=1");
    world
        .send("c-poller.shop", &instruct("k2", "hit|1"), &[])
        .await;
    let events = world.stored("IM_EVT", 1).await;
    assert!(
        events[0]
            .headers
            .as_ref()
            .unwrap()
            .get("traceparent")
            .is_none()
    );
    assert_eq!(world.collector.requests(), 0);
}

/// Forwards connections to a provider, and keeps every byte that goes there.
async fn wire_tap(to: String) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&to).await.unwrap();
            let (mut from_near, mut to_near) = near.into_split();
            let (mut from_far, mut to_far) = far.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
            let keeping = Arc::clone(&keeping);
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok(read @ 1..) = from_near.read(&mut bytes).await {
                    keeping.lock().unwrap().extend_from_slice(&bytes[..read]);
                    to_far.write_all(&bytes[..read]).await.unwrap();
                }
            });
        }
    });
    (format!("ws://{address}"), heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_for_the_provider() {
    let simulator = Simulator::start();
    let address = simulator.url().strip_prefix("ws://").unwrap().to_owned();
    let (url, heard) = wire_tap(address.trim_end_matches('/').to_owned()).await;
    let account = json!({ "url": url, "raw_frames": true });
    let mut world = World::new(json!({ "sim": { "demo": account } }), |config| {
        config["telemetry"]["traces"] = json!({ "baggage": { "tenant": true } });
    })
    .await;
    let mut frames = world.client.subscribe("im.v1.raw.>").await.unwrap();
    world.client.flush().await.unwrap();
    let headers = [
        ("traceparent", &*context()),
        ("tracestate", "vendor=1"),
        ("baggage", "tenant=7"),
    ];
    world
        .send("sim.demo", &message("k1", "lobby", "hello"), &headers)
        .await;
    world.stored("IM_RES", 1).await;
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("hello") {
        let frame = tokio::time::timeout(
            im_bridge_test_harness::WITHIN,
            futures_util::StreamExt::next(&mut frames),
        );
        // Its own envelope is ours and may name a trace; the frame is its data.
        let frame: serde_json::Value =
            serde_json::from_slice(&frame.await.unwrap().unwrap().payload).unwrap();
        shown.extend_from_slice(frame["data"].to_string().as_bytes());
    }
    let spans = world.ended();
    let command = only(&spans, "process message.send");
    let call = spans
        .iter()
        .find(|span| span.name == "request" && span.is_below(command));
    assert_eq!(call.unwrap().kind, "CLIENT");
    let mut told = heard.lock().unwrap().clone();
    assert!(told.starts_with(b"GET "), "the handshake was heard");
    told.extend(shown);
    let told = String::from_utf8_lossy(&told).to_lowercase();
    for text in [
        "traceparent",
        "tracestate",
        "baggage",
        "vendor=1",
        TRACE,
        &command.id,
    ] {
        assert!(!told.contains(text), "{text}");
    }
}
