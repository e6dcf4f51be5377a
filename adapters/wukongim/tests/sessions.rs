//! Logging in and how it fails, losing connections, being sent away, orders of the operator.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::http::{Answer, Api, json as answer};
use common::{SOON, Server, WHILE, account, online, run, started, team, wait_told};
use im_bridge_adapter_wukongim::native::packet::{Disconnect, Packet};
use im_bridge_sdk::test::{
    Command, Extension, KvStore, MockHost, Outcome, Settling, State, Status,
};
use serde_json::{Value, json};

fn states(host: &MockHost) -> Vec<State> {
    let reports = host.recording().reports;
    reports.iter().map(|report| report.state).collect()
}

fn kick() -> Packet {
    Packet::Disconnect(Disconnect {
        reason: 12,
        text: "login in other device".to_owned(),
    })
}

#[test]
fn connect_says_who_and_with_what() {
    let server = Server::new();
    let (host, conn) = online(&server, account(server.config()));
    let connect = &conn.connect;
    assert_eq!((&*connect.uid, &*connect.token), ("bot-1", "s3cret-token"));
    assert_eq!(
        (connect.device_flag, &*connect.device_id),
        (1, "im-bridge-bot1")
    );
    let report = host.wait_state(State::ONLINE, SOON);
    assert_eq!(report.self_id.as_deref(), Some("bot-1"));
    assert!(host.finish().mentions("s3cret-token").is_empty());
}

#[test]
fn a_refused_login_waits_for_the_operator() {
    let server = Server::new();
    let host = started(account(server.config()));
    server.accept().refuse(2);
    host.wait_state(State::BAD_CREDENTIALS, SOON);
    server.stays_alone(WHILE);
    // New credentials: the operator says so.
    let id = host.execute(Command::new("account.login").key("k"));
    let _conn = server.login();
    assert_eq!(host.wait_completion(id, SOON).status, Status::OK);
    host.wait_state(State::ONLINE, SOON);
    host.finish();
}

#[test]
fn two_silent_refusals_make_the_token_suspect_and_are_tried_again_later() {
    let server = Server::new();
    let mut config = server.config();
    config["auth_retry_s"] = 100.into();
    let host = started(account(config).offer(Extension::Clock));
    let conn = server.accept();
    host.advance(Duration::from_secs(6));
    drop(conn);
    let backoff = host.wait_state(State::BACKOFF, SOON);
    assert_eq!(backoff.reason.as_deref(), Some("login_unanswered"));
    host.wait_timers(1, SOON);
    host.advance(Duration::from_secs(6));
    let conn = server.accept();
    host.advance(Duration::from_secs(6));
    drop(conn);
    let report = host.wait_state(State::BAD_CREDENTIALS, SOON);
    let error = report.detail.unwrap()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(error.contains("device_flag"), "{error}");
    // Not in a tight loop, but not never: the server may have been unwell.
    host.wait_timers(1, SOON);
    server.stays_alone(WHILE);
    host.advance(Duration::from_secs(100));
    let _conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    host.finish();
}

#[test]
fn a_connection_that_was_never_served_is_tried_again_at_once() {
    let server = Server::new();
    let host = started(account(server.config()));
    drop(server.accept());
    let _conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    assert!(!states(&host).contains(&State::BACKOFF));
    host.finish();
}

#[test]
fn a_cut_connection_is_made_again() {
    let server = Server::new();
    let (host, conn) = online(&server, account(server.config()));
    drop(conn);
    host.wait_state(State::BACKOFF, SOON);
    let mut conn = server.login();
    conn.push(team(1, "again"));
    wait_told(&host, &["again"]);
    host.finish();
}

#[test]
fn a_mute_connection_is_noticed_by_the_heartbeat() {
    let server = Server::new();
    let host = started(account(server.config()).offer(Extension::Clock));
    let mut conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    host.advance(Duration::from_secs(30));
    assert_eq!(conn.next(), Some(Packet::Ping));
    conn.write(&Packet::Pong);
    host.wait_ops("heartbeat", 1, SOON);
    for _ in 0..2 {
        host.advance(Duration::from_secs(30));
        assert_eq!(conn.next(), Some(Packet::Ping));
    }
    host.advance(Duration::from_secs(30));
    let backoff = host.wait_state(State::BACKOFF, SOON);
    assert_eq!(backoff.reason.as_deref(), Some("silent"));
    assert_eq!(
        conn.next(),
        None,
        "the adapter closes, for the server never does"
    );
    host.finish();
}

