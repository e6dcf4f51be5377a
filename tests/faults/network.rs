//! Connections to NATS that are cut, and connections that are dead without a word.

use crate::audit::{Published, assert_commands};
use crate::load::{Service, Worlds, all_answered, publish};
use crate::replicas::Leases;
use crate::world::{account, chats, config, count, now_ms, online, short_lease};
use im_bridge_test_harness::{
    Bridge, Director, Files, Nats, Proxy, Simulator, eventually, eventually_within, pause, seeded,
};
use serde_json::{Value, json};
use std::time::Duration;

const COMMANDS: usize = 500;
const CHANNELS: usize = 8;
const CUTS: usize = 3;
/// Pings every five seconds, and after three that are not answered the connection is left, which is 20 s at most; by then
/// the lease may be lost and has to be won again.
const NOTICED_WITHIN: Duration = Duration::from_secs(40);
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// A server, a way to it, and a bridge that knows only that.
struct Remote {
    _nats: Nats,
    proxy: Proxy,
    _bridge: Bridge,
    worlds: Worlds,
    client: async_nats::Client,
    _simulator: Simulator,
}

impl Remote {
    async fn start(lease: &Value) -> Self {
        let (nats, simulator) = (Nats::start(), Simulator::start());
        let target = nats.url().trim_start_matches("nats://").parse().unwrap();
        let proxy = Proxy::start(target).await;
        let settings = json!({ "people": 2, "rooms": CHANNELS, "record": 1_000_000, "window": 64 });
        let worlds = Worlds::new(&simulator, &["shop".to_owned()], &settings).await;
        let url = format!("nats://{}", proxy.address());
        let accounts = json!({ "shop": account(&simulator, "shop") });
        let files = Files::new(
            env!("CARGO_BIN_EXE_im-bridge"),
            &config(&url, lease, &accounts),
        );
        let bridge = Bridge::start(&files, "a");
        online(&bridge, "shop").await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        Self {
            _nats: nats,
            proxy,
            _bridge: bridge,
            worlds,
            client,
            _simulator: simulator,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_cut_with_five_hundred_commands_in_hand_costs_no_effect_and_no_order() {
    let mut random = seeded("a_connection_cut_with_five_hundred_commands_in_hand");
    let remote = Remote::start(&short_lease()).await;
    let director = remote.worlds.director("shop");
    // Slow enough that most are in hand when it is cut.
    let slow = json!({ "times": 10 * COMMANDS, "for_ms": 100 });
    director
        .order("fault", json!({ "kind": "slow_answer", "fault": slow }))
        .await;
    let chats = chats(CHANNELS);
    let mut commands = Vec::new();
    for number in 0..COMMANDS {
        let command = Published {
            key: format!("key-{number}"),
            account: "shop".to_owned(),
            channel: chats[random.usize(..CHANNELS)].clone(),
        };
        publish(&remote.client, &command).await;
        commands.push(command);
    }
    let mut at: Vec<usize> = (0..CUTS)
        .map(|_| random.usize(COMMANDS / 10..COMMANDS * 9 / 10))
        .collect();
    at.sort_unstable();
    for done in at {
        eventually_within(DONE_WITHIN, "some are done", || async {
            let sends = director.summary().await["sends"]
                .as_object()
                .map_or(0, serde_json::Map::len);
            (sends >= done).then_some(())
        })
        .await;
        remote.proxy.cut();
    }
    let results = all_answered(&remote.client, &commands).await;
    assert_commands(&commands, &remote.worlds.sent().await, &results);
    remote.worlds.assert_stored(&remote.client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_is_dead_without_a_word_is_noticed_and_made_anew() {
    let remote = Remote::start(&json!({})).await;
    remote.worlds.rate(50.0).await;
    let places = chats(CHANNELS)
        .into_iter()
        .map(|chat| ("shop".to_owned(), chat));
    let service = Service::start(remote.client.clone(), places.collect(), 10.0);
    let flows = async |within: Duration| {
        let before = count(&remote.client, "IM_EVT").await.unwrap();
        eventually_within(within, "messages flow", || async {
            (count(&remote.client, "IM_EVT").await? > before + 100).then_some(())
        })
        .await;
    };
    flows(DONE_WITHIN).await;
    let at_ms = now_ms();
    remote.proxy.silence();
    // What had passed by then is stored.
    let mut last = None;
    while last != count(&remote.client, "IM_EVT").await {
        last = count(&remote.client, "IM_EVT").await;
        pause(Duration::from_millis(200)).await;
    }
    flows(NOTICED_WITHIN).await;
    println!("noticed and healed after {} ms", now_ms() - at_ms);
    remote.worlds.rate(0.0).await;
    let commands = service.end().await;
    let results = all_answered(&remote.client, &commands).await;
    assert_commands(&commands, &remote.worlds.sent().await, &results);
    remote.worlds.assert_stored(&remote.client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_cut_off_from_nats_closes_its_sessions_before_its_successor_logs_in() {
    let (nats, simulator) = (Nats::start(), Simulator::start());
    let target = nats.url().trim_start_matches("nats://").parse().unwrap();
    let proxy = Proxy::start(target).await;
    let director = Director::new(&simulator, "shop", &json!({ "rooms": 1 })).await;
    let accounts = json!({ "shop": account(&simulator, "shop") });
    let start = |url: &str, name| {
        let config = config(url, &short_lease(), &accounts);
        Bridge::start(&Files::new(env!("CARGO_BIN_EXE_im-bridge"), &config), name)
    };
    let owner = start(&format!("nats://{}", proxy.address()), "a");
    online(&owner, "shop").await;
    let successor = start(nats.url(), "b");
    let client = async_nats::connect(nats.url()).await.unwrap();
    let leases = Leases::follow(&client).await;
    eventually("both are known", || async {
        (leases.of("a").shards.len() == 1 && successor.get("/readyz").0 == 200).then_some(())
    })
    .await;
    proxy.partition();
    online(&successor, "shop").await;
    let record = director.record(&["login", "session_ended"]).await;
    let deeds: Vec<&str> = record
        .iter()
        .filter_map(|entry| entry["deed"].as_str())
        .collect();
    assert_eq!(deeds, ["login", "session_ended", "login"], "{record:?}");
    let at = |index: usize| record[index]["at_ms"].as_i64().unwrap();
    println!("closed {} ms before the successor's login", at(2) - at(1));
    // Healed, it is a replica among others.
    proxy.heal();
    eventually("it is ready again", || async {
        (owner.get("/readyz").0 == 200).then_some(())
    })
    .await;
    drop(nats);
}
