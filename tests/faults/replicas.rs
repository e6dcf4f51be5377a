//! Three replicas and sixty accounts: who has a session when, by the provider's own record.

use crate::world::{account, config, machine, now_ms, short_lease};
use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use im_bridge::bus::{Account, Shard};
use im_bridge_test_harness::{
    Bridge, Director, Files, Nats, Simulator, eventually, eventually_within,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

pub const ACCOUNTS: usize = 60;
/// Of [`short_lease`].
const TTL_MS: i64 = 7_000;
/// Unless configured.
const SHARDS: u16 = 64;
/// What a replica must have before it is lost, or little would be lost.
const SHARE_MIN: usize = 5;
/// Above anything: starting three replicas of a debug build on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// One write of a shard's lease, or its end.
#[derive(Clone, Debug)]
pub struct LeaseWrite {
    pub shard: String,
    /// `nats.name` of the owner; none: given back or expired.
    pub owner: Option<String>,
    /// The whole owner: a start of a replica.
    pub start: String,
    /// Of the write that won it; renewals have the same. The bucket keeps the last write only, so that one may be missing.
    pub epoch: u64,
    pub at_ms: i64,
}

/// Everything that was written about leases, as the server stored it.
pub struct Leases {
    writes: Arc<Mutex<Vec<LeaseWrite>>>,
    task: JoinHandle<()>,
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leases {
    pub async fn follow(client: &async_nats::Client) -> Self {
        let context = jetstream::new(client.clone());
        let stream = eventually("the leases exist", || async {
            context.get_stream("KV_IM_LEASE").await.ok()
        })
        .await;
        let config = consumer::pull::OrderedConfig {
            filter_subject: "$KV.IM_LEASE.shard.>".to_owned(),
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        let writes: Arc<Mutex<Vec<LeaseWrite>>> = Arc::default();
        let seen = Arc::clone(&writes);
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                let info = message.info().unwrap();
                let at = info.published.unix_timestamp_nanos();
                let sequence = info.stream_sequence;
                let record: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
                let start = record["owner"].as_str().unwrap_or_default().to_owned();
                let owner = start.rsplit_once('-').map(|(name, _)| name.to_owned());
                seen.lock().unwrap().push(LeaseWrite {
                    shard: message.subject.to_string(),
                    owner,
                    start,
                    epoch: record["epoch"]
                        .as_u64()
                        .filter(|epoch| *epoch > 0)
                        .unwrap_or(sequence),
                    at_ms: i64::try_from(at / 1_000_000).unwrap(),
                });
            }
        });
        Self { writes, task }
    }

    pub fn writes(&self) -> Vec<LeaseWrite> {
        self.writes.lock().unwrap().clone()
    }

    /// By shard, who has it now, and since when by what was seen of it.
    fn holders(&self) -> BTreeMap<String, LeaseWrite> {
        let mut holders: BTreeMap<String, LeaseWrite> = BTreeMap::new();
        for write in self.writes() {
            let is_renewal = |held: &LeaseWrite| held.start == write.start;
            if write.owner.is_none() {
                holders.remove(&write.shard);
            } else if !holders.get(&write.shard).is_some_and(is_renewal) {
                holders.insert(write.shard.clone(), write);
            }
        }
        holders
    }

    /// What this replica has.
    pub fn of(&self, name: &str) -> Share {
        let mut holders = self.holders();
        holders.retain(|_, held| held.owner.as_deref() == Some(name));
        Share {
            start: holders
                .values()
                .next()
                .map_or_else(String::new, |held| held.start.clone()),
            shards: holders.into_keys().collect(),
        }
    }

    /// When the last of these shards was won by somebody else; none while one is free or has its former owner.
    pub fn succeeded_ms(&self, share: &Share) -> Option<i64> {
        let holders = self.holders();
        let new = |shard: &String| holders.get(shard).filter(|held| held.start != share.start);
        let times: Option<Vec<i64>> = share
            .shards
            .iter()
            .map(|shard| Some(new(shard)?.at_ms))
            .collect();
        times?.into_iter().max()
    }
}

/// Shards of one start of a replica.
pub struct Share {
    start: String,
    pub shards: BTreeSet<String>,
}

/// Three replicas, one world.
pub struct Trio {
    _nats: Nats,
    pub client: async_nats::Client,
    pub director: Director,
    pub files: Arc<Files>,
    pub bridges: BTreeMap<&'static str, Bridge>,
    pub leases: Leases,
    _simulator: Simulator,
}

pub fn aliases() -> Vec<String> {
    (0..ACCOUNTS).map(|number| format!("acc{number}")).collect()
}

