//! What must be exact in time or bytes, with the defaults of the provider's own client.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{SOON, Server, VECTORS, until};
use im_bridge_sdk::test::{Builder, Command, MockHost, Outcome, Settling, State};
use serde_json::{Value, json};

fn online(builder: Builder) -> MockHost {
    let host = builder
        .auto_settle(Settling::Always(Outcome::STORED))
        .create()
        .unwrap();
    host.start();
    host.wait_state(State::ONLINE, SOON);
    host
}

fn states(host: &MockHost, state: State) -> usize {
    host.recording()
        .reports
        .iter()
        .filter(|report| report.state == state)
        .count()
}

#[test]
fn a_heartbeat_goes_out_every_ten_seconds() {
    let server = Server::start();
    let host = online(server.account());
    for beats in 1..=4 {
        host.advance(Duration::from_millis(9_999));
        assert_eq!(server.heard("/!").len(), beats - 1);
        host.advance(Duration::from_millis(1));
        until("the beat", || server.heard("/!").len() == beats);
        // Answered before the next one is due.
        host.wait_ops("heartbeat", beats, SOON);
    }
    let beat: Value = serde_json::from_str(&server.heard("/!")[0]).unwrap();
    let mid = beat["headers"]["mid"].as_str().unwrap();
    let digits = mid.strip_suffix(" 0").unwrap();
    assert!(
        (14..=16).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()),
        "{mid}"
    );
    assert_eq!(states(&host, State::ONLINE), 1);
    host.finish();
}

#[test]
fn two_unanswered_heartbeats_end_the_connection() {
    let server = Server::start();
    let host = online(server.account());
    server.mute(true);
    for beats in 1..=2 {
        host.advance(Duration::from_secs(10));
        until("the beat", || server.heard("/!").len() == beats);
    }
    // Something was heard less than three intervals ago.
    assert_eq!(states(&host, State::CONNECTING), 1);
    server.mute(false);
    host.advance(Duration::from_secs(10));
    let lost = host.wait_state(State::CONNECTING, SOON);
    host.wait("the reason", SOON, |seen| {
        seen.reports
            .iter()
            .any(|report| report.reason.as_deref() == Some("silent"))
            .then_some(())
    });
    assert_eq!(lost.transport.as_deref(), Some("websocket"));
    host.wait_timers(1, SOON);
    host.advance(Duration::from_secs(3));
    host.wait("online again", SOON, |seen| {
        let online = seen
            .reports
            .iter()
            .filter(|report| report.state == State::ONLINE)
            .count();
        (online == 2).then_some(())
    });
    host.finish();
}

#[test]
fn five_attempts_three_seconds_apart_and_then_the_back_off() {
    let server = Server::start();
    let host = online(server.account());
    server.refuse(true);
    server.hang_up();
    for attempt in 1..=5 {
        host.wait("the loss", SOON, |seen| {
            let lost = seen
                .reports
                .iter()
                .filter(|report| report.state == State::CONNECTING && report.reason.is_some())
                .count();
            (lost >= attempt).then_some(())
        });
        host.wait_timers(1, SOON);
        host.advance(Duration::from_millis(2_999));
        assert_eq!(server.connections(), attempt);
        host.advance(Duration::from_millis(1));
        until("the attempt", || server.connections() == attempt + 1);
    }
    let backoff = host.wait_state(State::BACKOFF, SOON);
    let wait_ms = backoff.next_attempt_ms - host.now_ms();
    assert!((6_000..=7_000).contains(&wait_ms), "{wait_ms} ms");
    // It is not given up, and the delay grows.
    host.advance(Duration::from_millis(wait_ms.unsigned_abs()));
    until("one more attempt", || server.connections() == 7);
    host.wait("a second back-off", SOON, |seen| {
        let all = seen
            .reports
            .iter()
            .filter(|report| report.state == State::BACKOFF)
            .count();
        (all == 2).then_some(())
    });
    let second = host.recording().reports.last().unwrap().next_attempt_ms - host.now_ms();
    assert!(second >= 12_000, "{second} ms");
    server.refuse(false);
    // Asked for, it comes at once, and all attempts are there again.
    let id = host.execute(Command::new("account.reconnect"));
    host.wait_completion(id, SOON);
    host.wait("online again", SOON, |seen| {
        let online = seen
            .reports
            .iter()
            .filter(|report| report.state == State::ONLINE)
            .count();
        (online == 2).then_some(())
    });
    host.finish();
}

