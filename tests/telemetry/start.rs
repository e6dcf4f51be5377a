//! What is configured, in files and in the variables that every OpenTelemetry SDK reads.

use crate::world::{World, config, instruct, named, only};
use im_bridge_test_harness::otlp::Collector;
use im_bridge_test_harness::{Nats, eventually};
use serde_json::json;
use std::process::Command;

#[test]
fn a_bad_pattern_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bridge.toml");
    let text = "[telemetry.traces.exclude_urls]\nimapi = \"\"\nown = '^https?://(a'\n";
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_im-bridge"))
        .args(["--config"])
        .arg(&file)
        .arg("run")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    let place = format!("{}:3:1", file.display());
    for wanted in [
        "telemetry_url_pattern",
        "telemetry.traces.exclude_urls.own is no regular expression",
        "at column 11",
        "correct it or remove it with \"\"",
        &place,
    ] {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn otel_variables_are_honoured() {
    let other = Collector::start();
    let endpoint = other.url();
    let traces = format!("{endpoint}/own/path");
    let mut world = World::with(
        json!({ "c-poller": { "shop": { "script": "none" } } }),
        |config| {
            // Below the variables.
            config["telemetry"]["service_name"] = json!("from-the-file");
        },
        &[
            ("OTEL_SERVICE_NAME", "from-a-variable"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=a%2D0,team=im"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.0"),
            ("IM_BRIDGE__TELEMETRY__TRACES__SAMPLER_ARG", "1.0"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=s3%20cret,b=2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ],
    )
    .await;
    world
        .send("c-poller.shop", &instruct("k1", "call|5"), &[])
        .await;
    world.stored("IM_RES", 1).await;
    assert!(world.ended().is_empty(), "the file's collector is not told");
    other.check();
    let taken = other.taken();
    assert!(!taken.is_empty());
    for request in &taken {
        assert_eq!(request.path, "/own/path");
        assert_eq!(request.headers["api-key"], "s3 cret");
        assert_eq!(request.headers["b"], "2");
        assert!(!request.headers.contains_key("content-encoding"));
    }
    let spans = other.spans();
    let resource = &only(&spans, "process message.send").resource;
    assert_eq!(resource["service.name"], "from-a-variable");
    assert_eq!(resource["k8s.pod.name"], "a-0");
    assert_eq!(resource["team"], "im");
    assert!(resource["service.instance.id"].starts_with("a-"));
    // The one that cannot be honoured is told, and the start goes on.
    assert_eq!(world.bridge.said("telemetry_env_ignored"), 1);
    assert_eq!(world.bridge.said("OTEL_BSP_MAX_QUEUE_SIZE"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_sdk_sends_nothing() {
    let mut world = World::with(
        json!({ "c-poller": { "shop": { "script": "fail|20" } } }),
        |_| {},
        &[("OTEL_SDK_DISABLED", "true")],
    )
    .await;
    world
        .send("c-poller.shop", &instruct("k1", "hit|1"), &[])
        .await;
    world.stored("IM_EVT", 1).await;
    assert!(world.ended().is_empty());
    assert_eq!(world.collector.requests(), 0);
}

#[test]
fn the_origin_of_a_variable_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bridge.toml");
    std::fs::write(&file, "[telemetry.otlp]\nendpoint = \"http://file:4318\"\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_im-bridge"))
        .args(["--config"])
        .arg(&file)
        .args(["config", "show"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    for wanted in [
        "endpoint = \"http://collector:4318\"  # OTEL_EXPORTER_OTLP_ENDPOINT",
        "api-key = { env = \"OTEL_EXPORTER_OTLP_HEADERS\" }  # OTEL_EXPORTER_OTLP_HEADERS",
        "imapi = ",
    ] {
        assert!(shown.contains(wanted), "{wanted} is not in:\n{shown}");
    }
    assert!(!shown.contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_come_while_the_bridge_runs() {
    let nats = Nats::start();
    let collector = Collector::start();
    let accounts = json!({ "sim": { "demo": {} } });
    let config = config(&nats, &collector.url(), &accounts);
    let _bridge = im_bridge_test_harness::Bridge::start(&crate::world::files(&config), "a");
    eventually("the login is told", || async {
        let spans = collector.spans();
        (!named(&spans, "login").is_empty()).then_some(())
    })
    .await;
    collector.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_can_be_hidden_from_spans_and_lines() {
    let mut world = World::with(
        json!({ "c-poller": { "shop": { "script": "none" } } }),
        |config| {
            config["telemetry"]["traces"] = json!({ "hash_account": true });
            config["telemetry"]["hash_key"] = json!({ "env": "KEY" });
            config["telemetry"]["logs"] = json!({ "otlp": true });
        },
        &[("KEY", "a key for hashes")],
    )
    .await;
    for (key, order) in [("k1", "refuse|5|x"), ("k2", "log|5|hello")] {
        world
            .send("c-poller.shop", &instruct(key, order), &[])
            .await;
    }
    world.stored("IM_RES", 2).await;
    let spans = world.ended();
    let sends = named(&spans, "process message.send");
    let hidden = sends[0].get("im.account");
    assert!(hidden.starts_with("h_"), "{hidden}");
    for text in ["command failed", "hello", "account"] {
        let log = world.bridge.log();
        let line = log.iter().find(|line| line["msg"] == text);
        assert_eq!(line.unwrap()["account"], hidden, "{text}");
        let lines = world.collector.lines();
        let line = lines.iter().find(|line| line.body == text);
        assert_eq!(line.unwrap().attributes["account"], hidden, "{text}");
    }
}
