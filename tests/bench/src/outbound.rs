//! Jobs OUT and REQ: commands that the provider answers, from the stream and as requests.

use crate::Options;
use crate::mark::Mark;
use crate::provider::{Director, ROOMS, room};
use crate::report::{Report, per, percentiles, us_per};
use crate::world::{Column, Started, WITHIN, What, World};
use bytes::Bytes;
use futures_util::StreamExt;
use im_bridge_test_harness::eventually_within;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Requests of the part that has several on the way.
const IN_FLIGHT: usize = 64;

/// Durable commands: published, carried out, answered with a result, acknowledged.
pub async fn run(world: &World, options: &Options) -> bool {
    let about = format!(
        "{} commands a run in {ROOMS} channels, {} runs",
        options.events, options.runs
    );
    let mut report = Report::new("out", about);
    let mut sides = Vec::new();
    for is_counted in [false, true] {
        for column in &options.columns {
            let director = Director::of(world.simulator.url(), column.name()).await;
            sides.push((world.start(*column, "out", is_counted).await, director));
        }
        let runs = if is_counted { 1 } else { options.runs };
        for run in 0..runs {
            if run % 2 == 1 {
                sides.reverse();
            }
            for (started, director) in &mut sides {
                one(world, &mut report, started, director, options.events).await;
            }
        }
        for (started, _) in sides.drain(..) {
            started.stop();
        }
    }
    report.print(options.json)
}

async fn one(
    world: &World,
    report: &mut Report,
    started: &Started,
    director: &mut Director,
    commands: u64,
) {
    let column = started.column;
    let (queue, results) = (column.stream(What::Commands), column.stream(What::Results));
    let subject = match column {
        Column::Floor => "floor.cmd.send".to_owned(),
        other => format!("{}.v1.cmd.sim.{}.message.send", other.root(), other.name()),
    };
    // What is sent comes back as a push; that is the other job.
    director.hold().await;
    let (sent_before, _) = director.sends().await;
    let (_, results_before) = world.state(&results).await;
    let prefix = format!("{:x}", crate::mark::now_ns());
    let bodies: Vec<Bytes> = (0..commands)
        .map(|n| {
            let text = Mark::now(n, n % ROOMS).text(0);
            let segments = json!([{ "type": "text", "data": { "text": text } }]);
            let params =
                json!({ "to": { "channel_id": room(n) }, "message": { "segments": segments } });
            let data = json!({ "idempotency_key": format!("{prefix}-{n}"), "params": params });
            Bytes::from(data.to_string())
        })
        .collect();
    let process = started.process;
    let (before, allocated) = (process.sample(), started.allocations());
    let began = Instant::now();
    for body in bodies {
        let published = world.client.publish(subject.clone(), body).await;
        published.expect("the server runs");
    }
    world.client.flush().await.expect("the server runs");
    eventually_within(
        WITHIN,
        "every command has a result and is acknowledged",
        || async {
            let answered = world.state(&results).await.1 - results_before;
            (answered >= commands && world.state(&queue).await.0 == 0).then_some(())
        },
    )
    .await;
    let (took, used) = (began.elapsed(), process.used_since(&before));
    let allocations = started.allocations();
    let told = world.after(&results, results_before).await;
    report.check(column, check(&told, &prefix, commands));
    let (sent, most) = director.sends().await;
    if sent - sent_before != usize::try_from(commands).expect("small") || most != 1 {
        let wrong = format!(
            "{} of {commands} carried out, one of them {most} times",
            sent - sent_before
        );
        report.check(column, Err(wrong));
    }
    if let Some((after, before)) = allocations.zip(allocated) {
        let each = per(after - before, commands);
        report.add("allocations", column, vec![("a command", each)]);
        return;
    }
    let figures = vec![
        ("us CPU/command", us_per(used.cpu, commands)),
        ("rate/s", per(commands, 1) / took.as_secs_f64()),
        ("waits/command", per(used.waits, commands)),
        ("own MiB", per(process.memory().own_kib, 1024)),
    ];
    report.add("commands", column, figures);
}

