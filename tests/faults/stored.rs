//! What a provider is told is stored was stored before.

use crate::audit::{Said, text};
use crate::world::{
    Stored, account, chats, config, count, machine, messages_by_account, now_ms, online,
    short_lease,
};
use im_bridge_test_harness::{
    Bridge, Director, Files, Nats, Simulator, eventually_within, pause, seeded, stays,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

const MESSAGES: usize = 10_000;
const CHANNELS: usize = 20;
/// Posts in a row in one channel.
const AT_ONCE: usize = 5;
/// How long the server stands still: far longer than an acknowledgement takes.
const FROZEN: Duration = Duration::from_secs(2);
const ALL_WITHIN: Duration = Duration::from_secs(120);

/// What the provider's record says of acknowledgements so far.
#[derive(Clone, Default)]
struct Acknowledged {
    after: u64,
    /// By number of the item: when it was acknowledged first.
    at_ms: BTreeMap<u64, i64>,
    /// The provider tells its only account nothing but posts, and numbers them one by one.
    first_item: Option<u64>,
}

/// Follows the record.
struct Watch {
    director: Arc<Director>,
    seen: Mutex<Acknowledged>,
}

impl Watch {
    async fn now(&self) -> Acknowledged {
        let mut seen = self.seen.lock().await;
        let kinds = ["pushed", "acked"];
        for entry in self.director.record_after(&mut seen.after, &kinds).await {
            let item = entry["seq"].as_u64().unwrap();
            if entry["deed"] == "acked" {
                let at_ms = entry["at_ms"].as_i64().unwrap();
                seen.at_ms.entry(item).or_insert(at_ms);
            } else {
                // The first push is of the first item.
                seen.first_item.get_or_insert(item);
            }
        }
        seen.clone()
    }

    async fn count(&self) -> usize {
        self.now().await.at_ms.len()
    }
}

/// Asks the server, since the provider's record is long: what is to happen in the middle must not come late.
async fn more_than(client: &async_nats::Client, wanted: usize) {
    let what = format!("more than {wanted} are stored");
    eventually_within(ALL_WITHIN, &what, || async {
        (count(client, "IM_EVT").await? > wanted as u64).then_some(())
    })
    .await;
}

impl Acknowledged {
    /// When each post was acknowledged. `said` is the record of posts.
    fn posts(&self, said: &[Value]) -> Vec<(String, i64)> {
        let first = self.first_item.unwrap();
        let post = |item: &u64| text(&said[usize::try_from(item - first).unwrap()]["post"]);
        let at_ms = self.at_ms.iter();
        at_ms.map(|(item, at_ms)| (post(item), *at_ms)).collect()
    }
}

/// Each acknowledged post is stored, and was before it was acknowledged.
fn assert_stored_before(acknowledged: &[(String, i64)], stored: &[Stored]) {
    let stored = times(stored);
    for (post, acked_ms) in acknowledged {
        let stored_ms = stored
            .get(post.as_str())
            .unwrap_or_else(|| panic!("{post} was acknowledged and is not stored"));
        assert!(
            acked_ms >= stored_ms,
            "{post} was acknowledged at {acked_ms} and stored at {stored_ms}"
        );
    }
}

/// When each post was stored.
fn times(stored: &[Stored]) -> HashMap<&str, i64> {
    let posts = stored.iter();
    posts
        .map(|event| (event.document.data.message.id.as_str(), event.at_ms))
        .collect()
}

/// One post in each channel [`AT_ONCE`] times.
const TURNS: usize = MESSAGES / CHANNELS / AT_ONCE;

/// The provider's people write everything, in channels at random, as many turns as they are permitted.
fn say(
    director: &Arc<Director>,
    mut random: fastrand::Rng,
    turns: &Arc<Semaphore>,
) -> JoinHandle<()> {
    let (director, turns) = (Arc::clone(director), Arc::clone(turns));
    tokio::spawn(async move {
        for _ in 0..TURNS {
            turns.acquire().await.unwrap().forget();
            let mut turn = chats(CHANNELS);
            random.shuffle(&mut turn);
            for chat in turn {
                let words = json!({ "chat": chat, "by": "alice", "text": "hi", "times": AT_ONCE });
                director.order("say", words).await;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_messages_over_twenty_channels_are_stored_once_in_order_and_acknowledged_after_the_store()
 {
    let _alone = machine().await;
    let random = seeded("ten_thousand_messages");
    let (mut nats, simulator) = (Nats::start(), Simulator::start());
    let world = json!({ "people": 3, "rooms": CHANNELS, "record": 1_000_000, "window": 64 });
    let director = Arc::new(Director::new(&simulator, "shop", &world).await);
    let accounts = json!({ "shop": account(&simulator, "shop") });
    let config = config(nats.url(), &short_lease(), &accounts);
    let files = Files::new(env!("CARGO_BIN_EXE_im-bridge"), &config);
    let mut bridge = Bridge::start(&files, "a");
    online(&bridge, "shop").await;
    let watch = Watch {
        director: Arc::clone(&director),
        seen: Mutex::default(),
    };
    let turns = Arc::new(Semaphore::new(TURNS / 2));
    let saying = say(&director, random, &turns);

    // While nothing can be stored, nothing is acknowledged.
    let client = async_nats::connect(nats.url()).await.unwrap();
    more_than(&client, MESSAGES / 10).await;
    nats.freeze();
    // What was confirmed before is acknowledged at once; then there is silence.
    let last = Mutex::new(usize::MAX);
    eventually_within(ALL_WITHIN, "acknowledgements stop", || async {
        pause(Duration::from_millis(200)).await;
        let now = watch.count().await;
        (std::mem::replace(&mut *last.lock().await, now) == now).then_some(())
    })
    .await;
    let (last, silent_ms) = (last.into_inner(), now_ms());
    println!("{last} acknowledged at the freeze");
    let what = "acknowledged while nothing is stored";
    stays(what, last, FROZEN, || watch.count()).await;
    let before_thaw = watch.now().await;
    turns.add_permits(TURNS / 4);
    nats.thaw();

    // What is acknowledged when everything dies at once is there when the server is back, with nobody to send it again.
    more_than(&client, last + MESSAGES / 5).await;
    nats.kill();
    bridge.kill();
    turns.add_permits(TURNS / 4);
    saying.await.unwrap();
    let said = director.record(&["said"]).await;
    let at_death = watch.now().await;
    nats.restart();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let stored = messages_by_account(&client).await.remove("shop").unwrap();
    println!(
        "{} acknowledged and {} stored at the kill",
        at_death.at_ms.len(),
        stored.len()
    );
    assert_stored_before(&at_death.posts(&said), &stored);
    // And what was acknowledged before the thaw was stored before the silence.
    let stored_at = times(&stored);
    for (post, _) in before_thaw.posts(&said) {
        assert!(stored_at[post.as_str()] <= silent_ms, "{post}");
    }

    // The rest comes when the bridge is back.
    let _bridge = Bridge::start(&files, "a");
    // What it fetched by itself needs no acknowledgement, what was pushed does.
    eventually_within(ALL_WITHIN, "everything is stored", || async {
        let stored = count(&client, "IM_EVT").await? >= MESSAGES as u64;
        let open = director.summary().await["unacknowledged"]["shop"].clone();
        (stored && open == 0).then_some(())
    })
    .await;
    assert_eq!(said.len(), MESSAGES);
    let stored = messages_by_account(&client).await.remove("shop").unwrap();
    Said::new(&said).assert_stored("shop", &stored);
    assert_stored_before(&watch.now().await.posts(&said), &stored);
    let channels: BTreeSet<&str> = stored
        .iter()
        .map(|event| event.document.subject.as_str())
        .collect();
    assert_eq!(channels.len(), CHANNELS);
}
