//! What a span costs, by thread: a figure for whoever makes it cheaper, not a test of it.
//!
//! `cargo test --release -p im-bridge --lib what_telemetry_costs -- --ignored --nocapture`

use super::*;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

/// Ends in the shape of a usual event, and so many of them.
const EVENTS: u64 = 200_000;
/// As many at once as the queue has room for.
const AT_ONCE: u64 = 4_000;

/// A collector that takes everything and looks at nothing.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let take = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            let mut line = String::new();
            while matches!(reader.read_line(&mut line), Ok(1..)) {
                let (name, value) = line.trim().split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).unwrap();
                    (&stream)
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .unwrap();
                }
                line.clear();
            }
        }
    };
    std::thread::Builder::new()
        .name("sink".to_owned())
        .spawn(take)
        .unwrap();
    url
}

/// Processor time of each thread of this process but the sink's, by name.
fn threads_ns() -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name));
        let (Ok(name), Ok(stat)) = (read("comm"), read("schedstat")) else {
            continue; // it has just ended
        };
        let ns: u64 = stat.split(' ').next().unwrap().parse().unwrap();
        if name.trim() != "sink" {
            *all.entry(name.trim().to_owned()).or_default() += ns;
        }
    }
    all
}

#[test]
#[ignore = "it measures, and says nothing in a build that is not optimised"]
fn what_telemetry_costs() {
    for share in [1.0, 0.01, 0.0] {
        let mut config = config(sink());
        config.traces.sampler_arg = share;
        let telemetry = Telemetry::start(&config, "test").unwrap();
        let account = telemetry.account(&account("shop"));
        let kind = telemetry
            .event_kind(
                &account,
                "message.created",
                "im.v1.evt.{provider}.{account}.message.created.{channel}".to_owned(),
                "im.v1.evt.chat.message.created",
            )
            .unwrap();
        let stream = "IM_EVT".into();
        let mut before = threads_ns();
        for number in 0..EVENTS {
            let facts = EventFacts {
                noise: Noise::EVENT,
                delivery: Delivery::LIVE,
                origin: Origin::REMOTE,
                trace: TraceContext::NONE,
                waited: Duration::ZERO,
            };
            let mut span = EventSpan::begin(&kind, &facts, std::iter::empty());
            let mut headers = Vec::new();
            context::write(&mut headers, &span.context(), None);
            span.published(
                "mfrggzdfmztwq2lknnwg23tpobyxe43u",
                1_100,
                Ok((&stream, number, false)),
            );
            span.finish(Outcome::STORED);
            if number % AT_ONCE == AT_ONCE - 1 {
                assert!(telemetry.flush(SOON));
            }
            if number == EVENTS / 10 {
                before = threads_ns();
            }
        }
        let events = EVENTS - EVENTS / 10;
        let mut sum = 0;
        for (name, after) in threads_ns() {
            let ns = (after - before.get(&name).copied().unwrap_or(0)) / events;
            sum += ns;
            if ns > 0 {
                println!("{share}: {name}: {ns} ns an event");
            }
        }
        println!("{share}: {sum} ns an event");
        telemetry.shut_down(SOON);
    }
}
