//! The token, and every way in which a login fails.

use crate::mock::{CHAT, ME, SOON, World, online, run, until, wait_texts, wait_times};
use im_bridge_sdk::test::{Command, KvStore, Noise, State, Status};
use serde_json::json;

#[test]
fn the_first_login_takes_two_calls_and_registers_with_everything() {
    let world = World::new();
    let host = world.online(json!({}));
    let calls: Vec<_> = world
        .record(&["mtop"])
        .iter()
        .map(|call| call["ret"].to_string())
        .collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(
        calls[0].contains("FAIL_SYS_TOKEN_EMPTY") && calls[1].contains("SUCCESS"),
        "{calls:?}"
    );
    let session = &world.recorded("session", 1)[0];
    assert_eq!(
        (session["uid"].as_str(), &session["missing"]),
        (Some(ME), &json!([]))
    );
    assert_eq!(world.recorded("handshake", 1)[0]["cookie"], true);
    assert_eq!(world.recorded("synced", 1).len(), 1);
    let report = host.wait_state(State::ONLINE, SOON);
    assert_eq!(report.self_id.as_deref(), Some(ME));
    let recording = host.finish();
    assert!(
        recording.mentions("a-secret-cookie").is_empty(),
        "{:?}",
        recording.mentions("a-secret-cookie")
    );
}

#[test]
fn a_restart_uses_the_kept_token_and_device() {
    let (world, kept) = (World::new(), KvStore::default());
    online(world.account(ME, json!({})).kv(&kept)).finish();
    online(world.account(ME, json!({})).kv(&kept)).finish();
    assert_eq!(world.record(&["mtop"]).len(), 2);
    let sessions = world.recorded("session", 2);
    assert_eq!(sessions[0]["device"], sessions[1]["device"]);
    // Other cookies of the operator begin anew, on the same device.
    let other = json!({ "cookies": format!("unb={ME}; cookie2=another") });
    online(world.account(ME, other).kv(&kept)).finish();
    assert_eq!(world.record(&["mtop"]).len(), 4);
    assert_eq!(
        world.recorded("session", 3)[2]["device"],
        sessions[0]["device"]
    );
}

#[test]
fn handshakes_without_cookies_are_made_where_wanted() {
    let world = World::new();
    world.online(json!({ "handshake_cookies": false })).finish();
    assert_eq!(world.recorded("handshake", 1)[0]["cookie"], false);
}

#[test]
fn an_expired_signing_token_is_renewed_in_the_same_call() {
    let world = World::new();
    let host = world.online(json!({}));
    world.act("expire", json!({ "what": "signing" }));
    let refreshed = run(&host, Command::new("account.refresh_token"));
    assert_eq!(refreshed.status, Status::OK, "{}", refreshed.json());
    assert!(refreshed.json()["expires_at"].is_string());
    let calls = world.record(&["mtop"]);
    assert!(
        calls[2]["ret"]
            .to_string()
            .contains("FAIL_SYS_TOKEN_EXOIRED"),
        "{calls:?}"
    );
    assert!(calls[3]["ret"].to_string().contains("SUCCESS"), "{calls:?}");
    host.finish();
}

#[test]
fn a_login_that_is_over_waits_for_the_operator() {
    let world = World::new();
    world.act("expire", json!({ "what": "login", "uid": ME }));
    let host = world.account(ME, json!({})).create().unwrap();
    host.start();
    host.wait_state(State::BAD_CREDENTIALS, SOON);
    let calls = world.record(&["mtop"]).len();
    // Nothing more is tried until somebody asks, who is told when it does not help.
    let refused = run(&host, Command::new("account.login"));
    assert_eq!(
        refused.code.as_deref(),
        Some("bad_credentials"),
        "{}",
        refused.json()
    );
    world.act("account", json!({ "uid": ME, "logged_in": true }));
    assert_eq!(
        run(&host, Command::new("account.login")).json()["self"]["user_id"],
        ME
    );
    host.wait_state(State::ONLINE, SOON);
    assert!(world.record(&["mtop"]).len() > calls);
    host.finish();
}

#[test]
fn a_challenge_tells_its_address_and_is_answered() {
    let world = World::new();
    world.fault(
        "mtop",
        "ret",
        "",
        json!({ "code": "FAIL_SYS_USER_VALIDATE" }),
    );
    let host = world.account(ME, json!({})).create().unwrap();
    host.start();
    let report = host.wait_state(State::CHALLENGE_REQUIRED, SOON);
    let challenge = &report.detail.unwrap()["challenge"];
    assert_eq!(challenge["kind"], "captcha");
    assert!(
        challenge["url"].as_str().unwrap().contains("/punish?"),
        "{challenge}"
    );
    let calls = world.record(&["mtop"]).len();
    assert_eq!(calls, 2, "a challenge is not pressed");
    let bad = Command::new("account.answer_challenge")
        .params(json!({ "kind": "captcha", "answer": "42" }));
    assert_eq!(run(&host, bad).code.as_deref(), Some("bad_param"));
    world.act(
        "account",
        json!({ "uid": ME, "cookies": { "x5sec": "solved" } }),
    );
    let answer = Command::new("account.answer_challenge")
        .params(json!({ "kind": "captcha", "answer": "x5sec=solved" }));
    assert_eq!(run(&host, answer).json()["state"], "logging_in");
    host.wait_state(State::ONLINE, SOON);
    assert!(host.finish().mentions("x5sec=solved").is_empty());
}

