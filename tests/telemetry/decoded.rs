//! What leaves, read by somebody else's classes: the collector of all other tests is written with those of the exporter.

use crate::journey::python;
use crate::world::{World, instruct, named};
use im_bridge_test_harness::{eventually, skip};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn another_decoder_reads_the_same() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            return skip(
                &["python"],
                &format!("another_decoder_reads_the_same: {reason}"),
            );
        }
    };
    let mut world = World::polling("none", |config| {
        config["telemetry"]["metrics"] = json!({ "otlp": true, "interval_s": 5 });
        config["telemetry"]["logs"] = json!({ "otlp": true });
        config["telemetry"]["traces"] = json!({ "poll_hit_spans": true });
    })
    .await;
    for (key, order) in [("k1", "hit|2"), ("k2", "refuse|5|x"), ("k3", "fail|20")] {
        world
            .send("c-poller.shop", &instruct(key, order), &[])
            .await;
    }
    world.stored("IM_RES", 3).await;
    world.stored("IM_EVT", 2).await;
    eventually("values are pushed", || async {
        (!world.collector.points().is_empty()).then_some(())
    })
    .await;
    let spans = world.ended();
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (number, taken) in world.collector.taken().iter().enumerate() {
        let file = folder.path().join(number.to_string());
        std::fs::write(&file, &taken.body).unwrap();
        let signal = taken.path.strip_prefix("/v1/").unwrap();
        files.push(format!("{signal}={}", file.display()));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/telemetry/decoded.py");
    let output = Command::new(python)
        .arg(script)
        .args(files)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();

    let ours: Vec<Value> = spans
        .iter()
        .map(|span| {
            json!({
                "name": span.name, "trace": span.trace, "id": span.id, "parent": span.parent,
                "ns": [span.start_ns, span.end_ns], "links": span.links, "service": "im-bridge",
            })
        })
        .collect();
    assert_eq!(read["traces"], Value::from(ours));
    assert_eq!(named(&spans, "process c-poller message.created").len(), 2);
    let lines: Vec<Value> = world
        .collector
        .lines()
        .iter()
        .map(|line| json!({ "body": line.body, "trace": line.trace }))
        .collect();
    assert!(!lines.is_empty());
    assert_eq!(read["logs"], Value::from(lines));
    let metrics = read["metrics"].as_array().unwrap();
    for (name, kind) in [
        ("im_bridge_events", "sum"),
        ("im_bridge_account_owned", "gauge"),
        ("im_bridge_event_store", "histogram"),
    ] {
        let found = metrics
            .iter()
            .any(|metric| metric["name"] == name && metric["kind"] == kind);
        assert!(found, "{name}");
    }
}
