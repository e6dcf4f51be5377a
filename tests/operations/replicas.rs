//! Two replicas share the accounts, and one takes over from the other.

use crate::world::{config, files, message, open, order_by_its_owner, stored};
use im_bridge_test_harness::{Bridge, Nats, Simulator, eventually, eventually_within};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ACCOUNTS: usize = 8;

struct Pair {
    _nats: Nats,
    _simulator: Simulator,
    client: async_nats::Client,
    a: Bridge,
    b: Bridge,
}

fn aliases() -> Vec<String> {
    (0..ACCOUNTS).map(|number| format!("acc{number}")).collect()
}

/// Online accounts of a replica.
fn online(bridge: &Bridge) -> Vec<String> {
    let status = bridge.status();
    let accounts = status["accounts"].as_array().cloned().unwrap_or_default();
    let up = accounts
        .iter()
        .filter(|it| it["state"]["state"] == "online");
    up.filter_map(|it| it["account"].as_str().map(str::to_owned))
        .collect()
}

impl Pair {
    async fn start() -> Self {
        let (nats, simulator) = (Nats::start(), Simulator::start());
        let account = open(json!({ "url": simulator.url(), "world": "shared" }));
        let accounts: Value = aliases()
            .into_iter()
            .map(|it| (it, account.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let files = files(&config(&nats, &accounts));
        let client = async_nats::connect(nats.url()).await.unwrap();
        let (a, b) = (Bridge::start(&files, "a"), Bridge::start(&files, "b"));
        let pair = Self {
            _nats: nats,
            _simulator: simulator,
            client,
            a,
            b,
        };
        eventually("both have their share", || async {
            let (a, b) = (online(&pair.a).len(), online(&pair.b).len());
            (a + b == ACCOUNTS && a > 0 && b > 0).then_some(())
        })
        .await;
        pair
    }

    /// No account ever had two sessions at once, by the provider's own record.
    async fn assert_one_session_each(&self) {
        let summary = order_by_its_owner(&self.client, "acc0", "summary", json!({})).await;
        let most = summary["most_sessions"]
            .as_object()
            .unwrap_or_else(|| panic!("{summary}"));
        for (account, sessions) in most {
            assert!(
                sessions.as_u64().unwrap() <= 1,
                "{account} had {sessions} sessions: {summary}"
            );
        }
    }

    /// A command of every account is carried out by whoever owns it now.
    async fn assert_commands_run(&self, round: &str) {
        let context = async_nats::jetstream::new(self.client.clone());
        let keys: Vec<String> = aliases()
            .iter()
            .map(|alias| format!("{round}-{alias}"))
            .collect();
        for (alias, key) in aliases().iter().zip(&keys) {
            let subject = format!("im.v1.cmd.sim.{alias}.message.send");
            let body = message(key, key).to_string();
            context
                .publish(subject, body.into())
                .await
                .unwrap()
                .await
                .unwrap();
        }
        eventually("all results are stored", || async {
            let results = stored(&self.client, "IM_RES").await;
            let has = |key: &String| {
                let mut of = results
                    .iter()
                    .filter(|it| it["data"]["idempotency_key"] == key.as_str());
                of.any(|result| result["data"]["status"] == "ok")
            };
            keys.iter().all(has).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_hands_its_accounts_over_within_a_second() {
    let mut pair = Pair::start().await;
    pair.assert_commands_run("before").await;
    pair.a.terminate();
    let start = Instant::now();
    eventually_within(Duration::from_secs(10), "the other one has all", || async {
        (online(&pair.b).len() == ACCOUNTS).then_some(())
    })
    .await;
    let took = start.elapsed();
    assert_eq!(
        pair.a
            .ended(Duration::from_secs(10))
            .and_then(|it| it.code()),
        Some(0)
    );
    println!("handed over within {took:?}");
    // A loaded machine runs other tests beside this one; alone it takes a few hundred milliseconds.
    assert!(took < Duration::from_secs(3), "{took:?}");
    pair.assert_commands_run("after").await;
    pair.assert_one_session_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_has_a_successor_after_its_lease() {
    let mut pair = Pair::start().await;
    pair.a.kill();
    let start = Instant::now();
    pair.assert_commands_run("while nobody has them").await;
    eventually("the other one has all", || async {
        (online(&pair.b).len() == ACCOUNTS).then_some(())
    })
    .await;
    let took = start.elapsed();
    println!("taken over after {took:?}");
    assert!(took < Duration::from_secs(7 + 5), "{took:?}");
    pair.assert_one_session_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_moves_an_account_to_the_other_replica() {
    let pair = Pair::start().await;
    let alias = online(&pair.a).remove(0);
    let answer = crate::world::control(&pair.client, &alias, "drain", json!({})).await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
    let moved = answer["data"]["result"]["accounts"].clone();
    assert!(
        moved
            .as_array()
            .unwrap()
            .contains(&json!(format!("sim/{alias}"))),
        "{answer}"
    );
    eventually("the other one has it", || async {
        online(&pair.b).contains(&alias).then_some(())
    })
    .await;
    assert!(!online(&pair.a).contains(&alias));
    pair.assert_one_session_each().await;
}
