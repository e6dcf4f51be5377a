//! Scripted panics in entry functions where no code of an adapter runs. Built with the feature `test-hooks` only.
#![cfg(feature = "test-hooks")]

mod probe;

use im_bridge_sdk::test::{CreateError, MockHost, Phase, Status, Violation};
use probe::{SOON, builder, doing};

fn panicking_in(function: &str) -> MockHost {
    let (builder, _) = builder(&format!("panic-in-{function}"));
    builder
        .auto_grant(8, 1 << 20)
        .create()
        .expect("only create panics in create")
}

#[track_caller]
fn broke(mock: MockHost) {
    let broken = mock.into_violations();
    let is_panic =
        |v: &Violation| matches!(v, Violation::Panicked { .. } | Violation::TaskPanicked);
    assert!(
        !broken.is_empty() && broken.iter().all(is_panic),
        "{broken:?}"
    );
}

#[test]
fn a_panic_in_create_leaves_nothing() {
    let made = builder("panic-in-create").0.create();
    let Err(CreateError::Refused { status, .. }) = made else {
        panic!("created");
    };
    assert_eq!(status, Status::E_PANIC);
}

#[test]
fn a_panic_in_grant_poisons() {
    let mock = panicking_in("grant");
    mock.start();
    mock.wait("the log", SOON, |seen| {
        seen.logs
            .iter()
            .any(|log| log.target == "panic")
            .then_some(())
    });
    assert_eq!(mock.phase(), Phase::Poisoned);
    broke(mock);
}

#[test]
fn a_panic_in_settle_poisons() {
    let mock = panicking_in("settle");
    mock.start();
    probe::provider("panic-in-settle").messages([1]);
    let events = mock.wait_events(1, SOON);
    mock.settle(events[0].token, im_bridge_sdk::test::Outcome::STORED);
    mock.wait("the log", SOON, |seen| {
        seen.logs
            .iter()
            .any(|log| log.target == "panic")
            .then_some(())
    });
    broke(mock);
}

#[test]
fn a_panic_in_execute_poisons() {
    let mock = panicking_in("execute");
    mock.start();
    assert_eq!(mock.try_execute(doing("ok")), Err(Status::E_PANIC));
    broke(mock);
}
