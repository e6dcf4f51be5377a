//! When the next token is asked for, by the provider's own times: at half a day, and after a refusal in pauses that grow.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{SOON, Server, until};
use im_bridge_sdk::test::{Command, MockHost, Outcome, ReportRecord, Settling, State};
use serde_json::json;

const QUARTER: Duration = Duration::from_secs(900);
/// Quarters of an hour until half of a token's day is over.
const HALF_A_DAY: usize = 48;
/// Of a session at rest: the heart's, and the renewal's.
const TIMERS: usize = 2;

/// An account whose heart beats each quarter of an hour, so that time can pass in these.
fn online(server: &Server, reconnect_interval_ms: u32) -> MockHost {
    let times = json!({
        "heartbeat_interval_ms": 900_000, "reconnect_interval_ms": reconnect_interval_ms,
    });
    let host = server
        .account_with(times)
        .auto_settle(Settling::Always(Outcome::STORED))
        .create()
        .unwrap();
    host.start();
    host.wait_state(State::ONLINE, SOON);
    assert_eq!(server.calls(), 1);
    host
}

fn pass(host: &MockHost, server: &Server, quarters: usize) {
    for _ in 0..quarters {
        let beats = server.heard("/!").len() + 1;
        host.wait_timers(TIMERS, SOON);
        host.advance(QUARTER);
        until("the beat", || server.heard("/!").len() == beats);
        host.wait_ops("heartbeat", beats, SOON);
    }
}

fn degraded(host: &MockHost, reason: &str, times: usize) {
    host.wait("the restriction", SOON, |seen| {
        let degraded = seen.reports.iter().filter(|report| {
            report.state == State::DEGRADED && report.reason.as_deref() == Some(reason)
        });
        (degraded.count() == times).then_some(())
    });
}

/// An account whose first renewal was refused: half of its token's day is over.
fn refused(server: &Server, code: &str, reason: &str) -> MockHost {
    let host = online(server, 3_000);
    server.refuse_tokens(Some(code));
    pass(&host, server, HALF_A_DAY);
    degraded(&host, reason, 1);
    host
}

/// The connection breaks, and the account waits for its next attempt.
fn lose(host: &MockHost, server: &Server) {
    server.hang_up();
    host.wait("the loss", SOON, |seen| {
        let is_lost = |report: &ReportRecord| report.reason.as_deref() == Some("network");
        seen.reports.iter().any(is_lost).then_some(())
    });
}

/// Time goes on until it is connected again. In small steps: nobody sees from here when the attempt's timer is set.
fn returns(host: &MockHost, server: &Server, step: Duration) {
    until("the next connection", || {
        let is_back = server.connections() == 2;
        if !is_back {
            host.advance(step);
        }
        is_back
    });
}

#[test]
fn a_renewal_that_is_refused_is_tried_again_after_pauses_that_grow() {
    let server = Server::start();
    let host = refused(&server, "RGV587_ERROR::SM::x", "challenge_required");
    let mut calls = 2;
    for quarters in [1, 2, 4, 8] {
        pass(&host, &server, quarters - 1);
        host.stays("no call before its time", Duration::from_millis(50), |_| {
            server.calls() == calls
        });
        pass(&host, &server, 1);
        calls += 1;
        host.wait_ops("renew", calls - 1, SOON);
        assert_eq!(server.calls(), calls, "after {quarters} quarters");
    }
    // A person who solved it is believed at once.
    server.refuse_tokens(None);
    let refreshed = host.execute(Command::new("account.refresh_token"));
    host.wait_completion(refreshed, SOON);
    host.wait("no restriction", SOON, |seen| {
        let last = seen.reports.last();
        last.is_some_and(|report| report.state == State::ONLINE)
            .then_some(())
    });
    host.finish();
}

#[test]
fn cookies_that_are_over_are_not_tried_again_before_a_person_acts() {
    let server = Server::start();
    let host = refused(&server, "FAIL_SYS_SESSION_EXPIRED::x", "bad_credentials");
    pass(&host, &server, HALF_A_DAY - 8);
    host.stays("no call at all", Duration::from_millis(50), |_| {
        server.calls() == 2
    });
    host.finish();
}

#[test]
fn a_token_that_cannot_be_renewed_serves_until_it_is_over() {
    let server = Server::start();
    let host = refused(&server, "FAIL_SYS_SESSION_EXPIRED::x", "bad_credentials");
    lose(&host, &server);
    returns(&host, &server, Duration::from_secs(1));
    // Back with the token of the morning, and still in need of a person.
    degraded(&host, "bad_credentials", 2);
    assert_eq!((server.connections(), server.calls()), (2, 2));
    host.finish();
}

#[test]
fn a_renewal_that_is_refused_while_away_keeps_nobody_away() {
    let server = Server::start();
    let host = online(&server, 900_000);
    pass(&host, &server, HALF_A_DAY - 1);
    server.refuse_tokens(Some("FAIL_SYS_TRAFFIC_LIMIT::x"));
    lose(&host, &server);
    returns(&host, &server, Duration::from_secs(60));
    degraded(&host, "rate_limited", 1);
    assert_eq!((server.connections(), server.calls()), (2, 2));
    host.finish();
}
