//! Three servers: what a lost leader does to publishing and to leases.

use crate::publishing::{all_stored_in_order, outgoing};
use crate::support::{limits, settings};
use im_bridge::bus::provision::provision;
use im_bridge::bus::shards::{Keeper, Settings, ShardEvent, Wishes};
use im_bridge::bus::{AckTable, Acked, Bus, Shard};
use im_bridge_test_harness::{Cluster, eventually};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

async fn leader(bus: &Bus, stream: &str) -> Option<String> {
    let info = bus.control.api().stream(stream).await.ok()??;
    info.cluster?.leader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_seconds_and_neither_events_nor_leases() {
    const LANES: usize = 16;
    const EACH: usize = 150;
    let mut cluster = Cluster::start();
    let bus = Bus::connect(&settings(&cluster.urls(), "a")).await.unwrap();
    assert_eq!(provision(&bus, &limits(), true).await.unwrap(), []);

    let shards = (0..8).map(|number| (Shard::new(number), BTreeSet::new()));
    let (_wish, wishes) = watch::channel(Wishes {
        shards: shards.collect(),
        usable: BTreeSet::new(),
    });
    let (keeper, handle, mut events) = Keeper::new(&bus, "0.0.0", Settings::default(), wishes);
    let keeper = tokio::spawn(keeper.run());
    let mut holds = Vec::new();
    while holds.len() < 8 {
        match events.recv().await.unwrap() {
            ShardEvent::Won { hold, .. } => holds.push(hold),
            other => panic!("{other:?}"),
        }
    }

    let table = AckTable::start(&bus.data).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let (table, done) = (table.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for number in 0..EACH {
                    let sent = Instant::now();
                    let acked = table
                        .publish(outgoing(lane, number, "{}"))
                        .await
                        .acked()
                        .await;
                    assert!(
                        matches!(acked, Acked::Stored { .. } | Acked::Duplicate { .. }),
                        "{acked:?}"
                    );
                    longest = longest.max(sent.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                longest
            })
        })
        .collect();
    eventually("a part of the events", || async {
        (done.load(Ordering::Relaxed) > LANES * EACH / 3).then_some(())
    })
    .await;
    for stream in ["IM_EVT", "KV_IM_LEASE"] {
        let name = eventually("a leader", || leader(&bus, stream)).await;
        if cluster.node(&name).is_running() {
            tokio::task::block_in_place(|| cluster.node(&name).kill());
            eventually("another leader", || async {
                leader(&bus, stream).await.filter(|new| *new != name)
            })
            .await;
            tokio::task::block_in_place(|| cluster.node(&name).restart());
        }
    }
    let mut longest = Duration::ZERO;
    for lane in lanes {
        longest = longest.max(lane.await.unwrap());
    }
    println!(
        "all stored after {:?}, longest wait {longest:?}, {:?}",
        start.elapsed(),
        table.status()
    );
    all_stored_in_order(&bus, LANES * EACH).await;
    assert!(
        holds.iter().all(im_bridge::bus::Hold::is_held),
        "leases outlive an election"
    );
    assert!(events.try_recv().is_err());
    // Whoever uses the shards is gone with its receiver: nothing has to drain.
    drop(events);
    handle.shut_down().await;
    for number in 0..8 {
        handle.drained(Shard::new(number)).await;
    }
    keeper.await.unwrap().unwrap();
}
