//! A replica that is frozen past its lease and wakes up: it believes to be the owner and may do nothing.

use crate::audit::{Said, assert_commands};
use crate::load::{Service, all_answered};
use crate::replicas::{Trio, aliases};
use crate::world::{chats, messages_by_account, now_ms};
use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use im_bridge_test_harness::{eventually, eventually_within, pause};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const FROZEN: Duration = Duration::from_secs(30);
/// Each is told to every account.
const MESSAGES_PER_S: f64 = 1.0;
const COMMANDS_PER_S: f64 = 2.0;
/// It has two seconds to stop its instances.
const SOCKETS_CLOSED_WITHIN_MS: i64 = 5_000;
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// Every value that was written of the accounts' cursors, in order.
async fn cursors(client: &async_nats::Client) -> Arc<Mutex<BTreeMap<String, Vec<u64>>>> {
    let stream = jetstream::new(client.clone()).get_stream("KV_IM_KV").await;
    let config = consumer::pull::OrderedConfig {
        filter_subject: "$KV.IM_KV.*.*.k.cursor.>".to_owned(),
        ..Default::default()
    };
    let consumer = stream.unwrap().create_consumer(config).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let seen: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
    let writes = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let value: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            let key = message.subject.to_string();
            let cursor = value.as_u64().unwrap_or_default();
            writes.lock().unwrap().entry(key).or_default().push(cursor);
        }
    });
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_frozen_for_thirty_seconds_finds_itself_refused_and_closes_its_sockets() {
    let trio = Trio::start().await;
    let cursors = cursors(&trio.client).await;
    trio.director
        .order("rate", json!({ "per_s": MESSAGES_PER_S }))
        .await;
    let places = aliases().into_iter().zip(chats(4).into_iter().cycle());
    let service = Service::start(trio.client.clone(), places.collect(), COMMANDS_PER_S);
    let stored = crate::world::count(&trio.client, "IM_EVT")
        .await
        .unwrap_or_default();
    eventually("messages flow", || async {
        (crate::world::count(&trio.client, "IM_EVT").await? > stored + 60).then_some(())
    })
    .await;

    let frozen = &trio.bridges["a"];
    let lost = trio.has_share("a").await;
    let frozen_ms = now_ms();
    frozen.freeze();
    let took_ms = trio.succession_ms(&lost, frozen_ms).await;
    println!(
        "{} shards of a frozen replica were won within {took_ms} ms",
        lost.shards.len()
    );
    // The freeze is the fault: nothing is waited for.
    pause(FROZEN.saturating_sub(Duration::from_millis(
        u64::try_from(now_ms() - frozen_ms).unwrap(),
    )))
    .await;
    let thawed_ms = now_ms();
    frozen.thaw();
    eventually("it knows", || async {
        let count = |reason: &str| {
            let metric = format!("im_bridge_leases_lost_total{{reason=\"{reason}\"}}");
            frozen.metric(&metric).unwrap_or_default()
        };
        let known = count("expired") + count("conflict");
        (known >= lost.shards.len() as f64).then_some(())
    })
    .await;
    trio.served().await;

    // By the provider's record: whoever logged in beside another did so beside the frozen one, whose session did nothing
    // any more and ended.
    let mut stale: BTreeSet<u64> = BTreeSet::new();
    for login in trio.director.record(&["login"]).await {
        let at_ms = login["at_ms"].as_i64().unwrap();
        let others: Vec<u64> = login["others"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        if !others.is_empty() {
            assert!((frozen_ms..thawed_ms).contains(&at_ms), "{login}");
            assert_eq!(others.len(), 1, "{login}");
            stale.extend(others);
        }
    }
    assert!(!stale.is_empty(), "nobody had an account of the frozen one");
    let of_stale = async |deed: &str| {
        let mut entries = trio.director.record(&[deed]).await;
        entries.retain(|it| stale.contains(&it["session"].as_u64().unwrap()));
        entries
    };
    let ended = eventually("sessions of the frozen one end", || async {
        let ended = of_stale("session_ended").await;
        (ended.len() == stale.len()).then_some(ended)
    })
    .await;
    let after_ms = |entry: &Value| entry["at_ms"].as_i64().unwrap() - thawed_ms;
    for entry in ended {
        assert!(
            (0..SOCKETS_CLOSED_WITHIN_MS).contains(&after_ms(&entry)),
            "after {} ms: {entry}",
            after_ms(&entry)
        );
    }
    for entry in of_stale("acked").await {
        assert!(after_ms(&entry) < 0, "it acted after it woke up: {entry}");
    }

    // Renewals: nobody writes under a lease that somebody won later.
    let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
    for write in trio.leases.writes() {
        let before = epochs.insert(write.shard.clone(), write.epoch);
        assert!(
            before.is_none_or(|before| before <= write.epoch),
            "{write:?} after {before:?}"
        );
    }
    // Cursors: the one who wakes up writes none, or an older one would follow a newer one.
    for (key, values) in cursors.lock().unwrap().iter() {
        assert!(values.is_sorted(), "{key}: {values:?}");
    }

    // Claims and pulls: each command once, and everything that was said once, and in order.
    trio.director.order("rate", json!({ "per_s": 0 })).await;
    let commands = service.end().await;
    let results = all_answered(&trio.client, &commands).await;
    let done = trio.director.record(&["sent"]).await;
    assert_commands(&commands, &done, &results);
    let said = Said::new(&trio.director.record(&["said"]).await);
    eventually_within(STORED_WITHIN, "everything is stored", || async {
        let by_account = messages_by_account(&trio.client).await;
        let is_whole = |alias: &String| by_account.get(alias).map_or(0, Vec::len) >= said.len();
        aliases().iter().all(is_whole).then_some(())
    })
    .await;
    for (account, stored) in messages_by_account(&trio.client).await {
        said.assert_stored(&account, &stored);
    }
}
