//! HTTP pushes: refused without the secret, answered only after the store.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{SOON, account, online};
use im_bridge_sdk::test::{MockHost, Outcome, Settling, Webhook};
use serde_json::json;

fn push(host: &MockHost, path: &str) -> u64 {
    let item = json!({
        "seq": 0, "at_ms": 1_700_000_000_000_i64, "what": "notice", "id": "n-1", "name": "order", "title": "Paid",
        "text": "", "warning": false, "body": {},
    });
    host.webhook(Webhook::post(path, json!({ "items": [item] }).to_string()))
        .unwrap()
}

#[test]
fn a_request_without_the_secret_is_refused_and_says_nothing() {
    for config in [json!({}), json!({ "webhook_secret": "s3cret" })] {
        let host = online(account("hook-refused", config));
        for path in ["", "/", "/s3cre", "/wrong/s3cret"] {
            let id = push(&host, path);
            assert_eq!(host.wait_response(id, SOON).status, 401, "{path:?}");
        }
        assert!(host.take_events().is_empty());
        host.finish();
    }
}

#[test]
fn a_request_is_answered_after_its_events_are_stored() {
    for (outcome, status) in [
        (Outcome::STORED, 200),
        (Outcome::DUPLICATE, 200),
        (Outcome::RETRY, 503),
    ] {
        let config = json!({ "webhook_secret": "s3cret" });
        let host = online(account("hook", config).auto_settle(Settling::Manual));
        let id = push(&host, "/s3cret");
        let event = host.wait_events(1, SOON).pop().unwrap();
        assert_eq!(
            (event.kind.as_str(), event.native_id.as_deref()),
            ("notice.received", Some("n-1"))
        );
        assert!(
            host.recording().responses.is_empty(),
            "no answer before the store"
        );
        host.settle(event.token, outcome);
        assert_eq!(host.wait_response(id, SOON).status, status);
        assert!(host.finish().mentions("s3cret").is_empty());
    }
}