#[test]
fn an_answer_is_waited_for_twenty_seconds() {
    let server = Server::start();
    let host = online(server.account());
    let params = json!({
        "to": { "channel_id": "7" }, "message": { "segments": [{ "type": "text", "data": { "text": "x" } }] },
        "ext": { "goofish": { "receivers": ["1000000001", "2000000002"] } },
    });
    let send = Command::new("message.send")
        .channel("7")
        .params(params)
        .within(Duration::from_secs(60));
    let id = host.execute(send);
    until("the send", || {
        server.heard("/r/MessageSend/sendByReceiverScope").len() == 1
    });
    // Heartbeats are answered, so the connection lives.
    for _ in 0..19 {
        host.advance(Duration::from_secs(1));
    }
    host.stays("no answer yet", Duration::from_millis(100), |seen| {
        seen.completions.is_empty()
    });
    host.advance(Duration::from_secs(1));
    let done = host.wait_completion(id, SOON);
    assert_eq!(
        (done.code.as_deref(), done.certain),
        (Some("timeout_after_send"), false)
    );
    host.finish();
}

#[test]
fn recorded_pushes_are_acknowledged_with_the_recorded_bytes_after_their_settle() {
    let server = Server::start();
    let host = server.account().create().unwrap();
    host.start();
    host.wait_state(State::ONLINE, SOON);
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let mut acknowledged = Vec::new();
    for vector in vectors["frames"].as_array().unwrap() {
        let Some(acknowledgement) = vector["acknowledgement"].as_str() else {
            continue;
        };
        let events = vector["events"].as_array().unwrap();
        let told = events
            .iter()
            .filter(|event| event["kind"] != "undecodable")
            .count();
        server.say(vector["text"].as_str().unwrap());
        until("its events", || host.open_tokens().len() == told);
        if told > 0 {
            assert_eq!(
                server.heard(""),
                acknowledged,
                "{}: before its settle",
                vector["name"]
            );
        }
        let tokens = host.open_tokens();
        let outcomes: Vec<_> = tokens
            .into_iter()
            .map(|token| (token, Outcome::STORED))
            .collect();
        host.settle_many(&outcomes);
        acknowledged.push(acknowledgement.to_owned());
        until("the acknowledgement", || {
            server.heard("").len() == acknowledged.len()
        });
        assert_eq!(server.heard(""), acknowledged, "{}", vector["name"]);
    }
    assert_eq!(acknowledged.len(), 22);
    // The peer's address stands in the recorded pushes, and nowhere else.
    let recording = host.finish();
    assert_eq!(recording.mentions("192.0.2.10"), Vec::<String>::new());
}

#[test]
fn a_push_said_again_is_acknowledged_with_the_one_before() {
    let server = Server::start();
    let host = server.account().create().unwrap();
    host.start();
    host.wait_state(State::ONLINE, SOON);
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let push = vectors["frames"]
        .as_array()
        .unwrap()
        .iter()
        .find(|vector| vector["name"] == "push text")
        .unwrap();
    server.say(push["text"].as_str().unwrap());
    until("the event", || host.open_tokens().len() == 1);
    // Said again while it is under way: told once, and both are acknowledged by the one settle.
    server.say(push["text"].as_str().unwrap());
    host.advance(Duration::from_secs(10));
    until("a beat", || server.heard("/!").len() == 1);
    assert_eq!(server.heard(""), Vec::<String>::new());
    host.settle(host.open_tokens()[0], Outcome::STORED);
    until("both acknowledgements", || server.heard("").len() == 2);
    host.finish();
}

#[test]
fn a_refusal_to_nobodys_request_ends_the_login_at_once() {
    let server = Server::start();
    let host = online(server.account());
    server.say(r#"{"headers":{},"code":401,"body":{"reason":"token is not found"}}"#);
    // A new token and a new connection, and no time has passed.
    until("a new connection", || server.connections() == 2);
    assert_eq!(server.calls(), 2);
    host.finish();
}
