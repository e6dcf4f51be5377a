//! Values and log lines for a collector: what a scraper and standard output get, too.

use crate::world::{World, instruct};
use im_bridge_test_harness::eventually_within;
use im_bridge_test_harness::otlp::{Measured, Mode, Point};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A few intervals, on a busy machine.
const PUSHED_WITHIN: Duration = Duration::from_secs(60);

fn pushing(config: &mut Value, interval_s: u64) {
    config["telemetry"]["metrics"] = json!({ "otlp": true, "interval_s": interval_s });
    config["telemetry"]["logs"] = json!({ "otlp": true });
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

/// The newest value of this series.
fn last(world: &World, name: &str, of: &[(&str, &str)]) -> Option<Point> {
    let of = labels(of);
    let mut points = world.collector.points();
    points.retain(|point| point.name == name && point.labels == of);
    points.pop()
}

fn figure(world: &World, name: &str, labels: &str) -> f64 {
    world.metric(&format!("im_bridge_telemetry_{name}{{{labels}}}"))
}

const STORED: [(&str, &str); 3] = [
    ("provider", "c-poller"),
    ("kind", "message.created"),
    ("outcome", "stored"),
];
const OF_POLLER: [(&str, &str); 1] = [("provider", "c-poller")];
const OF_SHOP: [(&str, &str); 2] = [("provider", "c-poller"), ("account", "shop")];

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::float_cmp,
    reason = "the same number is written twice, and never calculated with"
)]
async fn a_collector_is_told_what_a_scraper_sees() {
    let mut world = World::polling("hit|20", |config| pushing(config, 5)).await;
    world.stored("IM_EVT", 20).await;
    let counter = eventually_within(PUSHED_WITHIN, "all events are told", || async {
        let point = last(&world, "im_bridge_events", &STORED)?;
        (point.value == Measured::Counter(20.0)).then_some(point)
    })
    .await;
    assert_eq!(
        world.metric(
            r#"im_bridge_events_total{provider="c-poller",kind="message.created",outcome="stored"}"#
        ),
        20.0
    );
    assert_eq!(counter.unit, "1");
    assert!(0 < counter.start_ns && counter.start_ns < counter.at_ns);
    assert_eq!(counter.resource["service.name"], "im-bridge");
    assert!(counter.resource["service.instance.id"].starts_with("a-"));

    let gauge = last(&world, "im_bridge_account_owned", &OF_SHOP).unwrap();
    assert_eq!(gauge.value, Measured::Gauge(1.0));
    let owned = r#"im_bridge_account_owned{provider="c-poller",account="shop"}"#;
    assert_eq!(world.metric(owned), 1.0);

    let histogram = last(&world, "im_bridge_event_store", &OF_POLLER).unwrap();
    assert_eq!(histogram.unit, "s");
    let Measured::Histogram {
        count,
        sum,
        buckets,
    } = histogram.value
    else {
        panic!("{histogram:?}")
    };
    let shown = |suffix: &str, more: &str| {
        world.metric(&format!(
            "im_bridge_event_store_seconds_{suffix}{{provider=\"c-poller\"{more}}}"
        ))
    };
    assert_eq!(count, 20);
    assert_eq!(shown("count", ""), 20.0);
    assert_eq!(shown("sum", ""), sum);
    let mut cumulated = 0_u32;
    for (bound, count) in buckets {
        cumulated += u32::try_from(count).unwrap();
        let bound = bound.map_or("+Inf".to_owned(), |bound| bound.to_string());
        let shown = shown("bucket", &format!(",le=\"{bound}\""));
        assert_eq!(shown, f64::from(cumulated), "{bound}");
    }
    assert_eq!(cumulated, 20);

    for signal in ["metrics", "logs"] {
        let of_signal = format!("signal=\"{signal}\"");
        eventually_within(PUSHED_WITHIN, "it is counted", || async {
            (figure(&world, "exported_total", &of_signal) > 0.0).then_some(())
        })
        .await;
    }
    let full = r#"signal="metrics",reason="queue_full""#;
    assert_eq!(figure(&world, "dropped_total", full), 0.0);
    world.ended();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_refuses_is_counted() {
    let world = World::polling("none", |config| {
        pushing(config, 5);
        config["telemetry"]["logs"]["level"] = json!("trace");
    })
    .await;
    world.collector.set(Mode::Status(400));
    for signal in ["metrics", "logs"] {
        let of_signal = format!("signal=\"{signal}\",reason=\"refused\"");
        eventually_within(PUSHED_WITHIN, signal, || async {
            let data = instruct(&format!("{}", fastrand::u64(..)), "none");
            world.send("c-poller.shop", &data, &[]).await;
            (figure(&world, "dropped_total", &of_signal) > 0.0).then_some(())
        })
        .await;
    }
    assert_eq!(world.bridge.get("/readyz").0, 200);
}
