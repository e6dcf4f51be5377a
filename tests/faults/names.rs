//! Replicas and their names.

use crate::replicas::Leases;
use crate::world::{account, config, now_ms, online, short_lease};
use im_bridge_test_harness::{Bridge, Director, Files, Nats, Simulator, eventually};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;

/// The lease of a replica whose configuration says nothing about it.
fn usual_lease() -> Value {
    json!({ "ttl_s": 20, "renew_s": 4, "stop_s": 17 })
}

const AGAIN_WITHIN_MS: i64 = 6_000;
const ATTEMPTS: usize = 3;

struct Alone {
    nats: Nats,
    director: Director,
    files: Arc<Files>,
    bridge: Bridge,
    _simulator: Simulator,
}

impl Alone {
    async fn start(lease: &Value) -> Self {
        let (nats, simulator) = (Nats::start(), Simulator::start());
        let director = Director::new(&simulator, "shop", &json!({ "rooms": 1 })).await;
        let accounts = json!({ "shop": account(&simulator, "shop") });
        let files = Files::new(
            env!("CARGO_BIN_EXE_im-bridge"),
            &config(nats.url(), lease, &accounts),
        );
        let bridge = Bridge::start(&files, "a");
        online(&bridge, "shop").await;
        Self {
            nats,
            director,
            files,
            bridge,
            _simulator: simulator,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_replica_killed_and_restarted_under_its_name_is_owner_again_within_six_seconds() {
    let mut alone = Alone::start(&usual_lease()).await;
    let client = async_nats::connect(alone.nats.url()).await.unwrap();
    let leases = Leases::follow(&client).await;
    eventually("the lease is seen", || async {
        (leases.of("a").shards.len() == 1).then_some(())
    })
    .await;
    let mut times_ms: Vec<i64> = Vec::new();
    while times_ms.iter().all(|ms| *ms > AGAIN_WITHIN_MS) {
        // Five seconds are the watch over its own name; on a busy machine the process may need the sixth to start in.
        assert!(times_ms.len() < ATTEMPTS, "{times_ms:?}");
        let share = leases.of("a");
        alone.bridge.kill();
        let at_ms = now_ms();
        alone.bridge = Bridge::start(&alone.files, "a");
        let won_ms = eventually("it is owner again", || async {
            leases.succeeded_ms(&share)
        });
        times_ms.push(won_ms.await - at_ms);
    }
    println!("owner again after {times_ms:?} ms");
    online(&alone.bridge, "shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_replicas_with_one_name_refuses_to_start() {
    let alone = Alone::start(&short_lease()).await;
    let mut second = alone.files.run("a");
    second
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || second.output().unwrap());
    let ended = im_bridge_test_harness::within("the second one ends", ended)
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(REFUSED), "{said}");
    assert!(said.contains("nats_name"), "{said}");
    // The first one did not notice.
    assert_eq!(alone.bridge.state("sim/shop").as_deref(), Some("online"));
    let record = alone.director.record(&["login", "session_ended"]).await;
    assert_eq!(record.len(), 1, "{record:?}");
}

/// `Exit::Refused`
const REFUSED: i32 = 2;
