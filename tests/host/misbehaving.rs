//! Adapters that break the contract in ways the host answers, counts and survives.

use crate::rig::{FAULTY, IMPATIENT, Rig, WITHIN, command};
use im_bridge::loader::host::{HostEvent, Misbehaviour, Patience, Plugin, Window};
use im_bridge_plugin_api::abi::{Outcome, Status};
use im_bridge_test_harness::eventually;

async fn rig(config: &str) -> Rig {
    Rig::started(&Plugin::new(*FAULTY, Patience::default()), config).await
}

#[tokio::test]
async fn events_beyond_the_credit_are_not_taken() {
    let mut rig = rig("{}").await;
    let id = rig.instance.execute(command("greedy", "{}")).unwrap();
    let mut events = Vec::new();
    loop {
        match rig.next().await {
            HostEvent::Event(event) => events.push(event),
            HostEvent::Completed(completed) => {
                // The adapter says OK when its last emit took none.
                assert_eq!((completed.id, completed.status), (id, Status::OK));
                break;
            }
            _ => {}
        }
    }
    assert_eq!(events.len(), Window::default().events as usize);
    assert_eq!(
        rig.instance.misbehaviour(Misbehaviour::EmitWithoutCredit),
        1
    );
    drop(events);
    rig.assert_works().await;
    rig.end().await;
}

#[tokio::test]
async fn a_second_completion_is_dropped() {
    let mut rig = rig("{}").await;
    rig.run("twice", "{}").await;
    rig.assert_works().await;
    assert_eq!(rig.instance.misbehaviour(Misbehaviour::CompletionTwice), 1);
    rig.end().await;
}

#[tokio::test]
async fn a_completion_of_nothing_is_dropped() {
    let mut rig = rig("{}").await;
    rig.run("unknown", "{}").await;
    rig.assert_works().await;
    assert_eq!(
        rig.instance.misbehaviour(Misbehaviour::CompletionUnknown),
        1
    );
    rig.end().await;
}

#[tokio::test]
async fn a_struct_too_short_is_refused() {
    let mut rig = rig("{}").await;
    let completed = rig.run("short struct", "{}").await;
    assert_eq!(completed.status, Status::OK, "the adapter saw E_INVALID");
    assert_eq!(rig.instance.misbehaviour(Misbehaviour::BadStruct), 1);
    rig.end().await;
}

#[tokio::test]
async fn events_that_break_a_rule_are_taken_and_marked() {
    let mut rig = rig("{}").await;
    for (name, kind, defect) in [
        (
            "undeclared",
            "message.invented",
            Misbehaviour::KindNotDeclared,
        ),
        ("bad text", "message.created", Misbehaviour::BadText),
    ] {
        rig.instance.execute(command(name, "{}")).unwrap();
        let event = rig.event().await;
        assert_eq!((event.kind(), event.defect()), (kind, Some(defect)));
        assert_eq!(rig.instance.misbehaviour(defect), 1);
        event.ticket.settle(Outcome::REJECTED);
    }
    rig.end().await;
}

#[tokio::test]
async fn a_command_that_the_adapter_refuses_surely_did_not_happen() {
    let mut rig = rig("{}").await;
    let completed = rig.run("refused", "{}").await;
    assert_eq!(
        (completed.status, completed.is_certain),
        (Status::E_FORBIDDEN, true)
    );
    rig.end().await;
}

#[tokio::test]
async fn a_busy_adapter_gets_the_rest_later_and_in_order() {
    let mut rig = rig("{}").await;
    // It takes one command per call, whatever it is offered.
    let names = ["twice", "unknown", "refused", "settled early"];
    let ids: Vec<u64> = names
        .iter()
        .cycle()
        .take(40)
        .map(|name| rig.instance.execute(command(name, "{}")).unwrap())
        .collect();
    let mut completed = Vec::new();
    while completed.len() < ids.len() {
        if let HostEvent::Completed(next) = rig.next().await {
            completed.push(next.id);
        }
    }
    assert_eq!(completed, ids);
    rig.end().await;
}

#[tokio::test]
async fn errors_of_quick_calls_are_counted_and_nothing_else() {
    for call in ["grant", "settle", "cancel"] {
        let mut rig = rig(&format!("minus:{call}")).await;
        let silent = rig.instance.execute(command("silent", "{}")).unwrap();
        rig.assert_works().await;
        rig.instance.cancel(silent);
        eventually("bad status", async || {
            (rig.instance.misbehaviour(Misbehaviour::BadStatus) > 0).then_some(())
        })
        .await;
        rig.assert_works().await;
        rig.end().await;
    }
}

#[tokio::test]
async fn slow_calls_are_counted() {
    let mut rig = rig("slow:settle").await;
    rig.assert_works().await;
    eventually("a slow call", async || {
        (rig.instance.misbehaviour(Misbehaviour::SlowCall) > 0).then_some(())
    })
    .await;
    rig.end().await;
}

#[tokio::test]
async fn calls_after_stop_are_answered_closed() {
    let plugin = Plugin::new(*FAULTY, IMPATIENT);
    let mut rig = Rig::started(&plugin, "{}").await;
    rig.run("late", "{}").await; // a thread that stop does not join
    rig.instance.stop(WITHIN).await.unwrap();
    eventually("a call after stop", async || {
        (rig.instance.misbehaviour(Misbehaviour::CallAfterStop) >= 3).then_some(())
    })
    .await;
    while let Some(event) = rig.inbox.try_recv() {
        assert!(
            matches!(
                event,
                HostEvent::Report(_) | HostEvent::Misbehaved { .. } | HostEvent::Completed(_)
            ),
            "{event:?}"
        );
    }
    // It calls on beyond destroy.
    rig.instance.destroy().await.unwrap();
    let mut other = Rig::started(&plugin, "{}").await;
    other.assert_works().await;
    other.end().await;
}
