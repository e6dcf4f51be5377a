mod extensions;
mod raw;

use super::*;
use serde_json::json;
use std::time::Duration;

/// Long enough for a busy machine and an interpreter; nothing waits for it when things go well.
const SOON: Duration = Duration::from_secs(if cfg!(miri) { 300 } else { 10 });

fn host() -> Builder {
    MockHost::builder(raw::entry())
}

fn plain() -> MockHost {
    started(host())
}

fn started(builder: Builder) -> MockHost {
    let mock = builder.create().expect("created");
    mock.start();
    mock
}

fn tell(mock: &MockHost, name: &str) -> CompletionRecord {
    let id = mock.execute(Command::new(name));
    mock.wait_completion(id, SOON)
}

/// What a good adapter does that is told to do this one thing.
fn broken_by(builder: Builder, name: &str) -> Vec<Violation> {
    let mock = started(builder);
    tell(&mock, name);
    mock.into_violations()
}

#[test]
fn a_good_adapter_breaks_no_rule() {
    let mock = started(host().auto_settle(Settling::Always(Outcome::STORED)));
    mock.wait_state(State::ONLINE, SOON);
    let id = mock.execute(Command::new("emit").params(json!({ "n": 3 })));
    mock.stays(
        "nothing comes without credit",
        Duration::from_millis(20),
        |seen| seen.events.is_empty(),
    );
    mock.auto_grant(2, 1000);
    let events = mock.wait_events(3, SOON);
    let ids: Vec<_> = events
        .iter()
        .map(|event| event.native_id.as_deref())
        .collect();
    assert_eq!(ids, [Some("m1"), Some("m2"), Some("m3")]);
    assert_eq!(events[0].json()["message"]["id"], "m1");
    let completion = mock.wait_completion(id, SOON);
    assert_eq!(
        (completion.status, &completion.json()["done"]),
        (Status::OK, &json!(true))
    );
    assert_eq!(mock.drain(5000), 0);
    mock.stop(1000);
    mock.destroy();
    let seen = mock.finish();
    assert_eq!(seen.settles.len(), 3);
    assert!(seen.settles[0].order > seen.events[0].order);
}

#[test]
fn a_refused_create_tells_its_error() {
    let refused = host().config(json!({ "bad_config": true })).create();
    let Err(CreateError::Refused {
        status,
        error,
        violations,
    }) = refused
    else {
        panic!("it was created");
    };
    assert_eq!(status, Status::E_INVALID);
    assert_eq!(error["pointer"], "/bad_config");
    assert!(violations.is_empty());
}

#[test]
fn a_failed_start_leaves_it_created() {
    let mock = host()
        .config(json!({ "fail_start": true }))
        .create()
        .expect("created");
    assert_eq!(mock.try_start(), Status::E_UNAVAILABLE);
    assert_eq!(mock.phase(), Phase::Created);
    mock.finish();
}

#[test]
fn a_host_of_a_later_minor_is_no_different() {
    let mock = started(
        host()
            .newer_host()
            .auto_grant(4, 1000)
            .auto_settle(Settling::Always(Outcome::STORED)),
    );
    let ids = mock.execute_many(vec![
        Command::new("emit").params(json!({ "n": 1 })),
        Command::new("kv").params(json!({ "request": 1, "verb": 1, "key": "cursor" })),
    ]);
    assert_eq!(ids.len(), 2);
    mock.wait_events(1, SOON);
    mock.wait_completion(ids[1], SOON);
    assert_eq!(mock.drain(5000), 0);
    mock.finish();
}

#[test]
fn settles_may_come_before_emit_returns() {
    let settling = Settling::BeforeEmitReturns(Outcome::DUPLICATE);
    let mock = started(host().auto_grant(2, 1000).auto_settle(settling));
    mock.execute(Command::new("emit").params(json!({ "n": 5 })));
    mock.wait_events(5, SOON);
    assert_eq!(mock.drain(5000), 0);
    let seen = mock.finish();
    assert!(
        seen.settles
            .iter()
            .all(|settle| settle.outcome == Outcome::DUPLICATE)
    );
}

#[test]
fn settles_may_come_in_any_order() {
    let mock = started(host().auto_grant(8, 1000));
    mock.execute(Command::new("emit").params(json!({ "n": 3 })));
    mock.wait_events(3, SOON);
    assert_eq!(mock.open_tokens(), [1, 2, 3]);
    mock.settle(3, Outcome::STORED);
    mock.settle_many(&[(2, Outcome::RETRY), (1, Outcome::REJECTED)]);
    mock.settle_anyway(&[(1, Outcome::STORED), (77, Outcome::STORED)]);
    assert_eq!(mock.drain(5000), 0);
    let order: Vec<_> = mock
        .finish()
        .settles
        .iter()
        .map(|settle| settle.token)
        .collect();
    assert_eq!(order, [3, 2, 1]);
}

