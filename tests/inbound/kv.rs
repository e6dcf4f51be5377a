//! An account's durable state: who may write it, what survives, what stays secret.

use crate::world::{account, bus, limits};
use bytes::Bytes;
use im_bridge::account::kv::Kv;
use im_bridge::account::seal::Seals;
use im_bridge::bus::account_keys::KeysError;
use im_bridge::bus::kv::Bucket;
use im_bridge::bus::{Bus, Hold};
use im_bridge::loader::host::KvRequest;
use im_bridge_plugin_api::abi::{KV_ANY, KvVerb, Status};
use im_bridge_test_harness::{Nats, WITHIN, eventually, stays};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

type Answered = (Status, u64, Bytes);

/// An owner of the account, and how an adapter asks it.
struct Owner {
    kv: Kv,
    hold: Hold,
}

/// 32 bytes of zeros, and of ones bits, in base64.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_KEY: &str = "//////////////////////////////////////////8=";

fn sealing(key: &str) -> Arc<Seals> {
    Arc::new(Seals::new("k", [("k", key)]).unwrap())
}

async fn own(bus: &Bus, epoch: u64, seals: Arc<Seals>) -> Owner {
    let hold = Hold::forever();
    let kv = Kv::open(bus, &account(), epoch, &hold, seals)
        .await
        .unwrap();
    Owner { kv, hold }
}

async fn plain(bus: &Bus, epoch: u64) -> Owner {
    own(bus, epoch, Arc::default()).await
}

impl Owner {
    /// The answers come through the channel, each with its request's number.
    fn ask_later(&self, number: u64, answers: &mpsc::Sender<(u64, Answered)>, ask: Ask<'_>) {
        let answers = answers.clone();
        let value = Bytes::copy_from_slice(ask.value);
        let mut request = KvRequest::detached(
            ask.verb,
            ask.key,
            ask.revision,
            value,
            move |status, revision, value| {
                // A test that ended does not listen.
                let _ = answers.try_send((number, (status, revision, value)));
            },
        );
        request.ttl_s = ask.ttl_s;
        request.is_secret = ask.is_secret;
        self.kv.ask(request);
    }

    async fn ask(&self, ask: Ask<'_>) -> Answered {
        let (answers, mut arriving) = mpsc::channel(1);
        self.ask_later(0, &answers, ask);
        next(&mut arriving).await.1
    }

    async fn put(&self, key: &str, revision: u64, value: &str) -> (Status, u64) {
        let (status, revision, _) = self.ask(put(key, revision, value)).await;
        (status, revision)
    }

    async fn put_secret(&self, key: &str, value: &str) -> Status {
        self.ask(Ask {
            is_secret: true,
            ..put(key, KV_ANY, value)
        })
        .await
        .0
    }

    async fn get(&self, key: &str) -> Option<String> {
        let (status, _, value) = self
            .ask(Ask {
                verb: KvVerb::GET,
                ..put(key, 0, "")
            })
            .await;
        match status {
            Status::OK => Some(String::from_utf8(value.to_vec()).unwrap()),
            Status::E_NOT_FOUND => None,
            other => panic!("{other:?}"),
        }
    }

    async fn list(&self, prefix: &str) -> Vec<String> {
        let (status, _, value) = self
            .ask(Ask {
                verb: KvVerb::LIST,
                ..put(prefix, 0, "")
            })
            .await;
        assert_eq!(status, Status::OK);
        let listed: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&value).unwrap();
        listed.keys().cloned().collect()
    }
}

async fn next(arriving: &mut mpsc::Receiver<(u64, Answered)>) -> (u64, Answered) {
    let arrived = tokio::time::timeout(WITHIN, arriving.recv()).await;
    arrived.expect("no answer in time").unwrap()
}

#[derive(Clone, Copy)]
struct Ask<'a> {
    verb: KvVerb,
    key: &'a str,
    revision: u64,
    value: &'a [u8],
    ttl_s: Option<u32>,
    is_secret: bool,
}

fn put<'a>(key: &'a str, revision: u64, value: &'a str) -> Ask<'a> {
    Ask {
        verb: KvVerb::PUT,
        key,
        revision,
        value: value.as_bytes(),
        ttl_s: None,
        is_secret: false,
    }
}

