//! What operators are told without asking: readers that lose messages, windows that are too short, what holds.

use crate::world::{config, files, state};
use async_nats::jetstream::{self, consumer::pull};
use im_bridge_test_harness::{Bridge, Nats, eventually};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_lost_messages_and_a_short_window_are_named() {
    let nats = Nats::start();
    let mut config = config(&nats, &json!({ "demo": {} }));
    config["nats"]["events"]["duplicate_window_s"] = 60.into();
    let files = files(&config);
    let mut bridge = Bridge::start(&files, "a");
    state(&bridge, "demo", "online").await;
    bridge.terminate();
    assert!(bridge.ended(Duration::from_secs(20)).is_some());

    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = jetstream::new(client);
    let stream = context.get_stream("IM_EVT").await.unwrap();
    let read = |name: &str, filter: &str| pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: filter.to_owned(),
        ..pull::Config::default()
    };
    stream.create_consumer(read("crm", "")).await.unwrap();
    let quiet = read("quiet", "im.v1.evt.sim.other.>");
    stream.create_consumer(quiet).await.unwrap();
    for number in 0..5 {
        let subject = "im.v1.evt.sim.demo.message.created.lobby";
        let stored = context.publish(subject, format!("{number}").into());
        stored.await.unwrap().await.unwrap();
    }
    // Its limits push messages out; a purge would move the readers on.
    let roomy = stream.cached_info().config.clone();
    let mut limited = roomy.clone();
    limited.max_messages = 1;
    context.update_stream(limited).await.unwrap();
    context.update_stream(roomy).await.unwrap();
    stream.create_consumer(read("late", "")).await.unwrap();

    let bridge = Bridge::start(&files, "a");
    state(&bridge, "demo", "online").await;
    let findings = eventually("both are found", || async {
        let findings = bridge.status()["findings"].as_array()?.clone();
        (findings.len() >= 2).then_some(findings)
    })
    .await;
    let codes: Vec<_> = findings
        .iter()
        .map(|it| (&it["code"], &it["about"]))
        .collect();
    assert_eq!(
        codes,
        [
            (&json!("nats_window"), &json!("sim")),
            (&json!("reader_missed"), &json!("crm")),
        ],
        "{findings:?}"
    );
    let text = findings[1]["text"].as_str().unwrap();
    assert!(text.contains("consumer crm of IM_EVT lost "), "{text}");
    assert_eq!(bridge.said("reader_missed"), 1);
    eventually("a warning beside the checks", || async {
        let told = bridge.get("/readyz?verbose").1;
        told.contains("[!]reader_missed consumer crm").then_some(())
    })
    .await;
    assert_eq!(bridge.get("/readyz").0, 200, "it makes nobody unready");

    assert_eq!(bridge.said("what holds"), 1);
    let holds = bridge.account("sim/demo").unwrap()["holds"].clone();
    let told = |way: &str| holds[way].as_str().unwrap_or_default().to_owned();
    assert!(told("in").contains("repeats removed for 1 min"), "{holds}");
    assert!(told("out").contains("the provider is asked"), "{holds}");
    assert!(told("bus").contains("IM_EVT, IM_CMD"), "{holds}");
    let objects = bridge.status()["nats"]["objects"].clone();
    assert_eq!(objects.as_array().map(Vec::len), Some(10), "{objects}");
}
