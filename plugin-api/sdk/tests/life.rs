//! Create, start, faults, panics, drain, stop, destroy.

mod probe;

use im_bridge_sdk::test::{
    self, Command, CreateError, Extension, MockHost, Outcome, Phase, State, Status, Violation,
};
use probe::{A_WHILE, Frame, Probe, SOON, Sharing, builder, doing, started};
use serde_json::json;
use std::time::Duration;

#[test]
fn the_description_is_complete() {
    let (builder, _) = builder("life-describe");
    let mock = builder.create().unwrap();
    let describe = mock.describe();
    assert_eq!(describe["provider"], "probe");
    assert_eq!(describe["adapter"]["name"], "im-bridge-sdk");
    assert_eq!(describe["operations"]["poll"], "poll_empty");
    assert_eq!(describe["session"]["ack"], "each");
    assert_eq!(
        describe["config_schema"]["properties"]["token"]["x-imb-secret"],
        true
    );
    assert_eq!(describe["config_schema"]["additionalProperties"], false);
    mock.finish();
}

#[test]
fn a_refused_configuration_names_the_place_and_not_the_value() {
    for (config, pointer) in [
        (json!({ "token": "bad" }), "/token"),
        (json!({ "token": 7 }), "/token"),
        (json!({ "token": "t", "tokn": 1 }), "/tokn"),
        (json!({}), "/token"),
    ] {
        let made = MockHost::builder(test::entry::<Probe>())
            .config(config)
            .create();
        let Err(CreateError::Refused {
            status,
            error,
            violations,
        }) = made
        else {
            panic!("created");
        };
        assert_eq!(status, Status::E_INVALID);
        assert_eq!(error["pointer"], pointer);
        assert!(violations.is_empty(), "{violations:?}");
    }
}

#[test]
fn a_panic_in_create_is_a_status() {
    let made = MockHost::builder(test::entry::<Probe>())
        .config(json!({ "token": "panic" }))
        .create();
    let Err(CreateError::Refused { status, .. }) = made else {
        panic!("created");
    };
    assert_eq!(status, Status::E_PANIC);
}

#[test]
fn an_instance_may_be_destroyed_without_being_started() {
    for _ in 0..100 {
        builder("life-unused").0.create().unwrap().finish();
    }
}

#[test]
fn equal_states_are_reported_once() {
    let (mock, _) = started("life-state");
    let online = mock.wait_state(State::ONLINE, SOON);
    assert_eq!(online.self_id.as_deref(), Some("me"));
    assert_eq!(online.transport.as_deref(), Some("tcp"));
    let seen = mock.finish();
    assert_eq!(seen.reports.len(), 2);
}

#[test]
fn a_lost_session_is_begun_again_after_a_back_off() {
    let (builder, provider) = builder("life-lost");
    let mock = builder
        .offer(Extension::Clock)
        .auto_grant(8, 1 << 20)
        .create()
        .unwrap();
    mock.start();
    mock.wait_state(State::ONLINE, SOON);
    let now_ms = mock.now_ms();
    provider.push([Frame::Lost]);
    let lost = mock.wait_state(State::BACKOFF, SOON);
    assert_eq!(lost.reason.as_deref(), Some("network"));
    assert!((now_ms..=now_ms + 1_000).contains(&lost.next_attempt_ms));
    mock.wait_timers(1, SOON);
    mock.advance(Duration::from_secs(1));
    mock.wait_state(State::ONLINE, SOON);
    mock.finish();
}

#[test]
fn a_permanent_fault_waits_for_a_reconnect() {
    let (mock, provider) = started("life-refused");
    mock.wait_state(State::ONLINE, SOON);
    provider.push([Frame::Refused]);
    let failed = mock.wait_state(State::FAILED, SOON);
    assert_eq!(failed.reason.as_deref(), Some("banned"));
    assert_eq!(failed.detail.unwrap()["error"]["message"], "go away");
    mock.stays("nobody reconnects", A_WHILE, |seen| {
        seen.state() == Some(State::FAILED)
    });
    let id = mock.execute(Command::new("account.reconnect"));
    assert_eq!(mock.wait_completion(id, SOON).status, Status::OK);
    mock.wait_state(State::ONLINE, SOON);
    // The adapter may end the waiting itself.
    provider.push([Frame::Refused]);
    mock.wait_state(State::FAILED, SOON);
    mock.execute(doing("reconnect"));
    mock.wait_state(State::ONLINE, SOON);
    mock.finish();
}

#[test]
fn drain_reads_nothing_new_and_returns_after_the_last_settle() {
    let (mock, provider) = started("life-drain");
    provider.messages(0..3);
    let events = mock.wait_events(3, SOON);
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| mock.drain(5_000));
        provider.wait_left();
        provider.messages(3..6);
        mock.stays("nothing new is read", A_WHILE, |seen| {
            seen.events.len() == 3
        });
        assert!(!draining.is_finished());
        let outcomes: Vec<_> = events.iter().map(|e| (e.token, Outcome::STORED)).collect();
        mock.settle_many(&outcomes);
        assert_eq!(draining.join().unwrap(), 0);
    });
    assert_eq!(
        provider.acks().len(),
        3,
        "acknowledged before the drain ended"
    );
    mock.finish();
}