#[tokio::test]
async fn values_are_compared_listed_deleted_and_survive_a_takeover() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 1).await;
    assert_eq!(owner.get("cursor").await, None);
    let (status, first) = owner.put("cursor", 0, "1").await;
    assert_eq!(status, Status::OK);
    assert_eq!(
        owner.put("cursor", 0, "2").await,
        (Status::E_CONFLICT, first)
    );
    let (status, second) = owner.put("cursor", first, "2").await;
    assert_eq!((status, second > first), (Status::OK, true));
    assert_eq!(
        owner.put("cursor", first, "3").await,
        (Status::E_CONFLICT, second)
    );
    for key in ["dm/a.b", "dm/a/b", "dm/a=2Eb", "dmx"] {
        assert_eq!(owner.put(key, KV_ANY, key).await.0, Status::OK);
    }
    assert_eq!(owner.list("dm/").await, ["dm/a.b", "dm/a/b", "dm/a=2Eb"]);
    let deleted = owner
        .ask(Ask {
            verb: KvVerb::DELETE,
            ..put("dmx", KV_ANY, "")
        })
        .await;
    assert_eq!(deleted.0, Status::OK);

    let next = plain(&bus, 2).await;
    assert_eq!(next.get("cursor").await.as_deref(), Some("2"));
    assert_eq!(
        next.list("").await,
        ["cursor", "dm/a.b", "dm/a/b", "dm/a=2Eb"]
    );
    assert_eq!(next.get("dm/a.b").await.as_deref(), Some("dm/a.b"));
    assert_eq!(next.put("cursor", second, "4").await.0, Status::OK);
    assert_eq!(next.put("dmx", 0, "again").await.0, Status::OK);
}

#[tokio::test]
async fn a_former_owner_that_believes_to_be_one_is_refused_by_the_server() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let former = plain(&bus, 7).await;
    former.put("cursor", 0, "1").await;
    let owner = plain(&bus, 9).await;
    assert_eq!(
        former.put("cursor", KV_ANY, "stale").await.0,
        Status::E_CLOSED
    );
    assert_eq!(former.put("other", 0, "stale").await.0, Status::E_CLOSED);
    assert_eq!(owner.get("cursor").await.as_deref(), Some("1"));
    assert_eq!(owner.put("cursor", KV_ANY, "2").await.0, Status::OK);
    let late = Kv::open(&bus, &account(), 7, &Hold::forever(), Arc::default()).await;
    assert!(matches!(late.err(), Some(KeysError::Fenced)));
}

#[tokio::test]
async fn an_owner_whose_fence_was_touched_raises_it_again() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 3).await;
    owner.put("cursor", 0, "1").await;
    // Somebody deletes it by hand.
    let bucket = Bucket::new(&bus.control, "IM_KV");
    bucket
        .delete(
            "acme.shop1.epoch",
            im_bridge::bus::kv::Write {
                within: Duration::from_secs(5),
                ..Default::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(owner.put("cursor", KV_ANY, "2").await.0, Status::OK);
    assert_eq!(owner.get("cursor").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_secret_is_unreadable_without_its_key() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = own(&bus, 1, sealing(KEY)).await;
    assert_eq!(
        owner.put_secret("session", "token-of-a-session").await,
        Status::OK
    );
    assert_eq!(
        owner.get("session").await.as_deref(),
        Some("token-of-a-session")
    );
    let stored = Bucket::new(&bus.control, "IM_KV")
        .get("acme.shop1.k.session")
        .await
        .unwrap()
        .unwrap();
    let bytes = stored.value.unwrap();
    assert!(!bytes.windows(5).any(|part| part == b"token"));

    let without = plain(&bus, 2).await;
    assert_eq!(without.get("session").await, None);
    assert_eq!(without.list("").await, Vec::<String>::new());
    let other = own(&bus, 3, sealing(OTHER_KEY)).await;
    assert_eq!(other.get("session").await, None);
    let with = own(&bus, 4, sealing(KEY)).await;
    assert_eq!(
        with.get("session").await.as_deref(),
        Some("token-of-a-session")
    );
    // Whoever cannot read it logs in anew, as if there were none.
    let other = own(&bus, 5, sealing(OTHER_KEY)).await;
    assert_eq!(other.put("session", 0, "new").await.0, Status::OK);
}

#[tokio::test]
async fn without_a_key_secrets_stay_in_memory() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 1).await;
    owner.put("session", KV_ANY, "public").await;
    assert_eq!(owner.put_secret("session", "secret").await, Status::OK);
    assert_eq!(owner.get("session").await.as_deref(), Some("secret"));
    assert_eq!(owner.list("").await, ["session"]);
    let next = plain(&bus, 2).await;
    assert_eq!(
        next.get("session").await,
        None,
        "neither the secret nor what it replaced"
    );
}

