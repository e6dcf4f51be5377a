//! Keys: what is compared, what expires, what is heard.

use crate::support::provisioned;
use im_bridge::bus::account_keys::{AccountKeys, KeysError};
use im_bridge::bus::kv::{Bucket, Entry, Write, WriteError};
use im_bridge::bus::watch::{Change, Watch};
use im_bridge::bus::{Bus, Hold};
use im_bridge_test_harness::{Nats, eventually};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(5);

fn leases(bus: &Bus) -> Bucket {
    Bucket::new(&bus.control, "IM_LEASE")
}

fn write(expects: u64, ttl_s: u64) -> Write<'static> {
    Write {
        expects: Some(expects),
        ttl: Some(Duration::from_secs(ttl_s)),
        within: WITHIN,
        ..Write::default()
    }
}

#[tokio::test]
async fn a_write_that_expects_another_revision_conflicts() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let bucket = leases(&bus);
    let first = bucket.put("k", "1".into(), write(0, 60)).await.unwrap();
    assert_eq!(
        bucket.put("k", "2".into(), write(0, 60)).await,
        Err(WriteError::Conflict)
    );
    let second = bucket.put("k", "2".into(), write(first, 60)).await.unwrap();
    assert_eq!(
        bucket.put("k", "3".into(), write(first, 60)).await,
        Err(WriteError::Conflict)
    );
    let entry = bucket.get("k").await.unwrap().unwrap();
    assert_eq!(
        entry,
        Entry {
            key: "k".to_owned(),
            value: Some("2".into()),
            revision: second
        }
    );
    assert_eq!(bucket.get("other").await.unwrap(), None);
}

#[tokio::test]
async fn every_write_renews_the_ttl() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let bucket = leases(&bus);
    let start = std::time::Instant::now();
    let mut revision = bucket.put("k", "0".into(), write(0, 2)).await.unwrap();
    // Renewed past the first TTL, it is still there; then not renewed, it goes.
    while start.elapsed() < Duration::from_secs(3) {
        let next = bucket.put("k", "1".into(), write(revision, 2)).await;
        revision = next.unwrap();
        tokio::task::yield_now().await;
    }
    let renewed = std::time::Instant::now();
    eventually("the key to expire", || async {
        bucket
            .get("k")
            .await
            .unwrap()
            .unwrap()
            .value
            .is_none()
            .then_some(())
    })
    .await;
    let after = renewed.elapsed();
    assert!(after > Duration::from_millis(1_800), "{after:?}");
    assert!(after < Duration::from_secs(4), "{after:?}");
}

#[tokio::test]
async fn creating_over_the_marker_of_a_former_key_works_once() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let bucket = leases(&bus);
    let first = bucket.create("k", "1".into(), write(0, 60)).await.unwrap();
    assert_eq!(
        bucket.create("k", "2".into(), write(0, 60)).await,
        Err(WriteError::Conflict)
    );
    bucket.delete("k", write(first, 60)).await.unwrap();
    assert_eq!(bucket.get("k").await.unwrap().unwrap().value, None);
    bucket.create("k", "3".into(), write(0, 60)).await.unwrap();
    assert_eq!(
        bucket.create("k", "4".into(), write(0, 60)).await,
        Err(WriteError::Conflict)
    );
}

#[tokio::test]
async fn a_write_fenced_by_another_key_is_refused_when_that_key_changed() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let bucket = Bucket::new(&bus.control, "IM_KV");
    let any = Write {
        within: WITHIN,
        ..Write::default()
    };
    let fence = bucket.put("acme.a.epoch", "1".into(), any).await.unwrap();
    let fenced = Write {
        expects_of: Some(("acme.a.epoch", fence)),
        within: WITHIN,
        ..Write::default()
    };
    bucket
        .put("acme.a.k.cursor", "1".into(), fenced)
        .await
        .unwrap();
    bucket
        .put("acme.a.k.cursor", "2".into(), fenced)
        .await
        .unwrap();
    bucket.put("acme.a.epoch", "2".into(), any).await.unwrap();
    let late = bucket.put("acme.a.k.cursor", "3".into(), fenced).await;
    assert_eq!(late, Err(WriteError::Conflict));
    let entry = bucket.get("acme.a.k.cursor").await.unwrap().unwrap();
    assert_eq!(entry.value, Some("2".into()));
}

