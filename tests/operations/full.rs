//! A stream of events that is full and refuses more: what was not stored waits at the provider.

use crate::world::{World, config, open};
use im_bridge_test_harness::{Simulator, eventually, stays};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// Ids of the posts that are in the stream, which then has room for others.
async fn read_and_purge(world: &World) -> Vec<String> {
    let context = async_nats::jetstream::new(world.client.clone());
    let mut stream = context.get_stream("IM_EVT").await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut posts = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        if event["type"] == "im-bridge.evt.message.created.v1" {
            posts.extend(event["data"]["message"]["id"].as_str().map(str::to_owned));
        }
    }
    let read = state.last_sequence + 1;
    stream.purge().sequence(read).await.unwrap();
    posts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_stops_the_provider_and_loses_nothing() {
    /// Its window, and what the adapter may hold besides while somebody waits for an answer.
    const AHEAD_MAX: usize = 64 + 64;
    let simulator = Simulator::start();
    // It acknowledges nothing in the time that the test takes, so nothing is pushed twice.
    let account = json!({ "url": simulator.url(), "rate_per_s": 300.0, "ack_timeout_ms": 600_000 });
    let world = World::configured(|nats| {
        let mut config = config(nats, &json!({ "demo": open(account) }));
        config["nats"]["events"] = json!({ "max_mib": 1, "when_full": "stop" });
        config
    })
    .await;
    world.online("demo").await;
    let trouble = eventually("the stream is full", || async {
        let status = world.bridge.status();
        let troubles = status["nats"]["troubles"].as_array()?.clone();
        troubles.into_iter().find(|it| it["code"] == "bus_full")
    })
    .await;
    assert_eq!(trouble["stream"], "IM_EVT");
    eventually("the warning", || async {
        let text = world.bridge.get("/readyz?verbose").1;
        (text.contains("bus_full") && text.contains("IM_EVT")).then_some(())
    })
    .await;
    // It can do nothing about it by restarting, and commands go on.
    assert_eq!(world.bridge.get("/readyz"), (200, "ok\n".to_owned()));
    eventually("the credits run out", || async {
        let unsettled = world.bridge.account("sim/demo")?["events_unsettled"].as_u64();
        (unsettled >= Some(32)).then_some(())
    })
    .await;
    let (acked, memory) = (
        world.record("demo", "acked").await.len(),
        world.bridge.memory_kib(),
    );
    let said = world.record("demo", "said").await.len();
    stays(
        "nothing more is acknowledged",
        acked,
        Duration::from_secs(5),
        || async { world.record("demo", "acked").await.len() },
    )
    .await;
    let grown = world.bridge.memory_kib().saturating_sub(memory);
    let more = world.record("demo", "said").await.len() - said;
    println!("{acked} acknowledged; {more} more were said, and memory grew by {grown} KiB");
    assert!(more > 300, "the provider goes on: {more}");
    assert!(grown < 8 * 1024, "{grown} KiB");
    assert!(world.record("demo", "pushed").await.len() <= acked + AHEAD_MAX);
    assert_eq!(world.bridge.state("sim/demo").as_deref(), Some("online"));

    world.order("demo", "rate", json!({ "per_s": 0 })).await;
    let said: BTreeSet<String> = world
        .record("demo", "said")
        .await
        .iter()
        .filter_map(|entry| entry["post"].as_str().map(str::to_owned))
        .collect();
    let all = RefCell::new(Vec::new());
    let is_once = eventually("everything is stored", || async {
        // What waits at the provider fills the stream again: it is emptied of what was read as often as that takes.
        let read = read_and_purge(&world).await;
        let mut all = all.borrow_mut();
        all.extend(read);
        let distinct: BTreeSet<&String> = all.iter().collect();
        let is_all_there = said.iter().all(|post| distinct.contains(post));
        is_all_there.then_some(distinct.len() == all.len())
    })
    .await;
    assert!(is_once, "stored twice");
    eventually("the trouble is over", || async {
        let troubles = world.bridge.status()["nats"]["troubles"].clone();
        let text = world.bridge.get("/readyz?verbose").1;
        (troubles == json!([]) && !text.contains("bus_full")).then_some(())
    })
    .await;
}
