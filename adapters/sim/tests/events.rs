//! What the provider says becomes events: every kind, once, acknowledged after it is stored.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;

use common::{SOON, account, hands, online, order, say, store, texts, truth, until, wait_texts};
use im_bridge_sdk::model::{Event, EventKind};
use im_bridge_sdk::test::{
    Delivery, MockHost, Noise, OrderScope, Origin, Outcome, Phase, Settling, State,
};
use serde_json::{Value, json};

/// Makes everything happen that a provider tells about.
fn play(hands: &MockHost, me: &str) {
    let act = |name: &str, body: Value| order(hands, name, body);
    let post = say(hands, "first");
    act(
        "edit",
        json!({ "chat": "lobby", "by": "alice", "post": post, "text": "better" }),
    );
    act(
        "react",
        json!({ "chat": "lobby", "by": "bob", "post": post, "key": "👍", "on": true }),
    );
    act(
        "react",
        json!({ "chat": "lobby", "by": "bob", "post": post, "key": "👍", "on": false }),
    );
    act(
        "reactions",
        json!({ "chat": "lobby", "post": post, "reactions": [{ "key": "👍", "people": ["bob"] }] }),
    );
    act(
        "recall",
        json!({ "chat": "lobby", "by": "alice", "post": post }),
    );
    act(
        "fail",
        json!({ "account": me, "chat": "lobby", "ref": "lost-1", "code": "blocked" }),
    );
    act(
        "deliver",
        json!({ "chat": "lobby", "by": "bob", "posts": [post] }),
    );
    let second = say(hands, "second");
    act(
        "read",
        json!({ "chat": "lobby", "by": "bob", "up_to": second }),
    );
    act(
        "read",
        json!({ "chat": "lobby", "by": me, "up_to": second }),
    );
    act("type", json!({ "chat": "lobby", "by": "bob", "on": true }));
    act("type", json!({ "chat": "lobby", "by": "bob", "on": false }));
    act("presence", json!({ "person": "bob", "status": "away" }));
    act(
        "open_chat",
        json!({ "by": "alice", "kind": 2, "chat": "club", "name": "Club", "people": [me] }),
    );
    act(
        "change_chat",
        json!({ "chat": "club", "by": "alice", "name": "The club" }),
    );
    act(
        "join",
        json!({ "chat": "club", "person": "bob", "by": "alice", "reason": "invite" }),
    );
    act(
        "change_seat",
        json!({ "chat": "club", "person": "bob", "by": "alice", "role": "admin" }),
    );
    act(
        "leave",
        json!({ "chat": "club", "person": "bob", "by": "bob", "reason": "leave" }),
    );
    act(
        "close_chat",
        json!({ "chat": "club", "by": "alice", "reason": "dissolved" }),
    );
    act(
        "ask_contact",
        json!({ "by": "carol", "account": me, "text": "hi" }),
    );
    act(
        "contact",
        json!({ "by": "carol", "account": me, "is_contact": true }),
    );
    act(
        "contact",
        json!({ "by": "carol", "account": me, "is_contact": false }),
    );
    act(
        "notice",
        json!({ "account": me, "name": "order", "title": "Paid", "text": "3 pieces", "warning": true }),
    );
    act(
        "riddle",
        json!({ "account": me, "body": { "what": "eclipse", "of": "moon" } }),
    );
}

#[test]
fn every_kind_of_event_is_emitted_and_reads_back_as_the_model_says() {
    let state = store();
    let hands = hands("kinds");
    let host = online(account("kinds", json!({ "raw_frames": true })).kv(&state));
    play(&hands, "kinds");
    host.wait("the riddle", SOON, |seen| {
        seen.events
            .iter()
            .any(|event| event.json()["notice"]["native_type"] == "eclipse")
            .then_some(())
    });
    let mut events = host.finish().events;
    // What was missed, and what can no longer be had.
    say(&hands, "trimmed");
    say(&hands, "missed");
    order(&hands, "forget", json!({ "account": "kinds", "keep": 1 }));
    let host = online(account("kinds", json!({})).kv(&state));
    events.extend(host.wait("end of the back-fill", SOON, |seen| {
        seen.events
            .iter()
            .any(|event| event.kind == "sync.completed")
            .then(|| seen.events.clone())
    }));
    host.finish();

    let kinds: BTreeSet<EventKind> = events
        .iter()
        .map(|event| event.kind.parse().unwrap())
        .collect();
    let missing: Vec<_> = EventKind::ALL
        .iter()
        .filter(|kind| !kinds.contains(kind))
        .collect();
    assert!(missing.is_empty(), "never emitted: {missing:?}");
    for event in &events {
        let kind = event.kind.parse().unwrap();
        let read =
            Event::read(kind, &event.payload).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(
            read.channel_id(),
            event.channel.as_deref(),
            "{kind}: payload and routing name one channel"
        );
        assert_eq!(read.own.user_id, "kinds");
    }
}