/// Each command answered once, and those of a channel done in their order.
fn check(results: &[Bytes], prefix: &str, commands: u64) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    let mut posts: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    let (mut twice, mut failed) = (0, 0);
    for result in results {
        let result: Value = serde_json::from_slice(result).map_err(|error| error.to_string())?;
        let data = if result["data"].is_object() {
            &result["data"]
        } else {
            &result
        };
        let key = data["idempotency_key"].as_str().unwrap_or_default();
        failed += u64::from(data["status"] != "ok");
        twice += u64::from(!keys.insert(key.to_owned()));
        let number = key
            .strip_prefix(prefix)
            .and_then(|rest| rest[1..].parse().ok());
        let number: u64 = number.ok_or_else(|| format!("a result for `{key}`"))?;
        let post = post(&data["result"]).ok_or_else(|| format!("no message in {data}"))?;
        posts
            .entry(number % ROOMS)
            .or_default()
            .insert(number, post);
    }
    let broken: usize = posts
        .values()
        .map(|room| {
            let posts: Vec<u64> = room.values().copied().collect();
            posts.windows(2).filter(|pair| pair[0] > pair[1]).count()
        })
        .sum();
    let missing = commands - keys.len() as u64;
    if (missing, twice, failed, broken) == (0, 0, 0, 0) {
        return Ok(());
    }
    Err(format!(
        "{missing} missing, {twice} twice, {failed} failed, {broken} out of order"
    ))
}

/// The provider's number of the message, which it calls `p<number>`.
fn post(result: &Value) -> Option<u64> {
    let id = result["message"]["id"].as_str().or(result["id"].as_str())?;
    id.strip_prefix('p')?.parse().ok()
}

/// Requests: one at a time, and many on the way.
pub async fn requests(world: &World, options: &Options) -> bool {
    let about = format!(
        "{} requests that ask the provider, one at a time and {IN_FLIGHT} on the way, {} runs; `bare` is answered by the \
         floor itself",
        options.events, options.runs
    );
    let mut report = Report::new("req", about);
    let mut sides = Vec::new();
    for column in &options.columns {
        let director = Director::of(world.simulator.url(), column.name()).await;
        sides.push((world.start(*column, "req", false).await, director));
    }
    for _ in 0..options.runs {
        for (started, _) in &sides {
            let column = started.column;
            let read = format!("{}.v1.req.sim.{}.unread.get", column.root(), column.name());
            let asked: &[(&str, &str)] = match column {
                Column::Floor => &[("read", "floor.req.read"), ("bare", "floor.req.bare")],
                _ => &[("read", &read)],
            };
            for (what, subject) in asked {
                for in_flight in [1, IN_FLIGHT] {
                    ask(
                        world,
                        &mut report,
                        started,
                        (what, subject),
                        in_flight,
                        options.events,
                    )
                    .await;
                }
            }
        }
    }
    for (started, _) in sides {
        started.stop();
    }
    report.print(options.json)
}

async fn ask(
    world: &World,
    report: &mut Report,
    started: &Started,
    (what, subject): (&str, &str),
    in_flight: usize,
    events: u64,
) {
    // One at a time a tenth is enough.
    let count = if in_flight == 1 {
        events.div_ceil(10)
    } else {
        events
    };
    let before = started.process.sample();
    let began = Instant::now();
    let asked = (0..count).map(|_| async {
        let began = Instant::now();
        let body = Bytes::from_static(br#"{"params":{}}"#);
        let answer = world.client.request(subject.to_owned(), body).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let is_error = answer
            .payload
            .windows(9)
            .any(|part| part == br#""error":{"#);
        if is_error {
            return Err(String::from_utf8_lossy(&answer.payload).into_owned());
        }
        Ok(crate::mark::ns(began.elapsed()))
    });
    let answers: Vec<Result<u64, String>> = futures_util::stream::iter(asked)
        .buffer_unordered(in_flight)
        .collect()
        .await;
    let (took, used) = (began.elapsed(), started.process.used_since(&before));
    let mut latencies = Vec::new();
    for answer in answers {
        match answer {
            Ok(latency) => latencies.push(latency),
            Err(wrong) => report.check(started.column, Err(wrong)),
        }
    }
    let (p50, p99) = percentiles(&mut latencies);
    let figures = vec![
        ("us CPU/request", us_per(used.cpu, count)),
        ("p50 ms", p50),
        ("p99 ms", p99),
        ("rate/s", per(count, 1) / took.as_secs_f64()),
    ];
    report.add(&format!("{what}, {in_flight}"), started.column, figures);
}
