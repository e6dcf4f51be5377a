//! What becomes of a command, whatever happens to its answer: one effect at most, by the provider's own record, and a result
//! that tells the truth as far as it is known.

use crate::world::{World, message, open, state};
use im_bridge::bus::Account;
use im_bridge::bus::clock::unix_ms;
use im_bridge::bus::shard::{SHARDS, Shard};
use im_bridge_sdk::model::Time;
use im_bridge_test_harness::{Bridge, Simulator, eventually, eventually_within};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn in_ms(ms: i64) -> String {
    Time::from_ms(unix_ms() + ms).to_string()
}

impl World {
    /// The next time that something of this kind can go wrong for the account, it does.
    async fn fault(&self, alias: &str, kind: &str, fault: Value) {
        self.order(alias, "fault", json!({ "kind": kind, "fault": fault }))
            .await;
    }

    /// Waits until the provider has sent what has this reference.
    async fn is_sent(&self, alias: &str, reference: &str) {
        eventually("the provider has sent it", || async {
            let sent = self.sent_by_provider(alias, alias).await;
            sent.iter().any(|one| one == reference).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_is_never_answered_is_unknown_and_not_sent_again() {
    let simulator = Simulator::start();
    let account = json!({ "url": simulator.url(), "heartbeat_ms": 1000 });
    let world = World::new(json!({ "demo": open(account) })).await;
    // It takes what is written to its socket and says nothing more, nor can it be asked.
    simulator.freeze();
    let until = in_ms(4_000);
    let data = message("k1", "hello");
    world
        .send(
            "demo",
            &data,
            &[("ce-id", "first"), ("ce-expirytime", &until)],
        )
        .await;
    let result = world.result("k1").await;
    assert_eq!(result["data"]["status"], "unknown", "{result}");
    assert_eq!(result["data"]["error"]["class"], "uncertain", "{result}");
    assert_eq!(result["data"]["error"]["certain"], false);
    simulator.thaw();
    world.online("demo").await;
    world.is_sent("demo", "k1").await;
    // Asked again with its key, the truth is found, and nothing is sent for it.
    world.send("demo", &data, &[("ce-id", "second")]).await;
    let results = world.results("k1", 2).await;
    assert_eq!(results[1]["data"]["status"], "ok", "{results:?}");
    assert_eq!(results[1]["data"]["command_id"], "second");
    assert_eq!(world.sent_by_provider("demo", "demo").await, ["k1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_found_by_asking_the_provider() {
    let world = World::new(json!({ "demo": open(json!({})) })).await;
    world.fault("demo", "no_answer", json!({})).await;
    let until = in_ms(2_000);
    world
        .send(
            "demo",
            &message("k1", "hello"),
            &[("ce-expirytime", &until)],
        )
        .await;
    let result = world.result("k1").await;
    assert_eq!(result["data"]["status"], "ok", "{result}");
    let post = &result["data"]["result"]["message"]["id"];
    let echo = eventually("the echo is stored", || async {
        let events = world.events().await;
        events.into_iter().find(|event| event["clientref"] == "k1")
    })
    .await;
    assert_eq!(echo["data"]["message"]["id"], *post);
    assert_eq!(world.sent_by_provider("demo", "demo").await, ["k1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_surely_did_not_happen_is_done_after_asking() {
    let world = World::new(json!({ "demo": open(json!({})) })).await;
    world.fault("demo", "lose", json!({})).await;
    world.send("demo", &message("k1", "hello"), &[]).await;
    eventually("the provider has lost it", || async {
        let truth = world
            .order("demo", "truth", json!({ "kinds": ["fault"] }))
            .await;
        let entries = truth["entries"].as_array().unwrap();
        (!entries.is_empty()).then_some(())
    })
    .await;
    assert!(world.sent_by_provider("demo", "demo").await.is_empty());
    // Its session ends, and with it the hope for an answer.
    let kick = json!({ "account": "demo", "code": "down" });
    world.order_at_risk("demo", "kick", kick).await;
    let result = world.result("k1").await;
    assert_eq!(result["data"]["status"], "ok", "{result}");
    assert_eq!(world.sent_by_provider("demo", "demo").await, ["k1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_again_is_done_once_however_it_comes() {
    let simulator = Simulator::start();
    let account = json!({ "url": simulator.url() });
    let mut world = World::new(json!({ "demo": open(account) })).await;
    let data = message("k1", "hello");
    let first = world.send("demo", &data, &[("Nats-Msg-Id", "m1")]).await;
    assert!(!first.duplicate);
    let done = world.result("k1").await;
    assert_eq!(
        (&done["data"]["status"], &done["data"]["duplicate"]),
        (&json!("ok"), &json!(false))
    );
    // Published again by somebody who heard no acknowledgement: the stream has it.
    let again = world.send("demo", &data, &[("Nats-Msg-Id", "m1")]).await;
    assert!(again.duplicate);
    // Another message with its key.
    world.send("demo", &data, &[("Nats-Msg-Id", "m2")]).await;
    let results = world.results("k1", 2).await;
    assert_eq!(results[1]["data"]["duplicate"], true, "{results:?}");
    assert_eq!(results[1]["data"]["result"], done["data"]["result"]);
    assert_eq!(results[1]["data"]["command_id"], "m2");

    // One that the process does not live to see answered.
    world
        .fault("demo", "slow_answer", json!({ "for_ms": 60_000 }))
        .await;
    let late = message("k2", "late");
    world.send("demo", &late, &[("Nats-Msg-Id", "m3")]).await;
    world.is_sent("demo", "k2").await;
    world.bridge.kill();
    let again = world.send("demo", &late, &[("Nats-Msg-Id", "m3")]).await;
    assert!(again.duplicate);
    world.send("demo", &data, &[("Nats-Msg-Id", "m4")]).await;
    world.bridge = Bridge::start(&Arc::clone(world.bridge.files()), "a");
    let found = world.result("k2").await;
    assert_eq!(found["data"]["status"], "ok", "{found}");
    assert_eq!(found["data"]["command_id"], "m3");
    let results = world.results("k1", 3).await;
    assert_eq!(results[2]["data"]["duplicate"], true, "{results:?}");
    assert_eq!(results[2]["data"]["result"], done["data"]["result"]);
    world.online("demo").await;
    let answer = world.request("demo", "message.send", late).await;
    assert_eq!(answer["data"]["duplicate"], true, "{answer}");
    assert_eq!(answer["data"]["result"], found["data"]["result"]);
    assert_eq!(world.sent_by_provider("demo", "demo").await, ["k1", "k2"]);
}

/// Another alias whose account is in the shard of this one.
fn beside(alias: &str) -> String {
    let shard = |alias: &str| {
        let account = Account::new("sim".parse().unwrap(), alias.parse().unwrap());
        Shard::of(&account, SHARDS)
    };
    let mut others = (0..).map(|number| format!("other{number}"));
    others.find(|other| shard(other) == shard(alias)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_an_account_that_is_away_delay_nobody_and_run_in_order_later() {
    const WAITING: usize = 5_000;
    const ROOMS: [&str; 4] = ["lobby", "kitchen", "garden", "attic"];
    let (away, busy) = ("away", beside("away"));
    let nobody_gets_in = json!({ "challenge": { "account": "away" } });
    let world = json!({
        "world": "shared", "rooms": ROOMS.len(), "users": 1, "faults": { "provider": nobody_gets_in },
    });
    let world =
        World::starting(&json!({ "away": open(world.clone()), (busy.clone()): open(world) })).await;
    world.online(&busy).await;
    state(&world.bridge, away, "challenge_required").await;
    let to = |number: usize| {
        let mut data = message(&format!("w{number}"), "waits");
        data["params"]["to"]["channel_id"] = ROOMS[number % ROOMS.len()].into();
        data
    };
    let context = async_nats::jetstream::new(world.client.clone());
    let mut acks = Vec::new();
    for number in 0..WAITING {
        let body = to(number).to_string();
        let subject = "im.v1.cmd.sim.away.message.send";
        acks.push(context.publish(subject, body.into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    eventually("they are in the hand of their owner", || async {
        let waiting = world.bridge.account("sim/away")?["commands_waiting"].as_u64();
        (waiting >= Some(WAITING as u64)).then_some(())
    })
    .await;
    let memory = world.bridge.memory_kib();
    let mut slowest = Duration::ZERO;
    for number in 0..50 {
        let key = format!("b{number}");
        let since = Instant::now();
        world.send(&busy, &message(&key, "busy"), &[]).await;
        world.is_last_result(&key).await;
        slowest = slowest.max(since.elapsed());
    }
    println!("slowest command of the busy one: {slowest:?}; memory {memory} KiB");
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    assert!(world.sent_by_provider(&busy, away).await.is_empty());

    let since = Instant::now();
    let answer = json!({ "kind": "captcha", "answer": "42" });
    let answer = world.control(away, "answer_challenge", answer).await;
    assert_eq!(answer["data"]["status"], "ok", "{answer}");
    eventually_within(Duration::from_secs(120), "all of them are done", || async {
        let waiting = world.bridge.account("sim/away")?["commands_waiting"].as_u64();
        (waiting == Some(0)).then_some(())
    })
    .await;
    println!("{WAITING} commands took {:?}", since.elapsed());
    let sent = world.sent_by_provider(&busy, away).await;
    assert_eq!(sent.len(), WAITING);
    for (room, name) in ROOMS.iter().enumerate() {
        let of_room = |number: &usize| number % ROOMS.len() == room;
        let done = sent
            .iter()
            .filter_map(|it| it.strip_prefix('w')?.parse().ok());
        let done: Vec<usize> = done.filter(of_room).collect();
        let wanted: Vec<usize> = (0..WAITING).filter(of_room).collect();
        assert_eq!(done, wanted, "order in {name}");
    }
}