#[test]
fn refusals_of_the_token_are_told_apart() {
    for (code, state, reason) in [
        ("FAIL_SYS_TRAFFIC_LIMIT", State::BACKOFF, "rate_limited"),
        ("FAIL_SYS_ILLEGAL_ACCESS", State::FAILED, "illegal_access"),
        ("FAIL_SYS_API_NOT_FOUNDED", State::FAILED, "no_such_api"),
        (
            "FAIL_SYS_SESSION_EXPIRED",
            State::BAD_CREDENTIALS,
            "bad_credentials",
        ),
        (
            "RGV587_ERROR",
            State::CHALLENGE_REQUIRED,
            "challenge_required",
        ),
    ] {
        let world = World::new();
        world.fault(
            "mtop",
            "ret",
            "",
            json!({ "ret": [format!("{code}::text")], "times": 20 }),
        );
        let host = world.account(ME, json!({})).create().unwrap();
        host.start();
        let report = host.wait_state(state, SOON);
        assert_eq!(report.reason.as_deref(), Some(reason), "{code}");
        host.finish();
    }
}

#[test]
fn trouble_at_the_gateway_passes() {
    let world = World::new();
    world.fault("mtop", "status", "", json!({ "status": 502 }));
    world.fault("mtop", "text", "", json!({ "text": "<html>busy</html>" }));
    world.fault("mtop", "ret", "", json!({ "ret": ["FAIL_SYS_TIMEOUT::x"] }));
    world.fault("mtop", "drop", "", json!({}));
    let host = world.online(json!({}));
    host.finish();
}

#[test]
fn a_refused_token_is_replaced_at_once_and_a_second_one_is_the_operators() {
    let world = World::new();
    let host = world.online(json!({}));
    world.act("expire", json!({ "what": "access" }));
    world.act("kick", json!({ "how": "close", "code": 1001 }));
    wait_times(&host, State::ONLINE, 2);
    world.fault(
        "request",
        "refuse",
        "/reg",
        json!({ "code": 401, "body": { "reason": "invalid token" }, "times": 2 }),
    );
    world.act("kick", json!({ "how": "drop" }));
    host.wait_state(State::BAD_CREDENTIALS, SOON);
    host.finish();
}

#[test]
fn too_many_connections_are_a_conflict() {
    let world = World::new();
    world.act("settings", json!({ "connections_per_account": 0 }));
    let host = world.account(ME, json!({})).create().unwrap();
    host.start();
    host.wait_state(State::CONFLICTED, SOON);
    world.act("settings", json!({ "connections_per_account": 8 }));
    assert_eq!(
        run(&host, Command::new("account.reconnect")).status,
        Status::OK
    );
    host.wait_state(State::ONLINE, SOON);
    host.finish();
}

#[test]
fn a_logout_stays_until_somebody_asks() {
    let world = World::new();
    let host = world.online(json!({}));
    assert_eq!(
        run(&host, Command::new("account.logout")).status,
        Status::OK
    );
    host.wait_state(State::LOGGED_OUT, SOON);
    assert_eq!(
        run(&host, crate::mock::send("lost?")).code.as_deref(),
        Some("not_connected")
    );
    world.say("while away");
    assert_eq!(
        run(&host, Command::new("account.reconnect")).status,
        Status::OK
    );
    wait_texts(&host, &["while away"]);
    host.finish();
}

#[test]
fn a_token_is_renewed_before_it_is_over() {
    let world = World::new();
    world.act("settings", json!({ "access_token_ms": 1_000 }));
    let host = world.online(json!({}));
    until("a third call", || {
        let calls = world.record(&["mtop"]).len();
        if calls >= 3 {
            Ok(())
        } else {
            Err(calls.to_string())
        }
    });
    // The session goes on.
    world.say("still here");
    wait_texts(&host, &["still here"]);
    assert_eq!(world.record(&["session"]).len(), 1);
    // It is no login, and worth no span.
    assert_eq!(host.wait_ops("renew", 1, SOON)[0].noise, Noise::AUX);
    assert_eq!(run(&host, Command::new("account.info")).status, Status::OK);
    assert_eq!(CHAT.len(), 11);
    host.finish();
}
