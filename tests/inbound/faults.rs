//! Order and once, while the bus comes and goes.

use crate::world::{CREDITS, World, account, bus, header, json, limits, message, payload};
use im_bridge::bus::Hold;
use im_bridge::bus::ack::Trouble;
use im_bridge::bus::objects::WhenFull;
use im_bridge::inbound::Order;
use im_bridge::loader::host::EventFacts;
use im_bridge_plugin_api::abi::Outcome;
use im_bridge_test_harness::{Nats, eventually, seeded, stays};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Numbers by channel, in the stream's order, each once.
async fn check_order(world: &World, count: usize) {
    let stored = world.stored("IM_EVT").await;
    let mut last: HashMap<String, u64> = HashMap::new();
    for event in &stored {
        let body = json(event);
        let number = body["data"]["number"].as_u64().unwrap();
        let channel = body["subject"].as_str().unwrap_or_default().to_owned();
        let before = last.insert(channel, number);
        assert!(
            before.is_none_or(|before| before < number),
            "{before:?} before {number}"
        );
    }
    assert_eq!(stored.len(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_doubles_and_reorders_nothing() {
    const EVENTS: u64 = 6_000;
    let mut random = seeded("a_server_that_is_killed_loses_doubles_and_reorders_nothing");
    let mut nats = Nats::start();
    let world = World::new(&nats).await;
    let mut kills: Vec<u64> = (0..3).map(|_| random.u64(500..EVENTS - 500)).collect();
    kills.sort_unstable();
    for number in 0..EVENTS {
        if kills.first() == Some(&number) {
            kills.remove(0);
            tokio::task::block_in_place(|| nats.restart());
        }
        // Some channels are busy, so that their lanes fill; some events have none.
        let channel = match random.u8(0..10) {
            0 => String::new(),
            1..=4 => "busy".to_owned(),
            _ => format!("c{}", random.u8(0..20)),
        };
        world.message(&channel, number).await;
    }
    let outcomes = world.settled(usize::try_from(EVENTS).unwrap()).await;
    let bad = outcomes.iter().find(|(_, outcome)| {
        // What was stored before the kill and whose acknowledgement was lost is stored already.
        !matches!(*outcome, Outcome::STORED | Outcome::DUPLICATE)
    });
    assert_eq!(bad, None);
    check_order(&world, outcomes.len()).await;
    println!("sent again: {}", world.acks.status().resends);
}

#[tokio::test]
async fn events_of_a_channel_are_stored_in_the_order_of_emission() {
    let mut random = seeded("events_of_a_channel_are_stored_in_the_order_of_emission");
    let nats = Nats::start();
    let world = World::new(&nats).await;
    for number in 0..2_000 {
        let channel = ["a", "b", "a.b", "群聊", ""][random.usize(0..5)];
        world.message(channel, number).await;
    }
    world.settled(2_000).await;
    check_order(&world, 2_000).await;
    assert_eq!(world.credits.available_permits(), CREDITS);
}

#[tokio::test]
async fn a_busy_channel_does_not_hold_up_the_others() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    for number in 0..40 {
        world.message("busy", number).await;
    }
    world.message("quiet", 99).await;
    let outcomes = world.settled(41).await;
    let at = outcomes
        .iter()
        .position(|(number, _)| *number == 99)
        .unwrap();
    assert!(
        at < 30,
        "the quiet channel waited for {at} events of the busy one"
    );
}

#[tokio::test]
async fn an_event_that_was_stored_before_is_a_duplicate() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    world.message("c", 1).await;
    assert_eq!(world.settled(1).await, [(1, Outcome::STORED)]);
    // Back-fill after a gap brings it again, with another delivery.
    let facts = EventFacts {
        native_id: "1",
        delivery: 1,
        ..message("c")
    };
    world.emit(2, &facts, payload(1)).await;
    assert_eq!(world.settled(2).await[1], (2, Outcome::DUPLICATE));
    assert_eq!(world.stored("IM_EVT").await.len(), 1);
    let figures = world.gateway.figures().provider(&account().provider);
    let (kind, outcomes) = figures.kinds().remove(0);
    assert_eq!(&*kind, "message.created");
    let count =
        |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(
        (count(&outcomes.stored), count(&outcomes.duplicate)),
        (1, 1)
    );
}

#[tokio::test]
async fn a_relaxed_account_waits_for_no_channel() {
    let nats = Nats::start();
    let limits = limits();
    let world = World::with(
        bus(&nats, &limits).await,
        &limits,
        Order::Relaxed,
        Hold::forever(),
    )
    .await;
    world.freeze(&nats).await;
    for number in 0..20 {
        world.message("c", number).await;
    }
    eventually("all of one channel on their way", || async {
        (world.acks.status().in_flight == 20).then_some(())
    })
    .await;
    nats.thaw();
    world.settled(20).await;
    assert_eq!(world.stored("IM_EVT").await.len(), 20);
}

#[tokio::test]
async fn while_the_bus_is_away_one_event_of_a_channel_is_on_its_way_and_credits_run_out() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    world.freeze(&nats).await;
    for number in 0..CREDITS as u64 {
        world.message("c", number).await;
    }
    eventually("the first on its way", || async {
        (world.acks.status().in_flight == 1).then_some(())
    })
    .await;
    assert_eq!(world.credits.available_permits(), 0);
    stays(
        "nothing settled, one on its way",
        (0, 1),
        Duration::from_millis(300),
        || async { (world.outcomes().len(), world.acks.status().in_flight) },
    )
    .await;
    nats.thaw();
    world.settled(CREDITS).await;
    check_order(&world, CREDITS).await;
}