#[test]
fn a_message_carries_order_origin_and_time() {
    let hands = hands("routing");
    let host = online(account("routing", json!({})));
    let id = say(&hands, "hello");
    let event = wait_texts(&host, &["hello"]).pop().unwrap();
    assert_eq!(event.native_id.as_deref(), Some(id.as_str()));
    assert_eq!(
        (event.order_scope, event.origin, event.delivery),
        (OrderScope::CHANNEL, Origin::REMOTE, Delivery::LIVE)
    );
    assert_eq!(event.order_key.as_deref().map(str::len), Some(20));
    assert!(event.time_ms > 0);
    assert_eq!(event.json()["actor"]["name"], "alice");
    order(
        &hands,
        "type",
        json!({ "chat": "lobby", "by": "bob", "on": true }),
    );
    let typing = host.wait("typing", SOON, |seen| {
        seen.events
            .iter()
            .find(|event| event.kind == "typing.started")
            .cloned()
    });
    assert_eq!(typing.noise, Noise::AUX, "typing leaves no trace");
    host.finish();
}

#[test]
fn the_provider_is_told_only_after_the_store() {
    let hands = hands("acks");
    let host = online(account("acks", json!({})).auto_settle(Settling::Manual));
    say(&hands, "one");
    say(&hands, "two");
    let events = host.wait_events(2, SOON);
    let acked = || {
        truth(&hands, "acked")
            .into_iter()
            .filter(|entry| entry["account"] == "acks")
            .count()
    };
    assert_eq!(acked(), 0);
    host.settle(events[1].token, Outcome::DUPLICATE);
    until("one acknowledgement", || {
        if acked() == 1 {
            Ok(())
        } else {
            Err(format!("{}", acked()))
        }
    });
    host.settle(events[0].token, Outcome::REJECTED);
    until("both acknowledgements", || {
        if acked() == 2 {
            Ok(())
        } else {
            Err(format!("{}", acked()))
        }
    });
    host.finish();
}

#[test]
fn what_was_not_stored_is_not_acknowledged_and_comes_again() {
    let mut refused = 0;
    let decide = Settling::Decide(Box::new(move |_| {
        refused += 1;
        Some(if refused == 1 {
            Outcome::RETRY
        } else {
            Outcome::STORED
        })
    }));
    let host = online(account("retry", json!({ "ack_timeout_ms": 200 })).auto_settle(decide));
    let hands = hands("retry");
    say(&hands, "again");
    let events = wait_texts(&host, &["again", "again"]);
    assert_eq!(events[0].native_id, events[1].native_id);
    assert_eq!(
        events[0].payload, events[1].payload,
        "the same event both times"
    );
    host.finish();
}

#[test]
fn without_credit_nothing_is_read_and_answers_still_come() {
    let hands = hands("credit");
    let host = online(
        account("credit", json!({}))
            .auto_settle(Settling::Manual)
            .auto_grant(2, 1024 * 1024),
    );
    for n in 0..5 {
        say(&hands, &n.to_string());
    }
    let first = host.wait_events(2, SOON);
    assert_eq!(texts(&first), ["0", "1"]);
    let listed = common::run(&host, im_bridge_sdk::test::Command::new("channel.list"));
    assert!(listed.status.is_ok(), "{}", listed.json());
    assert_eq!(host.open_tokens().len(), 2);
    host.settle_many(&[
        (first[0].token, Outcome::STORED),
        (first[1].token, Outcome::STORED),
    ]);
    assert_eq!(texts(&host.wait_events(2, SOON)), ["2", "3"]);
    host.finish();
}

#[test]
fn draining_returns_after_the_last_settle_and_keeps_the_place() {
    let state = store();
    let hands = hands("drain");
    // The one before the drain waits for the test. The one said meanwhile may be read just before the adapter hears of
    // the drain, and is then stored like any other.
    let decide = Settling::Decide(Box::new(|event| {
        (texts(std::slice::from_ref(event)) != ["one"]).then_some(Outcome::STORED)
    }));
    let host = online(account("drain", json!({})).kv(&state).auto_settle(decide));
    say(&hands, "one");
    let one = host.wait_events(1, SOON).pop().unwrap();
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| host.drain(10_000));
        while host.phase() != Phase::Draining {
            std::thread::yield_now();
        }
        say(&hands, "two");
        assert!(!drained.is_finished(), "it waits for the settle");
        host.settle(one.token, Outcome::STORED);
        assert_eq!(drained.join().unwrap(), 0);
    });
    let mut seen = host.take_events();
    host.finish();
    let host = online(account("drain", json!({})).kv(&state));
    say(&hands, "three");
    seen.extend(wait_texts_at_least(&host, "three"));
    assert_eq!(texts(&seen), ["two", "three"], "in one life or the other");
    host.finish();
}

fn wait_texts_at_least(host: &MockHost, text: &str) -> Vec<im_bridge_sdk::test::EventRecord> {
    host.wait(text, SOON, |seen| {
        texts(&seen.events)
            .iter()
            .any(|seen| seen == text)
            .then(|| seen.events.clone())
    })
}

