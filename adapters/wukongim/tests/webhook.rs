//! HTTP pushes: refused without the secret, answered only after the store.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{SOON, account, record, started};
use im_bridge_sdk::test::{MockHost, Outcome, Settling, State, Webhook};
use serde_json::{Value, json};

fn config() -> Value {
    json!({ "uid": "bot-1", "receive": "webhook", "webhook": { "secret": "s3cret" },
        "native": { "api_url": "http://127.0.0.1:1" }, "health_s": 0 })
}

fn host(settling: Settling) -> MockHost {
    let host = started(account(config()).auto_settle(settling));
    host.wait_state(State::ONLINE, SOON);
    host
}

fn push(host: &MockHost, path: &str, event: &str, body: impl Into<Vec<u8>>) -> u64 {
    let request = Webhook::post(path, body).query(&format!("event={event}"));
    host.webhook(request).unwrap()
}

#[test]
fn a_push_without_the_secret_is_refused() {
    let host = host(Settling::Always(Outcome::STORED));
    for path in ["", "/", "/s3cre", "/wrong/s3cret"] {
        let id = push(
            &host,
            path,
            "msg.notify",
            json!([record(1, "a")]).to_string(),
        );
        assert_eq!(host.wait_response(id, SOON).status, 401, "{path:?}");
    }
    assert!(host.take_events().is_empty());
    assert!(host.finish().mentions("s3cret").is_empty());
}

#[test]
fn a_batch_is_answered_when_all_of_it_is_stored() {
    for (outcome, status) in [
        (Outcome::STORED, 200),
        (Outcome::DUPLICATE, 200),
        (Outcome::RETRY, 503),
    ] {
        let host = host(Settling::Manual);
        let body = json!([record(1, "a"), record(2, "b")]).to_string();
        let id = push(&host, "/s3cret", "msg.notify", body);
        let events = host.wait_events(2, SOON);
        host.settle(events[0].token, Outcome::STORED);
        assert!(
            host.recording().responses.is_empty(),
            "no answer before all are stored"
        );
        host.settle(events[1].token, outcome);
        assert_eq!(host.wait_response(id, SOON).status, status);
        host.finish();
    }
}

#[test]
fn every_recorded_push_is_taken() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/wukongim/vectors.json")).unwrap();
    let config = json!({ "uid": "emil", "receive": "webhook", "health_s": 0,
        "webhook": { "secret": "s3cret", "scope": "all" }, "native": { "api_url": "http://127.0.0.1:1" } });
    let host = started(account(config).auto_settle(Settling::Always(Outcome::STORED)));
    host.wait_state(State::ONLINE, SOON);
    for recorded in vectors["recorded"]["webhooks"].as_array().unwrap() {
        let query = recorded["path_and_query"]
            .as_str()
            .unwrap()
            .split_once("event=")
            .unwrap()
            .1;
        let id = push(&host, "/s3cret", query, recorded["body"].as_str().unwrap());
        assert_eq!(host.wait_response(id, SOON).status, 200, "{query}");
    }
    let channels: Vec<String> = host
        .recording()
        .events
        .iter()
        .filter_map(|event| event.channel.clone())
        .collect();
    // Between two others the channel is the one that the server stores.
    assert_eq!(
        channels,
        [
            "2-rec-team",
            "2-rec-team",
            "1-dora",
            "1-dora@fay",
            "2-rec-team"
        ]
    );
    host.finish();
}

#[test]
fn messages_between_others_are_not_the_accounts_own() {
    let host = host(Settling::Always(Outcome::STORED));
    let mut others = record(1, "private");
    others["channel_type"] = 1.into();
    others["channel_id"] = "carol".into();
    let id = push(&host, "/s3cret", "msg.notify", json!([others]).to_string());
    assert_eq!(host.wait_response(id, SOON).status, 200);
    assert!(host.take_events().is_empty());
    host.finish();
}

#[test]
fn what_one_writes_to_oneself_and_what_the_system_writes_has_one_channel() {
    let host = host(Settling::Always(Outcome::STORED));
    let with = |seq, from: &str, channel_id: &str| {
        let mut record = record(seq, "x");
        record["channel_type"] = 1.into();
        record["from_uid"] = from.into();
        record["channel_id"] = channel_id.into();
        record
    };
    // To oneself, the server's records name both parties; the system has no name as a sender.
    let body = json!([with(1, "bot-1", "bot-1@bot-1"), with(1, "", "bot-1")]);
    let id = push(&host, "/s3cret", "msg.notify", body.to_string());
    assert_eq!(host.wait_response(id, SOON).status, 200);
    let offline = with(2, "____system", "bot-1");
    let id = push(&host, "/s3cret", "msg.offline", offline.to_string());
    assert_eq!(host.wait_response(id, SOON).status, 200);
    let events = host.wait_events(3, SOON);
    let channels: Vec<_> = events
        .iter()
        .map(|event| event.channel.as_deref().unwrap())
        .collect();
    assert_eq!(channels, ["1-bot-1", "1-____system", "1-____system"]);
    host.finish();
}

#[test]
fn one_message_that_cannot_be_read_does_not_fail_its_batch() {
    let host = host(Settling::Always(Outcome::STORED));
    let body = json!([{ "odd": 1 }, record(2, "b")]).to_string();
    let id = push(&host, "/s3cret", "msg.notify", body);
    assert_eq!(host.wait_response(id, SOON).status, 200);
    let events = host.wait_events(2, SOON);
    assert_eq!(events[0].json()["notice"]["native_type"], "undecodable");
    assert_eq!(events[0].json()["notice"]["native"]["odd"], 1);
    host.finish();
}

#[test]
fn nonsense_is_refused() {
    let host = host(Settling::Always(Outcome::STORED));
    for body in ["", "{", "{}", "1"] {
        let id = push(&host, "/s3cret", "msg.notify", body);
        assert_eq!(host.wait_response(id, SOON).status, 400, "{body:?}");
    }
    host.finish();
}
