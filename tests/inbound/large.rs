//! Payloads that a message does not hold, and frames that nobody keeps.

use crate::world::{World, json, message};
use futures_util::StreamExt;
use im_bridge::loader::host::EventFacts;
use im_bridge_plugin_api::abi::Outcome;
use im_bridge_test_harness::{Nats, WITHIN};
use tokio::io::AsyncReadExt;

async fn object(world: &World, name: &str) -> Vec<u8> {
    let jetstream = async_nats::jetstream::new(world.bus.control.client().clone());
    let store = jetstream.get_object_store("IM_BLOB").await.unwrap();
    let mut bytes = Vec::new();
    store
        .get(name)
        .await
        .unwrap()
        .read_to_end(&mut bytes)
        .await
        .unwrap();
    bytes
}

fn payload_of(bytes: usize) -> Vec<u8> {
    let mut payload = br#"{"self":{"user_id":"me"},"filler":""#.to_vec();
    payload.resize(bytes - 2, b'x');
    payload.extend_from_slice(b"\"}");
    payload
}

#[tokio::test]
async fn a_large_payload_is_an_object_that_every_tool_reads() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let payload = payload_of(700 * 1024);
    let facts = EventFacts {
        native_id: "1",
        ..message("c")
    };
    world.emit(1, &facts, payload.clone()).await;
    assert_eq!(world.outcome().await, Outcome::STORED);
    let event = &world.stored("IM_EVT").await[0];
    let body = json(event);
    let name = format!("evt.{}", body["id"].as_str().unwrap());
    assert_eq!(body["dataref"], format!("urn:im-bridge:blob:{name}"));
    assert!(body.get("data").is_none());
    assert_eq!(object(&world, &name).await, payload);
    // The provider repeats it: neither object nor event is stored again.
    let chunks = world.stored("OBJ_IM_BLOB").await.len();
    world.emit(2, &facts, payload).await;
    assert_eq!(world.settled(2).await[1], (2, Outcome::DUPLICATE));
    assert_eq!(world.stored("OBJ_IM_BLOB").await.len(), chunks);
}

#[tokio::test]
async fn a_payload_of_256_kib_stays_inside() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let facts = EventFacts {
        native_id: "1",
        ..message("c")
    };
    world.emit(1, &facts, payload_of(256 * 1024)).await;
    assert_eq!(world.outcome().await, Outcome::STORED);
    assert!(json(&world.stored("IM_EVT").await[0]).get("data").is_some());
}

#[tokio::test]
async fn what_the_stream_finds_too_large_is_sent_by_reference() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let jetstream = async_nats::jetstream::new(world.bus.control.client().clone());
    let stream = jetstream.get_stream("IM_EVT").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_message_size = 20_000;
    jetstream.update_stream(config).await.unwrap();
    let facts = EventFacts {
        native_id: "1",
        ..message("c")
    };
    let payload = payload_of(30_000);
    world.emit(1, &facts, payload.clone()).await;
    assert_eq!(world.outcome().await, Outcome::STORED);
    let body = json(&world.stored("IM_EVT").await[0]);
    let name = body["dataref"]
        .as_str()
        .unwrap()
        .strip_prefix("urn:im-bridge:blob:")
        .unwrap();
    assert_eq!(object(&world, name).await, payload);
}

#[tokio::test]
async fn a_raw_frame_is_shown_and_not_stored() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let client = world.bus.control.client();
    let mut frames = client.subscribe("im.v1.raw.acme.shop1").await.unwrap();
    // A round trip behind the subscription: then the server knows it.
    let api = world.bus.control.api();
    api.call::<serde_json::Value>("INFO", &()).await.unwrap();
    let facts = EventFacts {
        kind: "raw.frame",
        ..EventFacts::default()
    };
    world.emit(1, &facts, br#"{"raw":{}}"#.to_vec()).await;
    let frame = tokio::time::timeout(WITHIN, frames.next()).await;
    let frame = frame.unwrap().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
    assert_eq!(body["type"], "im-bridge.evt.raw.frame.v1");
    assert_eq!(body["data"]["raw"], serde_json::json!({}));
    assert_eq!(world.outcome().await, Outcome::STORED);
    assert_eq!(world.stored("IM_EVT").await.len(), 0);
}

#[tokio::test]
async fn raw_frames_are_settled_while_the_bus_is_away() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    world.freeze(&nats).await;
    world.message("c", 0).await;
    for number in 1..=10 {
        let facts = EventFacts {
            kind: "raw.frame",
            channel: "c",
            ..EventFacts::default()
        };
        world.emit(number, &facts, b"{}".to_vec()).await;
    }
    let outcomes = world.settled(10).await;
    assert!(
        outcomes
            .iter()
            .all(|(number, outcome)| *number > 0 && *outcome == Outcome::STORED)
    );
    nats.thaw();
    world.settled(11).await;
}