#[test]
fn sent_away_the_adapter_acknowledges_leaves_and_stays_away() {
    let server = Server::new();
    let builder = account(server.config()).auto_settle(Settling::Manual);
    let (host, mut conn) = online(&server, builder);
    conn.push(team(1, "in hand"));
    let event = host.wait_events(1, SOON).pop().unwrap();
    conn.write(&kick());
    host.settle(event.token, Outcome::STORED);
    assert_eq!(conn.ack().message_seq, 1);
    assert_eq!(conn.next(), None);
    let report = host.wait_state(State::CONFLICTED, SOON);
    assert_eq!(report.reason.as_deref(), Some("kicked"));
    server.stays_alone(WHILE);
    assert_eq!(
        run(&host, Command::new("account.reconnect")).status,
        Status::OK
    );
    let _conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    host.finish();
}

#[test]
fn sent_away_with_a_pause_the_adapter_comes_back_with_a_new_token() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/conversation/sync" => answer(200, json!([])),
        _ => answer(200, json!({ "status": 200 })),
    });
    let config = json!({
        "uid": "bot-1", "url": server.url(), "native": { "api_url": api.url }, "health_s": 0,
        "on_kick": "pause", "kick_pause_s": 100,
    });
    let host = started(account(config).offer(Extension::Clock));
    let mut conn = server.login();
    let first = conn.connect.token.clone();
    host.wait_state(State::ONLINE, SOON);
    conn.write(&kick());
    host.wait_state(State::CONFLICTED, SOON);
    server.stays_alone(WHILE);
    host.wait_timers(1, SOON);
    host.advance(Duration::from_secs(100));
    let conn = server.login();
    assert_ne!(conn.connect.token, first);
    assert_eq!(api.calls("/user/token").len(), 2);
    host.finish();
}

