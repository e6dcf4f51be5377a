//! The ack table against servers that go away: nothing lost, nothing twice, in order per lane.

use crate::support::{connected, limits, provisioned, settings};
use futures_util::StreamExt;
use im_bridge::bus::ack::{Refusal, Trouble};
use im_bridge::bus::objects::WhenFull;
use im_bridge::bus::provision::provision;
use im_bridge::bus::{AckTable, Acked, Bus, Hold, Outgoing, Target};
use im_bridge_test_harness::{Nats, eventually, seeded};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub fn outgoing(lane: usize, number: usize, payload: &str) -> Outgoing {
    Outgoing {
        subject: format!("im.v1.evt.acme.a.message.created.lane{lane}").into(),
        message_id: format!("{lane}-{number}").into(),
        headers: vec![("Content-Type".into(), "application/cloudevents+json".into())],
        payload: payload.to_owned().into(),
        stream: Target {
            name: "IM_EVT".into(),
            duplicate_window: Duration::from_secs(900),
            waits_for_permission: false,
        },
        hold: Hold::forever(),
    }
}

/// Every stored message as (lane, number), in the stream's order.
async fn stored(bus: &Bus) -> Vec<(usize, usize)> {
    let jetstream = async_nats::jetstream::new(bus.control.client().clone());
    let stream = eventually("the stream to answer", || async {
        jetstream.get_stream("IM_EVT").await.ok()
    })
    .await;
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let count = stream.cached_info().state.messages;
    let consumer = eventually("a consumer of the stream", || async {
        stream.create_consumer(config.clone()).await.ok()
    })
    .await;
    let messages = consumer.messages().await.unwrap();
    messages
        .take(usize::try_from(count).unwrap())
        .map(|message| {
            let message = message.unwrap();
            let id = message
                .headers
                .as_ref()
                .unwrap()
                .get("Nats-Msg-Id")
                .unwrap();
            let (lane, number) = id.as_str().split_once('-').unwrap();
            (lane.parse().unwrap(), number.parse().unwrap())
        })
        .collect()
        .await
}