#[tokio::test]
async fn a_value_with_a_time_to_live_ends_for_its_owner_and_the_next() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = own(&bus, 1, sealing(KEY)).await;
    for (key, is_secret) in [("seen", false), ("session", true)] {
        let status = owner
            .ask(Ask {
                ttl_s: Some(1),
                is_secret,
                ..put(key, 0, "x")
            })
            .await
            .0;
        assert_eq!(status, Status::OK);
    }
    owner.put("kept", 0, "x").await;
    let next = own(&bus, 2, sealing(KEY)).await;
    eventually("the value to end", || async {
        next.get("seen").await.is_none().then_some(())
    })
    .await;
    eventually("the secret to end", || async {
        next.get("session").await.is_none().then_some(())
    })
    .await;
    assert_eq!(next.list("").await, ["kept"]);
    assert_eq!(next.put("seen", 0, "y").await.0, Status::OK);
    let bucket = Bucket::new(&bus.control, "IM_KV");
    eventually("the server to remove it", || async {
        bucket
            .get("acme.shop1.k.session")
            .await
            .ok()?
            .is_none_or(|entry| entry.value.is_none())
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_the_lease_is_lost_everything_is_closed_also_what_waits() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 1).await;
    owner.put("cursor", 0, "1").await;
    nats.freeze();
    let (answers, mut arriving) = mpsc::channel(64);
    for number in 0..10 {
        owner.ask_later(number, &answers, put("cursor", KV_ANY, "2"));
    }
    stays("no answer", 0, Duration::from_millis(200), || async {
        arriving.len()
    })
    .await;
    owner.hold.end();
    for _ in 0..10 {
        assert_eq!(next(&mut arriving).await.1.0, Status::E_CLOSED);
    }
    let read = owner
        .ask(Ask {
            verb: KvVerb::GET,
            ..put("cursor", 0, "")
        })
        .await;
    assert_eq!(read.0, Status::E_CLOSED);
    nats.thaw();
}

#[tokio::test]
async fn writes_wait_for_a_server_that_is_away_and_keep_their_order() {
    let mut nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 1).await;
    nats.kill();
    let (answers, mut arriving) = mpsc::channel(64);
    for number in 0..20 {
        owner.ask_later(number, &answers, put("cursor", KV_ANY, &number.to_string()));
    }
    owner.ask_later(
        20,
        &answers,
        Ask {
            verb: KvVerb::GET,
            ..put("cursor", 0, "")
        },
    );
    nats.restart();
    for wanted in 0..20 {
        let (number, (status, ..)) = next(&mut arriving).await;
        assert_eq!((number, status), (wanted, Status::OK));
    }
    assert_eq!(next(&mut arriving).await.1.2, "19");
    assert_eq!(
        plain(&bus, 2).await.get("cursor").await.as_deref(),
        Some("19")
    );
}

#[tokio::test]
async fn too_much_is_refused_and_the_rest_goes_on() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 1).await;
    let large = "x".repeat(64 * 1024);
    for number in 0..64 {
        assert_eq!(
            owner.put(&format!("large/{number}"), 0, &large).await.0,
            Status::OK
        );
    }
    assert_eq!(
        owner.put("one-more", 0, &large).await.0,
        Status::E_RATE_LIMITED
    );
    assert_eq!(owner.put("large/0", KV_ANY, "small").await.0, Status::OK);
    nats.freeze();
    let (answers, mut arriving) = mpsc::channel(128);
    for number in 0..100 {
        owner.ask_later(number, &answers, put("cursor", KV_ANY, "1"));
    }
    let (number, (status, ..)) = next(&mut arriving).await;
    assert_eq!((number >= 64, status), (true, Status::E_RATE_LIMITED));
    nats.thaw();
    for _ in 1..100 {
        next(&mut arriving).await;
    }
    assert_eq!(owner.get("large/0").await.as_deref(), Some("small"));
}

#[tokio::test]
async fn what_has_ended_makes_room_without_being_asked_for() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 1).await;
    let half = "x".repeat(im_bridge::bus::account_keys::BYTES_MAX / 64);
    let brief = Ask {
        ttl_s: Some(3),
        ..put("", KV_ANY, &half)
    };
    let keys: Vec<String> = (0..63).map(|number| format!("brief/{number}")).collect();
    for key in &keys {
        assert_eq!(owner.ask(Ask { key, ..brief }).await.0, Status::OK);
    }
    // Too much, until those before it are over.
    eventually("room for a large value", || async {
        let large = "y".repeat(half.len() * 2);
        (owner.put("large", KV_ANY, &large).await.0 == Status::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_refused_for_good_is_answered_and_blocks_nothing() {
    let nats = Nats::start();
    let bus = bus(&nats, &limits()).await;
    let owner = plain(&bus, 1).await;
    limit_messages(&bus, "KV_IM_KV", 400).await;
    let long = "x".repeat(1_000);
    assert_eq!(owner.put("a", KV_ANY, &long).await.0, Status::E_INTERNAL);
    assert_eq!(owner.put("b", KV_ANY, "short").await.0, Status::OK);
}

/// From now on the stream takes no larger ones.
async fn limit_messages(bus: &Bus, stream: &str, bytes: i64) {
    let api = bus.control.api();
    let nothing = serde_json::Value::Null;
    let info: serde_json::Value = api
        .call(&format!("STREAM.INFO.{stream}"), &nothing)
        .await
        .unwrap();
    let mut config = info["config"].clone();
    config["max_msg_size"] = bytes.into();
    let updated: serde_json::Value = api
        .call(&format!("STREAM.UPDATE.{stream}"), &config)
        .await
        .unwrap();
    assert_eq!(updated["config"]["max_msg_size"], bytes);
}