#[test]
fn drain_says_what_is_still_open() {
    let (mock, provider) = started("life-open");
    provider.messages(0..2);
    mock.wait_events(2, SOON);
    mock.execute(doing("hang"));
    mock.stays("it hangs", A_WHILE, |seen| seen.completions.is_empty());
    // Two events, one command, and the session that waits for the events.
    assert_eq!(mock.drain(50), 4);
    mock.finish();
}

#[test]
fn drain_does_not_wait_for_what_a_panic_ended() {
    let (mock, _) = started("life-drain-panic");
    mock.execute(doing("panic_when_draining"));
    mock.stays("it waits", A_WHILE, |seen| seen.completions.is_empty());
    assert!(mock.drain(60_000) > 0);
    only_panicked(mock);
}

#[test]
fn drain_ends_a_back_off() {
    let (mock, provider) = started("life-drain-backoff");
    mock.wait_state(State::ONLINE, SOON);
    provider.push([Frame::Refused]);
    mock.wait_state(State::FAILED, SOON);
    assert_eq!(mock.drain(5_000), 0);
    mock.finish();
}

/// Ends a mock whose adapter panicked in a task, and broke no other rule.
#[track_caller]
fn only_panicked(mock: MockHost) {
    let broken = mock.into_violations();
    assert!(
        matches!(broken[..], [Violation::TaskPanicked]),
        "{broken:?}"
    );
}

#[test]
fn a_panic_in_a_command_poisons_the_instance_and_says_what_became_of_all() {
    for (what, status, code, certain) in [
        ("panic", Status::E_INTERNAL, "adapter_panic", true),
        ("panic_after_sent", Status::E_UNCERTAIN, "lost_ack", false),
    ] {
        let (mock, _) = started("life-panic");
        let other = mock.execute(doing("hang"));
        mock.stays("it hangs", A_WHILE, |seen| seen.completions.is_empty());
        let id = mock.execute(doing(what));
        let done = mock.wait_completion(id, SOON);
        assert_eq!((done.status, done.code.as_deref()), (status, Some(code)));
        assert_eq!(done.certain, certain);
        let other = mock.wait_completion(other, SOON);
        assert_eq!(other.code.as_deref(), Some("not_connected"));
        mock.wait_state(State::PANICKED, SOON);
        let log = mock.wait("the panic in the log", SOON, |seen| {
            seen.logs.iter().find(|log| log.target == "panic").cloned()
        });
        assert!(log.message.contains("the command said so"), "{log:?}");
        assert!(log.fields.iter().any(|(key, _)| key == "backtrace"));
        assert_eq!(mock.phase(), Phase::Poisoned);
        only_panicked(mock);
    }
}

#[test]
fn a_panic_in_the_session_or_a_task_poisons_too() {
    let (mock, provider) = started("life-panic-run");
    provider.push([Frame::Panic]);
    mock.wait_state(State::PANICKED, SOON);
    only_panicked(mock);
    let (mock, _) = started("life-panic-task");
    let id = mock.execute(doing("panic_in_task"));
    let lost = mock.wait_completion(id, SOON);
    assert_eq!(lost.code.as_deref(), Some("not_connected"));
    mock.wait_state(State::PANICKED, SOON);
    only_panicked(mock);
    // The next instance works.
    let (mock, _) = started("life-panic-run");
    mock.wait_state(State::ONLINE, SOON);
    mock.finish();
}

#[test]
fn stop_is_quick_and_silent_under_load() {
    let (mock, provider) = started("life-stop");
    provider.messages(0..64);
    mock.execute_many((0..100).map(|_| doing("hang_after_sent")).collect());
    mock.wait_events(1, SOON);
    mock.stop(2_000);
    let seen = mock.finish();
    assert_eq!(seen.completions.len(), 100);
}

#[test]
fn instances_share_threads_and_start_them_anew() {
    for _ in 0..2 {
        let mocks: Vec<MockHost> = (0..5)
            .map(|n| {
                let mock = MockHost::builder(test::entry::<Sharing>())
                    .account(&format!("share-{n}"))
                    .config(json!({ "token": "t" }))
                    .auto_grant(8, 1 << 20)
                    .create()
                    .unwrap();
                mock.start();
                mock
            })
            .collect();
        for (n, mock) in mocks.iter().enumerate() {
            probe::provider(&format!("share-{n}")).messages([1]);
            mock.wait_events(1, SOON);
        }
        // A panic of one leaves the others alone.
        let id = mocks[0].execute(doing("panic"));
        mocks[0].wait_completion(id, SOON);
        mocks[0].wait_state(State::PANICKED, SOON);
        for mock in &mocks[1..] {
            let id = mock.execute(doing("ok"));
            assert_eq!(mock.wait_completion(id, SOON).status, Status::OK);
        }
        for (n, mock) in mocks.into_iter().enumerate() {
            if n == 0 {
                only_panicked(mock);
            } else {
                mock.finish();
            }
        }
    }
}

#[test]
fn a_newer_host_with_longer_structs_works() {
    let (builder, provider) = builder("life-newer");
    let mock = builder
        .newer_host()
        .auto_grant(8, 1 << 20)
        .create()
        .unwrap();
    mock.start();
    provider.messages([1]);
    mock.wait_events(1, SOON);
    let id = mock.execute(doing("ok"));
    assert_eq!(mock.wait_completion(id, SOON).status, Status::OK);
    mock.finish();
}
