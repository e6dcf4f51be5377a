//! What can never be stored is kept for a person, complete, before it is settled.

use crate::world::{World, account, header, json, message};
use async_nats::jetstream::Message;
use im_bridge::loader::host::{EventFacts, Misbehaviour};
use im_bridge_plugin_api::abi::Outcome;
use im_bridge_sdk::model::ErrorObject;
use im_bridge_test_harness::{Nats, eventually};

const SUBJECT: &str = "im.v1.evt.acme.shop1.message.created.c";

async fn letter(world: &World) -> Message {
    assert_eq!(world.outcome().await, Outcome::REJECTED);
    let mut letters = world.stored("IM_DLQ").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].subject.as_str(), "im.v1.dlq.evt.acme.shop1");
    assert_eq!(world.stored("IM_EVT").await.len(), 0);
    letters.remove(0)
}

fn check(letter: &Message, code: &str, class: &str, attempts: &str) {
    assert_eq!(header(letter, "Im-Dlq-Code"), Some(code));
    assert_eq!(header(letter, "Im-Dlq-Attempts"), Some(attempts));
    let error: ErrorObject = serde_json::from_str(header(letter, "Im-Dlq-Error").unwrap()).unwrap();
    assert_eq!((error.code.as_str(), error.class.as_str()), (code, class));
    let [first, last] = ["Im-Dlq-First", "Im-Dlq-Last"].map(|name| header(letter, name).unwrap());
    assert!(first.parse::<im_bridge_sdk::model::Time>().unwrap() <= last.parse().unwrap());
    assert_eq!(
        header(letter, "Content-Type"),
        Some("application/cloudevents+json")
    );
}

#[tokio::test]
async fn a_payload_that_is_no_object_is_kept_as_it_came() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let facts = EventFacts {
        native_id: "1",
        ..message("c")
    };
    world.emit(1, &facts, b"[1, 2".to_vec()).await;
    let letter = letter(&world).await;
    check(&letter, "schema_violation", "internal", "1");
    assert_eq!(header(&letter, "Im-Dlq-Subject"), Some(SUBJECT));
    assert_eq!(header(&letter, "Im-Dlq-Body"), Some("payload"));
    assert_eq!(&letter.payload[..], b"[1, 2");
    let figures = world.gateway.figures().provider(&account().provider);
    assert_eq!(figures.dead_letters().get("internal"), Some(&1));
}

#[tokio::test]
async fn control_characters_in_a_channel_are_a_violation() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    world.emit(1, &message("a\nb"), b"{}".to_vec()).await;
    let letter = letter(&world).await;
    check(&letter, "schema_violation", "internal", "1");
    assert_eq!(
        header(&letter, "Im-Dlq-Subject"),
        Some("im.v1.evt.acme.shop1.message.created.a=0Ab")
    );
}

#[tokio::test]
async fn what_the_boundary_found_wrong_is_a_letter_without_a_way_back() {
    for (defect, code, class) in [
        (Misbehaviour::BadText, "schema_violation", "internal"),
        (
            Misbehaviour::KindNotDeclared,
            "schema_violation",
            "internal",
        ),
    ] {
        let nats = Nats::start();
        let world = World::new(&nats).await;
        let facts = EventFacts {
            defect: Some(defect),
            ..message("c")
        };
        world.emit(1, &facts, br#"{"number":1}"#.to_vec()).await;
        let letter = letter(&world).await;
        check(&letter, code, class, "1");
        assert_eq!(header(&letter, "Im-Dlq-Subject"), None);
        assert_eq!(&letter.payload[..], br#"{"number":1}"#);
    }
}

#[tokio::test]
async fn a_kind_that_is_no_kind_is_a_letter() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let facts = EventFacts {
        kind: "Message Created",
        ..message("c")
    };
    world.emit(1, &facts, b"{}".to_vec()).await;
    check(&letter(&world).await, "schema_violation", "internal", "1");
}

#[tokio::test]
async fn two_events_whose_texts_were_cut_alike_are_two_letters() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let facts = EventFacts {
        native_id: "cut",
        defect: Some(Misbehaviour::BadText),
        ..message("c")
    };
    for number in [1, 2, 2] {
        world
            .emit(number, &facts, format!(r#"{{"number":{number}}}"#))
            .await;
    }
    world.settled(3).await;
    assert_eq!(world.stored("IM_DLQ").await.len(), 2);
}

#[tokio::test]
async fn a_letter_that_a_message_does_not_hold_names_an_object() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let facts = EventFacts {
        defect: Some(Misbehaviour::PayloadTooLarge),
        ..message("c")
    };
    let payload = vec![b'x'; 1536 * 1024];
    world.emit(1, &facts, payload.clone()).await;
    let letter = letter(&world).await;
    check(&letter, "payload_too_large", "invalid", "1");
    assert_eq!(header(&letter, "Im-Dlq-Subject"), Some(SUBJECT));
    assert_eq!(letter.payload.len(), 0);
    let id = header(&letter, "Nats-Msg-Id").unwrap();
    let name = format!("dlq.{id}");
    assert_eq!(
        header(&letter, "Im-Dlq-Ref"),
        Some(&*format!("urn:im-bridge:blob:{name}"))
    );
    let jetstream = async_nats::jetstream::new(world.bus.control.client().clone());
    let store = jetstream.get_object_store("IM_BLOB").await.unwrap();
    assert_eq!(store.info(&name).await.unwrap().size, payload.len());
}

#[tokio::test]
async fn what_the_stream_refuses_three_times_is_kept_as_the_message_it_was() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    // A sealed stream refuses for good, with an error that nobody expects.
    let jetstream = async_nats::jetstream::new(world.bus.control.client().clone());
    let stream = jetstream.get_stream("IM_EVT").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.sealed = true;
    jetstream.update_stream(config).await.unwrap();
    let facts = EventFacts {
        native_id: "1",
        ..message("c")
    };
    world.emit(1, &facts, br#"{"number":1}"#.to_vec()).await;
    let letter = letter(&world).await;
    check(&letter, "core_error", "internal", "3");
    assert_eq!(header(&letter, "Im-Dlq-Subject"), Some(SUBJECT));
    assert_eq!(header(&letter, "Im-Dlq-Body"), None);
    let body = json(&letter);
    assert_eq!(body["data"]["number"], 1);
    assert_eq!(body["id"].as_str(), header(&letter, "Nats-Msg-Id"));
}

#[tokio::test]
async fn a_dead_letter_waits_for_its_stream_like_an_event() {
    let mut nats = Nats::start();
    let world = World::new(&nats).await;
    nats.kill();
    world.emit(1, &message("c"), b"no".to_vec()).await;
    eventually("the letter on its way", || async {
        (world.acks.status().in_flight == 1).then_some(())
    })
    .await;
    assert_eq!(world.outcomes(), []);
    nats.restart();
    letter(&world).await;
}
