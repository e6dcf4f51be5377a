//! How many messages a second are stored in JetStream and acknowledged to the server, without a loss.
//!
//! Short by default, because what is asserted is that nothing is lost; the rate is printed. Build it as for a release to
//! compare it with anything: `IM_BRIDGE_LOAD=200000 cargo test --release -p im-bridge --test wukongim load -- --nocapture`.

use crate::world::{Way, World, count};
use im_bridge_test_harness::eventually_within;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MESSAGES: u64 = 10_000;
const CHANNELS: usize = 16;
const DONE_WITHIN: Duration = Duration::from_secs(300);

/// Processor time of a process or a thread so far, by its folder in `/proc`.
fn cpu(of: &Path) -> Duration {
    const TICK_MS: u64 = 10;
    let stat = std::fs::read_to_string(of.join("stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').unwrap_or_default().1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * TICK_MS)
}

/// Microseconds a message that each thread needed since its start, by name; those that needed next to nothing left out.
fn threads(process: &Path, messages: u64) -> String {
    let mut all: BTreeMap<String, Duration> = BTreeMap::new();
    for task in std::fs::read_dir(process.join("task")).unwrap().flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        *all.entry(name.trim().to_owned()).or_default() += cpu(&task.path());
    }
    let each = all.into_iter().filter_map(|(name, time)| {
        let us = time.as_micros() as f64 / messages as f64;
        (us >= 1.0).then(|| format!("{name} {us:.0}"))
    });
    each.collect::<Vec<_>>().join(", ")
}

async fn measure(way: Way) {
    let messages = std::env::var("IM_BRIDGE_LOAD")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(MESSAGES);
    let settings = json!({ "record_max": 1000, "history_max": 1_000_000 });
    let world = World::one(settings, way).await;
    let mut channels = Vec::new();
    for number in 0..CHANNELS {
        let id = format!("load-{number}");
        world.group("bot1", &id, &["bot-1", "alice"]).await;
        channels.push(json!({ "channel_id": id, "channel_type": 2 }));
    }
    let before = count(&world.client, "IM_EVT").await.unwrap_or(0);
    let process = PathBuf::from(format!("/proc/{}", world.bridge.id()));
    let (start, busy) = (Instant::now(), cpu(&process));
    let flood = json!({ "from": ["alice"], "channels": channels, "count": messages, "rate_per_s": 1_000_000 });
    world.server.act("flood", flood).await;
    eventually_within(DONE_WITHIN, "everything is stored", || async {
        (count(&world.client, "IM_EVT").await? >= before + messages).then_some(())
    })
    .await;
    let stored = start.elapsed();
    world.is_acknowledged().await;
    let acknowledged = start.elapsed();
    let kept = count(&world.client, "IM_EVT").await.unwrap();
    assert_eq!(kept, before + messages, "nothing twice, nothing else");
    let busy = cpu(&process) - busy;
    let threads = threads(&process, messages);
    let per_s = |time: Duration| messages as f64 / time.as_secs_f64();
    println!(
        "LOAD {way:?}: {messages} messages of {CHANNELS} channels: {:.0}/s stored, {:.0}/s acknowledged, \
         {:.0} us of the bridge's processor time each ({threads})",
        per_s(stored),
        per_s(acknowledged),
        busy.as_micros() as f64 / messages as f64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_stored_and_acknowledged_without_a_loss() {
    for way in [Way::WebSocket, Way::Tcp, Way::JsonRpc] {
        measure(way).await;
    }
}
