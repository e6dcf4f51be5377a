//! The life of an instance whose adapter keeps the contract.

use crate::rig::{ECHO, FAULTY, Rig, WITHIN, command, load, options};
use im_bridge::loader::host::{
    CallError, HostEvent, InboundEvent, Instance, Misbehaviour, Options, Patience, Phase, Plugin,
    Pool, Turn, Window,
};
use im_bridge_plugin_api::abi::{Outcome, Status};
use im_bridge_test_harness::stays;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_c_adapter_emits_settles_and_executes() {
    let plugin = Plugin::new(*ECHO, Patience::default());
    assert_eq!(plugin.provider(), "c-echo");
    let mut rig = Rig::started(&plugin, "{}").await;
    let id = rig
        .instance
        .execute(command("message.send", r#"{"text":"hi"}"#))
        .unwrap();

    let event = rig.event().await;
    assert_eq!(event.kind(), "message.created");
    assert_eq!(event.channel(), Some("c1"));
    assert_eq!(event.native_id(), "m1");
    assert_eq!(event.client_ref(), Some("key-1"));
    assert_eq!(event.order_key(), None);
    assert_eq!(&event.payload[..], br#"{"text":"hi"}"#);
    assert_eq!(event.defect(), None);
    assert_eq!(event.meta().count(), 0);
    match rig.next().await {
        HostEvent::Completed(completed) => {
            assert_eq!((completed.id, completed.status), (id, Status::OK));
            assert_eq!(completed.native_id(), Some("m1"));
            assert_eq!(&completed.body[..], b"{}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.instance.credits().held_events, 1);
    event.ticket.settle(Outcome::STORED);
    assert_eq!(rig.instance.credits().held_events, 0);
    assert_eq!(rig.instance.drain(WITHIN).await.unwrap(), 0);
    rig.end().await;
}

#[tokio::test]
async fn credit_returns_with_the_settle() {
    let plugin = Plugin::new(*ECHO, Patience::default());
    let mut rig = Rig::started(&plugin, "{}").await;
    for _ in 0..Window::default().events * 5 {
        rig.assert_works().await;
    }
    let over = rig.instance.misbehaviour(Misbehaviour::EmitWithoutCredit);
    assert_eq!(over, 0);
    rig.end().await;
}

#[tokio::test]
async fn events_that_are_settled_together_wake_the_adapter_once() {
    let plugin = Plugin::new(*ECHO, Patience::default());
    let mut rig = Rig::started(&plugin, "{}").await;
    for _ in 0..Window::default().events {
        let mut events = Vec::new();
        for _ in 0..4 {
            rig.instance.execute(command("message.send", "{}")).unwrap();
            events.push(rig.event().await);
        }
        let settled = |event: InboundEvent| event.ticket.settle_with(Outcome::STORED);
        let turns: Vec<Turn> = events.into_iter().map(settled).collect();
        assert_eq!(turns.iter().filter(|turn| turn.is_due()).count(), 1);
    }
    rig.assert_works().await;
    rig.end().await;
}

#[tokio::test]
async fn a_dropped_event_gives_its_credit_back() {
    let plugin = Plugin::new(*ECHO, Patience::default());
    let mut rig = Rig::started(&plugin, "{}").await;
    for _ in 0..Window::default().events * 2 {
        rig.instance.execute(command("message.send", "{}")).unwrap();
        drop(rig.event().await);
    }
    assert_eq!(rig.instance.credits().held_events, 0);
    rig.end().await;
}

#[tokio::test]
async fn a_payload_outlives_its_instance() {
    let plugin = Plugin::new(*ECHO, Patience::default());
    let mut rig = Rig::started(&plugin, "{}").await;
    rig.instance
        .execute(command("message.send", r#"{"late":true}"#))
        .unwrap();
    let event = rig.event().await;
    rig.end().await;
    drop(plugin);
    assert_eq!(&event.payload[..], br#"{"late":true}"#);
    event.ticket.settle(Outcome::STORED);
}

#[tokio::test]
async fn memory_of_another_allocator_is_released_once() {
    let plugin = Plugin::new(*FAULTY, Patience::default());
    let mut rig = Rig::started(&plugin, "{}").await;
    rig.instance.execute(command("arena", "{}")).unwrap();
    let event = rig.event().await;
    assert_eq!(&event.payload[..], br#"{"arena":true}"#);
    let copies = (event.payload.clone(), event.payload.slice(2..7));
    assert_eq!(&rig.run("arena left", "{}").await.body[..], b"1");
    event.ticket.settle(Outcome::STORED);
    drop((event.payload, copies));
    assert_eq!(&rig.run("arena left", "{}").await.body[..], b"0");
    rig.end().await;
}

#[tokio::test]
async fn two_versions_of_one_adapter_run_side_by_side() {
    let other = load("adapter", &[r#"-DVERSION="1.1.0""#]);
    assert_ne!(ECHO.sha256, other.sha256);
    let (old, new) = (
        Plugin::new(*ECHO, Patience::default()),
        Plugin::new(other, Patience::default()),
    );
    let (mut first, mut second) = (
        Rig::started(&old, "{}").await,
        Rig::started(&new, "{}").await,
    );
    for _ in 0..20 {
        first.assert_works().await;
        second.assert_works().await;
    }
    first.end().await;
    second.assert_works().await;
    second.end().await;
}

#[tokio::test]
async fn a_settle_may_arrive_before_emit_returns() {
    let plugin = Plugin::new(*FAULTY, Patience::default());
    let mut rig = Rig::started(&plugin, "{}").await;
    rig.run("stream", r#"{"n":1}"#).await;
    // The adapter counts settles of the event that its emit still holds. It takes luck, but not much of it.
    let start = Instant::now();
    while &rig.run("settled early", "{}").await.body[..] == b"0" {
        assert!(start.elapsed() < WITHIN, "no settle overtook its emit");
        for _ in 0..500 {
            rig.event().await.ticket.settle(Outcome::STORED);
        }
    }
    rig.end().await;
}

#[tokio::test]
async fn control_calls_have_their_order() {
    let plugin = Plugin::new(*ECHO, Patience::default());
    let rig = Rig::created(&plugin, "{}").await;
    assert!(
        rig.instance
            .execute(command("message.send", "{}"))
            .is_none()
    );
    for error in [
        rig.instance.stop(WITHIN).await.unwrap_err(),
        rig.instance.drain(WITHIN).await.unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                CallError::NotNow {
                    phase: Phase::Created,
                    ..
                }
            ),
            "{error}"
        );
    }
    rig.instance.start().await.unwrap();
    assert!(matches!(
        rig.instance.start().await,
        Err(CallError::NotNow { .. })
    ));
    rig.instance.drain(WITHIN).await.unwrap();
    assert!(
        rig.instance
            .execute(command("message.send", "{}"))
            .is_none()
    );
    rig.instance.stop(WITHIN).await.unwrap();
    assert!(matches!(
        rig.instance.stop(WITHIN).await,
        Err(CallError::NotNow { .. })
    ));
    assert_eq!(rig.instance.phase(), Phase::Stopped);
    rig.instance.destroy().await.unwrap();
}

#[tokio::test]
async fn a_refused_create_says_why() {
    let plugin = Plugin::new(*FAULTY, Patience::default());
    let created = Instance::create(&plugin, "shop", b"minus:create".to_vec(), options()).await;
    match created.err().expect("it is refused") {
        CallError::Refused { status, detail, .. } => {
            assert_eq!(status, Status::E_INVALID);
            assert_eq!(&detail[..], br#"{"code":"invalid","pointer":"/x"}"#);
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_failed_start_leaves_the_instance_as_it_was_created() {
    let plugin = Plugin::new(*FAULTY, Patience::default());
    let rig = Rig::created(&plugin, "minus:start").await;
    let error = rig.instance.start().await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Refused {
                status: Status::E_INVALID,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(rig.instance.phase(), Phase::Created);
    rig.instance.destroy().await.unwrap();
}

#[tokio::test]
async fn instances_together_stay_below_the_bound() {
    let plugin = Plugin::new(*FAULTY, Patience::default());
    let pool = Pool::new(300); // payloads have 7 bytes
    let mut rigs = Vec::new();
    for _ in 0..4 {
        let options = Options {
            pool: pool.clone(),
            ..options()
        };
        let (instance, inbox) = Instance::create(&plugin, "shop", b"{}".to_vec(), options)
            .await
            .unwrap();
        instance.start().await.unwrap();
        let mut rig = Rig { instance, inbox };
        rig.instance
            .execute(command("stream", r#"{"n":1}"#))
            .unwrap();
        // Nothing is settled: each of them fills up, and each gets at least one event in.
        let event = rig.event().await;
        rigs.push((rig, vec![event]));
    }
    let start = Instant::now();
    while pool.held_bytes() < 300 - 7 {
        assert!(start.elapsed() < WITHIN, "held {}", pool.held_bytes());
        for (rig, events) in &mut rigs {
            while let Some(next) = rig.inbox.try_recv() {
                events.extend(match next {
                    HostEvent::Event(event) => Some(event),
                    _ => None,
                });
            }
        }
        tokio::task::yield_now().await;
    }
    // Beyond the bound only an instance that holds nothing gets one event in.
    let is_within = async || pool.held_bytes() <= 300 + 3 * 7;
    stays(
        "below the bound",
        true,
        Duration::from_millis(50),
        is_within,
    )
    .await;
    // Room again: whoever was refused hears of it.
    for (rig, events) in &mut rigs {
        events.clear();
        rig.event().await;
    }
    for (rig, events) in rigs {
        drop(events);
        rig.end().await;
    }
    assert_eq!(pool.held_bytes(), 0);
}
