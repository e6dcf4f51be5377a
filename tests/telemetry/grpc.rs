//! The same over gRPC, in builds that speak it: `cargo test --features im-bridge/otlp-grpc --test telemetry grpc`.

use crate::world::{World, instruct, named, only};
use im_bridge_test_harness::eventually_within;
use im_bridge_test_harness::otlp::{Measured, Mode, Point};
use serde_json::{Value, json};
use std::time::Duration;

/// A few intervals, on a busy machine.
const PUSHED_WITHIN: Duration = Duration::from_secs(60);

fn grpc(config: &mut Value) {
    config["telemetry"]["otlp"]["protocol"] = json!("grpc");
    config["telemetry"]["otlp"]["timeout_ms"] = json!(500);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_come_with_their_headers() {
    for compression in ["gzip", "none"] {
        let mut world = World::with(
            json!({ "c-poller": { "shop": { "script": "hit|3" } } }),
            |config| {
                grpc(config);
                config["telemetry"]["otlp"]["compression"] = json!(compression);
                config["telemetry"]["otlp"]["headers"] = json!({ "api-key": { "env": "KEY" } });
                config["telemetry"]["metrics"] = json!({ "otlp": true, "interval_s": 5 });
                config["telemetry"]["logs"] = json!({ "otlp": true });
            },
            &[("KEY", "s3cret of the collector")],
        )
        .await;
        world
            .send(
                "c-poller.shop",
                &instruct("k1", "call|5|https://api.example/v1/any"),
                &[],
            )
            .await;
        world.stored("IM_RES", 1).await;
        eventually_within(PUSHED_WITHIN, "values are pushed", || async {
            let mut points = world.collector.points().into_iter();
            let is_it =
                |it: &Point| it.name == "im_bridge_events" && it.value == Measured::Counter(3.0);
            points.any(|point| is_it(&point)).then_some(())
        })
        .await;
        let spans = world.ended();
        assert_eq!(named(&spans, "process c-poller message.created").len(), 3);
        let command = only(&spans, "process message.send");
        assert!(only(&spans, "POST /v1/any").is_below(command));
        assert!(!world.collector.lines().is_empty());
        let taken = world.collector.taken();
        for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
            assert!(taken.iter().any(|request| request.path == path), "{path}");
        }
        for request in &taken {
            assert_eq!(request.headers["api-key"], "s3cret of the collector");
            let encoding = request.headers.get("grpc-encoding").map(String::as_str);
            assert_eq!(encoding, (compression == "gzip").then_some("gzip"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_counted() {
    for (mode, reason) in [
        (Mode::Status(400), "refused"),
        (Mode::Status(503), "unreachable"),
        (Mode::Close, "unreachable"),
        (Mode::Hang, "timeout"),
        (Mode::Partly(1), "refused"),
    ] {
        let mut world = World::polling("none", grpc).await;
        world.collector.set(mode);
        world
            .send("c-poller.shop", &instruct("k1", "hit|2"), &[])
            .await;
        world.stored("IM_EVT", 2).await;
        let series =
            format!("im_bridge_telemetry_dropped_total{{signal=\"traces\",reason=\"{reason}\"}}");
        let dropped = eventually_within(PUSHED_WITHIN, &series, || async {
            Some(world.metric(&series)).filter(|dropped| *dropped > 0.5)
        })
        .await;
        let exported = world.metric(r#"im_bridge_telemetry_exported_total{signal="traces"}"#);
        assert_eq!(world.bridge.get("/readyz").0, 200);
        let spans = world.ended();
        // The command's two spans, two of each event.
        assert!(
            (dropped + exported - 6.0).abs() < 0.5,
            "{mode:?}: {dropped} {exported}"
        );
        assert_eq!(spans.len(), if mode == Mode::Partly(1) { 5 } else { 0 });
    }
}
