//! What polling leaves: nothing, unless it brings something or fails.

use crate::world::{World, instruct, named, only};
use im_bridge_test_harness::{Simulator, eventually};
use serde_json::{Map, Value, json};

const EVENT: &str = "process c-poller message.created";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_minute_leaves_no_span() {
    const ACCOUNTS: u32 = 50;
    /// Ten minutes of a poll and a heartbeat each second and a refreshed token each minute.
    const OPS: f64 = 600.0 + 600.0 + 10.0;
    let accounts: Map<String, Value> = (0..ACCOUNTS)
        .map(|number| (format!("shop{number}"), json!({ "script": "idle|600" })))
        .collect();
    let mut world = World::new(json!({ "c-poller": accounts }), |_| {}).await;
    let left_out = r#"im_bridge_telemetry_excluded_total{reason="noise"}"#;
    eventually("every operation was reported", || async {
        (world.metric(left_out) >= f64::from(ACCOUNTS) * OPS).then_some(())
    })
    .await;
    assert!((world.metric(left_out) - f64::from(ACCOUNTS) * OPS).abs() < 0.5);
    for (operation, noise) in [("poll", "poll_empty"), ("heartbeat", "heartbeat")] {
        let series = format!(
            "im_bridge_operations_total{{provider=\"c-poller\",operation=\"{operation}\",noise=\"{noise}\",outcome=\"ok\"}}"
        );
        assert!(world.metric(&series) > 0.0, "{series}");
    }
    let spans = world.ended();
    assert!(spans.is_empty(), "{spans:#?}");
    assert_eq!(world.collector.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_leaves_its_beginning_and_no_heartbeat() {
    const HEARTBEATS: f64 = 10.0;
    let simulator = Simulator::start();
    let account = json!({ "url": simulator.url(), "heartbeat_ms": 500 });
    let mut world = World::new(json!({ "sim": { "demo": account } }), |_| {}).await;
    let beats = r#"im_bridge_operations_total{provider="sim",operation="heartbeat",noise="heartbeat",outcome="ok"}"#;
    eventually("it beats", || async {
        (world.metric(beats) >= HEARTBEATS).then_some(())
    })
    .await;
    let spans = world.ended();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["connect", "login"], "the way in, once: {spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successful_poll_leaves_no_span() {
    for has_spans in [false, true] {
        let mut world = World::polling("hit|3", |config| {
            config["telemetry"]["traces"] = json!({ "poll_hit_spans": has_spans });
        })
        .await;
        world.stored("IM_EVT", 3).await;
        let spans = world.ended();
        let events = named(&spans, EVENT);
        assert_eq!(events.len(), 3);
        let polls = named(&spans, "poll c-poller");
        assert_eq!(polls.len(), usize::from(has_spans));
        assert_eq!(spans.len(), 6 + polls.len());
        for event in events {
            assert!(event.is_root(), "{event:#?}");
            let poll = polls
                .iter()
                .map(|poll| (poll.trace.clone(), poll.id.clone()));
            assert_eq!(event.links, poll.collect::<Vec<_>>());
            assert_eq!(event.get("im.ingest"), "poll");
            assert_eq!(event.get("im.outcome"), "stored");
            let publish = spans.iter().filter(|span| span.is_below(event));
            let names: Vec<_> = publish.map(|span| span.name.as_str()).collect();
            assert_eq!(names, ["publish im.v1.evt.c-poller.message.created"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_survives_its_excluded_poll() {
    let script = "hit|1|https://IMAPI.volcvideo.com:443/imcloud/v1/message";
    let mut world = World::polling(script, |config| {
        config["telemetry"]["traces"] = json!({ "poll_hit_spans": true });
    })
    .await;
    let stored = world.stored("IM_EVT", 1).await;
    let excluded = r#"im_bridge_telemetry_excluded_total{reason="url"}"#;
    assert!((world.metric(excluded) - 1.0).abs() < 0.5);
    let spans = world.ended();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let event = only(&spans, EVENT);
    assert!(event.is_root() && event.links.is_empty());
    let publish = only(&spans, "publish im.v1.evt.c-poller.message.created");
    let headers = stored[0].headers.as_ref().unwrap();
    let context = format!("00-{}-{}-01", publish.trace, publish.id);
    assert_eq!(headers.get("traceparent").unwrap().as_str(), context);
    assert!(headers.get("tracestate").is_none());
    let body: Value = serde_json::from_slice(&stored[0].payload).unwrap();
    assert_eq!(body["traceparent"], context.as_str());
    assert!(!world.collector.has_seen("volcvideo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_poll_has_its_true_times_and_ignores_the_ratio() {
    let mut world = World::polling("fail|20", |config| {
        config["telemetry"]["traces"] = json!({ "sampler_arg": 0.0 });
    })
    .await;
    world
        .send("c-poller.shop", &instruct("k1", "hit|1"), &[])
        .await;
    world.stored("IM_EVT", 1).await;
    let spans = world.ended();
    let [span] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(span.name, "poll c-poller");
    assert_eq!(span.end_ns - span.start_ns, 20_000_000);
    assert_eq!(span.error.as_deref(), Some("unavailable"));
    assert_eq!(span.get("im.noise"), "poll_empty");
    assert!(span.is_root());
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_addresses_leave_nothing() {
    let addresses = [
        "https://imapi.volcvideo.com/v1/x",
        "https://IMAPI.VolcVideo.com./v1/x",
        "https://imapi.volcvideo.com:443/v1/x",
        "https://imapi.volcvideo.com",
        "https://imapi.volcvideo.com?token=1",
        "https://a:b@imapi.volcvideo.com/v1/x#y",
        "https://frontier-sinftob.ivolces.com/ws",
        "wss://frontier-sinftob.ivolces.com/ws/v2",
        "ws://frontier-sinftob.ivolces.com:80/ws/v2",
        "wss://imapi.volcvideo.com/ws",
    ];
    let mut world = World::polling("none", |_| {}).await;
    for (number, address) in addresses.iter().enumerate() {
        let data = instruct(&format!("k{number}"), &format!("call|5|{address}"));
        world.send("c-poller.shop", &data, &[]).await;
    }
    world.stored("IM_RES", addresses.len() as u64).await;
    let spans = world.ended();
    let sends = named(&spans, "process message.send");
    assert_eq!(sends.len(), addresses.len());
    for send in sends {
        let [(name, facts)] = &send.events[..] else {
            panic!("{send:#?}")
        };
        assert_eq!(name, "im.op");
        assert_eq!(facts["im.operation"], "send");
        assert_eq!(facts["im.duration_us"], "5000");
        assert_eq!(facts["im.status"], "ok");
    }
    assert!(spans.iter().all(|span| span.kind != "CLIENT"), "{spans:#?}");
    for text in ["volcvideo", "ivolces", "url.full", "/ws/v2"] {
        assert!(!world.collector.has_seen(text), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excluded_failure_is_seen() {
    for keeps in [true, false] {
        let script = "fail|20|https://imapi.volcvideo.com/v1/poll";
        let mut world = World::polling(script, |config| {
            config["telemetry"]["traces"] = json!({ "exclude_keep_errors": keeps });
        })
        .await;
        let excluded = r#"im_bridge_telemetry_excluded_total{reason="url"}"#;
        eventually("the poll failed", || async {
            (world.metric(excluded) > 0.5).then_some(())
        })
        .await;
        let spans = world.ended();
        assert_eq!(spans.len(), usize::from(keeps), "{spans:#?}");
        for span in &spans {
            assert_eq!(span.name, "poll c-poller");
            let mut keys = span.attributes.keys();
            assert!(!keys.any(|key| key.starts_with("url.") || key.starts_with("server.")));
        }
        assert!(!world.collector.has_seen("volcvideo"));
    }
}
