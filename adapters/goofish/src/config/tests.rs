//! Defaults, and what is refused.

use super::*;
use serde_json::json;

fn checked(mut patch: serde_json::Value) -> Result<(), String> {
    if patch.get("cookies").is_none() {
        patch["cookies"] = json!("unb=1; cookie2=x");
    }
    let config: Config = serde_json::from_value(patch).unwrap();
    config.check().map_err(|error| error.pointer().to_owned())
}

#[test]
fn the_defaults_are_those_of_the_providers_client() {
    let config: Config = serde_json::from_value(json!({ "cookies": "unb=1" })).unwrap();
    assert_eq!(config.check(), Ok(()));
    assert_eq!(
        (config.heartbeat_interval_ms, config.reconnect_interval_ms),
        (10_000, 3_000)
    );
    assert_eq!(
        (config.max_reconnect_attempts, config.request_timeout_ms),
        (5, 20_000)
    );
    assert!(config.auto_reconnect);
    assert!(
        config
            .registered_agent()
            .ends_with("DingWeb/2.2.0 IMPaaS DingWeb/2.2.0")
    );
}

#[test]
fn a_zero_that_makes_no_sense_is_refused_and_one_that_does_is_taken() {
    for key in [
        "heartbeat_interval_ms",
        "request_timeout_ms",
        "silent_heartbeats",
        "send_burst",
        "send_per_s",
    ] {
        assert_eq!(checked(json!({ key: 0 })), Err(format!("/{key}")));
    }
    for key in ["reconnect_interval_ms", "max_reconnect_attempts"] {
        assert_eq!(checked(json!({ key: 0 })), Ok(()));
    }
}

#[test]
fn cookies_go_over_plain_lines_to_this_machine_only() {
    for url in [
        "ws://127.0.0.1:1/",
        "ws://localhost",
        "ws://[::1]:7/x",
        "wss://wss.example/",
    ] {
        assert_eq!(checked(json!({ "ws_url": url })), Ok(()), "{url}");
    }
    for url in [
        "ws://example.org/",
        "ws://127.0.0.1@example.org/",
        "http://127.0.0.1",
        "ws://127.0.0.1.example.org",
    ] {
        assert_eq!(
            checked(json!({ "ws_url": url })),
            Err("/ws_url".to_owned()),
            "{url}"
        );
    }
    assert_eq!(
        checked(json!({ "ws_url": "ws://example.org/", "allow_insecure": true })),
        Ok(())
    );
}

#[test]
fn cookies_that_are_none_are_refused_without_being_told() {
    for cookies in ["", "nonsense", "a=b\nc=d", "a=\u{e9}"] {
        assert_eq!(
            checked(json!({ "cookies": cookies })),
            Err("/cookies".to_owned()),
            "{cookies}"
        );
    }
}
