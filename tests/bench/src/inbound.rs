//! Job IN: what a provider pushes is stored, and the provider acknowledged.
//!
//! First as fast as it goes: the provider has everything to say before the measurement begins, and pushes with 64
//! unacknowledged. Then at steady rates, where wake-ups count and not bytes.

use crate::Options;
use crate::mark::{Mark, check, now_ns};
use crate::provider::{Director, ROOMS, say};
use crate::report::{Report, per, percentiles, us_per};
use crate::world::{Column, Started, WITHIN, What, World};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use futures_util::{FutureExt, StreamExt};
use im_bridge_test_harness::eventually_within;
use serde_json::Value;
use std::time::{Duration, Instant};

/// A push as large as a sync push usually is.
const FRAME_BYTES: usize = 590;
/// Events a second.
const RATES: [u64; 3] = [50, 500, 5_000];
/// At a rate, as often as this what is due is said.
const PACE: Duration = Duration::from_millis(1);

/// A column with whoever plays its provider.
struct Side {
    started: Started,
    director: Director,
    /// Number of the next message.
    next: u64,
}

pub async fn run(world: &World, options: &Options) -> bool {
    let url = world.simulator.url();
    let bare = Director::frame_bytes(url, &Mark::now(0, 0).text(0)).await;
    let filler = FRAME_BYTES.saturating_sub(bare);
    let about = format!(
        "{} events a run of {FRAME_BYTES} bytes in {ROOMS} channels, {} runs; rates for {} s",
        options.events, options.runs, options.seconds
    );
    let mut report = Report::new("in", about);
    let mut sides = sides(world, options, "in", false).await;
    for run in 0..options.runs {
        // In turn, so that neither is always the one that runs on a warm machine.
        for side in in_turn(&mut sides, run) {
            flood(world, &mut report, side, options.events, filler).await;
        }
    }
    for side in &mut sides {
        let memory = side.started.process.memory();
        let own_mib = per(memory.own_kib, 1024);
        report.add(
            "memory",
            side.started.column,
            vec![
                ("own MiB", own_mib),
                ("threads", per(side.started.process.threads() as u64, 1)),
            ],
        );
    }
    for rate in RATES {
        for side in &mut sides {
            steady(world, &mut report, side, rate, options, filler).await;
        }
    }
    for side in sides {
        side.started.stop();
    }
    for mut side in self::sides(world, options, "in", true).await {
        flood(
            world,
            &mut report,
            &mut side,
            options.events.min(10_000),
            filler,
        )
        .await;
        side.started.stop();
    }
    report.print(options.json)
}

async fn sides(world: &World, options: &Options, job: &str, is_counted: bool) -> Vec<Side> {
    sides_of(world, &options.columns, job, is_counted).await
}

async fn sides_of(world: &World, columns: &[Column], job: &str, is_counted: bool) -> Vec<Side> {
    let mut sides = Vec::new();
    for column in columns {
        // Made first, so that it decides what its world is like.
        let director = Director::of(world.simulator.url(), column.name()).await;
        sides.push(Side {
            started: world.start(*column, job, is_counted).await,
            director,
            // No number is used twice in a world.
            next: now_ns(),
        });
    }
    sides
}

fn in_turn(sides: &mut [Side], run: u32) -> Box<dyn Iterator<Item = &mut Side> + '_> {
    if run.is_multiple_of(2) {
        Box::new(sides.iter_mut())
    } else {
        Box::new(sides.iter_mut().rev())
    }
}

async fn flood(world: &World, report: &mut Report, side: &mut Side, events: u64, filler: usize) {
    let column = side.started.column;
    let stream = column.stream(What::Events);
    let (first, director) = (side.next, &mut side.director);
    side.next += events;
    director.hold().await;
    let said: Vec<Value> = (0..events)
        .map(|n| say(n, &Mark::now(first + n, n % ROOMS).text(filler)))
        .collect();
    director.orders(&said).await;
    let (_, stored_before) = world.state(&stream).await;
    let process = side.started.process;
    let (before, allocated) = (process.sample(), side.started.allocations());
    let began = Instant::now();
    director.release().await;
    eventually_within(WITHIN, "everything is stored", || async {
        (world.state(&stream).await.1 >= stored_before + events).then_some(())
    })
    .await;
    let took = began.elapsed();
    while director.unacknowledged().await > 0 {
        assert!(began.elapsed() < WITHIN, "not everything is acknowledged");
    }
    let used = process.used_since(&before);
    let allocations = side.started.allocations();
    let marks: Vec<Mark> = world
        .after(&stream, stored_before)
        .await
        .iter()
        .filter_map(|body| Mark::find(body))
        .collect();
    report.check(column, check(&marks, first, events));
    match allocations.zip(allocated) {
        Some((after, before)) => {
            let each = per(after - before, events);
            report.add("allocations", column, vec![("an event", each)]);
        }
        None => {
            let figures = vec![
                ("us CPU/event", us_per(used.cpu, events)),
                ("rate/s", per(events, 1) / took.as_secs_f64()),
                ("waits/event", per(used.waits, events)),
            ];
            report.add("flood", column, figures);
        }
    }
}