#[tokio::test]
async fn an_account_has_its_keys_again_after_a_takeover_and_the_former_owner_cannot_write() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let account = crate::support::account("acme", "a");
    let take =
        |epoch| AccountKeys::take_over(&bus.control, "IM_KV", &account, epoch, Hold::forever());
    let mut first = take(1).await.unwrap();
    let hostile = ["cursor", "a/b", "a.b", "a//b", "", "群聊/*/>", "_"];
    for (number, key) in hostile.iter().enumerate() {
        let value = number.to_string();
        first.put(key, value.into(), Some(0), None).await.unwrap();
    }
    let revision = first.put("cursor", "new".into(), None, None).await.unwrap();
    assert_eq!(
        first.put("cursor", "x".into(), Some(1), None).await,
        Err(KeysError::Revision {
            expected: 1,
            actual: revision
        })
    );
    first.delete("_", None).await.unwrap();
    let mut second = take(2).await.unwrap();
    let names: Vec<&str> = second.list("").map(|(key, _)| key).collect();
    assert_eq!(names, ["", "a.b", "a//b", "a/b", "cursor", "群聊/*/>"]);
    assert_eq!(second.list("a/").count(), 2);
    assert_eq!(second.get("cursor").unwrap().bytes, "new");
    assert_eq!(
        first.put("cursor", "stale".into(), None, None).await,
        Err(KeysError::Fenced)
    );
    assert_eq!(
        take(1).await.err(),
        Some(KeysError::Fenced),
        "an older epoch"
    );
    second
        .put("cursor", "newer".into(), Some(revision), None)
        .await
        .unwrap();
    let again = take(2).await.unwrap();
    assert_eq!(again.get("cursor").unwrap().bytes, "newer");
}

#[tokio::test]
async fn an_account_has_room_for_so_many_keys() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let account = crate::support::account("acme", "a");
    let keys = AccountKeys::take_over(&bus.control, "IM_KV", &account, 1, Hold::forever());
    let mut keys = keys.await.unwrap();
    let large = "x".repeat(512 * 1024);
    for number in 0..8 {
        keys.put(&number.to_string(), large.clone().into(), None, None)
            .await
            .unwrap();
    }
    assert_eq!(
        keys.put("9", "x".into(), None, None).await,
        Err(KeysError::TooMuch)
    );
    keys.put("0", "small".into(), None, None).await.unwrap();
    keys.put("9", "x".into(), None, None).await.unwrap();
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_every_change() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let bucket = leases(&bus);
    let one = bucket.put("x.1", "1".into(), write(0, 60)).await.unwrap();
    bucket.put("y.1", "1".into(), write(0, 60)).await.unwrap();
    let mut watch = Watch::new(&bus.control, &bucket, "x.>");
    assert_eq!(watch.next().await, Change::Reset);
    let entry = |value: Option<&'static str>, revision| {
        Change::Entry(Entry {
            key: "x.1".to_owned(),
            value: value.map(Into::into),
            revision,
        })
    };
    assert_eq!(watch.next().await, entry(Some("1"), one));
    assert_eq!(watch.next().await, Change::Complete);
    let two = bucket.put("x.1", "2".into(), write(one, 60)).await.unwrap();
    assert_eq!(watch.next().await, entry(Some("2"), two));
    let gone = bucket.delete("x.1", write(two, 60)).await.unwrap();
    assert_eq!(watch.next().await, entry(None, gone));
    let three = bucket.put("x.1", "3".into(), write(gone, 1)).await.unwrap();
    assert_eq!(watch.next().await, entry(Some("3"), three));
    assert_eq!(watch.next().await, entry(None, three + 1), "it expired");
}

#[tokio::test]
async fn a_watch_begins_anew_after_a_restart_of_the_server() {
    let mut nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let bucket = leases(&bus);
    let mut watch = Watch::new(&bus.control, &bucket, ">");
    assert_eq!(watch.next().await, Change::Reset);
    assert_eq!(watch.next().await, Change::Complete);
    nats.restart();
    let put = eventually("a write", || async {
        bucket.put("k", "1".into(), write(0, 60)).await.ok()
    });
    let revision = put.await;
    loop {
        match watch.next().await {
            Change::Entry(entry) => {
                assert_eq!((entry.key.as_str(), entry.revision), ("k", revision));
                break;
            }
            Change::Reset | Change::Complete => {}
        }
    }
}

#[tokio::test]
async fn a_question_that_nobody_answers_leaves_nothing_behind() {
    let nats = Nats::start();
    let bus = provisioned(&nats, "a").await;
    let replies = bus.control.replies();
    // Somebody listens and never answers.
    let _deaf = bus.data.client().subscribe("deaf").await.unwrap();
    bus.data.client().flush().await.unwrap();
    for _ in 0..100 {
        let asked = replies.ask("deaf".into(), None, "".into(), Duration::from_millis(1));
        assert!(asked.await.is_err());
    }
    assert_eq!(replies.open(), 0);
}
