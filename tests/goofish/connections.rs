//! Connections that end or fall silent at any moment.

use crate::mock::{ME, SOON, World, run, send, texts, truth, until, wait_texts, wait_times};
use im_bridge_sdk::test::{Command, MockHost, State, Status};
use serde_json::{Value, json};
use std::time::Duration;

const SEND: &str = "/r/MessageSend/sendByReceiverScope";

fn states(host: &MockHost) -> Vec<State> {
    host.recording()
        .reports
        .iter()
        .map(|report| report.state)
        .collect()
}

#[test]
fn a_cut_in_the_middle_of_a_push_loses_nothing() {
    for (replay, at) in [
        (true, "before"),
        (false, "before"),
        (true, "after"),
        (false, "after"),
    ] {
        let world = World::new();
        world.act("settings", json!({ "replay": replay }));
        let host = world.online(json!({}));
        world.say("one");
        world.fault("push", "cut", "/s/sync", json!({ "at": at }));
        world.say("two");
        wait_times(&host, State::ONLINE, 2);
        world.say("three");
        wait_texts(&host, &["one", "two", "three"]);
        host.finish();
    }
}

#[test]
fn a_cut_in_the_middle_of_a_send_is_unknown_until_it_is_found() {
    for (at, effects) in [("before", 0), ("after", 1)] {
        let world = World::new();
        let host = world.online(json!({}));
        world.fault("request", "cut", SEND, json!({ "at": at }));
        let (key, sending) = (crate::mock::key(), send("cut"));
        let id = host.execute(sending.clone().key(&key));
        let done = host.wait_completion(id, SOON);
        assert_eq!(
            (done.code.as_deref(), done.certain),
            (Some("lost_ack"), false),
            "{at}"
        );
        wait_times(&host, State::ONLINE, 2);
        assert_eq!(world.record(&["sent"]).len(), effects);
        // As the core does: it asks first, and does it again only if it surely did not happen.
        assert_eq!(truth(&host, &sending, &key), effects, "{at}");
        let id = host.execute(sending.key(&key).redelivered());
        assert_eq!(host.wait_completion(id, SOON).status, Status::OK);
        assert_eq!(world.record(&["sent"]).len(), 1, "{at}");
        let echo = wait_texts(&host, &["cut"]);
        assert_eq!(echo[0].client_ref.as_deref(), Some(key.as_str()));
        host.finish();
    }
}

#[test]
fn a_cut_in_the_middle_of_the_registration_is_no_more_than_an_attempt() {
    for what in ["cut", "drop", "half_open", "ignore", "wrong_mid"] {
        let world = World::new();
        world.fault("request", what, "/reg", json!({}));
        let host = world
            .account(ME, json!({ "request_timeout_ms": 300 }))
            .create()
            .unwrap();
        host.start();
        host.wait_state(State::ONLINE, SOON);
        world.say("heard");
        wait_texts(&host, &["heard"]);
        host.finish();
    }
}

#[test]
fn every_step_after_the_registration_may_fail() {
    for of in ["/r/SyncStatus/getState", "/r/SyncStatus/ackDiff"] {
        for (what, more) in [
            ("refuse", json!({ "code": 500 })),
            ("cut", json!({})),
            ("text", json!({ "text": "{" })),
            ("ignore", json!({})),
        ] {
            let world = World::new();
            world.fault("request", what, of, more);
            let host = world
                .account(ME, json!({ "request_timeout_ms": 300 }))
                .create()
                .unwrap();
            host.start();
            host.wait_state(State::ONLINE, SOON);
            host.finish();
        }
    }
}

