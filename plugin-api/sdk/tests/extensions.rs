//! State, webhooks, metrics, operations, log and time.

mod probe;

use im_bridge_sdk::test::{
    Command, Extension, LogLevel, MockHost, Noise, Outcome, State, Status, Webhook,
};
use probe::{A_WHILE, SOON, builder, doing, started};
use serde_json::json;
use std::time::Duration;

fn keeping(key: &str) -> Command {
    Command::new("message.send").params(json!({ "do": "kv", "key": key }))
}

#[test]
fn state_is_put_compared_read_listed_and_deleted() {
    let (mock, _) = started("ext-kv");
    let id = mock.execute(keeping("cursor/a"));
    let done = mock.wait_completion(id, SOON);
    let wanted = json!({ "conflict": true, "read": { "n": 2 }, "listed": 1, "gone": true });
    assert_eq!(done.json(), wanted);
    let seen = mock.finish();
    assert!(
        seen.kv
            .iter()
            .any(|request| request.is_secret && request.ttl_s == 60)
    );
}

#[test]
fn more_requests_than_may_be_in_flight_wait() {
    let (mock, _) = started("ext-kv-many");
    mock.hold_kv();
    let commands = (0..100).map(|n| keeping(&format!("cursor/{n}"))).collect();
    let ids = mock.execute_many(commands);
    // Held back by the SDK, or the mock would refuse the 65th.
    mock.stays("requests wait", A_WHILE, |seen| seen.completions.is_empty());
    assert_eq!(mock.kv_in_flight(), 64);
    mock.release_kv();
    for id in ids {
        assert_eq!(mock.wait_completion(id, SOON).status, Status::OK);
    }
    mock.finish();
}

#[test]
fn failed_requests_are_errors_of_the_adapter_to_handle() {
    let (mock, _) = started("ext-kv-fail");
    mock.fail_kv(&[Status::E_UNAVAILABLE]);
    let id = mock.execute(keeping("cursor/a"));
    let failed = mock.wait_completion(id, SOON);
    assert_eq!(failed.status, Status::E_UNAVAILABLE);
    mock.finish();
}

fn hooked(alias: &str) -> MockHost {
    let (builder, _) = builder(alias);
    let mock = builder
        .offer(Extension::Webhook)
        .auto_grant(8, 1 << 20)
        .create()
        .expect("the probe takes this configuration");
    mock.start();
    mock.wait_state(State::ONLINE, SOON);
    mock
}

#[test]
fn a_webhook_is_answered_after_its_events_are_stored() {
    let mock = hooked("ext-hook");
    let request = Webhook::post("/a", "1,2").header("x-secret", "hush");
    let id = mock.webhook(request).unwrap();
    let events = mock.wait_events(2, SOON);
    mock.settle(events[0].token, Outcome::STORED);
    mock.stays("no answer before the last settle", A_WHILE, |seen| {
        seen.responses.is_empty()
    });
    mock.settle(events[1].token, Outcome::DUPLICATE);
    let answer = mock.wait_response(id, SOON);
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"ok".as_slice())
    );
    mock.finish();
}

#[test]
fn a_webhook_whose_event_is_not_stored_is_to_be_repeated() {
    let mock = hooked("ext-hook-retry");
    let request = Webhook::post("", "1").header("x-secret", "hush");
    let id = mock.webhook(request).unwrap();
    let events = mock.wait_events(1, SOON);
    mock.settle(events[0].token, Outcome::RETRY);
    assert_eq!(mock.wait_response(id, SOON).status, 503);
    mock.finish();
}

#[test]
fn a_webhook_is_refused_without_its_secret_and_answered_before_its_deadline() {
    let mock = hooked("ext-hook-auth");
    let id = mock.webhook(Webhook::post("", "1")).unwrap();
    assert_eq!(mock.wait_response(id, SOON).status, 401);
    let request = Webhook::post("", "1")
        .header("x-secret", "hush")
        .within(Duration::from_millis(400));
    let id = mock.webhook(request).unwrap();
    assert_eq!(mock.wait_response(id, SOON).status, 503);
    mock.finish();
}

#[test]
fn an_open_webhook_is_answered_by_stop() {
    let mock = hooked("ext-hook-stop");
    let request = Webhook::post("", "1").header("x-secret", "hush");
    let id = mock.webhook(request).unwrap();
    mock.wait_events(1, SOON);
    mock.stop(2_000);
    assert_eq!(mock.wait_response(id, SOON).status, 503);
    mock.finish();
}

#[test]
fn operations_have_the_class_that_their_end_gives_them() {
    let (mock, _) = started("ext-ops");
    let id = mock.execute(doing("poll"));
    mock.wait_completion(id, SOON);
    let ops = mock.wait_ops("poll", 4, SOON);
    let facts: Vec<_> = ops
        .iter()
        .map(|op| (op.noise, op.status, op.items))
        .collect();
    assert_eq!(
        facts,
        [
            (Noise::POLL_HIT, Status::OK, 3),
            (Noise::POLL_EMPTY, Status::OK, 0),
            (Noise::POLL_EMPTY, Status::E_UNAVAILABLE, 0),
            (Noise::AUX, Status::E_UNAVAILABLE, 0),
        ]
    );
    assert_eq!(ops[1].detail, "GET /poll 200");
    assert!(ops[0].end_ns >= ops[0].start_ns && ops[0].start_ns > 0);
    assert_eq!(mock.metric("polls_total", &["hit"]), Some(2.0));
    mock.finish();
}

#[test]
fn tracing_is_forwarded_from_the_level_that_is_wanted() {
    let (mock, _) = started("ext-log");
    mock.log_level(LogLevel::INFO);
    // The first use of a line must not decide about it for ever.
    let id = mock.execute(doing("log"));
    mock.wait_completion(id, SOON);
    mock.log_level(LogLevel::DEBUG);
    // The cached level is believed for a second at most.
    let line = loop {
        let id = mock.execute(doing("log"));
        mock.wait_completion(id, SOON);
        let found = mock
            .recording()
            .logs
            .into_iter()
            .find(|log| log.level == LogLevel::DEBUG);
        if let Some(line) = found {
            break line;
        }
    };
    assert_eq!(line.message, "debugging 7");
    assert!(line.target.contains("probe"));
    assert!(line.trace.is_some(), "a command's line has its trace");
    let fields = [("answer", "42"), ("text", "a b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(line.fields, fields);
    let seen = mock.finish();
    assert!(seen.logs.iter().all(|log| log.level <= LogLevel::DEBUG));
    let created = seen.logs.iter().find(|log| log.message == "created");
    assert_eq!(created.unwrap().trace, None);
    assert!(seen.logs.iter().all(|log| log.message != "tracing"));
    assert!(seen.mentions("hush").is_empty());
}

#[test]
fn sleeping_follows_the_hosts_clock() {
    let (builder, _) = builder("ext-clock");
    let mock = builder.offer(Extension::Clock).create().unwrap();
    mock.start();
    mock.wait_state(State::ONLINE, SOON);
    let id = mock.execute(doing("sleep").within(Duration::from_secs(7200)));
    mock.wait_timers(2, SOON);
    mock.advance(Duration::from_secs(3600));
    assert_eq!(mock.wait_completion(id, SOON).status, Status::OK);
    mock.finish();
}
