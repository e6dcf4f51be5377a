//! Jobs IDLE, START and TAKEOVER: what accounts cost that say nothing, and how soon they say something.

use crate::Options;
use crate::floor::HEARTBEAT;
use crate::provider::Director;
use crate::report::{Report, ms, per, us_per};
use crate::world::{Column, WITHIN, World};
use futures_util::{FutureExt, StreamExt};
use im_bridge_test_harness::{Bridge, eventually_within};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::unconstrained;

/// So often that the next event is not waited for.
const PER_S: f64 = 500.0;

pub async fn idle(world: &World, options: &Options) -> bool {
    let about = format!(
        "accounts with a heartbeat each {} s and nothing else, for {} s",
        HEARTBEAT.as_secs(),
        options.seconds
    );
    let mut report = Report::new("idle", about);
    let steps: BTreeMap<u64, ()> = [1, 100, options.accounts].map(|step| (step, ())).into();
    for column in &options.columns {
        let mut least: Option<(u64, u64)> = None;
        for accounts in steps
            .keys()
            .copied()
            .filter(|step| *step <= options.accounts)
        {
            let started = world.start_many(*column, "idle", accounts, false).await;
            let process = started.process;
            // What a start leaves behind is over after one round of heartbeats.
            tick(HEARTBEAT.min(Duration::from_secs(options.seconds))).await;
            let before = process.sample();
            tick(Duration::from_secs(options.seconds)).await;
            let used = process.used_since(&before);
            let own_kib = process.memory().own_kib;
            let seconds = options.seconds;
            let mut figures = vec![
                ("own MiB", per(own_kib, 1024)),
                ("us CPU/s", us_per(used.cpu, seconds)),
                ("waits/s", per(used.waits, seconds)),
                ("threads", per(process.threads() as u64, 1)),
            ];
            match least {
                None => least = Some((accounts, own_kib)),
                Some((fewer, kib)) => {
                    let more = own_kib.saturating_sub(kib);
                    figures.push(("KiB/account", per(more, accounts - fewer)));
                }
            }
            report.add(&format!("{accounts} accounts"), *column, figures);
            started.stop();
        }
    }
    report.print(options.json)
}

async fn tick(during: Duration) {
    let start = tokio::time::Instant::now() + during;
    tokio::time::interval_at(start, during).tick().await;
}

/// From `exec` to the first event that is stored. The objects on the server are there already; the floor connects, logs in
/// and publishes what it hears.
pub async fn start(world: &World, options: &Options) -> bool {
    let about = format!(
        "exec to the first event stored, {} runs; the streams are there",
        options.runs
    );
    let mut report = Report::new("start", about);
    let mut director = Director::of(world.simulator.url(), "bridge").await;
    let mut director_of_floor = Director::of(world.simulator.url(), "floor").await;
    let accounts = BTreeMap::from([("bridge".to_owned(), world.account("bridge"))]);
    let files = world.files(&accounts);
    let events = world.client.subscribe("im.v1.evt.>").await;
    let mut events = events.expect("the server runs");
    let of_floor = world.client.subscribe("floor.evt.>").await;
    let mut of_floor = of_floor.expect("the server runs");
    director.rate(PER_S).await;
    director_of_floor.rate(PER_S).await;
    // The first one makes the streams and is not counted.
    for run in 0..=options.runs {
        if options.columns.contains(&Column::Floor) {
            forget(world, &mut of_floor).await;
            let started = world.start(Column::Floor, "in", false).await;
            let heard = tokio::time::timeout(WITHIN, of_floor.next()).await;
            assert!(heard.is_ok(), "no event of the floor is stored");
            if run > 0 {
                let figures = vec![("first event ms", ms(started.began.elapsed()))];
                report.add("start", Column::Floor, figures);
            }
            started.stop();
        }
        // What the last one left is not the next one's.
        forget(world, &mut events).await;
        let began = Instant::now();
        let mut bridge = Bridge::start_with(&files, "bench", &[]);
        let listening = began.elapsed();
        let heard = tokio::time::timeout(WITHIN, events.next()).await;
        assert!(heard.is_ok(), "no event is stored");
        let took = began.elapsed();
        if run > 0 {
            let figures = vec![
                ("first event ms", ms(took)),
                ("listening ms", ms(listening)),
            ];
            report.add("start", Column::Bridge, figures);
        }
        bridge.terminate();
        let ended = bridge.ended(WITHIN);
        assert!(ended.is_some(), "the bridge does not end");
    }
    report.print(options.json)
}