#[test]
fn what_is_not_taken_comes_again_once() {
    let mock = started(
        host()
            .auto_grant(8, 1000)
            .auto_settle(Settling::Always(Outcome::STORED)),
    );
    mock.take_at_most(Some(0));
    mock.execute(Command::new("emit").params(json!({ "n": 2 })));
    mock.stays("nothing was taken", Duration::from_millis(20), |seen| {
        seen.events.is_empty()
    });
    mock.take_at_most(None);
    let events = mock.wait_events(2, SOON);
    assert_eq!(events.len(), 2);
    mock.finish();
}

#[test]
fn buffers_are_released_once_whenever_that_is() {
    for release in [
        Release::AtOnce,
        Release::Elsewhere,
        Release::AfterStop,
        Release::AfterDestroy,
    ] {
        let mock = started(
            host()
                .release(release)
                .auto_grant(8, 1000)
                .auto_settle(Settling::Always(Outcome::STORED)),
        );
        mock.execute(Command::new("emit").params(json!({ "n": 3 })));
        mock.wait_events(3, SOON);
        mock.finish();
    }
}

#[test]
fn emitting_without_credit_is_seen_and_not_taken() {
    let mock = plain();
    tell(&mock, "emit_anyway");
    assert!(mock.recording().events.is_empty());
    assert!(matches!(
        mock.into_violations()[..],
        [Violation::EmitWithoutCredit {
            token: 7,
            credit_events: 0,
            ..
        }]
    ));
}

#[test]
fn the_bytes_may_be_overdrawn_once() {
    let mock = plain();
    mock.grant(2, 1);
    tell(&mock, "emit_anyway");
    assert_eq!(mock.take_events().len(), 1);
    tell(&mock, "emit_anyway");
    assert!(mock.take_events().is_empty());
    let violations = mock.into_violations();
    assert!(matches!(
        violations[..],
        [Violation::EmitWithoutCredit {
            credit_events: 1,
            credit_bytes: ..0,
            ..
        }]
    ));
}

#[test]
fn each_broken_rule_of_an_event_is_its_own_violation() {
    let granted = || host().auto_grant(8, 1000);
    assert_eq!(
        broken_by(granted(), "same_token"),
        [Violation::TokenReused { token: 7 }]
    );
    assert_eq!(
        broken_by(granted(), "short_struct"),
        [Violation::BadStruct {
            function: Function::Emit,
            status: Status::E_INVALID
        }]
    );
    let kind = "message.dreamt".to_owned();
    assert_eq!(
        broken_by(granted(), "undeclared"),
        [Violation::KindNotDeclared { kind }]
    );
    let key = "shade".to_owned();
    assert_eq!(
        broken_by(granted(), "meta"),
        [Violation::MetaNotDeclared { key }]
    );
    assert!(matches!(
        broken_by(granted(), "other_channel")[..],
        [Violation::PayloadDisagrees {
            token: 7,
            member: "/channel/id",
            ..
        }]
    ));
    assert!(matches!(
        broken_by(granted(), "no_json")[..],
        [Violation::PayloadNotJson { token: 7, .. }]
    ));
    assert!(matches!(
        broken_by(granted(), "long_key")[..],
        [Violation::BadField {
            function: Function::Emit,
            field: "order_key",
            ..
        }]
    ));
    assert_eq!(
        broken_by(granted().release(Release::AfterDestroy), "same_buffer"),
        [
            Violation::BufferGivenTwice {
                function: Function::Emit
            },
            Violation::PayloadNotJson {
                token: 8,
                problem: "EOF while parsing a value at line 1 column 0".to_owned(),
            }
        ]
    );
}

#[test]
fn a_broken_event_is_taken_and_settled_as_rejected() {
    let mock = started(host().auto_grant(8, 1000));
    tell(&mock, "undeclared");
    let settle = mock.wait("a settle", SOON, |seen| seen.settles.first().cloned());
    assert_eq!((settle.token, settle.outcome), (7, Outcome::REJECTED));
    assert_eq!(mock.take_violations().len(), 1);
    mock.finish();
}

#[test]
fn emit_inside_grant_is_seen() {
    let mock = started(host().config(json!({ "grant_emits": true })));
    mock.grant(1, 100);
    assert_eq!(
        mock.into_violations(),
        [Violation::EmitInside { call: Call::Grant }]
    );
}

