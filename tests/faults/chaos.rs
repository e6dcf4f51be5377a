//! Everything at once, at random.

use crate::audit::assert_commands;
use crate::load::{Chatter, Service, Worlds, all_answered};
use crate::world::{account, chats, config, count, machine, online, short_lease};
use im_bridge_test_harness::{Bridge, Files, Nats, Simulator, pause, seeded};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The short form; see the front page.
const SHORT: Duration = Duration::from_secs(25);
const ACCOUNTS: usize = 4;
const CHANNELS: usize = 8;
const MESSAGES_PER_S: f64 = 1_000.0;
const COMMANDS_PER_S: f64 = 100.0;
/// Between two faults: too short to get on one's feet, every other time. Else until it works again.
const PEACE_MS: std::ops::Range<u64> = 300..2_500;
/// So many events stored are work. An owner that starts anew under its name waits some seconds first.
const AT_WORK_EVENTS: u64 = 2_000;
const AT_WORK_WITHIN: Duration = Duration::from_secs(15);
const DOWN_MS: std::ops::Range<u64> = 0..3_000;
/// Sometimes beyond what a lease outlives.
const FROZEN_MS: std::ops::Range<u64> = 200..6_000;
/// `admin.shutdown_ms` is 25 s unless configured.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    KillServer,
    KillBridge,
    KillBoth,
    FreezeServer,
    FreezeBridge,
    StopBridge,
}

const FAULTS: [Fault; 6] = [
    Fault::KillServer,
    Fault::KillBridge,
    Fault::KillBoth,
    Fault::FreezeServer,
    Fault::FreezeBridge,
    Fault::StopBridge,
];

struct Stage {
    nats: Nats,
    bridge: Bridge,
    files: Arc<Files>,
}

impl Stage {
    async fn suffer(&mut self, fault: Fault, random: &mut fastrand::Rng) {
        let down = Duration::from_millis(random.u64(DOWN_MS));
        let frozen = Duration::from_millis(random.u64(FROZEN_MS));
        println!("{fault:?}: down {down:?}, frozen {frozen:?}");
        match fault {
            Fault::KillServer => {
                self.nats.kill();
                pause(down).await;
                self.nats.restart();
            }
            Fault::KillBridge => {
                self.bridge.kill();
                pause(down / 3).await;
                self.start_bridge();
            }
            Fault::KillBoth => {
                self.nats.kill();
                self.bridge.kill();
                self.start_bridge();
                pause(down).await;
                self.nats.restart();
            }
            Fault::FreezeServer => {
                self.nats.freeze();
                pause(frozen).await;
                self.nats.thaw();
            }
            Fault::FreezeBridge => {
                self.bridge.freeze();
                pause(frozen).await;
                self.bridge.thaw();
            }
            Fault::StopBridge => {
                self.bridge.terminate();
                let ended = self.bridge.ended(ENDS_WITHIN);
                assert!(ended.is_some(), "it does not end: {:?}", self.bridge.log());
                self.start_bridge();
            }
        }
    }

    fn start_bridge(&mut self) {
        self.bridge = Bridge::start(&self.files, "a");
    }
}

/// Waits until events are stored again, or for long enough.
async fn at_work(client: &async_nats::Client) {
    let until = Instant::now() + AT_WORK_WITHIN;
    let mut from = None;
    while Instant::now() < until {
        let stored = count(client, "IM_EVT").await;
        from = from.or(stored);
        if stored.unwrap_or(0) >= from.unwrap_or(0) + AT_WORK_EVENTS {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
}

fn duration() -> Duration {
    let given = std::env::var("IM_BRIDGE_CHAOS_S").ok();
    let seconds = given.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(SHORT, Duration::from_secs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_kills_freezes_and_stops_lose_nothing_repeat_nothing_and_keep_the_order() {
    let _alone = machine().await;
    let mut random = seeded("random_kills_freezes_and_stops");
    let (nats, simulator) = (Nats::start(), Simulator::start());
    let aliases: Vec<String> = (0..ACCOUNTS)
        .map(|number| format!("shop{number}"))
        .collect();
    let settings = json!({ "people": 3, "rooms": CHANNELS, "record": 2_000_000, "window": 64 });
    let worlds = Worlds::new(&simulator, &aliases, &settings).await;
    let accounts: Value = aliases
        .iter()
        .map(|alias| (alias.clone(), account(&simulator, alias)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let files = Files::new(
        env!("CARGO_BIN_EXE_im-bridge"),
        &config(nats.url(), &short_lease(), &accounts),
    );
    let bridge = Bridge::start(&files, "a");
    for alias in &aliases {
        online(&bridge, alias).await;
    }
    let client = async_nats::connect(nats.url()).await.unwrap();
    let start = Instant::now();
    let chatter = Chatter::start(worlds, client.clone(), MESSAGES_PER_S);
    let places = aliases.iter().flat_map(|alias| {
        chats(CHANNELS)
            .into_iter()
            .map(|chat| (alias.clone(), chat))
    });
    let service = Service::start(client.clone(), places.collect(), COMMANDS_PER_S);

    let mut stage = Stage {
        nats,
        bridge,
        files,
    };
    let until = start + duration();
    let mut round: Vec<Fault> = Vec::new();
    while Instant::now() < until {
        if random.bool() {
            at_work(&client).await;
        }
        pause(Duration::from_millis(random.u64(PEACE_MS))).await;
        if round.is_empty() {
            round = FAULTS.into();
            random.shuffle(&mut round);
        }
        let fault = round.pop().unwrap();
        stage.suffer(fault, &mut random).await;
    }
    let worlds = chatter.end().await;
    let commands = service.end().await;
    let took = start.elapsed().as_secs_f64();
    let said = worlds.said().await;
    println!(
        "{said} messages ({:.0}/s) and {} commands ({:.0}/s) in {took:.0} s",
        said as f64 / took,
        commands.len(),
        commands.len() as f64 / took
    );

    let results = all_answered(&client, &commands).await;
    worlds.assert_stored(&client).await;
    assert_commands(&commands, &worlds.sent().await, &results);
    println!(
        "all in order {:.0} s after the last fault",
        start.elapsed().as_secs_f64() - took
    );
}