/// So many messages are stored, none twice, each lane's in their order.
pub async fn all_stored_in_order(bus: &Bus, count: usize) {
    let stored = stored(bus).await;
    assert_eq!(stored.len(), count);
    assert_eq!(stored.iter().collect::<HashSet<_>>().len(), count, "twice");
    let mut last: HashMap<usize, usize> = HashMap::new();
    for (lane, number) in stored {
        let before = last.insert(lane, number);
        assert!(before.is_none_or(|before| before < number), "lane {lane}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_three_times_loses_nothing_and_stores_nothing_twice() {
    const LANES: usize = 64;
    const EACH: usize = 250;
    let mut random = seeded("a_server_killed_three_times_loses_nothing_and_stores_nothing_twice");
    let mut nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let table = AckTable::start(&bus.data).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let (table, done) = (table.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                for number in 0..EACH {
                    let mut ticket = table.publish(outgoing(lane, number, "{}")).await;
                    match ticket.acked().await {
                        Acked::Stored { .. } | Acked::Duplicate { .. } => {}
                        other => panic!("{lane}-{number}: {other:?}"),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for kill in 1..=3 {
        let after = kill * LANES * EACH / 4 - random.usize(..500);
        eventually("a part of the messages", || async {
            (done.load(Ordering::Relaxed) >= after).then_some(())
        })
        .await;
        tokio::task::block_in_place(|| nats.restart());
    }
    for lane in lanes {
        lane.await.unwrap();
    }
    all_stored_in_order(&bus, LANES * EACH).await;
    println!("sent again: {}", table.status().resends);
    assert_eq!(table.status().in_flight, 0);
}

#[tokio::test]
async fn what_was_published_before_the_server_came_back_arrives() {
    let mut nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let table = AckTable::start(&bus.data).await.unwrap();
    nats.kill();
    let mut tickets = Vec::new();
    for number in 0..100 {
        tickets.push(table.publish(outgoing(number, 0, "{}")).await);
    }
    assert_eq!(table.status().in_flight, 100);
    nats.restart();
    for ticket in &mut tickets {
        assert!(matches!(
            ticket.acked().await,
            Acked::Stored { .. } | Acked::Duplicate { .. }
        ));
    }
}

#[tokio::test]
async fn the_same_id_is_stored_once() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let table = AckTable::start(&bus.data).await.unwrap();
    let first = table.publish(outgoing(1, 1, "{}")).await.acked().await;
    let again = table.publish(outgoing(1, 1, "{}")).await.acked().await;
    assert_eq!(first, Acked::Stored { sequence: 1 });
    assert_eq!(again, Acked::Duplicate { sequence: 1 });
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_connection_lives() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let table = AckTable::start(&bus.data).await.unwrap();
    let before = bus.data.server_client();
    for bytes in [1024 * 1024 + 1, 8 * 1024 * 1024] {
        let mut ticket = table.publish(outgoing(1, bytes, &"x".repeat(bytes))).await;
        assert_eq!(ticket.acked().await, Acked::Refused(Refusal::TooLarge));
    }
    assert_eq!(bus.data.server_client(), before);
}

#[tokio::test]
async fn a_stream_that_is_missing_is_told_and_waited_for() {
    let nats = Nats::start();
    let bus = connected(&nats, "a").await;
    let table = AckTable::start(&bus.data).await.unwrap();
    let mut ticket = table.publish(outgoing(1, 1, "{}")).await;
    eventually("the trouble in the status", || async {
        let status = table.status();
        status
            .troubles
            .iter()
            .any(|it| &*it.stream == "IM_EVT" && it.trouble == Trouble::NoStream)
            .then_some(())
    })
    .await;
    provision(&bus, &limits(), true).await.unwrap();
    assert_eq!(ticket.acked().await, Acked::Stored { sequence: 1 });
}

#[tokio::test]
async fn a_full_stream_is_waited_for() {
    let nats = Nats::start();
    let bus = connected(&nats, "a").await;
    let mut limits = limits();
    limits.events_when_full = WhenFull::Stop;
    limits.events_max_bytes = 64 * 1024;
    provision(&bus, &limits, true).await.unwrap();
    let table = AckTable::start(&bus.data).await.unwrap();
    let body = "x".repeat(40 * 1024);
    assert_eq!(
        table.publish(outgoing(1, 1, &body)).await.acked().await,
        Acked::Stored { sequence: 1 }
    );
    let mut ticket = table.publish(outgoing(1, 2, &body)).await;
    eventually("the stream to be full", || async {
        let status = table.status();
        status
            .troubles
            .iter()
            .any(|it| it.trouble == Trouble::Full)
            .then_some(())
    })
    .await;
    let purge = bus
        .control
        .api()
        .call::<serde_json::Value>("STREAM.PURGE.IM_EVT", &());
    purge.await.unwrap();
    assert_eq!(ticket.acked().await, Acked::Stored { sequence: 2 });
}

/// Prints what one connection stores in a second; asserts only that the table is no bottleneck by an order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lanes_share_one_connection() {
    const LANES: usize = 512;
    const EACH: usize = 40;
    let nats = Nats::start();
    let bus = Bus::connect(&settings(&[nats.url().to_owned()], "a"))
        .await
        .unwrap();
    provision(&bus, &limits(), true).await.unwrap();
    let table = AckTable::start(&bus.data).await.unwrap();
    let start = Instant::now();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let table = table.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let acked = table
                        .publish(outgoing(lane, number, "{}"))
                        .await
                        .acked()
                        .await;
                    assert!(matches!(acked, Acked::Stored { .. }), "{acked:?}");
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let per_s = f64::from(u32::try_from(LANES * EACH).unwrap()) / start.elapsed().as_secs_f64();
    println!("{per_s:.0} stored per second");
    assert!(per_s > 500.0, "{per_s}");
    assert_eq!(table.status().resends, 0);
}