#[test]
fn each_command_is_completed_exactly_once() {
    assert_eq!(
        broken_by(host(), "twice"),
        [Violation::CompletedTwice { id: 1 }]
    );
    assert_eq!(
        broken_by(host(), "unknown_id"),
        [Violation::CompletionUnknown { id: 999 }]
    );
    assert!(matches!(
        broken_by(host(), "sure_unsure")[..],
        [Violation::BadField {
            function: Function::Complete,
            field: "certain",
            ..
        }]
    ));
    let mock = plain();
    let id = mock.execute(Command::new("lose"));
    assert_eq!(mock.into_violations(), [Violation::NeverCompleted { id }]);
}

#[test]
fn a_completion_may_come_before_execute_returns() {
    let mock = plain();
    assert_eq!(tell(&mock, "early").status, Status::OK);
    assert_eq!(
        mock.try_execute(Command::new("refuse")),
        Err(Status::E_UNSUPPORTED)
    );
    mock.finish();
}

#[test]
fn bad_answers_are_seen() {
    let mock = plain();
    mock.execute_many(vec![Command::new("more")]);
    let violations = mock.into_violations();
    let call = Call::Execute;
    assert_eq!(
        violations[0],
        Violation::BadStatus {
            call,
            status: Status(5)
        }
    );
    let mock = started(host().config(json!({ "grant_fails": true })));
    mock.grant(1, 1);
    let call = Call::Grant;
    assert_eq!(
        mock.into_violations(),
        [Violation::BadStatus {
            call,
            status: Status::E_INTERNAL
        }]
    );
}

#[test]
fn calls_outside_the_life_of_an_instance_are_seen_and_answered_closed() {
    let mock = host()
        .config(json!({ "emit_in_create": true }))
        .create()
        .expect("created");
    assert_eq!(
        mock.into_violations(),
        [Violation::CallBeforeStart {
            function: Function::Report
        }]
    );
    let mock = started(host().config(json!({ "log_in_destroy": true })));
    assert_eq!(
        mock.into_violations(),
        [Violation::CallAfterStop {
            function: Function::Log
        }]
    );
}

#[test]
fn a_panic_poisons_and_its_commands_are_completed_by_the_host() {
    let mock = plain();
    let lost = mock.execute(Command::new("lose"));
    assert_eq!(
        mock.try_execute(Command::new("panic")),
        Err(Status::E_PANIC)
    );
    assert_eq!(mock.phase(), Phase::Poisoned);
    mock.stop(1000);
    let completion = mock.wait_completion(lost, SOON);
    assert!(completion.by_host);
    assert_eq!(completion.code.as_deref(), Some("lost_ack"));
    assert_eq!(
        mock.into_violations(),
        [Violation::Panicked {
            call: Call::Execute
        }]
    );

    let mock = plain();
    mock.execute(Command::new("panicked"));
    mock.wait_state(State::PANICKED, SOON);
    assert_eq!(mock.into_violations(), [Violation::TaskPanicked]);
}

#[test]
fn drain_and_stop_are_checked() {
    let mock = started(
        host()
            .config(json!({ "drain_lies": true }))
            .auto_grant(8, 1000),
    );
    mock.execute(Command::new("emit").params(json!({ "n": 1 })));
    mock.wait_events(1, SOON);
    mock.wait_completion(1, SOON);
    mock.drain(10);
    let (tokens, commands, webhooks) = (1, 0, 0);
    assert_eq!(
        mock.into_violations(),
        [Violation::DrainNotClean {
            tokens,
            commands,
            webhooks
        }]
    );
}

#[test]
fn drain_says_what_is_open() {
    let mock = started(host().auto_grant(8, 1000));
    mock.execute(Command::new("emit").params(json!({ "n": 2 })));
    mock.wait_events(2, SOON);
    mock.wait_completion(1, SOON);
    assert_eq!(mock.drain(10), 2);
    mock.finish();
}

/// Abandons memory on purpose, as a host does with what is stuck.
#[test]
#[cfg_attr(miri, ignore = "leaks on purpose")]
fn what_does_not_come_back_is_stuck() {
    let mock = started(host().config(json!({ "stop_fails": true })));
    let status = Status::E_INTERNAL;
    assert_eq!(mock.into_violations(), [Violation::StopFailed { status }]);
    let mock = started(host().patience(Duration::from_millis(100)));
    let hangs = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        mock.execute(Command::new("hang"))
    }));
    assert!(hangs.is_err());
    assert_eq!(mock.phase(), Phase::Stuck);
}

#[test]
fn the_mock_refuses_calls_that_the_contract_forbids() {
    let mock = plain();
    let start = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mock.start()));
    let text = *start
        .expect_err("refused")
        .downcast::<String>()
        .expect("a text");
    assert!(
        text.starts_with("start may not be called in phase Started"),
        "{text}"
    );
    mock.finish();
}