#[test]
fn a_half_open_socket_is_noticed_and_nothing_is_lost() {
    let world = World::new();
    let host = world.online(json!({ "heartbeat_interval_ms": 100 }));
    world.act("kick", json!({ "how": "half_open" }));
    world.say("unheard");
    until("silence is noticed", || {
        let reasons: Vec<String> = host
            .recording()
            .reports
            .iter()
            .filter_map(|report| report.reason.clone())
            .collect();
        if reasons.iter().any(|reason| reason == "silent") {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    });
    wait_times(&host, State::ONLINE, 2);
    wait_texts(&host, &["unheard"]);
    host.finish();
}

#[test]
fn a_session_that_becomes_invalid_is_registered_anew_with_another_token() {
    for how in ["invalidate", "unauthorized"] {
        let world = World::new();
        let host = world.online(json!({}));
        world.act("expire", json!({ "what": "access" }));
        world.act("kick", json!({ "how": how }));
        world.say("meanwhile");
        wait_times(&host, State::ONLINE, 2);
        wait_texts(&host, &["meanwhile"]);
        host.finish();
    }
}

#[test]
fn a_command_that_meets_a_refused_token_surely_did_not_happen() {
    let world = World::new();
    let host = world.online(json!({ "heartbeat_interval_ms": 60_000 }));
    world.act("kick", json!({ "how": "invalidate" }));
    let done = run(&host, send("refused"));
    assert_eq!(
        (done.code.as_deref(), done.certain),
        (Some("token_expired"), true)
    );
    wait_times(&host, State::ONLINE, 2);
    assert_eq!(run(&host, send("done")).status, Status::OK);
    host.finish();
}

#[test]
fn attempts_at_the_interval_come_before_the_back_off_and_nothing_is_given_up() {
    let world = World::new();
    let host = world.online(json!({ "max_reconnect_attempts": 3 }));
    world.fault(
        "handshake",
        "refuse",
        "",
        json!({ "status": 503, "times": 5 }),
    );
    world.act("kick", json!({ "how": "drop" }));
    host.wait_state(State::BACKOFF, SOON);
    let seen = states(&host);
    let first_backoff = seen
        .iter()
        .position(|state| *state == State::BACKOFF)
        .unwrap();
    let lost = seen
        .iter()
        .position(|state| *state == State::ONLINE)
        .unwrap();
    assert!(first_backoff > lost + 3, "{seen:?}");
    let refused = |entry: &&Value| entry["outcome"] != "accepted";
    assert!(world.record(&["handshake"]).iter().filter(refused).count() >= 3);
    let last = host
        .recording()
        .reports
        .iter()
        .rfind(|report| report.state == State::BACKOFF)
        .unwrap()
        .clone();
    assert!(last.next_attempt_ms > 0);
    wait_times(&host, State::ONLINE, 2);
    host.finish();
}

#[test]
fn without_automatic_reconnect_the_operator_is_waited_for() {
    let world = World::new();
    let host = world.online(json!({ "auto_reconnect": false }));
    world.act("kick", json!({ "how": "close", "code": 1001 }));
    host.wait_state(State::FAILED, SOON);
    assert_eq!(
        run(&host, Command::new("account.reconnect")).status,
        Status::OK
    );
    wait_times(&host, State::ONLINE, 2);
    host.finish();
}

#[test]
fn a_session_that_is_cut_again_and_again_tells_everything_once_and_in_order() {
    let world = World::new();
    let host = world.online(json!({ "reconnect_interval_ms": 1, "max_reconnect_attempts": 1_000 }));
    let seed = fastrand::u64(..1_000_000);
    println!("IM_BRIDGE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut wanted = Vec::new();
    for n in 0..40 {
        let what = [
            "cut",
            "drop",
            "close",
            "duplicate",
            "again",
            "withhold",
            "swap",
        ][random.usize(0..7)];
        if random.u32(0..3) == 0 {
            world.fault("push", what, "/s/sync", json!({ "code": 1001 }));
        }
        world.say(&format!("m{n}"));
        wanted.push(format!("m{n}"));
        if random.u32(0..8) == 0 {
            world.act("kick", json!({ "how": "drop" }));
        }
    }
    world.act("clear", json!({}));
    // What was withheld comes with the next look.
    world.act("kick", json!({ "how": "drop" }));
    let events = until("everything", || {
        let events = host.recording().events;
        let mut seen = texts(&events);
        seen.sort();
        seen.dedup();
        if seen.len() == wanted.len() {
            Ok(events)
        } else {
            Err(format!("{} of {}", seen.len(), wanted.len()))
        }
    });
    assert_eq!(
        texts(&events).len(),
        wanted.len(),
        "nothing twice, seed {seed}"
    );
    host.stays("nothing more", Duration::from_millis(500), |seen| {
        texts(&seen.events).len() == wanted.len()
    });
    host.finish();
}

#[test]
fn a_provider_that_refuses_every_token_soon_is_not_asked_for_more_and_more() {
    let world = World::new();
    let host = world.online(json!({}));
    let refused = json!({ "code": 401, "body": { "reason": "invalid token" }, "times": 1_000 });
    world.fault("request", "refuse", "/!", refused);
    let backoff = host.wait_state(State::BACKOFF, SOON);
    assert_eq!(backoff.reason.as_deref(), Some("token_expired"));
    // One call for the first login's cookies, and one for each of its tokens.
    assert_eq!(world.record(&["mtop"]).len(), 5);
    let report_ms = backoff.next_attempt_ms - host.now_ms();
    assert!(report_ms > 50_000, "{report_ms} ms");
    host.finish();
}