#[tokio::test]
async fn a_full_stream_that_stops_is_waited_for_and_everything_is_stored_after_a_purge() {
    let nats = Nats::start();
    let mut limits = limits();
    limits.events_when_full = WhenFull::Stop;
    limits.events_max_bytes = 128 * 1024;
    let world = World::with(
        bus(&nats, &limits).await,
        &limits,
        Order::Strict,
        Hold::forever(),
    )
    .await;
    let large = |number: u64| {
        let filler: String = "x".repeat(16 * 1024);
        format!(r#"{{"number":{number},"filler":"{filler}"}}"#)
    };
    for number in 0..CREDITS as u64 {
        let id = number.to_string();
        let channel = format!("c{}", number % 4);
        let facts = EventFacts {
            native_id: &id,
            ..message(&channel)
        };
        world.emit(number, &facts, large(number)).await;
    }
    eventually("the stream to be full", || async {
        let troubles = world.acks.status().troubles;
        troubles
            .iter()
            .any(|it| it.trouble == Trouble::Full)
            .then_some(())
    })
    .await;
    let before = world.outcomes().len();
    assert!(before < CREDITS, "{before}");
    // Nobody was told that it is stored, so nobody was given credit for more.
    assert_eq!(world.credits.available_permits(), before);
    let mut seen = Vec::new();
    while world.outcomes().len() < CREDITS {
        let done = world.outcomes().len();
        seen.extend(
            world
                .stored("IM_EVT")
                .await
                .iter()
                .map(|event| json(event)["data"]["number"].as_u64().unwrap()),
        );
        let api = world.bus.control.api();
        api.call::<serde_json::Value>("STREAM.PURGE.IM_EVT", &())
            .await
            .unwrap();
        eventually("more events settled", || async {
            (world.outcomes().len() > done).then_some(())
        })
        .await;
    }
    seen.extend(
        world
            .stored("IM_EVT")
            .await
            .iter()
            .map(|event| json(event)["data"]["number"].as_u64().unwrap()),
    );
    for channel in 0..4 {
        let numbers: Vec<u64> = seen
            .iter()
            .copied()
            .filter(|number| number % 4 == channel)
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    assert!(
        world
            .outcomes()
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::STORED)
    );
}

#[tokio::test]
async fn after_the_lease_is_lost_nothing_is_sent_and_everything_is_retried() {
    let nats = Nats::start();
    let limits = limits();
    let hold = Hold::forever();
    let world = World::with(
        bus(&nats, &limits).await,
        &limits,
        Order::Strict,
        hold.clone(),
    )
    .await;
    world.message("c", 0).await;
    world.settled(1).await;
    world.freeze(&nats).await;
    for number in 1..20 {
        world.message("c", number).await;
    }
    hold.end();
    let outcomes = world.settled(20).await;
    assert!(
        outcomes[1..]
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::RETRY),
        "{outcomes:?}"
    );
    nats.thaw();
}

/// One thread, and the test stops it: a replica that is frozen when its event was sent and wakes up without its lease.
#[tokio::test]
async fn an_acknowledgement_that_comes_after_the_lease_settles_nothing() {
    let nats = Nats::start();
    let limits = limits();
    let hold = Hold::forever();
    let bus = bus(&nats, &limits).await;
    let world = World::with(bus, &limits, Order::Strict, hold.clone()).await;
    world.message("c", 0).await;
    world.settled(1).await;
    let client = world.bus.data.client().clone();
    let sent = || client.statistics().out_messages.load(Ordering::Relaxed);
    world.freeze(&nats).await;
    let before = sent();
    world.message("c", 1).await;
    eventually("it is sent", || async { (sent() > before).then_some(()) }).await;
    client.flush().await.unwrap();
    nats.thaw();
    let url = nats.url().to_owned();
    std::thread::spawn(move || is_stored(&url, 2))
        .join()
        .unwrap();
    hold.end();
    let outcomes = world.settled(2).await;
    assert_eq!(
        outcomes[1],
        (1, Outcome::RETRY),
        "the next owner settles it"
    );
    check_order(&world, 2).await;
}

/// Returns when the stream has so many events.
#[tokio::main(flavor = "current_thread")]
async fn is_stored(url: &str, count: u64) {
    let context = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
    let stream = context.get_stream("IM_EVT").await.unwrap();
    eventually("it is stored", || async {
        (stream.get_info().await.ok()?.state.messages == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hostile_channel_ids_become_distinct_tokens_and_stay_exact_in_the_body() {
    let nats = Nats::start();
    let world = World::new(&nats).await;
    let long = "x".repeat(512);
    let channels = [
        "a.b",
        "a b",
        "a*",
        ">",
        "*",
        "_",
        "=5F",
        "群聊 1",
        "\"quoted\\",
        "h_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "$SYS",
        "\u{2028}",
        &long,
        "A",
        "a",
        "a=2Eb",
    ];
    for (number, channel) in channels.iter().enumerate() {
        world.message(channel, number as u64).await;
    }
    let outcomes = world.settled(channels.len()).await;
    assert!(
        outcomes
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::STORED),
        "{outcomes:?}"
    );
    let stored = world.stored("IM_EVT").await;
    let mut subjects: Vec<&str> = stored.iter().map(|event| event.subject.as_str()).collect();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!(subjects.len(), channels.len());
    for event in &stored {
        let body = json(event);
        let number = usize::try_from(body["data"]["number"].as_u64().unwrap()).unwrap();
        assert_eq!(body["subject"], channels[number]);
        let token = body["partitionkey"].as_str().unwrap();
        assert_eq!(
            event.subject.as_str(),
            format!("im.v1.evt.acme.shop1.message.created.{token}")
        );
        assert!(event.subject.len() <= 210);
        assert_eq!(header(event, "Nats-Msg-Id"), body["id"].as_str());
        assert_eq!(
            header(event, "Content-Type"),
            Some("application/cloudevents+json")
        );
    }
}