/// Messages at a rate, and when each is stored: a consumer hears what the stream has.
async fn steady(
    world: &World,
    report: &mut Report,
    side: &mut Side,
    rate: u64,
    options: &Options,
    filler: usize,
) {
    let column = side.started.column;
    let stream = world
        .jetstream
        .get_stream(column.stream(What::Events))
        .await;
    let config = push::OrderedConfig {
        deliver_subject: world.client.new_inbox(),
        deliver_policy: DeliverPolicy::New,
        ..push::OrderedConfig::default()
    };
    let consumer = stream.expect("it is there").create_consumer(config).await;
    let heard = consumer.expect("the server runs").messages().await;
    let mut heard = heard.expect("the server runs");
    // A short run is a short one at every rate.
    let count = (rate * options.seconds).min(options.events);
    let (first, mut said, mut answered) = (side.next, 0, 0);
    side.next += count;
    let process = side.started.process;
    let before = process.sample();
    let began = Instant::now();
    let mut pace = tokio::time::interval(PACE);
    let mut marks = Vec::new();
    let mut latencies = Vec::new();
    while (marks.len() as u64) < count {
        assert!(began.elapsed() < WITHIN, "not everything is stored");
        tokio::select! {
            biased;
            Some(message) = heard.next() => {
                let message = message.expect("the server runs");
                if let Some(mark) = Mark::find(&message.payload) {
                    latencies.push(now_ns() - mark.said_ns);
                    marks.push(mark);
                }
            }
            _ = pace.tick() => {
                let due = (crate::mark::ns(began.elapsed()) / 1_000 * rate / 1_000_000 + 1).min(count);
                while said < due {
                    let text = Mark::now(first + said, said % ROOMS).text(filler);
                    side.director.begin(say(said, &text)).await;
                    said += 1;
                }
                while answered < said && side.director.hear().now_or_never().is_some() {
                    answered += 1;
                }
            }
        }
    }
    let used = process.used_since(&before);
    while answered < said {
        side.director.hear().await;
        answered += 1;
    }
    report.check(column, check(&marks, first, count));
    let (p50, p99) = percentiles(&mut latencies);
    let figures = vec![
        ("us CPU/event", us_per(used.cpu, count)),
        ("p50 ms", p50),
        ("p99 ms", p99),
        ("waits/event", per(used.waits, count)),
    ];
    report.add(&format!("{rate}/s"), column, figures);
}

/// What traces cost, and what a collector costs that is away: the same bridge six times, one after the other in each run.
pub async fn telemetry(world: &World, options: &Options) -> bool {
    const COLUMNS: [Column; 6] = [
        Column::Bridge,
        Column::Unsampled,
        Column::Hundredth,
        Column::Tenth,
        Column::Whole,
        Column::Dead,
    ];
    let bare = Director::frame_bytes(world.simulator.url(), &Mark::now(0, 0).text(0)).await;
    let filler = FRAME_BYTES.saturating_sub(bare);
    let about = format!(
        "{} events a run of {FRAME_BYTES} bytes, {} runs; ratios against the bridge without a collector",
        options.events, options.runs
    );
    let mut report = Report::new("telemetry", about);
    let mut sides = sides_of(world, &COLUMNS, "in", false).await;
    // The first run of a process is another one: it makes what all others have.
    let mut unused = Report::new("telemetry", String::new());
    for side in &mut sides {
        flood(world, &mut unused, side, options.events, filler).await;
    }
    for run in 0..options.runs {
        for side in in_turn(&mut sides, run) {
            flood(world, &mut report, side, options.events, filler).await;
            let kib = side.started.process.memory().own_kib;
            let figures = vec![("own MiB", per(kib, 1024))];
            report.add("memory", side.started.column, figures);
            world.collector.forget();
        }
    }
    for side in sides {
        side.started.stop();
    }
    report.print(options.json)
}

/// The same rate over one account and over a thousand: what an event costs must not grow with accounts.
pub async fn growth(world: &World, options: &Options) -> bool {
    /// Together, whatever the number of accounts.
    const RATE: u64 = 1_000;
    let (many, during) = (options.accounts, Duration::from_secs(options.seconds));
    let about = format!(
        "{RATE} events/s over one account and over {many}, for {} s",
        options.seconds
    );
    let mut report = Report::new("growth", about);
    for accounts in [1, many] {
        for column in &options.columns {
            let started = world.start_many(*column, "idle", accounts, false).await;
            let mut directors = Vec::new();
            for name in crate::world::worlds(*column, accounts) {
                let mut director = Director::of(world.simulator.url(), &name).await;
                director.rate(per(RATE, accounts)).await;
                directors.push(director);
            }
            let stream = column.stream(What::Events);
            let (before, stored) = (started.process.sample(), world.state(&stream).await.1);
            let began = Instant::now();
            let mut end = tokio::time::interval_at((began + during).into(), during);
            end.tick().await;
            let (used, after) = (
                started.process.used_since(&before),
                world.state(&stream).await.1,
            );
            let events = after - stored;
            let figures = vec![
                ("us CPU/event", us_per(used.cpu, events)),
                ("rate/s", per(events, 1) / began.elapsed().as_secs_f64()),
                ("waits/event", per(used.waits, events)),
            ];
            report.add(&format!("{accounts} accounts"), *column, figures);
            for mut director in directors {
                director.rate(0.0).await;
            }
            started.stop();
        }
    }
    report.print(options.json)
}
