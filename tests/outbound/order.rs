//! Commands keep their order in a channel, and accounts do not wait for each other.

use super::provider::{Provider, Says, capabilities};
use super::world::{Caller, Owner, account, bus, named, saying};
use async_nats::HeaderMap;
use im_bridge::outbound::budget::Pace;
use im_bridge_plugin_api::abi::Status;
use im_bridge_sdk::model::AccountState;
use im_bridge_test_harness::{Nats, eventually, eventually_within, seeded, stays};
use serde_json::json;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_holds_its_channel_and_no_other() {
    let mut random = seeded("a_retry_holds_its_channel_and_no_other");
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let mut failed = HashSet::new();
    let mut fails = random.fork();
    let provider = Provider::new(move |seen| {
        if fails.u8(..10) == 0 && failed.insert(seen.key.clone()) {
            return Says::Fails(Status::E_UNAVAILABLE, "network");
        }
        Says::Done
    });
    let _outbound = owner.serve(&account(), &provider).await;
    let mut sent = vec![Vec::new(); 5];
    for number in 0..100 {
        let channel = random.usize(..sent.len());
        let text = number.to_string();
        let key = format!("k{number}");
        caller
            .say(&account(), &format!("c{channel}"), &key, &text)
            .await;
        sent[channel].push(text);
    }
    caller.all_acknowledged().await;
    for (channel, sent) in sent.iter().enumerate() {
        assert_eq!(&provider.done_in(&format!("c{channel}")), sent);
    }
    assert_eq!(caller.results().await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_account_does_not_wait_for_one_that_is_away_with_5000_commands() {
    const WAITING: usize = 5_000;
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let (away, busy) = (named("away"), named("busy"));
    let sleeper = Provider::with(capabilities(|_| {}), AccountState::Backoff, |_| Says::Done);
    let worker = Provider::new(|_| Says::Done);
    let outbound = owner.serve(&away, &sleeper).await;
    let _outbound = owner.serve(&busy, &worker).await;
    // Eight at a time, each channel by one caller: in order.
    let callers = (0..8_usize).map(|channel| {
        let (caller, away) = (&caller, &away);
        async move {
            for number in (channel..WAITING).step_by(8) {
                let text = number.to_string();
                caller
                    .say(away, &format!("c{channel}"), &format!("k{number}"), &text)
                    .await;
            }
        }
    });
    futures_util::future::join_all(callers).await;
    eventually("all are in hand", || async {
        let waiting = outbound.figures().waiting.load(Ordering::Relaxed);
        (waiting == WAITING as u64).then_some(())
    })
    .await;
    caller.say(&busy, "lobby", "b1", "hello").await;
    caller.hears(1).await;
    assert_eq!(worker.done(), ["hello"]);
    assert!(sleeper.seen().is_empty());

    sleeper.becomes(AccountState::Online);
    eventually_within(Duration::from_secs(120), "all are done", || async {
        (sleeper.done().len() == WAITING).then_some(())
    })
    .await;
    caller.all_acknowledged().await;
    for channel in 0..8_usize {
        let done = sleeper.done_in(&format!("c{channel}"));
        let sent: Vec<String> = (channel..WAITING)
            .step_by(8)
            .map(|number| number.to_string())
            .collect();
        assert_eq!(done, sent);
    }
}

/// More than is kept read, and as it came: the rest is read from the stream a second time.
#[tokio::test(flavor = "multi_thread")]
async fn large_commands_that_wait_for_an_account_are_done_in_their_order() {
    const WAITING: usize = 400;
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let sleeper = Provider::with(capabilities(|_| {}), AccountState::Backoff, |_| Says::Done);
    let outbound = owner.serve(&account(), &sleeper).await;
    let texts: Vec<String> = (0..WAITING)
        .map(|number| format!("{number:0>60000}"))
        .collect();
    for (number, text) in texts.iter().enumerate() {
        caller
            .say(&account(), "lobby", &format!("k{number}"), text)
            .await;
    }
    eventually("all are in hand", || async {
        let waiting = outbound.figures().waiting.load(Ordering::Relaxed);
        (waiting == WAITING as u64).then_some(())
    })
    .await;
    sleeper.becomes(AccountState::Online);
    eventually_within(Duration::from_secs(60), "all are done", || async {
        (sleeper.done().len() == WAITING).then_some(())
    })
    .await;
    caller.all_acknowledged().await;
    assert!(sleeper.done_in("lobby") == texts, "not in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_told_to_slow_down_sends_nothing_meanwhile() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let mut is_first = true;
    let provider = Provider::new(move |_| match std::mem::take(&mut is_first) {
        true => Says::Slower(1_500),
        false => Says::Done,
    });
    let _outbound = owner.serve(&account(), &provider).await;
    caller.say(&account(), "a", "k1", "one").await;
    eventually("it was told", || async {
        (provider.seen().len() == 1).then_some(())
    })
    .await;
    caller.say(&account(), "b", "k2", "two").await;
    stays("asked", 1, Duration::from_millis(700), || async {
        provider.seen().len()
    })
    .await;
    caller.hears(2).await;
    assert_eq!(provider.done().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_a_message_each_and_repeats_only_what_failed() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let mut refuses = true;
    let provider = Provider::new(move |seen| {
        if seen.text == "two" && std::mem::take(&mut refuses) {
            return Says::Fails(Status::E_FORBIDDEN, "muted");
        }
        Says::Done
    });
    let _outbound = owner.serve(&account(), &provider).await;
    let item = |channel: &str, text: &str| json!({"to": {"channel_id": channel}, "message": {"segments": [{"type": "text", "data": {"text": text}}]}});
    let items = [item("a", "one"), item("b", "two"), item("a", "three")];
    let data = json!({"idempotency_key": "batch", "params": {"items": items}});
    let (_, first) = caller.ask(&account(), "message.send_batch", &data).await;
    let of = |answer: &serde_json::Value| -> Vec<String> {
        let items = answer["data"]["result"]["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["status"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(first["data"]["status"], "ok", "{first}");
    assert_eq!(of(&first), ["ok", "error", "ok"]);
    let (_, second) = caller.ask(&account(), "message.send_batch", &data).await;
    assert_eq!(of(&second), ["ok", "ok", "ok"]);
    assert_eq!(provider.done_in("a"), ["one", "three"]);
    assert_eq!(provider.done_in("b"), ["two"]);
    let keys: HashSet<String> = provider.seen().into_iter().map(|seen| seen.key).collect();
    assert!(keys.contains("batch-0") && keys.contains("batch-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_the_channel_of_the_two() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|seen| match seen.name.as_str() {
        "channel.create" => Says::Result(json!({"channel": {"id": "dm-7", "kind": "dm"}})),
        _ => Says::Done,
    });
    let _outbound = owner.serve(&account(), &provider).await;
    for number in 0..3 {
        let segments = json!([{"type": "text", "data": {"text": number.to_string()}}]);
        let data = json!({"idempotency_key": format!("k{number}"), "params": {
            "to": {"user_id": "u7"}, "message": {"segments": segments}}});
        caller.send(&account(), "message.send", &data).await;
    }
    caller.say(&account(), "dm-7", "k3", "3").await;
    caller.hears(4).await;
    assert_eq!(provider.done_in("dm-7").len(), 4);
    let created = provider
        .seen()
        .iter()
        .filter(|seen| seen.name == "channel.create")
        .count();
    assert_eq!(created, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_pass_also_while_an_account_is_away() {
    // More than are kept whole.
    const WAITING: usize = 300;
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let away = Provider::with(capabilities(|_| {}), AccountState::Backoff, |_| Says::Done);
    let _outbound = owner.serve(&account(), &away).await;
    let soon = im_bridge::bus::clock::unix_ms() + 2_000;
    let soon = im_bridge_sdk::model::Time::from_ms(soon).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("ce-expirytime", soon.as_str());
    for number in 0..WAITING {
        let data = saying("lobby", &format!("k{number}"), "late");
        let headers = headers.clone();
        caller
            .send_with(&account(), "message.send", &data, headers)
            .await;
    }
    caller.all_acknowledged().await;
    let results = caller.results().await;
    assert_eq!(results.len(), WAITING);
    let is_late = |one: &serde_json::Value| one["error"]["code"] == "deadline_exceeded";
    assert!(results.iter().all(is_late));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_pace_would_hold_too_long_is_told_when_to_come() {
    let nats = Nats::start();
    let (bus, caller) = (bus(&nats).await, Caller::new(&nats).await);
    let owner = Owner::new(&bus, 1).await;
    let provider = Provider::new(|_| Says::Done);
    let mut options = owner.options(&account(), &provider);
    options.terms.rate = Some(Pace {
        per_s: 0.01,
        burst: 1,
    });
    let outbound = owner.serve_with(options).await;
    let ask = async |key: &str| {
        let data = saying("lobby", key, "x");
        caller.ask(&account(), "message.send", &data).await.1["data"].take()
    };
    assert_eq!(ask("k1").await["status"], "ok");
    let refused = ask("k2").await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    assert!(refused["error"]["retry_after_ms"].as_u64().unwrap() > 30_000);
    // Also behind a command that can wait.
    caller.say(&account(), "lobby", "k3", "x").await;
    eventually("it waits", || async {
        let waiting = outbound.figures().waiting.load(Ordering::Relaxed);
        (waiting == 1).then_some(())
    })
    .await;
    let refused = ask("k4").await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    assert_eq!(provider.done().len(), 1);
}
