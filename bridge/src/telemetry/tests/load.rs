//! More than a collector takes, or none that takes anything.

use super::*;
use im_bridge_test_harness::otlp::{Mode, nobody};
use std::time::Instant;

/// Ends so many events, and how long that took.
fn events(world: &World, count: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        let mut event = world.event(Noise::EVENT, TraceContext::NONE);
        event.published("id", 1, Ok((&"IM_EVT".into(), 1, false)));
        event.finish(Outcome::STORED);
    }
    start.elapsed()
}

#[test]
fn exported_plus_dropped_is_all() {
    for mode in [
        Mode::Take,
        Mode::Partly(3),
        Mode::Status(400),
        Mode::Status(503),
        Mode::Close,
        Mode::Hang,
    ] {
        let world = World::new(|config| {
            config.traces.queue = 512;
            config.otlp.timeout_ms = 500;
        });
        world.collector.set(mode);
        events(&world, 1_000);
        let start = Instant::now();
        world.telemetry.shut_down(Duration::from_secs(2));
        assert!(start.elapsed() < Duration::from_secs(3), "{mode:?}");
        events(&world, 1);
        let figures = world
            .telemetry
            .0
            .traces
            .as_ref()
            .unwrap()
            .exporter()
            .figures();
        let received = world.collector.spans().len() as u64;
        assert_eq!(
            figures.all_exported() + figures.all_dropped(),
            2_002,
            "{mode:?}"
        );
        assert_eq!(figures.all_exported(), received, "{mode:?}");
        assert_eq!(world.figure(Metric::TelemetryQueue, &["traces"]), 0.0);
        let shutdown = world.figure(Metric::TelemetryDroppedTotal, &["traces", "shutdown"]);
        assert!(shutdown >= 2.0, "{mode:?}");
    }
}

#[test]
fn a_collector_that_comes_back_gets_what_still_waits() {
    let world = World::new(|_| {});
    // A second is enough to change its mind in; at once, all attempts would be over.
    world.collector.set(Mode::Later(429, 1));
    world.op(op("login", Noise::SESSION, Status::OK));
    let telemetry = world.telemetry.clone();
    let flushing = std::thread::spawn(move || telemetry.flush(SOON));
    while world.collector.requests() == 0 {
        std::thread::yield_now();
    }
    world.collector.set(Mode::Take);
    assert!(flushing.join().unwrap());
    assert_eq!(world.spans().len(), 1);
}

#[test]
fn nobody_waits_for_a_collector_that_is_away() {
    let telemetry = Telemetry::start(&config(nobody()), "test").unwrap();
    let labels = telemetry.account(&account("shop"));
    let start = Instant::now();
    for _ in 0..100_000 {
        telemetry.op(&labels, || op("login", Noise::SESSION, Status::OK));
    }
    // Far above what a hundred thousand spans take, and far below one time-out each.
    assert!(start.elapsed() < Duration::from_secs(20));
    let begun = Instant::now();
    telemetry.shut_down(Duration::from_secs(1));
    assert!(begun.elapsed() < Duration::from_secs(2));
}
