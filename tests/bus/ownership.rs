//! Shards: one owner each, shared evenly, taken over after a crash.

use crate::support::{connected, provisioned};
use im_bridge::bus::consumer::{ShardConsumer, TakeError};
use im_bridge::bus::lease::Timing;
use im_bridge::bus::shards::{Keeper, Settings, ShardEvent, Shards, ShardsError, Wishes};
use im_bridge::bus::{Bus, Hold, Kind, Shard};
use im_bridge_test_harness::{Nats, eventually, stays, within};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Short, so that tests take seconds. The server's TTLs are whole seconds.
const SETTINGS: Settings = Settings {
    timing: Timing {
        ttl: Duration::from_secs(3),
        renew: Duration::from_millis(500),
        stop: Duration::from_millis(2_000),
    },
    rebalance_every: Duration::from_millis(50),
};

type Held = Arc<Mutex<BTreeMap<Shard, (u64, Hold)>>>;

/// A replica that drains at once what is wanted back.
struct Replica {
    shards: Shards,
    held: Held,
    keeper: JoinHandle<Result<(), ShardsError>>,
    user: JoinHandle<()>,
    _wishes: watch::Sender<Wishes>,
}

impl Replica {
    fn start(bus: &Bus, shards: u16) -> Self {
        let all = (0..shards).map(|number| (Shard::new(number), BTreeSet::new()));
        let (wish, wishes) = watch::channel(Wishes {
            shards: all.collect(),
            usable: BTreeSet::new(),
        });
        let (keeper, shards, mut events) = Keeper::new(bus, "0.0.0", SETTINGS, wishes);
        let held = Held::default();
        let user = {
            let (held, shards) = (Arc::clone(&held), shards.clone());
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    match event {
                        ShardEvent::Won { shard, epoch, hold } => {
                            held.lock().unwrap().insert(shard, (epoch, hold));
                        }
                        ShardEvent::GiveBack { shard, .. } => {
                            held.lock().unwrap().remove(&shard);
                            shards.drained(shard).await;
                        }
                        ShardEvent::Ended { shard, .. } => {
                            held.lock().unwrap().remove(&shard);
                        }
                    }
                }
            })
        };
        Self {
            shards,
            held,
            keeper: tokio::spawn(keeper.run()),
            user,
            _wishes: wish,
        }
    }

    /// Shards that it may act for, now.
    fn holds(&self) -> BTreeSet<Shard> {
        let held = self.held.lock().unwrap();
        let valid = held.iter().filter(|(_, (_, hold))| hold.is_held());
        valid.map(|(shard, _)| *shard).collect()
    }

    fn epoch(&self, shard: Shard) -> Option<u64> {
        self.held
            .lock()
            .unwrap()
            .get(&shard)
            .map(|(epoch, _)| *epoch)
    }

    /// As a crash: nothing is given back.
    fn crash(self) {
        self.keeper.abort();
        self.user.abort();
    }
}

async fn eventually_holds(replica: &Replica, count: usize) {
    let what = format!("{} to hold {count} shards", replica.shards.owner().as_str());
    eventually(&what, || async {
        (replica.holds().len() == count).then_some(())
    })
    .await;
}

