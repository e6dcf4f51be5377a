//! What goes wrong on purpose, at the provider and in the plugin, and what becomes of it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{
    SOON, account, fault, hands, key, online, order, run, say, send, store, texts, until,
    wait_texts,
};
use im_bridge_sdk::test::{Builder, Command, Delivery, MockHost, State, Status, Violation};
use serde_json::{Value, json};

fn started(builder: Builder) -> MockHost {
    let host = builder.create().unwrap();
    host.start();
    host
}

fn states(host: &MockHost) -> Vec<State> {
    host.recording()
        .reports
        .iter()
        .map(|report| report.state)
        .collect()
}

#[test]
fn a_cut_connection_loses_nothing() {
    let state = store();
    let host = online(account("cut", json!({ "rate_per_s": 20.0 })).kv(&state));
    fault(&host, "disconnect", json!({ "after": 3, "for_ms": 500 }));
    host.wait_state(State::BACKOFF, SOON);
    host.wait_state(State::ONLINE, SOON);
    let events = host.wait("live messages after the back-fill", SOON, |seen| {
        let last_fetched = seen
            .events
            .iter()
            .rposition(|event| event.delivery == Delivery::BACKFILL)?;
        let live = &seen.events[last_fetched + 1..];
        (texts(live).len() >= 3).then(|| seen.events.clone())
    });
    // Redelivered ones come twice with one id; everything else once, and nothing is missing.
    let mut numbers: Vec<u64> = texts(&events)
        .iter()
        .map(|text| text.strip_prefix("hello ").unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    host.finish();
}

#[test]
fn silence_is_noticed_by_the_heartbeat() {
    let hands = hands("silent");
    let host = online(account("silent", json!({ "heartbeat_ms": 100 })));
    fault(&hands, "silence", json!({ "account": "silent" }));
    say(&hands, "unheard");
    let backoff = host.wait_state(State::BACKOFF, SOON);
    assert_eq!(backoff.reason.as_deref(), Some("silent"));
    host.wait_state(State::ONLINE, SOON);
    wait_texts(&host, &["unheard"]);
    host.finish();
}

#[test]
fn a_wrong_token_waits_for_the_operator() {
    let host = started(account("wrong", json!({ "token": "wrong" })));
    host.wait_state(State::BAD_CREDENTIALS, SOON);
    assert!(host.finish().mentions("\"wrong\"").is_empty());
}

#[test]
fn a_challenge_waits_for_a_person() {
    let config = json!({ "faults": { "provider": { "challenge": {} } } });
    let host = started(account("challenged", config));
    let report = host.wait_state(State::CHALLENGE_REQUIRED, SOON);
    assert_eq!(report.detail.unwrap()["challenge"]["kind"], "captcha");
    let answer = |answer: &str| {
        Command::new("account.answer_challenge")
            .params(json!({ "kind": "captcha", "answer": answer }))
    };
    assert_eq!(run(&host, answer("wrong")).status, Status::OK);
    until("a second challenge", || {
        let seen = states(&host)
            .iter()
            .filter(|state| **state == State::CHALLENGE_REQUIRED)
            .count();
        if seen == 2 {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    });
    assert_eq!(run(&host, answer("42")).status, Status::OK);
    host.wait_state(State::ONLINE, SOON);
    host.finish();
}

#[test]
fn a_session_taken_over_is_not_taken_back() {
    let hands = hands("kicked");
    let host = online(account("kicked", json!({})));
    order(
        &hands,
        "kick",
        json!({ "account": "kicked", "code": "replaced" }),
    );
    host.wait_state(State::CONFLICTED, SOON);
    assert_eq!(
        run(&host, Command::new("account.reconnect")).status,
        Status::OK
    );
    host.wait_state(State::ONLINE, SOON);
    host.finish();
}

#[test]
fn an_expired_token_is_renewed_at_once() {
    let hands = hands("expired");
    let host = online(account("expired", json!({})));
    order(
        &hands,
        "kick",
        json!({ "account": "expired", "code": "token_expired" }),
    );
    host.wait("a login for the expired token", SOON, |seen| {
        let mut reports = seen
            .reports
            .iter()
            .skip_while(|report| report.reason.as_deref() != Some("token_expired"));
        reports
            .any(|report| report.state == State::ONLINE)
            .then_some(())
    });
    assert!(!states(&host).contains(&State::BACKOFF));
    host.finish();
}

#[test]
fn an_answer_that_never_comes_is_uncertain_and_can_be_verified() {
    let host = online(account("unanswered", json!({})));
    for (kind, verdict) in [("no_answer", Status::OK), ("lose", Status::E_NOT_FOUND)] {
        fault(&host, kind, json!({}));
        let reference = key();
        let command = send(kind)
            .key(&reference)
            .within(std::time::Duration::from_millis(300));
        let id = host.execute(command.clone());
        let done = host.wait_completion(id, SOON);
        assert_eq!(
            (done.status, done.certain),
            (Status::E_UNCERTAIN, false),
            "{kind}"
        );
        let id = host.verify(send(kind).key(&reference));
        let told = host.wait_completion(id, SOON);
        assert_eq!(told.status, verdict, "{kind}: {}", told.json());
        // Sent again by the core: done once in any case.
        let id = host.execute(send(kind).key(&reference).redelivered());
        assert_eq!(host.wait_completion(id, SOON).status, Status::OK);
        let summary = order(&host, "summary", json!({}));
        assert_eq!(summary["sends"][&reference], 1, "{kind}");
    }
    host.finish();
}

#[test]
fn refusals_say_what_to_do() {
    let host = online(account("refused", json!({})));
    fault(&host, "rate_limit", json!({ "for_ms": 700 }));
    let done = run(&host, send("fast"));
    assert_eq!(
        (done.status, done.code.as_deref(), done.certain),
        (Status::E_RATE_LIMITED, Some("rate_limited"), true)
    );
    assert_eq!(
        done.retry_after,
        Some(std::time::Duration::from_millis(700))
    );
    fault(&host, "reject", json!({ "code": "blocked" }));
    let done = run(&host, send("no"));
    assert_eq!(
        (done.code.as_deref(), done.certain),
        (Some("blocked"), true)
    );
    assert_eq!(done.json()["native"]["code"], "blocked");
    fault(&host, "slow_answer", json!({ "for_ms": 300 }));
    assert_eq!(run(&host, send("slow")).status, Status::OK);
    host.finish();
}

/// An account whose plugin panics where `panic` says, until it reported that.
fn panicked(name: &str, panic: Value, provoke: impl FnOnce(&MockHost)) {
    let config = json!({ "webhook_secret": "s", "faults": { "panic": panic } });
    let state = store();
    let host = started(account(name, config.clone()).kv(&state));
    provoke(&host);
    host.wait_state(State::PANICKED, SOON);
    let violations = host.into_violations();
    let unexpected: Vec<&Violation> = violations
        .iter()
        .filter(|violation| !is_panic(violation))
        .collect();
    assert!(unexpected.is_empty(), "{name}: {unexpected:?}");
    // The next instance works: the panic was remembered to have happened.
    let host = online(account(name, config).kv(&state));
    let hands = hands(name);
    say(&hands, "still here");
    host.wait("a message", SOON, |seen| {
        texts(&seen.events)
            .contains(&"still here".to_owned())
            .then_some(())
    });
    host.finish();
}

fn is_panic(violation: &Violation) -> bool {
    format!("{violation:?}").contains("Panic")
}

#[test]
fn a_panic_ends_the_instance_and_not_the_next() {
    panicked("panic-run", json!({ "run": {} }), |_| {});
    panicked("panic-task", json!({ "task": {} }), |_| {});
    panicked("panic-read", json!({ "read": {} }), |_| {
        say(&hands("panic-read"), "boo");
    });
    panicked("panic-settle", json!({ "settle": {} }), |_| {
        say(&hands("panic-settle"), "boo");
    });
    panicked("panic-execute", json!({ "execute": {} }), |host| {
        host.wait_state(State::ONLINE, SOON);
        host.execute(send("boo").key(&key()));
    });
}

#[test]
fn a_message_can_make_the_reader_panic_once() {
    let hands = hands("panic-text");
    let state = store();
    let host = online(account("panic-text", json!({})).kv(&state));
    say(&hands, "/panic panic-text");
    host.wait_state(State::PANICKED, SOON);
    drop(host.into_violations());
    let host = online(account("panic-text", json!({})).kv(&state));
    host.wait("the message", SOON, |seen| {
        texts(&seen.events).first().cloned()
    });
    host.finish();
}
