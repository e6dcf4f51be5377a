//! Commands: exactly one completion each, and what it says about doubt.

mod probe;

use im_bridge_sdk::test::{Command, CompletionRecord, Extension, MockHost, State, Status};
use probe::{A_WHILE, SOON, builder, doing, started};
use std::time::Duration;

fn run(mock: &MockHost, command: Command) -> CompletionRecord {
    let id = mock.execute(command);
    mock.wait_completion(id, SOON)
}

/// What a service learns: class, code, whether it surely did not happen.
fn facts(completion: &CompletionRecord) -> (Status, &str, bool) {
    let code = completion.code.as_deref().unwrap_or_default();
    (completion.status, code, completion.certain)
}

#[test]
fn the_outcome_becomes_the_completion() {
    let (mock, _) = started("cmd-outcome");
    let done = run(&mock, doing("ok"));
    assert_eq!(facts(&done), (Status::OK, "", false));
    assert_eq!(done.native_id.as_deref(), Some("n1"));
    assert_eq!(done.json()["channel"], "lobby");
    let accepted = run(&mock, doing("accept"));
    assert_eq!(accepted.status, Status::ACCEPTED);
    let refused = run(&mock, doing("refuse"));
    assert_eq!(facts(&refused), (Status::E_FORBIDDEN, "muted", true));
    assert_eq!(refused.json()["message"], "not now");
    assert_eq!(refused.json()["native"]["code"], "25");
    let unknown = run(&mock, doing("nonsense"));
    assert_eq!(facts(&unknown), (Status::E_INVALID, "bad_param", true));
    let malformed = run(&mock, Command::new("message.send"));
    assert_eq!(facts(&malformed), (Status::E_INVALID, "bad_param", true));
    mock.finish();
}

#[test]
fn operations_of_a_command_belong_to_its_trace() {
    let (mock, _) = started("cmd-trace");
    let trace = im_bridge_sdk::test::Trace {
        trace_id: [7; 16],
        span_id: [8; 8],
        flags: 1,
    };
    run(&mock, doing("ok").trace(trace));
    let ops = mock.wait_ops("send", 1, SOON);
    assert_eq!(ops[0].parent, Some(trace));
    mock.finish();
}

#[test]
fn the_deadline_is_kept_and_doubt_depends_on_the_hand_over() {
    let (mock, _) = started("cmd-deadline");
    let short = Duration::from_millis(30);
    let before = run(&mock, doing("hang").within(short));
    assert_eq!(
        facts(&before),
        (Status::E_UNAVAILABLE, "timeout_before_send", true)
    );
    let after = run(&mock, doing("hang_after_sent").within(short));
    assert_eq!(
        facts(&after),
        (Status::E_UNCERTAIN, "timeout_after_send", false)
    );
    mock.finish();
}

#[test]
fn a_deadline_follows_the_hosts_clock() {
    let (builder, _) = builder("cmd-clock");
    let mock = builder.offer(Extension::Clock).create().unwrap();
    mock.start();
    mock.wait_state(State::ONLINE, SOON);
    let id = mock.execute(doing("sleep").within(Duration::from_secs(20)));
    mock.wait_timers(2, SOON);
    mock.advance(Duration::from_secs(19));
    mock.stays("not before its deadline", A_WHILE, |seen| {
        seen.completions.is_empty()
    });
    mock.advance(Duration::from_secs(1));
    let late = mock.wait_completion(id, SOON);
    assert_eq!(
        facts(&late),
        (Status::E_UNAVAILABLE, "timeout_before_send", true)
    );
    mock.finish();
}

#[test]
fn a_cancelled_command_is_completed_by_the_same_rule() {
    let (mock, _) = started("cmd-cancel");
    let before = mock.execute(doing("hang"));
    let after = mock.execute(doing("hang_after_sent"));
    mock.stays("both hang", A_WHILE, |seen| seen.completions.is_empty());
    mock.cancel(before);
    mock.cancel(after);
    mock.cancel(4711);
    let before = mock.wait_completion(before, SOON);
    assert_eq!(
        facts(&before),
        (Status::E_UNAVAILABLE, "timeout_before_send", true)
    );
    let after = mock.wait_completion(after, SOON);
    assert_eq!(
        facts(&after),
        (Status::E_UNCERTAIN, "timeout_after_send", false)
    );
    mock.finish();
}

#[test]
fn many_commands_at_once_are_each_completed_once() {
    let (mock, _) = started("cmd-many");
    let commands = (0..500).map(|_| doing("ok")).collect();
    for id in mock.execute_many(commands) {
        assert_eq!(mock.wait_completion(id, SOON).status, Status::OK);
    }
    assert_eq!(mock.finish().completions.len(), 500);
}

#[test]
fn stop_completes_what_is_in_hand() {
    let (mock, _) = started("cmd-stop");
    let before = mock.execute(doing("hang"));
    let after = mock.execute(doing("hang_after_sent"));
    mock.stays("both hang", A_WHILE, |seen| seen.completions.is_empty());
    mock.stop(2_000);
    let before = mock.wait_completion(before, SOON);
    assert_eq!(
        facts(&before),
        (Status::E_UNAVAILABLE, "not_connected", true)
    );
    let after = mock.wait_completion(after, SOON);
    assert_eq!(facts(&after), (Status::E_UNCERTAIN, "lost_ack", false));
    mock.finish();
}

#[test]
fn verify_answers_without_acting() {
    let (mock, _) = started("cmd-verify");
    let ask = |what: &str| {
        let id = mock.verify(doing(what));
        mock.wait_completion(id, SOON)
    };
    let happened = ask("happened");
    assert_eq!(happened.status, Status::OK);
    assert_eq!(happened.native_id.as_deref(), Some("n1"));
    assert_eq!(
        facts(&ask("not")),
        (Status::E_NOT_FOUND, "message_not_found", true)
    );
    assert_eq!(facts(&ask("?")), (Status::E_UNCERTAIN, "lost_ack", false));
    let id = mock.verify(doing("hang").within(Duration::from_millis(30)));
    let late = mock.wait_completion(id, SOON);
    assert_eq!(
        facts(&late),
        (Status::E_UNAVAILABLE, "provider_unavailable", false)
    );
    mock.finish();
}