impl Trio {
    pub async fn start() -> Self {
        let (nats, simulator) = (Nats::start(), Simulator::start());
        let world = json!({ "people": 2, "rooms": 4, "record": 1_000_000, "window": 64 });
        let director = Director::new(&simulator, "shared", &world).await;
        let accounts: Value = aliases()
            .into_iter()
            .map(|alias| (alias, account(&simulator, "shared")))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let config = config(nats.url(), &short_lease(), &accounts);
        let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), &config);
        let client = async_nats::connect(nats.url()).await.unwrap();
        // At once: whoever comes first takes everything, and gives it back one by one.
        let starting = ["a", "b", "c"].map(|name| {
            let files = Arc::clone(&files);
            (
                name,
                tokio::task::spawn_blocking(move || Bridge::start(&files, name)),
            )
        });
        let mut bridges = BTreeMap::new();
        for (name, started) in starting {
            bridges.insert(name, started.await.unwrap());
        }
        let trio = Self {
            leases: Leases::follow(&client).await,
            _nats: nats,
            client,
            director,
            files,
            bridges,
            _simulator: simulator,
        };
        trio.served().await;
        trio
    }

    /// Each account has a session.
    pub async fn served(&self) {
        eventually_within(SETTLED_WITHIN, "each account has a session", || async {
            (self.sessions().await.len() == ACCOUNTS).then_some(())
        })
        .await;
    }

    /// This replica has a part worth to be taken from it, and each account has a session. Shards go on to move.
    pub async fn has_share(&self, name: &str) -> Share {
        eventually_within(SETTLED_WITHIN, "the accounts are shared", || async {
            (self.leases.of(name).shards.len() >= SHARE_MIN).then_some(())
        })
        .await;
        self.served().await;
        self.leases.of(name)
    }

    /// Accounts that have a session now.
    pub async fn sessions(&self) -> BTreeSet<String> {
        let mut open: BTreeMap<u64, String> = BTreeMap::new();
        for entry in self.director.record(&["login", "session_ended"]).await {
            let session = entry["session"].as_u64().unwrap();
            if entry["deed"] == "login" {
                open.insert(session, entry["account"].as_str().unwrap().to_owned());
            } else {
                open.remove(&session);
            }
        }
        open.into_values().collect()
    }

    /// No account ever had two sessions at once.
    pub async fn assert_no_overlap(&self) {
        let logins = self.director.record(&["login"]).await;
        let overlaps: Vec<&Value> = logins
            .iter()
            .filter(|login| login["others"] != json!([]))
            .collect();
        assert!(overlaps.is_empty(), "{overlaps:?}");
    }

    /// How long after `since_ms` the last of these shards had a successor.
    pub async fn succession_ms(&self, share: &Share, since_ms: i64) -> i64 {
        let last_ms = eventually_within(SETTLED_WITHIN, "every shard has a successor", || async {
            self.leases.succeeded_ms(share)
        });
        last_ms.await - since_ms
    }

    /// How long after `since_ms` the last account of these shards had a session again.
    async fn logins_ms(&self, share: &Share, since_ms: i64) -> i64 {
        let mut first: BTreeMap<String, i64> = BTreeMap::new();
        for login in self.director.record(&["login"]).await {
            let at_ms = login["at_ms"].as_i64().unwrap();
            let alias = login["account"].as_str().unwrap();
            if at_ms >= since_ms && share.shards.contains(&shard_of(alias)) {
                first.entry(alias.to_owned()).or_insert(at_ms);
            }
        }
        first.into_values().max().unwrap_or(since_ms) - since_ms
    }
}

/// The subject of the lease of this account's shard.
fn shard_of(alias: &str) -> String {
    let account = Account::new("sim".parse().unwrap(), alias.parse().unwrap());
    format!("$KV.IM_LEASE.shard.{}", Shard::of(&account, SHARDS))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_are_killed_stopped_and_added_never_overlap_and_are_succeeded_in_time() {
    let _alone = machine().await;
    let mut trio = Trio::start().await;

    // Killed: after its lease.
    let lost = trio.has_share("a").await;
    let at_ms = now_ms();
    trio.bridges.get_mut("a").unwrap().kill();
    let took_ms = trio.succession_ms(&lost, at_ms).await;
    trio.served().await;
    println!(
        "{} shards of a killed replica were won within {took_ms} ms, its accounts logged in within {} ms",
        lost.shards.len(),
        trio.logins_ms(&lost, at_ms).await
    );
    assert!(took_ms <= TTL_MS + 2_000, "{took_ms} ms");
    trio.assert_no_overlap().await;

    // Added: it gets its share.
    trio.bridges.insert("a", Bridge::start(&trio.files, "a"));

    // Stopped: within a second. A machine that is busy with something else may be late once, not each time.
    let mut times = Vec::new();
    for name in ["b", "a", "c"] {
        let given = trio.has_share(name).await;
        let at_ms = now_ms();
        trio.bridges[name].terminate();
        let took_ms = trio.succession_ms(&given, at_ms).await;
        trio.served().await;
        let bridge = trio.bridges.get_mut(name).unwrap();
        let ended = bridge.ended(Duration::from_secs(30));
        assert_eq!(ended.and_then(|it| it.code()), Some(0), "{name}");
        println!(
            "{} shards of a stopped replica were won within {took_ms} ms, its accounts logged in within {} ms",
            given.shards.len(),
            trio.logins_ms(&given, at_ms).await
        );
        times.push(took_ms);
        trio.assert_no_overlap().await;
        trio.bridges.insert(name, Bridge::start(&trio.files, name));
    }
    trio.served().await;
    assert!(
        times.iter().min().is_some_and(|ms| *ms <= 1_000),
        "{times:?}"
    );
    assert!(times.iter().all(|ms| *ms <= 3_000), "{times:?}");
    trio.assert_no_overlap().await;
}
