//! Log lines that belong to a trace, here and at a collector; and what took long.

use crate::world::{World, instruct, only};
use im_bridge_test_harness::eventually;
use im_bridge_test_harness::otlp::Span;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The only line with this message that this trace has.
fn line(world: &World, message: &str, trace: &str) -> Value {
    let mut found = world.bridge.log();
    found.retain(|line| line["msg"] == message && line["trace_id"] == trace);
    assert_eq!(found.len(), 1, "{message}: {:#?}", world.bridge.log());
    found.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_have_the_trace_that_they_belong_to() {
    let mut world = World::polling("none", |config| {
        config["telemetry"]["logs"] = json!({ "otlp": true, "level": "debug", "slow_ms": 1 });
    })
    .await;
    let headers = [("traceparent", CONTEXT)];
    for (key, order) in [
        ("k1", "refuse|5|x"),
        ("k2", "log|5|said of a command"),
        ("k3", "strange|1"),
        // Of one channel: the later ones wait for the first, which makes them slow.
        ("k4", "hit|3"),
    ] {
        world
            .send("c-poller.shop", &instruct(key, order), &headers)
            .await;
    }
    world.stored("IM_RES", 4).await;
    world.stored("IM_DLQ", 1).await;
    eventually("all of it is told", || async {
        let is_told = |text| world.bridge.said(text) > 0;
        (is_told("slow event") && is_told("dead letters")).then_some(())
    })
    .await;
    let of_events: Vec<String> = world
        .stored("IM_EVT", 3)
        .await
        .iter()
        .map(|event| {
            let headers = event.headers.as_ref().unwrap();
            headers.get("traceparent").unwrap().as_str()[3..35].to_owned()
        })
        .collect();
    let log = world.bridge.log();
    let slow = log.iter().find(|line| line["msg"] == "slow event").unwrap();
    let of_event = slow["trace_id"].as_str().unwrap();
    assert!(of_events.iter().any(|it| it == of_event), "{of_events:?}");
    let spans = world.ended();

    let failed = line(&world, "command failed", TRACE);
    assert_eq!(
        (&failed["level"], &failed["code"]),
        (&json!("warn"), &json!("forbidden"))
    );
    assert_eq!(failed["account"], "shop");
    let attempt = spans
        .iter()
        .find(|span| span.error.is_some() && span.name == "process message.send");
    assert_eq!(failed["span_id"], attempt.unwrap().id.as_str());
    assert_eq!(line(&world, "said of a command", TRACE)["level"], "warn");
    let slow = line(&world, "slow event", of_event);
    assert_eq!(slow["kind"], "message.created");
    assert!(slow["took_ms"].as_u64().unwrap() >= 1);
    let is_it = |span: &&Span| span.trace == of_event && span.kind == "PRODUCER";
    let publish = spans.iter().find(is_it).unwrap();
    assert_eq!(slow["span_id"], publish.id.as_str());
    let log = world.bridge.log();
    let is_buried = |line: &&Value| {
        line["kind"] == "other" && line["msg"].as_str().unwrap_or("").contains("dead letters")
    };
    let buried = log.iter().find(is_buried).unwrap();
    let letter = only(&spans, "publish im.v1.dlq.evt");
    assert_eq!(buried["trace_id"], letter.trace.as_str());
    assert_eq!(buried["span_id"], letter.id.as_str());

    // The same at the collector, where ids have fields of their own.
    let lines = world.collector.lines();
    for (body, trace) in [
        ("command failed", TRACE),
        ("said of a command", TRACE),
        ("slow event", of_event),
    ] {
        let record = lines.iter().find(|it| it.body == body && it.trace == trace);
        let record = record.unwrap_or_else(|| panic!("{body}: {lines:#?}"));
        assert_eq!(record.attributes["account"], "shop");
        assert_eq!(record.resource["service.name"], "im-bridge");
        assert!(!record.attributes.contains_key("trace_id"));
    }
    let start = lines.iter().find(|it| it.body == "im-bridge starts");
    assert!(start.is_none_or(|start| start.trace.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slow_is_told_ten_times_a_minute_at_most() {
    let world = World::polling("hit|60", |config| {
        config["telemetry"]["logs"] = json!({ "slow_ms": 1, "repeats_per_minute": 0 });
    })
    .await;
    world.stored("IM_EVT", 60).await;
    let settled =
        r#"im_bridge_events_total{provider="c-poller",kind="message.created",outcome="stored"}"#;
    eventually("all are settled", || async {
        (world.metric(settled) > 59.5).then_some(())
    })
    .await;
    let told = world.bridge.said("slow event");
    assert!((1..=10).contains(&told), "{told}");
}