/// From the end of the owner to the first event of its successor: the longest silence in a steady stream of events.
pub async fn takeover(world: &World, options: &Options) -> bool {
    let lease = json!({ "ttl_s": options.lease_s, "renew_s": 1, "stop_s": options.lease_s - 3 });
    let about = format!(
        "owner told to stop, and killed, to the first event of its successor; lease {} s",
        options.lease_s
    );
    let mut report = Report::new("takeover", about);
    let mut director = Director::of(world.simulator.url(), "bridge").await;
    let accounts = BTreeMap::from([("bridge".to_owned(), world.account("bridge"))]);
    let mut config = world.config(Column::Bridge, &accounts);
    config["nats"]["lease"] = lease;
    let files = world.files(&accounts);
    files.configure(&config);
    let events = world.client.subscribe("im.v1.evt.>").await;
    let mut events = events.expect("the server runs");
    director.rate(PER_S).await;
    let mut number = 0;
    let mut next = || {
        number += 1;
        Bridge::start(&files, &format!("bench-{number}"))
    };
    let mut replicas = vec![next(), next()];
    for _ in 0..options.runs {
        for is_killed in [false, true] {
            let owner = eventually_within(WITHIN, "one of them is online", || async {
                let is_owner =
                    |replica: &Bridge| replica.state("sim/bridge").as_deref() == Some("online");
                replicas.iter().position(is_owner)
            })
            .await;
            let mut old = replicas.remove(owner);
            // Nobody is told to stop before there is a successor who runs.
            eventually_within(WITHIN, "the other one is ready", || async {
                (replicas[0].get("/readyz").0 == 200).then_some(())
            })
            .await;
            forget(world, &mut events).await;
            let began = Instant::now();
            if is_killed {
                old.kill();
            } else {
                old.terminate();
            }
            let took = longest_silence(&mut events, began).await;
            assert!(old.ended(WITHIN).is_some(), "the former owner does not end");
            let part = if is_killed { "killed" } else { "stopped" };
            report.add(
                part,
                Column::Bridge,
                vec![("to event ms", ms(took.0)), ("silence ms", ms(took.1))],
            );
            replicas.push(next());
        }
    }
    report.print(options.json)
}

/// What was published so far.
async fn forget(world: &World, events: &mut async_nats::Subscriber) {
    // An answer of the server comes after everything that it had for us.
    world.state("IM_EVT").await;
    // A task's budget would end this after some of them.
    while unconstrained(events.next()).now_or_never().is_some() {}
}

/// When the longest silence ended, since `began`, and how long it was. Events flow again when they have flowed for a while.
async fn longest_silence(
    events: &mut async_nats::Subscriber,
    began: Instant,
) -> (Duration, Duration) {
    const FLOWS: Duration = Duration::from_secs(3);
    let (mut last, mut longest) = (began, (Duration::ZERO, Duration::ZERO));
    loop {
        let heard = tokio::time::timeout(WITHIN, events.next()).await;
        assert!(
            heard.is_ok_and(|it| it.is_some()),
            "no event comes any more"
        );
        let now = Instant::now();
        let silence = now - last;
        if silence > longest.1 {
            longest = (now - began, silence);
        }
        last = now;
        if now - began > longest.0 + FLOWS && longest.1 > Duration::ZERO {
            return longest;
        }
    }
}