#[test]
fn what_happened_meanwhile_is_fetched_in_order_and_marked_as_such() {
    let state = store();
    let hands = hands("meanwhile");
    let host = online(account("meanwhile", json!({})).kv(&state));
    say(&hands, "before");
    wait_texts(&host, &["before"]);
    assert_eq!(host.drain(5_000), 0);
    host.finish();
    for n in 0..250 {
        say(&hands, &n.to_string());
    }
    let host = online(account("meanwhile", json!({})).kv(&state));
    say(&hands, "after");
    let events = wait_texts_at_least(&host, "after");
    let wanted: Vec<String> = (0..250)
        .map(|n| n.to_string())
        .chain(["after".to_owned()])
        .collect();
    assert_eq!(texts(&events), wanted);
    let backfilled = events
        .iter()
        .filter(|event| event.delivery == Delivery::BACKFILL)
        .count();
    assert_eq!(backfilled, 250);
    let completed = events
        .iter()
        .find(|event| event.kind == "sync.completed")
        .unwrap();
    assert_eq!(completed.json()["sync"]["count"], 250);
    host.finish();
}

#[test]
fn what_was_left_unacknowledged_is_emitted_once_by_the_next_session() {
    let state = store();
    let hands = hands("left");
    let unsettled = account("left", json!({})).auto_settle(Settling::Manual);
    let host = online(unsettled.kv(&state));
    say(&hands, "one");
    host.wait_events(1, SOON);
    host.finish();
    let host = online(account("left", json!({})).kv(&state));
    say(&hands, "two");
    // Fetched, and pushed again: neither the provider nor the stream hears of it twice.
    assert_eq!(texts(&wait_texts_at_least(&host, "two")), ["one", "two"]);
    until("all acknowledgements", || {
        let summary = order(&hands, "summary", json!({}));
        let open = &summary["unacknowledged"]["left"];
        if open == 0 {
            Ok(())
        } else {
            Err(summary.to_string())
        }
    });
    host.finish();
}

#[test]
fn a_drain_while_catching_up_emits_nothing_out_of_turn() {
    const WINDOW: u32 = 64;
    let state = store();
    let hands = hands("drain-early");
    let host = online(account("drain-early", json!({})).kv(&state));
    assert_eq!(host.drain(5_000), 0);
    host.finish();
    for n in 0..250 {
        say(&hands, &n.to_string());
    }
    // The first two windows wait for the test. What is emitted before the adapter hears of the drain is stored like any other.
    let decide = Settling::Decide(Box::new(|event| {
        let text = texts(std::slice::from_ref(event)).remove(0);
        let is_later = text.parse::<u32>().map_or(true, |n| n >= 2 * WINDOW);
        is_later.then_some(Outcome::STORED)
    }));
    let host = account("drain-early", json!({}))
        .kv(&state)
        .auto_grant(WINDOW, 1024 * 1024)
        .auto_settle(decide)
        .create()
        .unwrap();
    host.start();
    let first = host.wait_events(WINDOW as usize, SOON);
    say(&hands, "live");
    let settle = |events: &[im_bridge_sdk::test::EventRecord]| {
        let all: Vec<_> = events
            .iter()
            .map(|event| (event.token, Outcome::STORED))
            .collect();
        host.settle_many(&all);
    };
    // The rest of the page; then the next page is asked for, and what was pushed before the answer is read.
    settle(&first);
    let second = host.wait_events(WINDOW as usize, SOON);
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| host.drain(10_000));
        while host.phase() != Phase::Draining {
            std::thread::yield_now();
        }
        settle(&second);
        assert_eq!(drained.join().unwrap(), 0);
    });
    let seen = texts(&host.recording().events);
    let wanted: Vec<String> = (0..250)
        .map(|n| n.to_string())
        .chain(["live".to_owned()])
        .collect();
    assert!(seen.len() >= 2 * WINDOW as usize);
    assert_eq!(seen, wanted[..seen.len()], "in order, up to the drain");
    host.finish();
}

#[test]
fn two_accounts_of_one_world_each_see_a_message() {
    let hands = hands("pair");
    let one = online(account("pair-one", json!({ "world": "pair" })));
    let two = online(account("pair-two", json!({ "world": "pair" })));
    say(&hands, "hello");
    let (first, second) = (wait_texts(&one, &["hello"]), wait_texts(&two, &["hello"]));
    assert_eq!(first[0].native_id, second[0].native_id);
    one.finish();
    two.finish();
}

#[test]
fn chatter_comes_by_itself() {
    let host = online(account(
        "chatter",
        json!({ "rate_per_s": 50.0, "users": 3, "rooms": 2 }),
    ));
    let events = host.wait_events(5, SOON);
    let rooms: BTreeSet<_> = events
        .iter()
        .filter_map(|event| event.channel.clone())
        .collect();
    assert!(
        rooms
            .iter()
            .all(|room| room == "lobby" || room == "kitchen"),
        "{rooms:?}"
    );
    assert_eq!(
        host.recording().reports.last().unwrap().state,
        State::ONLINE
    );
    host.finish();
}