#[test]
fn a_token_is_registered_once_and_kept() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/conversation/sync" => answer(200, json!([])),
        _ => answer(200, json!({ "status": 200 })),
    });
    let config = json!({
        "uid": "bot-1", "url": server.url(), "health_s": 0,
        "native": { "api_url": api.url, "manager_token": "m4nager" },
    });
    let store = KvStore::default();
    let (host, conn) = online(&server, account(config.clone()).kv(&store));
    let token = conn.connect.token.clone();
    let call = api.calls("/user/token").remove(0);
    assert_eq!(call.body["token"], *token);
    assert_eq!(
        (&call.body["device_flag"], &call.body["device_level"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(call.header("token"), Some("m4nager"));
    assert!(host.finish().mentions(&token).is_empty());

    let (host, conn) = online(&server, account(config).kv(&store));
    assert_eq!(conn.connect.token, token);
    assert_eq!(api.calls("/user/token").len(), 1);
    assert!(host.finish().mentions("m4nager").is_empty());
}

#[test]
fn a_kept_token_that_is_refused_is_replaced_once() {
    let server = Server::new();
    let api = Api::new(|_| answer(200, json!({ "status": 200 })));
    let config = json!({
        "uid": "bot-1", "url": server.url(), "native": { "api_url": api.url }, "health_s": 0,
    });
    let store = KvStore::default();
    store.put("session/token", br#"["bot-1","old"]"#);
    let host = started(account(config).kv(&store));
    let mut conn = server.accept();
    assert_eq!(conn.connect.token, "old");
    conn.refuse(2);
    let mut conn = server.accept();
    assert_ne!(conn.connect.token, "old");
    conn.refuse(2);
    host.wait_state(State::BAD_CREDENTIALS, SOON);
    host.finish();
}

/// OpenChat in front of this server.
fn openchat(url: String) -> Api {
    Api::new(move |request| {
        let is_good = request.header("authorization") == Some("Bearer jwt-2");
        match request.path.as_str() {
            "/api/v1/auth/refresh" => {
                assert_eq!(request.body["refreshToken"], "refresh-1");
                answer(
                    200,
                    json!({ "token": "jwt-2", "refreshToken": "refresh-2" }),
                )
            }
            _ if !is_good => answer(
                401,
                json!({ "code": 2005, "message": "invalid token", "path": request.path }),
            ),
            "/api/v1/im/config" => answer(
                200,
                json!({ "success": true, "data": { "wsUrl": "", "tcpAddr": url.trim_start_matches("tcp://"),
                    "uid": "bot-1", "newKey": 1 } }),
            ),
            "/api/v1/im/token" => answer(
                201,
                json!({ "success": true, "data": { "token": "wk1.t" } }),
            ),
            _ => answer(404, json!({ "code": 1002, "message": "not found" })),
        }
    })
}

#[test]
fn openchat_tells_uid_address_and_token_and_its_access_is_renewed() {
    let server = Server::new();
    let api = openchat(server.url());
    let config = json!({ "health_s": 0, "openchat": {
        "base_url": format!("{}/api/v1/im", api.url), "access_token": "jwt-1", "refresh_token": "refresh-1",
    } });
    let (host, conn) = online(&server, account(config));
    assert_eq!(
        (&*conn.connect.uid, &*conn.connect.token),
        ("bot-1", "wk1.t")
    );
    assert_eq!(api.calls("/api/v1/im/token").len(), 1);
    assert_eq!(api.calls("/api/v1/auth/refresh").len(), 1);
    // Not again for the next connection.
    drop(conn);
    let conn = server.login();
    assert_eq!(conn.connect.token, "wk1.t");
    assert_eq!(api.calls("/api/v1/im/token").len(), 1);
    let recording = host.finish();
    for secret in ["jwt-1", "jwt-2", "refresh-1", "refresh-2", "wk1.t"] {
        assert!(recording.mentions(secret).is_empty(), "{secret}");
    }
}

#[test]
fn an_address_that_leads_nowhere_is_asked_for_again() {
    let server = Server::new();
    let (dead, good) = ("127.0.0.1:1".to_owned(), server.url());
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let api = Api::new(move |request| match request.path.as_str() {
        "/im/config" => {
            let is_first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            let address = if is_first { dead.clone() } else { good.clone() };
            answer(
                200,
                json!({ "success": true, "data": { "tcpAddr": address, "uid": "bot-1" } }),
            )
        }
        _ => answer(201, json!({ "success": true, "data": { "token": "t" } })),
    });
    let config = json!({ "health_s": 0, "openchat": {
        "base_url": format!("{}/im", api.url), "access_token": "jwt",
    } });
    let host = started(account(config));
    for tries in 1..=3 {
        host.wait("a back-off", SOON, |seen| {
            let backoffs = seen
                .reports
                .iter()
                .filter(|report| report.state == State::BACKOFF);
            (backoffs.count() >= tries).then_some(())
        });
        run(&host, Command::new("account.reconnect"));
    }
    let _conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    assert_eq!(api.calls("/im/config").len(), 2);
    host.finish();
}

#[test]
fn the_servers_own_route_is_taken_with_and_without_a_scheme() {
    for is_bare in [true, false] {
        let server = Server::new();
        let url = server.url();
        let address = url
            .trim_start_matches(if is_bare { "tcp://" } else { "" })
            .to_owned();
        let api = Api::new(move |request| match request.path.as_str() {
            "/route" => answer(
                200,
                json!({ "tcp_addr": address, "ws_addr": "", "wss_addr": "" }),
            ),
            _ => answer(200, json!([])),
        });
        let config = json!({ "uid": "bot-1", "token": "t", "transport": "tcp", "health_s": 0,
            "native": { "api_url": api.url } });
        let (host, _conn) = online(&server, account(config));
        assert_eq!(api.calls("/route")[0].query, "uid=bot-1");
        host.finish();
    }
}

#[test]
fn openchat_without_a_token_is_logged_in_without() {
    let server = Server::new();
    let api = Api::new(|request| match request.path.as_str() {
        "/im/token" => answer(
            201,
            json!({ "success": false, "message": "Request failed with status code 400" }),
        ),
        _ => answer(404, json!({})),
    });
    let config = json!({
        "uid": "bot-1", "url": server.url(), "health_s": 0,
        "openchat": { "base_url": format!("{}/im", api.url), "access_token": "jwt" },
    });
    let (host, conn) = online(&server, account(config));
    assert!(!conn.connect.token.is_empty());
    host.finish();
}

#[test]
fn a_rate_limit_before_the_login_is_honoured() {
    let server = Server::new();
    let api = Api::new(|_| {
        let body = json!({ "code": 1006, "message": "slow down" });
        Answer(
            429,
            vec!["Retry-After-login: 40".to_owned()],
            body.to_string(),
        )
    });
    let config = json!({
        "health_s": 0, "openchat": { "base_url": format!("{}/im", api.url), "access_token": "jwt" },
    });
    let host = started(account(config).offer(Extension::Clock));
    let backoff = host.wait_state(State::BACKOFF, SOON);
    assert_eq!(backoff.reason.as_deref(), Some("rate_limited"));
    host.wait_timers(1, SOON);
    host.advance(Duration::from_secs(39));
    assert_eq!(api.seen().len(), 1);
    host.advance(Duration::from_secs(2));
    host.wait("a second call", SOON, |_| {
        (api.seen().len() == 2).then_some(())
    });
    drop(server);
    host.finish();
}

#[test]
fn logged_out_stays_out_until_told() {
    let server = Server::new();
    let (host, mut conn) = online(&server, account(server.config()));
    assert_eq!(
        run(&host, Command::new("account.logout")).status,
        Status::OK
    );
    assert_eq!(conn.next(), None);
    host.wait_state(State::LOGGED_OUT, SOON);
    server.stays_alone(WHILE);
    assert_eq!(
        run(&host, Command::new("account.reconnect")).status,
        Status::OK
    );
    let _conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    host.finish();
}

#[test]
fn an_api_that_fails_degrades_the_account_until_it_is_well() {
    let server = Server::new();
    let is_well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = std::sync::Arc::clone(&is_well);
    let api = Api::new(move |request| match request.path.as_str() {
        "/health" if switch.load(std::sync::atomic::Ordering::SeqCst) => {
            answer(200, json!({ "status": "ok" }))
        }
        "/health" => answer(500, json!({ "status": "error", "message": "no leader" })),
        _ => answer(200, json!([])),
    });
    let mut config = server.config();
    config["native"] = json!({ "api_url": api.url });
    config["health_s"] = 60.into();
    config["heartbeat_ms"] = 3_600_000.into();
    let host = started(account(config).offer(Extension::Clock));
    let _conn = server.login();
    host.wait_state(State::ONLINE, SOON);
    for looks in 1..=2 {
        // The heartbeat's, and the next look's.
        host.wait_timers(2, SOON);
        host.advance(Duration::from_secs(60));
        host.wait("a look", SOON, |_| {
            (api.calls("/health").len() == looks).then_some(())
        });
        host.wait_ops("health", looks, SOON);
    }
    let report = host.wait_state(State::DEGRADED, SOON);
    assert_eq!(report.reason.as_deref(), Some("api_unavailable"));
    assert_eq!(host.metric("api_healthy", &[]), Some(0.0));
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    host.wait_timers(2, SOON);
    host.advance(Duration::from_secs(60));
    host.wait("online again", SOON, |seen| {
        (seen.state() == Some(State::ONLINE)).then_some(())
    });
    host.finish();
}

#[test]
fn configurations_that_cannot_work_say_why() {
    let cases: [(Value, &str); 8] = [
        (json!({}), "/url"),
        (json!({ "uid": "a", "url": "http://x" }), "/url"),
        (json!({ "url": "ws://x" }), "/uid"),
        (json!({ "uid": "a@b", "url": "ws://x" }), "/uid"),
        (json!({ "uid": "____manager", "url": "ws://x" }), "/uid"),
        (
            json!({ "uid": "a", "receive": "webhook" }),
            "/webhook/secret",
        ),
        (
            json!({ "uid": "a", "url": "ws://x", "send_via": "http" }),
            "/send_via",
        ),
        (
            json!({ "uid": "a", "url": "ws://x", "channels": { "team": true } }),
            "/channels/team",
        ),
    ];
    for (config, pointer) in cases {
        let Err(error) = account(config.clone()).create() else {
            panic!("{config} was taken")
        };
        assert!(error.to_string().contains(pointer), "{config}: {error}");
    }
}