/// Each holds so many: no shard twice, none missing. In one look, since shards move until the shares are even.
async fn eventually_split(shares: &[(&Replica, usize)]) {
    let shards: usize = shares.iter().map(|(_, share)| share).sum();
    eventually(&format!("{shards} shards to be split"), || async {
        let held: Vec<BTreeSet<Shard>> =
            shares.iter().map(|(replica, _)| replica.holds()).collect();
        let distinct: BTreeSet<Shard> = held.iter().flatten().copied().collect();
        let is_even = held
            .iter()
            .zip(shares)
            .all(|(held, (_, share))| held.len() == *share);
        (is_even && distinct.len() == shards).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_takes_everything_and_a_second_one_gets_half() {
    let nats = Nats::start();
    let (a, b) = (provisioned(&nats, "a").await, connected(&nats, "b").await);
    let first = Replica::start(&a, 16);
    eventually_holds(&first, 16).await;
    let second = Replica::start(&b, 16);
    eventually_split(&[(&first, 8), (&second, 8)]).await;
    stays("the split", (8, 8), Duration::from_millis(700), || async {
        (first.holds().len(), second.holds().len())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_race_for_all_shards_share_them() {
    let nats = Nats::start();
    let (a, b) = (provisioned(&nats, "a").await, connected(&nats, "b").await);
    let (first, second) = (Replica::start(&a, 64), Replica::start(&b, 64));
    eventually_split(&[(&first, 32), (&second, 32)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_shuts_down_hands_over_at_once() {
    let nats = Nats::start();
    let (a, b) = (provisioned(&nats, "a").await, connected(&nats, "b").await);
    let (first, second) = (Replica::start(&a, 8), Replica::start(&b, 8));
    eventually_split(&[(&first, 4), (&second, 4)]).await;
    let start = Instant::now();
    first.shards.shut_down().await;
    first.keeper.await.unwrap().unwrap();
    eventually_holds(&second, 8).await;
    // Far below what the leases would need to expire.
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_replica_is_succeeded_within_its_ttl() {
    let nats = Nats::start();
    let (a, b) = (provisioned(&nats, "a").await, connected(&nats, "b").await);
    let (first, second) = (Replica::start(&a, 4), Replica::start(&b, 4));
    eventually_split(&[(&first, 2), (&second, 2)]).await;
    let epochs: Vec<u64> = first
        .holds()
        .iter()
        .filter_map(|&shard| first.epoch(shard))
        .collect();
    let lost = first.holds();
    let start = Instant::now();
    first.crash();
    eventually_holds(&second, 4).await;
    println!("taken over after {:?}", start.elapsed());
    assert!(start.elapsed() < SETTINGS.timing.ttl + Duration::from_secs(2));
    for shard in lost {
        let epoch = second.epoch(shard).unwrap();
        assert!(epochs.iter().all(|&former| epoch > former), "epochs grow");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_restarted_under_its_name_does_not_wait_for_the_ttl() {
    let nats = Nats::start();
    let a = provisioned(&nats, "a").await;
    let first = Replica::start(&a, 4);
    eventually_holds(&first, 4).await;
    first.crash();
    let start = Instant::now();
    let again = Replica::start(&connected(&nats, "a").await, 4);
    eventually_holds(&again, 4).await;
    println!("owner again after {:?}", start.elapsed());
    assert!(
        start.elapsed() < SETTINGS.timing.ttl,
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_replica_of_the_same_name_refuses_to_start() {
    let nats = Nats::start();
    let a = provisioned(&nats, "a").await;
    let first = Replica::start(&a, 2);
    eventually_holds(&first, 2).await;
    let second = Replica::start(&connected(&nats, "a").await, 2);
    let error = second.keeper.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "nats_name");
    assert_eq!(first.holds().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_cut_off_from_nats_stops_by_itself_before_a_successor_may_start() {
    let mut nats = Nats::start();
    let a = provisioned(&nats, "a").await;
    let first = Replica::start(&a, 2);
    eventually_holds(&first, 2).await;
    let hold = first
        .held
        .lock()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .1
        .clone();
    let start = Instant::now();
    nats.freeze();
    hold.lost().await;
    let after = start.elapsed();
    assert!(
        after <= SETTINGS.timing.stop + Duration::from_millis(300),
        "{after:?}"
    );
    // Each shard's last renewal has its own time.
    eventually_holds(&first, 0).await;
    nats.thaw();
    // It comes back as a new owner: the old hold stays lost.
    eventually_holds(&first, 2).await;
    assert!(!hold.is_held());
    nats.kill();
}

/// A runtime that stands still is what a stopped process is to everybody else: its connections stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_owner_is_succeeded_and_takes_nothing_when_it_wakes() {
    let nats = Nats::start();
    let b = provisioned(&nats, "b").await;
    let settings = crate::support::settings(&[nats.url().to_owned()], "a");
    let (tell, told) = tokio::sync::oneshot::channel();
    let (freeze, freezes) = tokio::sync::oneshot::channel::<std::sync::mpsc::Receiver<()>>();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let frozen = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async move {
            let bus = Bus::connect(&settings).await.unwrap();
            let replica = Replica::start(&bus, 4);
            eventually_holds(&replica, 4).await;
            let _ = tell.send(Arc::clone(&replica.held));
            // The only thread of this runtime waits here: nothing runs, not even a timer.
            freezes.await.unwrap().recv().unwrap();
            let _ = ended.await;
            replica.crash();
        });
    });
    let held = told.await.unwrap();
    let before = held.lock().unwrap().clone();
    let (thaw, thawed) = std::sync::mpsc::channel();
    freeze.send(thawed).unwrap();
    let second = Replica::start(&b, 4);
    eventually_holds(&second, 4).await;
    assert!(
        before.values().all(|(_, hold)| !hold.is_held()),
        "its time is over, awake or not"
    );
    thaw.send(()).unwrap();
    // Awake, it may get its share back as a new owner, and never acts on what it had.
    let holds = || {
        let held = held.lock().unwrap();
        held.iter()
            .filter(|(_, (_, hold))| hold.is_held())
            .map(|(shard, _)| *shard)
            .collect::<BTreeSet<_>>()
    };
    eventually("an even split", || async {
        (holds().len() == 2 && second.holds().len() == 2).then_some(())
    })
    .await;
    assert!(holds().is_disjoint(&second.holds()));
    for (shard, (epoch, hold)) in &before {
        assert!(!hold.is_held());
        let now = held.lock().unwrap().get(shard).map(|(epoch, _)| *epoch);
        assert!(now.is_none_or(|now| now > *epoch), "a new epoch");
    }
    end.send(()).unwrap();
    frozen.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_shard_moves_and_stays_away() {
    let nats = Nats::start();
    let (a, b) = (provisioned(&nats, "a").await, connected(&nats, "b").await);
    let (first, second) = (Replica::start(&a, 4), Replica::start(&b, 4));
    eventually_split(&[(&first, 2), (&second, 2)]).await;
    let shard = *first.holds().first().unwrap();
    first.shards.drain(shard).await;
    // The other has its share already: it takes this one for another.
    eventually("the shard to move", || async {
        (!first.holds().contains(&shard)).then_some(())
    })
    .await;
    stays(
        "the drained shard is elsewhere",
        false,
        Duration::from_millis(500),
        || async { first.holds().contains(&shard) },
    )
    .await;
}

/// The stream keeps a command until its owner acked it, whoever the owner is by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_owners_consumer_gets_nothing_more() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let account = crate::support::account("acme", "a");
    let shard = Shard::of(&account, 64);
    let command: Kind = "message.send".parse().unwrap();
    let publish = |text: String| {
        let subject = bus.subjects.command(&account, &command);
        let client = bus.data.client().clone();
        async move {
            client.publish(subject, text.into()).await.unwrap();
            client.flush().await.unwrap();
        }
    };
    let mut first = ShardConsumer::take_over(&bus, shard, 5).await.unwrap();
    for number in 0..5 {
        publish(number.to_string()).await;
    }
    let mut in_hand = Vec::new();
    for number in 0..5 {
        let delivered = within("a command", first.next()).await.unwrap();
        assert_eq!(delivered.payload, number.to_string());
        in_hand.push(delivered);
    }
    first.acks().done(&in_hand[0].ack).await;
    eventually("the first command to be gone", || async {
        first
            .read(in_hand[0].sequence)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let start = Instant::now();
    let mut second = ShardConsumer::take_over(&bus, shard, 9).await.unwrap();
    // A late ack of the former owner does nothing.
    first.acks().done(&in_hand[1].ack).await;
    for before in &in_hand[1..] {
        let delivered = within("a command", second.next()).await.unwrap();
        assert_eq!(delivered.sequence, before.sequence, "in order");
        second.acks().done(&delivered.ack).await;
    }
    println!("taken over after {:?}", start.elapsed());
    assert!(within("a command", first.next()).await.is_none());
    publish("new".to_owned()).await;
    assert_eq!(
        within("a command", second.next()).await.unwrap().payload,
        "new"
    );
    match first.again().await {
        Err(TakeError::Newer { theirs, .. }) => assert_eq!(theirs, 9),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_hand_comes_again_after_a_reconnect() {
    let mut nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let account = crate::support::account("acme", "a");
    let shard = Shard::of(&account, 64);
    let subject = bus
        .subjects
        .command(&account, &"message.send".parse().unwrap());
    let mut consumer = ShardConsumer::take_over(&bus, shard, 1).await.unwrap();
    bus.data
        .client()
        .publish(subject, "x".into())
        .await
        .unwrap();
    let first = within("a command", consumer.next()).await.unwrap();
    let mut connects = consumer.connects();
    connects.mark_unchanged();
    nats.restart();
    connects.changed().await.unwrap();
    let waited = Arc::new(tokio::sync::Mutex::new(consumer));
    eventually("the consumer to be made again", || async {
        waited.lock().await.again().await.ok()
    })
    .await;
    let again = within("a command", waited.lock().await.next())
        .await
        .unwrap();
    assert_eq!(again.sequence, first.sequence);
}
